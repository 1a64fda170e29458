"""Journeys: how many go from place to place, column by column."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.charts.shapes import (
    NARROW,
    WIDE,
    Anchor,
    Drawing,
    Shape,
    fix,
    path,
    rect,
    shorten,
    text,
    text_width,
)
from reports.numbers import count

TOP = 26.0
"""Room for the names of the columns."""
GAP, NARROW_GAP = 18.0, 34.0
"""Smallest distance between two places of a column: room for one line of text, and for two."""


@dataclass(frozen=True, slots=True)
class Ribbon:
    """A flow from a place of one column to a place of the next."""

    column: int
    source: str
    target: str
    count: int


@dataclass(slots=True)
class _Node:
    """A place while it is being laid out; ``out`` and ``into`` are how much is already used."""

    column: int
    name: str
    size: int
    y: float = 0.0
    height: float = 0.0
    out: float = 0.0
    into: float = 0.0


Nodes = dict[tuple[int, str], _Node]


def sankey(
    name: str,
    title: str,
    description: str,
    ribbons: Sequence[Ribbon],
    titles: Sequence[str],
    highlight: str,
) -> tuple[Drawing, ...]:
    """Both drawings; ``titles`` name the columns, flows into ``highlight`` are in colour."""
    return tuple(
        _drawing(f"{name}-{tag}", title, description, ribbons, titles, width, highlight)
        for tag, width in (("w", WIDE), ("n", NARROW))
    )


def sizes(ribbons: Sequence[Ribbon]) -> dict[tuple[int, str], int]:
    """How many pass through each place: the larger of what comes in and what goes out."""
    out: dict[tuple[int, str], int] = defaultdict(int)
    into: dict[tuple[int, str], int] = defaultdict(int)
    for ribbon in ribbons:
        out[ribbon.column, ribbon.source] += ribbon.count
        into[ribbon.column + 1, ribbon.target] += ribbon.count
    return {key: max(out[key], into[key]) for key in {**out, **into}}


def _drawing(
    name: str,
    title: str,
    description: str,
    ribbons: Sequence[Ribbon],
    titles: Sequence[str],
    width: int,
    highlight: str,
) -> Drawing:
    gap = GAP if width == WIDE else NARROW_GAP
    most = Counter(column for column, _ in sizes(ribbons))
    height = 232.0 + gap * max(most.values(), default=1) + TOP
    nodes = _placed(ribbons, height, gap, (highlight,))
    columns = max((column for column, _ in nodes), default=0)
    bar = 11.0 if width == WIDE else 8.0

    def x_of(column: int) -> float:
        return (width - bar) * column / max(columns, 1)

    shapes = _titles(titles[: columns + 1], width)
    shapes += _ribbons(ribbons, nodes, x_of, bar, highlight)
    room = (width / max(columns, 1)) - bar - 18
    for node in nodes.values():
        shapes.append(rect(x_of(node.column), node.y, bar, max(node.height, 1), "place"))
    for node in nodes.values():
        shapes += _label(node, x_of(node.column), bar, columns, room)
    return Drawing(name, width, round(height + 14), title, description, tuple(shapes))


def _titles(titles: Sequence[str], width: int) -> list[Shape]:
    """Names of the columns; the outer ones stay inside the picture."""
    last = len(titles) - 1
    anchors: list[Anchor] = ["start" if i == 0 else "end" if i == last else "middle"
                             for i in range(len(titles))]  # fmt: skip
    return [
        text(width * i / max(last, 1), 12, title, "tick", anchor)
        for i, (title, anchor) in enumerate(zip(titles, anchors, strict=True))
    ]


def _placed(ribbons: Sequence[Ribbon], height: float, gap: float, last: Sequence[str]) -> Nodes:
    """Give every place its height and position: first by size, then near where its flow is from."""
    nodes: Nodes = {key: _Node(*key, size) for key, size in sizes(ribbons).items()}
    columns: dict[int, list[_Node]] = defaultdict(list)
    for key in sorted(nodes):
        columns[key[0]].append(nodes[key])
    final = max(columns, default=0)
    scale = min(
        (height - TOP - gap * (len(column) - 1)) / max(sum(n.size for n in column), 1)
        for column in columns.values()
    )
    for number, column in sorted(columns.items()):
        column.sort(key=lambda n: (-n.size, n.name))
        if number == final:
            column.sort(key=lambda n: last.index(n.name) if n.name in last else len(last))
        elif number:
            sources = _sources(ribbons, nodes, number)
            column.sort(key=lambda n: (sources.get(n.name, 0.0), n.name))
        _stack(column, scale, height, gap)
    return {key: nodes[key] for key in sorted(nodes)}


def _sources(ribbons: Sequence[Ribbon], nodes: Nodes, column: int) -> dict[str, float]:
    """Mean height of where each place's journeys come from."""
    total: dict[str, float] = defaultdict(float)
    weight: dict[str, int] = defaultdict(int)
    for ribbon in ribbons:
        if ribbon.column + 1 == column:
            source = nodes[ribbon.column, ribbon.source]
            total[ribbon.target] += ribbon.count * (source.y + source.height / 2)
            weight[ribbon.target] += ribbon.count
    return {name: total[name] / weight[name] for name in total}


def _stack(column: Sequence[_Node], scale: float, height: float, gap: float) -> None:
    """Set the places of a column one below the other, spread over the height."""
    used = scale * sum(node.size for node in column)
    space = min((height - TOP - used) / (len(column) - 1), 3 * gap) if len(column) > 1 else 0.0
    y = TOP + (height - TOP - used - space * (len(column) - 1)) / 2
    for node in column:
        node.y, node.height = y, scale * node.size
        y += node.height + space


def _ribbons(
    ribbons: Sequence[Ribbon], nodes: Nodes, at: Callable[[int], float], bar: float, highlight: str
) -> list[Shape]:
    """Bands between places, those into the highlighted place drawn last."""
    ordered = sorted(
        ribbons,
        key=lambda r: (r.column, nodes[r.column, r.source].y, nodes[r.column + 1, r.target].y),
    )
    shapes = []
    for ribbon in ordered:
        a, b = nodes[ribbon.column, ribbon.source], nodes[ribbon.column + 1, ribbon.target]
        thick = ribbon.count * (a.height / a.size if a.size else 0)
        x0, x1 = at(ribbon.column) + bar, at(ribbon.column + 1)
        y0, y1 = a.y + a.out, b.y + b.into
        a.out, b.into = a.out + thick, b.into + thick
        style = "flow good" if ribbon.target == highlight else "flow"
        shapes.append(path(_band(x0, y0, x1, y1, thick), style))
    return sorted(shapes, key=lambda shape: shape.style == "flow good")


def _band(x0: float, y0: float, x1: float, y1: float, thick: float) -> str:
    """A ribbon with level ends, as two cubic curves."""
    middle = (x0 + x1) / 2
    a, b, m = fix(x0), fix(x1), fix(middle)
    return (
        f"M{a} {fix(y0)}C{m} {fix(y0)} {m} {fix(y1)} {b} {fix(y1)}V{fix(y1 + thick)}"
        f"C{m} {fix(y1 + thick)} {m} {fix(y0 + thick)} {a} {fix(y0 + thick)}Z"
    )


def _label(node: _Node, x: float, bar: float, columns: int, room: float) -> list[Shape]:
    """Name and count beside a place; on two lines where two labels share the room."""
    end = node.column == columns
    at, middle = (x - 7 if end else x + bar + 7), node.y + node.height / 2 + 4.5
    anchor: Anchor = "end" if end else "start"
    figures = count(node.size)
    if room >= 200:
        name = shorten(node.name, room - text_width(figures) - 4)
        return [text(at, middle, f"{name} {figures}", "label halo", anchor)]
    name = shorten(node.name, room * 0.66)
    return [
        text(at, middle - 7.5, name, "label halo", anchor),
        text(at, middle + 7.5, figures, "label halo", anchor),
    ]
