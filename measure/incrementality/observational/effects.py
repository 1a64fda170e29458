"""What an estimator of observational data returns: an average effect, and effects by cohort."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from measure.incrementality.observational.sample import Sample

Number = tuple[float, float]
"""An effect and its standard error."""


@dataclass(frozen=True, slots=True)
class Effects:
    """``everybody`` and each cohort's (dimension, label) effect; ``dof`` of their errors.

    A cohort that is absent has no effect that this estimator could tell.
    """

    everybody: Number
    dof: float = math.inf
    cohorts: Mapping[tuple[str, str], Number] = field(default_factory=dict)
    note: str = ""
    strength: float | None = None
    """Robustness value, where the estimator brings one along (see ``sensitivity.py``)."""


Fit = Callable[[Sample], Effects]
