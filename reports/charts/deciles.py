"""Lift by tenth of a score: bars with whiskers, best tenth first."""

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
    path,
    rect,
    text,
    ticks,
)


@dataclass(frozen=True, slots=True)
class DecileBar:
    """A tenth of the units: its lift and interval, or only ``note``."""

    label: str
    value: float | None
    low: float | None
    high: float | None


def decile_chart(
    name: str,
    title: str,
    description: str,
    bars: Sequence[DecileBar],
    write_tick: Callable[[float, Sequence[float]], str],
) -> tuple[Drawing, ...]:
    """Both drawings."""
    return tuple(
        _drawing(f"{name}-{tag}", title, description, bars, write_tick, width)
        for tag, width in (("w", WIDE), ("n", NARROW))
    )


def _drawing(
    name: str,
    title: str,
    description: str,
    bars: Sequence[DecileBar],
    write_tick: Callable[[float, Sequence[float]], str],
    width: int,
) -> Drawing:
    ends = [e for b in bars for e in (b.value, b.low, b.high) if e is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    axis = Axis(low, high if high > low else low + 1, 190, 14)
    values = ticks(axis.low, axis.high, 5)
    left = 54.0
    slot = (width - left) / max(len(bars), 1)
    grid = "".join(f"M{fix(left)} {fix(axis(v))}H{fix(width)}" for v in values)
    shapes: list[Shape] = [path(grid, "grid")]
    shapes += [text(left - 8, axis(v) + 4, write_tick(v, values), "tick", "end") for v in values]
    for i, bar in enumerate(bars):
        shapes += _bar(bar, axis, left + slot * (i + 0.5), slot * 0.62)
    shapes.append(line(left, axis(0), width, axis(0), "baseline"))
    return Drawing(name, width, 232, title, description, tuple(shapes))


def _bar(bar: DecileBar, axis: Axis, x: float, wide: float) -> list[Shape]:
    label = text(x, 212, bar.label, "tick", "middle")
    if bar.value is None:
        return [label]
    upper, lower = sorted((axis(0), axis(bar.value)))
    style = "bar gain" if bar.value >= 0 else "bar drop"
    shapes = [label, rect(x - wide / 2, upper, wide, max(lower - upper, 1), style)]
    if bar.low is not None and bar.high is not None:
        shapes.append(line(x, axis(bar.low), x, axis(bar.high), "whisker"))
    return shapes
