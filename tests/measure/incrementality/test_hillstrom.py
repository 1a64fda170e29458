from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from measure.engine.connection import connect
from measure.engine.units import open_source
from measure.incrementality import analyze
from measure.plan import AnalysisPlan, Metric, Source
from measure.results import Cohort, Outcome, Status
from tests.data import data_file
from tests.measure.incrementality.frames import FrameUnits

DIMENSIONS = ("history_segment", "channel", "zip_code")
ESTIMATORS = ("difference", "cuped", "hierarchical_bayes", "double_ml")
PLAN = AnalysisPlan(
    arms={"No E-Mail": 0.333, "Womens E-Mail": 0.334, "Mens E-Mail": 0.333},
    control="No E-Mail",
    metrics=[
        Metric(name="spend", unit="USD", role="primary"),
        Metric(name="conversion", kind="proportion"),
        Metric(name="visit", kind="proportion"),
    ],
    covariates=["recency", "history", "mens", "womens", "newbie"],
    cohorts=DIMENSIONS,
    estimators=ESTIMATORS,
)


@pytest.fixture(scope="module")
def frame():
    return pd.read_csv(data_file("hillstrom.csv"))


@pytest.fixture(scope="module")
def analysis():
    source = Source(path=data_file("hillstrom.csv").name, arm="segment")
    with connect("duckdb://") as engine:
        units = open_source(engine, source, PLAN, data_file("hillstrom.csv").parent)
        return analyze(units, PLAN, experiment="womens-email-2008")


@pytest.fixture(scope="module")
def from_frame(frame):
    plan = PLAN.model_copy(update={"estimators": ("difference", "cuped")})
    return analyze(FrameUnits(frame, "segment", plan), plan, experiment="womens-email-2008")


def test_checks_pass(analysis):
    assert analysis.status is Status.OK
    assert {c.outcome for c in analysis.checks} == {Outcome.PASSED}


@pytest.mark.parametrize(
    ("metric", "arm", "expected", "digits"),
    # Source: MANIFEST.md.
    [
        ("visit", "Mens E-Mail", 0.0766, 4),
        ("visit", "Womens E-Mail", 0.0452, 4),
        ("conversion", "Mens E-Mail", 0.00681, 5),
        ("conversion", "Womens E-Mail", 0.00311, 5),
        ("spend", "Mens E-Mail", 0.770, 3),
        ("spend", "Womens E-Mail", 0.424, 3),
    ],
)
def test_published_differences(analysis, metric, arm, expected, digits):
    assert round(analysis.find(metric, arm, "difference").value, digits) == expected


@pytest.mark.parametrize(
    ("arm", "low", "high"),
    # Source: MANIFEST.md; the published Womens interval ends at .680 and starts at .169.
    [("Mens E-Mail", 0.485, 1.055), ("Womens E-Mail", 0.169, 0.680)],
)
def test_published_intervals(analysis, arm, low, high):
    found = analysis.find("spend", arm, "difference")
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=1e-3)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_cohorts_equal_group_means_and_add_up(analysis, frame, dimension):
    # Reference: pandas group means over the file.
    means = frame.groupby([dimension, "segment"])[["visit", "conversion", "spend"]].mean()
    sizes = frame.groupby([dimension, "segment"]).size()
    for metric in ("visit", "conversion", "spend"):
        for arm in PLAN.treatments:
            overall = analysis.find(metric, arm, "difference")
            cohorts = [
                e
                for e in analysis.estimates
                if (e.metric, e.arm, e.estimator) == (metric, arm, "difference")
                and e.cohort is not None
                and e.cohort.dimension == dimension
            ]
            assert sum(e.n_arm for e in cohorts) == overall.n_arm
            assert sum(e.n_control for e in cohorts) == overall.n_control
            for e in cohorts:
                value = e.cohort.value
                gap = means.loc[(value, arm), metric] - means.loc[(value, "No E-Mail"), metric]
                assert e.value == pytest.approx(gap, rel=1e-9, abs=1e-12)
                assert e.n_arm == sizes.loc[(value, arm)]


def test_every_cell_has_a_usable_estimate(analysis):
    # 3 metrics × 2 arms × (1 + 7 + 3 + 3 cells) × 4 estimators.
    assert len(analysis.estimates) == 336
    assert {e.status for e in analysis.estimates} == {Status.OK}
    assert len(analysis.multiplicity) == 3 * 2 * 3 * 3  # estimators with p-values


def test_estimators_agree_with_each_other(analysis):
    for metric in ("visit", "conversion", "spend"):
        for arm in PLAN.treatments:
            plain = analysis.find(metric, arm, "difference")
            for estimator in ESTIMATORS[1:]:
                other = analysis.find(metric, arm, estimator)
                assert abs(other.value - plain.value) < 0.5 * plain.se
                assert 0.9 * plain.se < other.se < 1.01 * plain.se


def test_pooling_narrows_cohort_intervals(analysis):
    for metric in ("visit", "conversion", "spend"):
        plain, pooled = (
            np.array(
                [
                    e.se
                    for e in analysis.estimates
                    if (e.metric, e.estimator) == (metric, name) and e.cohort is not None
                ]
            )
            for name in ("difference", "hierarchical_bayes")
        )
        assert np.mean(pooled < 1.02 * plain) > 0.95
        assert pooled.mean() < 0.9 * plain.mean()


def test_bayes_has_no_p_value(analysis):
    found = [e for e in analysis.estimates if e.estimator == "hierarchical_bayes"]
    assert {e.p_value for e in found} == {None}


def test_the_engine_and_a_data_frame_give_the_same_numbers(analysis, from_frame):
    for e in from_frame.estimates:
        other = analysis.find(e.metric, e.arm, e.estimator, e.cohort)
        assert (other.value, other.se) == pytest.approx((e.value, e.se), rel=1e-9)
        assert (other.ci_low, other.ci_high) == pytest.approx((e.ci_low, e.ci_high), rel=1e-6)


def test_provenance_names_data_method_and_definition(analysis):
    # Source of the hash: MANIFEST.md.
    found = analysis.provenance
    assert found["data_hash"].startswith("0e5893329d8b93cefecc5717")
    assert found["hierarchical_bayes"]["compute"]["spend"] == "exact"
    assert found["hierarchical_bayes"]["sampler"] is None
    assert found["plan_hash"] == PLAN.content_hash()
    assert "delta method" in found["relative"]


def test_reference_cell_by_hand(analysis, frame):
    # Closed form: Welch by hand on one cohort, with p(1 − p) variances.
    part = frame[frame.channel == "Web"]
    a = part.visit[part.segment == "Mens E-Mail"]
    b = part.visit[part.segment == "No E-Mail"]
    se = np.sqrt(a.mean() * (1 - a.mean()) / len(a) + b.mean() * (1 - b.mean()) / len(b))
    found = analysis.find("visit", "Mens E-Mail", "difference", Cohort("channel", "Web"))
    assert found.se == pytest.approx(se, rel=1e-9)


def test_data_are_found_beside_the_checkout():
    assert Path(data_file("hillstrom.csv")).exists()
