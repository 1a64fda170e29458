"""How a result may be judged when it is looked at before the end.

A plan with ``sequential`` promises that nothing happened is rejected with probability at most
1 − ``ci_level`` over *all* looks together. P-value and interval both come from one boundary, so the
interval excludes zero exactly when p ≤ 1 − ``ci_level``:

``anytime_valid``
    The asymptotic confidence sequence (Waudby-Smith et al. 2023, arXiv:2103.06476): look whenever
    you like. All intervals together cover the effect with probability ``ci_level``, and p is the
    level at which the boundary runs through the statistic. It rests on the normal approximation,
    so it begins at fifty units per arm, and only where that approximation holds.
``obrien_fleming``
    The looks planned share the error by O'Brien–Fleming spending. The interval is the repeated
    confidence interval, p the repeated p-value of this look (Jennison and Turnbull 1989, JRSS B
    51(3)): the smallest level whose boundary is crossed now. The test underneath stays Student's t
    or the permutation test, at the nominal level of the look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from measure.errors import InputError
from measure.incrementality.contrast import SMALLEST_P, Reference
from measure.incrementality.notes import joined
from measure.incrementality.permutation import DRAWS
from measure.incrementality.sequential_boundaries import (
    mixture_bound,
    mixture_p_value,
    mixture_rate,
    spending,
    spending_bounds,
)
from measure.incrementality.small_holdout import Judged, Method
from measure.methods import Methods, Sequential

USUAL_UNITS = 5_000
"""Units of a comparison at which a confidence sequence is narrowest when none are planned."""
MIN_UNITS = 50
"""Units of the smaller arm from which the asymptotic boundary is used."""
NEAR = 0.05
"""A look may be early or late by this share of the planned units."""
FEWEST_DRAWS = 10
"""Draws that must lie beyond a look's nominal level for a permutation test to reach it."""
SMALLEST_LEVEL = 1e-12
"""A look whose nominal level is smaller can show nothing."""
ONE_LOOK_ONLY = "fixed-sample interval: it is valid at one look only, not at every look"

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ConfidenceSequence:
    """Reference of an anytime-valid look; ``scaled`` is ρ² times the units compared."""

    scaled: float

    def p_value(self, statistic: float) -> float:
        """Always valid: below α at any look with probability at most α."""
        return max(mixture_p_value(statistic, self.scaled), SMALLEST_P)

    def quantiles(self, level: float) -> tuple[float, float]:
        """Symmetric around zero."""
        bound = mixture_bound(self.scaled, 1 - level)
        return -bound, bound


@dataclass(frozen=True, slots=True)
class PlannedLook:
    """One look of a group-sequential plan.

    ``spent`` are the planned fractions up to this look, which say how much error was spent;
    ``times`` the same looks in information, the last one as it is.
    """

    number: int
    of: int
    spent: tuple[float, ...]
    times: tuple[float, ...]

    def bound(self, alpha: float) -> float:
        """Boundary on |Z| at this look, when all looks together may err with ``alpha``."""
        return _bound(self.spent, self.times, alpha)

    def nominal(self, alpha: float) -> float:
        """Level of the test at this look alone."""
        from scipy.special import ndtr

        return 2 * float(ndtr(-self.bound(alpha)))


@dataclass(frozen=True, slots=True)
class GroupSequential:
    """Reference of a planned look over the reference of a single one, at the plan's ``alpha``."""

    single: Reference
    look: PlannedLook
    alpha: float

    def p_value(self, statistic: float) -> float:
        """Repeated p-value: the smallest level whose boundary is crossed at this look."""
        from scipy.special import ndtr, ndtri

        z = -float(ndtri(self.single.p_value(statistic) / 2))
        bounds, finals = _ladder(self.look.spent, self.look.times, self.alpha)
        found = 2 * float(ndtr(-_final_z(z, bounds, finals)))
        return max(min(found, 1.0), SMALLEST_P)

    def quantiles(self, level: float) -> tuple[float, float]:
        """Those of the single look at this look's nominal level."""
        return self.single.quantiles(1 - self.look.nominal(1 - level))


@dataclass(frozen=True, slots=True)
class AnytimeLook:
    """A look whenever it comes: ``units`` are compared now, ``tuned`` are best."""

    units: int
    smaller: int
    tuned: float
    alpha: float

    def judged(self, found: Judged) -> Judged:
        """Replace the reference of a single look, or say why it cannot be replaced."""
        if found.reference is None:
            return found
        refusal = self.refusal(found.method, found.note)
        if refusal:
            return Judged(Method.REFUSE, refusal, None)
        scaled = self.units * mixture_rate(self.tuned, self.alpha)
        note = f"confidence sequence, valid at every look (narrowest at {self.tuned:,.0f} units)"
        return replace(found, note=joined(note, found.note), reference=ConfidenceSequence(scaled))

    def nominal(self, alpha: float) -> float:
        """Level of the test at this look alone, when all looks together may err with ``alpha``."""
        from scipy.special import ndtr

        scaled = self.units * mixture_rate(self.tuned, alpha)
        return 2 * float(ndtr(-mixture_bound(scaled, alpha)))

    def refusal(self, method: Method, reason: str) -> str:
        """Why an asymptotic boundary cannot be used yet; empty where it can."""
        if method is not Method.NORMAL:
            return f"an anytime-valid interval needs the normal approximation, not the {reason}"
        if self.smaller < MIN_UNITS:
            few = f"{self.smaller} units in the smaller arm"
            return f"{few}; an anytime-valid interval needs {MIN_UNITS}"
        return ""


@dataclass(frozen=True, slots=True)
class GroupLook:
    """A look of a group-sequential plan, or the reason why none is due."""

    planned: PlannedLook | None
    note: str
    alpha: float

    def judged(self, found: Judged) -> Judged:
        """Replace the reference of a single look, or say why it cannot be replaced."""
        if found.reference is None:
            return found
        if self.planned is None:
            return Judged(Method.REFUSE, self.note, None)
        nominal = self.planned.nominal(self.alpha)
        if nominal < SMALLEST_LEVEL:
            return Judged(Method.REFUSE, f"{self.note}: nothing can be said this early", None)
        if found.method is Method.PERMUTATION and nominal * (DRAWS + 1) / 2 < FEWEST_DRAWS:
            reason = f"{self.note}: its level {nominal:.1g} is out of reach of the {found.note}"
            return Judged(Method.REFUSE, reason, None)
        reference = GroupSequential(found.reference, self.planned, self.alpha)
        return replace(found, note=joined(self.note, found.note), reference=reference)


Look = AnytimeLook | GroupLook


def look_at(
    plan: Methods, everybody: int, pair: tuple[int, int], share: float, cohorts: int = 1
) -> Look | None:
    """The look that is being taken; ``None`` when the plan has one look, at the end.

    ``everybody`` are the units of all arms, ``pair`` those of the control and the arm compared,
    ``share`` the designed share of the two, ``cohorts`` how many cohorts divide them. Raises
    :class:`InputError` beyond the last look of a plan.
    """
    if plan.sequential is False:
        return None
    alpha = round(1 - plan.ci_level, 12)
    if plan.sequential.method == "anytime_valid":
        return anytime_look(plan.sequential, pair, share, alpha, cohorts)
    return _group_look(plan.sequential, everybody, alpha)


def anytime_look(
    sequential: Sequential, pair: tuple[int, int], share: float, alpha: float, cohorts: int = 1
) -> AnytimeLook:
    """The look at a confidence sequence; arguments as in :func:`look_at`.

    Where cohorts divide the units, each is expected to get an equal part: the boundary must not
    depend on what came, and it is wide only when this is far off.
    """
    planned = sequential.planned_units
    tuned = (USUAL_UNITS if planned is None else planned * share) / max(cohorts, 1)
    return AnytimeLook(sum(pair), min(pair), tuned, alpha)


def planned_look(looks: tuple[float, ...], fraction: float) -> PlannedLook | None:
    """The planned look that a fraction of the planned units is near; ``None`` between looks.

    At the last look all error left is spent, and earlier looks lie where they were in the
    information there is now.
    """
    place = min(range(len(looks)), key=lambda k: abs(looks[k] - fraction))
    if abs(looks[place] - fraction) > NEAR + 1e-9:
        return None
    spent, last = looks[: place + 1], place + 1 == len(looks)
    if last:
        times = (*(time / fraction for time in spent[:-1]), 1.0)
        return PlannedLook(place + 1, len(looks), spent, times)
    now = (*spent[:-1], fraction)
    return PlannedLook(place + 1, len(looks), now, now)


@cache
def _group_look(sequential: Sequential, everybody: int, alpha: float) -> GroupLook:
    planned = sequential.planned_units
    if planned is None:  # the plan is refused when it is read; this is for those built otherwise
        raise InputError.rule("sequential.planned_units", None, "obrien_fleming needs it")
    fraction = everybody / planned
    if fraction > 1 + NEAR + 1e-9:
        raise InputError.rule(
            "units",
            everybody,
            f"the last planned look was at {planned:,} units, and all error is spent",
            "Analyse what was planned, or another plan, whose results are exploratory.",
        )
    found = planned_look(sequential.looks, fraction)
    at = f"{100 * fraction:.3g} % of {planned:,} planned units"
    if found is None:
        due = ", ".join(f"{100 * look:.3g}" for look in sequential.looks)
        return GroupLook(None, f"no look is planned at {at}; looks are due at {due} %", alpha)
    bound = f"O'Brien–Fleming boundary |z| ≥ {found.bound(alpha):.3f}"
    return GroupLook(found, f"look {found.number} of {found.of} at {at}, {bound}", alpha)


@cache
def _bound(spent: tuple[float, ...], times: tuple[float, ...], alpha: float) -> float:
    """Boundary on |Z| at the last of ``times``, when all looks together may err with ``alpha``."""
    return spending_bounds(times, [spending("obrien_fleming", time, alpha) for time in spent])[-1]


_STEP = 0.05
_FARTHEST_FINAL = 7.5
_LARGEST_BOUND = 8.5


def _final_z(z: float, bounds: Vector, finals: Vector) -> float:
    """Z at 1 − α/2 of the level α whose boundary is ``z``.

    Beyond the table both grow in proportion, as they do where one look carries all the error.
    """
    if z >= bounds[-1]:
        return float(z * finals[-1] / bounds[-1])
    return float(np.interp(z, bounds, finals, left=0.0))


@cache
def _ladder(
    spent: tuple[float, ...], times: tuple[float, ...], exact: float
) -> tuple[Vector, Vector]:
    """Boundaries of the last look, rising, and z at 1 − α/2 of each level α, ``exact`` included."""
    from scipy.special import ndtr, ndtri

    steps = np.arange(_STEP, _FARTHEST_FINAL + _STEP / 2, _STEP)
    bounds, finals = [0.0], [0.0]
    for final in np.sort(np.append(steps, -ndtri(exact / 2))):
        bound = _bound(spent, times, 2 * float(ndtr(-final)))
        if bound > _LARGEST_BOUND:
            break
        if bound > bounds[-1]:
            bounds.append(bound)
            finals.append(float(final))
    return np.array(bounds[1:]), np.array(finals[1:])
