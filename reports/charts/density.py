"""Posterior density: where the truth probably lies, and how much of it is above a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reports.charts.shapes import (
    NARROW,
    WIDE,
    Axis,
    Drawing,
    Shape,
    line,
    path,
    polyline,
    text,
    text_width,
    ticks,
)

Curve = tuple[tuple[float, float], ...]
_ROOT = math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True)
class Density:
    """A curve, the line it is compared with, the estimate, its interval, and their labels."""

    curve: Curve
    bar: float
    bar_label: str
    value: float
    value_label: str
    low: float
    high: float
    share_label: str


def normal_curve(mean: float, sd: float, points: int = 121) -> Curve:
    """Density of a normal distribution over four standard deviations either side."""
    steps = [-4 + 8 * i / (points - 1) for i in range(points)]
    return tuple((mean + z * sd, math.exp(-z * z / 2) / sd / _ROOT) for z in steps)


def draws_curve(draws: Sequence[float], points: int = 121) -> Curve:
    """Gaussian kernel density of draws (Silverman 1986, rule of thumb (3.31)), from 256 bins."""
    ordered = sorted(draws)
    n = len(ordered)
    mean = math.fsum(ordered) / n
    sd = math.sqrt(math.fsum((x - mean) ** 2 for x in ordered) / max(n - 1, 1))
    spread = (ordered[(3 * n) // 4] - ordered[n // 4]) / 1.349
    width = 0.9 * (min(sd, spread) if spread > 0 else sd) * n**-0.2 or 1e-9
    low, high = ordered[n // 500] - 3 * width, ordered[-1 - n // 500] + 3 * width
    step = (high - low) / 256
    bins = [0] * 256
    for x in ordered:
        bins[min(max(int((x - low) / step), 0), 255)] += 1
    grid = [low + (high - low) * i / (points - 1) for i in range(points)]
    scale = n * width * _ROOT
    centres = [(low + (b + 0.5) * step, c) for b, c in enumerate(bins) if c]
    return tuple(
        (g, math.fsum(c * math.exp(-(((g - x) / width) ** 2) / 2) for x, c in centres) / scale)
        for g in grid
    )


def density(
    name: str,
    title: str,
    description: str,
    spec: Density,
    write_tick: Callable[[float, Sequence[float]], str],
) -> tuple[Drawing, ...]:
    """Both drawings of a density."""
    return tuple(
        _drawing(f"{name}-{tag}", title, description, spec, write_tick, width)
        for tag, width in (("w", WIDE), ("n", NARROW))
    )


def _drawing(
    name: str,
    title: str,
    description: str,
    spec: Density,
    write_tick: Callable[[float, Sequence[float]], str],
    width: int,
) -> Drawing:
    top, base = 34.0, (210.0 if width == WIDE else 180.0)
    xs = [x for x, _ in spec.curve]
    pad = (xs[-1] - xs[0]) * 0.02
    axis = Axis(min(xs[0], spec.bar - pad * 4), max(xs[-1], spec.bar + pad * 4), 0, width)
    peak = max(y for _, y in spec.curve)
    tall = Axis(0, peak, base, top)
    points = [(axis(x), tall(y)) for x, y in spec.curve]
    shapes = [
        *_areas(points, axis(spec.bar), base),
        path(polyline(points), "curve"),
        line(0, base, width, base, "baseline"),
        *_annotations(spec, axis, points, base, width),
    ]
    values = ticks(axis.low, axis.high, 7 if width == WIDE else 4)
    shapes += [
        text(axis(v), base + 26, write_tick(v, values), "tick", "middle")
        for v in values
        if 18 < axis(v) < width - 18
    ]
    return Drawing(name, width, round(base + 34), title, description, tuple(shapes))


def _areas(points: list[tuple[float, float]], bar: float, base: float) -> list[Shape]:
    """The area either side of the line, split exactly on it."""
    height = _height_at(points, bar, base)
    left = [p for p in points if p[0] < bar]
    right = [p for p in points if p[0] > bar]
    shapes = []
    if left:
        edge = [(bar, height)] if right else []
        end = bar if right else left[-1][0]
        shape = [(left[0][0], base), *left, *edge, (end, base)]
        shapes.append(path(polyline(shape, close=True), "area below"))
    if right:
        edge = [(bar, height)] if left else []
        start = bar if left else right[0][0]
        shape = [(start, base), *edge, *right, (right[-1][0], base)]
        shapes.append(path(polyline(shape, close=True), "area above"))
    return shapes


def _annotations(
    spec: Density, axis: Axis, points: list[tuple[float, float]], base: float, width: int
) -> list[Shape]:
    """Break-even line, estimate, interval and the share above, none on top of another."""
    bar, at = axis(spec.bar), axis(spec.value)
    toward_left = bar > text_width(spec.bar_label, 12) + 8 and (bar < at or bar > width * 0.75)
    return [
        line(bar, 14, bar, base, "zero"),
        text(bar - 6 if toward_left else bar + 6, 24, spec.bar_label, "tick",
             "end" if toward_left else "start"),
        line(at, _height_at(points, at, base), at, base, "estimate"),
        text(at + 7, base - 10, spec.value_label, "strong halo"),
        line(axis.clip(spec.low), base + 5, axis.clip(spec.high), base + 5, "span"),
        _share(spec, axis, points, width),
    ]  # fmt: skip


def _share(spec: Density, axis: Axis, points: list[tuple[float, float]], width: int) -> Shape:
    """The label of the share above, to the right of the curve where there is room, else left."""
    size = text_width(spec.share_label)
    y = 60.0
    right = max((x for x, height in points if height < y + 16), default=width / 2) + 14
    if right + size <= width:
        return text(right, y, spec.share_label, "strong")
    left = min((x for x, height in points if height < y + 16), default=width / 2) - 14
    if left - size >= 0 and axis(spec.bar) > left + 40:
        return text(left, y, spec.share_label, "strong", "end")
    return text(width, 12, spec.share_label, "strong", "end")


def _height_at(points: list[tuple[float, float]], x: float, base: float) -> float:
    """Height of the curve between two of its points."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= x <= x1:
            return y0 + (y1 - y0) * ((x - x0) / (x1 - x0) if x1 > x0 else 0)
    return base
