"""What an effect is worth: frozen results in money."""

from __future__ import annotations

from dataclasses import dataclass

from measure.results import Cohort, Result, Status
from measure.value.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Value(Result):
    """Money of one estimate over ``units`` treated units; amounts in integer minor units.

    ``revenue`` is incremental, ``gross_profit`` = margin × revenue, ``profit`` = gross profit less
    ``cost``; ``iroas`` = revenue / cost and ``roi`` = gross profit / cost, so 1 is break-even for
    ``roi``. Bounds are those of the estimate's interval, ``roi_sd`` is the posterior standard
    deviation. ``probability_profitable`` is P(profit > 0), the same as P(roi > 1) where there is a
    cost; ``scale_probability`` and ``stop_probability`` are what the rules were judged by. Whatever
    is unknown is ``None`` and ``notes`` say why.
    """

    metric: str
    arm: str
    control: str
    cohort: Cohort | None
    estimator: str
    units: int
    currency: str
    ci_level: float
    revenue: int | None
    revenue_low: int | None
    revenue_high: int | None
    cost: int | None
    margin: float | None
    gross_profit: int | None
    gross_profit_low: int | None
    gross_profit_high: int | None
    profit: int | None
    profit_low: int | None
    profit_high: int | None
    iroas: float | None
    iroas_low: float | None
    iroas_high: float | None
    roi: float | None
    roi_low: float | None
    roi_high: float | None
    roi_sd: float | None
    probability_profitable: float | None
    scale_probability: float | None
    stop_probability: float | None
    verdict: Verdict
    reason: str
    status: Status
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CohortValue(Result):
    """The money of one cohort and the verdict of the same rule on it."""

    cohort: Cohort
    value: Value
