"""Intervals that cover, influence functions that are derivatives, and data that cannot say."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom, spearmanr

from measure.errors import DataError, UnknownName
from measure.plan import AnalysisPlan, Metric
from measure.results import Status
from measure.scores import validate_score
from measure.scores.curves import (
    Ranked,
    area,
    area_above_random,
    area_of_toc,
    gain_curve,
    influence,
    qini_curve,
)
from measure.scores.plan import ScorePlan
from measure.scores.tenths import newcombe, welch
from measure.scores.validation import qini_normalised, rank_correlation

PLAN = AnalysisPlan(
    arms={"none": 0.5, "mail": 0.5},
    control="none",
    metrics=(Metric(name="bought", kind="proportion"), Metric(name="score")),
)


class Table:
    """Rows in memory behind the one method that a validation asks for."""

    plan = PLAN

    def __init__(self, score, bought, treated):
        arm = np.where(np.asarray(treated) == 1, "mail", "none")
        self.data = pa.table({"arm": arm, "bought": bought, "score": score})

    def rows(self, columns):
        return self.data.select(["arm", *columns])


def validated(score, bought, treated, **changed):
    options = {"score": "score", "metric": "bought", "arm": "mail"} | changed
    return validate_score(Table(score, bought, treated), **options)


def world(draw, n, *, useful, levels=None):
    """Buyers of 20 % plus, if the score is useful, 20 % of the score among the treated."""
    score = draw.random(n)
    chance = 0.2 + 0.2 * score * useful
    treated = (draw.random(n) < 0.7).astype(float)
    bought = (draw.random(n) < np.where(treated == 1, chance, 0.2)).astype(float)
    return score if levels is None else np.floor(score * levels), bought, treated


# Uplift 0.2·s, s uniform: mean among the top q is 0.2·(1 − q/2), on average 0.1, so
# Qini ∫ q·(0.1 − 0.1q) dq = 1/60, AUTOC ∫ (0.1 − 0.1q) dq = 1/20, AUUC ∫ 0.2·(q − q²/2) dq = 1/15.
TRUTH = {"average_effect": 0.1, "qini": 1 / 60, "autoc": 1 / 20, "auuc": 1 / 15}
# With ten levels the curve is a polygon on the same points, which lies below by 0.2·Σ(1/10)³/12.
LOSS = 0.2 * 10 * 0.1**3 / 12


@pytest.mark.parametrize(
    ("useful", "levels", "truth"),
    [
        (False, None, {"average_effect": 0, "qini": 0, "autoc": 0, "auuc": 0}),
        (True, None, TRUTH),
        (True, 10, TRUTH | {"qini": 1 / 60 - LOSS, "auuc": 1 / 15 - LOSS, "autoc": None}),
    ],
)
def test_intervals_cover(useful, levels, truth):
    # Binomial band of 99.9 % around 95 % in 400 runs; the normal approximation itself costs < 1 pp.
    draw = np.random.default_rng(1907)
    runs, covered = 400, dict.fromkeys(truth, 0)
    for _ in range(runs):
        found = validated(*world(draw, 1500, useful=useful, levels=levels))
        for name, value in truth.items():
            measure = found.find(name)
            covered[name] += value is not None and measure.ci_low <= value <= measure.ci_high
    for name, hits in covered.items():
        if truth[name] is not None:
            low, high = binom.ppf([0.0005, 0.9995], runs, 0.95)
            assert low - 0.01 * runs <= hits <= high, name


def test_normalised_interval_covers_its_own_limit():
    draw = np.random.default_rng(5)
    limit = validated(*world(draw, 1_000_000, useful=True)).find("qini_normalised").value
    runs = 300
    hits = 0
    for _ in range(runs):
        measure = validated(*world(draw, 1500, useful=True)).find("qini_normalised")
        hits += measure.ci_low <= limit <= measure.ci_high
    low, high = binom.ppf([0.0005, 0.9995], runs, 0.95)
    assert low - 0.01 * runs <= hits <= high


@pytest.mark.parametrize("levels", [8, 300])
@pytest.mark.parametrize(
    ("curve", "functional"),
    [
        (qini_curve, area_above_random),
        (gain_curve, area),
        (gain_curve, area_of_toc),
    ],
)
def test_influence_is_what_leaving_a_unit_out_changes(curve, functional, levels):
    draw = np.random.default_rng(2)
    n = 3000
    score, bought, treated = world(draw, n, useful=True)
    units = Ranked.by(np.floor(score * levels), bought, treated, descending=True).merged_up_to(5)
    found = functional(curve(units))
    influences = influence(units, curve(units), found)
    assert influences.sum() == pytest.approx(0, abs=1e-8)
    for j in draw.integers(0, n, 20):
        rest = np.arange(n) != j
        without = Ranked(units.outcome[rest], units.treated[rest], units.group[rest], units.groups)
        change = (n - 1) * (found.value - functional(curve(without)).value)
        # equal up to terms of order 1 / (units of an arm in the first group), here some twenty
        assert influences[j] == pytest.approx(change, abs=10 / n, rel=0.05)


def test_influence_of_the_normalised_area_by_leaving_units_out():
    draw = np.random.default_rng(4)
    n = 2000
    score, bought, treated = world(draw, n, useful=True, levels=20)

    def computed(keep):
        units = Ranked.by(score[keep], bought[keep], treated[keep], descending=True)
        curve = qini_curve(units)
        above = area_above_random(curve)
        return qini_normalised(units, above.value, influence(units, curve, above))

    value, influences = computed(np.ones(n, dtype=bool))
    order = np.lexsort((bought, treated, -score))
    for j in draw.integers(0, n, 10):
        keep = np.arange(n) != order[j]
        change = (n - 1) * (value - computed(keep)[0])
        assert influences[j] == pytest.approx(change, abs=0.02)


def test_order_of_rows_leaves_no_trace():
    draw = np.random.default_rng(3)
    score, bought, treated = world(draw, 4000, useful=True, levels=12)
    mixed = draw.permutation(4000)
    assert validated(score, bought, treated) == validated(
        score[mixed], bought[mixed], treated[mixed]
    )


def test_a_monotone_rescaling_of_the_score_changes_nothing_but_the_score():
    score, bought, treated = world(np.random.default_rng(6), 3000, useful=True, levels=40)
    plain, scaled = (
        validated(score, bought, treated),
        validated(np.exp(score / 9) - 7, bought, treated),
    )
    assert plain.measures == scaled.measures
    assert plain.curve == scaled.curve
    assert [d.uplift for d in plain.deciles] == [d.uplift for d in scaled.deciles]


def test_a_perfect_ranking_has_rank_correlation_one():
    found = validated(*world(np.random.default_rng(8), 200_000, useful=True))
    assert found.find("rank_correlation").value > 0.9
    uplift = [d.uplift for d in found.deciles]
    expected = spearmanr(-np.arange(10), uplift).statistic
    assert rank_correlation(found.deciles) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"score": 1.0}, Status.DEGENERATE, "score is the same"),
        ({"bought": 0.0}, Status.DEGENERATE, "outcome is the same"),
        ({"treated": 1.0}, Status.INVALID, "no unit"),
        ({"rows": 60}, Status.INSUFFICIENT, "100 are needed"),
        ({"rare": True}, Status.INSUFFICIENT, "10 are needed"),
    ],
)
def test_data_that_cannot_say(change, status, words):
    score, bought, treated = world(np.random.default_rng(1), 2000, useful=True)
    n = change.get("rows", 2000)
    score = np.full(n, change["score"]) if "score" in change else score[:n]
    bought = np.full(n, change["bought"]) if "bought" in change else bought[:n]
    treated = np.full(n, change["treated"]) if "treated" in change else treated[:n]
    if "rare" in change:
        bought = np.where(np.arange(n) < 12, 1.0, 0.0)
    found = validated(score, bought, treated)
    assert found.status is status
    assert words in found.note
    assert {(m.value, m.ci_low, m.ci_high) for m in found.measures} == {(None, None, None)}
    assert found.curve == ()
    assert "nan" not in str(found.to_dict()).lower()


def test_missing_scores_are_left_out_and_counted():
    score, bought, treated = world(np.random.default_rng(1), 3000, useful=True)
    score[:100] = np.nan
    bought[50:130] = np.nan
    found = validated(score, bought, treated)
    kept = validated(score[130:], bought[130:], treated[130:])
    assert found.left_out == 130
    assert found.measures == kept.measures


def test_refusals():
    good = world(np.random.default_rng(1), 500, useful=True)
    with pytest.raises(UnknownName, match="Did you mean 'mail'"):
        validated(*good, arm="mial")
    with pytest.raises(UnknownName, match="metric 'boght'"):
        validated(*good, metric="boght")
    with pytest.raises(DataError, match="infinite"):
        validated(np.where(good[0] > 0.9, np.inf, good[0]), *good[1:])


def test_newcombe_equals_its_published_example():
    # Newcombe (1998), Statistics in Medicine 17, table II (a), method 10: 56/70 − 48/80
    arm, control = np.repeat([1.0, 0.0], [56, 14]), np.repeat([1.0, 0.0], [48, 32])
    assert newcombe(arm, control, 0.95) == pytest.approx((0.0524, 0.3339), abs=0.5e-4)


def test_welch_equals_scipy():
    from scipy.stats import ttest_ind

    draw = np.random.default_rng(1)
    arm, control = draw.normal(1, 2, 40), draw.normal(0, 1, 25)
    expected = ttest_ind(arm, control, equal_var=False).confidence_interval(0.9)
    assert welch(arm, control, 0.9) == pytest.approx((expected.low, expected.high), rel=1e-12)


def fields(**changed):
    return {
        "key": "k",
        "source": {"path": "units.csv", "arm": "arm"},
        "arms": {"none": 0.4, "mail": 0.3, "post": 0.3},
        "control": "none",
        "arm": "mail",
        "metric": {"name": "bought", "kind": "proportion"},
        "score": "score",
    } | changed


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"arm": ""}, "name the one to judge"),
        ({"arm": "none"}, "not one of the treatments"),
        ({"score": "bought"}, "outcome itself"),
        ({"arms": {"none": 0.4, "mail": 0.3}}, "add up to 1"),
        ({"control": "nobody"}, "not one of the arms"),
        ({"scores": "x"}, "Extra inputs"),
        ({"order": "up"}, "descending"),
    ],
)
def test_plans_that_cannot_be(changed, words):
    with pytest.raises(ValueError, match=words):
        ScorePlan.model_validate(fields(**changed))


def test_the_only_treatment_need_not_be_named():
    found = ScorePlan.model_validate(fields(arms={"none": 0.5, "post": 0.5}, arm=""))
    assert found.arm == "post"
