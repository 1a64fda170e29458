"""Scores of Hillstrom's customers (MANIFEST.md: hillstrom.csv) against slow, literal counting."""

import itertools
from collections import defaultdict

import numpy as np
import pyarrow.csv
import pytest

from measure.engine.connection import connect
from measure.results import Status
from measure.scores import score_spec
from measure.scores.plan import ScorePlan
from tests.data import data_file

ARMS = {"No E-Mail": 0.333, "Womens E-Mail": 0.334, "Mens E-Mail": 0.333}


def plan(metric="visit", kind="proportion", score="history", **changed):
    fields = {
        "key": "hillstrom-score",
        "source": {"path": "hillstrom.csv", "arm": "segment"},
        "arms": ARMS,
        "control": "No E-Mail",
        "arm": "Womens E-Mail",
        "metric": {"name": metric, "kind": kind},
        "score": score,
    }
    return ScorePlan.model_validate(fields | changed)


def validated(*args, **changed):
    with connect("duckdb://") as engine:
        return score_spec(engine, plan(*args, **changed), data_file("hillstrom.csv").parent)


def columns(metric, score, sign=1):
    table = pyarrow.csv.read_csv(data_file("hillstrom.csv")).to_pydict()
    return [
        (sign * s, y, int(arm == "Womens E-Mail"))
        for s, y, arm in zip(table[score], table[metric], table["segment"], strict=True)
        if arm in ("Womens E-Mail", "No E-Mail")
    ]


def qini_by_hand(rows):
    """Unnormalised and normalised Qini, threshold by threshold.

    The definition of qini_auc_score, qini_curve and perfect_qini_curve(negative_effect=True) in
    scikit-uplift: x counts units, the height is Y_t − Y_c·N_t/N_c (Y_t while there are no
    controls); trapezoids minus the diagonal, divided by the same for the ordering by y·t − y·(1−t).
    """

    def curve(ranked):
        groups = defaultdict(list)
        for score, y, t in ranked:
            groups[score].append((y, t))
        n_t = n_c = y_t = y_c = 0
        points = [(0, 0.0)]
        for score in sorted(groups, reverse=True):
            for y, t in groups[score]:
                n_t, n_c, y_t, y_c = n_t + t, n_c + 1 - t, y_t + y * t, y_c + y * (1 - t)
            points.append((n_t + n_c, y_t - y_c * n_t / n_c if n_c else y_t))
        return points

    def above_diagonal(points):
        area = sum((x2 - x1) * (h1 + h2) / 2 for (x1, h1), (x2, h2) in itertools.pairwise(points))
        return area - points[-1][0] * points[-1][1] / 2

    found = above_diagonal(curve(rows))
    best = above_diagonal(curve([(y * t - y * (1 - t), y, t) for _, y, t in rows]))
    treated = sum(t for *_, t in rows)
    return found / (len(rows) * treated), found / best


@pytest.mark.parametrize(("metric", "score"), [("visit", "history"), ("conversion", "recency")])
def test_qini_equals_counting_by_hand(metric, score):
    found = validated(metric, "proportion", score)
    area, normalised = qini_by_hand(columns(metric, score))
    assert found.find("qini").value == pytest.approx(area, rel=1e-9)
    assert found.find("qini_normalised").value == pytest.approx(normalised, rel=1e-9)


def test_lowest_first():
    found = validated("visit", "proportion", "recency", order="ascending")
    area, normalised = qini_by_hand(columns("visit", "recency", sign=-1))
    assert found.find("qini").value == pytest.approx(area, rel=1e-9)
    assert found.find("qini_normalised").value == pytest.approx(normalised, rel=1e-9)
    opposite = validated("visit", "proportion", "recency")
    assert found.find("auuc").value != opposite.find("auuc").value


def test_average_effect_is_the_published_difference():
    # MANIFEST.md: Womens − none, visit +4.52 pp, spend +0.424 (0.169 to 0.680)
    visit = validated().find("average_effect")
    assert visit.value == pytest.approx(0.0452, abs=0.5e-4)
    spend = validated("spend", "mean").find("average_effect")
    assert spend.value == pytest.approx(0.424, abs=0.5e-3)
    assert (spend.ci_low, spend.ci_high) == pytest.approx((0.169, 0.680), abs=0.6e-3)


def test_autoc_and_auuc_equal_integration_by_hand():
    rows = sorted(columns("visit", "recency"), reverse=True)
    score, y, t = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    n = len(rows)
    last = np.append(np.flatnonzero(np.diff(score)), n - 1)
    share = (last + 1) / n
    arm, control = np.cumsum(t)[last], np.cumsum(1 - t)[last]
    effect = np.cumsum(t * y)[last] / arm - np.cumsum((1 - t) * y)[last] / control
    q, gain = np.append(0, share), np.append(0, share * effect)
    # a million midpoints between 0 and 1: the error of the rule is below 1e-8
    grid = (np.arange(1_000_000) + 0.5) / 1_000_000
    height = np.interp(grid, q, gain)
    found = validated("visit", "proportion", "recency")
    assert found.find("auuc").value == pytest.approx(height.mean(), abs=1e-8)
    assert found.find("autoc").value == pytest.approx((height / grid).mean() - gain[-1], abs=1e-7)


def test_tenths_cover_everybody_once():
    found = validated()
    rows = columns("visit", "history")
    assert sum(d.n_arm for d in found.deciles) == sum(t for *_, t in rows) == found.n_arm == 21_387
    assert sum(d.n_control for d in found.deciles) == found.n_control == 21_306
    assert [d.decile for d in found.deciles] == list(range(1, 11))
    for better, worse in zip(found.deciles[:-1], found.deciles[1:], strict=True):
        assert better.score_low > worse.score_high
    top = found.deciles[0]
    mine = [(y, t) for s, y, t in rows if s >= top.score_low]
    arm = [y for y, t in mine if t]
    control = [y for y, t in mine if not t]
    assert top.uplift == pytest.approx(sum(arm) / len(arm) - sum(control) / len(control), rel=1e-12)
    assert top.ci_low < top.uplift < top.ci_high
    assert found.status is Status.OK


def test_curve_ends_at_the_average_effect():
    found = validated()
    end = found.curve[-1]
    effect = found.find("average_effect")
    assert end.share == 1
    assert end.gain == end.random == pytest.approx(effect.value, rel=1e-12)
    assert (end.ci_low, end.ci_high) == pytest.approx((effect.ci_low, effect.ci_high), rel=1e-9)


def test_document():
    found = validated().to_dict()
    assert found["schema_version"]
    names = [measure["name"] for measure in found["measures"]]
    assert names == [
        "average_effect", "qini", "qini_normalised", "auuc", "autoc", "rank_correlation",
    ]  # fmt: skip
    for measure in found["measures"]:
        assert measure["meaning"]
    assert len(found["deciles"]) == 10
