"""Segments found by an honest tree: searched for on one half of the units, estimated on the other.

Whoever looks for the cohort with the largest effect finds one, and its effect is too large, because
chance chose it. So units are split at random within each arm. On the first half a causal forest
(EconML's ``CausalForestDML``; Athey, Tibshirani and Wager 2019) predicts every unit's effect from
covariates and cohorts, and one shallow tree (``SingleTreeCateInterpreter``) puts its predictions
into words. On the second half, which the tree has never seen, each of its leaves is a cohort like
any other: a difference in means with the interval that allocation and skewness allow (honesty:
Athey and Imbens 2016, PNAS 113(27)). Intervals therefore cover, whatever the search did.

Segments were not named beforehand and are exploratory: what they say belongs in the next plan.
P-values of all segments of an analysis are corrected together by the plan's method.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measure.errors import InputError
from measure.incrementality.borders import econml_border
from measure.incrementality.cells import Cells, Target
from measure.incrementality.contrast import NUMBERS, Inference, StudentT
from measure.incrementality.difference import difference
from measure.incrementality.findings import Finding, conclude
from measure.incrementality.multiplicity import METHODS, benjamini_hochberg
from measure.incrementality.notes import joined
from measure.incrementality.orthogonal.learners import folds, shares, trees
from measure.incrementality.rows import Rows
from measure.incrementality.sequential import ONE_LOOK_ONLY
from measure.incrementality.small_holdout import Cell, Method, judge, reference_from_counts
from measure.moments import Moments
from measure.plan import Kind, Metric
from measure.results import Segment, Status

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

KINDS: tuple[Kind, ...] = ("mean", "proportion", "count")
DEPTH = 2
"""Rules of a segment at most; four segments per metric and arm."""
FOREST_TREES = 100
SMALLEST_SHARE, FEWEST = 0.05, 50
"""Share and number of the units searched, in a segment at least."""
FEWEST_SEARCHED = 400
"""Units of the two arms in the search half below which nothing is searched."""
MOST_VALUES = 20
"""Values of a dimension, the commonest, that a rule may name."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What rules may speak of: covariates, and a column of 0 and 1 per cohort; (n, k).

    ``names`` holds a covariate as (name, None), a cohort as (dimension, value).
    """

    names: tuple[tuple[str, str | None], ...]
    values: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """Where a path of the tree ends: its rule in words, and who is in it (n,)."""

    rule: str
    members: Mask


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    values: Vector
    counts: NDArray[np.int64]


def discover(cells: Cells, withheld: Collection[str] = ()) -> tuple[Segment, ...]:
    """Segments of every metric and arm, those of ``withheld`` metrics left out.

    Raises :class:`InputError` when the plan names neither covariates nor cohorts to search.
    """
    plan = cells.plan
    if not plan.covariates and not plan.cohorts:
        rule = "needs covariates or cohorts to search"
        raise InputError.rule("plan.discovery", plan.discovery, rule, "Name some, or remove it.")
    found: list[Segment] = []
    skipped: dict[str, str] = {}
    for metric in plan.metrics:
        if cells.kind(metric) not in KINDS:
            skipped[metric.name] = f"kind {cells.kind(metric)} is not searched"
        elif metric.name not in withheld:
            for arm in plan.treatments:
                segments = tuple(_segments(cells, metric, arm))
                found += segments
                if not segments:
                    skipped[f"{metric.name}: {arm}"] = "too few units, or no split"
    cells.asides["discovery"] = {
        "method": "honest tree: searched on half of the units, estimated on the other",
        "standing": "exploratory",
        "skipped": skipped,
    }
    return _corrected(found, cells)


def halves(rows: Rows, kept: Mask) -> tuple[Mask, Mask]:
    """Search and estimation half of some rows: within each arm every second one, in turn.

    Rows come in a shuffle fixed by the plan's seed, so this is a random split that comes out the
    same each time on every engine.
    """
    first = np.zeros(len(rows.arm), dtype=bool)
    for code in np.unique(rows.arm[kept]):
        first[np.flatnonzero(kept & (rows.arm == code))[::2]] = True
    return first, kept & ~first


def _segments(cells: Cells, metric: Metric, arm: str) -> Iterator[Segment]:
    """Search on one half, estimate on the other."""
    rows, plan = cells.rows, cells.plan
    codes = [rows.arms.index(name) for name in (plan.control, arm)]
    outcome = rows.outcomes[metric.name]
    kept = np.isin(rows.arm, codes) & ~np.isnan(outcome)
    search, estimate = halves(rows, kept)
    treated = rows.arm == codes[1]
    smaller = min(int((search & treated).sum()), int((search & ~treated).sum()))
    if search.sum() < FEWEST_SEARCHED or smaller < FEWEST:
        return
    if np.ptp(outcome[search]) == 0:
        return
    features = features_of(rows, cells.plan.covariates)
    leaves = grow(features, outcome, treated, search, plan.seed % 2**31)
    if len(leaves) < 2:
        return
    for leaf in leaves:
        yield _estimated(cells, metric, arm, leaf, (search, estimate))


def features_of(rows: Rows, covariates: Sequence[str]) -> Features:
    """Covariates, and the commonest cohorts of each dimension as 0 and 1."""
    names: list[tuple[str, str | None]] = [(name, None) for name in covariates]
    columns = [rows.covariates]
    for dimension, (codes, labels) in rows.dimensions.items():
        counts = np.bincount(codes, minlength=len(labels))
        common = sorted(np.argsort(-counts, kind="stable")[:MOST_VALUES])
        columns.append((codes[:, None] == np.array(common)).astype(float))
        names += [(dimension, labels[code]) for code in common]
    return Features(tuple(names), np.column_stack(columns))


def grow(
    features: Features, outcome: Vector, treated: Mask, search: Mask, seed: int
) -> tuple[Leaf, ...]:
    """Leaves of the tree that describes the effects a forest saw in the search half."""
    from econml.cate_interpreter import SingleTreeCateInterpreter
    from econml.dml import CausalForestDML

    n = int(search.sum())
    with econml_border():
        forest = CausalForestDML(
            model_y=trees(n, seed),
            model_t=shares(),
            discrete_treatment=True,
            n_estimators=FOREST_TREES,
            max_samples=0.2,
            min_samples_leaf=int(np.clip(n // 400, 5, 50)),
            inference=False,
            drate=False,
            n_jobs=1,
            cv=folds(seed),
            random_state=seed,
        )
        known = features.values[search]
        forest.fit(outcome[search], treated[search].astype(int), X=known, inference=None)
        interpreter = SingleTreeCateInterpreter(
            max_depth=DEPTH,
            min_samples_leaf=max(FEWEST, int(SMALLEST_SHARE * n)),
            random_state=seed,
        )
        interpreter.interpret(forest, known)
    return tuple(_leaves(interpreter.tree_model_.tree_, features))


def _leaves(tree: Any, features: Features) -> Iterator[Leaf]:
    """Paths from the root to every leaf, with their members among all rows."""
    everybody = np.ones(len(features.values), dtype=bool)
    waiting: list[tuple[int, list[tuple[int, float, bool]], Mask]] = [(0, [], everybody)]
    while waiting:
        node, path, members = waiting.pop()
        if tree.children_left[node] < 0:
            yield Leaf(in_words(path, features.names), members)
            continue
        column, cut = int(tree.feature[node]), float(tree.threshold[node])
        # The tree compares 32-bit floats, as scikit-learn stores them.
        below = features.values[:, column].astype(np.float32) <= cut
        for child, low in ((tree.children_right[node], False), (tree.children_left[node], True)):
            inside = members & (below if low else ~below)
            waiting.append((int(child), [*path, (column, cut, low)], inside))


def in_words(
    path: Sequence[tuple[int, float, bool]], names: Sequence[tuple[str, str | None]]
) -> str:
    """A path as a rule: ``recency ≤ 4.5 and channel is Web``; bounds on one covariate are joined.

    Each step is a column, a cut and whether the path goes to values up to it.
    """
    bounds: dict[str, tuple[float, float]] = {}
    cohorts: dict[str, list[str]] = {}
    for column, cut, low in path:
        name, value = names[column]
        if value is None:
            above, upto = bounds.get(name, (-math.inf, math.inf))
            bounds[name] = (above, min(upto, cut)) if low else (max(above, cut), upto)
        elif low:
            cohorts.setdefault(name, []).append(f"{name} is not {value}")
        else:
            cohorts[name] = [f"{name} is {value}"]
    parts = [_bounded(name, *bound) for name, bound in bounds.items()]
    parts += [text for texts in cohorts.values() for text in _final(texts)]
    return " and ".join(parts)


def _final(texts: Sequence[str]) -> Sequence[str]:
    """A value that a unit has says all about those it does not have."""
    settled = [text for text in texts if " is not " not in text]
    return settled or texts


def _bounded(name: str, above: float, upto: float) -> str:
    if math.isinf(above):
        return f"{name} ≤ {_short(upto)}"
    if math.isinf(upto):
        return f"{name} > {_short(above)}"
    return f"{_short(above)} < {name} ≤ {_short(upto)}"


def _short(cut: float) -> str:
    return f"{cut:.6g}".replace("-", "−")


def _estimated(
    cells: Cells, metric: Metric, arm: str, leaf: Leaf, parts: tuple[Mask, Mask]
) -> Segment:
    """A leaf's difference on the estimation half, and against the rest of that half."""
    search, estimate = parts
    found, pair = _difference(cells, metric, arm, leaf.members & estimate, leaf.rule)
    rest, _ = _difference(cells, metric, arm, ~leaf.members & estimate, f"not {leaf.rule}")
    seen = _pair(cells, metric, arm, leaf.members & search)
    numbers: dict[str, Any] = {n: getattr(found.numbers, n, None) for n in NUMBERS}
    apart, apart_se, apart_p = _apart(found, rest)
    looked = cells.plan.sequential is not False and found.numbers is not None
    return Segment(
        metric=metric.name,
        arm=arm,
        control=cells.plan.control,
        rule=leaf.rule,
        ci_level=cells.plan.ci_level,
        p_adjusted=numbers["p_value"],
        apart=apart,
        apart_se=apart_se,
        apart_p_value=apart_p,
        apart_p_adjusted=apart_p,
        n_control=pair[0].n,
        n_arm=pair[1].n,
        search_value=float(seen[1].mean[0] - seen[0].mean[0]) if seen[0].n and seen[1].n else None,
        status=found.status,
        note=joined(found.note, ONE_LOOK_ONLY if looked else ""),
        **numbers,
    )


def _apart(found: Finding, rest: Finding) -> tuple[float | None, float | None, float | None]:
    """Effect of a segment minus that of all others, its error and its p-value.

    Nothing where either of the two was not judged by the normal approximation.
    """
    one, other = found.numbers, rest.numbers
    if not (isinstance(one, Inference) and isinstance(other, Inference)):
        return None, None, None
    if found.note or rest.note:
        return None, None, None
    apart, se = one.value - other.value, math.hypot(one.se, other.se)
    return apart, se, StudentT(math.inf).p_value(apart / se)


def _pair(cells: Cells, metric: Metric, arm: str, inside: Mask) -> tuple[Moments, Moments]:
    rows = cells.rows
    outcome = rows.outcomes[metric.name]
    control, treated = (
        Moments.from_values((metric.name,), outcome[inside & (rows.arm == rows.arms.index(name))])
        for name in (cells.plan.control, arm)
    )
    return control, treated


def _difference(
    cells: Cells, metric: Metric, arm: str, inside: Mask, rule: str
) -> tuple[Finding, tuple[Moments, Moments]]:
    """The difference in means of some rows, judged like any cell."""
    rows, plan = cells.rows, cells.plan
    pair = _pair(cells, metric, arm, inside)
    target = Target(metric.name, arm, None)
    judgement = judge(*pair, metric.name, plan.ci_level)
    if judgement.method is Method.REFUSE:
        return Finding(target, Status.INSUFFICIENT, judgement.reason), pair
    if judgement.method is Method.DEGENERATE:
        return Finding(target, Status.DEGENERATE, judgement.reason), pair
    outcome = rows.outcomes[metric.name]
    counted = {
        name: _Counted(
            *np.unique(outcome[inside & (rows.arm == rows.arms.index(name))], return_counts=True)
        )
        for name in (plan.control, arm)
    }
    contrast = difference(*pair, metric.kind)
    cell = Cell(metric.name, arm, plan.control, f"segment\x1f{rule}", plan.seed)
    judged = reference_from_counts(judgement, contrast, counted, cell, metric.kind)
    found = conclude(target, contrast, judged, plan.ci_level)
    if isinstance(found.numbers, Inference):
        defined = found.numbers.with_lift(plan.relative, float(pair[0].mean[0]))
        found = replace(found, numbers=defined)
    return found, pair


def _corrected(found: Sequence[Segment], cells: Cells) -> tuple[Segment, ...]:
    """P-values of all segments corrected together; a hierarchical plan has no tree for them.

    Where a plan is looked at before the end there are none that a correction could use.
    """
    method = cells.plan.multiplicity
    if cells.plan.sequential is not False:
        # One-look p-values of segments that change from look to look: nothing to be adjusted.
        return tuple(replace(one, p_adjusted=None, apart_p_adjusted=None) for one in found)
    if method == "none":
        return tuple(found)
    correct = METHODS.get(method, benjamini_hochberg)
    plain = _adjusted([s.p_value for s in found], correct)
    apart = _adjusted([s.apart_p_value for s in found], correct)
    return tuple(
        replace(segment, p_adjusted=p, apart_p_adjusted=other)
        for segment, p, other in zip(found, plain, apart, strict=True)
    )


def _adjusted(p_values: Sequence[float | None], correct: Any) -> list[float | None]:
    """Corrected among those that there are."""
    present = iter(correct([p for p in p_values if p is not None]))
    return [None if p is None else next(present) for p in p_values]
