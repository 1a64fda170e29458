"""What a plain analysis of the world finds: intervals that cover, and how exposure misleads."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from console.demo import World, build_world
from console.demo.exposure import Touches
from console.demo.setting import Campaign, Touch
from console.demo.truth import truth_of

SEEDS = range(100, 140)
CUSTOMERS = 20_000
# Source: the 99.9 % band of a binomial with 40 trials at 0.95; below 32 an interval under-covers.
# The upper end is no failure: the interval is for a population and the truth for this sample.
LEAST = int(stats.binom.ppf(0.0005, len(SEEDS), 0.95))


@dataclass(frozen=True)
class Finding:
    truth: float
    difference: float
    low: float
    high: float
    naive: float

    @property
    def covers(self) -> bool:
        return self.low <= self.truth <= self.high


def welch(metric: str, world: World) -> Finding:
    """Difference in means with the 95 % interval of Welch (1947), and exposed minus control."""
    one, zero = getattr(world.if_treated, metric), getattr(world.if_control, metric)
    scale = 100 if metric == "net_revenue" else 1
    seen = np.where(world.treated, one, zero) / scale
    arm, control = seen[world.treated], seen[~world.treated]
    interval = stats.ttest_ind(arm, control, equal_var=False).confidence_interval(0.95)
    exposed = world.treated & reached_by_social(world.touches, len(world.people))
    return Finding(
        truth=float((one.astype(float) - zero).mean() / scale),
        difference=float(arm.mean() - control.mean()),
        low=interval.low,
        high=interval.high,
        naive=float(seen[exposed].mean() - control.mean()),
    )


def reached_by_social(touches: Touches, customers: int) -> np.ndarray:
    reached = np.zeros(customers, dtype=bool)
    shown = (touches.campaign == Campaign.WINBACK_SOCIAL) & (touches.kind == Touch.IMPRESSION)
    reached[touches.person[shown]] = True
    return reached


@pytest.fixture(scope="module")
def findings() -> dict[str, list[Finding]]:
    worlds = [build_world(CUSTOMERS, seed) for seed in SEEDS]
    return {m: [welch(m, world) for world in worlds] for m in ("conversion", "net_revenue")}


@pytest.mark.parametrize("metric", ["conversion", "net_revenue"])
def test_intervals_by_arm_cover_the_truth(metric: str, findings: dict[str, list[Finding]]) -> None:
    assert sum(finding.covers for finding in findings[metric]) >= LEAST


@pytest.mark.parametrize("metric", ["conversion", "net_revenue"])
def test_the_difference_by_arm_is_unbiased(metric: str, findings: dict[str, list[Finding]]) -> None:
    # The mean error of 40 independent worlds lies within 3.29 standard errors (99.9 %).
    errors = np.array([finding.difference - finding.truth for finding in findings[metric]])
    assert abs(errors.mean()) < 3.29 * errors.std(ddof=1) / np.sqrt(len(errors))


def test_exposed_minus_control_is_clearly_biased(findings: dict[str, list[Finding]]) -> None:
    # Those who saw the programme's social advertisements were keener to begin with.
    found = findings["conversion"]
    ratio = np.mean([f.naive for f in found]) / np.mean([f.truth for f in found])
    assert ratio > 2
    assert sum(f.naive > f.high for f in found) > 0.5 * len(found)


def test_a_large_world_answers_its_questions() -> None:
    # 200,000 customers: the overall effect stands out, and the interval of the return is usable.
    world = build_world(200_000, 1)
    assert welch("conversion", world).low > 0
    money = welch("net_revenue", world)
    assert money.low > 0
    assert money.high - money.low < 1.1 * money.truth
    assert 1.2 < truth_of(world).quantity("roi").truth < 2.2
