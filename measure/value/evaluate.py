"""From an effect per unit to money and a verdict.

All quantities are linear in the effect per unit, so their posteriors are the effect's posterior,
scaled: no draw, no approximation beyond the posterior itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from measure.currency import minor_digits
from measure.errors import InputError, UnknownName
from measure.results import Cohort, Estimate, Status
from measure.value.money import Cost, exact, to_minor
from measure.value.posterior import Posterior
from measure.value.results import CohortValue, Value
from measure.value.verdict import Rule, Verdict, decide

QUANTITIES = ("roi", "iroas", "profit", "revenue", "lift")
"""What a rule may speak of."""

Bounds = tuple[int | None, int | None, int | None]
Ratios = tuple[float | None, float | None, float | None]


def value_of(
    estimate: Estimate,
    cost: Cost,
    *,
    units: int | None = None,
    scale_if: Rule | None = None,
    stop_if: Rule | None = None,
) -> Value:
    """Money and verdict of an estimate of revenue per unit (major units of the cost's currency).

    ``units`` is how many were treated (default: the units of the arm). An estimate whose status is
    not ``ok`` gives no money and the verdict ``hold``; so does a rule about something unknown.
    :class:`InputError` for a negative number of units or a rule about an unknown quantity.
    """
    treated = estimate.n_arm if units is None else units
    if treated < 0:
        raise InputError.rule("units", treated, "must not be negative")
    account = _Account(Posterior.of_effect(estimate), estimate, cost, treated)
    chances = account.chance(scale_if), account.chance(stop_if)
    verdict, reason = decide(scale_if, stop_if, *chances)
    if account.posterior is None:
        verdict, reason = Verdict.HOLD, f"Not measurable: {_why(estimate)}"
    return _stated(account, chances, verdict, reason)


def _stated(
    account: _Account,
    chances: tuple[float | None, float | None],
    verdict: Verdict,
    reason: str,
) -> Value:
    """All figures of an account as one result."""
    estimate, cost = account.estimate, account.terms
    revenue, gross, profit = account.revenue(), account.gross_profit(), account.profit()
    iroas, roi = account.over_cost(revenue), account.over_cost(gross)
    return Value(
        metric=estimate.metric,
        arm=estimate.arm,
        control=estimate.control,
        cohort=estimate.cohort,
        estimator=estimate.estimator,
        units=account.units,
        currency=cost.currency,
        ci_level=estimate.ci_level,
        revenue=revenue[0],
        revenue_low=revenue[1],
        revenue_high=revenue[2],
        cost=account.cost,
        margin=cost.margin,
        gross_profit=gross[0],
        gross_profit_low=gross[1],
        gross_profit_high=gross[2],
        profit=profit[0],
        profit_low=profit[1],
        profit_high=profit[2],
        iroas=iroas[0],
        iroas_low=iroas[1],
        iroas_high=iroas[2],
        roi=roi[0],
        roi_low=roi[1],
        roi_high=roi[2],
        roi_sd=account.roi_sd(),
        probability_profitable=account.probability("profit", 0.0),
        scale_probability=chances[0],
        stop_probability=chances[1],
        verdict=verdict,
        reason=reason,
        status=_status(estimate, account.posterior),
        notes=account.notes(),
    )


def value_cohorts(
    estimates: Sequence[Estimate],
    cost: Cost,
    *,
    units: Mapping[Cohort, int] | None = None,
    scale_if: Rule | None = None,
    stop_if: Rule | None = None,
) -> tuple[CohortValue, ...]:
    """Money and verdict of each cohort, under the same rules.

    ``estimates`` are of one metric, arm and cohort dimension; ``cost`` is that of all these cohorts
    together and is divided by their treated units (``units``, default: the units of each arm).
    """
    cohorts = {e.cohort: e for e in estimates if e.cohort is not None}
    if len(cohorts) != len(estimates):
        raise InputError("cohorts: every estimate needs a cohort of its own. Give one of each.")
    treated = {c: e.n_arm if units is None else units.get(c, 0) for c, e in cohorts.items()}
    costs = cost.shares(treated)
    return tuple(
        CohortValue(
            cohort,
            value_of(
                estimate,
                costs[cohort],
                units=treated[cohort],
                scale_if=scale_if,
                stop_if=stop_if,
            ),
        )
        for cohort, estimate in cohorts.items()
    )


@dataclass(frozen=True, slots=True)
class _Account:
    """The arithmetic of one estimate: effect × units, margin, cost."""

    posterior: Posterior | None
    estimate: Estimate
    terms: Cost
    units: int

    @property
    def cost(self) -> int | None:
        return self.terms.total(self.units)

    @property
    def _major(self) -> float:
        """Minor units in one major unit."""
        return 10.0 ** minor_digits(self.terms.currency)

    def revenue(self) -> Bounds:
        """Effect per unit times units, in minor units; exact but for one rounding."""
        if self.posterior is None:
            return None, None, None
        value, low, high = self.estimate.value, self.estimate.ci_low, self.estimate.ci_high
        currency = self.terms.currency
        amounts = (
            None if x is None else to_minor(exact(x) * self.units, currency)
            for x in (value, low, high)
        )
        return next(amounts), next(amounts), next(amounts)

    def gross_profit(self) -> Bounds:
        """What the margin leaves of the revenue."""
        margin, digits = self.terms.margin, minor_digits(self.terms.currency)
        if margin is None:
            return None, None, None
        share = exact(margin)
        low_to_high = (
            None if x is None else to_minor((share * x).scaleb(-digits), self.terms.currency)
            for x in self.revenue()
        )
        return next(low_to_high), next(low_to_high), next(low_to_high)

    def profit(self) -> Bounds:
        cost = self.cost
        value, low, high = self.gross_profit()
        if cost is None or value is None or low is None or high is None:
            return None, None, None
        return value - cost, low - cost, high - cost

    def over_cost(self, amounts: Bounds) -> Ratios:
        """Amounts per unit of currency spent; unknown where the cost is unknown or 0."""
        cost, (value, low, high) = self.cost, amounts
        if not cost or value is None or low is None or high is None:
            return None, None, None
        return value / cost, low / cost, high / cost

    def roi_sd(self) -> float | None:
        per_effect = self._per_effect("roi")
        if self.posterior is None or per_effect is None:
            return None
        return self.posterior.sd * per_effect

    def chance(self, rule: Rule | None) -> float | None:
        """P(quantity > above) of a rule; ``None`` where it cannot be known."""
        if rule is None:
            return None
        if rule.quantity not in QUANTITIES:
            raise UnknownName.of("quantity", rule.quantity, QUANTITIES, "the decision rule")
        return self.probability(rule.quantity, rule.above)

    def probability(self, quantity: str, above: float) -> float | None:
        """P(quantity > above) from the effect's posterior."""
        if quantity == "lift":
            lift = Posterior.of_lift(self.estimate)
            return None if lift is None else lift.above(above)
        scale = self._per_effect(quantity)
        if self.posterior is None or not scale:
            return None
        cost = self.cost if quantity == "profit" else 0
        if cost is None:
            return None
        return self.posterior.above((above + cost / self._major) / scale)

    def _per_effect(self, quantity: str) -> float | None:
        """By how much the quantity grows when the effect per unit grows by 1 major unit."""
        cost, margin = self.cost, self.terms.margin
        if quantity in {"roi", "profit"} and margin is None:
            return None
        revenue = float(self.units)
        kept = revenue * (margin or 0)
        if quantity == "revenue":
            return revenue
        if quantity == "profit":
            return kept
        if not cost:
            return None
        return (kept if quantity == "roi" else revenue) * self._major / cost

    def notes(self) -> tuple[str, ...]:
        """Why something is missing, one sentence each."""
        found = []
        if self.posterior is None:
            found.append(f"The effect is not measurable: {_why(self.estimate)}")
        if self.cost is None:
            found.append("The cost is not known, so there is no return and no profit.")
        elif self.cost == 0:
            found.append("The cost is 0, so a return per unit of money spent has no meaning.")
        if self.terms.margin is None:
            found.append("The margin is not known, so there is no profit and no roi.")
        return tuple(found)


def _status(estimate: Estimate, posterior: Posterior | None) -> Status:
    if estimate.status is Status.OK and posterior is None:
        return Status.INVALID
    return estimate.status


def _why(estimate: Estimate) -> str:
    if estimate.status is Status.OK:
        return "the estimate has no finite interval around it."
    return f"the estimate of {estimate.metric} is {estimate.status.value}."
