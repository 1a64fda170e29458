"""What a unit table may not hold; each refusal names column, value and way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measure.engine.labels import label_of
from measure.engine.profile import Scan
from measure.engine.roles import Roles
from measure.errors import DataError, hint
from measure.plan import AnalysisPlan

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Table


def refuse_stray_arms(
    engine: Engine, table: Table, plan: AnalysisPlan, arm_column: str, where: str
) -> None:
    """Refuse a table without rows, and units outside the plan's arms."""
    arms = engine.fetch(table.group_by("a").aggregate(units=table.count()))
    if not arms.num_rows:
        raise DataError(f"{where}: there are no rows below the header.")
    for row in sorted(arms.to_pylist(), key=lambda row: str(row["a"])):
        if label_of(row["a"]) not in plan.arms or row["a"] in (None, ""):
            raise _stray_arm(plan, arm_column, row["a"], int(row["units"]), where)


def _stray_arm(plan: AnalysisPlan, column: str, value: object, units: int, where: str) -> DataError:
    if value is None or value == "":
        return DataError(
            f"{where}: arm column {column!r} is empty in {units:,} rows. "
            "Every unit needs the arm it was assigned to; leave out units that had none."
        )
    arm = label_of(value)
    return DataError(
        f"{where}: arm column {column!r} holds {arm!r} ({units:,} rows), which is not "
        f"one of the plan's arms. {hint(arm, plan.arms)}"
    )


def refuse_fractions(engine: Engine, table: Table, roles: Roles, scan: Scan, where: str) -> None:
    """Proportions are 0 or 1, and so is exposure, which is known of every unit."""
    for column, metric in roles.metrics.items():
        if metric.kind == "proportion" and not _zero_or_one(scan, column):
            shown = _other_value(engine, table, column)
            raise DataError(
                f"{where}: metric {metric.name!r} is a proportion, but column "
                f"{metric.column!r} holds {shown:g}; only 0 and 1 are allowed. "
                "Use kind: mean for amounts."
            )
    for column in dict.fromkeys(roles.exposures.values()):
        name, missing = roles.sources[column], scan.columns[column].profile.missing
        if not _zero_or_one(scan, column):
            shown = _other_value(engine, table, column)
            raise DataError(
                f"{where}: exposure column {name!r} holds {shown:g}; only 0 and 1 are allowed."
            )
        if missing:
            raise DataError(
                f"{where}: exposure column {name!r} is empty in {missing:,} rows. "
                "Write 0 where a unit was not reached."
            )


def refuse_events(engine: Engine, table: Table, roles: Roles, scan: Scan, where: str) -> None:
    """Times begin at 0, and events are 0 or 1."""
    for column, event in roles.events.items():
        metric, minimum = roles.metrics[column], scan.columns[column].profile.minimum
        if minimum is not None and minimum < 0:
            raise DataError(
                f"{where}: metric {metric.name!r} is a {metric.kind}, but column "
                f"{metric.column!r} holds {minimum:g}; a time cannot be negative. "
                "Count time from assignment."
            )
        if not _zero_or_one(scan, event):
            shown = _other_value(engine, table, event)
            raise DataError(
                f"{where}: event column {metric.event!r} of metric {metric.name!r} holds "
                f"{shown:g}; only 0 and 1 are allowed. Write 1 where the time ended in the event."
            )


def refuse_kinds_in_clusters(plan: AnalysisPlan, cluster: str, where: str) -> None:
    """Refuse metrics whose interval is not valid for rows below the unit of randomisation."""
    for metric in plan.metrics:
        if metric.kind in ("quantile", "retention", "duration"):
            raise DataError(
                f"{where}: metric {metric.name!r} of kind {metric.kind} cannot be analysed over "
                f"the rows of cluster {cluster!r}. Give one row per {cluster} instead."
            )


def _zero_or_one(scan: Scan, column: str) -> bool:
    scanned = scan.columns[column]
    p = scanned.profile
    if p.minimum is None or p.maximum is None:
        return True
    return not scanned.off_grid.get(1, 1) and p.minimum >= 0 and p.maximum <= 1


def _other_value(engine: Engine, table: Table, column: str) -> float:
    """Return a value that is neither 0 nor 1."""
    value = table[column]
    other = table.filter((value != 0) & (value != 1)).aggregate(value=value.max())
    return float(engine.fetch(other).to_pylist()[0]["value"])
