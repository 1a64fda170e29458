"""Under a sequential plan only p-values valid at every look are corrected for being several."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from measure.incrementality import analyze
from measure.incrementality.factorial import factorial_effects, layout_of
from measure.incrementality.multiplicity import benjamini_hochberg, families
from measure.incrementality.sequential import ONE_LOOK_ONLY
from measure.methods import Bayes, Sequential
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort
from tests.measure.incrementality.frames import FrameUnits

BASE = {
    "arms": {"none": 0.5, "mail": 0.5},
    "control": "none",
    "metrics": (Metric(name="spend"),),
    "cohorts": ("region", "tier"),
}
LOOKED = {"sequential": Sequential(planned_units=4_000)}


def people(n=4_000, seed=3):
    rng = np.random.default_rng(seed)
    arm = rng.permutation(np.repeat(["none", "mail"], n // 2))
    return pd.DataFrame(
        {
            "arm": arm,
            "region": rng.choice(["east", "north", "south", "west"], n),
            "tier": rng.choice(["free", "gold"], n),
            "age": rng.normal(40, 9, n),
            "spend": rng.normal(10, 3, n) + 0.25 * (arm == "mail"),
        }
    )


def analysed(**changes):
    plan = AnalysisPlan(**(BASE | changes))
    return analyze(FrameUnits(people(), "arm", plan), plan, experiment="x")


def test_adjusted_p_values_come_from_those_valid_at_every_look():
    plain, looked = analysed(), analysed(**LOOKED)
    for found in (plain, looked):
        family = next(one for one in found.multiplicity if one.dimension == "region")
        cells = [Cohort("region", value) for value in family.cohorts]
        p_values = [found.find("spend", "mail", "difference", cell).p_value for cell in cells]
        assert family.p_adjusted == pytest.approx(benjamini_hochberg(p_values), rel=1e-12)
        # The interval, which is the boundary's, and the p-value are of one look or of none.
        for cell, p_value in zip(cells, p_values, strict=True):
            one = found.find("spend", "mail", "difference", cell)
            assert (p_value <= 0.05) == (one.ci_low > 0 or one.ci_high < 0)
    for one, other in zip(plain.multiplicity, looked.multiplicity, strict=True):
        assert all(a < b for a, b in zip(one.p_adjusted, other.p_adjusted, strict=True) if a < 1)


def test_an_estimate_that_no_boundary_judged_is_in_no_family():
    found = analysed(**LOOKED)
    marked = [replace(one, note=ONE_LOOK_ONLY) for one in found.estimates]
    assert families(found.estimates, AnalysisPlan(**BASE, **LOOKED)) == found.multiplicity
    assert families(marked, AnalysisPlan(**BASE, **LOOKED)) == ()


def test_dimensions_pooled_together_hold_at_one_look_only_and_say_so():
    pooled = {"estimators": ("difference", "hierarchical_bayes")}
    together = analysed(**LOOKED, **pooled, bayes=Bayes(dimensions="together"))
    apart = analysed(**LOOKED, **pooled)
    for found, marked in ((together, True), (apart, False)):
        cohorts = [e for e in found.estimates if e.estimator == "hierarchical_bayes" and e.cohort]
        assert len(cohorts) == 6
        assert {e.note.endswith(ONE_LOOK_ONLY) for e in cohorts} == {marked}
        # Everybody's does not look at cohorts: it rests on the boundary's interval either way.
        everybody = found.find("spend", "mail", "hierarchical_bayes")
        assert ONE_LOOK_ONLY not in everybody.note


def test_segments_under_a_sequential_plan_have_no_corrected_p_values():
    options = {"discovery": "honest_tree", "covariates": ("age",)}
    found = analysed(**LOOKED, **options).discovery
    assert len(found) >= 2
    for segment in found:
        assert ONE_LOOK_ONLY in segment.note
        assert segment.p_value is not None
        assert segment.p_adjusted is None
        assert segment.apart_p_adjusted is None


def test_effects_of_factors_say_that_they_hold_at_one_look_only():
    rng = np.random.default_rng(1)
    arms = {"a.x": 0.25, "a.y": 0.25, "b.x": 0.25, "b.y": 0.25}
    frame = pd.DataFrame({"arm": rng.choice(list(arms), 800), "spend": rng.normal(9, 2, 800)})
    layout = layout_of({"one": ("a", "b"), "two": ("x", "y")}, ".".join, "a.x")
    for options, note in (({}, ""), ({"sequential": Sequential()}, ONE_LOOK_ONLY)):
        plan = AnalysisPlan(arms=arms, control="a.x", metrics=(Metric(name="spend"),), **options)
        effects = factorial_effects(FrameUnits(frame, "arm", plan).moments(), plan, layout)
        assert {effect.note for effect in effects} == {note}
