"""Switchback schedules: which unit has which arm in which block of time.

Blocks form rounds as long as the shares need (two for halves). In each round every unit has every
arm exactly as often as designed, and at each moment the arms are spread over the units as evenly as
their number allows: the order of a round is drawn by hash, and units enter it one step apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from designs.assignment.hashing import Purpose, bucket, purpose_salt
from designs.experiment import Experiment
from measure.errors import InputError
from measure.results import Result

LONGEST_ROUND = 24


@dataclass(frozen=True, slots=True)
class Block(Result):
    """One unit in one block; outcomes count from ``measured_from`` until ``end`` (UTC)."""

    unit: str
    block: int
    begin: datetime
    measured_from: datetime
    end: datetime
    arm: str


def switchback_schedule(experiment: Experiment) -> tuple[Block, ...]:
    """All blocks by time and unit; :class:`InputError` when they do not fill whole rounds."""
    return tuple(_blocks(experiment, round_of(experiment), _rounds(experiment)))


def redrawn_schedules(
    experiment: Experiment, replicates: int = 999
) -> Iterator[dict[tuple[str, int], str]]:
    """Arms by (unit, block) as other draws of the same procedure would have laid them out."""
    slots, rounds = round_of(experiment), _rounds(experiment)
    for replicate in range(1, replicates + 1):
        yield {
            (unit, number * len(slots) + place): arm
            for number in range(rounds)
            for place, unit, arm in _round(experiment, slots, number, replicate)
        }


def round_of(experiment: Experiment) -> tuple[str, ...]:
    """The arms of one round, each as often as its share says."""
    shares = {name: Fraction(repr(float(share))) for name, share in experiment.arms.items()}
    length = math.lcm(*(share.denominator for share in shares.values()))
    if length > LONGEST_ROUND or sum(shares.values()) != 1:
        raise InputError(
            f"{experiment.key}: arms: the shares of a switchback must be parts of at most "
            f"{LONGEST_ROUND} blocks. Use shares such as 0.5, 0.25 or 0.2."
        )
    return tuple(name for name in sorted(shares) for _ in range(int(shares[name] * length)))


def _rounds(experiment: Experiment) -> int:
    """How many whole rounds the schedule holds."""
    wanted, schedule = experiment.switchback, experiment.schedule
    if wanted is None or schedule is None or schedule.end is None:
        raise InputError(f"{experiment.key}: is no switchback. Add switchback: {{units: […], …}}.")
    size, length = len(round_of(experiment)), timedelta(hours=wanted.block_hours)
    blocks, rest = divmod(schedule.end - schedule.start, length)
    rounds, over = divmod(blocks, size)
    if rest or over or not rounds:
        whole = schedule.start + length * size * max(1, rounds)
        raise InputError(
            f"{experiment.key}: schedule: {(schedule.end - schedule.start) / length:g} blocks of "
            f"{wanted.block_hours} hours do not fill rounds of {size}. End it at "
            f"{whole:%Y-%m-%dT%H:%M}Z, for example."
        )
    return rounds


def _round(
    experiment: Experiment, slots: tuple[str, ...], number: int, replicate: int = 0
) -> Iterator[tuple[int, str, str]]:
    """Place in the round, unit and arm; replicate 0 is the real draw, others only test it."""
    name = f"{experiment.salt}/{number}" + (f"/redrawn/{replicate}" if replicate else "")
    salt = purpose_salt(Purpose.SCHEDULE, name)
    order = sorted(range(len(slots)), key=lambda slot: bucket(salt, f"slot {slot}"))
    units = experiment.switchback.units if experiment.switchback else ()
    ranks = enumerate(sorted(units, key=lambda unit: bucket(salt, f"unit {unit}")))
    ranked = sorted(ranks, key=lambda pair: pair[1])
    for place in range(len(slots)):
        for rank, unit in ranked:
            yield place, unit, slots[order[(place + rank) % len(slots)]]


def _blocks(experiment: Experiment, slots: tuple[str, ...], rounds: int) -> Iterator[Block]:
    wanted, schedule = experiment.switchback, experiment.schedule
    if wanted is None or schedule is None:
        return
    length, washout = timedelta(hours=wanted.block_hours), timedelta(hours=wanted.washout_hours)
    for number in range(rounds):
        for place, unit, arm in _round(experiment, slots, number):
            block = number * len(slots) + place
            begin = schedule.start + length * block
            yield Block(unit, block, begin, begin + washout, begin + length, arm)
