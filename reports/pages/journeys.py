"""The picture of observed journeys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from reports.charts.sankey import Ribbon, sankey
from reports.charts.shapes import Chart, Column, Table
from reports.facts import Flow, Journeys
from reports.numbers import count
from reports.pages.model import Block, ChartBlock
from reports.words import clean, plain_name

CONVERTED = "Converted"
NOT_CONVERTED = "No conversion"
NO_SECOND = "One touch only"


class CountedJourney(Protocol):
    """Journeys with the same first and second touch and the same end."""

    @property
    def first(self) -> str:
        """Channel of the first touch."""

    @property
    def second(self) -> str | None:
        """Channel of the second touch; ``None`` when there was one touch."""

    @property
    def converted(self) -> bool:
        """How it ended."""

    @property
    def journeys(self) -> int:
        """How many there are."""


def journeys_from_flows(flows: Iterable[CountedJourney]) -> Journeys:
    """Journeys in three columns: first touch, second touch, outcome."""
    steps: dict[tuple[int, str, str], int] = {}
    for flow in flows:
        second = flow.second or NO_SECOND
        end = CONVERTED if flow.converted else NOT_CONVERTED
        for key in ((0, flow.first, second), (1, second, end)):
            steps[key] = steps.get(key, 0) + flow.journeys
    found = tuple(Flow(c, a, b, n) for (c, a, b), n in sorted(steps.items()) if n)
    return Journeys(("First touch", "Second touch", "Outcome"), found, CONVERTED)


def journeys_block(journeys: Journeys | None) -> tuple[Block, ...]:
    """The flows as a picture and as a table; nothing without flows."""
    if journeys is None or not any(flow.count for flow in journeys.flows):
        return ()
    ribbons = [
        Ribbon(f.column, _name(f.source), _name(f.target), f.count)
        for f in journeys.flows
        if f.count > 0
    ]
    title = "Journeys before conversion"
    converted = _name(journeys.converted)
    reached = sum(r.count for r in ribbons if r.target == converted)
    titles = [clean(name, 40) for name in journeys.titles]
    columns = ", then ".join(name.lower() for name in titles)
    described = f"Flows by {columns}; {count(reached)} journeys end in {converted.lower()}."
    drawings = sankey("journeys", title, described, ribbons, titles, converted)
    body = tuple(
        (clean(_title(journeys, r.column)), r.source, r.target, count(r.count)) for r in ribbons
    )
    names = (Column("From"), Column("Place"), Column("To"), Column("Journeys", numeric=True))
    chart = Chart(
        id="journeys",
        heading=title,
        lead="observed paths; what a channel caused is not read off this picture",
        drawings=drawings,
        table=Table(title, names, body),
        note=clean(journeys.note, 300),
    )
    return (ChartBlock(chart),)


def _name(name: str) -> str:
    return plain_name(name)


def _title(journeys: Journeys, column: int) -> str:
    return journeys.titles[column] if column < len(journeys.titles) else f"step {column + 1}"
