"""Sample ratio at every look: the Dirichlet-multinomial test as the analysis runs it."""

import math
import re

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom

from measure.incrementality import sample_ratio_check
from measure.incrementality.checks import run_checks
from measure.incrementality.sequential_boundaries import Looks, equal_looks
from measure.incrementality.sequential_ratio import FLAT_WEIGHT, NARROW, sequential_ratio_p_value
from measure.plan import AnalysisPlan, Metric
from measure.results import Outcome, Severity
from tests.data import ROOT
from tests.measure.incrementality.frames import FrameUnits
from tests.measure.incrementality.test_checks import EVEN, frame

DAYS, UNITS = 28, 56_000


def daily_counts(share: float, runs: int, seed: int) -> np.ndarray:
    """Units of the treated arm by the end of each of 28 days, (runs, 28)."""
    rng = np.random.default_rng(seed)
    return rng.binomial(UNITS // DAYS, share, size=(runs, DAYS)).cumsum(axis=1)


def flagged(counts: np.ndarray, severity: Severity | None = None) -> float:
    """Share of runs that the shipped check flags on some day (at .01; a stop is at .001)."""
    hits = 0
    for run in counts:
        for day, treated in enumerate(run, start=1):
            so_far = day * UNITS // DAYS
            observed = {"none": so_far - int(treated), "mail": int(treated)}
            check = sample_ratio_check(observed, EVEN, every_look=True)
            if check.outcome is Outcome.FLAGGED and severity in (None, check.severity):
                hits += 1
                break
    return hits / len(counts)


def test_daily_looks_keep_the_error_and_the_power():
    # Source: reliability.md, R6: 28 daily looks at .01 raise at most .01 + 3 se false alarms (a
    # daily chi-square 8.1 %); 49/51 at 56,000 units is found with power .89 or more.
    runs = 1_000
    assert flagged(daily_counts(0.5, runs, 5)) <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / runs)
    assert flagged(daily_counts(0.51, 2 * runs, 6)) >= 0.89 - 3 * math.sqrt(0.1 * 0.9 / runs / 2)


@pytest.mark.validation
def test_daily_looks_over_twenty_thousand_experiments():
    # Source: reliability.md, R6, and .001 for stops.
    runs = 20_000
    null = daily_counts(0.5, runs, 7)
    assert flagged(null) <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / runs)
    assert flagged(null, Severity.STOP) <= 0.001 + 3 * math.sqrt(0.001 * 0.999 / runs)
    assert flagged(daily_counts(0.51, runs, 8)) >= 0.89


def test_chi_square_every_day_is_what_must_not_be_done():
    # Source: statistics.md, trap 6 (8.1 % in a small study); exact by recursion over 28 looks.
    counts = daily_counts(0.5, 20_000, 9)
    so_far = np.arange(1, DAYS + 1) * UNITS // DAYS
    z = (2 * counts - so_far) / np.sqrt(so_far)
    exact = Looks(equal_looks(DAYS), (2.5758,) * DAYS).reach()
    assert exact > 0.07
    assert (np.abs(z) > 2.5758).any(axis=1).mean() == pytest.approx(exact, abs=0.006)


def predictive(sequence: str, shares: dict[str, float], concentration: float) -> float:
    """Probability of a sequence of arms under a Pólya urn, unit by unit."""
    drawn = dict.fromkeys(shares, 0)
    probability = 1.0
    for place, arm in enumerate(sequence):
        weight = concentration * shares[arm] + drawn[arm]
        probability *= weight / (concentration + place)
        drawn[arm] += 1
    return probability


def test_the_factor_is_that_of_an_urn_unit_by_unit():
    # Independent: the Dirichlet-multinomial is a Pólya urn, whose predictive probabilities are
    # multiplied along one order of the units; the design gives each unit its share.
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    sequence = "abacaabbaaaaaaacaaaaaaaaaaaaaaa"
    design = math.prod(shares[arm] for arm in sequence)
    narrow, flat = (predictive(sequence, shares, c) / design for c in (NARROW, 3.0))
    factor = (1 - FLAT_WEIGHT) * narrow + FLAT_WEIGHT * flat
    found = sequential_ratio_p_value({arm: sequence.count(arm) for arm in shares}, shares)
    assert factor > 1
    assert found == pytest.approx(1 / factor, rel=1e-9)


@pytest.mark.parametrize("n", [100, 1_000, 100_000])
@pytest.mark.parametrize("share", [0.5, 0.3])
def test_an_empty_arm_always_fires(n, share):
    designed = {"a": 0.9 - share, "b": share, "c": 0.1}
    check = sample_ratio_check({"a": n // 3, "c": n // 10}, designed, every_look=True)
    assert check.outcome is Outcome.FLAGGED
    assert "b 0, 0.00 %" in check.message


def test_designed_shares_not_equal_ones():
    designed = {"held out": 0.02, "mailed": 0.98}
    kept = sample_ratio_check({"held out": 2_030, "mailed": 97_970}, designed, every_look=True)
    lost = sample_ratio_check({"held out": 1_500, "mailed": 98_500}, designed, every_look=True)
    assert (kept.outcome, lost.severity) == (Outcome.PASSED, Severity.STOP)
    assert "(−0.50 points)" in lost.message
    assert "valid at every look" in lost.message


def test_p_values_neither_vanish_nor_exceed_one():
    assert sequential_ratio_p_value({"a": 500, "b": 500}, {"a": 0.5, "b": 0.5}) == 1
    p_value = sequential_ratio_p_value({"a": 10**7, "b": 0}, {"a": 0.5, "b": 0.5})
    assert 0 < p_value < 1e-300


def test_a_sequential_plan_gets_the_sequential_test():
    data = frame(2_000)
    base = {"arms": EVEN, "control": "none", "metrics": [Metric(name="spend")]}
    messages = {}
    for sequential in (False, True):
        plan = AnalysisPlan(**base, sequential=sequential)
        units = FrameUnits(data, "arm", plan)
        messages[sequential] = run_checks(plan, units.moments(), units.profile())[0].message
    assert "valid at every look" in messages[True]
    assert "valid at every look" not in messages[False]


def smallest_split(units: int, alpha: float, *, every_look: bool) -> float:
    """Share of an arm designed to have half, found at this look with probability .9."""
    low, high = units // 2, units
    while high - low > 1:
        middle = (low + high) // 2
        observed = {"none": units - middle, "mail": middle}
        p_value = sample_ratio_check(observed, EVEN, every_look=every_look).p_value
        low, high = (low, middle) if p_value < alpha else (middle, high)
    found = brentq(lambda share: binom.sf(high - 1, units, share) - 0.9, 0.5, 1 - 1e-12)
    return float(100 * found)


def test_the_published_table_of_detectable_splits():
    # Source: the shipped check and exact binomial probabilities.
    text = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE
    )
    assert len(rows) == 7
    for units, *shown in rows:
        n = int(units.replace(",", ""))
        expected = [
            smallest_split(n, alpha, every_look=every)
            for alpha in (0.01, 0.001)
            for every in (False, True)
        ]
        assert [float(number) for number in shown] == pytest.approx(expected, abs=0.0051)
