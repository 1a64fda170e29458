"""Every metric under every method, the arms side by side, and the guardrails."""

from __future__ import annotations

from collections.abc import Sequence

from measure.results import Estimate, Guardrail, Status
from reports.charts.forest import Reference, forest
from reports.charts.shapes import Chart, Column, Table
from reports.facts import ExperimentFacts, ExperimentReport, MetricFacts
from reports.money import MoneyFacts
from reports.numbers import (
    NONE,
    Scale,
    count,
    p_value,
    percent,
    probability,
    short_minor,
)
from reports.numbers import money_short as short
from reports.pages.cohorts import lead_of, row_of, scale_of, tick_writer
from reports.pages.model import Block, ChartBlock, Prose, TableBlock
from reports.text import Effect, guardrail_sentence
from reports.words import clean, method, method_short, plain_name, sentence, status_word


def overall(report: ExperimentReport, metric: str, estimator: str = "") -> tuple[Estimate, ...]:
    """Estimates over everybody, in the order of the arms; of one method or of all."""
    order = {arm: i for i, arm in enumerate(report.facts.treatments)}
    found = [
        e
        for e in report.analysis.estimates
        if e.cohort is None and e.metric == metric and estimator in {"", e.estimator}
    ]
    return tuple(sorted(found, key=lambda e: order.get(e.arm, len(order))))


def primary_effects(report: ExperimentReport) -> tuple[tuple[Effect, Estimate], ...]:
    """The headline's estimate of the primary metric for each arm, the largest first."""
    facts = report.facts
    estimates = overall(report, facts.primary.name, facts.leading_estimator)
    scale = scale_of(facts.primary, estimates)
    ranked = sorted(estimates, key=lambda e: (e.value is None, -(e.value or 0), e.arm))
    return tuple((_effect(e, scale, facts), e) for e in ranked)


def with_unit(words: str, scale: Scale, unit: str) -> str:
    """A difference and what it is counted in: 0.50 percentage points, $0.77 per customer."""
    if scale.points:
        return f"{words} percentage points"
    kind = f" {scale.unit}" if scale.unit else ""
    return f"{words}{kind} per {clean(unit, 40)}" if scale.per_unit else f"{words}{kind}"


def arms_block(report: ExperimentReport) -> tuple[Block, ...]:
    """All arms on the primary metric, when there are several."""
    facts = report.facts
    estimates = overall(report, facts.primary.name, facts.leading_estimator)
    if len(estimates) < 2:
        return ()
    scale = scale_of(facts.primary, estimates)
    rows = [row_of(e, clean(e.arm, 60), scale) for e in estimates]
    title = f"Effect on {plain_name(facts.primary.name)} by arm"
    described = f"{len(rows)} arms, each compared with {clean(facts.control, 60)}."
    drawings = forest(
        "arms", title, described, rows, Reference(0.0, "no effect"), tick_writer(scale)
    )
    names = ("Arm", "Difference", "Interval", "Lift", "Units")
    body = tuple(
        (r.label, r.value_text or NONE, r.interval_text or NONE, _lift(e), count(e.n_arm))
        for r, e in zip(rows, estimates, strict=True)
    )
    table = Table(title, tuple(Column(n, i > 0) for i, n in enumerate(names)), body)
    against = f"against {clean(facts.control, 60)}"
    lead = f"{against}: {lead_of(facts.primary, facts.unit, scale, facts.ci_level)}"
    return (ChartBlock(Chart("arms", "Every arm", lead, drawings, table)),)


def money_table(arms: Sequence[MoneyFacts]) -> tuple[Block, ...]:
    """What each arm brought and cost, when there are several."""
    if len(arms) < 2:
        return ()
    names = ("Arm", "Incremental revenue", "Cost", "Return", "Interval", "Chance above")
    columns = (*(Column(n, i > 0) for i, n in enumerate(names)), Column("Verdict"))
    body = tuple(_money_row(arm) for arm in arms)
    lead = "incremental money over everybody treated, and the verdict of the registered rule"
    return (TableBlock("money", "Money by arm", lead, Table("Money by arm", columns, body)),)


def metrics_block(report: ExperimentReport, csv: str) -> TableBlock:
    """Each metric × arm × method over everybody."""
    facts = report.facts
    several = len(facts.treatments) > 1
    names = ["Metric", *(["Arm"] if several else []), "Method"]
    figures = ["Difference", f"{percent(facts.ci_level)} interval", "Lift", "p"]
    columns = (*(Column(n) for n in names), *(Column(n, numeric=True) for n in figures))
    body = []
    for metric in facts.metrics:
        estimates = overall(report, metric.name)
        scale = scale_of(metric, [e for e in estimates if e.status is Status.OK])
        for e in estimates:
            first = [_metric_name(metric, scale), *([clean(e.arm, 60)] if several else [])]
            body.append((*first, method_short(e.estimator), *_figures(e, scale)))
    table = Table("Every metric, every method", columns, tuple(body), csv, _notes(report))
    lead = f"each against control, per {'randomised ' if report.facts.randomised else ''}unit"
    return TableBlock("metrics", "Every metric, every method", lead, table)


def guardrail_block(report: ExperimentReport) -> tuple[Block, ...]:
    """One sentence per limit of a guardrail and arm; what is unknown is said to be unknown."""
    facts = report.facts
    metrics = {metric.name: metric for metric in facts.metrics}
    judged = [g for g in report.analysis.guardrails if g.estimator == facts.leading_estimator]
    several = len({guardrail.arm for guardrail in judged}) > 1
    texts = []
    for guardrail in judged:
        metric = metrics[guardrail.metric]
        scale = scale_of(metric, overall(report, metric.name, facts.leading_estimator))
        arm = f", {clean(guardrail.arm, 60)}" if several else ""
        texts.append(_guardrail(guardrail, plain_name(metric.name) + arm, scale))
    return (Prose("guardrails", "Guardrails", tuple(texts)),) if texts else ()


def _guardrail(guardrail: Guardrail, name: str, scale: Scale) -> str:
    unit = " pp" if scale.points else ""
    interval = scale.interval(guardrail.ci_low, guardrail.ci_high) + unit
    limit = scale.value(guardrail.limit) + unit
    return guardrail_sentence(name, interval, limit, guardrail.harm, guardrail.verdict)


def _effect(estimate: Estimate, scale: Scale, facts: ExperimentFacts) -> Effect:
    value = estimate.value if estimate.status is Status.OK else None
    size = scale.value(None if value is None else abs(value), signed=False)
    bounds = scale.interval(estimate.ci_low, estimate.ci_high)
    return Effect(
        arm=estimate.arm,
        value=value,
        low=estimate.ci_low,
        high=estimate.ci_high,
        amount=with_unit(size, scale, facts.unit),
        interval=with_unit(bounds, scale, facts.unit),
        size=size,
        status=estimate.status,
    )


def _figures(estimate: Estimate, scale: Scale) -> tuple[str, str, str, str]:
    if estimate.status is not Status.OK or estimate.value is None:
        return status_word(estimate.status), NONE, NONE, NONE
    return (
        scale.value(estimate.value),
        scale.interval(estimate.ci_low, estimate.ci_high),
        _lift(estimate),
        p_value(estimate.p_value),
    )


def _lift(estimate: Estimate) -> str:
    return percent(estimate.relative, signed=True)


def _metric_name(metric: MetricFacts, scale: Scale) -> str:
    unit = "pp" if scale.points else scale.label
    name = plain_name(metric.name)
    return f"{name} ({unit})" if unit and unit != name else name


def _money_row(arm: MoneyFacts) -> tuple[str, ...]:
    write = arm.currency
    bounds = f"{short(arm.roi_low, write)} to {short(arm.roi_high, write)}"
    return (
        clean(arm.arm, 60),
        short_minor(arm.revenue.value if arm.revenue else None, write),
        short_minor(arm.spend.value if arm.spend else None, write),
        short(arm.roi, write),
        bounds if arm.roi_low is not None else NONE,
        probability(arm.probability_above),
        arm.verdict or NONE,
    )


def _notes(report: ExperimentReport) -> str:
    """What the methods say about single numbers, each note once."""
    found: dict[str, None] = {}
    for estimate in report.analysis.estimates:
        if estimate.cohort is None and estimate.note:
            name = f"{plain_name(estimate.metric)}, {method(estimate.estimator)}"
            found.setdefault(f"{name}: {sentence(clean(estimate.note, 300))}")
    return "\n".join(list(found)[:12])
