"""Credits of several models side by side: one row per channel, one marker form per model."""

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

FORMS = ("circle", "square", "triangle", "diamond", "cross", "wedge")
"""Marker of the first, second … model; colours follow, but the form alone tells them apart."""


@dataclass(frozen=True, slots=True)
class CreditRow:
    """A channel: its value under each model (``None``: not given) and what is printed of it."""

    label: str
    values: tuple[float | None, ...]
    text: str


def credit_chart(
    name: str,
    title: str,
    description: str,
    models: Sequence[str],
    rows: Sequence[CreditRow],
    write_tick: Callable[[float, Sequence[float]], str],
) -> tuple[Drawing, ...]:
    """Both drawings."""
    return tuple(
        _drawing(f"{name}-{tag}", title, description, models, rows, write_tick, width)
        for tag, width in (("w", WIDE), ("n", NARROW))
    )


def _drawing(
    name: str,
    title: str,
    description: str,
    models: Sequence[str],
    rows: Sequence[CreditRow],
    write_tick: Callable[[float, Sequence[float]], str],
    width: int,
) -> Drawing:
    narrow = width == NARROW
    legend, top = _legend(models, width)
    labels = 0 if narrow else min(max((text_width(r.label) for r in rows), default=0), 220) + 20
    figures = 0 if narrow else max((text_width(r.text) for r in rows), default=0) + 18
    row_height = 44.0 if narrow else 29.0
    values = [v for row in rows for v in row.values if v is not None]
    low, high = min([0.0, *values]), max(values, default=1.0) or 1.0
    axis = Axis(low, high * 1.03, labels + 8, width - figures - 8)
    bottom = top + row_height * len(rows)
    shapes = [*legend, *_grid(axis, top, bottom, write_tick, narrow=narrow)]
    for i, row in enumerate(rows):
        middle = top + row_height * (i + (0.72 if narrow else 0.5))
        shapes += _row(row, axis, middle, width, labels, narrow=narrow)
    return Drawing(name, width, round(bottom + 28), title, description, tuple(shapes))


def _legend(models: Sequence[str], width: int) -> tuple[list[Shape], float]:
    """Marker and name of each model, in as many lines as it takes; and where the rows begin."""
    shapes: list[Shape] = []
    x, y = 6.0, 14.0
    for i, model in enumerate(models):
        size = text_width(model) + 34
        if x + size > width and x > 6:
            x, y = 6.0, y + 22
        shapes.append(mark(x, y, FORMS[i % len(FORMS)], f"model m{i % len(FORMS)}"))
        shapes.append(text(x + 11, y + 4.5, model, "label"))
        x += size
    return shapes, y + 22


def _grid(
    axis: Axis,
    top: float,
    bottom: float,
    write_tick: Callable[[float, Sequence[float]], str],
    *,
    narrow: bool,
) -> list[Shape]:
    values = ticks(axis.low, axis.high, 4 if narrow else 6)
    lines = "".join(f"M{fix(axis(v))} {fix(top)}V{fix(bottom)}" for v in values)
    labels = [text(axis(v), bottom + 20, write_tick(v, values), "tick", "middle") for v in values]
    return [path(lines, "grid"), *labels]


def _row(
    row: CreditRow, axis: Axis, y: float, width: int, labels: float, *, narrow: bool
) -> list[Shape]:
    """Label, the range over the models as a line, and one marker each."""
    base = y - 14 if narrow else y + 4.5
    room = width - text_width(row.text) - 16 if narrow else labels - 12
    shapes = [
        text(0, base, shorten(row.label, room), "label halo"),
        text(width, base, row.text, "figure halo", "end"),
    ]
    present = [value for value in row.values if value is not None]
    if present:
        shapes.append(line(axis(min(present)), y, axis(max(present)), y, "range"))
    for i, value in enumerate(row.values):
        if value is not None:
            form = FORMS[i % len(FORMS)]
            shapes.append(mark(axis(value), y, form, f"model m{i % len(FORMS)}"))
    return shapes
