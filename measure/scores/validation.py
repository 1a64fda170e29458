"""Does a score find the people whom a treatment moves? Judged against a randomised holdout.

A score that predicts who *buys* can be excellent and useless here; these measures ask who buys
*because* of the treatment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from measure.errors import DataError, UnknownName
from measure.results import SCHEMA_VERSION, Result, Status
from measure.scores.curves import (
    Curve,
    Functional,
    Integers,
    Numbers,
    Ranked,
    area,
    area_above_random,
    area_of_toc,
    gain_curve,
    height_at,
    influence,
    qini_curve,
    standard_error,
)
from measure.scores.tenths import Decile, deciles

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from measure.engine.connection import Engine
    from measure.plan import AnalysisPlan
    from measure.scores.plan import ScorePlan

FEWEST_UNITS = 100
"""Fewest units per arm."""
FEWEST_EVENTS = 10
"""Fewest units per arm whose outcome is not the most common one."""
FIRST_SHARE = 0.01
"""Share of units, at least, that the TOC curve takes as its first group."""
FIRST_UNITS = 10
"""Units of either arm, at least, in that group."""
CURVE_POINTS = 20


class Units(Protocol):
    """What a validation asks of a unit table."""

    plan: AnalysisPlan

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """Columns of all units, with ``arm``."""


@dataclass(frozen=True, slots=True)
class Measure(Result):
    """One number of a validation; interval ends are ``None`` where none is valid."""

    name: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    meaning: str


@dataclass(frozen=True, slots=True)
class CurvePoint(Result):
    """Gain in the metric per unit of the population when ``share`` of it is treated, best first.

    ``random`` is the gain of treating as many at random; the interval is for this point alone.
    """

    share: float
    gain: float
    ci_low: float
    ci_high: float
    random: float


@dataclass(frozen=True, slots=True)
class ScoreValidation(Result):
    """What a holdout says about a score."""

    score: str
    order: str
    metric: str
    arm: str
    control: str
    ci_level: float
    n_arm: int
    n_control: int
    left_out: int
    """Units of the two arms without score or outcome."""
    status: Status
    note: str
    measures: tuple[Measure, ...]
    deciles: tuple[Decile, ...]
    curve: tuple[CurvePoint, ...]
    definition: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The ``score validate`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}

    def find(self, name: str) -> Measure:
        """The measure of this name; ``KeyError`` when there is none."""
        return {measure.name: measure for measure in self.measures}[name]


def score_spec(engine: Engine, plan: ScorePlan, base: Path) -> ScoreValidation:
    """Open the source of a :class:`ScorePlan` (paths relative to ``base``) and validate."""
    from measure.engine.units import open_source

    units = open_source(engine, plan.source, plan.analysis_plan(), base)
    return validate_score(
        units,
        score=plan.score,
        metric=plan.metric.name,
        arm=plan.arm,
        order=plan.order,
        ci_level=plan.ci_level,
    )


def validate_score(
    units: Units,
    *,
    score: str,
    metric: str,
    arm: str,
    order: Literal["descending", "ascending"] = "descending",
    ci_level: float = 0.95,
) -> ScoreValidation:
    """Validate a score column against one arm and the plan's control.

    ``score`` is a column of the unit table; units without score or outcome are left out and
    counted. Numbers that the data cannot carry are ``None``, with the reason as ``status`` and
    ``note``. Raises :class:`UnknownName` for an arm or metric that the plan does not have.
    """
    plan = units.plan
    if arm not in plan.treatments:
        raise UnknownName.of("arm", arm, plan.treatments)
    names = [m.name for m in plan.metrics]
    if metric not in names:
        raise UnknownName.of("metric", metric, names)
    scores, outcome, treated, left_out = _columns(
        units.rows([metric, score]), score, metric, arm, plan.control
    )
    descending = order == "descending"
    proportion = plan.metric(metric).kind == "proportion"
    status, note = _usable(scores, outcome, treated)
    measures = _withheld(proportion=proportion)
    curve: tuple[CurvePoint, ...] = ()
    tenths: tuple[Decile, ...] = ()
    if status is not Status.INVALID:
        ranked = Ranked.by(scores, outcome, treated, descending=descending)
        by_rank = np.sort(scores)[::-1] if descending else np.sort(scores)
        tenths = deciles(ranked, by_rank, ci_level=ci_level, proportion=proportion)
    if status is Status.OK:
        measures = _measures(ranked, tenths, ci_level, proportion=proportion)
        curve = _points(ranked, ci_level)
    return ScoreValidation(
        score=score,
        order=order,
        metric=metric,
        arm=arm,
        control=plan.control,
        ci_level=ci_level,
        n_arm=int(treated.sum()),
        n_control=int(len(treated) - treated.sum()),
        left_out=left_out,
        status=status,
        note=note,
        measures=measures,
        deciles=tenths,
        curve=curve,
        definition=_definition(ci_level),
    )


def _columns(
    rows: pa.Table, score: str, metric: str, arm: str, control: str
) -> tuple[Numbers, Numbers, Numbers, int]:
    """Score, outcome and treatment (1/0) of the two arms, and how many units are left out."""
    import pyarrow.compute as pc

    either = pc.or_(pc.equal(rows["arm"], arm), pc.equal(rows["arm"], control))
    rows = rows.filter(either)
    scores = np.asarray(rows[score], dtype=float)
    outcome = np.asarray(rows[metric], dtype=float)
    if np.isinf(scores).any() or np.isinf(outcome).any():
        raise DataError(f"{score} or {metric} is infinite in some rows; correct or empty them.")
    known = ~(np.isnan(scores) | np.isnan(outcome))
    treated = np.asarray(pc.equal(rows["arm"], arm)).astype(float)
    return scores[known], outcome[known], treated[known], int((~known).sum())


def _usable(scores: Numbers, outcome: Numbers, treated: Numbers) -> tuple[Status, str]:
    """Whether any honest statement is possible, and if not, why."""
    n_arm = int(treated.sum())
    fewest = min(n_arm, len(treated) - n_arm)
    if not fewest:
        return Status.INVALID, "one of the two arms has no unit with score and outcome"
    if fewest < FEWEST_UNITS:
        return Status.INSUFFICIENT, f"an arm has {fewest} units; {FEWEST_UNITS} are needed"
    if not np.ptp(scores):
        return Status.DEGENERATE, "the score is the same for every unit"
    if not np.ptp(outcome):
        return Status.DEGENERATE, "the outcome is the same for every unit"
    values, counts = np.unique(outcome, return_counts=True)
    usual = values[np.argmax(counts)]
    events = min(int((outcome[treated == w] != usual).sum()) for w in (0, 1))
    if events < FEWEST_EVENTS:
        return (
            Status.INSUFFICIENT,
            f"an arm has {events} units with another outcome than {usual:g}; "
            f"{FEWEST_EVENTS} are needed",
        )
    return Status.OK, ""


_MEANINGS = {
    "average_effect": "difference in means between arm and control, all units",
    "qini": (
        "area between the Qini curve (Radcliffe 2007) and random targeting; not normalised, in the "
        "metric's unit per treated unit; 0 for a useless score"
    ),
    "qini_normalised": (
        "that area divided by the area of an ordering by outcome and arm that no score can reach; "
        "the definition of scikit-uplift's qini_auc_score with negative_effect=True"
    ),
    "auuc": (
        "area under the gain curve: mean gain per unit of the population over all shares treated"
    ),
    "autoc": (
        "area under the TOC curve (Yadlowsky et al. 2025): by how much the effect among the top q "
        f"exceeds the average, mean over q; the top {FIRST_SHARE:.0%} (and at least {FIRST_UNITS} "
        "units of either arm) are one group"
    ),
    "rank_correlation": (
        "Spearman correlation of tenths and their uplift, 1 when uplift falls steadily from the "
        "tenth treated first to the last; no interval, because ten noisy points carry none"
    ),
}


def _withheld(*, proportion: bool) -> tuple[Measure, ...]:
    names = [name for name in _MEANINGS if proportion or name != "qini_normalised"]
    return tuple(Measure(name, None, None, None, _MEANINGS[name]) for name in names)


def _measures(
    units: Ranked, tenths: tuple[Decile, ...], ci_level: float, *, proportion: bool
) -> tuple[Measure, ...]:
    gain, qini = gain_curve(units), qini_curve(units)
    above = area_above_random(qini)
    found = [
        _measure("average_effect", units, gain, height_at(gain, units.groups - 1), ci_level),
        _measure("qini", units, qini, above, ci_level),
    ]
    if proportion:
        value, influences = qini_normalised(units, above.value, influence(units, qini, above))
        found.append(_with_interval("qini_normalised", value, influences, ci_level))
    found.append(_measure("auuc", units, gain, area(gain), ci_level))
    merged = units.merged_up_to(first_group(units))
    toc = gain_curve(merged)
    found.append(_measure("autoc", merged, toc, area_of_toc(toc), ci_level))
    order = rank_correlation(tenths)
    found.append(Measure("rank_correlation", order, None, None, _MEANINGS["rank_correlation"]))
    return tuple(found)


def _measure(
    name: str, units: Ranked, curve: Curve, functional: Functional, ci_level: float
) -> Measure:
    influences = influence(units, curve, functional)
    return _with_interval(name, functional.value, influences, ci_level)


def _with_interval(name: str, value: float, influences: Numbers, ci_level: float) -> Measure:
    reach = NormalDist().inv_cdf((1 + ci_level) / 2) * standard_error(influences)
    return Measure(name, value, value - reach, value + reach, _MEANINGS[name])


def first_group(units: Ranked) -> int:
    """The first threshold with enough units of either arm to start a TOC curve."""
    n = len(units.outcome)
    arm = np.cumsum(np.bincount(units.group, weights=units.treated, minlength=units.groups))
    everyone = np.cumsum(np.bincount(units.group, minlength=units.groups))
    enough = (everyone >= FIRST_SHARE * n) & (arm >= FIRST_UNITS) & (everyone - arm >= FIRST_UNITS)
    return int(np.argmax(enough))


def qini_normalised(units: Ranked, area: float, influences: Numbers) -> tuple[float, Numbers]:
    """A Qini area and its influences, divided by the area of the best conceivable ordering.

    That ordering treats buyers of the arm first and buyers of the control last. With a and b the
    shares of such units and t the share treated, its area is (a(1−a) + b(1−b)·t/(1−t)) / 2t.
    """
    y, w = units.outcome, units.treated
    t, a, b = float(w.mean()), float((w * y).mean()), float(((1 - w) * y).mean())
    odds = t / (1 - t)
    best = (a * (1 - a) + odds * b * (1 - b)) / (2 * t)
    on_best = (
        (1 - 2 * a) / (2 * t) * (w * y - a)
        + odds * (1 - 2 * b) / (2 * t) * ((1 - w) * y - b)
        + (b * (1 - b) / (2 * t * (1 - t) ** 2) - best / t) * (w - t)
    )
    return area / best, (influences - area / best * on_best) / best


def rank_correlation(tenths: tuple[Decile, ...]) -> float | None:
    """Spearman correlation of order and uplift; ``None`` below three tenths or without spread."""
    uplift = np.array([d.uplift for d in tenths if d.uplift is not None])
    if len(uplift) < 3 or not np.ptp(uplift):
        return None
    order = -np.arange(len(uplift), dtype=float)
    return float(np.corrcoef(order, _ranks(uplift))[0, 1])


def _ranks(values: Numbers) -> Numbers:
    """Ranks from 0, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    middle: Numbers = (last - (counts - 1) / 2)[inverse]
    return middle


def _points(units: Ranked, ci_level: float) -> tuple[CurvePoint, ...]:
    """The gain curve at about twenty shares, each at a threshold of the score."""
    curve = gain_curve(units)
    wanted = np.arange(1, CURVE_POINTS + 1) / CURVE_POINTS
    found: Integers = np.unique(
        np.maximum(np.searchsorted(curve.share, wanted - 1e-12), first_group(units)).clip(
            max=units.groups - 1
        )
    )
    z = NormalDist().inv_cdf((1 + ci_level) / 2)
    points = [CurvePoint(0.0, 0.0, 0.0, 0.0, 0.0)]
    for at in found:
        gain = float(curve.height[at])
        reach = z * standard_error(influence(units, curve, height_at(curve, int(at))))
        share = float(curve.share[at])
        random = share * float(curve.height[-1])
        points.append(CurvePoint(share, gain, gain - reach, gain + reach, random))
    return tuple(points)


def _definition(ci_level: float) -> Mapping[str, Any]:
    return {
        "sentences": [
            "Units with equal scores are taken together; curves are straight between thresholds.",
            f"Intervals are {100 * ci_level:.4g} % normal intervals from influence functions, "
            "allowing for estimated ranks and arm sizes; units are independent and randomised.",
            "Tenths: Newcombe's interval for proportions, Welch's for means.",
        ],
        "first_share": FIRST_SHARE,
        "first_units": FIRST_UNITS,
    }
