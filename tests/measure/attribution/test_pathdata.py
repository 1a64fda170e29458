"""PathData against the published numbers (MANIFEST.md: pathdata.csv, spec/attribution.md)."""

import csv
import random

import numpy as np
import pytest

from measure.attribution import MODELS, attribute_paths
from measure.attribution.markov import move_counts, removal_effects
from measure.attribution.pathfile import read_paths
from measure.attribution.tables import tables_from_paths
from tests.data import data_file

# Columns first, last, linear: spec/attribution.md, "Golden numbers on PathData".
RULES = {
    "alpha": (6308, 8447, 7574.7186),
    "iota": (4606, 3355, 3857.0962),
    "eta": (3164, 4167, 3539.9512),
    "beta": (2831, 989, 2083.5001),
    "theta": (1606, 653, 1022.8014),
    "lambda": (902, 1207, 1035.2576),
    "epsilon": (99, 531, 272.1704),
    "zeta": (27, 107, 136.5515),
    "kappa": (74, 230, 137.9641),
    "gamma": (165, 92, 121.0416),
    "delta": (1, 5, 1.7250),
    "mi": (2, 2, 2.2222),
}
# Removal effect and credited conversions, same place.
MARKOV = {
    "alpha": (0.558399, 5344.948),
    "iota": (0.405835, 3884.615),
    "eta": (0.349026, 3340.847),
    "beta": (0.264039, 2527.352),
    "theta": (0.206010, 1971.913),
    "lambda": (0.134022, 1282.847),
    "epsilon": (0.062639, 599.571),
    "zeta": (0.039811, 381.063),
    "kappa": (0.028663, 274.363),
    "gamma": (0.017880, 171.145),
    "delta": (0.000482, 4.614),
    "mi": (0.000180, 1.722),
}
SHAPLEY = {
    "alpha": 7627.944,
    "eta": 3613.656,
    "iota": 3505.044,
    "beta": 1982.739,
    "theta": 1190.963,
    "lambda": 987.782,
    "epsilon": 374.677,
    "zeta": 199.992,
    "kappa": 159.057,
    "gamma": 138.186,
    "mi": 2.667,
    "delta": 2.293,
}


@pytest.fixture(scope="module")
def result():
    return attribute_paths(data_file("pathdata.csv"), MODELS)


def credits_of(result, model):
    return {credit.channel: credit for credit in result.credits if credit.model == model}


def test_totals(result):
    # coverage of the file: 19,785 conversions worth 74,802.97 and 68,602 journeys without one
    assert result.total_conversions == 19_785
    assert result.total_value == pytest.approx(74_802.97, abs=0.005)
    assert result.definition["journeys"] == 19_785 + 68_602


@pytest.mark.parametrize(("column", "model"), [(0, "first"), (1, "last"), (2, "linear")])
def test_rules(result, column, model):
    found = credits_of(result, model)
    assert set(found) == set(RULES)
    for channel, golden in RULES.items():
        assert found[channel].conversions == pytest.approx(golden[column], abs=0.5e-4 + 1e-9)


def test_markov(result):
    found = credits_of(result, "markov")
    assert set(found) == set(MARKOV)
    for channel, (effect, conversions) in MARKOV.items():
        assert found[channel].removal_effect == pytest.approx(effect, abs=0.5e-6 + 1e-9)
        assert found[channel].conversions == pytest.approx(conversions, abs=0.5e-3 + 1e-9)


def test_shapley(result):
    for channel, conversions in SHAPLEY.items():
        found = credits_of(result, "shapley")[channel].conversions
        assert found == pytest.approx(conversions, abs=0.5e-3 + 1e-9)


def test_probability_to_convert():
    tables = tables_from_paths(read_paths(data_file("pathdata.csv")))
    _, chance = removal_effects(move_counts(tables, np.ones((1, tables.buckets))))
    assert chance[0] == pytest.approx(0.2238451355968638, abs=1e-15)  # spec/attribution.md


@pytest.mark.parametrize("model", MODELS)
def test_credits_divide_up_the_total(result, model):
    found = credits_of(result, model).values()
    assert sum(c.conversions for c in found) == pytest.approx(result.total_conversions, rel=1e-12)
    assert sum(c.value for c in found) == pytest.approx(result.total_value, rel=1e-12)
    assert sum(c.share for c in found) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_intervals_hold_the_estimate(result, model):
    for credit in credits_of(result, model).values():
        assert credit.ci_low <= credit.conversions <= credit.ci_high


def test_interval_of_a_count_has_the_width_of_a_binomial(result):
    # First touches are counts: sd = sqrt(n p (1 - p)) over n journeys. With 200 buckets the width
    # itself varies by about 1/sqrt(400) = 5 %; four of those are allowed.
    n = result.definition["journeys"]
    for channel in ("alpha", "iota", "eta", "beta", "theta", "lambda"):
        credit = credits_of(result, "first")[channel]
        p = credit.conversions / n
        width = 2 * 1.959964 * (n * p * (1 - p)) ** 0.5
        assert credit.ci_high - credit.ci_low == pytest.approx(width, rel=0.2)


def test_order_of_rows_does_not_matter(tmp_path, result):
    with data_file("pathdata.csv").open(newline="") as lines:
        header, *rows = csv.reader(lines)
    random.Random(5).shuffle(rows)
    shuffled = tmp_path / "shuffled.csv"
    with shuffled.open("w", newline="") as out:
        csv.writer(out).writerows([header, *rows])
    assert attribute_paths(shuffled, MODELS).credits == result.credits
