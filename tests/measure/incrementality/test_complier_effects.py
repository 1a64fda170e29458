"""Complier effects by the shipped path: planted effects, published ones, and what is refused."""

import csv
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError
from scipy.stats import t, ttest_ind

from measure.engine.connection import connect
from measure.engine.units import unit_table
from measure.incrementality import analyze
from measure.incrementality.compliance import (
    anderson_rubin,
    complier_effect,
    first_stage,
    intention_to_treat,
)
from measure.incrementality.contrast import StudentT
from measure.moments import Moments
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Estimand, Outcome, Status
from tests.data import ROOT, data_file

BOTH = ("complier_effect", "complier_effect_by_cohort")


def plan(**changes):
    base = {
        "arms": {"none": 0.4, "mail": 0.6},
        "control": "none",
        "metrics": [Metric(name="spend")],
        "covariates": ["age"],
        "cohorts": ["region"],
        "exposure": "opened",
        "estimators": ["difference", *BOTH],
    }
    return AnalysisPlan(**(base | changes))


def world(n=8_000, seed=1, reached=(0.3, 0.6), always=0.0):
    """Opening adds 2 in the north and 1 in the south; who opens spends 3 more anyway."""
    rng = np.random.default_rng(seed)
    age, south = rng.normal(0, 1, n), rng.random(n) < 0.5
    arm = np.where(rng.random(n) < 0.4, "none", "mail")
    opens = rng.random(n) < np.where(south, reached[1], reached[0])
    anyway = rng.random(n) < always
    opened = (anyway | (opens & (arm == "mail"))).astype(int)
    effect = np.where(south, 1.0, 2.0) * opened
    spend = 10 + 2 * age + 3 * opens + effect + rng.normal(0, 1, n)
    return pd.DataFrame(
        {
            "arm": arm,
            "spend": spend,
            "age": age,
            "region": np.where(south, "south", "north"),
            "opened": opened,
        }
    )


@pytest.fixture(scope="module")
def engine():
    with connect() as opened:
        yield opened


@pytest.fixture(scope="module")
def analysed(engine):
    def analysed(data, a_plan):
        engine.register("units", pa.Table.from_pandas(data))
        units = unit_table(engine, engine.table("units"), "arm", a_plan)
        return analyze(units, a_plan, experiment="world")

    return analysed


@pytest.fixture(scope="module")
def found(analysed):
    return analysed(world(), plan())


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize(
    ("region", "truth"),
    # Source: the generator. Everybody: (.5 · .3 · 2 + .5 · .6 · 1) / (.5 · .3 + .5 · .6) = 4/3.
    [("north", 2.0), ("south", 1.0), (None, 4 / 3)],
)
def test_planted_complier_effects_are_found(found, estimator, region, truth):
    cohort = Cohort("region", region) if region else None
    e = found.find("spend", "mail", estimator, cohort)
    assert e.status is Status.OK
    assert e.estimand is Estimand.CACE
    assert abs(e.value - truth) < 4 * e.se
    assert e.ci_low < truth < e.ci_high
    assert e.relative is None
    assert e.note.startswith("one-sided non-compliance: reached ")


def test_the_effect_of_assignment_stands_beside(found):
    itt = found.find("spend", "mail", "difference")
    cace = found.find("spend", "mail", "complier_effect")
    data = world()
    share = data[data.arm == "mail"].opened.mean()
    assert cace.value == pytest.approx(itt.value / share, rel=1e-12)  # Wald 1940


def test_covariates_make_the_instrument_more_precise(found):
    for cohort in (None, Cohort("region", "north")):
        plain = found.find("spend", "mail", BOTH[0], cohort)
        assert found.find("spend", "mail", BOTH[1], cohort).se < 0.8 * plain.se


def test_the_naive_comparison_is_a_warning_and_never_an_estimate(found):
    check = next(check for check in found.checks if check.code == "X6")
    assert check.outcome is Outcome.FLAGGED
    assert check.message.startswith("Not an effect: exposed minus control says +")
    data = world()
    mail, none = data[data.arm == "mail"], data[data.arm == "none"]
    naive = mail[mail.opened == 1].spend.mean() - none.spend.mean()
    (row,) = check.evidence
    assert row["exposed_minus_control"] == pytest.approx(naive, rel=1e-9)
    assert row["effect_of_assignment"] == pytest.approx(mail.spend.mean() - none.spend.mean())
    assert all(e.value is None or abs(e.value - naive) > 0.1 for e in found.estimates)
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    assert "## X6 Exposed against control" in text
    assert check.anchor == "x6-exposed-against-control"


def test_a_sample_ratio_that_stops_the_analysis_withholds_the_comparison_too(analysed):
    data = world(2_000)
    broken = data.drop(data.index[data.arm == "mail"][:300])
    result = analysed(broken, plan(estimators=["difference"]))
    assert result.status is Status.INVALID
    check = next(c for c in result.checks if c.code == "X6")
    assert check.outcome is Outcome.NOT_APPLICABLE
    assert check.evidence == ()


def test_without_an_exposure_there_is_no_such_check(analysed):
    a_plan = plan(exposure=None, estimators=["difference"])
    assert "X6" not in {c.code for c in analysed(world(500), a_plan).checks}


def test_exposure_that_follows_assignment_is_the_effect_of_assignment(analysed):
    data = world(2_000).assign(opened=lambda d: (d.arm == "mail").astype(int))
    result = analysed(data, plan(estimators=["difference", "complier_effect"]))
    itt = result.find("spend", "mail", "difference")
    cace = result.find("spend", "mail", "complier_effect")
    for name in ("value", "se", "ci_low", "ci_high"):
        assert getattr(cace, name) == pytest.approx(getattr(itt, name), rel=1e-9)
    assert cace.note == "everybody was reached as assigned"
    assert next(c for c in result.checks if c.code == "X6").outcome is Outcome.PASSED


def test_two_sided_non_compliance_is_named(analysed):
    result = analysed(world(20_000, always=0.1), plan())
    for estimator in BOTH:
        e = result.find("spend", "mail", estimator, Cohort("region", "south"))
        assert e.note.startswith("two-sided non-compliance, nobody assumed to do the opposite")
        assert abs(e.value - 1) < 4 * e.se


def test_a_weak_first_stage_has_no_estimate_and_says_its_strength(analysed):
    result = analysed(world(1_000, reached=(0.004, 0.004), always=0.2), plan())
    for estimator in BOTH:
        e = result.find("spend", "mail", estimator)
        assert e.status is Status.INSUFFICIENT
        assert e.value is None
        assert "assignment hardly moves exposure" in e.note
        assert "must be at least 10" in e.note


def test_more_exposure_in_control_is_invalid(analysed):
    data = world(2_000).assign(opened=lambda d: (d.arm == "none").astype(int))
    e = analysed(data, plan()).find("spend", "mail", "complier_effect")
    assert e.status is Status.INVALID
    assert "more units are reached in control" in e.note


def test_between_weak_and_strong_the_interval_is_anderson_and_rubins(analysed):
    data = world(1_500, seed=4, reached=(0.12, 0.12), always=0.1)
    found = analysed(data, plan(cohorts=[]))
    e = found.find("spend", "mail", "complier_effect")
    assert e.status is Status.OK
    assert "Anderson–Rubin interval, first stage F = " in e.note
    # Closed form: at each end of the interval the two arms' means of y − βd differ by exactly the
    # quantile times the standard error.
    arms = (data.spend[data.arm == name] for name in ("mail", "none"))
    welch = ttest_ind(*arms, equal_var=False)
    quantile = t.ppf(0.975, welch.df)
    for end in (e.ci_low, e.ci_high):
        left = data.spend - end * data.opened
        one, other = left[data.arm == "mail"], left[data.arm == "none"]
        error = (one.var() / len(one) + other.var() / len(other)) ** 0.5
        assert abs(one.mean() - other.mean()) / error == pytest.approx(quantile, rel=1e-6)
    assert (e.p_value < 0.05) == (e.ci_low > 0 or e.ci_high < 0)
    # No effect on compliers is no effect of assignment: one test, one p-value.
    assert e.p_value == pytest.approx(welch.pvalue, rel=1e-9)
    assert e.p_value == found.find("spend", "mail", "difference").p_value


def test_an_unbounded_set_is_no_interval():
    rng = np.random.default_rng(0)
    arms = [
        Moments.from_values(("y", "d"), np.column_stack([rng.normal(size=50), rng.random(50) < s]))
        for s in (0.40, 0.44)
    ]
    assert anderson_rubin(*arms, 0.95, StudentT(math.inf)) is None


def covered(analysed, worlds, n, reached, always, estimator):
    """Share of 95 % intervals that hold the effect, and how many there were."""
    a_plan = plan(cohorts=[], estimators=["difference", estimator])
    hits = []
    for seed in range(worlds):
        data = world(n, seed=seed, reached=(reached, reached), always=always)
        data["spend"] -= np.where(data.region == "south", -1.0, 0.0) * data.opened  # 2 everywhere
        e = analysed(data, a_plan).find("spend", "mail", estimator)
        if e.status is Status.OK:
            hits.append(e.ci_low <= 2 <= e.ci_high)
    return np.mean(hits), len(hits)


@pytest.mark.parametrize(("reached", "always"), [(0.4, 0.0), (0.12, 0.1)])
def test_intervals_cover_the_effect_with_strong_and_weaker_first_stages(analysed, reached, always):
    share, trials = covered(analysed, 60, 600, reached, always, "complier_effect")
    assert trials > 30
    # Anderson–Rubin given that F passed the floor may be wide, never short.
    assert share > 0.95 - 3.2905 * (0.95 * 0.05 / trials) ** 0.5


@pytest.mark.validation
@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize(("reached", "always"), [(0.4, 0.0), (0.3, 0.2)])
def test_intervals_cover_the_effect_in_many_worlds(
    analysed, reached, always, estimator, record_property
):
    share, trials = covered(analysed, 1_000, 1_000, reached, always, estimator)
    record_property("estimator", estimator)
    record_property("opened when assigned", f"{100 * reached:.0f} %")
    record_property("opened anyway", f"{100 * always:.0f} %")
    record_property("coverage", f"{100 * share:.1f} % of {trials:,}")
    # The two effects of assignment are taken as independent unless that makes the interval
    # shorter: it holds the effect at least as often as it says, and somewhat more often.
    assert share > 0.95 - 3.2905 * (0.95 * 0.05 / trials) ** 0.5
    assert share < 0.985


@pytest.mark.parametrize("estimator", BOTH)
def test_a_plan_needs_the_exposure_and_the_effect_of_assignment(estimator):
    with pytest.raises(ValidationError, match="needs exposure"):
        plan(exposure=None, estimators=["difference", estimator])
    with pytest.raises(ValidationError, match="is shown beside difference"):
        plan(estimators=[estimator])


_EXPAND = """
CREATE TABLE people AS
SELECT treatment::VARCHAR AS arm, exposure,
       (i < visits)::INTEGER AS visit, (i < conversions)::INTEGER AS conversion
FROM cells, LATERAL (SELECT unnest(range(n)) AS i)
"""


@pytest.fixture(scope="module")
def criteo():
    """All 13,979,592 people, made from their counts."""
    with data_file("criteo_uplift_v21_cells.csv").open() as stream:
        rows = [{k: int(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    total = sum(row["n"] for row in rows)
    treated = sum(row["n"] for row in rows if row["treatment"] == 1) / total
    a_plan = AnalysisPlan(
        arms={"0": 1 - treated, "1": treated},
        control="0",
        metrics=[
            Metric(name="visit", kind="proportion"),
            Metric(name="conversion", kind="proportion"),
        ],
        exposure="exposure",
        estimators=["difference", "complier_effect"],
    )
    with connect() as engine:
        engine.register("cells", pa.Table.from_pylist(rows))
        engine.backend.con.execute(_EXPAND)
        units = unit_table(engine, engine.table("people"), "arm", a_plan)
        return analyze(units, a_plan, experiment="criteo")


@pytest.mark.parametrize(
    ("metric", "digits", "expected"),
    # Source: MANIFEST.md, to all printed digits.
    [
        ("visit", 5, (0.28700, 0.27899, 0.29500)),
        ("conversion", 6, (0.031964, 0.030092, 0.033836)),
    ],
)
def test_criteo_through_the_shipped_path(criteo, metric, digits, expected):
    e = criteo.find(metric, "1", "complier_effect")
    assert e.n_arm + e.n_control == 13_979_592
    assert tuple(round(v, digits) for v in (e.value, e.ci_low, e.ci_high)) == expected


def test_criteo_naive_comparison_is_a_warning(criteo):
    # Source: MANIFEST.md, naive exposed − control +5.18 percentage points, ITT +0.11519.
    check = next(check for check in criteo.checks if check.code == "X6")
    row = next(row for row in check.evidence if row["metric"] == "conversion")
    assert round(100 * row["exposed_minus_control"], 2) == 5.18
    assert round(100 * row["effect_of_assignment"], 5) == 0.11519


def test_first_stage_and_wald_from_moments():
    # Closed form: shares .5 and .1 of 100 units each, sample variances .25·100/99 and .09·100/99.
    arms = [
        Moments.from_values(("y", "d"), [(float(i), float(i < k)) for i in range(100)])
        for k in (10, 50)
    ]
    stage = first_stage(*arms)
    assert (stage.control, stage.arm) == (0.1, 0.5)
    assert stage.strength == pytest.approx(0.4**2 / (0.34 / 99), rel=1e-12)
    wald = complier_effect(*arms)
    itt = intention_to_treat(*arms, "mean")
    assert wald.value == pytest.approx(itt.value / 0.4)
