"""Truth beside estimate: which measured number answers which planted quantity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from measure.results import SCHEMA_VERSION, Analysis, Estimate, Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from console.demo.files import DataFile
    from console.demo.truth import Quantity, Truth
    from measure.engine.loading import LoadReport
    from measure.results import Check
    from measure.value import Value

OVERALL = "cuped"
POOLED = "hierarchical_bayes"


@dataclass(frozen=True, slots=True)
class TruthRow(Result):
    """A planted quantity beside what was measured; counts have no interval and must be exact."""

    name: str
    truth: float
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_level: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the interval covers the truth, or the count is exact."""
        if self.value is None:
            return False
        if self.ci_low is None or self.ci_high is None:
            return self.value == self.truth
        return self.ci_low <= self.truth <= self.ci_high


@dataclass(frozen=True, slots=True)
class Demonstration(Result):
    """What the demo leaves behind: the page to open, and truth beside estimate."""

    page: str
    truth: tuple[TruthRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """The ``demo`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}


def quantity_rows(truth: Truth, analysis: Analysis, value: Value, arm: str) -> tuple[TruthRow, ...]:
    """Effects per customer, totals over the treated, cost and returns."""
    return tuple(
        _money_row(quantity, analysis, value, arm)
        if quantity.metric is None
        else _effect_row(quantity, analysis, arm)
        for quantity in truth.quantities
    )


def defect_rows(truth: Truth, checks: Iterable[Check]) -> tuple[TruthRow, ...]:
    """Planted defects beside what the checks counted."""
    found = {check.code: check.rows for check in checks}
    return tuple(
        TruthRow(f"{defect.code}: rows flagged", defect.rows, found[defect.code])
        for defect in truth.defects
    )


def loading_rows(files: Iterable[DataFile], reports: Iterable[LoadReport]) -> tuple[TruthRow, ...]:
    """What the files were made to hold beside what loading reported."""
    planted, reported = list(files), list(reports)
    return tuple(
        TruthRow(
            f"loading: rows {name}",
            sum(getattr(file, name) for file in planted),
            sum(getattr(report, name) for report in reported),
        )
        for name in ("read", "accepted", "duplicates", "quarantined", "conflicts")
    )


def _effect_row(quantity: Quantity, analysis: Analysis, arm: str) -> TruthRow:
    estimate = analysis.find(
        quantity.metric or "", arm, POOLED if quantity.cohort else OVERALL, quantity.cohort
    )
    return _row(quantity, estimate, 1)


def _money_row(quantity: Quantity, analysis: Analysis, value: Value, arm: str) -> TruthRow:
    if quantity.name.startswith("total."):
        estimate = analysis.find(quantity.name.removeprefix("total."), arm, OVERALL)
        return _row(quantity, estimate, estimate.n_arm)
    if quantity.name == "cost":
        return TruthRow(quantity.name, quantity.truth, (value.cost or 0) / 100)
    low, high = f"{quantity.name}_low", f"{quantity.name}_high"
    return TruthRow(
        quantity.name,
        quantity.truth,
        getattr(value, quantity.name),
        getattr(value, low),
        getattr(value, high),
        value.ci_level,
    )


def _row(quantity: Quantity, estimate: Estimate, units: int) -> TruthRow:
    def times(number: float | None) -> float | None:
        return None if number is None else number * units

    return TruthRow(
        quantity.name,
        quantity.truth,
        times(estimate.value),
        times(estimate.ci_low),
        times(estimate.ci_high),
        estimate.ci_level,
    )
