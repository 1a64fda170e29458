"""The hash-based steps of an assignment, in order, as plain numbers that every language can apply.

A unit passes a gate when its bucket lies in [``first``, ``end``). The holdouts come first: a unit
in one never meets a campaign. Then the slot of the layer, the ramp, and the arm. Holdouts and
layers hash the unit, whatever the experiment, so that they are the same for all experiments; ramp
and arm hash the cluster where there is one, so that its members stay together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from designs.assignment.declared import JOINED_BY
from designs.assignment.hashing import (
    SPACE,
    Purpose,
    Threshold,
    purpose_salt,
    share_threshold,
    thresholds,
)
from designs.assignment.holdouts import concerning, holdout_salt
from designs.experiment import Experiment
from measure.errors import InputError


class Outcome(StrEnum):
    """What came of a unit; the first step that it does not pass decides."""

    NOT_ELIGIBLE = "not_eligible"
    """Not in the population when units were assigned."""
    NO_CONSENT = "no_consent"
    """Consent was not on record, or was withdrawn, when units were assigned."""
    HELD_OUT = "held_out"
    """In a holdout that concerns the experiment."""
    OTHER_SLOT = "other_slot"
    """In another slot of the layer, where another experiment may run."""
    NOT_ROLLED_OUT = "not_rolled_out"
    """Not let in at the present ramp share."""
    ASSIGNED = "assigned"
    """Has an arm."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A hash, the range of buckets that passes, and what becomes of the rest."""

    purpose: Purpose
    name: str
    """Of the holdout, the layer or the experiment."""
    salt: str
    first: int
    end: int
    otherwise: Outcome
    by_cluster: bool = False
    """Hash the cluster, not the unit."""

    def passes(self, bucket: int) -> bool:
        """Whether a bucket lies in the range."""
        return self.first <= bucket < self.end


@dataclass(frozen=True, slots=True)
class Draw:
    """A hash that decides the arm, or the level of one factor."""

    name: str
    """``arm``, or the factor."""
    salt: str
    usual: tuple[Threshold, ...]
    by_cohort: Mapping[str, tuple[Threshold, ...]]
    """Other ends, for some values of the attribute that shares depend on."""
    by_cluster: bool = False

    def ends(self, cohort: str | None = None) -> tuple[Threshold, ...]:
        """Arms and the ends of their buckets for a unit of a cohort."""
        return self.usual if cohort is None else self.by_cohort.get(cohort, self.usual)

    def owner(self, bucket: int, cohort: str | None = None) -> int:
        """Which of the thresholds owns a bucket."""
        return bisect_right([end for _, end in self.ends(cohort)], bucket)


def gates(experiment: Experiment) -> tuple[Gate, ...]:
    """The gates that an experiment declares; one that lets everybody through is left out."""
    found = _holdout_gates(experiment)
    if experiment.layer is not None:
        name = experiment.layer.name
        first, end = (share_threshold(share) for share in experiment.layer.slot)
        salt = purpose_salt(Purpose.LAYER, name)
        found.append(Gate(Purpose.LAYER, name, salt, first, end, Outcome.OTHER_SLOT))
    if experiment.rollout < 1:
        salt = purpose_salt(Purpose.ROLLOUT, experiment.salt)
        end, whole = share_threshold(experiment.rollout), experiment.cluster is not None
        found.append(
            Gate(Purpose.ROLLOUT, experiment.key, salt, 0, end, Outcome.NOT_ROLLED_OUT, whole)
        )
    return tuple(found)


def draws(experiment: Experiment) -> tuple[Draw, ...]:
    """What decides the arm: one hash, or one per factor, each with a salt of its own."""
    if experiment.balance is not None or experiment.switchback is not None:
        raise InputError(
            f"{experiment.key}: the arm of one unit does not follow from its id; the whole "
            f"population or schedule is drawn at once. Use `truelift assign {experiment.key}` or "
            f"`truelift schedule {experiment.key}`."
        )
    whole = experiment.cluster is not None
    if experiment.factors:
        return tuple(
            Draw(factor, arm_salt(experiment, factor), thresholds(levels), {}, whole)
            for factor, levels in experiment.factors.items()
        )
    shares = experiment.allocation.shares if experiment.allocation else {}
    by_cohort = {value: thresholds(split) for value, split in shares.items()}
    return (Draw("arm", arm_salt(experiment), thresholds(experiment.arms), by_cohort, whole),)


def arm_salt(experiment: Experiment, factor: str = "") -> str:
    """The salt of the arm hash, or of the hash of one factor."""
    name = f"{experiment.salt}/{factor}" if factor else experiment.salt
    return purpose_salt(Purpose.ARM, name)


def arm_named(levels: list[str]) -> str:
    """The arm that levels of all factors make together; a single one is the arm itself."""
    return JOINED_BY.join(levels)


def cluster_key(experiment: Experiment, unit_id: str, cluster: str | None) -> str:
    """What is hashed for a unit of a clustered experiment: its cluster, or itself if it has none.

    The prefix keeps a cluster apart from a unit that happens to have the same id.
    """
    if experiment.cluster is None:
        return unit_id
    return f"{experiment.cluster.name}:{cluster}" if cluster else f"customer:{unit_id}"


def _holdout_gates(experiment: Experiment) -> list[Gate]:
    found = []
    for holdout in concerning(experiment):
        if holdout.rotation is None:
            salt = purpose_salt(Purpose.HOLDOUT, holdout.name)
        elif experiment.schedule is not None:
            salt = holdout_salt(holdout, experiment.schedule.start)
        else:
            raise InputError.rule("schedule", None, f"is needed: {holdout.name!r} rotates")
        first = share_threshold(holdout.share)
        found.append(Gate(Purpose.HOLDOUT, holdout.name, salt, first, SPACE, Outcome.HELD_OUT))
    return found
