"""Worlds without randomisation whose truth is known."""

import numpy as np
import pandas as pd

from measure.incrementality import analyze
from measure.plan import AnalysisPlan
from tests.measure.incrementality.frames import FrameUnits

CONFOUNDERS = ("a", "b", "c")
CLOSED = ("regression", "weighting")


def world(n: int, effect: float, seed: int, *, hidden: float = 0.0) -> pd.DataFrame:
    """Linear confounding by three covariates, and by one that is not among the columns."""
    rng = np.random.default_rng([2026, seed])
    a, b, u = rng.normal(size=(3, n))
    c = (rng.random(n) < 0.4).astype(float)
    chance = 1 / (1 + np.exp(-(0.5 * a - 0.4 * b + 0.5 * c + hidden * u)))
    treated = (rng.random(n) < chance).astype(int)
    y = effect * treated + a - 0.5 * b + 0.8 * c + 1.5 * hidden * u + rng.normal(size=n)
    segment = np.where(rng.random(n) < 0.3, "new", "old")
    return pd.DataFrame(
        {"arm": np.where(treated == 1, "yes", "no"), "a": a, "b": b, "c": c, "y": y, "u": u}
    ).assign(segment=segment, binary=(y > 0.5).astype(float), flat=1.0)


def plan_of(**changes) -> AnalysisPlan:
    observational = {"estimators": CLOSED, **changes.pop("observational", {})}
    fields = {
        "arms": {"no": 0.5, "yes": 0.5},
        "control": "no",
        "metrics": [{"name": "y"}],
        "covariates": CONFOUNDERS,
        **changes,
    }
    return AnalysisPlan(observational=observational, **fields)


def study(frame: pd.DataFrame, **changes):
    plan = plan_of(**changes)
    return analyze(FrameUnits(frame, "arm", plan), plan, experiment="world")


def check(analysis, code: str):
    return next(check for check in analysis.checks if check.code == code)
