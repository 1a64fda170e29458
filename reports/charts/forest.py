"""Forest: one row per cohort or arm, thin and thick interval, marker and word by decision."""

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
    shorten,
    text,
    text_width,
    ticks,
)

_FORMS = {"scale": "circle", "stop": "square", "hold": "circle"}
"""Form of the marker by tone; ``hold`` is the hollow one."""


@dataclass(frozen=True, slots=True)
class ForestRow:
    """A row; without ``value`` only ``note`` (a status in words) is shown.

    ``low``/``high`` bound the thin interval, ``inner_low``/``inner_high`` the thick one. ``tone``
    is ``scale``, ``hold`` or ``stop``, ``word`` what is printed for it.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    inner_low: float | None = None
    inner_high: float | None = None
    value_text: str = ""
    interval_text: str = ""
    word: str = ""
    tone: str = "hold"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """The vertical line everything is compared with: no effect, break-even."""

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the columns of one width lie; in the narrow one, labels stand above their interval."""

    width: int
    row: float
    left: float
    right: float
    top: float
    narrow: bool


def forest(
    name: str,
    title: str,
    description: str,
    rows: Sequence[ForestRow],
    reference: Reference,
    write_tick: Callable[[float, Sequence[float]], str],
) -> tuple[Drawing, ...]:
    """Both drawings of a forest."""
    layouts = (_wide(rows), _Layout(NARROW, 46, 8, NARROW - 8, 30, narrow=True))
    return tuple(
        _drawing(f"{name}-{'n' if layout.narrow else 'w'}", title, description, rows, reference,
                 write_tick, layout)
        for layout in layouts
    )  # fmt: skip


def _wide(rows: Sequence[ForestRow]) -> _Layout:
    labels = min(max((text_width(row.label) for row in rows), default=0), 250)
    return _Layout(WIDE, 27, labels + 24, WIDE - _figures(rows) - 20, 34, narrow=False)


def _figures(rows: Sequence[ForestRow]) -> float:
    """Width of the three columns of text on the right."""
    return sum(_widths(rows)) + 2 * 14


def _widths(rows: Sequence[ForestRow]) -> tuple[float, float, float]:
    def longest(words: Sequence[str]) -> float:
        return max((text_width(word) for word in words), default=0)

    return (
        longest([row.value_text for row in rows]),
        longest([row.interval_text for row in rows]),
        longest([row.word for row in rows]),
    )


def _drawing(
    name: str,
    title: str,
    description: str,
    rows: Sequence[ForestRow],
    reference: Reference,
    write_tick: Callable[[float, Sequence[float]], str],
    layout: _Layout,
) -> Drawing:
    low, high = domain(rows, reference.value)
    axis = Axis(low, high, layout.left, layout.right)
    bottom = layout.top + layout.row * len(rows)
    shapes = _frame(axis, layout, bottom, reference, write_tick)
    for i, row in enumerate(rows):
        middle = layout.top + layout.row * (i + (0.72 if layout.narrow else 0.5))
        shapes += _words(row, layout, middle, rows)
        shapes += _interval(row, axis, middle)
    return Drawing(name, layout.width, round(bottom + 28), title, description, tuple(shapes))


def domain(rows: Sequence[ForestRow], reference: float) -> tuple[float, float]:
    """Ends of the axis: everything that is usual; a few very wide intervals run off the edge."""
    drawn = [r for r in rows if r.value is not None]
    values = [r.value for r in drawn if r.value is not None]
    bounds = [(r.low, r.high) for r in drawn if r.low is not None and r.high is not None]
    if not values:
        return reference - 1, reference + 1
    halves = sorted((high - low) / 2 for low, high in bounds) or [0.0]
    reach = 3 * halves[len(halves) // 2]
    low = max(min([b[0] for b in bounds] + values), min(values) - reach)
    high = min(max([b[1] for b in bounds] + values), max(values) + reach)
    low, high = min(low, reference), max(high, reference)
    pad = (high - low) * 0.04 or 1.0
    return low - pad, high + pad


def _frame(
    axis: Axis,
    layout: _Layout,
    bottom: float,
    reference: Reference,
    write_tick: Callable[[float, Sequence[float]], str],
) -> list[Shape]:
    """Grid, tick labels and the reference line with its name."""
    values = ticks(axis.low, axis.high, 4 if layout.narrow else 6)
    inside = [v for v in values if abs(axis(v) - axis(reference.value)) > 1]
    grid = "".join(f"M{fix(axis(v))} {fix(layout.top)}V{fix(bottom)}" for v in inside)
    shapes = [path(grid, "grid")] if grid else []
    shapes += [text(axis(v), bottom + 20, write_tick(v, values), "tick", "middle") for v in values]
    at = axis(reference.value)
    half = text_width(reference.label, 12) / 2
    place = min(max(at, half), layout.width - half)
    shapes.append(line(at, layout.top - 8, at, bottom, "zero"))
    shapes.append(text(place, layout.top - 15, reference.label, "tick", "middle"))
    return shapes


def _words(
    row: ForestRow, layout: _Layout, middle: float, rows: Sequence[ForestRow]
) -> list[Shape]:
    """Label, value, interval and verdict of a row."""
    if layout.narrow:
        base = middle - 14
        right = f"{row.value_text} {row.word}".strip()
        room = layout.width - text_width(right) - 16
        shapes = [text(0, base, shorten(row.label, room), "label halo")]
        if row.word:
            shapes.append(text(layout.width, base, row.word, f"word {row.tone}", "end"))
        inner = layout.width - (text_width(row.word) + 10 if row.word else 0)
        return [*shapes, text(inner, base, row.value_text, "strong halo", "end")]
    base = middle + 4.5
    _, interval_width, word_width = _widths(rows)
    first = layout.width - word_width - 14
    second = first - interval_width - 14
    return [
        text(0, base, shorten(row.label, layout.left - 12), "label"),
        text(second if word_width else second + 14, base, row.value_text, "strong", "end"),
        text(first if word_width else first + 14, base, row.interval_text, "figure", "end"),
        *([text(layout.width, base, row.word, f"word {row.tone}", "end")] if row.word else []),
    ]


def _interval(row: ForestRow, axis: Axis, y: float) -> list[Shape]:
    """Thin line, thick line and marker; arrows where an interval runs off the axis."""
    if row.value is None:
        return [text(axis.start + 4, y + 4, row.note, "tick")] if row.note else []
    shapes = []
    if row.low is not None and row.high is not None:
        shapes.append(line(axis.clip(row.low), y, axis.clip(row.high), y, f"thin {row.tone}"))
        if row.low < axis.low:
            shapes.append(mark(axis.start, y, "left", f"dot {row.tone}", 4))
        if row.high > axis.high:
            shapes.append(mark(axis.end, y, "right", f"dot {row.tone}", 4))
    if row.inner_low is not None and row.inner_high is not None:
        inner = axis.clip(row.inner_low), axis.clip(row.inner_high)
        shapes.append(line(inner[0], y, inner[1], y, f"thick {row.tone}"))
    shapes.append(mark(axis.clip(row.value), y, _FORMS[row.tone], f"dot {row.tone}"))
    return shapes
