"""Policies: what a missing or extreme value becomes before anything is summed.

A missing value of a metric is left out or counts as zero, values above the pooled percentile are
set to it, a missing covariate counts as its mean. A ratio has both numbers or none: where one is
missing, ``null: drop`` leaves the unit out, ``null: zero`` takes nothing for the missing one.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from measure.engine import profile
from measure.engine.profile import Scale, Scan, Scanned
from measure.engine.roles import Roles

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Column, Table


class Policies:
    """The policies of a table's metrics and covariates; every look at the data is taken once."""

    def __init__(self, engine: Engine, table: Table, roles: Roles, scan: Scan) -> None:
        self.engine = engine
        self.roles = roles
        self._table = table
        self._scan = scan

    @cached_property
    def measured(self) -> Table:
        """The table with the policies of metrics applied; covariates as they came."""
        changed = self._metrics[0]
        return self._table.mutate(**changed) if changed else self._table

    @cached_property
    def changes(self) -> dict[str, Column]:
        """Columns that a policy changes, as expressions over the canonical table."""
        fills = {c: profile.number(fill) for c, fill in self._fills.items()}
        return self._metrics[0] | {c: self._table[c].fill_null(fill) for c, fill in fills.items()}

    @cached_property
    def ready(self) -> Table:
        """The table with all policies applied."""
        return self._table.mutate(**self.changes) if self.changes else self._table

    @cached_property
    def measured_scales(self) -> dict[str, Scale]:
        """How values of :attr:`measured` become deviations."""
        return {column: scanned.scale() for column, scanned in self._metrics[1].items()}

    @cached_property
    def scales(self) -> dict[str, Scale]:
        """How values of :attr:`ready` become deviations; a filled mean need not lie on a grid."""
        filled = {column: Scale(0, fill) for column, fill in self._fills.items()}
        return self.measured_scales | filled

    def has_gaps(self, metric: str) -> bool:
        """Whether units are left out of a metric's column."""
        return bool(self._metrics[1][metric].profile.missing)

    @cached_property
    def _metrics(self) -> tuple[dict[str, Column], dict[str, Scanned]]:
        """Replacement expressions, and what is known of each column once they are applied."""
        table, changed, known = self._table, {}, dict(self._scan.columns)
        for column in self._zeroed():
            if known[column].profile.missing:
                changed[column] = table[column].fill_null(profile.number(0.0))
                known[column] = profile.with_zeros(known[column])
        capped = self._caps(table.mutate(**changed))
        for column, cap in capped.items():
            value = changed.get(column, table[column])
            changed[column] = (value > profile.number(cap)).ifelse(profile.number(cap), value)
        if capped:
            names = {column: self.roles.labels[column] for column in capped}
            known |= profile.scan(self.engine, table.mutate(**changed), names).columns
        return changed, known

    def _zeroed(self) -> list[str]:
        """Columns in which a missing value means that nothing happened."""
        metrics = [m for m, metric in self.roles.metrics.items() if metric.null == "zero"]
        return metrics + [
            self.roles.denominators[m] for m in metrics if m in self.roles.denominators
        ]

    def _caps(self, table: Table) -> dict[str, float]:
        """The pooled percentile (linear interpolation) above which values are set to it."""
        wanted = {
            column: table[column].quantile(metric.winsorize)
            for column, metric in self.roles.metrics.items()
            if metric.winsorize is not None
        }
        if not wanted:
            return {}
        row = self.engine.fetch(table.aggregate(**wanted)).to_pylist()[0]
        return {column: float(cap) for column, cap in row.items() if cap is not None}

    @cached_property
    def _fills(self) -> dict[str, float]:
        """Mean of each covariate with missing values, summed on its grid."""
        scans = {c: self._scan.columns[c] for c in self.roles.covariates}
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
