"""A few lines over a common axis, with a level to reach: power by lift, or anything like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.charts.shapes import (
    NARROW,
    WIDE,
    Axis,
    Drawing,
    Shape,
    fix,
    line,
    mark,
    path,
    polyline,
    shorten,
    text,
    text_width,
    ticks,
)

Writer = Callable[[float, Sequence[float]], str]
FORMS = ("circle", "square", "diamond", "triangle", "wedge", "cross")
LINES = ("curve", "whisker", "link", "zero")
_TOP, _BASE = 14.0, 214.0


@dataclass(frozen=True, slots=True)
class Series:
    """A named line through (x, y); ``bands`` are (x, low, high) of points that are uncertain."""

    name: str
    points: tuple[tuple[float, float], ...]
    bands: tuple[tuple[float, float, float], ...] = ()
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Curves:
    """Series with the level to reach and, if known, the place on the x axis one expects."""

    series: tuple[Series, ...]
    level: float
    level_label: str
    expected: float | None = None
    expected_label: str = ""


def curve_chart(
    name: str, title: str, description: str, spec: Curves, write_x: Writer, write_y: Writer
) -> tuple[Drawing, ...]:
    """Both drawings; y runs from 0 to 1."""
    return tuple(
        _drawing(f"{name}-{tag}", title, description, spec, write_x, write_y, width)
        for tag, width in (("w", WIDE), ("n", NARROW))
    )


def _drawing(
    name: str,
    title: str,
    description: str,
    spec: Curves,
    write_x: Writer,
    write_y: Writer,
    width: int,
) -> Drawing:
    left = 48.0
    xs = [x for s in spec.series for x, _ in s.points]
    if spec.expected is not None:
        xs.append(spec.expected)
    low, high = min([0.0, *xs]), max([0.0, *xs])
    across = Axis(low, high if high > low else low + 1, left, width - 16)
    up = Axis(0, 1, _BASE, _TOP)
    shapes = [*_grid(across, up, write_x, write_y, width), *_goal(spec, across, up, width)]
    for index, series in enumerate(spec.series):
        shapes += _series(series, across, up, index)
    shapes += _legend(spec.series, left, width)
    height = round(_BASE + 46 + 20 * len(spec.series))
    return Drawing(name, width, height, title, description, tuple(shapes))


def _grid(across: Axis, up: Axis, write_x: Writer, write_y: Writer, width: int) -> list[Shape]:
    levels = ticks(0, 1, 5)
    places = ticks(across.low, across.high, 8 if width == WIDE else 4)
    rules = "".join(f"M{fix(across.start)} {fix(up(v))}H{fix(across.end)}" for v in levels)
    shapes = [path(rules, "grid")]
    shapes += [text(across.start - 8, up(v) + 4, write_y(v, levels), "tick", "end") for v in levels]
    shapes += [text(across(v), _BASE + 20, write_x(v, places), "tick", "middle") for v in places]
    return [*shapes, line(across.start, _BASE, across.end, _BASE, "baseline")]


def _goal(spec: Curves, across: Axis, up: Axis, width: int) -> list[Shape]:
    """The level to reach, and what is expected."""
    y = up(spec.level)
    label = shorten(spec.level_label, width / 2, 12)
    shapes = [
        line(across.start, y, across.end, y, "zero"),
        text(across.end, y + 15, label, "tick halo", "end"),
    ]
    if spec.expected is not None:
        x = across(spec.expected)
        words = spec.expected_label
        fits = x + 6 + text_width(words, 12) <= width
        shapes += [
            line(x, _TOP, x, _BASE, "link"),
            text(x + 6 if fits else x - 6, _BASE - 8, words, "tick halo",
                 "start" if fits else "end"),
        ]  # fmt: skip
    return shapes


def _series(series: Series, across: Axis, up: Axis, index: int) -> list[Shape]:
    """A line with a marker at its end, or markers with their bands."""
    points = [(across(x), up(y)) for x, y in series.points]
    if not points:
        return []
    form, style = FORMS[index % len(FORMS)], f"model m{index % len(FORMS)}"
    shapes: list[Shape] = []
    if series.joined and len(points) > 1:
        through = (("d", polyline(points)), ("fill", "none"))
        shapes.append(Shape("path", through, LINES[index % len(LINES)]))
    shapes += [line(across(x), up(lo), across(x), up(hi), "whisker") for x, lo, hi in series.bands]
    marked = points[-1:] if series.joined else points
    return [*shapes, *(mark(x, y, form, style) for x, y in marked)]


def _legend(series: Sequence[Series], left: float, width: int) -> list[Shape]:
    shapes: list[Shape] = []
    for index, each in enumerate(series):
        y = _BASE + 46 + 20 * index
        style = f"model m{index % len(FORMS)}"
        shapes.append(mark(left + 5, y - 4, FORMS[index % len(FORMS)], style))
        shapes.append(text(left + 18, y, shorten(each.name, width - left - 24), "label"))
    return shapes
