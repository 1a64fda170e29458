"""The unit table: one row per randomisation unit, and what estimators may ask of it.

Any engine serves a ``table:`` source; a file is always read by the embedded engine. All checks of
the data happen when the table is opened, before any estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from measure.engine import profile
from measure.engine.clusters import clustered, refuse_split_clusters
from measure.engine.connection import Engine, connect
from measure.engine.event_counts import EventCounts, event_counts
from measure.engine.files import SourceFile, opened, parquet_ranges
from measure.engine.gram_query import gram_matrices, values_that_name, with_folds
from measure.engine.labels import MISSING, label_of, labelled
from measure.engine.moments_query import (
    Block,
    NotFinite,
    Query,
    cell_moments,
    combination_moments,
    joint_cells,
    stratum_moments,
)
from measure.engine.policies import Policies
from measure.engine.profile import ColumnProfile, Scan
from measure.engine.refusals import (
    refuse_events,
    refuse_fractions,
    refuse_kinds_in_clusters,
    refuse_stray_arms,
)
from measure.engine.roles import CLUSTER, Roles
from measure.engine.sources import (
    Keys,
    canonical,
    file_table,
    known_columns,
    needed,
    refuse_repeated_ids,
)
from measure.errors import DataError, InputError, UnknownName
from measure.grams import Grams
from measure.moments import CellMoments, JointMoments
from measure.plan import AnalysisPlan, Source
from measure.results import Cohort

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.engine.expressions import Table

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
    if source.period is not None:
        rule = "gives each unit several rows, and an analysis needs one"
        raise InputError.rule("source.period", source.period, rule, "Use `truelift curve`.")
    keys = Keys(source.arm, source.id, source.cluster)
    if source.table is not None:
        table = engine.table(source.table)
        return _checked_table(engine, table, keys, plan, f"table {source.table!r}")
    with opened((base / str(source.path)).resolve()) as file:
        embedded = connect("duckdb://")
        table = file_table(embedded, file, needed(keys, plan))
        return _checked_table(embedded, table, keys, plan, str(source.path), file)


def unit_table(
    engine: Engine,
    table: Table,
    arm_column: str,
    plan: AnalysisPlan,
    *,
    id_column: str | None = None,
    cluster_column: str | None = None,
    where: str = "the unit table",
) -> UnitTable:
    """A unit table from any table expression with an arm column; checked like a source."""
    return _checked_table(engine, table, Keys(arm_column, id_column, cluster_column), plan, where)


def _checked_table(
    engine: Engine,
    table: Table,
    keys: Keys,
    plan: AnalysisPlan,
    where: str,
    file: SourceFile | None = None,
) -> UnitTable:
    known_columns(table, keys, plan, where)
    if keys.cluster is not None:
        refuse_kinds_in_clusters(plan, keys.cluster, where)
    if keys.id is not None:
        refuse_repeated_ids(engine, table, keys.id, where)
    roles = Roles.of(plan)
    read = canonical(engine, table, keys, roles, where)
    units = UnitTable(engine, read, plan, roles, has_id=keys.id is not None, where=where, file=file)
    if file is not None and file.path != file.given:
        units.keep()  # the unpacked copy is about to go
    units.check(keys.arm)
    return units if keys.cluster is None else units.in_clusters(keys.arm, keys.cluster)


class UnitTable:
    """One row per unit with arm, metrics, covariates and cohort dimensions of a plan.

    Made by :func:`open_source` and :func:`unit_table`, which check the data. With a cluster the
    unit is the cluster, and a metric's column is the sum over its rows.
    """

    def __init__(
        self,
        engine: Engine,
        table: Table,
        plan: AnalysisPlan,
        roles: Roles,
        *,
        has_id: bool,
        where: str,
        file: SourceFile | None = None,
    ) -> None:
        self.engine = engine
        self.plan = plan
        self._table = table
        self._roles = roles
        self._has_id = has_id
        self._where = where
        self._file = file
        self._counted: dict[tuple[str, str | None], dict[tuple[str, str], ValueCounts]] = {}
        self._events: dict[tuple[str, str | None], dict[tuple[str, str], EventCounts]] = {}

    @property
    def data_hash(self) -> str | None:
        """SHA-256 of the source file's bytes, 64 hex digits; ``None`` for tables."""
        return None if self._file is None else self._file.sha256

    def check(self, arm_column: str) -> None:
        """Refuse a table without rows, units outside the plan's arms and impossible values."""
        refuse_stray_arms(self.engine, self._table, self.plan, arm_column, self._where)
        roles = self._roles
        if roles.exposures or any(m.kind == "proportion" for m in roles.metrics.values()):
            refuse_fractions(self.engine, self._table, roles, self._scan, self._where)
        if roles.events:
            refuse_events(self.engine, self._table, roles, self._scan, self._where)

    def in_clusters(self, arm_column: str, cluster_column: str) -> UnitTable:
        """The table with one row per cluster; refuses clusters that lie in two arms or cohorts."""
        named = {"a": arm_column, CLUSTER: cluster_column}
        refuse_split_clusters(self.engine, self._table, self._roles, named, self._where)
        together = clustered(self._policies)
        roles = self._roles.in_clusters()
        return UnitTable(
            self.engine, together, self.plan, roles, has_id=True, where=self._where, file=self._file
        )

    def keep(self) -> None:
        """Copy the needed columns into the engine, so that the source may go away."""
        self._table = self.engine.materialize(self._table)

    def moments(self) -> CellMoments:
        """Moments of every metric × cohort × arm; each cell has columns (metric, *covariates).

        Missing values follow the metric's ``null``; a missing covariate counts as its mean.
        """
        return self._asked(cell_moments, self._query)

    def moments_by_stratum(self) -> Mapping[str, CellMoments]:
        """The same per stratum: per combination of the plan's ``strata``, which add up."""
        return self._asked(stratum_moments, replace(self._query, strata=self._roles.strata))

    def joint_moments(self) -> JointMoments:
        """Moments per combination of cohorts, one of every dimension, that occurs."""
        return self._asked(combination_moments, self._query)

    def _asked[T](self, scan: Callable[..., T], query: Query) -> T:
        groups = joint_cells(len(self.plan.arms), self._scan.distinct)
        try:
            return scan(self.engine, self._ready, query, tuple(self.plan.arms), label_of, groups)
        except NotFinite as error:
            raise self._not_finite() from error

    def value_counts(self, metric: str, cohort: Cohort | None = None) -> dict[str, ValueCounts]:
        """Units at each value per arm, after the metric's ``null`` and ``winsorize``.

        Arms without a value have empty arrays. Raises :class:`UnknownName` for a metric or
        dimension that the plan does not have.
        """
        column, dimension = self._column_of(metric), self._dimension_of(cohort)
        key = (metric, dimension)
        if key not in self._counted:
            self._counted[key] = self._count_values(column, dimension)
        value = "" if cohort is None else cohort.value
        nobody = ValueCounts(np.empty(0), np.empty(0, dtype=np.int64))
        return {arm: self._counted[key].get((value, arm), nobody) for arm in self.plan.arms}

    def event_counts(self, metric: str, cohort: Cohort | None = None) -> dict[str, EventCounts]:
        """Units at each time up to the horizon of a metric with an event, per arm.

        Raises :class:`UnknownName` like :meth:`value_counts`.
        """
        column, dimension = self._column_of(metric), self._dimension_of(cohort)
        key, horizon = (metric, dimension), self._roles.metrics[column].horizon
        if column not in self._roles.events or horizon is None:
            timed = [m.name for m in self.plan.metrics if m.event]
            raise UnknownName.of("metric with an event", metric, timed)
        if key not in self._events:
            columns = column, self._roles.events[column]
            keys = self._keys(dimension)
            self._events[key] = event_counts(self.engine, self._ready, columns, horizon, keys)
        value = "" if cohort is None else cohort.value
        nobody = EventCounts.nobody()
        return {arm: self._events[key].get((value, arm), nobody) for arm in self.plan.arms}

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """Rows as Arrow: ``arm`` and the named metrics, covariates and cohort dimensions.

        ``id`` may be named where the source has one. Metrics follow their ``null`` and
        ``winsorize``, missing covariates are their mean, cohort dimensions are text. The order is
        a fixed shuffle that does not depend on the engine.
        """
        import pyarrow as pa

        chosen = [name for name in dict.fromkeys(columns) if name != "arm"]
        internal = {name: self._internal(name) for name in chosen}
        keys = ["id"] if self._has_id else []
        wanted = list(dict.fromkeys(["a", *internal.values(), *keys]))
        fetched = self.engine.fetch(self._ready.select(*wanted))
        for position, name in enumerate(fetched.column_names):
            if name == "a" or name.startswith(("c", "g")):
                fetched = fetched.set_column(position, name, labelled(fetched[name]))
        fetched = fetched.sort_by([(name, "ascending") for name in (keys or wanted)])
        shuffle = np.random.default_rng(self.plan.seed).permutation(fetched.num_rows)
        fetched = fetched.take(pa.array(shuffle))
        shown = {"arm": fetched["a"], **{name: fetched[c] for name, c in internal.items()}}
        return pa.table(shown)

    def grams(self, dimensions: Sequence[str], folds: int) -> dict[str | None, tuple[Grams, ...]]:
        """Gram matrices of [1, metrics, covariates] per fold, cohort and arm.

        By cohort dimension, ``None`` for everybody; metrics with missing values have their own.
        """
        named = None if self._has_id else values_that_name(self._table, self._scan.columns)
        table = with_folds(self.engine, self._table, folds, self.plan.seed, named)
        changes = self._policies.changes
        ready = table.mutate(**changes) if changes else table
        groups = joint_cells(len(self.plan.arms), self._scan.distinct)
        try:
            return gram_matrices(
                self.engine,
                ready,
                self._query.without_companions(),
                dimensions,
                (tuple(self.plan.arms), folds),
                groups,
            )
        except NotFinite as error:
            raise self._not_finite() from error

    def profile(self) -> dict[str, ColumnProfile]:
        """What the source holds per metric and covariate, before any policy is applied."""
        columns = {column: scanned.profile for column, scanned in self._scan.columns.items()}
        if self._scan.guessed:
            means = {column: self._table[column].mean() for column in sorted(self._scan.guessed)}
            row = self.engine.fetch(self._table.aggregate(**means)).to_pylist()[0]
            columns |= {column: replace(columns[column], mean=mean) for column, mean in row.items()}
        shown = self._roles.shown
        return {shown[column]: columns[column].rounded() for column in shown}

    def _column_of(self, metric: str) -> str:
        found = {m.name: column for column, m in self._roles.metrics.items()}
        if metric not in found:
            raise UnknownName.of("metric", metric, found)
        return found[metric]

    def _dimension_of(self, cohort: Cohort | None) -> str | None:
        if cohort is not None and cohort.dimension not in self._roles.dimensions:
            raise UnknownName.of("cohort dimension", cohort.dimension, self._roles.dimensions)
        return None if cohort is None else cohort.dimension

    def _keys(self, dimension: str | None) -> list[str]:
        """Columns of the arm and, if wanted, of a cohort dimension."""
        return ["a", *([self._roles.dimensions[dimension]] if dimension else [])]

    def _internal(self, name: str) -> str:
        own = {"id": "id"} if self._has_id else {}
        known = own | self._roles.rows
        if name not in known:
            raise UnknownName.of("column", name, known, self._where)
        return known[name]

    @cached_property
    def _scan(self) -> Scan:
        file, roles = self._file, self._roles
        as_read = file is not None and file.format == "parquet" and not roles.clustered
        ranges = parquet_ranges(file.path) if file and as_read else {}
        # Of a pair, each loses values that the other one lacks, so the file's counts do not hold.
        pairs = {c for both in (roles.denominators, roles.events) for c in (*both, *both.values())}
        columns = {c: name for c, name in roles.sources.items() if c not in pairs}
        known = {column: ranges[name] for column, name in columns.items() if name in ranges}
        shares = [c for c, metric in roles.metrics.items() if metric.kind == "proportion"]
        shares += roles.exposures.values()
        groups = [*roles.dimensions.values(), *roles.strata.values()]
        return profile.scan(self.engine, self._table, roles.labels, groups, known, shares)

    def _not_finite(self) -> DataError:
        """Find the column that holds NaN by reading all of them."""
        profile.scan(self.engine, self._table, self._roles.labels)
        return DataError(f"{self._where}: a value is not a finite number. Leave it empty.")

    @cached_property
    def _policies(self) -> Policies:
        return Policies(self.engine, self._table, self._roles, self._scan)

    @property
    def _ready(self) -> Table:
        """The canonical table with all policies applied."""
        return self._policies.ready

    @cached_property
    def _query(self) -> Query:
        roles, policies = self._roles, self._policies
        covariates = tuple(roles.covariates)
        companions = {m: roles.companions(m) for m in roles.metrics}
        gaps = [c for c in roles.metrics if policies.has_gaps(c)]
        full = tuple(c for c in roles.metrics if c not in gaps)
        blocks = [Block(full, covariates, None, companions)] if full else []
        blocks += [Block((column,), covariates, column, companions) for column in gaps]
        counted = {m.name: roles.raw[c] for c, m in roles.metrics.items() if self._counts_gaps(c)}
        return Query("a", roles.dimensions, roles.shown, policies.scales, tuple(blocks), counted)

    def _counts_gaps(self, metric: str) -> bool:
        """Whether some unit has no value of a metric, or may have none."""
        return self._roles.raw[metric] != metric or self._policies.has_gaps(metric)

    def _count_values(
        self, column: str, dimension: str | None
    ) -> dict[tuple[str, str], ValueCounts]:
        keys = self._keys(dimension)
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
