"""What goes into a pooled model and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Observed:
    """A difference as the likelihood sees it, with the control's mean and its squared error."""

    estimate: float
    se: float
    control_mean: float
    control_error: float


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Cohort estimates of one metric, arm and dimension, with the priors' scales.

    ``estimate`` and ``se`` have shape (j,); the average effect has the prior
    N(``mean_prior``, ``mean_scale``²), the spread of cohorts a half-normal one with ``tau_scale``;
    all in one unit.
    """

    estimate: Vector
    se: Vector
    mean_prior: float
    mean_scale: float
    tau_scale: float

    @classmethod
    def of(
        cls, observed: Sequence[Observed], mean_prior: float, mean_scale: float, tau_scale: float
    ) -> Group:
        """Gather differences into arrays."""
        estimate = np.array([o.estimate for o in observed])
        se = np.array([o.se for o in observed])
        return cls(estimate, se, mean_prior, mean_scale, tau_scale)


@dataclass(frozen=True, slots=True)
class Posterior:
    """Posterior mean, standard deviation and equal-tailed interval; the lift may be undefined."""

    value: float
    sd: float
    ci_low: float
    ci_high: float
    relative: float | None
    relative_ci_low: float | None
    relative_ci_high: float | None


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a posterior mean moves when the scale of one prior is multiplied by ``factor``.

    ``shift`` is the largest move of any cohort in posterior standard deviations, ``member`` that
    cohort's place in its group; ``average`` is the move of the average effect.
    """

    prior: str
    factor: float
    shift: float
    member: int
    average: float


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """Posteriors of one group's cohorts in the order given; none when a gate failed.

    ``draws`` holds what a modeller may want to look at, each of shape (chains, draws) or (chains,
    draws, cohorts).
    """

    posteriors: tuple[Posterior, ...]
    complaint: str = ""
    shifts: tuple[Shift, ...] = ()
    draws: Mapping[str, Vector] | None = None


def with_lifts(
    observed: Sequence[Observed], value: Vector, sd: Vector, low: Vector, high: Vector, level: float
) -> tuple[Posterior, ...]:
    """Posteriors with their lifts: effect over control mean by the delta method.

    The error of the control mean moves with that of the difference (it is a part of it), so given
    the effect the control mean keeps the share 1 − k of its variance, k = control error / se².
    """
    base = np.array([o.control_mean for o in observed])
    error = np.array([o.control_error for o in observed])
    share = np.minimum(error / np.array([o.se for o in observed]) ** 2, 1.0)
    divisor = np.where(base == 0, 1.0, base)
    slope = (1 + value * share / divisor) / np.abs(divisor)
    own = value**2 / divisor**4 * error * (1 - share)
    half = normal_point(level) * np.sqrt((sd * slope) ** 2 + own)
    relative = value / np.abs(divisor)
    lifts = (relative, relative - half, relative + half)
    absolute = zip(*(v.tolist() for v in (value, sd, low, high)), strict=True)
    lifted = zip(*(v.tolist() for v in lifts), strict=True)
    return tuple(
        Posterior(*numbers, *(lift if defined else (None, None, None)))
        for numbers, lift, defined in zip(absolute, lifted, (base != 0).tolist(), strict=True)
    )


def normal_point(level: float) -> float:
    """Upper end of the central ``level`` of a standard normal."""
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))
