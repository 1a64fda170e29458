"""Boundaries against peers, published tables and closed forms."""

import math

import pytest
from scipy.special import ndtr, ndtri

from measure.errors import InputError
from measure.incrementality.sequential_boundaries import (
    Looks,
    anytime_width,
    equal_looks,
    mixture_bound,
    mixture_p_value,
    mixture_rate,
    plan_looks,
    spending,
)
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


ONE_SIDED = {
    "gb_seq_onesided_greater_absolute": 1,
    "gb_seq_onesided_greater_relative": 1,
    "gb_seq_onesided_less_absolute": -1,
}


@pytest.mark.parametrize(("name", "side"), ONE_SIDED.items())
def test_one_sided_widths_are_growthbooks(name, side):
    # Source: peer fixtures gb_seq_onesided_*, bounds. Their one-sided p-values come from a
    # bisection capped at .4999 and have no counterpart: the analysis is two-sided.
    fixture = peer(name)
    expected = fixture["expected"]
    n = sum(fixture["input"][arm]["n"] for arm in ("control", "treatment"))
    alpha = fixture["options"]["alpha"]
    width = anytime_width(n, fixture["options"]["tuning_n"], alpha, sided=1)
    found = expected["point_estimate"] - side * width * expected["se"]
    assert found == pytest.approx(expected["ci_low" if side > 0 else "ci_high"], rel=1e-9)


def test_mixture_bound_is_the_closed_form_of_the_mixture():
    # Source: Robbins (1970): ∫ exp(λS − λ²n/2) N(0, ρ²) dλ = (nρ² + 1)^-½ exp(S²ρ²/2(nρ² + 1));
    # the boundary is where this reaches 1/α, with S = Z√n.
    n, alpha = 700.0, 0.05
    rate = mixture_rate(1_000, alpha)
    bound = mixture_bound(n * rate, alpha)
    s = bound * math.sqrt(n)
    mixture = math.exp(s**2 * rate / (2 * (n * rate + 1))) / math.sqrt(n * rate + 1)
    assert mixture == pytest.approx(1 / alpha, rel=1e-12)
    assert mixture_p_value(bound, n * rate) == pytest.approx(alpha, rel=1e-12)
    assert mixture_p_value(0.0, n * rate) == 1


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("times", [(0.25, 0.5, 0.75, 1.0), (0.1, 0.15, 0.7, 1.0), equal_looks(5)])
def test_spending_spends_exactly_the_error(times, alpha):
    # Definition of Lan and DeMets (1983): by each look the error spent is the spending function.
    looks = plan_looks("obrien_fleming", times, alpha)
    spent = [spending("obrien_fleming", time, alpha) for time in times]
    assert looks.crossed() == pytest.approx(spent, abs=1e-9)
    # Closed form: nothing was spent before the first look.
    first = -float(ndtri(alpha / 2)) / math.sqrt(times[0])
    assert looks.bounds[0] == pytest.approx(first, rel=1e-9)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: equal_looks(0),
        lambda: Looks((0.5, 0.5), (2.0, 2.0)),
        lambda: Looks((0.5, 1.0), (2.0,)),
        lambda: Looks((0.5, 1.2), (2.0, 2.0)),
        lambda: spending("fixed", 0.5),
        lambda: spending("obrien_fleming", 0.0),
        lambda: anytime_width(0, 100),
        lambda: mixture_rate(0),
    ],
)
def test_impossible_looks_are_refused(ask):
    with pytest.raises(InputError):
        ask()
