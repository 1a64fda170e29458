"""What a page is made of: finished texts and drawings in reading order, nothing left to compute."""

from __future__ import annotations

from dataclasses import dataclass

from reports.charts.shapes import Chart, Table


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another page of the site; ``href`` is a file name made by the site."""

    label: str
    href: str


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One of the few numbers a reader takes away."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """The row of key figures."""

    items: tuple[KeyFigure, ...]
    kind: str = "figures"


@dataclass(frozen=True, slots=True)
class Callout:
    """A framed statement: what was decided, or what stands in the way."""

    title: str
    lead: str
    texts: tuple[str, ...]
    tone: str = "good"
    kind: str = "callout"


@dataclass(frozen=True, slots=True)
class ChartBlock:
    """A chart with its table twin."""

    chart: Chart
    kind: str = "chart"


@dataclass(frozen=True, slots=True)
class TableBlock:
    """A table in plain sight."""

    id: str
    heading: str
    lead: str
    table: Table
    kind: str = "table"


@dataclass(frozen=True, slots=True)
class CheckRow:
    """A check as it is printed; ``icon`` is its outcome, drawn as a shape."""

    code: str
    title: str
    icon: str
    word: str
    message: str
    figures: tuple[tuple[str, str], ...]
    anchor: str
    evidence: Table | None = None


@dataclass(frozen=True, slots=True)
class ChecksBlock:
    """All checks with their summary."""

    id: str
    heading: str
    lead: str
    rows: tuple[CheckRow, ...]
    kind: str = "checks"


@dataclass(frozen=True, slots=True)
class Prose:
    """Sentences and terms with their explanations; ``folded`` hides them behind the heading."""

    id: str
    heading: str
    texts: tuple[str, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()
    folded: bool = False
    kind: str = "prose"


@dataclass(frozen=True, slots=True)
class Card:
    """An experiment in the list of all: what it found, what to do, where to read on."""

    kicker: str
    title: str
    href: str
    headline: str
    figures: tuple[KeyFigure, ...]
    chip: str
    tone: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Cards:
    """The list of experiments."""

    items: tuple[Card, ...]
    kind: str = "cards"


Block = KeyFigures | Callout | ChartBlock | TableBlock | ChecksBlock | Prose | Cards


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page; ``badges`` warn about what kind of data it shows."""

    file: str
    title: str
    kicker: str
    headline: str
    deck: tuple[str, ...]
    blocks: tuple[Block, ...]
    foot: str
    badges: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    tone: str = "good"
