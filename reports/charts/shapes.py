"""The few shapes a drawing is made of, and the measuring that layout needs.

Coordinates are written with one decimal, so that the same numbers give the same bytes everywhere.
Each chart is laid out twice: ``WIDE`` for desks and paper, ``NARROW`` for telephones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

WIDE = 780
NARROW = 360

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Shape:
    """One element: its kind, its attributes in order, its style class and, for text, the text."""

    kind: Literal["text", "line", "rect", "path", "circle"]
    attributes: tuple[tuple[str, str], ...]
    style: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished picture with its own name and description for those who cannot see it."""

    id: str
    width: int
    height: int
    title: str
    description: str
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numbers are set flush right."""

    label: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Finished cells under their columns; the first names the row, a second line is small."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    csv: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure: heading, what is shown, both drawings, and the table of the same numbers."""

    id: str
    heading: str
    lead: str
    drawings: tuple[Drawing, ...]
    table: Table
    note: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of a value; values outside land outside."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def clip(self, value: float) -> float:
        """Pixel of a value, held inside the axis."""
        return self(min(max(value, self.low), self.high))


def fix(x: float) -> str:
    """A coordinate with at most one decimal, never ``-0``."""
    text = f"{x:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def text(x: float, y: float, words: str, style: str = "label", anchor: Anchor = "start") -> Shape:
    """A line of text on its baseline."""
    placed = (("x", fix(x)), ("y", fix(y)))
    return Shape("text", (*placed, *_anchored(anchor)), style, words)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Shape:
    """A straight line."""
    names = ("x1", "y1", "x2", "y2")
    return Shape("line", _pairs(names, (x1, y1, x2, y2)), style)


def rect(x: float, y: float, width: float, height: float, style: str) -> Shape:
    """A rectangle; negative sizes count as none."""
    names = ("x", "y", "width", "height")
    return Shape("rect", _pairs(names, (x, y, max(width, 0), max(height, 0))), style)


def path(data: str, style: str) -> Shape:
    """A path from finished path data."""
    return Shape("path", (("d", data),), style)


def polyline(points: Iterable[tuple[float, float]], *, close: bool = False) -> str:
    """Path data through points."""
    body = "L".join(f"{fix(x)} {fix(y)}" for x, y in points)
    return f"M{body}{'Z' if close else ''}"


def mark(x: float, y: float, form: str, style: str, size: float = 5) -> Shape:
    """A marker whose form means something without colour."""
    s = size
    if form == "circle":
        return Shape("circle", _pairs(("cx", "cy", "r"), (x, y, s)), style)
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "diamond": ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
        "triangle": ((0.0, -1.2), (1.15, 0.95), (-1.15, 0.95)),
        "wedge": ((0.0, 1.2), (1.15, -0.95), (-1.15, -0.95)),
        "right": ((1.2, 0.0), (-0.4, -0.9), (-0.4, 0.9)),
        "left": ((-1.2, 0.0), (0.4, -0.9), (0.4, 0.9)),
    }
    if form == "cross":
        arms = f"M{fix(x - s)} {fix(y - s)}L{fix(x + s)} {fix(y + s)}"
        return path(f"{arms}M{fix(x - s)} {fix(y + s)}L{fix(x + s)} {fix(y - s)}", style)
    return path(polyline(((x + s * dx, y + s * dy) for dx, dy in corners[form]), close=True), style)


def text_width(words: str, size: float = 13) -> float:
    """Roughly how wide a text is in a sans serif of this size; a little more than it will be."""
    return size * sum(_width(character) for character in words)


def shorten(words: str, width: float, size: float = 13) -> str:
    """Cut a text with an ellipsis where it would not fit."""
    if text_width(words, size) <= width:
        return words
    kept = words
    while kept and text_width(kept + "…", size) > width:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def wrap(words: str, width: float, size: float = 12, most: int = 3) -> tuple[str, ...]:
    """Break a text into at most ``most`` lines of this width."""
    lines: list[str] = []
    for word in words.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return tuple(shorten(each, width, size) for each in lines)


def ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Round values between two bounds: steps of 1, 2, 2.5 or 5 times a power of ten."""
    if not high > low:
        return (low,)
    raw = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(i * step, 12) + 0.0 for i in range(first, last + 1))


def tick_decimals(values: Sequence[float], factor: float = 1.0) -> int:
    """Decimals that tell neighbouring ticks apart."""
    if len(values) < 2:
        return 1
    step = abs(values[1] - values[0]) * factor
    for places in range(7):
        if math.isclose(step, round(step, places), rel_tol=1e-6):
            return places
    return 7


def _anchored(anchor: Anchor) -> tuple[tuple[str, str], ...]:
    return () if anchor == "start" else (("text-anchor", anchor),)


def _pairs(names: Sequence[str], values: Sequence[float]) -> tuple[tuple[str, str], ...]:
    return tuple((name, fix(value)) for name, value in zip(names, values, strict=True))


def _width(character: str) -> float:
    if character in "iljtfrI.,:;'|!()[] ·":
        return 0.33
    if character in "mwMW@%—…":
        return 0.9
    if character.isupper():
        return 0.7
    return 1.05 if ord(character) > 0x2E80 else 0.58
