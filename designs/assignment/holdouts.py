"""Holdouts: who keeps the status quo, on which channels, and until when.

A unit is in a holdout when its bucket under the holdout's salt lies below the share. The salt of a
holdout that rotates holds the number of the period, so each period draws members of its own, and
nobody enters or leaves before it ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from designs.assignment.declared import EVERY_CHANNEL, StandingHoldout
from designs.assignment.hashing import (
    HEX_DIGITS,
    SPACE,
    Purpose,
    digest,
    purpose_salt,
    share_threshold,
)
from designs.experiment import Experiment
from measure.errors import InputError
from measure.results import Result


@dataclass(frozen=True, slots=True)
class Membership(Result):
    """Whether one unit is in one holdout, with the arithmetic.

    A unit is held out when its ``bucket`` (read from ``digest``) is below ``end``. Times are
    ISO 8601 in UTC; ``None`` for a holdout that does not rotate.
    """

    holdout: str
    channels: tuple[str, ...]
    """``("all",)`` for a global holdout."""
    held_out: bool
    sentence: str
    period: int | None
    period_begin: str | None
    period_end: str | None
    salt: str
    digest: str
    bucket: int
    end: int


def holdout_salt(holdout: StandingHoldout, at: datetime) -> str:
    """The salt that decides membership at a moment (aware)."""
    if holdout.rotation is None:
        return purpose_salt(Purpose.HOLDOUT, holdout.name)
    period = holdout.rotation.period(at)
    if period < 0:
        begin = f"{holdout.rotation.since:%Y-%m-%d %H:%M} UTC"
        raise InputError.rule(
            f"holdout {holdout.name!r} at", f"{at:%Y-%m-%d %H:%M} UTC", f"it begins {begin}"
        )
    return purpose_salt(Purpose.HOLDOUT, f"{holdout.name}/{period}")


def concerning(experiment: Experiment) -> tuple[StandingHoldout, ...]:
    """The holdouts whose members stay out of an experiment: global, or of one of its channels."""
    return tuple(
        holdout
        for holdout in experiment.standing_holdouts
        if holdout.channels == EVERY_CHANNEL or any(map(holdout.covers, experiment.channels))
    )


def in_force(experiments: Iterable[Experiment]) -> tuple[StandingHoldout, ...]:
    """The holdouts that some experiments declare together, by name.

    :class:`InputError` when two of them describe one holdout differently.
    """
    found: dict[str, tuple[StandingHoldout, str]] = {}
    for experiment in experiments:
        for holdout in experiment.standing_holdouts:
            known, owner = found.setdefault(holdout.name, (holdout, experiment.key))
            if known != holdout:
                raise InputError(
                    f"holdout {holdout.name!r} is described differently by {owner!r} and "
                    f"{experiment.key!r}. One name is one holdout: give it the same share, "
                    "channels and rotation, or another name."
                )
    return tuple(found[name][0] for name in sorted(found))


def held_out_of(
    holdouts: Iterable[StandingHoldout], unit_id: str, at: datetime
) -> tuple[Membership, ...]:
    """Whether a unit is held out at a moment (aware), and from what: one answer per holdout."""
    if at.tzinfo is None:
        raise InputError.rule("at", at.isoformat(), "must say its time zone")
    return tuple(_membership(holdout, unit_id, at.astimezone(UTC)) for holdout in holdouts)


def _membership(holdout: StandingHoldout, unit_id: str, at: datetime) -> Membership:
    salt, end = holdout_salt(holdout, at), share_threshold(holdout.share)
    digits = digest(salt, unit_id)[:HEX_DIGITS]
    bucket = int(digits, 16)
    held, rotation = bucket < end, holdout.rotation
    period = rotation.period(at) if rotation else None
    begins = rotation.begin(period) if rotation and period is not None else None
    ends = rotation.begin(period + 1) if rotation and period is not None else None
    where = "inside" if held else "outside"
    covered = (EVERY_CHANNEL,) if holdout.channels == EVERY_CHANNEL else tuple(holdout.channels)
    until = f", until {ends:%Y-%m-%d %H:%M} UTC" if ends else ""
    sentence = (
        f"{where.capitalize()} holdout {holdout.name} of {_spoken(covered)}: bucket {bucket} is "
        f"{bucket / SPACE:.6f} of the way, members lie below {end / SPACE:.6f}{until}."
    )
    return Membership(
        holdout=holdout.name,
        channels=covered,
        held_out=held,
        sentence=sentence,
        period=period,
        period_begin=begins.isoformat() if begins else None,
        period_end=ends.isoformat() if ends else None,
        salt=salt,
        digest=digits,
        bucket=bucket,
        end=end,
    )


def _spoken(channels: tuple[str, ...]) -> str:
    return "every channel" if channels == (EVERY_CHANNEL,) else ", ".join(channels)
