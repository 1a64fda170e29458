"""The hash-based steps of an assignment, in order, as plain numbers that every language can apply.

A unit passes a step when its bucket lies in [``first``, ``end``). The global holdout comes first: a
unit in it never meets a campaign. Then the slot of the layer, the ramp, and the arm.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from designs.assignment.hashing import (
    SPACE,
    Purpose,
    Threshold,
    purpose_salt,
    share_threshold,
    thresholds,
)
from designs.experiment import Experiment


class Outcome(StrEnum):
    """What came of a unit; the first step that it does not pass decides."""

    NOT_ELIGIBLE = "not_eligible"
    """Not in the population when units were assigned."""
    NO_CONSENT = "no_consent"
    """Consent was not on record, or was withdrawn, when units were assigned."""
    HELD_OUT = "held_out"
    """In the global holdout."""
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
    salt: str
    first: int
    end: int
    otherwise: Outcome

    def passes(self, bucket: int) -> bool:
        """Whether a bucket lies in the range."""
        return self.first <= bucket < self.end


def gates(experiment: Experiment) -> tuple[Gate, ...]:
    """The gates that an experiment declares; one that lets everybody through is left out."""
    found = []
    if experiment.holdout is not None:
        salt = purpose_salt(Purpose.HOLDOUT, experiment.holdout.name)
        first = share_threshold(experiment.holdout.share)
        found.append(Gate(Purpose.HOLDOUT, salt, first, SPACE, Outcome.HELD_OUT))
    if experiment.layer is not None:
        salt = purpose_salt(Purpose.LAYER, experiment.layer.name)
        first, end = (share_threshold(share) for share in experiment.layer.slot)
        found.append(Gate(Purpose.LAYER, salt, first, end, Outcome.OTHER_SLOT))
    if experiment.rollout < 1:
        salt = purpose_salt(Purpose.ROLLOUT, experiment.salt)
        end = share_threshold(experiment.rollout)
        found.append(Gate(Purpose.ROLLOUT, salt, 0, end, Outcome.NOT_ROLLED_OUT))
    return tuple(found)


def arm_salt(experiment: Experiment) -> str:
    """The salt of the arm hash."""
    return purpose_salt(Purpose.ARM, experiment.salt)


def arm_thresholds(experiment: Experiment) -> tuple[Threshold, ...]:
    """Arms and the ends of their buckets."""
    return thresholds(experiment.arms)
