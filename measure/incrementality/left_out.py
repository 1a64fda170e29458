"""Units that an analysis must do without, and whether that depends on what was done to them.

Leaving people out keeps a comparison fair only where it has nothing to do with the arm. So the
shares left out are compared between arms, as the sizes of the arms are (Fabijan et al. 2019,
"Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", KDD, section 4: mismatches by
missing data), with the same limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from measure.incrementality.check_kind import CheckKind
from measure.incrementality.checks import (
    SAMPLE_RATIO_STOP,
    SAMPLE_RATIO_WARNING,
    SMALLEST_EXPECTED,
)
from measure.incrementality.contrast import SMALLEST_P
from measure.incrementality.guardrails import judge_guardrails
from measure.incrementality.multiplicity import families
from measure.incrementality.sequential_ratio import sequential_ratio_p_value
from measure.incrementality.withheld import said, withheld, without_effects
from measure.plan import AnalysisPlan
from measure.results import Analysis, Check, Outcome, Severity, Status

UNMEASURED = CheckKind("H9", "Units without consent to be measured", "unmeasured_by_arm")
ERASED = CheckKind("H10", "Units erased", "erased_by_arm")


def left_out_check(
    kind: CheckKind,
    why: str,
    units: Mapping[str, int],
    gone: Mapping[str, int],
    plan: AnalysisPlan,
) -> Check:
    """Compare the shares left out between the arms.

    ``units`` counts everybody assigned, ``gone`` those left out; ``why`` ends the sentence "12 of
    4,000 units are left out, …". Pearson's chi-square over all arms; where a cell expects fewer
    than five units, the exact hypergeometric test of each arm against the others,
    Bonferroni-corrected. Under a sequential plan the units left out are held against the designed
    shares by the test that is valid at every look. Below p = .001 no conclusion may be drawn, below
    .01 there is a warning.
    """
    everybody, left = sum(units.values()), sum(gone.values())
    evidence = tuple(
        {"arm": arm, "units": units.get(arm, 0), "left_out": gone.get(arm, 0)} for arm in plan.arms
    )
    if not left:
        message = f"None of {everybody:,} units is left out {why}."
        return kind.found(Outcome.PASSED, message, Severity.STOP, evidence=evidence)
    p_value = (
        _differing_p(units, gone)
        if plan.sequential is False
        else sequential_ratio_p_value({a: gone.get(a, 0) for a in plan.arms}, plan.arms)
    )
    shares = ", ".join(
        f"{arm} {100 * gone.get(arm, 0) / units[arm]:.2f} %" for arm in plan.arms if units.get(arm)
    )
    verb = "is" if left == 1 else "are"
    told = f"{left:,} of {everybody:,} units {verb} left out {why}"
    small = "p < 1e-300" if p_value < 1e-300 else f"p = {p_value:.2g}"
    if p_value >= SAMPLE_RATIO_WARNING:
        message = f"{told}; that does not depend on the arm ({small}): {shares}."
        return kind.found(Outcome.PASSED, message, Severity.STOP, p_value, evidence, left)
    severity = Severity.STOP if p_value < SAMPLE_RATIO_STOP else Severity.WARNING
    message = f"{told}, and in the arms differently ({small}): {shares}."
    return kind.found(Outcome.FLAGGED, message, severity, p_value, evidence, left)


def not_asked(kind: CheckKind, why: str) -> Check:
    """The check where nobody could be left out, because the gate does not apply."""
    message = f"Nobody could be left out: {why}."
    return kind.found(Outcome.NOT_APPLICABLE, message, Severity.STOP)


def with_checks(analysis: Analysis, checks: Sequence[Check], plan: AnalysisPlan) -> Analysis:
    """The analysis with further checks; one that stops withholds every number, as all checks do."""
    stop = next(
        (c for c in checks if c.severity is Severity.STOP and c.outcome is Outcome.FLAGGED), None
    )
    told = replace(analysis, checks=(*analysis.checks, *checks))
    if stop is None or analysis.status is Status.INVALID:
        return told
    reason = said(stop)
    found = tuple(withheld(estimate, reason) for estimate in analysis.estimates)
    return replace(
        told,
        status=Status.INVALID,
        checks=tuple(without_effects(check) for check in told.checks),
        estimates=found,
        multiplicity=families(found, plan),
        guardrails=judge_guardrails(found, plan),
        factorial=tuple(withheld(estimate, reason) for estimate in analysis.factorial),
        discovery=(),
    )


def _differing_p(units: Mapping[str, int], gone: Mapping[str, int]) -> float:
    """p-value of "left out or not" by arm."""
    from scipy.special import chdtrc

    arms = [arm for arm, n in units.items() if n]
    everybody, left = sum(units[arm] for arm in arms), sum(gone.get(arm, 0) for arm in arms)
    if not 0 < left < everybody or len(arms) < 2:
        return 1.0
    share = left / everybody
    if min(units[arm] for arm in arms) * min(share, 1 - share) < SMALLEST_EXPECTED:
        return _exact_p({arm: units[arm] for arm in arms}, gone, everybody, left)
    statistic = sum(
        (gone.get(arm, 0) - units[arm] * share) ** 2 / (units[arm] * share * (1 - share))
        for arm in arms
    )
    return max(float(chdtrc(len(arms) - 1, statistic)), SMALLEST_P)


def _exact_p(units: Mapping[str, int], gone: Mapping[str, int], everybody: int, left: int) -> float:
    """The smallest of the arms' two-sided hypergeometric tests, twice the smaller tail each."""
    from scipy.stats import hypergeom

    tests = 1 if len(units) == 2 else len(units)
    smallest = 1.0
    for arm, n in units.items():
        law = hypergeom(everybody, n, left)
        tail = min(float(law.cdf(gone.get(arm, 0))), float(law.sf(gone.get(arm, 0) - 1)))
        smallest = min(smallest, 2 * tail)
    return max(min(1.0, tests * smallest), SMALLEST_P)
