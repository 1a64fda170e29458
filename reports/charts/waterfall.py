"""Bridge: from one total to the next, what is taken away or added on the way."""

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
    rect,
    shorten,
    text,
    text_width,
    wrap,
)

MOST_UPRIGHT = 9
"""More bars than this lie down, so that their labels stay readable."""


@dataclass(frozen=True, slots=True)
class Step:
    """A bar: a total that stands on the ground, or a change from where the last one ended.

    ``low`` and ``high`` bound a total that was estimated.
    """

    label: str
    amount: float
    text: str
    total: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class _Bar:
    step: Step
    start: float
    end: float

    @property
    def style(self) -> str:
        """Totals are filled; changes are tinted by their sign."""
        if self.step.total:
            return "total" if self.step.amount >= 0 else "total loss"
        return "gain" if self.step.amount >= 0 else "drop"


def waterfall(
    name: str, title: str, description: str, steps: Sequence[Step]
) -> tuple[Drawing, ...]:
    """Upright bars for the wide drawing while they have room, lying ones for the narrow."""
    bars = _bars(steps)
    if len(bars) > MOST_UPRIGHT:
        wide = _lying(f"{name}-w", title, description, bars, WIDE)
    else:
        wide = _upright(f"{name}-w", title, description, bars)
    return wide, _lying(f"{name}-n", title, description, bars, NARROW)


def adds_up(steps: Sequence[Step], tolerance: float = 0.0) -> bool:
    """Whether each total is where the changes before it lead."""
    running: float | None = None
    for step in steps:
        if step.total and running is not None and abs(running - step.amount) > tolerance:
            return False
        running = step.amount if step.total else (running or 0) + step.amount
    return True


def _bars(steps: Sequence[Step]) -> list[_Bar]:
    bars, running = [], 0.0
    for step in steps:
        start = 0.0 if step.total else running
        running = step.amount if step.total else running + step.amount
        bars.append(_Bar(step, start, running))
    return bars


def _extent(bars: Sequence[_Bar]) -> tuple[float, float]:
    ends = [e for b in bars for e in (b.start, b.end, b.step.low, b.step.high) if e is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    return (low, high) if high > low else (0.0, 1.0)


def _upright(name: str, title: str, description: str, bars: Sequence[_Bar]) -> Drawing:
    low, high = _extent(bars)
    slot = WIDE / max(len(bars), 1)
    wide = min(slot * 0.72, 96.0)
    labels = [wrap(bar.step.label, slot - 8) for bar in bars]
    top, base = 26.0, 226.0
    axis = Axis(low, high, base, top)
    shapes: list[Shape] = []
    for i, bar in enumerate(bars):
        x = slot * i + (slot - wide) / 2
        if i + 1 < len(bars):
            y = axis(bar.end)
            shapes.append(line(x + wide, y, x + slot, y, "link"))
        shapes += _upright_bar(bar, axis, x, wide)
        under = base + 18
        shapes += [
            text(x + wide / 2, under + 15 * j, words, "tick", "middle")
            for j, words in enumerate(labels[i])
        ]
    shapes.append(line(0, axis(0), WIDE, axis(0), "baseline"))
    height = base + 26 + 15 * max((len(lines) for lines in labels), default=1)
    return Drawing(name, WIDE, round(height - 14), title, description, tuple(shapes))


def _upright_bar(bar: _Bar, axis: Axis, x: float, wide: float) -> list[Shape]:
    """The bar, its whisker when it was estimated, and its amount above."""
    upper, lower = sorted((axis(bar.start), axis(bar.end)))
    middle = x + wide / 2
    shapes = [rect(x, upper, wide, max(lower - upper, 1), f"bar {bar.style}")]
    above = upper
    if bar.step.low is not None and bar.step.high is not None:
        ends = axis(bar.step.low), axis(bar.step.high)
        shapes += _whisker((middle, ends[0]), (middle, ends[1]), upright=True)
        above = min(upper, *ends)
    return [*shapes, text(middle, above - 8, bar.step.text, "strong", "middle")]


def _lying(name: str, title: str, description: str, bars: Sequence[_Bar], width: int) -> Drawing:
    """One row per bar; in the narrow drawing the label stands above it."""
    narrow = width == NARROW
    labels = 0.0 if narrow else min(max(text_width(b.step.label) for b in bars), 270) + 16
    figures = 0.0 if narrow else max(text_width(b.step.text) for b in bars) + 20
    low, high = _extent(bars)
    axis = Axis(low, high, labels + (0 if narrow else 4), width - figures - 4)
    row, thick = (46.0, 16.0) if narrow else (31.0, 19.0)
    shapes: list[Shape] = []
    if low < 0 or not narrow:
        shapes.append(line(axis(0), 2, axis(0), row * len(bars), "baseline"))
    for i, bar in enumerate(bars):
        y = row * i + (22 if narrow else (row - thick) / 2)
        base = y - 6 if narrow else y + thick / 2 + 4.5
        room = width - text_width(bar.step.text) - 16 if narrow else labels - 8
        shapes += _lying_bar(bar, axis, y, thick)
        style = "strong halo" if bar.step.total and not narrow else "label halo"
        shapes += [
            text(0, base, shorten(bar.step.label, room), style),
            text(width, base, bar.step.text, "strong halo", "end"),
        ]
        if i + 1 < len(bars):
            shapes.append(line(axis(bar.end), y + thick, axis(bar.end), y + row, "link"))
    return Drawing(name, width, round(row * len(bars) + 6), title, description, tuple(shapes))


def _lying_bar(bar: _Bar, axis: Axis, y: float, thick: float) -> list[Shape]:
    left, right = sorted((axis(bar.start), axis(bar.end)))
    shapes = [rect(left, y, max(right - left, 1), thick, f"bar {bar.style}")]
    if bar.step.low is not None and bar.step.high is not None:
        middle = y + thick / 2
        ends = axis(bar.step.low), axis(bar.step.high)
        shapes += _whisker((ends[0], middle), (ends[1], middle), upright=False)
    return shapes


def _whisker(start: tuple[float, float], end: tuple[float, float], *, upright: bool) -> list[Shape]:
    """An interval as a line with small feet."""
    dx, dy = (5, 0) if upright else (0, 5)
    return [
        line(*start, *end, "whisker under"),
        line(*start, *end, "whisker"),
        *(line(x - dx, y - dy, x + dx, y + dy, "whisker") for x, y in (start, end)),
    ]
