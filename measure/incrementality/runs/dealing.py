"""Studentized permutation of an adjusted outcome, where a small holdout asks for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.cells import Cells, Target
from measure.incrementality.small_holdout import Judged, Judgement, reference_from_residuals

Vector = NDArray[np.float64]


def dealt(
    cells: Cells, target: Target, residual: Vector, judgement: Judgement, method: str
) -> Judged:
    """Studentized permutation over the residuals of a cell's units."""
    rows = cells.rows
    codes = [rows.arms.index(cells.plan.control), rows.arms.index(target.arm)]
    used = np.isin(rows.arm, codes) & rows.members(target.cohort) & ~np.isnan(residual)
    n_arm = int((rows.arm[used] == codes[1]).sum())
    return reference_from_residuals(residual[used], n_arm, judgement, cells.cell(target), method)
