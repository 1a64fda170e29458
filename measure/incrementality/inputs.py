"""What this package asks of a unit table: a few methods, whoever implements them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.grams import Grams
    from measure.moments import CellMoments, JointMoments
    from measure.results import Cohort


class CountedValues(Protocol):
    """Distinct values of a metric and the number of units at each; both of shape (k,)."""

    @property
    def values(self) -> NDArray[np.float64]:
        """Distinct values."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """Units at each value."""


class CountedEvents(Protocol):
    """Times up to a horizon, ascending, and the units whose observation ended there: (k,) each."""

    @property
    def times(self) -> NDArray[np.float64]:
        """Distinct times."""

    @property
    def events(self) -> NDArray[np.int64]:
        """Units that had the event."""

    @property
    def censored(self) -> NDArray[np.int64]:
        """Units last seen without it."""

    @property
    def beyond(self) -> int:
        """Units observed beyond the horizon."""


class Profile(Protocol):
    """What is known of one column over all units."""

    @property
    def n(self) -> int:
        """Units with a value."""

    @property
    def missing(self) -> int:
        """Units without one."""

    @property
    def mean(self) -> float | None:
        """Mean of the values there are."""


class Units(Protocol):
    """One row per randomisation unit, asked for statistics only."""

    def moments(self) -> CellMoments:
        """Moments of (metric, covariates…, companions…) per metric, cohort and arm."""

    def moments_by_stratum(self) -> Mapping[str, CellMoments]:
        """The same per combination of the plan's strata."""

    def joint_moments(self) -> JointMoments:
        """The same per combination of cohorts, one of every dimension, that occurs."""

    def value_counts(self, metric: str, cohort: Cohort | None) -> Mapping[str, CountedValues]:
        """Values of a metric per arm, as they are analysed."""

    def event_counts(self, metric: str, cohort: Cohort | None) -> Mapping[str, CountedEvents]:
        """Times and events of a metric that has an event, per arm."""

    def grams(self, dimensions: Sequence[str], folds: int) -> Mapping[str | None, Sequence[Grams]]:
        """Gram matrices per fold, cohort and arm, by dimension; ``None`` for everybody."""

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """Rows with the column ``arm`` and the columns named.

        A ratio's denominator is named ``METRIC (denominator)``.
        """

    def profile(self) -> Mapping[str, Profile]:
        """A profile per column."""
