"""History and plans made by hand."""

from typing import Any

import numpy as np

from designs.experiment import Experiment
from designs.planning.assumptions import Assumptions
from designs.planning.history import History
from designs.planning.outcome import Outcome
from designs.planning.planner import plan_experiment
from designs.planning.results import DesignPlan
from designs.planning.simulation import Values, weighted_moments
from measure.moments import Moments
from tests.designs import specs

NORMAL = (np.array([0.0, 10.0, 20.0, 40.0]), np.array([6_000, 2_000, 1_500, 500]))
SKEWED = (np.array([0.0, 20.0, 400.0]), np.array([9_700, 280, 20]))


def experiment(key: str = "spring-newsletter", more: str = "", **changes: Any) -> Experiment:
    found = specs.experiment(key, more)
    return Experiment.model_validate({**found.model_dump(exclude_unset=True), **changes})


def outcome(metric: Any, values: Any, covariate_r: float = 0.5) -> Outcome:
    """An outcome with one covariate of this correlation."""
    moments = weighted_moments(metric.name, *values)
    cross = covariate_r * float(np.sqrt(moments.comoment[0, 0]))
    joint = Moments(
        (metric.name, "prior_orders"),
        moments.n,
        np.array([moments.mean[0], 0.0]),
        np.array([[moments.comoment[0, 0], cross], [cross, 1.0]]),
        np.array([moments.third[0], 0.0]),
    )
    return Outcome(metric, joint, Values(*values), 0.0)


def history(of: Experiment, values: Any = NORMAL, units: int = 20_000, **more: Any) -> History:
    shares = (np.array([0.0, 1.0]), np.array([int(values[1][0]), int(values[1][1:].sum())]))
    outcomes = {
        m.name: outcome(m, shares if m.kind == "proportion" else values) for m in of.metrics
    }
    return History("made by hand", units, outcomes, **more)


def plan(of: Experiment, past: History | None = None, **assumed: Any) -> DesignPlan:
    others = assumed.pop("others", ())
    assumptions = Assumptions(**{"lift": 0.1, "lift_sd": 0.05, "runs": 40, **assumed})
    return plan_experiment(of, past or history(of), assumptions, others=others)
