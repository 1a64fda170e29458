import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from measure.moments import DENOMINATOR, EXPOSURE, Moments, total
from tests.data import data_file

COLUMNS = ("y", "x")
rows = arrays(
    float,
    st.tuples(st.integers(0, 20), st.just(2)),
    elements=st.floats(-1e3, 1e3, allow_nan=False).map(lambda v: round(v, 3)),
)


def same(a: Moments, b: Moments) -> bool:
    return (
        a.n == b.n
        and np.allclose(a.mean, b.mean, rtol=1e-9, atol=1e-9)
        and np.allclose(a.comoment, b.comoment, rtol=1e-9, atol=1e-5)
        and np.allclose(a.third, b.third, rtol=1e-9, atol=1e-1)
    )


@given(rows, rows)
def test_statistics_of_a_union_are_the_sum_of_the_statistics(a, b):
    union = Moments.from_values(COLUMNS, np.vstack([a, b]))
    assert same(Moments.from_values(COLUMNS, a) + Moments.from_values(COLUMNS, b), union)


@given(rows)
def test_empty_is_neutral(a):
    moments = Moments.from_values(COLUMNS, a)
    empty = Moments.empty(COLUMNS)
    assert same(moments + empty, moments)
    assert same(empty + moments, moments)


def test_shifted_sums_keep_their_digits_far_from_zero():
    # Closed form: 0, 1 and 2 around 1e9 have variance 1 and no skew, wherever they lie.
    values = 1e9 + np.array([0.0, 1.0, 2.0])
    shift = 1e9 + 1.0
    d = values - shift
    moments = Moments.from_shifted_sums(("y",), 3, [shift], [d.sum()], [[d @ d]], [(d**3).sum()])
    assert moments.variance == 1.0
    assert moments.skewness == 0.0


def test_counts_equal_the_values_they_count():
    # Closed form: 85 of 1,000 is p = .085 with variance p(1-p)n/(n-1).
    moments = Moments.from_counts("bought", {0: 915, 1: 85})
    assert moments.mean[0] == pytest.approx(0.085, rel=1e-15)
    assert moments.variance == pytest.approx(0.085 * 0.915 * 1000 / 999, rel=1e-12)


def test_hillstrom_spend_has_the_known_skew_and_adds_up_over_arms():
    # Source: MANIFEST.md, spend 1.05091 over 64,000 customers.
    import pandas as pd

    frame = pd.read_csv(data_file("hillstrom.csv"))
    parts = [
        Moments.from_values(("spend",), g.to_numpy()) for _, g in frame.groupby("segment").spend
    ]
    everybody = total(parts)
    assert everybody.n == 64_000
    assert everybody.mean[0] == pytest.approx(1.05091, abs=5e-6)
    assert everybody.skewness == pytest.approx(float(frame.spend.skew()), rel=1e-4)


@given(rows, rows)
def test_mixed_third_powers_add_and_give_the_skewness_of_a_combination(a, b):
    # Closed form: third power of y − 2 x from those of y and x and the mixed ones.
    both = np.vstack([a, b])
    added = Moments.from_values(COLUMNS, a) + Moments.from_values(COLUMNS, b)
    whole = Moments.from_values(COLUMNS, both)
    if whole.n:
        assert np.allclose(added.mixed, whole.mixed, rtol=1e-9, atol=1e-1)
        combined = Moments.from_values(("z",), both[:, 0] - 2 * both[:, 1]).third[0]
        y, x = whole.third
        found = y - 6 * whole.mixed[0, 1] + 12 * whole.mixed[1, 1] - 8 * x
        assert np.isclose(found, combined, rtol=1e-9, atol=1)


def test_columns_are_picked_by_name():
    values = np.random.default_rng(0).normal(size=(30, 4))
    names = ("y", "x", DENOMINATOR, EXPOSURE)
    moments = Moments.from_values(names, values)
    assert same(moments.without_companions(), Moments.from_values(("y", "x"), values[:, :2]))
    picked = moments.pick("y", EXPOSURE)
    wanted = Moments.from_values(("y", EXPOSURE), values[:, [0, 3]])
    assert same(picked, wanted)
    assert np.allclose(picked.mixed, wanted.mixed)
    with pytest.raises(KeyError):
        moments.at("z")
