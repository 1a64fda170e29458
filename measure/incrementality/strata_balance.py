"""``X8``: strata that the arms do not share alike.

A stratum that was known before assignment is dealt out like everybody else. One that was measured
afterwards may be an effect of the treatment, and averaging within it would take that effect away
(Rosenbaum 1984, JRSS A 147(5), section 2). Pearson's chi-square of stratum by arm, the arms' sizes
as they are: whether those follow the design is the sample ratio's question.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.check_kind import CheckKind
from measure.incrementality.checks import BALANCE, SMALLEST_EXPECTED
from measure.incrementality.contrast import SMALLEST_P
from measure.moments import CellMoments
from measure.plan import AnalysisPlan
from measure.results import Check, Outcome, Severity

KIND = CheckKind("X8", "Strata balance")
REST = "strata too small to be judged alone"


def strata_check(plan: AnalysisPlan, strata: Mapping[str, CellMoments]) -> Check:
    """Compare the split of every stratum with that of everybody.

    Below p = 1e-6, the bar of covariates, post-stratified estimates are withheld. Strata that
    expect fewer than five units in an arm are judged together.
    """
    names, units = _units(plan, strata)
    if len(names) < 2:
        return KIND.found(Outcome.NOT_APPLICABLE, "There are not two strata with enough units.")
    share = units.sum(axis=0) / units.sum()
    expected = units.sum(axis=1, keepdims=True) * share
    distance = ((units - expected) ** 2 / expected).sum(axis=1)
    p_value = _p(float(distance.sum()), (len(names) - 1) * (units.shape[1] - 1))
    evidence = tuple(
        {"stratum": name, **{arm: int(n) for arm, n in zip(plan.arms, row, strict=True)}}
        for name, row in zip(names, units, strict=True)
    )
    worst = names[int(distance.argmax())]
    told = "p < 1e-300" if p_value < 1e-300 else f"p = {p_value:.2g}"
    if p_value >= BALANCE:
        message = f"The arms share {len(names)} strata alike ({told})."
        return KIND.found(Outcome.PASSED, message, Severity.NOTE, p_value, evidence)
    message = (
        f"The arms do not share the strata alike ({told}; worst: {worst}): measured after "
        "assignment? Name other strata, or find out why the arms differ."
    )
    return KIND.found(Outcome.FLAGGED, message, Severity.WARNING, p_value, evidence)


def _units(
    plan: AnalysisPlan, strata: Mapping[str, CellMoments]
) -> tuple[list[str], NDArray[np.float64]]:
    """Units per stratum and arm with units, shape (strata, arms); small strata are one, last."""
    counts = np.array([[cells.units.get(arm, 0) for arm in plan.arms] for cells in strata.values()])
    counts = counts.reshape(len(strata), len(plan.arms)).astype(float)
    if not counts.sum() or not counts.sum(axis=0).all():
        return [], counts
    share = counts.sum(axis=0) / counts.sum()
    large = counts.sum(axis=1) * share.min() >= SMALLEST_EXPECTED
    names = [name for name, some in zip(strata, large, strict=True) if some]
    rest = counts[~large].sum(axis=0)
    if rest.sum() * share.min() < SMALLEST_EXPECTED:
        return names, counts[large]
    return [*names, REST], np.vstack([counts[large], rest])


def _p(statistic: float, degrees: int) -> float:
    from scipy.special import chdtrc

    return max(float(chdtrc(degrees, statistic)), SMALLEST_P)
