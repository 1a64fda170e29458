"""Which test next: candidates by the value of what they would teach, for each unit of their cost.

The prior of a candidate's lift comes from tests that were analysed. Those on one of its channels
count, or all of them when none is; each is a lift with its standard error. Their mean is weighted
by the inverse of se² + τ², where τ² is the variance between tests (DerSimonian and Laird 1986,
Controlled Clinical Trials 7(3)); a new test's lift then has variance τ² + the mean's own. Fewer
than three tests cannot tell τ, so ``DEFAULT_LIFT_SD`` stands in for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from designs.planning.cost import DEFAULT_LIFT, DEFAULT_LIFT_SD, Prior
from measure.results import SCHEMA_VERSION, Result

if TYPE_CHECKING:
    from designs.planning.results import DesignPlan

ENOUGH_FOR_SPREAD = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """The lift that one analysed test found, and the channels it ran on."""

    experiment: str
    lift: float
    se: float
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate(Result):
    """A candidate in its place; ``ratio`` is information over cost, ``None`` when it costs nothing.

    Money is in major units of ``currency``; ``information`` and ``cost`` are of the arm with the
    most to teach. ``note`` says why a candidate could not be valued; it then stands last.
    """

    rank: int
    experiment: str
    information: float | None
    cost: float | None
    ratio: float | None
    currency: str | None
    power: float | None
    lift_mean: float | None
    lift_sd: float | None
    lift_source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ranking(Result):
    """Candidates, the one to run first in front, and the tests their priors rest on."""

    candidates: tuple[Candidate, ...]
    evidence: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The ``plan --next`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}


def prior_from(evidence: Iterable[Evidence], channels: Sequence[str] = ()) -> Prior:
    """What earlier tests say of the lift of a test on these channels."""
    known = sorted(evidence, key=lambda found: found.experiment)
    near = [found for found in known if set(found.channels) & set(channels)]
    used = near or known
    if not used:
        return Prior(DEFAULT_LIFT, DEFAULT_LIFT_SD, "assumed: no test has been analysed here")
    spread = _between(used)
    weights = [1 / (found.se**2 + spread) for found in used]
    mean = math.fsum(w * e.lift for w, e in zip(weights, used, strict=True)) / math.fsum(weights)
    sd = math.sqrt(spread + 1 / math.fsum(weights))
    names = ", ".join(found.experiment for found in used)
    shared = "the same channel" if near else "any channel"
    return Prior(mean, sd, f"earlier tests on {shared}: {names}")


def rank(plans: Iterable[DesignPlan], refused: Iterable[tuple[str, str]] = ()) -> Ranking:
    """Order plans by information over cost; ``refused`` are (key, reason) that come last.

    A holdout that costs nothing, or saves money, comes before all that cost something; among
    equals the more informative is first, then the key decides.
    """
    valued, unvalued = [], [_unvalued(key, reason) for key, reason in refused]
    for plan in plans:
        best = max(plan.money, key=lambda m: m.information, default=None)
        if best is None:
            reason = "no money metric with cost and margin: give cost, and a metric in its currency"
            unvalued.append(_unvalued(plan.experiment, reason))
            continue
        ratio = best.information / best.cost if best.cost > 0 else None
        power = next((p.power for p in plan.leading() if p.arm == best.arm), None)
        valued.append(
            Candidate(
                0, plan.experiment, best.information, best.cost, ratio, best.currency, power,
                best.lift_mean, best.lift_sd, best.lift_source, best.note,
            )
        )  # fmt: skip
    valued.sort(key=_order)
    unvalued.sort(key=lambda candidate: candidate.experiment)
    placed = [_placed(c, place) for place, c in enumerate([*valued, *unvalued], start=1)]
    sources = {c.lift_source for c in valued if c.lift_source}
    return Ranking(tuple(placed), tuple(sorted(sources)))


def _between(used: Sequence[Evidence]) -> float:
    """Variance between tests, never below zero."""
    if len(used) < ENOUGH_FOR_SPREAD:
        return DEFAULT_LIFT_SD**2
    weights = [found.se**-2 for found in used]
    total = math.fsum(weights)
    mean = math.fsum(w * e.lift for w, e in zip(weights, used, strict=True)) / total
    heterogeneity = math.fsum(w * (e.lift - mean) ** 2 for w, e in zip(weights, used, strict=True))
    scale = total - math.fsum(w * w for w in weights) / total
    return max((heterogeneity - (len(used) - 1)) / scale, 0.0)


def _order(candidate: Candidate) -> tuple[float, float, str]:
    ratio = math.inf if candidate.ratio is None else candidate.ratio
    return -ratio, -(candidate.information or 0.0), candidate.experiment


def _unvalued(key: str, reason: str) -> Candidate:
    return Candidate(0, key, None, None, None, None, None, None, None, "", reason)


def _placed(candidate: Candidate, place: int) -> Candidate:
    from dataclasses import replace

    return replace(candidate, rank=place)
