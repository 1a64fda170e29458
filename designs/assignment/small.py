"""A small population from the tables, balanced and assigned at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from designs.assignment.assign import gated_query
from designs.assignment.balance import BalanceReport, Small, balanced
from designs.assignment.population import assignment_time, attribute
from designs.assignment.steps import Outcome
from designs.experiment import Experiment
from measure.errors import DataError, InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.engine.connection import Engine


def balanced_population(
    engine: Engine, experiment: Experiment, assigned_at: datetime | None = None
) -> tuple[pa.Table, BalanceReport]:
    """What becomes of every customer (unit_id, outcome, arm, assigned_at), and the balance report.

    Gates are judged as for any experiment; who passes them is drawn together. Attributes count as
    they are in the tables now: the report's ``inputs_hash`` tells whether they changed since.
    """
    import pyarrow as pa

    at = assignment_time(experiment, assigned_at)
    rows = engine.fetch(gated_query(engine, experiment, at).select("unit_id", "outcome"))
    rows = rows.sort_by("unit_id")
    outcomes = rows["outcome"].to_pylist()
    ids = rows["unit_id"].to_pylist()
    chosen = [
        unit for unit, outcome in zip(ids, outcomes, strict=True) if outcome == Outcome.ASSIGNED
    ]
    small = small_population(engine, experiment, chosen)
    arms, report = balanced(experiment, small)
    by_unit = dict(zip(small.unit_ids, arms, strict=True))
    columns = {
        "unit_id": rows["unit_id"],
        "outcome": rows["outcome"],
        "arm": pa.array([by_unit.get(unit) for unit in ids], pa.string()),
        "assigned_at": pa.array([at] * len(ids), pa.timestamp("us", "UTC")),
    }
    return pa.table(columns), report


def small_population(engine: Engine, experiment: Experiment, unit_ids: Sequence[str]) -> Small:
    """Attributes and strata of some units, for drawing or for a randomisation test."""
    import numpy as np

    wanted = experiment.balance
    if wanted is None:
        raise InputError(f"{experiment.key}: has no balance. Add balance: {{attributes: […]}}.")
    customers = engine.table("customers")
    columns = {f"value_{i}": attribute(customers, a) for i, a in enumerate(wanted.attributes)}
    strata = {f"stratum_{i}": attribute(customers, a) for i, a in enumerate(wanted.strata)}
    query = customers.select(unit_id=customers.customer_id, **columns, **strata)
    found = {row["unit_id"]: row for row in engine.fetch(query).to_pylist()}
    gone = next((unit for unit in unit_ids if unit not in found), None)
    if gone is not None:
        raise DataError(
            f"table customers: unit {gone!r} of {experiment.key} is not there any more."
        )
    values = [
        [_number(found[unit][f"value_{i}"], name) for i, name in enumerate(wanted.attributes)]
        for unit in unit_ids
    ]
    labels = [repr([found[unit][name] for name in strata]) for unit in unit_ids]
    shape = (len(unit_ids), len(wanted.attributes))
    return Small.of(unit_ids, np.array(values, dtype=np.float64).reshape(shape), labels)


def _number(value: Any, name: str) -> float:
    """A value as a number, missing ones as NaN."""
    if value is None or value == "":
        return math.nan
    try:
        number = float(value)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise DataError(
            f"table customers: {name} == {value!r}, must be a number to be balanced. Correct it, "
            "or leave it empty where it is unknown."
        )
    return number
