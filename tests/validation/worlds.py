"""Populations in which nothing happened, drawn as value counts: unit tables without rows.

A unit table of a hundred thousand units costs as much here as one of a hundred, so that ten
thousand of them can be analysed by the shipped path.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from measure.moments import DENOMINATOR, CellMoments, Moments
from measure.plan import AnalysisPlan, Metric


@dataclass(frozen=True)
class Counted:
    """Distinct values (k,) and units at each (k,)."""

    values: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Profiled:
    n: int
    missing: int
    mean: float


Sample = Callable[[np.random.Generator, int], Counted]


class CountedUnits:
    """One metric, no covariates, no cohorts; arms given as value counts."""

    data_hash = None

    def __init__(self, metric: Metric, arms: Mapping[str, Counted]) -> None:
        self.metric, self.arms = metric, arms

    def moments(self) -> CellMoments:
        cells, name = {}, self.metric.name
        for arm, found in self.arms.items():
            cells[(name, None, arm)] = _moments(name, found)
        units = {arm: int(found.counts.sum()) for arm, found in self.arms.items()}
        return CellMoments(cells, units, {(name, arm): 0 for arm in self.arms})

    def value_counts(self, metric, cohort=None):
        assert (metric, cohort) == (self.metric.name, None)
        return self.arms

    def rows(self, columns):
        raise AssertionError(f"rows were asked for: {columns}")

    def profile(self):
        n = sum(int(found.counts.sum()) for found in self.arms.values())
        total = sum(float(found.values @ found.counts) for found in self.arms.values())
        return {self.metric.name: Profiled(n, 0, total / n)}


def _moments(name: str, found: Counted) -> Moments:
    n = int(found.counts.sum())
    mean = float(found.values @ found.counts) / n
    centred = found.values - mean
    second, third = (np.array([centred**k @ found.counts]) for k in (2, 3))
    return Moments((name,), n, np.array([mean]), second.reshape(1, 1), third)


def binary(rate: float) -> Sample:
    """Units that convert with a probability."""

    def sample(rng: np.random.Generator, n: int) -> Counted:
        converted = int(rng.binomial(n, rate))
        return Counted(np.array([0.0, 1.0]), np.array([n - converted, converted]))

    return sample


def heavy_tail(rate: float, sigma: float = 1.0, effect: float = 0.0) -> Sample:
    """Most spend nothing; buyers spend a lognormal amount, in cents, ``effect`` more of it."""

    def sample(rng: np.random.Generator, n: int) -> Counted:
        buyers = int(rng.binomial(n, rate))
        amounts = np.round(rng.lognormal(4.0, sigma, buyers) * (1 + effect), 2)
        values, counts = np.unique(amounts, return_counts=True)
        if n > buyers:
            values, counts = np.append(0.0, values), np.append(n - buyers, counts)
        return Counted(values, counts)

    return sample


def normal(effect: float = 0.0) -> Sample:
    """A metric without a tail, mean 1 and standard deviation 1."""

    def sample(rng: np.random.Generator, n: int) -> Counted:
        return Counted(rng.normal(1 + effect, 1, n), np.ones(n, dtype=np.int64))

    return sample


@dataclass(frozen=True)
class Paired:
    """Numerators and denominators of units, both (n,)."""

    above: np.ndarray
    below: np.ndarray


class PairedUnits:
    """One ratio, no covariates, no cohorts; arms given as numerators and denominators."""

    data_hash = None

    def __init__(self, metric: Metric, arms: Mapping[str, Paired]) -> None:
        self.metric, self.arms = metric, arms

    def moments(self) -> CellMoments:
        name = self.metric.name
        cells = {
            (name, None, arm): Moments.from_values(
                (name, DENOMINATOR), np.column_stack([found.above, found.below])
            )
            for arm, found in self.arms.items()
        }
        units = {arm: len(found.above) for arm, found in self.arms.items()}
        return CellMoments(cells, units, {(name, arm): 0 for arm in self.arms})

    def rows(self, columns):
        import pyarrow as pa

        name = self.metric.name
        shown = {
            "arm": [arm for arm, found in self.arms.items() for _ in found.above],
            name: np.concatenate([found.above for found in self.arms.values()]),
            f"{name} {DENOMINATOR}": np.concatenate([f.below for f in self.arms.values()]),
        }
        return pa.table({column: shown[column] for column in ("arm", *columns)})

    def profile(self):
        values = np.concatenate([found.above for found in self.arms.values()])
        return {self.metric.name: Profiled(len(values), 0, float(values.mean()))}


def ratio(rng: np.random.Generator, n: int) -> Paired:
    """Orders and sessions of customers who differ in both."""
    sessions = 1 + rng.poisson(rng.gamma(1.5, 2.0, n))
    return Paired(rng.binomial(sessions, rng.beta(1, 20, n)) * 1.0, sessions * 1.0)


def clustered(rng: np.random.Generator, n: int) -> Paired:
    """Sums and sizes of households, as the engine adds up rows below the unit.

    One to six people; what they share makes the intra-cluster correlation .1.
    """
    size = rng.integers(1, 7, n)
    shared = rng.normal(0, np.sqrt(0.1), n)
    own = rng.normal(0, np.sqrt(0.9 * size))
    return Paired(size * (5 + shared) + own, size * 1.0)


def plan(metric: Metric, share: float, level: float = 0.95) -> AnalysisPlan:
    """Two arms, the control holding ``share`` of the units, analysed by the difference."""
    arms = {"control": share, "treated": 1 - share}
    return AnalysisPlan(arms=arms, control="control", metrics=(metric,), ci_level=level)


def sizes(per_arm: int, share: float) -> tuple[int, int]:
    """Units of control and arm of an experiment of twice ``per_arm`` units."""
    control = round(2 * per_arm * share)
    return control, 2 * per_arm - control
