"""Boundaries and their prices against peers, published tables and simulation."""

import math

import pytest
from scipy.special import ndtr

from designs.planning.sequential import (
    Looks,
    anytime_width,
    equal_looks,
    inflation,
    needed_drift,
    plan_looks,
    simulate,
    spending,
)
from measure.errors import InputError
from measure.incrementality.difference import difference
from measure.moments import Moments
from tests.designs.planning.fixtures import peer


@pytest.mark.parametrize("name", ["sp_bounds_10looks", "sp_bounds_4looks"])
def test_power_family_bounds_are_spotifys(name):
    # Source: peer fixtures sp_bounds_*; the spending is α t². The peer integrates on a coarse grid
    # (note of the fixture: compare with 1e-3); the first bound is closed form.
    fixture = peer(name)
    times, z = fixture["input"]["information_fractions"], fixture["expected"]["z_bounds"]
    found = plan_looks("power_family", times).bounds
    assert found == pytest.approx(z, rel=5e-5)
    assert found[0] == pytest.approx(z[0], rel=1e-9)


def test_bounds_after_running_over_are_spotifys():
    # Source: peer fixture sp_seq_runover: fractions of what the sample grew to (atol 1e-4).
    fixture = peer("sp_seq_runover")
    sizes = fixture["input"]["n_cum"]
    looks = plan_looks("power_family", [n / sizes[-1] for n in sizes], 0.01)
    found = [2 * float(ndtr(-bound)) for bound in looks.bounds]
    assert found == pytest.approx(fixture["expected"]["adjusted_alpha"], abs=1e-6)
    assert found[0] == pytest.approx(fixture["expected"]["adjusted_alpha"][0], rel=1e-9)


@pytest.mark.parametrize("name", ["ep_obf_28_8", "ep_obf_14_14"])
def test_spending_is_ep_stats(name):
    # Source: peer fixtures ep_obf_*, four decimals.
    fixture = peer(name)
    time = fixture["input"]["day"] / fixture["input"]["test_length_days"]
    found = round(1 - spending("obrien_fleming", time), 4)
    assert found == fixture["expected"]["confidence_level_today"]


def test_per_tail_bounds_are_the_published_ones():
    # Source: DeMets and Lan (1994), Statistics in Medicine 13; O'Brien–Fleming spending, five
    # equal looks, two-sided 5 %: 4.877, 3.357, 2.680, 2.290, 2.031.
    found = plan_looks("obrien_fleming_per_tail", equal_looks(5)).bounds
    assert found == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=5e-4)


NAIVE = {1: 0.05, 2: 0.083, 3: 0.107, 4: 0.126, 5: 0.142, 10: 0.193, 20: 0.248, 50: 0.320}


@pytest.mark.parametrize(("looks", "rate"), NAIVE.items())
def test_naive_looks_are_the_published_ones(looks, rate):
    # Source: Armitage, McPherson and Rowe (1969), table 2, nominal 5 %.
    assert plan_looks("naive", equal_looks(looks)).reach() == pytest.approx(rate, abs=6e-4)


@pytest.mark.parametrize(
    ("constant", "shape", "factor"), [(2.413, 0.0, 1.229), (2.040, 0.5, 1.028)]
)
def test_classical_boundaries_and_inflation(constant, shape, factor):
    # Source: Jennison and Turnbull (2000), tables 2.1 to 2.4: Pocock C = 2.413, R = 1.229;
    # O'Brien–Fleming C = 2.040, R = 1.028 (five looks, 5 %, power .8).
    times = equal_looks(5)
    looks = Looks(times, tuple(constant / t**shape for t in times))
    assert looks.reach() == pytest.approx(0.05, abs=1e-4)
    assert inflation(looks) == pytest.approx(factor, abs=1.5e-3)


@pytest.mark.parametrize("name", ["gb_pipe_seq600", "gb_seq_prop"])
def test_anytime_widths_are_growthbooks(name):
    # Source: peer fixtures gb_*: half width of the relative interval over its standard error.
    fixture = peer(name)
    expected = fixture["expected"]
    arms = []
    for arm in ("control", "treatment"):
        given = fixture["input"][arm]
        n, total = given["n"], given["sum"]
        squares = given.get("sum_squares", total)
        arms.append(Moments.from_shifted_sums(("x",), n, [0.0], [total], [[squares]], [0.0]))
    kind = "proportion" if fixture["input"]["control"]["kind"] == "proportion" else "mean"
    se = difference(*arms, kind).relative_se
    n = sum(moments.n for moments in arms)
    half = anytime_width(n, fixture["options"]["tuning_n"]) * se
    assert expected["point_estimate"] - half == pytest.approx(expected["ci_low"], rel=1e-9)
    assert expected["point_estimate"] + half == pytest.approx(expected["ci_high"], rel=1e-9)


def test_one_sided_width_is_growthbooks():
    # Source: peer fixture gb_seq_onesided_greater_absolute.
    fixture = peer("gb_seq_onesided_greater_absolute")
    expected = fixture["expected"]
    width = anytime_width(6_461, fixture["options"]["tuning_n"], sided=1)
    low = expected["point_estimate"] - width * expected["se"]
    assert low == pytest.approx(expected["ci_low"], rel=1e-9)


@pytest.mark.parametrize("way", ["naive", "obrien_fleming", "anytime"])
@pytest.mark.parametrize("drift", [0.0, 2.5])
def test_recursion_agrees_with_simulated_walks(way, drift):
    # Source: 20,000 walks drawn independently of the recursion; 99.9 % band.
    looks = plan_looks(way, equal_looks(12))
    crossed, runs = simulate(looks, 20_000, seed=17, drift=drift)
    expected = looks.reach(drift)
    band = 3.29 * math.sqrt(expected * (1 - expected) / runs)
    assert crossed / runs == pytest.approx(expected, abs=band)


def test_peeking_is_as_bad_as_measured():
    # Source: statistics.md, trap 7: 50 naive looks about 33 %; a mixture boundary at most 2.75 %,
    # at about 1.6 times the width.
    crossed, runs = simulate(plan_looks("naive", equal_looks(50)), 20_000, seed=1)
    assert 0.31 <= crossed / runs <= 0.34
    anytime = plan_looks("anytime", equal_looks(50))
    assert anytime.reach() <= 0.0275
    assert anytime.bounds[-1] / 1.959963984540054 == pytest.approx(1.55, abs=0.05)


def test_prices_are_ordered_and_a_stop_saves():
    times = equal_looks(8)
    spent, anytime = (plan_looks(way, times) for way in ("obrien_fleming", "anytime"))
    assert 1 < inflation(spent) < inflation(anytime)
    drift = needed_drift(spent)
    assert spent.reach(drift) == pytest.approx(0.8, abs=1e-8)
    assert inflation(spent) * spent.expected_time(drift) < 1
    assert inflation(plan_looks("fixed", (1.0,))) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: equal_looks(0),
        lambda: Looks((0.5, 0.5), (2.0, 2.0)),
        lambda: Looks((0.5, 1.2), (2.0, 2.0)),
        lambda: spending("fixed", 0.5),
        lambda: anytime_width(0, 100),
        lambda: needed_drift(plan_looks("naive", equal_looks(9)), 0.1),
    ],
)
def test_impossible_looks_are_refused(ask):
    with pytest.raises(InputError):
        ask()
