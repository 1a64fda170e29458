"""Studentized permutation of an adjusted outcome, where a small holdout asks for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.cells import Cells, Target
from measure.incrementality.small_holdout import Judged, Judgement, reference_from_residuals

Vector = NDArray[np.float64]
Places = NDArray[np.int64]


def dealt(
    cells: Cells,
    target: Target,
    residual: Callable[[Places], Vector],
    judgement: Judgement,
    method: str,
) -> Judged:
    """Studentized permutation over the residuals of a cell's units.

    ``residual`` gives those of rows at some places, both (m,); it is asked for the cell's only.
    """
    places, in_arm = cells.rows.compared(target.cohort, (cells.plan.control, target.arm))
    left = residual(places)
    known = ~np.isnan(left)
    n_arm = int(in_arm[known].sum())
    return reference_from_residuals(left[known], n_arm, judgement, cells.cell(target), method)
