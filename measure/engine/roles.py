"""The columns of a unit table by role, under the short names the queries use.

======================  ==========================================================================
``a``, ``id``, ``k``    arm, unit, cluster
``m0`` …                metrics; ``raw_m0`` … the same before missing values became something
``d0`` …                denominators: below the line of a ratio, or the size of a cluster
``e``, ``e0`` …         exposure of the unit; in clusters, of the rows that have the metric
``v0`` …                1 where a metric's time ended in its event
``x0`` …                covariates
``c0`` …, ``g0`` …      cohort dimensions; columns whose combinations are strata
======================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from measure.moments import DENOMINATOR, EXPOSURE
from measure.plan import AnalysisPlan, Metric

CLUSTER = "k"


def companion_name(metric: str, role: str) -> str:
    """Name under which rows show a companion of a metric: ``spend (exposure)``."""
    return f"{metric} {role}"


@dataclass(frozen=True)
class Roles:
    """Which column of the canonical table is what.

    ``denominators`` and ``exposures`` go from a metric's column to its companion's, ``raw`` to the
    column whose missing values are counted per arm.
    """

    metrics: Mapping[str, Metric]
    denominators: Mapping[str, str]
    exposures: Mapping[str, str]
    raw: Mapping[str, str]
    covariates: Mapping[str, str]
    dimensions: Mapping[str, str]
    strata: Mapping[str, str]
    sources: Mapping[str, str]
    """Numeric column to the column of the source it was read from."""
    events: Mapping[str, str] = field(default_factory=dict)
    """From a metric's column to its event's."""
    clustered: bool = False
    """Whether rows were added up to clusters."""

    @classmethod
    def of(cls, plan: AnalysisPlan) -> Roles:
        """Roles of a table with one row per unit."""
        metrics = {f"m{i}": metric for i, metric in enumerate(plan.metrics)}
        below = {m: f"d{m[1:]}" for m, metric in metrics.items() if metric.denominator}
        events = {m: f"v{m[1:]}" for m, metric in metrics.items() if metric.event}
        covariates = {f"x{i}": name for i, name in enumerate(plan.covariates)}
        sources = {m: metric.column for m, metric in metrics.items()}
        sources |= {below[m]: str(metrics[m].denominator) for m in below}
        sources |= {events[m]: str(metrics[m].event) for m in events}
        sources |= covariates | ({"e": plan.exposure} if plan.exposure else {})
        return cls(
            metrics=metrics,
            denominators=below,
            exposures=dict.fromkeys(metrics, "e") if plan.exposure else {},
            raw={m: f"raw_{m}" if metric.null == "zero" else m for m, metric in metrics.items()},
            covariates=covariates,
            dimensions={name: f"c{i}" for i, name in enumerate(plan.cohorts)},
            strata={name: f"g{i}" for i, name in enumerate(plan.strata)},
            sources=sources,
            events=events,
        )

    def in_clusters(self) -> Roles:
        """Roles of the table that has one row per cluster, in which policies were applied."""
        done = {"null": "drop", "winsorize": None}
        metrics = {m: metric.model_copy(update=done) for m, metric in self.metrics.items()}
        below = {m: f"d{m[1:]}" for m in metrics}
        reached = {m: f"e{m[1:]}" for m in metrics} if self.exposures else {}
        sources = {m: metric.column for m, metric in metrics.items()} | dict(self.covariates)
        sources |= {below[m]: f"denominator of {metric.name}" for m, metric in metrics.items()}
        sources |= {reached[m]: f"exposure of {metrics[m].name}" for m in reached}
        return Roles(
            metrics=metrics,
            denominators=below,
            exposures=reached,
            raw={m: f"raw_{m}" for m in metrics},
            covariates=self.covariates,
            dimensions=self.dimensions,
            strata=self.strata,
            sources=sources,
            clustered=True,
        )

    def companions(self, metric: str) -> tuple[tuple[str, str], ...]:
        """Roles and columns that stand beside a metric's column."""
        found = ((DENOMINATOR, self.denominators), (EXPOSURE, self.exposures))
        return tuple((role, columns[metric]) for role, columns in found if metric in columns)

    @cached_property
    def shown(self) -> dict[str, str]:
        """Columns under the names that results give them."""
        return {column: metric.name for column, metric in self.metrics.items()} | {
            **self.covariates
        }

    @cached_property
    def labels(self) -> dict[str, str]:
        """Every numeric column under the name that messages use."""
        return {column: self.shown.get(column, name) for column, name in self.sources.items()}

    @cached_property
    def rows(self) -> dict[str, str]:
        """Names that may be asked for row by row, and their columns."""
        known = {**self.strata, **self.dimensions}
        known |= {name: column for column, name in self.shown.items()}
        for column, metric in self.metrics.items():
            for role, beside in self.companions(column):
                known[companion_name(metric.name, role)] = beside
        return known
