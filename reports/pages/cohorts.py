"""Effects by cohort: one forest per arm and dimension, with all rows in a CSV file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from measure.results import Cohort, Estimate, Family, Status
from reports.charts.forest import ForestRow, Reference, forest
from reports.charts.shapes import Chart, Column, Table, tick_decimals
from reports.facts import ExperimentReport, MetricFacts
from reports.money import CohortVerdict
from reports.numbers import (
    Scale,
    count,
    money,
    number,
    p_value,
    percent,
    scale_for,
)
from reports.pages.model import Block, ChartBlock
from reports.words import clean, correction, listed, method, plain_name, plural, status_word

MOST_ROWS = 24
"""Cohorts drawn in one chart; the rest is in the CSV file."""
MOST_CHARTS = 8
"""Charts on one page."""
_HALF = 0.6744897501960817
"""Normal quantile of 75 %: value ± 0.674 se is the middle half."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Estimates of one arm in one dimension, and the family they were judged in."""

    arm: str
    dimension: str
    estimates: tuple[Estimate, ...]
    family: Family | None
    verdicts: tuple[CohortVerdict, ...]


def scale_of(metric: MetricFacts, estimates: Sequence[Estimate]) -> Scale:
    """How differences of a metric are written, fine enough for these intervals."""
    return scale_within(metric, tuple((e.ci_low, e.ci_high) for e in estimates))


def scale_within(
    metric: MetricFacts, bounds: tuple[tuple[float | None, float | None], ...]
) -> Scale:
    """The scale of a metric for these intervals, its unit made safe to print."""
    unit = None if metric.unit is None else clean(metric.unit, 20)
    return scale_for(metric.kind, unit, bounds)


def tick_writer(scale: Scale) -> Callable[[float, Sequence[float]], str]:
    """Write a tick in the scale's unit with as many decimals as its neighbours need."""

    def write(value: float, values: Sequence[float]) -> str:
        places = tick_decimals(values, 100.0 if scale.points else 1.0)
        if scale.currency is not None:
            places = 0 if places == 0 else max(places, 2)
            return money(value, scale.currency, decimals=places, signed=True)
        return number(value * (100 if scale.points else 1), places, signed=True)

    return write


def row_of(
    estimate: Estimate, label: str, scale: Scale, *, word: str = "", tone: str = ""
) -> ForestRow:
    """An estimate as a row of a forest; a status in words where there is no number."""
    if estimate.status is not Status.OK or estimate.value is None:
        return ForestRow(label, None, note=status_word(estimate.status))
    half = None if estimate.se is None else _HALF * estimate.se
    found, look = judged(estimate, None)
    return ForestRow(
        label=label,
        value=estimate.value,
        low=estimate.ci_low,
        high=estimate.ci_high,
        inner_low=None if half is None else estimate.value - half,
        inner_high=None if half is None else estimate.value + half,
        value_text=scale.value(estimate.value),
        interval_text=scale.interval(estimate.ci_low, estimate.ci_high),
        word=word or found,
        tone=tone or look,
    )


def judged(estimate: Estimate, adjusted: float | None) -> tuple[str, str]:
    """Word and tone of an effect: by its corrected p-value if there is one, else its interval."""
    if estimate.value is None or estimate.ci_low is None or estimate.ci_high is None:
        return "", "hold"
    stands = estimate.ci_low > 0 or estimate.ci_high < 0
    if adjusted is not None:
        stands = adjusted <= 1 - estimate.ci_level
    if not stands:
        return "open", "hold"
    return ("higher", "scale") if estimate.value > 0 else ("lower", "stop")


def cohort_blocks(report: ExperimentReport, csv: str) -> tuple[Block, ...]:
    """Charts of the primary metric by cohort, at most :data:`MOST_CHARTS`."""
    groups = _groups(report)
    several = len({group.arm for group in groups}) > 1
    return tuple(
        ChartBlock(_chart(report, group, f"cohorts-{i + 1}", csv, several=several))
        for i, group in enumerate(groups[:MOST_CHARTS])
    )


def _groups(report: ExperimentReport) -> list[_Group]:
    facts, analysis = report.facts, report.analysis
    wanted = (facts.primary.name, facts.pooling_estimator)
    found: dict[tuple[str, str], list[Estimate]] = {}
    for estimate in analysis.estimates:
        if estimate.cohort is None or (estimate.metric, estimate.estimator) != wanted:
            continue
        found.setdefault((estimate.arm, estimate.cohort.dimension), []).append(estimate)
    verdicts = {money.arm: money.cohorts for money in report.money}
    families = {
        (f.arm, f.dimension): f
        for f in analysis.multiplicity
        if (f.metric, f.estimator) == wanted and f.method != "none"
    }
    return [
        _Group(arm, dimension, tuple(rows), families.get((arm, dimension)), verdicts.get(arm, ()))
        for (arm, dimension), rows in found.items()
    ]


def _chart(report: ExperimentReport, group: _Group, name: str, csv: str, *, several: bool) -> Chart:
    facts = report.facts
    scale = scale_of(facts.primary, group.estimates)
    shown = _shown(group.estimates)
    words = [_decided(estimate, group) for estimate in shown]
    labels = [_value_of(estimate.cohort) for estimate in shown]
    rows = [
        row_of(e, label, scale, word=word, tone=tone)
        for e, label, (word, tone) in zip(shown, labels, words, strict=True)
    ]
    arm = f", {clean(group.arm, 60)}" if several else ""
    what = plain_name(facts.primary.name)
    title = f"Effect on {what} by {plain_name(group.dimension)}{arm}"
    described = (
        f"{plural(len(shown), 'cohort')}, each with the estimated difference to control, its "
        f"{percent(facts.ci_level)} interval and a verdict in words."
    )
    drawings = forest(name, title, described, rows, Reference(0.0, "no effect"), tick_writer(scale))
    return Chart(
        id=name,
        heading=f"By {plain_name(group.dimension)}{arm}",
        lead=lead_of(facts.primary, facts.unit, scale, facts.ci_level),
        drawings=drawings,
        table=_table(title, shown, rows, group, csv),
        note=_note(group, facts.pooling_estimator, len(shown)),
    )


def lead_of(metric: MetricFacts, unit: str, scale: Scale, level: float) -> str:
    """Say what a chart of effects shows, in which unit, with which intervals."""
    per = "" if scale.points or not scale.per_unit else f" per {clean(unit, 40)}"
    label = f", {scale.label}{per}" if scale.label or per else ""
    return f"{plain_name(metric.name)}{label}; {percent(level)} interval thin, 50% thick"


def _shown(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The largest cohorts when there are too many; always in order of the effect."""
    largest = sorted(estimates, key=lambda e: (-e.n_arm, _value_of(e.cohort)))[:MOST_ROWS]
    missing = [e for e in largest if e.value is None or e.status is not Status.OK]
    present = [e for e in largest if e.value is not None and e.status is Status.OK]
    present.sort(key=lambda e: (-(e.value or 0), _value_of(e.cohort)))
    return present + sorted(missing, key=lambda e: _value_of(e.cohort))


def _value_of(cohort: Cohort | None) -> str:
    return clean(cohort.value, 80) if cohort else ""


def _decided(estimate: Estimate, group: _Group) -> tuple[str, str]:
    """The rule's verdict where there is one, else what the interval says."""
    for found in group.verdicts:
        if estimate.cohort == Cohort(found.dimension, found.value):
            return found.verdict, found.verdict
    return judged(estimate, _adjusted(estimate, group.family))


def _adjusted(estimate: Estimate, family: Family | None) -> float | None:
    if family is None or estimate.cohort is None or estimate.cohort.value not in family.cohorts:
        return None
    return family.p_adjusted[family.cohorts.index(estimate.cohort.value)]


def _table(
    title: str, shown: Sequence[Estimate], rows: Sequence[ForestRow], group: _Group, csv: str
) -> Table:
    names = ("Cohort", "Difference", "Interval", "Lift", "Corrected p", "Units", "Control units")
    columns = (*(Column(name, i > 0) for i, name in enumerate(names)), Column("Reading"))
    if group.family is None:
        columns = tuple(column for column in columns if column.label != "Corrected p")
    body = []
    for estimate, row in zip(shown, rows, strict=True):
        relative = percent(estimate.relative, signed=True)
        cells = [row.label, row.value_text or "—", row.interval_text or "—", relative]
        if group.family is not None:
            cells.append(p_value(_adjusted(estimate, group.family)))
        cells += [count(estimate.n_arm), count(estimate.n_control), row.word or row.note]
        body.append(tuple(cells))
    return Table(title, columns, tuple(body), csv=csv)


def _note(group: _Group, estimator: str, shown: int) -> str:
    """What was computed, which cohorts stand, and how many are not drawn."""
    texts = [f"{method(estimator)}."]
    family = group.family
    if family is not None:
        texts.append(
            f"After {correction(family.method)} over {plural(len(family.cohorts), 'cohort')}, "
            f"{plural(family.rejected, 'difference')} from zero hold up."
        )
    total = len(group.estimates)
    if total > shown:
        texts.append(f"The {count(shown)} largest of {count(total)} cohorts; all are in the CSV.")
    doubtful = [e for e in group.estimates if e.status is not Status.OK]
    if doubtful:
        reasons = sorted({status_word(e.status) for e in doubtful})
        texts.append(f"{plural(len(doubtful), 'cohort')} without a number: {listed(reasons)}.")
    return " ".join(texts)
