"""What a holdout costs, what its answer is worth, and how a lucky finding misleads.

The decision is whether to repeat a programme. Its net benefit for one unit is margin × effect −
cost, and the effect has a normal prior. A test of standard error ``se`` moves the posterior mean,
which is normal before the test with variance s⁴ / (s² + se²). Knowing it before deciding is worth
that standard deviation times the unit normal loss of the distance to break-even (Raiffa and
Schlaifer 1961, Applied Statistical Decision Theory, chapter 5); with se = 0 it is what perfect
information is worth.

Exaggeration and wrong signs of significant estimates: Gelman and Carlin (2014), Perspectives on
Psychological Science 9(6); closed forms after Lu, Qiu and Deng (2019), British Journal of
Mathematical and Statistical Psychology 72(1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from designs.planning.results import Curse, Money
from measure.errors import InputError

if TYPE_CHECKING:
    from designs.decision_rule import DecisionRule
    from designs.experiment import Cost

DEFAULT_LIFT, DEFAULT_LIFT_SD = 0.05, 0.05


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of a lift before the test, and where that comes from."""

    mean: float
    sd: float
    source: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.sd) and self.sd > 0):
            raise InputError.rule("lift_sd", self.sd, "must be finite and above 0")


@dataclass(frozen=True, slots=True)
class Stake:
    """The comparison that money hangs on, in major units of the cost's currency per unit.

    ``baseline`` is the control's mean, ``se`` the standard error that the difference will have,
    ``None`` where the analysis will refuse; ``interval_se`` is that of the normal with the longer
    side of the interval it will print, ``se`` when it is not given.
    """

    arm: str
    metric: str
    baseline: float
    se: float | None
    n_control: int
    units: int
    note: str = ""
    interval_se: float | None = None

    @property
    def stated_se(self) -> float:
        """Standard error that a decision will be taken by."""
        return max(self.se or 0.0, self.interval_se or 0.0)


def unit_normal_loss(u: float) -> float:
    """∫ (z − u) φ(z) dz above u: φ(u) − u (1 − Φ(u))."""
    upper = 0.5 * math.erfc(u / math.sqrt(2))
    return math.exp(-u * u / 2) / math.sqrt(2 * math.pi) - u * upper


def value_of_information(mean: float, sd: float, se: float) -> float:
    """Expected gain for one unit from deciding after an estimate of standard error ``se``.

    ``mean`` and ``sd`` are those of the net benefit before the test; 0 is break-even.
    """
    if not (sd >= 0 and se >= 0):
        raise InputError.rule("sd, se", (sd, se), "must not be negative")
    if sd == 0:
        return 0.0
    spread = sd if se == 0 else sd * sd / math.hypot(sd, se)
    return spread * unit_normal_loss(abs(mean) / spread) if spread > 0 else 0.0


def value_by_rule(mean: float, sd: float, se: float, hurdle: float) -> float:
    """Expected gain for one unit when one scales only if the estimate exceeds ``hurdle``.

    Against deciding now by the sign of ``mean``; negative when the rule is so cautious that good
    programmes are lost.
    """
    total = math.hypot(sd, se)
    z = (mean - hurdle) / total
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    scaled = mean * 0.5 * math.erfc(-z / math.sqrt(2)) + sd * sd / total * density
    return scaled - max(mean, 0.0)


def value_when_stated(mean: float, sd: float, se: float, stated: float) -> float:
    """Expected gain for one unit when one believes a standard error larger than the true one.

    One scales where the posterior mean under ``stated`` is above zero; with ``stated`` = ``se`` it
    is :func:`value_of_information`.
    """
    if stated <= se or sd == 0:
        return value_of_information(mean, sd, se)
    return value_by_rule(mean, sd, se, -mean * (stated / sd) ** 2)


def money(
    stake: Stake, cost: Cost, prior: Prior, repeats: float, rule: DecisionRule | None = None
) -> Money:
    """Cost of the holdout and value of its answer under a prior on the lift."""
    per_unit = cost.per_unit + cost.fixed / max(stake.units, 1)
    worth = cost.margin * stake.baseline
    mean, sd = worth * prior.mean - per_unit, abs(worth) * prior.sd
    many = repeats * stake.units
    forgone, saved = stake.n_control * worth * prior.mean, stake.n_control * cost.per_unit
    information = rule_value = 0.0
    hurdle = None
    if stake.se is not None:
        se = cost.margin * stake.se
        information = many * value_when_stated(mean, sd, se, cost.margin * stake.stated_se)
        hurdle = None if rule is None else _hurdle(rule, stake, cost, per_unit)
        if hurdle is not None:
            rule_value = many * value_by_rule(mean, sd, se, hurdle)
    net = forgone - saved
    each = information / repeats
    return Money(
        currency=cost.currency,
        arm=stake.arm,
        metric=stake.metric,
        lift_mean=prior.mean,
        lift_sd=prior.sd,
        lift_source=prior.source,
        forgone=forgone,
        saved=saved,
        cost=net,
        decision_units=round(many),
        information=information,
        perfect_information=many * value_of_information(mean, sd, 0.0),
        rule=None if rule is None else str(rule),
        rule_value=rule_value if hurdle is not None else None,
        break_even_repeats=net / each if net > 0 and each > 0 else None,
        note=stake.note,
    )


def _hurdle(rule: DecisionRule, stake: Stake, cost: Cost, per_unit: float) -> float | None:
    """Net benefit, as estimated, from which a rule holds; ``None`` for rules of another form.

    The analysis takes the posterior from the data alone: P(effect > x) ≥ p is the same as
    estimate ≥ x + z_p · se, with the standard error that its interval stands for.
    """
    from scipy.special import ndtri

    effects = {
        "roi": rule.above * per_unit / cost.margin,
        "iroas": rule.above * per_unit,
        "lift": rule.above * stake.baseline,
        "revenue": rule.above / max(stake.units - stake.n_control, 1),
        "profit": (rule.above / max(stake.units - stake.n_control, 1) + per_unit) / cost.margin,
    }
    if not rule.at_least or stake.se is None:
        return None
    needed = effects[rule.quantity] + float(ndtri(rule.probability)) * stake.stated_se
    return cost.margin * needed - per_unit


def curse(lift: float, se: float, alpha: float = 0.05) -> Curse:
    """What significant estimates look like when the true lift is ``lift`` and has this ``se``.

    :class:`InputError` when either is zero: nothing can be exaggerated, or nothing is uncertain.
    """
    from scipy.special import ndtr, ndtri

    if lift == 0 or not se > 0:
        raise InputError.rule("lift, se", (lift, se), "must not be zero")
    z, shift = float(ndtri(1 - alpha / 2)), abs(lift) / se
    right, wrong = float(ndtr(shift - z)), float(ndtr(-shift - z))
    upper, lower = _density(z - shift), _density(z + shift)
    size = upper + lower + shift * (right - wrong)
    power = right + wrong
    return Curse(lift, power, size / (shift * power), wrong / power)


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
