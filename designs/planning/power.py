"""Power, smallest detectable effect and number of units, for the tests that the analysis runs.

Definitions, each named, so that two calculators can be compared:

============ =============================================================================
reference    ``welch_t`` (default, what the analysis uses): each arm has its own variance,
             noncentral t with Welch–Satterthwaite degrees of freedom. ``pooled_t``: one
             variance and n₁ + n₂ − 2 degrees of freedom. ``normal``: known variances.
             ``pooled_z``: the z-test of proportions, pooled under no effect (Fleiss, Levin and
             Paik 2003, Statistical Methods for Rates and Proportions, chapter 4).
variance     ``own`` (default): each arm has its own, see :mod:`designs.planning.baseline`.
             ``average``: the mean of both arms' variances for each. ``control``: the
             control's for both.
comparisons  ``none`` (default: the analysis judges each arm at its own level),
             ``bonferroni``, ``sidak``, or ``holm``: the level of Holm's first step, a lower
             bound, because later steps are less strict.
============ =============================================================================

Both rejection tails count in a two-sided test. Noncentral t: Johnson, Kotz and Balakrishnan
(1995), Continuous Univariate Distributions 2, chapter 31.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from designs.planning.baseline import Baseline
from measure.errors import InputError
from measure.incrementality.difference import welch_dof
from measure.incrementality.sequential_boundaries import Looks

Alternative = Literal["two-sided", "greater", "less"]
Reference = Literal["welch_t", "pooled_t", "normal", "pooled_z"]
Comparisons = Literal["none", "bonferroni", "holm", "sidak"]

MOST_UNITS = 1e12
"""Beyond this many units an effect counts as not detectable."""
_MOST_ERRORS = 1e6
"""Standard errors beyond which no effect is looked for: where the variance grows with the effect,
power may stay below any target."""


@dataclass(frozen=True, slots=True)
class Significance:
    """How a difference will be judged."""

    alpha: float = 0.05
    alternative: Alternative = "two-sided"
    reference: Reference = "welch_t"
    looks: Callable[[float], Looks] | None = None
    """Boundaries of a sequential plan by the number of units compared, two-sided; power is then
    the chance of crossing at any look."""

    def __post_init__(self) -> None:
        _inside("alpha", self.alpha)


def per_comparison(alpha: float, comparisons: int, method: Comparisons) -> float:
    """Level of each of several comparisons with one control."""
    if comparisons < 1:
        raise InputError.rule("comparisons", comparisons, "must be at least 1")
    if method in ("bonferroni", "holm"):
        return alpha / comparisons
    if method == "sidak":
        return -math.expm1(math.log1p(-alpha) / comparisons)
    return alpha


def power(
    baseline: Baseline,
    effect: float,
    n_control: float,
    n_arm: float,
    test: Significance | None = None,
) -> float:
    """Probability that the test rejects when the arm's mean differs by ``effect``.

    Sizes may be fractions. :class:`InputError` below two units in an arm.
    """
    test = test or Significance()
    for name, n in (("n_control", n_control), ("n_arm", n_arm)):
        if not n >= 2:
            raise InputError.rule(name, n, "must be at least 2")
    control, arm = baseline.variances(effect)
    error = control / n_control + arm / n_arm
    if error <= 0:
        return 1.0 if effect else 0.0
    if test.looks is not None:
        return test.looks(n_control + n_arm).reach(abs(effect) / math.sqrt(error))
    dof = _dof(baseline, control, arm, n_control, n_arm, test.reference)
    null = (
        _null_error(baseline, effect, n_control, n_arm) if test.reference == "pooled_z" else error
    )
    return _rejection(effect / math.sqrt(error), dof, test, math.sqrt(null / error))


def detectable(
    baseline: Baseline,
    n_control: float,
    n_arm: float,
    target: float = 0.8,
    test: Significance | None = None,
) -> float | None:
    """The smallest effect that is found with probability ``target``; negative for ``less``.

    A two-sided test gives the rise. ``None`` where no possible effect reaches the target.
    """
    test = test or Significance()
    _inside("power", target)
    sign = -1.0 if test.alternative == "less" else 1.0
    low, high = baseline.room
    limit = (high if sign > 0 else -low) * (1 - 1e-12)
    control, arm = baseline.variances(0.0)
    start = math.sqrt(control / n_control + arm / n_arm) or 1e-300

    def gap(size: float) -> float:
        return power(baseline, sign * size, n_control, n_arm, test) - target

    edge = _bracket(gap, start, min(limit, start * _MOST_ERRORS))
    return None if edge is None else sign * _root(gap, 0.0, edge)


def units_needed(
    baseline: Baseline,
    effect: float,
    share_control: float,
    share_arm: float,
    target: float = 0.8,
    test: Significance | None = None,
) -> float | None:
    """All units of the experiment that give ``target``, not rounded; ``None`` where none do.

    The shares are those of the two arms compared, of all units; they need not sum to 1.
    """
    test = test or Significance()
    _inside("power", target)
    for name, share in (("share_control", share_control), ("share_arm", share_arm)):
        _inside(name, share)
    smallest = 2 / min(share_control, share_arm)
    against = (test.alternative == "less") == (effect > 0) and test.alternative != "two-sided"
    if effect == 0 or against:
        return None

    def gap(units: float) -> float:
        return power(baseline, effect, units * share_control, units * share_arm, test) - target

    if gap(smallest) >= 0:
        return smallest
    edge = _bracket(gap, 2 * smallest, MOST_UNITS)
    return None if edge is None else _root(gap, smallest, edge)


def holdout_needed(
    baseline: Baseline,
    effect: float,
    population: int,
    target: float = 0.8,
    test: Significance | None = None,
) -> float | None:
    """Smallest share of a population of fixed size to hold out; ``None`` if half is too little."""
    if population < 8:
        return None

    def gap(share: float) -> float:
        return power(baseline, effect, population * share, population * (1 - share), test) - target

    smallest = 2 / population
    if gap(0.5) < 0:
        return None
    return smallest if gap(smallest) >= 0 else _root(gap, smallest, 0.5)


def more_units(se: float, effect: float, target: float = 0.8, alpha: float = 0.05) -> float | None:
    """How many further units, as a multiple of those seen, bring a running test to ``target``.

    Two-sided normal test of ``effect`` whose estimate has standard error ``se`` so far; ``None``
    where no number of units does.
    """
    test = Significance(alpha)

    def gap(more: float) -> float:
        return _rejection(effect / se * math.sqrt(1 + more), math.inf, test) - target

    if gap(0.0) >= 0:
        return 0.0
    edge = _bracket(gap, 1.0, MOST_UNITS)
    return None if edge is None else _root(gap, 0.0, edge)


def more_units_with_prior(
    se: float,
    effect: float,
    prior_mean: float,
    prior_sd: float,
    target: float = 0.8,
    alpha: float = 0.05,
) -> float | None:
    """The same when the equal-tailed posterior interval under a normal prior must exclude 0.

    ``None`` where no number of units reaches the target.
    """
    from scipy.special import ndtr, ndtri

    z = float(ndtri(1 - alpha / 2))

    def gap(more: float) -> float:
        variance = se**2 / (1 + more)
        precision = prior_sd**-2 + 1 / variance
        pull = prior_mean / prior_sd**2
        up = variance * (z * math.sqrt(precision) - pull)
        down = variance * (-z * math.sqrt(precision) - pull)
        sd = math.sqrt(variance)
        return float(ndtr((effect - up) / sd) + ndtr((down - effect) / sd)) - target

    if gap(0.0) >= 0:
        return 0.0
    edge = _bracket(gap, 1.0, MOST_UNITS)
    return None if edge is None else _root(gap, 0.0, edge)


def false_positive_risk(null_share: float, reached: float, p_value: float) -> float:
    """Share of positive findings that are false, when ``null_share`` of all ideas do nothing.

    p π₀ / (p π₀ + power (1 − π₀)); Wacholder et al. (2004), JNCI 96(6).
    """
    false = p_value * null_share
    return false / (false + reached * (1 - null_share))


def _dof(
    baseline: Baseline,
    control: float,
    arm: float,
    n_control: float,
    n_arm: float,
    reference: Reference,
) -> float:
    """Degrees of freedom; clusters are what is counted where units come in clusters."""
    if reference in ("normal", "pooled_z"):
        return math.inf
    size = baseline.clusters.size if baseline.clusters else 1.0
    k_control, k_arm = max(n_control / size, 2.0), max(n_arm / size, 2.0)
    if reference == "pooled_t":
        return k_control + k_arm - 2
    return welch_dof(arm / n_arm, k_arm, control / n_control, k_control)  # type: ignore[arg-type]


def _null_error(baseline: Baseline, effect: float, n_control: float, n_arm: float) -> float:
    """Variance of the difference if both arms had the pooled share."""
    if baseline.kind != "proportion":
        raise InputError.rule("reference", "pooled_z", "is a test of proportions", "Use welch_t.")
    pooled = baseline.mean + effect * n_arm / (n_control + n_arm)
    left = (1 - baseline.r_squared) * baseline.design_effect
    return pooled * (1 - pooled) * left * (1 / n_control + 1 / n_arm)


def _rejection(shift: float, dof: float, test: Significance, widened: float = 1.0) -> float:
    """Probability that the statistic, shifted by so many standard errors, is rejected.

    The critical value is ``widened`` where the test's own standard error is another.
    """
    from scipy.special import nctdtr, ndtr, ndtri, stdtrit

    tail = test.alpha / 2 if test.alternative == "two-sided" else test.alpha
    if math.isinf(dof):
        critical = -float(ndtri(tail)) * widened
        above, below = float(ndtr(shift - critical)), float(ndtr(-critical - shift))
    else:
        critical = -float(stdtrit(dof, tail))
        # P(T > c | shift) = P(T < −c | −shift), a lower tail that keeps its digits.
        above = _tail(float(nctdtr(dof, -shift, -critical)))
        below = _tail(float(nctdtr(dof, shift, -critical)))
    if test.alternative == "greater":
        return above
    return below if test.alternative == "less" else above + below


def _tail(probability: float) -> float:
    """Eight and more standard errors on the wrong side, the series ends in NaN; it is below 1e-15.

    On the right side it converges (checked from 5 to 1e10 degrees of freedom).
    """
    return 0.0 if math.isnan(probability) else probability


def _bracket(gap: Callable[[float], float], start: float, limit: float) -> float | None:
    """A point beyond the root, found by doubling; ``None`` when the limit comes first."""
    edge = min(start, limit)
    while gap(edge) < 0:
        if edge >= limit:
            return None
        edge = min(2 * edge, limit)
    return edge


def _root(gap: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(gap, low, high, xtol=1e-14 * max(high, 1e-30), rtol=1e-14, maxiter=500))


def _inside(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError.rule(name, value, "must lie between 0 and 1")
