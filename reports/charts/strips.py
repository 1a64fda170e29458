"""Days of several sources under each other: what came, what is usual, when it went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.charts.shapes import (
    NARROW,
    WIDE,
    Axis,
    Drawing,
    Shape,
    line,
    mark,
    path,
    polyline,
    rect,
    shorten,
    text,
    text_width,
)

_ROW, _LINE, _TOP = 70.0, 38.0, 8.0
_TICKS = {WIDE: 6, NARROW: 3}


@dataclass(frozen=True, slots=True)
class Strip:
    """A source: a value per day (``None``: nothing known) and, where known, what is usual.

    ``wrong`` are (first, end) in days from the first, fractions for hours.
    """

    label: str
    note: str
    values: tuple[float | None, ...]
    usual: tuple[float | None, ...] = ()
    wrong: tuple[tuple[float, float], ...] = ()
    top: float | None = None


def strip_chart(
    name: str, title: str, description: str, strips: Sequence[Strip], days: Sequence[str]
) -> tuple[Drawing, ...]:
    """Both drawings; ``days`` are the labels of the days, as many as values."""
    return tuple(
        _drawing(f"{name}-{tag}", title, description, strips, days, width)
        for tag, width in (("w", WIDE), ("n", NARROW))
    )


def _drawing(
    name: str,
    title: str,
    description: str,
    strips: Sequence[Strip],
    days: Sequence[str],
    width: int,
) -> Drawing:
    across = Axis(0, max(len(days) - 1, 1), 10, width - 10)
    shapes: list[Shape] = []
    for place, strip in enumerate(strips):
        shapes += _strip(strip, across, _TOP + place * _ROW, width)
    base = _TOP + len(strips) * _ROW
    shapes += _days(days, across, base, width)
    return Drawing(name, width, round(base + 24), title, description, tuple(shapes))


def _strip(strip: Strip, across: Axis, top: float, width: int) -> list[Shape]:
    """One source: its name, what was wrong behind its line, and what is usual, dashed."""
    base = top + 18 + _LINE
    known = [v for v in (*strip.values, *strip.usual) if v is not None]
    highest = strip.top or max(known, default=0) or 1
    up = Axis(0, highest, base, top + 20)
    room = width - 20 - text_width(strip.note, 12) - 12
    shapes = [
        text(10, top + 12, shorten(strip.label, room)),
        text(width - 10, top + 12, strip.note, "tick", "end"),
    ]
    for first, end in strip.wrong:
        left, right = across.clip(first), across.clip(end)
        shapes.append(rect(left, top + 18, max(right - left, 3), _LINE, "bar drop"))
        shapes.append(mark((left + max(right, left + 3)) / 2, top + 16, "wedge", "model m1", 4))
    shapes.append(line(across.start, base, across.end, base, "baseline"))
    for run in _runs(strip.usual):
        dashed = (("d", polyline((across(x), up(y)) for x, y in run)), ("fill", "none"))
        shapes.append(Shape("path", dashed, "link"))
    for run in _runs(strip.values):
        if len(run) == 1:
            shapes.append(mark(across(run[0][0]), up(run[0][1]), "circle", "model m0", 2.5))
        else:
            shapes.append(path(polyline((across(x), up(y)) for x, y in run), "curve"))
    return shapes


def _runs(values: Sequence[float | None]) -> list[list[tuple[float, float]]]:
    """Neighbouring known values, for a line that breaks where nothing is known."""
    runs: list[list[tuple[float, float]]] = []
    for place, value in enumerate(values):
        if value is None:
            continue
        if runs and runs[-1][-1][0] == place - 1:
            runs[-1].append((float(place), value))
        else:
            runs.append([(float(place), value)])
    return runs


def _days(days: Sequence[str], across: Axis, base: float, width: int) -> list[Shape]:
    """A few days under all of it; the first and last stay inside the picture."""
    if not days:
        return []
    steps = min(_TICKS[width], len(days)) - 1
    places = sorted({round(n * (len(days) - 1) / max(steps, 1)) for n in range(steps + 1)})
    shapes = []
    for place in places:
        anchor = "start" if place == 0 else "end" if place == len(days) - 1 else "middle"
        shapes.append(text(across(place), base + 14, days[place], "tick", anchor))  # type: ignore[arg-type]
    return shapes
