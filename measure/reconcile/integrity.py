"""Group G, experiment integrity: each arm gets what the design says, and only that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from measure.engine.expressions import Table, moment
from measure.errors import InputError
from measure.reconcile.check import DeclaredCheck, Findings, Tally, without_money
from measure.reconcile.settings import ExperimentWindow
from measure.reconcile.sources import Sources
from measure.results import Check, Outcome, Severity


def experiment_of(sources: Sources) -> ExperimentWindow:
    """The experiment that is checked."""
    if sources.experiment is None:  # the check is not applicable before this is reached
        raise InputError("no experiment was given.")
    return sources.experiment


def units_of(sources: Sources) -> Table:
    """Assignments of the experiment."""
    assigned = sources.table("assignments")
    assigned = assigned.filter(assigned.experiment == experiment_of(sources).key)
    return assigned.select("unit_id", "arm")


def tested_touches(sources: Sources) -> Table:
    """Touches of the tested campaigns between start and end, both included."""
    experiment, log = experiment_of(sources), sources.table("activations")
    return log.filter(
        log.campaign.isin(experiment.campaigns),
        log.ts >= moment(experiment.start, log.ts),
        log.ts <= moment(experiment.end, log.ts),
    )


of_reach = partial(
    DeclaredCheck,
    severity=Severity.WARNING,
    needs={
        "assignments": ("experiment", "unit_id", "arm"),
        "activations": ("activation_id", "campaign", "ts", "customer_id"),
    },
    needs_experiment=True,
)
"""A check of whom the tested campaigns met."""


def _controls(sources: Sources) -> Table:
    units = units_of(sources)
    return units.filter(units.arm == experiment_of(sources).control)


def _contaminated(sources: Sources) -> Findings:
    """Touches of the tested campaigns on control units; counted by unit."""
    log, control = tested_touches(sources), _controls(sources)
    hits = log.join(control, log.customer_id == control.unit_id)
    rows = hits.select(
        entity_id=hits.unit_id,
        raw_id=hits.activation_id,
        amount=sources.cost_of(hits),
        whole=1,
        platform=hits.platform,
        campaign=hits.campaign,
        kind=hits.kind,
        ts=hits.ts,
    )
    return {"activations": rows}


def _contamination_scope(sources: Sources) -> Findings:
    """Control units, looked at only when the experiment says which campaigns it tests."""
    control = _controls(sources)
    named = bool(experiment_of(sources).campaigns)
    return {"control units": control if named else control.limit(0)}


def _contamination_sentence(tally: Tally) -> str:
    (control,) = tally.examined.values()
    units = Tally({"units": tally.rows["activations"]}, {"units": control}, tally.currency)
    return f"{units.of('units', 'control unit')} met a campaign under test"


CONTROL_CONTAMINATION = of_reach(
    code="G1",
    name="control_contamination",
    title="Control units reached by the tested campaigns",
    by_entity=True,
    disposition="note",
    empty="no control unit is assigned, or the experiment names no campaigns",
    passed="No control unit met a campaign under test",
    flagged=_contamination_sentence,
    find=_contaminated,
    examined=_contamination_scope,
)


def _shared(sources: Sources) -> Table:
    """Assigned units with the identifiers that belong to one person."""
    units, known = units_of(sources), sources.table("identities")
    known = known.filter(known.kind.isin(sources.settings.identity_kinds))
    known = known.select("customer_id", identity_kind="kind", identifier="identifier").distinct()
    return known.join(units, known.customer_id == units.unit_id)


def _cross_arm(sources: Sources) -> Findings:
    """Units that share an identifier with another arm; one row per unit and identifier."""
    shared = _shared(sources)
    keys = shared.group_by(["identity_kind", "identifier"]).aggregate(arms=shared.arm.nunique())
    keys = keys.filter(keys.arms > 1).rename(crossed_kind="identity_kind", crossed="identifier")
    units = shared.join(
        keys,
        [shared.identity_kind == keys.crossed_kind, shared.identifier == keys.crossed],
    )
    rows = units.select(
        **without_money(units.unit_id, units.identity_kind.concat(": ", units.identifier)),
        customer_id=units.customer_id,
        arm=units.arm,
    )
    return {"identities": rows}


def _cross_facts(sources: Sources) -> Mapping[str, Any]:
    rows = _cross_arm(sources)["identities"]
    counted = sources.engine.fetch(rows.aggregate(shared=rows.raw_id.nunique()))
    return {"shared": int(counted["shared"][0].as_py())}


def _cross_sentence(tally: Tally) -> str:
    (assigned,) = tally.examined.values()
    units = Tally({"units": tally.rows["identities"]}, {"units": assigned}, tally.currency)
    who = units.of("units", "identified unit")
    identifiers = tally.facts["shared"]
    noun = "identifier" if identifiers == 1 else "identifiers"
    return (
        f"{who} share {identifiers:,} personal {noun} "
        "with a unit of another arm: one person, two arms"
    )


CROSS_ARM_PERSON = DeclaredCheck(
    code="G3",
    name="cross_arm_person",
    title="Persons in more than one arm",
    severity=Severity.WARNING,
    needs={
        "assignments": ("experiment", "unit_id", "arm"),
        "identities": ("customer_id", "kind", "identifier"),
    },
    needs_experiment=True,
    by_entity=True,
    disposition="hold",
    empty="nobody is assigned to this experiment, or of nobody assigned an identifier is known",
    passed="No person is in two arms",
    flagged=_cross_sentence,
    find=_cross_arm,
    examined=lambda sources: {"identified units": _shared(sources).select("unit_id").distinct()},
    facts=_cross_facts,
)


def _sample_ratio(sources: Sources) -> Check:
    from measure.incrementality.checks import sample_ratio_check

    units = units_of(sources)
    counted = sources.engine.fetch(units.group_by("arm").aggregate(units=units.count()))
    observed = {row["arm"]: int(row["units"]) for row in counted.to_pylist()}
    result = Check(
        code="G5",
        title=SAMPLE_RATIO_MISMATCH.title,
        outcome=Outcome.NOT_APPLICABLE,
        message="Not applicable: nobody is assigned to this experiment.",
    )
    if observed:
        window = experiment_of(sources)
        result = sample_ratio_check(observed, window.arms, every_look=window.every_look)
    return replace(
        result, disposition=SAMPLE_RATIO_MISMATCH.disposition, anchor=SAMPLE_RATIO_MISMATCH.anchor
    )


SAMPLE_RATIO_MISMATCH = DeclaredCheck(
    code="G5",
    name="sample_ratio_mismatch",
    title="Sizes of the arms against the design",
    severity=Severity.STOP,
    needs={"assignments": ("experiment", "unit_id", "arm")},
    needs_experiment=True,
    disposition="hold",
    judge=_sample_ratio,
)
