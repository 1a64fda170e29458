"""Models against independent constructions on small random paths."""

from fractions import Fraction
from itertools import combinations, pairwise
from math import factorial

import numpy as np
import pytest

from measure.attribution import MODELS, attribute_paths, attribute_tables
from measure.attribution.definition import Definition
from measure.attribution.pathfile import read_paths
from measure.attribution.tables import split_over_buckets, tables_from_paths
from measure.errors import ConservationError, DataError, InputError, UnknownName
from measure.journeys.tables import RULES


def random_paths(seed, n=60, channels="abcd"):
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        path = [channels[i] for i in draw.integers(0, len(channels), draw.integers(1, 6))]
        rows.append((path, int(draw.integers(0, 4)), int(draw.integers(0, 5))))
    return rows


def write(tmp_path, rows, name="paths.csv"):
    file = tmp_path / name
    lines = ["path,total_conversions,total_conversion_value,total_null"]
    lines += [f"{' > '.join(p)},{yes},{2.5 * yes},{no}" for p, yes, no in rows]
    file.write_text("\n".join(lines) + "\n")
    return file


def chance_without(rows, removed):
    """P(conversion) by solving the chain anew, the removed channel leading to null."""
    states = sorted({channel for path, _, _ in rows for channel in path})
    index = {name: i + 1 for i, name in enumerate(states)}
    counts = np.zeros((len(states) + 1, len(states) + 3))
    for path, yes, no in rows:
        codes = [0, *(index[channel] for channel in path)]
        for left, right in pairwise(codes):
            counts[left, right] += yes + no
        counts[codes[-1], -2] += yes
        counts[codes[-1], -1] += no
    leaving = counts.sum(axis=1, keepdims=True)
    chances = np.divide(counts, leaving, out=np.zeros_like(counts), where=leaving > 0)
    if removed is not None:
        chances[index[removed]] = 0
        chances[index[removed], -1] = 1
    inner = chances[:, : len(states) + 1]
    return np.linalg.solve(np.eye(len(inner)) - inner, chances[:, -2])[0]


@pytest.mark.parametrize("seed", range(5))
def test_removal_effects_equal_a_solve_per_channel(tmp_path, seed):
    rows = random_paths(seed)
    result = attribute_paths(write(tmp_path, rows), ["markov"])
    whole = chance_without(rows, None)
    for credit in result.credits:
        expected = 1 - chance_without(rows, credit.channel) / whole
        assert credit.removal_effect == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_shapley_equals_the_sum_over_coalitions(tmp_path, seed):
    rows = random_paths(seed)
    players = "abcd"

    def worth(coalition):
        return sum(yes for path, yes, _ in rows if set(path) <= set(coalition))

    result = attribute_paths(write(tmp_path, rows), ["shapley"])
    for credit in result.credits:
        others = [p for p in players if p != credit.channel]
        expected = Fraction(0)
        for size in range(len(players)):
            weight = Fraction(factorial(size) * factorial(len(others) - size), factorial(4))
            for team in combinations(others, size):
                gain = worth((*team, credit.channel)) - worth(team)
                expected += weight * gain
        assert credit.conversions == pytest.approx(float(expected), abs=1e-9)


def test_time_decay_halves_per_half_life(tmp_path):
    file = write(tmp_path, [(["a", "b", "c"], 7, 1)])
    found = {c.channel: c.conversions for c in attribute_paths(file, ["time_decay"]).credits}
    assert found == pytest.approx({"a": 1, "b": 2, "c": 4})  # weights 1/4, 1/2, 1 of 7
    slow = attribute_paths(file, ["time_decay"], half_life_steps=2).credits
    assert slow[0].conversions / slow[2].conversions == pytest.approx(0.5)


@pytest.mark.parametrize("model", MODELS)
def test_renaming_channels_permutes_credit(tmp_path, model):
    rows = random_paths(11)
    renamed = [([{"a": "z", "b": "y"}.get(c, c) for c in p], yes, no) for p, yes, no in rows]
    before = attribute_paths(write(tmp_path, rows), [model]).credits
    after = attribute_paths(write(tmp_path, renamed, "renamed.csv"), [model]).credits
    credited = {c.channel: c.conversions for c in after}
    for credit in before:
        name = {"a": "z", "b": "y"}.get(credit.channel, credit.channel)
        assert credited[name] == pytest.approx(credit.conversions, abs=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_cohorts_are_the_models_of_their_own_rows(tmp_path, model):
    north, south = random_paths(1), random_paths(2)
    file = tmp_path / "both.csv"
    lines = ["path,region,total_conversions,total_null"]
    for region, rows in (("north", north), ("south", south)):
        lines += [f"{' > '.join(p)},{region},{yes},{no}" for p, yes, no in rows]
    file.write_text("\n".join(lines))
    both = attribute_paths(file, [model], cohort_column="region")
    for region, rows in (("north", north), ("south", south)):
        alone = attribute_paths(write(tmp_path, rows), [model])
        mine = [c for c in both.credits if c.cohort and c.cohort.value == region]
        assert sum(c.conversions for c in mine) == pytest.approx(alone.total_conversions, rel=1e-12)
        for credit, expected in zip(mine, alone.credits, strict=True):
            assert credit.conversions == pytest.approx(expected.conversions, abs=1e-9)
    everybody = attribute_paths(write(tmp_path, north + south), [model])
    for credit, expected in zip(both.credits, everybody.credits, strict=False):
        assert credit.cohort is None
        assert credit.conversions == pytest.approx(expected.conversions, abs=1e-9)


def test_a_row_per_journey_gives_the_same_as_counts(tmp_path):
    rows = random_paths(4)
    file = tmp_path / "journeys.csv"
    lines = ["path,converted,value"]
    for path, yes, no in rows:
        lines += [f"{' > '.join(path)},1,2.5"] * yes + [f"{' > '.join(path)},0,0"] * no
    file.write_text("\n".join(lines))
    assert (
        attribute_paths(file, MODELS).credits
        == attribute_paths(write(tmp_path, rows), MODELS).credits
    )


def test_large_counts_fall_into_buckets_like_small_ones():
    draw = np.random.default_rng(3)
    item, bucket, n = split_over_buckets(np.array([0, 5, 40_000, 700]), 200, draw)
    assert [int(n[item == i].sum()) for i in range(4)] == [0, 5, 40_000, 700]
    assert bucket.min() >= 0
    assert bucket.max() < 200
    large = n[item == 2]
    # multinomial: 200 per bucket, sd 14; six of them
    assert np.abs(large - 200).max() < 6 * 200**0.5


def test_a_few_journeys_get_no_interval(tmp_path):
    result = attribute_paths(write(tmp_path, [(["a", "b"], 2, 3)]))
    assert {(c.ci_low, c.ci_high) for c in result.credits} == {(None, None)}


def test_single_channel_gets_everything(tmp_path):
    result = attribute_paths(write(tmp_path, [(["only"], 30, 70), (["only", "only"], 10, 5)]))
    assert [c.conversions for c in result.credits] == pytest.approx([40] * 5)
    assert {c.share for c in result.credits} == {1.0}


def test_only_converters_leave_the_chain_unidentified(tmp_path):
    file = write(tmp_path, [(["a", "b"], 30, 0), (["b"], 10, 0)])
    result = attribute_paths(file)
    assert {c.model for c in result.credits} == {"first", "last", "linear", "time_decay"}
    assert "did not convert" in result.definition["refused"]["markov"]
    assert any("markov is left out" in line for line in result.definition["sentences"])
    with pytest.raises(DataError, match=r"markov: every journey converted.*total_null"):
        attribute_paths(file, ["markov"])


def test_a_cohort_without_conversions_is_credited_nothing(tmp_path):
    file = tmp_path / "cohorts.csv"
    file.write_text("path,region,total_conversions,total_null\na > b,n,3,4\na,s,0,5\nb,t,6,0\n")
    result = attribute_paths(file, ["linear", "markov"], cohort_column="region")
    south = [c for c in result.credits if c.cohort and c.cohort.value == "s"]
    assert {(c.conversions, c.share) for c in south} == {(0.0, 0.0)}
    assert list(result.definition["refused"]) == ["markov (region = t)"]


def test_nobody_converted(tmp_path):
    with pytest.raises(DataError, match="nothing to credit"):
        attribute_paths(write(tmp_path, [(["a"], 0, 5)]))


def test_conversions_without_touch_are_counted_apart(tmp_path):
    result = attribute_paths(write(tmp_path, [([], 9, 100), (["a"], 2, 3)]))
    assert result.total_conversions == 2
    assert result.definition["untouched_conversions"] == 9
    assert any("9 conversions had no touch" in line for line in result.definition["sentences"])


def test_credits_that_do_not_add_up_are_an_error(tmp_path):
    tables = tables_from_paths(read_paths(write(tmp_path, random_paths(8))))
    tables.credits.conversions["linear"][0] += 1
    with pytest.raises(ConservationError, match="linear: conversions credited add up to"):
        attribute_tables(tables, Definition(models=("linear",)))


def test_rules_and_models_have_the_same_names():
    assert set(RULES) | {"markov"} == set(MODELS)


def test_unknown_and_repeated_models(tmp_path):
    file = write(tmp_path, [(["a"], 1, 1)])
    with pytest.raises(UnknownName, match="Did you mean 'markov'"):
        attribute_paths(file, ["markow"])
    with pytest.raises(InputError, match="twice"):
        attribute_paths(file, ["last", "last"])
    with pytest.raises(InputError, match="at least one"):
        attribute_paths(file, [])


def test_definition_refuses_numbers_without_meaning():
    for wrong in ({"half_life": 0}, {"ci_level": 1.0}, {"replicates": 10}, {"lookback_days": 0}):
        with pytest.raises(InputError, match="must be"):
            Definition(**wrong)


def test_definition_says_it_in_sentences():
    text = " ".join(Definition(lookback_days=30, half_life=7, half_life_unit="days").sentences())
    for part in ("redirect_to_null", "at most 30 days", "every 7 days", "95 %", "only a holdout"):
        assert part in text
