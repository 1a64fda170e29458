"""Prices of looking against published tables and simulation."""

import math

import pytest

from designs.planning.sequential import inflation, needed_drift, simulate
from measure.errors import InputError
from measure.incrementality.sequential_boundaries import Looks, equal_looks, plan_looks


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


def test_power_below_the_false_positive_rate_is_refused():
    with pytest.raises(InputError, match=r"power == 0\.1"):
        needed_drift(plan_looks("naive", equal_looks(9)), 0.1)
