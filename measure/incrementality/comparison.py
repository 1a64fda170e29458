"""What is known of one cell before its difference is taken: all that a kind of metric may ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.findings import Target
from measure.incrementality.inputs import CountedEvents, CountedValues
from measure.incrementality.rows import Rows
from measure.incrementality.sequential import Look
from measure.incrementality.small_holdout import Cell
from measure.moments import Moments
from measure.plan import Metric


@dataclass(frozen=True, slots=True)
class Comparison:
    """One cell: moments of both arms with their companions, and ways to the units themselves.

    ``values``, ``rows`` and ``events`` go to the unit table when called, so that a kind which needs
    moments only costs nothing more.
    """

    target: Target
    metric: Metric
    control: Moments
    arm: Moments
    level: float
    cell: Cell
    """Names that seed the cell's draws and word its notes."""
    look: Look | None
    """The look being taken; ``None`` when the plan has one, at the end."""
    values: Callable[[], Mapping[str, CountedValues]]
    """Units at each value of the metric, per arm, in the cell's cohort."""
    rows: Callable[[], Rows]
    events: Callable[[], Mapping[str, CountedEvents]]
    """Units at each time, per arm, in the cell's cohort."""

    def compared(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Places of the cell's rows with a value of the metric, and which are of the arm."""
        places, in_arm = self.rows().compared(
            self.target.cohort, (self.cell.control, self.cell.arm)
        )
        known = ~np.isnan(self.rows().outcomes[self.metric.name][places])
        return places[known], in_arm[known]
