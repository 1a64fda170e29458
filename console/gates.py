"""The three gates of consent as a workspace keeps them, and what each says of itself.

Assignment asks for the consent that a design names, a list for marketing on its channel
(:mod:`designs.assignment`), and whatever is reported rests on people who may be measured.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from measure.engine.connection import Engine
    from measure.people.measured import Gate
    from measure.results import Attribution, Check

ENFORCED, NOT_APPLICABLE = "enforced", "not_applicable"


def report_gate(engine: Engine, end: datetime | None = None) -> Gate:
    """The gate in front of whatever is reported, of one experiment or of the whole workspace.

    Consent must be in force today, or at the ``end`` of the experiment's outcomes if that is later,
    by everything that is known: whoever has withdrawn since is left out as well.
    """
    from measure.people.measured import measured

    now = datetime.now(UTC)
    return measured(engine, max(end, now) if end else now)


def people_checks(gate: Gate, experiment: Experiment) -> tuple[Check, ...]:
    """Units that an analysis does without, compared between the arms: not measured, or erased."""
    from measure.engine.erased import erased_units
    from measure.incrementality.left_out import ERASED, UNMEASURED, left_out_check, not_asked

    plan = experiment.analysis_plan()
    units, gone = gate.left_out(experiment.key)
    asked = not_asked(UNMEASURED, gate.why_open)
    if not gate.why_open:
        why = "for lack of consent to be measured"
        asked = left_out_check(UNMEASURED, why, units, gone, plan)
    erased = erased_units(gate.whole, experiment.key)
    if not erased:
        return (asked,)
    ever = {arm: units.get(arm, 0) + erased.get(arm, 0) for arm in plan.arms}
    return asked, left_out_check(ERASED, "because they asked to be erased", ever, erased, plan)


def with_sentence(attribution: Attribution, sentence: str) -> Attribution:
    """The attribution with a further sentence in the definition that pages print."""
    own = attribution.definition.get("sentences", ())
    definition = {**attribution.definition, "sentences": [*own, sentence]}
    return replace(attribution, definition=definition)


def gate_sentence(gate: Gate) -> str:
    """What the gate did to a result that is no experiment's, in one sentence."""
    if gate.why_open:
        return f"Nobody was left out for lack of consent: {gate.why_open}."
    people = gate.whole.table("customers") if gate.whole.has("customers") else None
    told = "Only people with consent to be measured are counted"
    if people is None:
        return f"{told}."
    missing = gate.unmeasured("customers")
    gone = int(gate.whole.fetch(missing.aggregate(n=missing.count()))["n"][0].as_py())
    everybody = int(gate.whole.fetch(people.aggregate(n=people.count()))["n"][0].as_py())
    return f"{told}; {gone:,} of {everybody:,} customers are left out."


def population_gate(engine: Engine, experiment: Experiment, left_out: int) -> dict[str, object]:
    """What became of consent when a population was assigned."""
    wanted = experiment.consent
    if wanted is not None:
        message = (
            f"{left_out:,} without consent to {wanted.purpose} by {wanted.channel} were left out."
        )
        told = {"purpose": wanted.purpose, "channel": wanted.channel, "left_out": left_out}
        return {"outcome": ENFORCED, **told, "message": message}
    why = (
        "the design asks for none (consent: {purpose: …, channel: …})"
        if engine.has("consents")
        else "no consents are loaded"
    )
    return {
        "outcome": NOT_APPLICABLE,
        "purpose": None,
        "channel": None,
        "left_out": 0,
        "message": f"Nobody was left out for lack of consent: {why}.",
    }
