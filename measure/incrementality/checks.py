"""Checks that run before any estimate, to see whether this is the experiment that was designed.

======  ========================================================================  ============
code    finds                                                                     severity
======  ========================================================================  ============
``G5``  arms whose sizes do not follow the designed shares                        stop, warning
``X1``  arms without units, or with fewer than ten                                stop, warning
``X2``  missing metric values, and whether their share differs between arms       stop … note
``X3``  metrics that do not vary                                                  note
``X4``  missing covariate values                                                  note
``X5``  covariates that differ between arms by no chance; adjusting is withheld   warning
``X6``  units reached in part, when the plan names their exposure                 warning
======  ========================================================================  ============

A check whose input is absent is ``not_applicable``; unknown is never ``passed``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from measure.incrementality.check_kind import CheckKind
from measure.incrementality.contrast import SMALLEST_P, StudentT
from measure.incrementality.difference import Variance, difference
from measure.incrementality.exposed import exposure_check
from measure.incrementality.inputs import Profile
from measure.incrementality.sequential_ratio import sequential_ratio_p_value
from measure.incrementality.small_holdout import MIN_UNITS
from measure.moments import CellMoments, Moments, total
from measure.plan import AnalysisPlan
from measure.results import Check, Outcome, Severity

SAMPLE_RATIO_STOP = 0.001
SAMPLE_RATIO_WARNING = 0.01
SMALLEST_EXPECTED = 5.0
MISSING_WARNING = 1e-3
MISSING_STOP = 1e-6
BALANCE = 1e-6

SAMPLE_RATIO = CheckKind("G5", "Sample ratio", "sample_ratio_mismatch")
ARMS = CheckKind("X1", "Empty and tiny arms")
MISSING = CheckKind("X2", "Missing metric values")
CONSTANT = CheckKind("X3", "Constant metrics")
UNKNOWN = CheckKind("X4", "Missing covariate values")
COVARIATES = CheckKind("X5", "Covariate balance")
KINDS = (SAMPLE_RATIO, ARMS, MISSING, CONSTANT, UNKNOWN, COVARIATES)


def run_checks(
    plan: AnalysisPlan, moments: CellMoments, profile: Mapping[str, Profile]
) -> tuple[Check, ...]:
    """All checks of an analysis, in order of their codes."""
    return (
        sample_ratio_check(moments.units, plan.arms, every_look=plan.sequential is not False),
        arms_check(moments.units, plan.arms),
        missing_check(plan, moments),
        constant_check(plan, moments),
        covariate_missing_check(plan, profile),
        balance_check(plan, moments),
        *([exposure_check(plan, moments)] if plan.exposure else []),
    )


def sample_ratio_check(
    observed: Mapping[str, int], designed: Mapping[str, float], *, every_look: bool = False
) -> Check:
    """Compare units per arm with the designed shares, empty arms included.

    Pearson's chi-square over all arms; where an arm expects fewer than five units, the exact
    binomial test of each arm, Bonferroni-corrected. With ``every_look`` the Dirichlet-multinomial
    test, valid at every look (:mod:`measure.incrementality.sequential_ratio`). Below p = .001 no
    conclusion may be drawn, below .01 there is a warning. An arm that was not designed stops the
    analysis.
    """
    units = {arm: int(observed.get(arm, 0)) for arm in designed}
    stray = sorted(arm for arm, n in observed.items() if arm not in designed and n > 0)
    if stray:
        message = f"{stray[0]!r} has {observed[stray[0]]:,} units and is not one of the arms."
        return SAMPLE_RATIO.found(Outcome.FLAGGED, message, Severity.STOP)
    n = sum(units.values())
    if n == 0:
        return SAMPLE_RATIO.found(Outcome.FAILED, "There are no units to compare.", Severity.STOP)
    expected = {arm: n * share for arm, share in designed.items()}
    p_value = (
        sequential_ratio_p_value(units, designed)
        if every_look
        else _ratio_p_value(units, expected, designed)
    )
    valid = ", valid at every look" if every_look else ""
    evidence = tuple(
        {"arm": arm, "observed": units[arm], "expected": expected[arm], "share": designed[arm]}
        for arm in designed
    )
    shown = "; ".join(_deviation(arm, units[arm], n, designed[arm]) for arm in designed)
    if p_value >= SAMPLE_RATIO_WARNING:
        message = f"{n:,} units follow the design (p = {p_value:.3g}{valid}): {shown}."
        return SAMPLE_RATIO.found(Outcome.PASSED, message, Severity.STOP, p_value, evidence)
    stop = p_value < SAMPLE_RATIO_STOP
    message = f"{n:,} units do not follow the design (p {_shown_p(p_value)}{valid}): {shown}."
    severity = Severity.STOP if stop else Severity.WARNING
    return SAMPLE_RATIO.found(Outcome.FLAGGED, message, severity, p_value, evidence)


def _ratio_p_value(
    units: Mapping[str, int], expected: Mapping[str, float], designed: Mapping[str, float]
) -> float:
    from scipy.special import chdtrc

    if min(expected.values()) >= SMALLEST_EXPECTED:
        statistic = sum((units[arm] - e) ** 2 / e for arm, e in expected.items())
        return max(float(chdtrc(len(expected) - 1, statistic)), SMALLEST_P)
    n = sum(units.values())
    tests = 1 if len(units) == 2 else len(units)
    exact = min(_binomial_p(units[arm], n, share) for arm, share in designed.items())
    return min(1.0, tests * exact)


def _binomial_p(successes: int, n: int, share: float) -> float:
    """Exact two-sided binomial test, twice the smaller tail."""
    from scipy.special import betainc

    lower = float(betainc(n - successes, successes + 1, 1 - share)) if successes < n else 1.0
    upper = float(betainc(successes, n - successes + 1, share)) if successes > 0 else 1.0
    return max(min(1.0, 2 * min(lower, upper)), SMALLEST_P)


def _deviation(arm: str, n: int, total_units: int, share: float) -> str:
    gap = 100 * (n / total_units - share)
    sign = "+" if gap >= 0 else "−"
    return (
        f"{arm} {n:,}, {100 * n / total_units:.2f} % against {100 * share:.2f} % designed "
        f"({sign}{abs(gap):.2f} points)"
    )


def arms_check(units: Mapping[str, int], designed: Mapping[str, float]) -> Check:
    """Arms without units stop the analysis; arms below ten units get a warning."""
    empty = [arm for arm in designed if units.get(arm, 0) == 0]
    tiny = [arm for arm in designed if 0 < units.get(arm, 0) < MIN_UNITS]
    evidence = tuple({"arm": arm, "units": int(units.get(arm, 0))} for arm in designed)
    if empty:
        message = f"No unit was assigned to {_list(empty)}."
        return ARMS.found(Outcome.FLAGGED, message, Severity.STOP, evidence=evidence)
    if tiny:
        message = f"Fewer than {MIN_UNITS} units in {_list(tiny)}: too few for an interval."
        return ARMS.found(Outcome.FLAGGED, message, Severity.WARNING, evidence=evidence)
    smallest = min(designed, key=lambda arm: units[arm])
    message = f"The smallest arm is {smallest} with {units[smallest]:,} units."
    return ARMS.found(Outcome.PASSED, message, evidence=evidence)


def missing_check(plan: AnalysisPlan, moments: CellMoments) -> Check:
    """Share of units without a value per metric, and whether it differs between arms.

    With ``null: drop`` a different share is a selection: a warning below p = .001, a stop below
    1e-6. With ``null: zero`` a missing value is an outcome, and a difference is no defect.
    """
    found = [_missing(metric.name, plan, moments) for metric in plan.metrics]
    drops = {metric.name for metric in plan.metrics if metric.null == "drop"}
    differing = [row for row in found if row["metric"] in drops and row["p_value"] is not None]
    worst = min(differing, key=lambda row: row["p_value"], default=None)
    rows = max(row["missing"] for row in found)
    evidence = tuple(found)
    if worst is not None and worst["p_value"] < MISSING_WARNING:
        severity = Severity.STOP if worst["p_value"] < MISSING_STOP else Severity.WARNING
        message = (
            f"Missing values of {worst['metric']} differ between arms "
            f"(p {_shown_p(worst['p_value'])}): {_shares(worst, plan)}."
        )
        return MISSING.found(Outcome.FLAGGED, message, severity, worst["p_value"], evidence, rows)
    if rows:
        listed = "; ".join(_policy(row, plan) for row in found if row["missing"])
        return MISSING.found(
            Outcome.FLAGGED, f"Missing: {listed}.", Severity.NOTE, None, evidence, rows
        )
    message = "Every unit has a value of every metric."
    return MISSING.found(Outcome.PASSED, message, Severity.NOTE, None, evidence, 0)


def invalid_metrics(plan: AnalysisPlan, moments: CellMoments) -> dict[str, str]:
    """Metrics whose missing values differ so much between arms that no estimate stands, and why."""
    found: dict[str, str] = {}
    for metric in plan.metrics:
        row = _missing(metric.name, plan, moments)
        p_value = row["p_value"]
        if metric.null == "drop" and p_value is not None and p_value < MISSING_STOP:
            found[metric.name] = f"missing values differ between arms: {_shares(row, plan)}"
    return found


def _missing(metric: str, plan: AnalysisPlan, moments: CellMoments) -> dict[str, Any]:
    """Missing values of a metric per arm; p-value of chi-square on value/no value by arm."""
    from scipy.special import chdtrc

    units = {arm: moments.units.get(arm, 0) for arm in plan.arms}
    missing = {arm: moments.missing.get((metric, arm), 0) for arm in plan.arms}
    everybody, gone = sum(units.values()), sum(missing.values())
    row: dict[str, Any] = {"metric": metric, "missing": gone, "units": everybody}
    row |= {f"missing in {arm}": missing[arm] for arm in plan.arms}
    row["p_value"] = None
    if not 0 < gone < everybody:
        return row
    share = gone / everybody
    used = [arm for arm in plan.arms if units[arm]]
    statistic = sum(
        (missing[arm] - units[arm] * share) ** 2 / (units[arm] * share * (1 - share))
        for arm in used
    )
    row["p_value"] = max(float(chdtrc(len(used) - 1, statistic)), SMALLEST_P)
    row["share"] = {arm: missing[arm] / units[arm] for arm in used}
    return row


def _shares(row: Mapping[str, Any], plan: AnalysisPlan) -> str:
    return ", ".join(
        f"{arm} {100 * row['share'][arm]:.2f} %" for arm in plan.arms if arm in row["share"]
    )


def _policy(row: Mapping[str, Any], plan: AnalysisPlan) -> str:
    meaning = "counted as zero" if plan.metric(row["metric"]).null == "zero" else "left out"
    share = 100 * row["missing"] / row["units"]
    return f"{row['metric']} {row['missing']:,} of {row['units']:,} ({share:.2f} %), {meaning}"


def constant_check(plan: AnalysisPlan, moments: CellMoments) -> Check:
    """Metrics with one value for everybody have nothing to test."""
    constant, absent = [], []
    for metric in plan.metrics:
        everybody = total(moments.get(metric.name, arm).outcome() for arm in plan.arms)
        if everybody.n == 0:
            absent.append(metric.name)
        elif float(everybody.comoment[0, 0]) <= 0:
            constant.append(metric.name)
    if absent:
        message = f"{_list(absent)} has no value at all."
        return CONSTANT.found(Outcome.FLAGGED, message)
    if constant:
        return CONSTANT.found(
            Outcome.FLAGGED, f"{_list(constant)} has one value for everybody.", Severity.NOTE
        )
    return CONSTANT.found(Outcome.PASSED, "Every metric varies.", Severity.NOTE)


def covariate_missing_check(plan: AnalysisPlan, profile: Mapping[str, Profile]) -> Check:
    """Share of units without a covariate; those get the covariate's mean."""
    if not plan.covariates:
        return UNKNOWN.found(Outcome.NOT_APPLICABLE, "The plan names no covariates.", Severity.NOTE)
    unknown = [name for name in plan.covariates if name not in profile]
    if unknown:
        message = f"Nothing is known of {_list(unknown)}."
        return UNKNOWN.found(Outcome.FAILED, message)
    known = [(name, profile[name].missing, profile[name].n) for name in plan.covariates]
    rows = tuple({"covariate": name, "missing": gone, "values": n} for name, gone, n in known)
    gaps = [(name, gone, gone + n) for name, gone, n in known if gone]
    if not gaps:
        message = "Every unit has every covariate."
        return UNKNOWN.found(Outcome.PASSED, message, Severity.NOTE, None, rows)
    listed = "; ".join(f"{name} {gone:,} of {units:,}" for name, gone, units in gaps)
    message = f"Missing, replaced by the mean: {listed}."
    most = max(gone for _, gone, _ in gaps)
    return UNKNOWN.found(Outcome.FLAGGED, message, Severity.NOTE, None, rows, most)


def balance_check(plan: AnalysisPlan, moments: CellMoments) -> Check:
    """Compare covariate means between each arm and control.

    Below p = 1e-6 a covariate was probably measured after assignment, or assignment was not
    random; estimates that adjust by covariates are withheld.
    """
    if not plan.covariates:
        return COVARIATES.found(Outcome.NOT_APPLICABLE, "The plan names no covariates.")
    rows = list(_imbalances(plan, moments))
    if not rows:
        return COVARIATES.found(Outcome.FAILED, "No arm has enough units to compare covariates.")
    worst = min(rows, key=lambda row: row["p_value"])
    found = sorted({row["covariate"] for row in rows if row["p_value"] < BALANCE})
    if found:
        message = (
            f"{_list(found)} differs between arms as chance would not "
            f"(p {_shown_p(worst['p_value'])}, {worst['arm']}): measured after assignment? "
            "Remove it, or find out why the arms differ."
        )
        return COVARIATES.found(
            Outcome.FLAGGED, message, Severity.WARNING, worst["p_value"], tuple(rows)
        )
    message = (
        f"{len(plan.covariates)} covariates have like means in all arms; the largest gap is "
        f"{worst['covariate']} in {worst['arm']} (p = {worst['p_value']:.2g})."
    )
    return COVARIATES.found(Outcome.PASSED, message, p_value=worst["p_value"], evidence=tuple(rows))


def _imbalances(plan: AnalysisPlan, moments: CellMoments) -> Iterator[dict[str, Any]]:
    """Difference of every covariate in every arm, in standard deviations, with its p-value."""
    fullest = max(plan.metrics, key=lambda metric: moments.get(metric.name, plan.control).n)
    control = moments.get(fullest.name, plan.control)
    for name in plan.treatments:
        arm = moments.get(fullest.name, name)
        if min(arm.n, control.n) < MIN_UNITS:
            continue
        for index, covariate in enumerate(plan.covariates, start=1):
            one, other = _column(control, index), _column(arm, index)
            deviation = math.sqrt((one + other).variance)
            gap = float(other.mean[0] - one.mean[0])
            yield {
                "covariate": covariate,
                "arm": name,
                "standardised_difference": gap / deviation if deviation > 0 else 0.0,
                "p_value": _balance_p(one, other) if gap else 1.0,
            }


def _balance_p(control: Moments, arm: Moments) -> float:
    """The larger p-value of Welch's test and of the one with a common variance.

    In a small arm a rare large value moves the mean, which the first knows, and its absence
    shrinks the arm's own variance, which the second does not believe.
    """
    variances: tuple[Variance, ...] = ("welch", "pooled")
    p_values = [SMALLEST_P]
    for variance in variances:
        contrast = difference(control, arm, variance=variance)
        if contrast.se > 0:
            p_values.append(StudentT(contrast.dof).p_value(contrast.value / contrast.se))
    return max(p_values)


def _column(moments: Moments, index: int) -> Moments:
    """Moments of one column alone."""
    at = slice(index, index + 1)
    return Moments(
        moments.columns[at],
        moments.n,
        moments.mean[at],
        moments.comoment[at, at],
        moments.third[at],
    )


def _shown_p(p_value: float) -> str:
    return "< 1e-300" if p_value < 1e-300 else f"= {p_value:.2g}"


def _list(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + " and " + names[-1]
