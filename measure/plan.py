"""What an analysis needs, declared before any data is read.

A plan is frozen and hashed by content: the hash is what a registry freezes when an experiment
starts, so that an analysis beyond it can be called exploratory.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Estimator = Literal["difference", "cuped", "hierarchical_bayes", "double_ml"]
Share = Annotated[float, Field(gt=0, lt=1)]


class Frozen(BaseModel):
    """Base of all declared values: immutable, and a name that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(Frozen):
    """An outcome per randomisation unit."""

    name: Annotated[str, Field(min_length=1)]
    kind: Literal["mean", "proportion"] = "mean"
    column: str = ""
    """Column of the unit table; the metric's name when empty."""
    unit: str | None = None
    """What one of it is: a currency code, ``orders`` … Proportions have none."""
    role: Literal["primary", "secondary", "guardrail"] = "secondary"
    null: Literal["drop", "zero"] = "drop"
    """What a missing value means: the unit was not measured, or nothing happened."""
    winsorize: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    """Values above this percentile of all arms pooled are set to it; ``None`` keeps them."""
    harm_below: float | None = None
    """Guardrails: the smallest difference still acceptable, in the metric's unit."""

    @model_validator(mode="after")
    def _name_is_column(self) -> Self:
        if not self.column:
            object.__setattr__(self, "column", self.name)
        if self.harm_below is not None and self.role != "guardrail":
            raise ValueError("harm_below belongs to a metric with role: guardrail")
        return self


class Source(Frozen):
    """Where one row per unit can be found, and which column says the arm."""

    path: str | None = None
    table: str | None = None
    arm: str
    id: str | None = None
    """Column with the unit's id; absent means one row per unit."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.path is None) == (self.table is None):
            raise ValueError("give exactly one of path and table")
        return self


class AnalysisPlan(Frozen):
    """Metrics, arms, cohorts and methods, fixed before the test runs."""

    arms: dict[str, Share]
    """Designed share of each arm, control included; they sum to 1."""
    control: str
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    covariates: tuple[str, ...] = ()
    """Columns measured before assignment."""
    cohorts: tuple[str, ...] = ()
    """Columns whose values name cohorts, each a dimension of its own."""
    ci_level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    sequential: Literal[False] = False
    multiplicity: Literal["benjamini-hochberg", "none"] = "benjamini-hochberg"
    estimators: Annotated[tuple[Estimator, ...], Field(min_length=1)] = ("difference",)
    window_days: Annotated[int, Field(ge=1)] | None = None
    """Outcomes count this many days from assignment; ``None`` for a ready-made unit table."""
    seed: int = 20080320

    @field_validator("metrics", "covariates", "cohorts", "estimators")
    @classmethod
    def _no_repeats(cls, items: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [item.name if isinstance(item, Metric) else item for item in items]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"named twice: {', '.join(repeated)}")
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
        outcomes = {metric.column for metric in self.metrics}
        clash = sorted(outcomes.intersection(self.covariates))
        if clash:
            raise ValueError(f"covariates: {clash[0]!r} is also an outcome")
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

    def content_hash(self) -> str:
        """SHA-256 (64 hex digits) of the canonical JSON form."""
        return content_hash(self)


def content_hash(model: BaseModel, exclude: set[str] | None = None) -> str:
    """SHA-256 of a model's canonical JSON: sorted keys, no spaces, UTF-8; some fields left out."""
    declared = model.model_dump(mode="json", exclude=exclude)
    canonical = json.dumps(declared, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
