"""Why this unit got this arm: every decision with its arithmetic."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from designs.assignment.hashing import HEX_DIGITS, SPACE, digest
from designs.assignment.steps import Gate, Outcome, arm_salt, arm_thresholds, gates
from designs.experiment import EVERY_CHANNEL, Experiment
from measure.results import Result


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """One row of ``consents``: what was said, for when, and when it was recorded."""

    purpose: str
    channel: str
    granted: bool
    valid_from: datetime
    valid_to: datetime | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Context:
    """What is on record about one unit. Times are aware."""

    assigned_at: datetime
    first_seen_at: datetime | None = None
    """``None``: the unit is no customer."""
    attributes: Mapping[str, str | None] = field(default_factory=dict)
    consents: Sequence[ConsentRecord] = ()


@dataclass(frozen=True, slots=True)
class Decision(Result):
    """One step: whether the unit passed it, the numbers, and a sentence.

    ``digest`` holds the hex digits that the bucket is read from; ``first`` and ``end`` bound the
    buckets that pass. All are ``None`` for steps that hash nothing.
    """

    step: str
    passed: bool
    sentence: str
    salt: str | None = None
    digest: str | None = None
    bucket: int | None = None
    first: int | None = None
    end: int | None = None
    arm: str | None = None


_WORDS = {
    Outcome.HELD_OUT: ("stays outside the global holdout", "is in the global holdout"),
    Outcome.OTHER_SLOT: ("lies in this experiment's slot", "lies in another slot of the layer"),
    Outcome.NOT_ROLLED_OUT: ("is let in by the ramp", "is not let in by the ramp yet"),
}


def explain(
    experiment: Experiment, unit_id: str, context: Context | None = None
) -> tuple[Decision, ...]:
    """The decisions about one unit in order, up to the first that it does not pass.

    Without a context, eligibility and consent are left out: nothing is known about them.
    """
    taken: list[Decision] = []
    for decision in _all(experiment, unit_id, context):
        taken.append(decision)
        if not decision.passed:
            break
    return tuple(taken)


def _all(experiment: Experiment, unit_id: str, context: Context | None) -> Sequence[Decision]:
    recorded = []
    if context is not None:
        recorded.append(_eligible(experiment, context))
        if experiment.consent is not None:
            recorded.append(_consented(experiment, context))
    hashed = [_gate(gate, unit_id) for gate in gates(experiment)]
    return [*recorded, *hashed, _arm(experiment, unit_id)]


def _eligible(experiment: Experiment, context: Context) -> Decision:
    at = context.assigned_at
    if context.first_seen_at is None:
        return Decision("eligible", passed=False, sentence="The unit is not among the customers.")
    if context.first_seen_at > at:
        sentence = (
            f"First seen {_time(context.first_seen_at)}, after units were assigned ({_time(at)})."
        )
        return Decision("eligible", passed=False, sentence=sentence)
    for name, value in experiment.population.where.items():
        found = context.attributes.get(name)
        if found != value:
            shown = "not known" if found is None else repr(found)
            sentence = f"{name} is {shown}; the population needs {value!r}."
            return Decision("eligible", passed=False, sentence=sentence)
    return Decision("eligible", passed=True, sentence="The unit belongs to the population.")


def _consented(experiment: Experiment, context: Context) -> Decision:
    """Judge consent by the record that held when units were assigned."""
    wanted = experiment.consent
    if wanted is None:
        return Decision("consent", passed=True, sentence="No consent is asked for.")
    name = f"{wanted.purpose} by {wanted.channel}"
    at = context.assigned_at
    known = [
        record
        for record in context.consents
        if record.purpose == wanted.purpose
        and record.channel in {wanted.channel, EVERY_CHANNEL}
        and max(record.recorded_at, record.valid_from) <= at
        and (record.valid_to is None or record.valid_to > at)
    ]
    if not known:
        return Decision("consent", passed=False, sentence=f"No consent to {name} at {_time(at)}.")
    latest = max(known, key=lambda record: (record.recorded_at, not record.granted))
    said = "given" if latest.granted else "refused"
    sentence = f"Consent to {name} was {said}, as recorded {_time(latest.recorded_at)}."
    return Decision("consent", passed=latest.granted, sentence=sentence)


def _gate(gate: Gate, unit_id: str) -> Decision:
    digits = digest(gate.salt, unit_id)[:HEX_DIGITS]
    bucket = int(digits, 16)
    passed = gate.passes(bucket)
    words = _WORDS[gate.otherwise][0 if passed else 1]
    low, high = gate.first / SPACE, gate.end / SPACE
    sentence = f"The unit {words}: {_place(bucket)}, passing from {low:.6f} to {high:.6f}."
    return Decision(
        gate.purpose.value, passed, sentence, gate.salt, digits, bucket, gate.first, gate.end
    )


def _arm(experiment: Experiment, unit_id: str) -> Decision:
    salt, ends = arm_salt(experiment), arm_thresholds(experiment)
    digits = digest(salt, unit_id)[:HEX_DIGITS]
    bucket = int(digits, 16)
    index = bisect_right([end for _, end in ends], bucket)
    arm, end = ends[index]
    first = ends[index - 1].end if index else 0
    low, high = first / SPACE, end / SPACE
    sentence = f"The arm is {arm!r}: {_place(bucket)}, and it covers {low:.6f} to {high:.6f}."
    return Decision("arm", True, sentence, salt, digits, bucket, first, end, arm)  # noqa: FBT003


def _place(bucket: int) -> str:
    return f"bucket {bucket} is {bucket / SPACE:.6f} of the way"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
