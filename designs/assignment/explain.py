"""Why this unit got this arm: every decision with its arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from designs.assignment.declared import EVERY_CHANNEL
from designs.assignment.hashing import HEX_DIGITS, SPACE, digest, normalize_id
from designs.assignment.steps import (
    Draw,
    Gate,
    Outcome,
    arm_named,
    cluster_key,
    draws,
    gates,
)
from designs.experiment import Experiment
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
    cluster: str | None = None
    """Identifier that binds the unit to others; ``None``: it is on its own."""
    arm: str | None = None
    """As recorded in the assignments."""


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
    Outcome.HELD_OUT: ("stays outside holdout {name}", "is in holdout {name}"),
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


def _all(experiment: Experiment, unit_id: str, context: Context | None) -> Iterator[Decision]:
    if context is not None:
        yield _eligible(experiment, context)
        if experiment.consent is not None:
            yield _consented(experiment, context)
    passages = gates(experiment)
    yield from (_gate(gate, unit_id) for gate in passages if not gate.by_cluster)
    hashed = unit_id
    if experiment.cluster is not None:
        yield _cluster(experiment, context)
        hashed = cluster_key(
            experiment, normalize_id(unit_id), context.cluster if context else None
        )
    yield from (_gate(gate, hashed) for gate in passages if gate.by_cluster)
    if experiment.balance is not None:
        yield _balanced(experiment, context)
        return
    cohort = None
    if experiment.allocation is not None:
        name = experiment.allocation.attribute
        cohort = context.attributes.get(name) if context else None
        yield _cohort(experiment, context, cohort)
    yield from _arm(experiment, hashed, cohort)


def _cluster(experiment: Experiment, context: Context | None) -> Decision:
    """Say what is hashed in place of the unit from here on."""
    name = experiment.unit
    if context is None:
        sentence = f"The {name} of the unit is not known: load customers and identities first."
        return Decision("cluster", passed=False, sentence=sentence)
    if context.cluster is None:
        sentence = f"The unit has no {name} on record, so it is one by itself."
    else:
        sentence = f"The unit belongs to {name} {context.cluster!r}; all its members share one arm."
    return Decision("cluster", passed=True, sentence=sentence)


def _cohort(experiment: Experiment, context: Context | None, cohort: str | None) -> Decision:
    """Say which shares hold for the unit."""
    allocation = experiment.allocation
    if allocation is None or context is None:
        sentence = "The shares depend on what is on record about the unit: load customers first."
        return Decision("allocation", passed=False, sentence=sentence)
    special = cohort is not None and cohort in allocation.shares
    shares = allocation.shares[cohort] if special and cohort is not None else experiment.arms
    listed = ", ".join(f"{arm} {share:g}" for arm, share in sorted(shares.items()))
    shown = "not known" if cohort is None else repr(cohort)
    which = "its own shares" if special else "the usual shares"
    sentence = f"{allocation.attribute} is {shown}, which has {which}: {listed}."
    return Decision("allocation", passed=True, sentence=sentence)


def _balanced(experiment: Experiment, context: Context | None) -> Decision:
    """Give the recorded arm: it follows from the whole population, not from the id."""
    wanted = experiment.balance
    if wanted is None or context is None or context.arm is None:
        sentence = "The arm is drawn with the whole population at once, and none is recorded yet."
        return Decision("balance", passed=False, sentence=sentence)
    within = f" within strata by {', '.join(wanted.strata)}" if wanted.strata else ""
    sentence = (
        f"The arm is {context.arm!r}: of {wanted.draws:,} draws of the whole population{within}, "
        f"the one that balances {', '.join(wanted.attributes)} best."
    )
    return Decision("balance", passed=True, sentence=sentence, arm=context.arm)


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


def _gate(gate: Gate, hashed: str) -> Decision:
    digits = digest(gate.salt, hashed)[:HEX_DIGITS]
    bucket = int(digits, 16)
    passed = gate.passes(bucket)
    words = _WORDS[gate.otherwise][0 if passed else 1].format(name=gate.name)
    low, high = gate.first / SPACE, gate.end / SPACE
    sentence = f"The unit {words}: {_place(bucket)}, passing from {low:.6f} to {high:.6f}."
    return Decision(
        gate.purpose.value, passed, sentence, gate.salt, digits, bucket, gate.first, gate.end
    )


def _arm(experiment: Experiment, hashed: str, cohort: str | None) -> Iterator[Decision]:
    """Give the arm; in a factorial design, the level of each factor and the arm they make."""
    found = [_drawn(draw, hashed, cohort) for draw in draws(experiment)]
    if not experiment.factors:
        yield from found
        return
    levels = [str(decision.arm) for decision in found]
    for decision in found:
        yield replace(decision, arm=None)
    arm = arm_named(levels)
    yield Decision("arm", passed=True, sentence=f"Together the arm is {arm!r}.", arm=arm)


def _drawn(draw: Draw, hashed: str, cohort: str | None) -> Decision:
    ends = draw.ends(cohort)
    digits = digest(draw.salt, hashed)[:HEX_DIGITS]
    bucket = int(digits, 16)
    index = draw.owner(bucket, cohort)
    arm, end = ends[index]
    first = ends[index - 1].end if index else 0
    low, high = first / SPACE, end / SPACE
    what = "The arm" if draw.name == "arm" else f"The level of {draw.name}"
    sentence = f"{what} is {arm!r}: {_place(bucket)}, and it covers {low:.6f} to {high:.6f}."
    step = "arm" if draw.name == "arm" else f"factor {draw.name}"
    return Decision(step, True, sentence, draw.salt, digits, bucket, first, end, arm)  # noqa: FBT003


def _place(bucket: int) -> str:
    return f"bucket {bucket} is {bucket / SPACE:.6f} of the way"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
