"""Pattern of days: planted ones are found, noise has none; windows that moved by themselves."""

import numpy as np
import pytest

from designs.planning.season import placebo, strengths

WEEK = (1, 1, 1, 1, 1, 0.5, 1.5)


def test_noise_has_no_pattern():
    # Construction: independent Poisson days; the adjustment keeps the mean share near zero.
    rng = np.random.default_rng(3)
    found = [strengths(rng.poisson(50, 84))[0] for _ in range(20)]
    assert np.mean(found) < 0.1


def test_a_planted_week_is_found():
    # Closed form: pattern variance 50² · var(WEEK) over itself plus the Poisson variance 50.
    rng = np.random.default_rng(3)
    days = rng.poisson(50 * np.tile(WEEK, 30))
    pattern = 50**2 * np.var(WEEK)
    assert strengths(days)[0] == pytest.approx(pattern / (pattern + 50), abs=0.08)


def test_a_year_needs_two_of_them():
    rng = np.random.default_rng(3)
    days = np.arange(3 * 364)
    year = rng.poisson(50 * (1 + 0.3 * np.sin(2 * np.pi * days / 364)))
    assert strengths(year)[1] > 0.6
    assert strengths(rng.poisson(50, len(days)))[1] < 0.35
    assert strengths(year[:700])[1] is None
    assert strengths(year[:13]) == (None, None)
    assert strengths([5.0] * 40) == (None, None)


def test_windows_that_moved_by_themselves_are_counted():
    # By hand: windows of two days are 2, 3, 4, 5, 6; pairs two days apart 4/2, 5/3, 6/4.
    found = placebo([1, 1, 2, 2, 3, 3], 2, 0.6)
    assert (found.pairs, found.changed, found.days) == (3, 2, 2)
    assert found.largest == pytest.approx(1.0)
    assert placebo([1, 2, 3], 2, 0.1) is None
    assert placebo([0, 0, 3, 4], 2, 0.1) is None
