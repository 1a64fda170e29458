"""The unit table: one row per randomisation unit, and what estimators may ask of it.

Any engine serves a ``table:`` source; a file is always read by the embedded engine. All checks of
the data happen when the table is opened, before any estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from measure.engine import profile
from measure.engine.connection import Engine, connect
from measure.engine.files import SourceFile, opened, parquet_ranges
from measure.engine.labels import MISSING, label_of, labelled
from measure.engine.moments_query import Block, NotFinite, Query, cell_moments, joint_cells
from measure.engine.profile import ColumnProfile, Scale, Scan, Scanned
from measure.engine.sources import (
    canonical,
    file_table,
    known_columns,
    needed,
    refuse_repeated_ids,
)
from measure.errors import DataError, UnknownName, hint
from measure.moments import CellMoments
from measure.plan import AnalysisPlan, Metric, Source
from measure.results import Cohort

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.engine.expressions import Column, Table

__all__ = [
    "MISSING",
    "ColumnProfile",
    "UnitTable",
    "ValueCounts",
    "open_source",
    "unit_table",
]


@dataclass(frozen=True, slots=True, eq=False)
class ValueCounts:
    """How many units have each value: ``values`` (k,) ascending, ``counts`` (k,)."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]


def open_source(engine: Engine, source: Source, plan: AnalysisPlan, base: Path) -> UnitTable:
    """The unit table a spec points at: a file relative to ``base``, or a table of the engine.

    Raises :class:`MissingFile`, :class:`UnknownName` (with the nearest name) or
    :class:`DataError` (column, value, row and way out).
    """
    if source.table is not None:
        table = engine.table(source.table)
        return unit_table(
            engine, table, source.arm, plan, id_column=source.id, where=f"table {source.table!r}"
        )
    with opened((base / str(source.path)).resolve()) as file:
        embedded = connect("duckdb://")
        table = file_table(embedded, file, needed(source, plan))
        return _checked_table(
            embedded, table, source.arm, plan, source.id, str(source.path), file=file
        )


def unit_table(
    engine: Engine,
    table: Table,
    arm_column: str,
    plan: AnalysisPlan,
    *,
    id_column: str | None = None,
    where: str = "the unit table",
) -> UnitTable:
    """A unit table from any table expression with an arm column; checked like a source."""
    return _checked_table(engine, table, arm_column, plan, id_column, where)


def _checked_table(
    engine: Engine,
    table: Table,
    arm_column: str,
    plan: AnalysisPlan,
    id_column: str | None,
    where: str,
    file: SourceFile | None = None,
) -> UnitTable:
    known_columns(table, arm_column, id_column, plan, where)
    if id_column is not None:
        refuse_repeated_ids(engine, table, id_column, where)
    read = canonical(engine, table, arm_column, id_column, plan, where)
    units = UnitTable(engine, read, plan, has_id=id_column is not None, where=where, file=file)
    if file is not None and file.path != file.given:
        units.keep()  # the unpacked copy is about to go
    units.check(arm_column)
    return units


class UnitTable:
    """One row per unit with arm, metrics, covariates and cohort dimensions of a plan.

    Made by :func:`open_source` and :func:`unit_table`, which check the data.
    """

    def __init__(
        self,
        engine: Engine,
        table: Table,
        plan: AnalysisPlan,
        *,
        has_id: bool,
        where: str,
        file: SourceFile | None = None,
    ) -> None:
        self.engine = engine
        self.plan = plan
        self._table = table
        self._has_id = has_id
        self._where = where
        self._file = file
        self._counted: dict[tuple[str, str | None], dict[tuple[str, str], ValueCounts]] = {}

    @property
    def data_hash(self) -> str | None:
        """SHA-256 of the source file's bytes, 64 hex digits; ``None`` for tables."""
        return None if self._file is None else self._file.sha256

    def check(self, arm_column: str) -> None:
        """Refuse a table without rows, units outside the plan's arms and impossible values."""
        arms = self.engine.fetch(self._table.group_by("a").aggregate(units=self._table.count()))
        if not arms.num_rows:
            raise DataError(f"{self._where}: there are no rows below the header.")
        for row in sorted(arms.to_pylist(), key=lambda row: str(row["a"])):
            if label_of(row["a"]) not in self.plan.arms or row["a"] in (None, ""):
                raise self._stray_arm(arm_column, row["a"], int(row["units"]))
        for column, metric in self._metrics.items():
            if metric.kind == "proportion":
                self._refuse_fractions(column, metric)

    def keep(self) -> None:
        """Copy the needed columns into the engine, so that the source may go away."""
        self._table = self.engine.materialize(self._table)

    def moments(self) -> CellMoments:
        """Moments of every metric × cohort × arm; each cell has columns (metric, *covariates).

        Missing values follow the metric's ``null``; a missing covariate counts as its mean.
        """
        groups = joint_cells(len(self.plan.arms), self._scan.distinct)
        try:
            return cell_moments(
                self.engine, self._ready, self._query, tuple(self.plan.arms), label_of, groups
            )
        except NotFinite as error:
            raise self._not_finite() from error

    def value_counts(self, metric: str, cohort: Cohort | None = None) -> dict[str, ValueCounts]:
        """Units at each value per arm, after the metric's ``null`` and ``winsorize``.

        Arms without a value have empty arrays. Raises :class:`UnknownName` for a metric or
        dimension that the plan does not have.
        """
        column = self._column_of(metric)
        dimension = None if cohort is None else cohort.dimension
        if dimension is not None and dimension not in self._dimensions:
            raise UnknownName.of("cohort dimension", dimension, self._dimensions)
        key = (metric, dimension)
        if key not in self._counted:
            self._counted[key] = self._count_values(column, dimension)
        value = "" if cohort is None else cohort.value
        nobody = ValueCounts(np.empty(0), np.empty(0, dtype=np.int64))
        return {arm: self._counted[key].get((value, arm), nobody) for arm in self.plan.arms}

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """Rows as Arrow: ``arm`` and the named metrics, covariates and cohort dimensions.

        Metrics follow their ``null`` and ``winsorize``, missing covariates are their mean, cohort
        dimensions are text. The order is a fixed shuffle that does not depend on the engine.
        """
        import pyarrow as pa

        chosen = [name for name in dict.fromkeys(columns) if name != "arm"]
        internal = {name: self._internal(name) for name in chosen}
        keys = ["id"] if self._has_id else []
        wanted = list(dict.fromkeys(["a", *internal.values(), *keys]))
        fetched = self.engine.fetch(self._ready.select(*wanted))
        for position, name in enumerate(fetched.column_names):
            if name == "a" or name.startswith("c"):
                fetched = fetched.set_column(position, name, labelled(fetched[name]))
        fetched = fetched.sort_by([(name, "ascending") for name in (keys or wanted)])
        shuffle = np.random.default_rng(self.plan.seed).permutation(fetched.num_rows)
        fetched = fetched.take(pa.array(shuffle))
        shown = {"arm": fetched["a"], **{name: fetched[c] for name, c in internal.items()}}
        return pa.table(shown)

    def profile(self) -> dict[str, ColumnProfile]:
        """What the source holds per metric and covariate, before any policy is applied."""
        columns = {column: scanned.profile for column, scanned in self._scan.columns.items()}
        if self._scan.guessed:
            means = {column: self._table[column].mean() for column in sorted(self._scan.guessed)}
            row = self.engine.fetch(self._table.aggregate(**means)).to_pylist()[0]
            columns |= {column: replace(columns[column], mean=mean) for column, mean in row.items()}
        return {self._names[column]: found.rounded() for column, found in columns.items()}

    # The columns of the canonical table, by role.

    @cached_property
    def _metrics(self) -> dict[str, Metric]:
        return {f"m{i}": metric for i, metric in enumerate(self.plan.metrics)}

    @cached_property
    def _covariates(self) -> dict[str, str]:
        return {f"x{i}": name for i, name in enumerate(self.plan.covariates)}

    @cached_property
    def _dimensions(self) -> dict[str, str]:
        return {name: f"c{i}" for i, name in enumerate(self.plan.cohorts)}

    @cached_property
    def _names(self) -> dict[str, str]:
        return {column: metric.name for column, metric in self._metrics.items()} | self._covariates

    def _column_of(self, metric: str) -> str:
        found = {m.name: column for column, m in self._metrics.items()}
        if metric not in found:
            raise UnknownName.of("metric", metric, found)
        return found[metric]

    def _internal(self, name: str) -> str:
        known = {shown: column for column, shown in self._names.items()}
        known = self._dimensions | known
        if name not in known:
            raise UnknownName.of("column", name, known, self._where)
        return known[name]

    # Policies: what a missing or extreme value becomes.

    @cached_property
    def _scan(self) -> Scan:
        file = self._file
        ranges = parquet_ranges(file.path) if file and file.format == "parquet" else {}
        columns = {c: metric.column for c, metric in self._metrics.items()} | self._covariates
        known = {column: ranges[name] for column, name in columns.items() if name in ranges}
        shares = [c for c, metric in self._metrics.items() if metric.kind == "proportion"]
        dimensions = list(self._dimensions.values())
        return profile.scan(self.engine, self._table, self._names, dimensions, known, shares)

    def _not_finite(self) -> DataError:
        """Find the column that holds NaN by reading all of them."""
        profile.scan(self.engine, self._table, self._names)
        return DataError(f"{self._where}: a value is not a finite number. Leave it empty.")

    @cached_property
    def _policies(self) -> tuple[dict[str, Column], dict[str, Scanned]]:
        """Replacement expressions, and what is known of each column once they are applied."""
        table, changed, known = self._table, {}, dict(self._scan.columns)
        for column, metric in self._metrics.items():
            if metric.null == "zero" and known[column].profile.missing:
                changed[column] = table[column].fill_null(profile.number(0.0))
                known[column] = profile.with_zeros(known[column])
        capped = self._caps(table.mutate(**changed))
        for column, cap in capped.items():
            value = changed.get(column, table[column])
            changed[column] = (value > profile.number(cap)).ifelse(profile.number(cap), value)
        if capped:
            names = {column: self._names[column] for column in capped}
            known |= profile.scan(self.engine, table.mutate(**changed), names).columns
        return changed, known

    def _caps(self, table: Table) -> dict[str, float]:
        """The pooled percentile (linear interpolation) above which values are set to it."""
        wanted = {
            column: table[column].quantile(metric.winsorize)
            for column, metric in self._metrics.items()
            if metric.winsorize is not None
        }
        if not wanted:
            return {}
        row = self.engine.fetch(table.aggregate(**wanted)).to_pylist()[0]
        return {column: float(cap) for column, cap in row.items() if cap is not None}

    @cached_property
    def _fills(self) -> dict[str, float]:
        """Mean of each covariate with missing values, summed on its grid."""
        scans = {c: self._scan.columns[c] for c in self._covariates}
        gaps = {c: s.scale() for c, s in scans.items() if s.profile.missing}
        if not gaps:
            return {}
        sums = {c: scale.deviation(self._table[c]).sum() for c, scale in gaps.items()}
        with self.engine.in_order():
            row = self.engine.fetch(self._table.aggregate(**sums)).to_pylist()[0]
        fills = {}
        for column, scale in gaps.items():
            n = scans[column].profile.n
            fills[column] = (scale.shift + float(row[column] or 0.0) / max(n, 1)) * scale.unit
        return fills

    @cached_property
    def _ready(self) -> Table:
        """The canonical table with all policies applied."""
        changed = dict(self._policies[0])
        for column, fill in self._fills.items():
            changed[column] = self._table[column].fill_null(profile.number(fill))
        return self._table.mutate(**changed) if changed else self._table

    @cached_property
    def _query(self) -> Query:
        known = self._policies[1]
        scales = {column: scanned.scale() for column, scanned in known.items()}
        for column, fill in self._fills.items():
            scales[column] = Scale(0, fill)  # its mean need not lie on any grid
        covariates = tuple(self._covariates)
        gaps = [c for c in self._metrics if known[c].profile.missing]
        full = tuple(c for c in self._metrics if c not in gaps)
        blocks = [Block(full, covariates, None)] if full else []
        blocks += [Block((column,), covariates, column) for column in gaps]
        return Query("a", self._dimensions, self._names, scales, tuple(blocks), self._raw_counts)

    @cached_property
    def _raw_counts(self) -> dict[str, str]:
        return {
            metric.name: f"raw_{column}" if metric.null == "zero" else column
            for column, metric in self._metrics.items()
            if self._scan.columns[column].profile.missing
        }

    def _count_values(
        self, column: str, dimension: str | None
    ) -> dict[tuple[str, str], ValueCounts]:
        keys = ["a", *([self._dimensions[dimension]] if dimension else [])]
        table = self._ready.filter(self._ready[column].notnull())
        counted = table.group_by([*keys, column]).aggregate(units=table.count())
        frame = self.engine.fetch(counted)
        arms = np.array(labelled(frame["a"]).to_pylist(), dtype=object)
        cohorts = np.full(len(arms), "", dtype=object)
        if dimension:
            cohorts = np.array(labelled(frame[keys[1]]).to_pylist(), dtype=object)
        values = np.asarray(frame[column].to_numpy(), dtype=float)
        if not np.isfinite(values).all():
            raise self._not_finite()
        counts = np.asarray(frame["units"].to_numpy(), dtype=np.int64)
        order = np.lexsort([values, arms.astype(str), cohorts.astype(str)])
        return _split(cohorts[order], arms[order], values[order], counts[order])

    # Refusals.

    def _stray_arm(self, column: str, value: object, units: int) -> DataError:
        if value is None or value == "":
            return DataError(
                f"{self._where}: arm column {column!r} is empty in {units:,} rows. "
                "Every unit needs the arm it was assigned to; leave out units that had none."
            )
        arm = label_of(value)
        return DataError(
            f"{self._where}: arm column {column!r} holds {arm!r} ({units:,} rows), which is not "
            f"one of the plan's arms. {hint(arm, self.plan.arms)}"
        )

    def _refuse_fractions(self, column: str, metric: Metric) -> None:
        scanned = self._scan.columns[column]
        p = scanned.profile
        if p.minimum is None or p.maximum is None:
            return
        if not scanned.off_grid.get(1, 1) and p.minimum >= 0 and p.maximum <= 1:
            return
        value = self._table[column]
        other = self._table.filter((value != 0) & (value != 1)).aggregate(value=value.max())
        shown = self.engine.fetch(other).to_pylist()[0]["value"]
        raise DataError(
            f"{self._where}: metric {metric.name!r} is a proportion, but column "
            f"{metric.column!r} holds {shown:g}; only 0 and 1 are allowed. "
            "Use kind: mean for amounts."
        )


def _split(
    cohorts: NDArray[Any], arms: NDArray[Any], values: NDArray[Any], counts: NDArray[Any]
) -> dict[tuple[str, str], ValueCounts]:
    """Cut arrays sorted by cohort, arm and value at every change of cohort or arm."""
    if not len(values):
        return {}
    change = (cohorts[1:] != cohorts[:-1]) | (arms[1:] != arms[:-1])
    starts = np.concatenate([[0], np.flatnonzero(change) + 1, [len(values)]])
    return {
        (cohorts[a], arms[a]): ValueCounts(values[a:b], counts[a:b]) for a, b in pairwise(starts)
    }
