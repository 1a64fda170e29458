"""What an analysis needs, declared before any data is read.

A plan is frozen and hashed by content: the hash is what a registry freezes when an experiment
starts, so that an analysis beyond it can be called exploratory.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from measure.declared import Frozen
from measure.methods import Methods, unique

Share = Annotated[float, Field(gt=0, lt=1)]
Kind = Literal["mean", "proportion", "count", "ratio", "quantile", "retention", "duration"]

_BELONGS = {
    "denominator": ("ratio",),
    "quantile": ("quantile",),
    "event": ("retention", "duration"),
    "horizon": ("retention", "duration"),
}
"""Kinds of metric that need a field; the others must not have it."""


class Metric(Frozen):
    """An outcome per randomisation unit."""

    later = ("denominator", "quantile", "event", "horizon", "harm_above")

    name: Annotated[str, Field(min_length=1)]
    kind: Kind = "mean"
    """``mean`` per unit; ``proportion`` of units; ``count`` of events per unit; ``ratio`` of two
    sums, each summed over units; ``quantile`` over units; ``retention``: share of units still
    there at the horizon; ``duration``: mean time until the event, up to the horizon."""
    column: str = ""
    """Column of the unit table; the metric's name when empty. For retention and duration the time
    observed, until the event or until observation ended."""
    denominator: str | None = None
    """Column below the line of a ratio."""
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    event: str | None = None
    """Column with 1 where the time ended in the event, 0 where only observation ended."""
    horizon: Annotated[float, Field(gt=0)] | None = None
    """In the unit of the time column."""
    unit: str | None = None
    """What one of it is: a currency code, ``orders`` … Proportions have none."""
    role: Literal["primary", "secondary", "guardrail"] = "secondary"
    null: Literal["drop", "zero"] = "drop"
    """What a missing value means: the unit was not measured, or nothing happened."""
    winsorize: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    """Values above this percentile of all arms pooled are set to it; ``None`` keeps them."""
    harm_below: float | None = None
    """Guardrails: the smallest difference still acceptable, in the metric's unit."""
    harm_above: float | None = None
    """Guardrails of which more is worse: the largest difference still acceptable."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.column:
            object.__setattr__(self, "column", self.name)
        for limit in ("harm_below", "harm_above"):
            if getattr(self, limit) is not None and self.role != "guardrail":
                raise ValueError(f"{limit} belongs to a metric with role: guardrail")
        if self.winsorize is not None and self.kind == "ratio":
            raise ValueError("winsorize bends a ratio; cap the column before it is divided")
        for field, kinds in _BELONGS.items():
            given = getattr(self, field) is not None
            if given and self.kind not in kinds:
                raise ValueError(f"{field} belongs to a metric of kind {' or '.join(kinds)}")
            if not given and self.kind in kinds:
                raise ValueError(f"{field} is needed by a metric of kind {self.kind}")
        return self

    @model_validator(mode="after")
    def _policies_mean_something(self) -> Self:
        if self.null == "zero" and self.event is not None:
            raise ValueError(
                "null: zero would end a missing time at the start; such units are left out (drop)"
            )
        if self.winsorize is not None and self.kind in ("quantile", "retention", "duration"):
            raise ValueError(f"winsorize does nothing for a {self.kind}; remove it")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the source that the metric reads, its own first."""
        return tuple(name for name in (self.column, self.denominator, self.event) if name)


class Source(Frozen):
    """Where one row per unit can be found, and which column says the arm."""

    later = ("cluster", "period", "followed")

    path: str | None = None
    table: str | None = None
    arm: str
    id: str | None = None
    """Column with the unit's id; absent means one row per unit."""
    cluster: str | None = None
    """Column naming the household, account … that was randomised, when rows lie below it."""
    period: str | None = None
    """Column with the number of the period, from 1, when there is a row per unit and period."""
    followed: str | None = None
    """Column with the number of periods for which the unit was observed; absent: all of them."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.path is None) == (self.table is None):
            raise ValueError("give exactly one of path and table")
        if self.period is not None and (self.id is None or self.cluster is not None):
            raise ValueError(
                "period needs id, the column that says whose row it is, and no cluster"
            )
        if self.followed is not None and self.period is None:
            raise ValueError("followed belongs to a source with period")
        return self


class AnalysisPlan(Methods):
    """Metrics, arms, cohorts and methods, fixed before the test runs."""

    later: ClassVar[tuple[str, ...]] = (*Methods.later, "exposure")

    arms: dict[str, Share]
    """Designed share of each arm, control included; they sum to 1."""
    control: str
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    covariates: tuple[str, ...] = ()
    """Columns measured before assignment."""
    cohorts: tuple[str, ...] = ()
    """Columns whose values name cohorts, each a dimension of its own."""
    exposure: str | None = None
    """Column with 1 where the unit was reached by the treatment, for complier effects."""

    @field_validator("metrics", "covariates", "cohorts")
    @classmethod
    def _no_repeats(cls, items: tuple[Any, ...]) -> tuple[Any, ...]:
        unique(tuple(item.name if isinstance(item, Metric) else item for item in items))
        return items

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.arms) < 2:
            raise ValueError("arms: at least two are needed, one of them the control")
        total = sum(self.arms.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"arms: shares add up to {total:.6g}, they must add up to 1")
        if self.control not in self.arms:
            raise ValueError(f"control: {self.control!r} is not one of the arms {list(self.arms)}")
        outcomes = {name for m in self.metrics for name in (m.name, *m.columns)}
        for field in ("covariates", "cohorts", "strata"):
            named: tuple[str, ...] = getattr(self, field)
            clash = sorted(outcomes.intersection(named))
            if clash:
                raise ValueError(f"{field}: {clash[0]!r} is also an outcome")
            if self.exposure is not None and self.exposure in named:
                raise ValueError(f"{field}: {self.exposure!r} is the exposure, which came after")
        return self

    @model_validator(mode="after")
    def _compliers_beside_everybody(self) -> Self:
        for name in self.estimators:
            if name not in ("complier_effect", "complier_effect_by_cohort"):
                continue
            if self.exposure is None:
                raise ValueError(f"estimators: {name} needs exposure, the column of units reached")
            if "difference" not in self.estimators:
                raise ValueError(f"estimators: {name} is shown beside difference; add it")
        return self

    @property
    def treatments(self) -> tuple[str, ...]:
        """Arms other than the control, in the order written."""
        return tuple(arm for arm in self.arms if arm != self.control)

    @property
    def primary(self) -> Metric:
        """The metric the decision hangs on: the one with that role, else the first."""
        return next((m for m in self.metrics if m.role == "primary"), self.metrics[0])

    def metric(self, name: str) -> Metric:
        """The metric of this name; ``KeyError`` when there is none."""
        return {metric.name: metric for metric in self.metrics}[name]
