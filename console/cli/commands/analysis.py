"""`analyze`, `attribute`, `reconcile` and `score validate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.output import MARKS, check_destination, deliver, table
from measure.errors import InputError
from measure.results import Analysis, Attribution, Check, Reconciliation

if TYPE_CHECKING:
    from measure.results import Estimate
    from measure.scores import ScoreValidation
    from reports.numbers import Number

LATER = "after_conclusion"
"""Entry of the provenance of an analysis made when the experiment was already concluded."""


def analyze(
    target: str, *, acting: str | None, json: str | None, draws: Path | None = None
) -> None:
    """Analyse, keep the result of a registered experiment, and show it."""
    from console.measuring import is_specification, measure

    check_destination(json)
    if is_specification(target):
        permit_specification(Path(target), acting)
        analysis = measure(target, draws).analysis
    else:
        analysis = _as_job(target, acting, draws)
    deliver(analysis.to_dict(), json, describe(analysis))


def permit_specification(path: Path, acting: str | None) -> None:
    """Ask whether somebody may analyse what a specification points at, unless it is a file."""
    from console.permission import permit_around
    from designs.registry.access import Action
    from designs.specification import load_experiment

    source = load_experiment(path).source
    if source is None or source.table:
        permit_around(path.resolve().parent, Action.ANALYZE, acting)


def _as_job(key: str, acting: str | None, draws: Path | None) -> Analysis:
    """Analyse a registered experiment and keep the result; on record as a job while it runs."""
    from console.measuring import measure_registered
    from console.store import save
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action

    workspace = Workspace.find()
    with workspace.open_registry() as registry:
        registry.permit(Action.ANALYZE, key, by=acting_person(acting))
        over = registry.get(key).concluded_at is not None
        with registry.job("analyze", key):
            analysis = measure_registered(workspace, key, draws).analysis
            if over:  # the result on record stays, whatever the data say today
                return replace(analysis, provenance={**analysis.provenance, LATER: True})
            save(workspace.results(key), "analysis", analysis)
    return analysis


def attribute(
    key: str | None,
    *,
    paths: Path | None,
    models: Sequence[str] | None,
    cohort: str | None,
    acting: str | None,
    json: str | None,
) -> None:
    """Credit channels, from a file of paths or from the workspace's logs."""
    check_destination(json)
    if paths is not None:
        if key is not None or cohort is not None:
            raise InputError("--paths reads a file of its own; leave out KEY and --cohort with it.")
        from measure.attribution import attribute_paths

        result = attribute_paths(paths, models=tuple(models) if models else None)
    else:
        from console.accounting import attribute_workspace
        from console.permission import permit
        from console.workspace import Workspace
        from designs.registry.access import Action

        workspace = Workspace.find()
        permit(workspace, Action.ANALYZE, key or "", acting)
        result = attribute_workspace(workspace, key, models=models, cohort=cohort)
    deliver(result.to_dict(), json, describe_attribution(result))


def reconcile(key: str | None, *, acting: str | None, json: str | None) -> None:
    """Hold logs and claims against conversions."""
    from console.accounting import reconcile_workspace
    from console.permission import permit
    from console.workspace import Workspace
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    permit(workspace, Action.RECONCILE, key or "", acting)
    result = reconcile_workspace(workspace, key)
    deliver(result.to_dict(), json, describe_reconciliation(result))


def score_validate(spec: Path, *, acting: str | None, json: str | None) -> None:
    """Hold a score against its randomised holdout."""
    from designs.specification import load_model
    from measure.engine.connection import connect
    from measure.scores import score_spec
    from measure.scores.plan import ScorePlan

    check_destination(json)
    plan = load_model(spec, ScorePlan)
    if plan.source.table:
        from console.permission import permit_around
        from console.workspace import Workspace
        from designs.registry.access import Action

        permit_around(spec.resolve().parent, Action.ANALYZE, acting)
        engine = Workspace.find(spec.parent).connect()
    else:
        engine = connect()
    with engine:
        result = score_spec(engine, plan, spec.parent)
    deliver(result.to_dict(), json, describe_score(result))


def describe_score(result: ScoreValidation) -> list[str]:
    """Measures with their meaning, then uplift from the best tenth to the worst."""
    from reports.numbers import NONE, interval, number

    def write(value: Number) -> str:
        return number(value, 5, signed=True)

    head = f"{result.score} against {result.arm} on {result.metric}: {result.status}"
    lines = [head, *([result.note] if result.note else []), ""]
    rows = [(m.name, write(m.value), interval(m.ci_low, m.ci_high, write)) for m in result.measures]
    lines += table(("measure", "value", f"{result.ci_level:.0%} interval"), rows)
    lines += ["", *(f"  {m.name}: {m.meaning}" for m in result.measures), ""]
    tenths = [
        (
            str(d.decile),
            f"{d.n_arm + d.n_control:,}",
            write(d.uplift) if d.uplift is not None else NONE,
            interval(d.ci_low, d.ci_high, write),
        )
        for d in result.deciles
    ]
    return lines + table(("tenth", "units", "uplift", "interval"), tenths)


def describe(analysis: Analysis) -> list[str]:
    """Say an analysis in lines: checks, then the effect on everybody, then what cohorts showed."""
    lines = [f"{analysis.experiment}: {analysis.status}", *_standing_lines(analysis), ""]
    lines += [*_check_lines(analysis.checks), ""]
    overall = [e for e in analysis.estimates if e.cohort is None]
    header = ("metric", "arm", "estimator", "effect", "interval", "lift", "p", "status")
    lines += table(header, [_estimate_row(e) for e in overall], left=3)
    lines += _design_lines(analysis)
    lines += _segment_lines(analysis)
    lines += _guardrail_lines(analysis)
    notes = {f"  {e.metric}, {e.arm}, {e.estimator}: {e.note}" for e in overall if e.note}
    lines += ["", *sorted(notes)] if notes else []
    cohorts = len(analysis.estimates) - len(overall)
    if cohorts:
        families = [family for family in analysis.multiplicity if family.dimension]
        stand = sum(family.rejected for family in families)
        tested = sum(len(family.cohorts) for family in families)
        lines += ["", f"{cohorts} estimates per cohort: see --json or `truelift report`."]
        lines += [f"{stand} of {tested} tests per cohort stand after correction."]
    return lines


def _guardrail_lines(analysis: Analysis) -> list[str]:
    """Verdicts of the limits set beforehand, by the first estimator of the plan."""
    if not analysis.guardrails:
        return []
    from reports.numbers import number

    first = analysis.guardrails[0].estimator
    lines = [
        f"  {g.metric}, {g.arm}: harm {g.harm} {number(g.limit, 4, signed=True)} "
        f"{g.verdict.replace('_', ' ')}"
        for g in analysis.guardrails
        if g.estimator == first
    ]
    return ["", f"Guardrails ({first}):", *lines]


def _standing_lines(analysis: Analysis) -> list[str]:
    """Say first when what follows was not planned beforehand."""
    lines = []
    if analysis.provenance.get(LATER):
        lines += ["Concluded: the result on record stays; this one is on today's data, not kept."]
    if analysis.provenance.get("exploratory"):
        lines += ["Exploratory: beyond the plan that was frozen when the experiment started."]
    return lines


def describe_attribution(result: Attribution) -> list[str]:
    """One line per channel, one column per model."""
    overall = [credit for credit in result.credits if credit.cohort is None]
    models = list(dict.fromkeys(credit.model for credit in overall))
    channels = sorted({credit.channel for credit in overall})
    amount = {(c.channel, c.model): c.conversions for c in overall}
    rows = [
        (channel, *(f"{amount[channel, model]:,.1f}" for model in models)) for channel in channels
    ]
    lines = table(("channel", *models), rows)
    lines += ["", f"{result.total_conversions:,.0f} conversions, value {result.total_value:,.2f}"]
    return [*lines, "", *(f"  {sentence}" for sentence in result.definition["sentences"])]


def describe_reconciliation(result: Reconciliation) -> list[str]:
    """Checks, then the bridge."""
    from reports.numbers import money_minor

    rows = [(s.step, f"{s.rows:,}", money_minor(s.money, result.currency)) for s in result.bridge]
    return [*_check_lines(result.checks), "", *table(("bridge", "rows", "money"), rows)]


def _design_lines(analysis: Analysis) -> list[str]:
    """What numbers without randomisation may be called, and what they rest on."""
    if analysis.provenance.get("design") != "observational":
        return []
    assumed = [f"  - {text}" for text in analysis.provenance.get("assumptions", ())]
    return [
        "",
        "Not randomised: associated with the treatment, estimated under assumptions:",
        *assumed,
    ]


def _segment_lines(analysis: Analysis) -> list[str]:
    """Segments that a search found, those that stand first."""
    if not analysis.discovery:
        return []
    from reports.numbers import decimals_for, interval, number, p_value

    found = sorted(analysis.discovery, key=lambda s: (s.metric, s.arm, -(s.value or 0.0)))
    rows = []
    for segment in found:
        places = decimals_for(segment.se)

        def write(value: Number, places: int = places) -> str:
            return number(value, places, signed=True)

        known = segment.value is not None
        rows.append(
            (
                segment.metric,
                segment.arm,
                segment.rule,
                write(segment.value) if known else "–",
                interval(segment.ci_low, segment.ci_high, write) if known else "–",
                p_value(segment.p_adjusted) if known else "–",
                p_value(segment.apart_p_adjusted) if segment.apart is not None else "–",
                str(segment.status),
            )
        )
    header = ("metric", "arm", "segment", "effect", "interval", "p", "p apart", "status")
    return [
        "",
        "Exploratory segments: searched on half of the units, estimated on the other half.",
        "p is corrected over all segments; p apart tests the segment against all other units.",
        *table(header, rows, left=3),
    ]


def _check_lines(checks: Sequence[Check]) -> list[str]:
    return [f"  {MARKS[check.outcome]} {check.code:<4} {check.message}" for check in checks]


def _estimate_row(estimate: Estimate) -> tuple[str, ...]:
    head = (estimate.metric, estimate.arm, estimate.estimator)
    if estimate.value is None:
        return (*head, "–", "–", "–", "–", estimate.status)
    from reports.numbers import decimals_for, interval, number, p_value, percent

    places = decimals_for(estimate.se)

    def write(value: Number) -> str:
        return number(value, places, signed=True)

    return (
        *head,
        write(estimate.value),
        interval(estimate.ci_low, estimate.ci_high, write),
        "–" if estimate.relative is None else percent(estimate.relative, signed=True),
        "–" if estimate.p_value is None else p_value(estimate.p_value),
        estimate.status,
    )
