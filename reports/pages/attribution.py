"""The page that sets the attribution models side by side and says what none of them knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from measure.results import Cohort, Credit
from reports.charts.credits import CreditRow, credit_chart
from reports.charts.shapes import Chart, Column, Table, tick_decimals
from reports.facts import AttributionReport
from reports.numbers import NONE, number, percent, plain_count
from reports.pages.journeys import journeys_block
from reports.pages.method import foot, versions
from reports.pages.model import (
    Block,
    Callout,
    ChartBlock,
    KeyFigure,
    KeyFigures,
    Link,
    Page,
    Prose,
    TableBlock,
)
from reports.statements import (
    NO_MODEL_KNOWS,
    credit_headline,
    definition_sentences,
    incremental_sentence,
    model_name,
)
from reports.words import clean, plain_name, plural

MOST_CHANNELS = 24
"""Channels drawn; all are in the CSV file."""
MOST_COHORTS = 12
"""Cohorts with a table on the page; all are in the CSV file."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """Credits by channel and model; channels by their largest share."""

    models: tuple[str, ...]
    channels: tuple[str, ...]
    cells: dict[tuple[str, str], Credit]

    def shares(self, channel: str) -> tuple[float | None, ...]:
        """Shares of a channel under each model."""
        found = [self.cells.get((channel, model)) for model in self.models]
        return tuple(None if credit is None else credit.share for credit in found)


def build(report: AttributionReport, file: str, csv: str, links: tuple[Link, ...]) -> Page:
    """The finished page model; ``csv`` is the file of all credits."""
    found = report.attribution
    grid = _grid(found.credits)
    parts = ("Attribution", clean(report.title, 60))
    synthetic = ("Synthetic data: a made-up world with known answers",) if report.synthetic else ()
    return Page(
        file=file,
        title=f"Attribution · {clean(report.title)}" if report.title else "Attribution",
        kicker=" · ".join(part for part in parts if part),
        headline=_headline(grid, found.total_conversions),
        deck=(NO_MODEL_KNOWS,),
        blocks=_blocks(report, grid, csv),
        foot=foot(report.versions, report.generated_on),
        badges=synthetic,
        links=links,
    )


def _blocks(report: AttributionReport, grid: _Grid, csv: str) -> tuple[Block, ...]:
    return (
        _figures(report, grid),
        _experiment(report),
        *_chart(grid),
        _table(grid, report.ci_level, csv),
        *_removal(grid),
        *_cohorts(report, csv),
        *journeys_block(report.journeys),
        Prose("definition", "What exactly was computed", definition_sentences(
            report.attribution.definition)),
        Prose("method", "How this page was made", terms=(
            ("Made with", versions(report.versions, report.generated_on)),)),
    )  # fmt: skip


def _grid(found: Sequence[Credit], cohort: Cohort | None = None) -> _Grid:
    rows = [credit for credit in found if credit.cohort == cohort]
    models = tuple(dict.fromkeys(credit.model for credit in rows))
    largest: dict[str, float] = {}
    for credit in rows:
        largest[credit.channel] = max(largest.get(credit.channel, 0.0), credit.share)
    channels = tuple(sorted(largest, key=lambda name: (-largest[name], name)))
    return _Grid(models, channels, {(c.channel, c.model): c for c in rows})


def _headline(grid: _Grid, total: float) -> str:
    """Lead with the channel on which the models differ most."""
    spread = {}
    for channel in grid.channels:
        shares = [share for share in grid.shares(channel) if share is not None]
        spread[channel] = (max(shares) - min(shares), min(shares), max(shares))
    if not spread:
        return "No conversion was credited to any channel"
    channel = max(grid.channels, key=lambda name: spread[name][0])
    if len(grid.models) < 2:
        channel = grid.channels[0]
    _, low, high = spread[channel]
    return credit_headline(channel, low, high, len(grid.models), total)


def _figures(report: AttributionReport, grid: _Grid) -> KeyFigures:
    found = report.attribution
    items = [
        KeyFigure("Conversions credited", plain_count(found.total_conversions)),
        KeyFigure("Channels", plain_count(len(grid.channels))),
        KeyFigure("Models", plain_count(len(grid.models)), "on the same journeys"),
    ]
    if report.incremental is not None:
        share = report.incremental.conversions
        items.append(KeyFigure("Caused, says the experiment", plain_count(share)))
    return KeyFigures(tuple(items))


def _experiment(report: AttributionReport) -> Callout:
    """What the experiment says, or that none was run."""
    found = report.incremental
    if found is None:
        text = (
            "No experiment was given for these conversions, so nobody knows how many of them any "
            "channel caused. Use the credits to describe journeys, not to move money."
        )
        return Callout("What the experiment says", "Nothing yet.", (text,), "open")
    total = report.attribution.total_conversions
    lead = incremental_sentence(
        found.experiment, found.conversions, found.low, found.high, found.ci_level, total
    )
    text = "The models below divide all credited conversions, caused or not."
    return Callout("What the experiment says", lead, (text,))


def _chart(grid: _Grid) -> tuple[Block, ...]:
    channels = grid.channels[:MOST_CHANNELS]
    if not channels:
        return ()
    names = [model_name(model) for model in grid.models]
    rows = [CreditRow(plain_name(c), grid.shares(c), _range(grid.shares(c))) for c in channels]
    title = "Share of conversions by channel and model"
    described = (
        f"{plural(len(rows), 'channel')}, each with one marker per model at its share of the "
        "credited conversions; the line spans from the lowest to the highest share."
    )
    body = tuple((row.label, *(percent(value) for value in row.values)) for row in rows)
    columns = (Column("Channel"), *(Column(name, numeric=True) for name in names))
    chart = Chart(
        id="credits",
        heading="Where the models differ",
        lead="share of the credited conversions; a long line means that they disagree",
        drawings=credit_chart("credits", title, described, names, rows, _ticks()),
        table=Table(title, columns, body),
        note=_left_out(len(grid.channels), len(channels)),
    )
    return (ChartBlock(chart),)


def _left_out(total: int, shown: int) -> str:
    if total <= shown:
        return ""
    return f"The {plain_count(shown)} largest of {plain_count(total)} channels; all are in the CSV."


def _range(shares: Sequence[float | None]) -> str:
    found = [share for share in shares if share is not None]
    if not found:
        return NONE
    low, high = percent(min(found)), percent(max(found))
    return low if low == high else f"{low} to {high}"


def _ticks() -> Callable[[float, Sequence[float]], str]:
    def write(value: float, values: Sequence[float]) -> str:
        return number(value * 100, tick_decimals(values, 100.0)) + "%"

    return write


def _table(grid: _Grid, level: float, csv: str) -> TableBlock:
    """Credited conversions with their intervals."""
    columns = (
        Column("Channel"),
        *(Column(model_name(model), numeric=True) for model in grid.models),
    )
    body = tuple(
        (plain_name(channel), *(_credit(grid.cells.get((channel, m))) for m in grid.models))
        for channel in grid.channels[:MOST_CHANNELS]
    )
    lead = f"each with its {percent(level)} bootstrap interval over journeys"
    table = Table("Credited conversions", columns, body, csv)
    return TableBlock("conversions", "Credited conversions", lead, table)


def _credit(credit: Credit | None) -> str:
    if credit is None:
        return NONE
    text = plain_count(credit.conversions)
    if credit.ci_low is None or credit.ci_high is None:
        return text
    return f"{text}\n{plain_count(credit.ci_low)} to {plain_count(credit.ci_high)}"


def _removal(grid: _Grid) -> tuple[Block, ...]:
    """Removal effects of the models that have them."""
    models = [
        model
        for model in grid.models
        if any(c.removal_effect is not None for c in grid.cells.values() if c.model == model)
    ]
    if not models:
        return ()
    columns = (Column("Channel"), *(Column(model_name(m), numeric=True) for m in models))
    body = tuple(
        (plain_name(channel), *(_removed(grid.cells.get((channel, m))) for m in models))
        for channel in grid.channels[:MOST_CHANNELS]
    )
    lead = "what the chain loses without the channel; not an experiment"
    table = Table("Removal effects", columns, body)
    return (TableBlock("removal", "Removal effects", lead, table),)


def _removed(credit: Credit | None) -> str:
    return NONE if credit is None else percent(credit.removal_effect)


def _cohorts(report: AttributionReport, csv: str) -> tuple[Block, ...]:
    """One table per dimension: cohort × channel under the last of the models."""
    found = report.attribution.credits
    cohorts = tuple(dict.fromkeys(c.cohort for c in found if c.cohort is not None))
    if not cohorts:
        return ()
    model = tuple(dict.fromkeys(credit.model for credit in found))[-1]
    blocks = []
    for i, dimension in enumerate(dict.fromkeys(cohort.dimension for cohort in cohorts)):
        within = [cohort for cohort in cohorts if cohort.dimension == dimension]
        blocks.append(_cohort_table(found, model, within, f"by-{i + 1}", csv))
    return tuple(blocks)


def _cohort_table(
    found: Sequence[Credit], model: str, cohorts: Sequence[Cohort], name: str, csv: str
) -> TableBlock:
    wanted = [c for c in found if c.model == model and c.cohort in cohorts]
    sums: dict[str, float] = {}
    for credit in wanted:
        sums[credit.channel] = sums.get(credit.channel, 0.0) + credit.conversions
    channels = sorted(sums, key=lambda channel: (-sums[channel], channel))[:8]
    cells = {(c.cohort, c.channel): c for c in wanted}
    shown = list(cohorts)[:MOST_COHORTS]
    body = tuple(
        (clean(cohort.value, 60), *(_share(cells.get((cohort, ch))) for ch in channels))
        for cohort in shown
    )
    columns = (Column("Cohort"), *(Column(plain_name(ch), numeric=True) for ch in channels))
    dimension = plain_name(cohorts[0].dimension)
    heading = f"Credits by {dimension}"
    more = f"; {plain_count(len(shown))} of {plain_count(len(cohorts))} cohorts"
    lead = f"share of each cohort's conversions, {model_name(model)}"
    lead += more if len(cohorts) > len(shown) else ""
    return TableBlock(name, heading, lead, Table(heading, columns, body, csv))


def _share(credit: Credit | None) -> str:
    return NONE if credit is None else percent(credit.share)
