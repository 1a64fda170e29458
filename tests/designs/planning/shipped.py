"""Worlds whose tests are run many times over by the shipped analysis."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from designs.experiment import Experiment
from designs.planning.assumptions import Assumptions
from designs.planning.history import History, reading_plan
from designs.planning.outcome import outcomes
from designs.planning.planner import plan_experiment
from designs.planning.results import Precision
from designs.planning.simulation import binomial_band
from measure.incrementality import analyze
from measure.plan import AnalysisPlan
from tests.designs.planning import plans
from tests.measure.incrementality.frames import FrameUnits

World = Callable[[np.random.Generator, int, float], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """A world, its metric, and how a lift comes about in it."""

    world: World
    metric: dict
    acts: str
    lift: float
    units: int
    arms: dict
    covariates: tuple[str, ...] = ()
    estimator: str = "difference"
    level: float = 0.95


def buyers(rng, n, lift):
    """Most units spend nothing; a lift makes more of them spend."""
    return {"y": (rng.random(n) < 0.3 * (1 + lift)) * np.round(rng.gamma(3, 10, n), 1)}


def amounts(rng, n, lift):
    """Everybody spends; a lift makes them spend more, and a covariate explains half."""
    x = rng.normal(0, 1, n)
    return {"y": (20 + 5 * x + rng.normal(0, 5, n)) * (1 + lift), "x": x}


def shares(rng, n, lift):
    """A tenth converts."""
    return {"y": (rng.random(n) < 0.1 * (1 + lift)).astype(float)}


def counts(rng, n, lift):
    """Orders per unit; a lift brings more of them."""
    return {"y": rng.poisson(3, n) * (1 + lift)}


def sessions(rng, n, lift):
    """Clicks over sessions, which are few per unit and alike."""
    visits = rng.poisson(4, n) + 1.0
    clicks = rng.binomial(visits.astype(int), rng.beta(2, 6, n))
    return {"y": clicks * (1 + lift), "d": visits}


def experiment(case: Case) -> Experiment:
    return plans.experiment(
        arms=case.arms,
        metrics=[{"name": "y", "role": "primary", **case.metric}],
        covariates=list(case.covariates),
        cohorts=[],
        plan={"window_days": 28, "estimators": [case.estimator], "ci_level": case.level},
    )


def frame(case: Case, rng: np.random.Generator, lift: float) -> pd.DataFrame:
    """One run of the test: all arms but control have the lift."""
    parts = []
    for arm, share in case.arms.items():
        columns = case.world(rng, round(case.units * share), 0.0 if arm == "control" else lift)
        parts.append(pd.DataFrame({**columns, "arm": arm}))
    return pd.concat(parts, ignore_index=True)


def planned(case: Case, **assumed) -> Precision:
    """The plan from a long history of the same world; the weakest comparison."""
    of = experiment(case)
    assumptions = Assumptions(
        **{"lift": case.lift, "lift_sd": 0.05, "runs": 0, "acts": case.acts, **assumed}
    )
    plan = reading_plan(of, assumptions)
    past = pd.DataFrame(case.world(np.random.default_rng(1), 60_000, 0.0)).assign(arm="control")
    read = outcomes(FrameUnits(past, "arm", plan), plan, ("control",))
    found = plan_experiment(of, History("a world", case.units, read), assumptions).leading()
    return min(found, key=lambda p: p.power or 0.0)


def reached(case: Case, runs: int, level: float = 0.999) -> tuple[float, float]:
    """Band of the share of runs in which the shipped analysis finds the lift in the first arm."""
    of, rng, hits = experiment(case), np.random.default_rng(7), 0
    plan: AnalysisPlan = of.analysis_plan()
    for _ in range(runs):
        units = FrameUnits(frame(case, rng, case.lift), "arm", plan)
        analysis = analyze(units, plan, experiment="power")
        found = analysis.find("y", plan.treatments[0], case.estimator)
        hits += found.ci_low is not None and found.ci_low > 0
    return binomial_band(hits, runs, level)
