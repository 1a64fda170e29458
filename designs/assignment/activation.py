"""Who may be reached on a channel, and who must not: computed in the engine from what was assigned.

``suppression_query`` lists everybody who is held out of a channel or is the control of an
experiment that runs on it; ``audience_query`` those who may meet the campaign of one experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from designs.assignment.declared import Consent, StandingHoldout
from designs.assignment.hashing import share_threshold
from designs.assignment.holdouts import holdout_salt, in_force
from designs.assignment.population import consenting
from designs.experiment import Experiment
from measure.errors import InputError, MissingFile

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Table, Value

PURPOSE = "marketing"
"""Purpose of the consent without which nobody is on a list, whatever its experiment asks for."""


def suppression_query(
    engine: Engine, running: Sequence[Experiment], channel: str, at: datetime
) -> Table:
    """Units that must not be reached on a channel at a moment: (unit_id, holdouts, control_of).

    One row per unit. ``holdouts`` and ``control_of`` list names of holdouts and keys of
    experiments, with a blank between. Members of a holdout may meet no campaign at all; controls
    none of their experiment's. An experiment that names no channels counts for every channel.
    """
    from measure.engine.expressions import literal, union

    held = held_out_query(engine, running, channel, at)
    controls = _controls(engine, [e for e in running if not e.channels or channel in e.channels])
    rows = held.select("unit_id", "holdouts", control_of=literal(""))
    if controls is not None:
        rows = union(
            rows,
            controls.select("unit_id", "control_of", holdouts=literal(""))[
                ["unit_id", "holdouts", "control_of"]
            ],
        )
    found = rows.group_by("unit_id").aggregate(
        holdouts=rows.holdouts.max(), control_of=rows.control_of.max()
    )
    return found.order_by("unit_id")


def held_out_query(
    engine: Engine, running: Sequence[Experiment], channel: str, at: datetime
) -> Table:
    """Customers in a holdout that covers a channel at a moment: (unit_id, holdouts)."""
    from measure.engine.expressions import literal

    holdouts = [holdout for holdout in in_force(running) if holdout.covers(channel)]
    customers = _needed(engine, "customers")
    units = customers.select(unit_id=customers.customer_id)
    if not holdouts:
        return units.filter(literal(value=False)).mutate(holdouts=literal(""))
    inside = {h.name: _inside(engine, units, h, at.astimezone(UTC)) for h in holdouts}
    rows = units.mutate(holdouts=_listed(inside))
    return rows.filter(rows.holdouts != "")


def audience_query(
    engine: Engine,
    experiment: Experiment,
    running: Sequence[Experiment],
    channel: str,
    at: datetime,
    now: datetime | None = None,
) -> Table:
    """Units that may meet an experiment's campaign on a channel: (unit_id, arm), by id.

    They were assigned an arm other than the control, have consented to marketing on the channel
    (and to the experiment's own purpose), and are in no holdout that covers the channel. Consent
    must have been in force at ``at``, as it was known then; and it must be in force at the later of
    ``at`` and ``now``, by everything that is known, because it is now that a list leaves. Controls
    of other experiments stay in: what they miss is the other campaign.
    """
    if experiment.channels and channel not in experiment.channels:
        raise InputError(
            f"{experiment.key} does not run on channel {channel!r}; it runs on "
            f"{', '.join(experiment.channels)}."
        )
    from measure.people import consent as recorded

    assigned = _needed(engine, "assignments")
    mine = assigned.filter(assigned.experiment == experiment.key)
    allowed = mine.filter(mine.arm != experiment.control).select("unit_id", "arm")
    last = max(at, now or at).astimezone(UTC)
    for purpose in sorted({PURPOSE, experiment.consent.purpose if experiment.consent else PURPOSE}):
        asked = Consent(purpose=purpose, channel=channel)
        then = consenting(engine, asked, at.astimezone(UTC))
        today = recorded.consenting(engine.table("consents"), purpose, channel, last)
        for granted in (then, today):
            allowed = allowed.semi_join(granted, allowed.unit_id == granted.customer_id)
    held = held_out_query(engine, running, channel, at)
    return allowed.anti_join(held, allowed.unit_id == held.unit_id).order_by("unit_id")


def _inside(engine: Engine, units: Table, holdout: StandingHoldout, at: datetime) -> Value:
    from measure.engine.bucketing import bucket_below

    end = share_threshold(holdout.share)
    return bucket_below(units.unit_id, holdout_salt(holdout, at), end, engine)


def _listed(conditions: Mapping[str, Value]) -> Value:
    """The names whose conditions hold, in order, with blanks between."""
    from measure.engine.expressions import ifelse, literal

    text: Value = literal("")
    for name, holds in conditions.items():
        text = text + ifelse(holds, " " + name, "")
    # Not strip(): on Spark it takes away the letter v as well (Ibis 12 writes a vertical tab so).
    return text.substr(1)


def _controls(engine: Engine, experiments: Sequence[Experiment]) -> Table | None:
    """Units that are the control of experiments: (unit_id, control_of)."""
    from measure.engine.expressions import ifelse, or_

    if not experiments:
        return None
    assigned = _needed(engine, "assignments")
    known = set(engine.fetch(assigned.select("experiment").distinct())["experiment"].to_pylist())
    for experiment in experiments:
        if experiment.key not in known:
            raise InputError(
                f"{experiment.key} runs, but nobody is assigned, so its controls are not known. "
                f"Run `truelift assign {experiment.key}` first."
            )
    mine = {
        e.key: (assigned.experiment == e.key) & (assigned.arm == e.control) for e in experiments
    }
    rows = assigned.filter(or_(*mine.values()))
    flags = {
        f"flag_{i}": ifelse(rows.experiment == key, 1, 0).max()
        for i, key in enumerate(sorted(mine))
    }
    units = rows.group_by("unit_id").aggregate(**flags)
    listed = {key: units[f"flag_{i}"] == 1 for i, key in enumerate(sorted(mine))}
    return units.select("unit_id", control_of=_listed(listed))


def _needed(engine: Engine, table: str) -> Table:
    if not engine.has(table):
        way_out = (
            "Run `truelift assign KEY` first."
            if table == "assignments"
            else f"Load it: truelift load {table} FILE…"
        )
        raise MissingFile.at(f"table {table}", way_out)
    return engine.table(table)
