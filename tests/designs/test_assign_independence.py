"""R12: arms of 1,000 pairs of experiments are independent of each other, and of the ramps."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import chdtrc
from scipy.stats import binom, kstest

from designs.assignment.hashing import Purpose, bucket, purpose_salt, share_threshold
from designs.assignment.steps import arm_salt, gates
from measure.engine.bucketing import bucket_below
from measure.engine.connection import connect
from tests.designs.specs import experiment

PAIRS, UNITS, AT_ONCE = 1_000, 4_000, 100


def arms_of(salts):
    """(units, salts) of 0 and 1: below one half under each salt, computed in the engine."""
    half, found = share_threshold(0.5), []
    with connect() as engine:
        ids = pa.table({"unit_id": [f"customer-{i}" for i in range(UNITS)]})
        table = engine.register("ids", ids)
        for begin in range(0, len(salts), AT_ONCE):
            part = salts[begin : begin + AT_ONCE]
            columns = {
                f"s{i}": bucket_below(table.unit_id, salt, half, engine)
                for i, salt in enumerate(part)
            }
            rows = engine.fetch(table.select(**columns))
            found += [rows[name].to_numpy() for name in columns]
    return np.column_stack(found).astype(np.int64)


def p_values(one, other):
    """Pearson's chi-square of each 2 × 2 table, 1 degree of freedom."""
    n = len(one)
    both, first, second = (one & other).sum(axis=0), one.sum(axis=0), other.sum(axis=0)
    gap = both - first * second / n
    statistic = gap**2 * n**3 / (first * (n - first) * second * (n - second))
    return chdtrc(1, statistic)


def uniform(found):
    """Kolmogorov-Smirnov p > .001, and the count below .05 within its 99.9 % binomial band."""
    low, high = binom.ppf([0.0005, 0.9995], len(found), 0.05)
    assert kstest(found, "uniform").pvalue > 0.001
    assert low <= (found < 0.05).sum() <= high


@pytest.fixture(scope="module")
def thousand():
    # Keys as people write them: alike but for a number, where weak hashes correlate.
    designs = [experiment(f"exp-checkout-{i}") for i in range(2 * PAIRS)]
    return arms_of([arm_salt(design) for design in designs])


def test_arms_of_a_thousand_pairs_of_experiments_are_independent(thousand):
    uniform(p_values(thousand[:, ::2], thousand[:, 1::2]))


def test_arms_of_a_thousand_experiments_have_their_shares(thousand):
    z = (thousand.sum(axis=0) - UNITS / 2) / np.sqrt(UNITS / 4)
    uniform(chdtrc(1, z**2))


def test_the_ramp_says_nothing_about_the_arm(thousand):
    rollouts = arms_of([purpose_salt(Purpose.ROLLOUT, f"exp-checkout-{i}") for i in range(PAIRS)])
    uniform(p_values(thousand[:, :PAIRS], rollouts))


def test_a_test_that_shares_its_hash_would_be_caught(thousand):
    with pytest.raises(AssertionError):
        uniform(p_values(thousand, thousand))
    slightly = thousand[:, 1::2].copy()
    slightly[:80] = thousand[:80, ::2]  # two units in a hundred follow the other experiment
    with pytest.raises(AssertionError):
        uniform(p_values(thousand[:, ::2], slightly))


def test_no_unit_is_in_two_slots_of_a_layer():
    edges = [0, 0.1, 0.25, 0.333, 0.5, 0.75, 0.9, 1]
    slots = list(pairwise(edges))
    designs = [
        experiment(f"e{i}", f"layer: {{name: home, slot: [{low}, {high}]}}")
        for i, (low, high) in enumerate(slots)
    ]
    layers = [gates(design)[0] for design in designs]
    numbers = [bucket(layers[0].salt, f"customer-{i}") for i in range(100_000)]
    # Also the buckets on either side of each edge.
    numbers += [gate.first + step for gate in layers for step in (-1, 0, 1) if gate.first]
    counts = {sum(gate.passes(number) for gate in layers) for number in numbers}
    assert counts == {1}
    assert {gate.salt for gate in layers} == {"layer:home"}
