"""What an arm brought and cost, as the pages need it; built from a ``Value`` or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from measure.value.results import CohortValue, Value

Verdict = Literal["scale", "hold", "stop"]
Basis = Literal["margin", "revenue"]

GOODS = "Cost of goods"
CAMPAIGN = "Campaign cost"


@dataclass(frozen=True, slots=True)
class Amount:
    """Money in minor units with its interval; what was paid, not estimated, has no bounds."""

    value: int
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A named amount of a statement, in minor units."""

    name: str
    money: int


@dataclass(frozen=True, slots=True)
class CohortVerdict:
    """What the rule says about one cohort, and the probability it went by."""

    dimension: str
    value: str
    verdict: Verdict
    probability: float | None = None
    roi: float | None = None
    revenue: int | None = None


@dataclass(frozen=True, slots=True)
class MoneyFacts:
    """What one arm brought and cost; all of it incremental, none of it claimed.

    ``roi`` is the return per unit of currency spent: incremental revenue over cost with ``basis ==
    "revenue"``, the margin left of it over cost with ``"margin"``; so ``roi × spend`` equals
    ``revenue`` or ``gross_profit``. ``probability_above`` is the chance that it exceeds ``hurdle``,
    ``rule_probability`` the one the registered rule for scaling was judged by. ``costs`` names what
    lies between incremental revenue and ``profit`` and adds up to their difference (positive
    numbers). The posterior of ``roi`` is drawn from ``posterior_draws`` when given, else as a
    normal with mean and sd. Unknown is ``None`` and ``notes`` say why.
    """

    arm: str
    currency: str
    ci_level: float
    revenue: Amount | None
    spend: Amount | None
    profit: Amount | None
    roi: float | None
    roi_low: float | None
    roi_high: float | None
    probability_above: float | None
    hurdle: float = 1.0
    basis: Basis = "margin"
    gross_profit: Amount | None = None
    costs: tuple[Line, ...] = ()
    posterior_mean: float | None = None
    posterior_sd: float | None = None
    posterior_draws: tuple[float, ...] = ()
    spend_note: str = ""
    verdict: Verdict | None = None
    rule_probability: float | None = None
    cohorts: tuple[CohortVerdict, ...] = ()
    notes: tuple[str, ...] = ()


def money_from_value(
    value: Value,
    cohorts: Sequence[CohortValue] = (),
    *,
    registered: bool = True,
    spend_note: str = "",
    costs: tuple[Line, ...] | None = None,
) -> MoneyFacts:
    """Money of an arm from its ``Value`` and those of its cohorts.

    ``registered=False`` says that no rule was registered, so there is no verdict to print.
    ``costs`` replaces the lines cost of goods and campaign cost and must add up to the same.
    """
    by_margin = value.roi is not None
    return MoneyFacts(
        arm=value.arm,
        currency=value.currency,
        ci_level=value.ci_level,
        revenue=_amount(value.revenue, value.revenue_low, value.revenue_high),
        spend=_amount(value.cost),
        profit=_amount(value.profit, value.profit_low, value.profit_high),
        roi=value.roi if by_margin else value.iroas,
        roi_low=value.roi_low if by_margin else value.iroas_low,
        roi_high=value.roi_high if by_margin else value.iroas_high,
        probability_above=value.probability_profitable if by_margin else None,
        basis="margin" if by_margin else "revenue",
        gross_profit=_amount(value.gross_profit, value.gross_profit_low, value.gross_profit_high),
        costs=_costs(value) if costs is None else costs,
        posterior_mean=value.roi,
        posterior_sd=value.roi_sd,
        spend_note=spend_note,
        verdict=value.verdict.value if registered else None,
        rule_probability=value.scale_probability,
        cohorts=tuple(_cohort(item) for item in cohorts) if registered else (),
        notes=value.notes,
    )


def _amount(value: int | None, low: int | None = None, high: int | None = None) -> Amount | None:
    return None if value is None else Amount(value, low, high)


def _costs(value: Value) -> tuple[Line, ...]:
    """Cost of goods and campaign cost, where both are known."""
    if value.revenue is None or value.gross_profit is None or value.cost is None:
        return ()
    return (Line(GOODS, value.revenue - value.gross_profit), Line(CAMPAIGN, value.cost))


def _cohort(item: CohortValue) -> CohortVerdict:
    value = item.value
    return CohortVerdict(
        dimension=item.cohort.dimension,
        value=item.cohort.value,
        verdict=value.verdict.value,
        probability=value.scale_probability,
        roi=value.roi,
        revenue=value.revenue,
    )
