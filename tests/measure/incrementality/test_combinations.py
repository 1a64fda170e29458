"""Every estimator under every option: sensible numbers, or a status with a reason, or one refusal.

No expected value is compared here; what is checked holds of any result, whatever was asked.
"""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError

from measure.engine.connection import connect
from measure.engine.units import unit_table
from measure.errors import InputError
from measure.incrementality import analyze
from measure.incrementality.sequential import ONE_LOOK_ONLY
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, GuardrailVerdict, Outcome, Status

CLOSED_FORM = (
    "difference", "cuped", "cuped_by_arm", "post_stratification", "hierarchical_bayes",
    "double_ml", "double_ml_partialling_out", "complier_effect",
)  # fmt: skip
ECONML = (
    "difference", "double_ml_lightgbm", "doubly_robust", "causal_forest",
    "complier_effect_by_cohort",
)  # fmt: skip
NUMBERS = ("value", "se", "ci_low", "ci_high", "relative", "relative_ci_low", "relative_ci_high")
TWO = {"none": 0.5, "mail": 0.5}
THREE = {"none": 0.4, "mail": 0.3, "post": 0.3}


def people(n=600, arms=TWO, seed=1):
    """Units of whom six in ten are reached when assigned; three make a home, which has one arm."""
    rng = np.random.default_rng(seed)
    home = np.arange(n) // 3
    arm = rng.choice(list(arms), n // 3 + 1, p=list(arms.values()))[home]
    reached = (arm != "none") & (rng.random(n) < 0.6)
    before, visits = rng.gamma(2, 2, n), rng.poisson(2, n) + 1
    return pd.DataFrame(
        {
            "arm": arm,
            "home": [f"h{i}" for i in home],
            "before": before,
            "age": rng.normal(40, 9, n),
            "reached": reached.astype(float),
            "spend": np.where(rng.random(n) < 0.5, rng.gamma(2, 2, n) + before, 0) + reached,
            "bought": (rng.random(n) < 0.2 + 0.2 * reached).astype(float),
            "orders": rng.poisson(1 + 0.3 * reached).astype(float),
            "clicks": rng.binomial(visits, 0.3).astype(float),
            "visits": visits.astype(float),
            "region": rng.choice(["north", "south"], n // 3 + 1)[home],
            "tier": rng.choice(["gold", "free"], n // 3 + 1)[home],
        }
    )


def metrics(null="drop", winsorize=None):
    return (
        Metric(name="spend", null=null, winsorize=winsorize, role="primary"),
        Metric(name="bought", kind="proportion", null=null, role="guardrail", harm_below=-0.05),
        Metric(name="orders", kind="count", null=null, winsorize=winsorize),
        Metric(name="ctr", kind="ratio", column="clicks", denominator="visits", null=null),
    )


def planned(**changes):
    base = {
        "arms": TWO,
        "control": "none",
        "metrics": metrics(),
        "covariates": ("before", "age"),
        "cohorts": ("region",),
        "strata": ("tier",),
        "exposure": "reached",
        "estimators": CLOSED_FORM,
    }
    chosen = base | changes
    if "post_stratification" not in chosen["estimators"]:
        chosen["strata"] = ()
    return AnalysisPlan(**chosen)


@pytest.fixture(scope="module")
def engine():
    with connect() as embedded:
        yield embedded


def analysis(engine, data, plan, cluster=None):
    table = engine.register("people", pa.Table.from_pandas(data, preserve_index=False))
    units = unit_table(engine, table, "arm", plan, cluster_column=cluster)
    found = analyze(units, plan, experiment="all")
    json.dumps(found.to_dict(), allow_nan=False)
    names = [metric.name for metric in plan.metrics]
    wanted = set(itertools.product(names, plan.treatments, plan.estimators))
    assert {(e.metric, e.arm, e.estimator) for e in found.estimates if not e.cohort} == wanted
    for estimate in found.estimates:
        _makes_sense(estimate, plan)
    return found


def _makes_sense(estimate, plan):
    given = {name: getattr(estimate, name) for name in (*NUMBERS, "p_value")}
    assert all(number is None or math.isfinite(number) for number in given.values())
    assert "\n" not in estimate.note
    if estimate.status is not Status.OK:
        assert estimate.note
        assert set(given.values()) == {None}
        return
    value, se, low, high, *lift = (given[name] for name in NUMBERS)
    assert se > 0
    assert low <= value <= high
    if given["p_value"] is not None:
        excluded = low > 0 or high < 0
        assert excluded == (given["p_value"] <= 1 - plan.ci_level + 1e-12)
    if None not in lift:
        assert lift[1] <= lift[0] <= lift[2]
        assert lift[0] * value >= 0
    else:
        assert set(lift) == {None} or "no interval of the lift" in estimate.note
    if plan.sequential:
        assert "every look" in estimate.note or "look 1 of 2" in estimate.note


SPENDING = {"method": "obrien_fleming", "planned_units": 1_200, "looks": [0.5, 1]}
OPTIONS = {
    "plain": {},
    "no cohorts, strata or covariates": {"cohorts": (), "strata": (), "covariates": ()},
    "three arms": {"arms": THREE, "relative": "log"},
    "log lift": {"relative": "log"},
    "missing is zero, winsorized": {"metrics": metrics("zero", 0.95)},
    "winsorized": {"metrics": metrics("drop", 0.9), "relative": "log"},
    "looked at any time": {"sequential": True},
    "looked at any time, three arms": {"sequential": True, "arms": THREE, "relative": "log"},
    "looks planned": {"sequential": SPENDING, "relative": "log"},
    "strata are cohorts": {"cohorts": ("tier", "region"), "strata": ("tier", "region")},
    "level .8": {"ci_level": 0.8, "multiplicity": "holm"},
}


@pytest.mark.parametrize("clustered", [False, True], ids=["units", "clusters"])
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_meets_every_estimator(engine, option, clustered):
    plan = planned(**OPTIONS[option])
    data = people(arms=plan.arms)
    data.loc[::7, "spend"] = np.nan
    if clustered and plan.sequential and plan.sequential.planned_units:
        looks = plan.sequential.model_copy(update={"planned_units": 400})
        plan = plan.model_copy(update={"sequential": looks})
    found = analysis(engine, data, plan, "home" if clustered else None)
    assert found.status is Status.OK
    for metric, arm in itertools.product(("spend", "orders", "ctr"), plan.treatments):
        assert found.find(metric, arm, "difference").status is Status.OK
        adjusted = found.find(metric, arm, "cuped")
        assert adjusted.status is (Status.OK if plan.covariates else Status.INSUFFICIENT)


@pytest.mark.parametrize("changes", [{}, {"sequential": True, "relative": "log", "arms": THREE}])
def test_every_option_meets_econml(engine, changes):
    plan = planned(estimators=ECONML, metrics=metrics()[:1], strata=(), **changes)
    found = analysis(engine, people(arms=plan.arms), plan)
    assert {e.status for e in found.estimates if e.cohort is None} == {Status.OK}


HOSTILE = ("'; drop table people; --", "a\x1fb", "\u202e", "None", "NaN", "007", "x" * 3_000, "😀")
EDGES = {
    "one row": lambda d: d.head(1),
    "two rows": lambda d: d.groupby("arm").head(1),
    "nobody in control": lambda d: d[d.arm == "mail"],
    "all zero": lambda d: d.assign(spend=0.0, bought=0.0, orders=0.0, clicks=0.0),
    "nothing below the line": lambda d: d.assign(visits=0.0),
    "constant": lambda d: d.assign(spend=7.0, bought=1.0, orders=3.0, clicks=1.0, visits=1.0),
    "constant within arms": lambda d: d.assign(spend=(d.arm == "mail") * 1.0),
    "all missing": lambda d: d.assign(spend=np.nan),
    "covariate all missing": lambda d: d.assign(before=np.nan),
    "a millionth of a billionth": lambda d: d.assign(spend=d.spend * 1e-200),
    "far from zero": lambda d: d.assign(spend=d.spend + 1e9),
    "below zero": lambda d: d.assign(spend=d.spend - 50),
    "around zero": lambda d: d.assign(spend=np.where(np.arange(len(d)) % 2, 1.0, -1.0)),
    "control zero": lambda d: d.assign(spend=np.where(d.arm == "none", 0, d.spend)),
    "nobody reached": lambda d: d.assign(reached=0.0),
    "everybody reached": lambda d: d.assign(reached=1.0),
    "reached as assigned": lambda d: d.assign(reached=(d.arm == "mail") * 1.0),
    "control reached": lambda d: d.assign(reached=(d.arm == "none") * 1.0),
    "cohorts of one unit": lambda d: d.assign(region=np.arange(len(d)).astype(str)),
    "strata of one unit": lambda d: d.assign(tier=np.arange(len(d)).astype(str)),
    "cohorts of one arm": lambda d: d.assign(region=d.arm),
    "strata of one arm": lambda d: d.assign(tier=d.arm),
    "hostile cohorts": lambda d: d.assign(region=[HOSTILE[i % 8] for i in range(len(d))]),
    "hostile strata": lambda d: d.assign(tier=[HOSTILE[i % 2] for i in range(len(d))]),
}


@pytest.mark.parametrize("edge", EDGES)
def test_every_edge_has_a_status(engine, edge):
    analysis(engine, EDGES[edge](people()), planned(relative="log"))


def test_hostile_names_are_names(engine):
    new = {"spend": "sp'; drop \"", "before": "be`fore; --", "region": "re\tgion", "tier": "{}%s"}
    plan = planned(
        metrics=[Metric(name=new["spend"])],
        covariates=[new["before"]],
        cohorts=[new["region"]],
        strata=[new["tier"]],
    )
    plain = planned(metrics=metrics()[:1], covariates=["before"])
    odd = analysis(engine, people().rename(columns=new), plan)
    usual = analysis(engine, people(), plain)
    for one, other in zip(odd.estimates, usual.estimates, strict=True):
        assert one.status is other.status
        if one.status is Status.OK:
            assert (one.value, one.se) == pytest.approx((other.value, other.se), rel=1e-9)


def test_names_that_would_be_taken_for_one_another_are_refused(engine):
    for field in ("covariates", "cohorts", "strata"):
        for name, rule in (
            ("clicks", "an outcome"),
            ("ctr", "an outcome"),
            ("reached", "exposure"),
        ):
            with pytest.raises(ValidationError, match=f"{field}: '{name}' is .*{rule}"):
                planned(**{field: (name,)})
    plan, data = planned(covariates=["(exposure)"]), people().rename(columns={"age": "(exposure)"})
    with pytest.raises(InputError, match=r"covariate == '\(exposure\)', is a name kept"):
        analysis(engine, data, plan)


def test_a_covariate_that_treatment_moved_withholds_what_adjusts_by_it(engine):
    data = people().assign(age=lambda d: d.age + 9 * (d.arm == "mail"))
    found = analysis(engine, data, planned())
    (check,) = (c for c in found.checks if c.code == "X5")
    assert check.outcome is Outcome.FLAGGED
    assert check.message.startswith("age differs between arms as chance would not")
    assert found.find("spend", "mail", "difference").status is Status.OK
    for name in ("cuped", "cuped_by_arm", "double_ml", "double_ml_partialling_out"):
        estimate = found.find("spend", "mail", name)
        assert estimate.status is Status.INVALID
        assert estimate.note.startswith("check X5 (covariate balance): age differs")


def test_a_rare_covariate_in_a_small_arm_is_no_imbalance(engine):
    # Nobody of 12 has what one in a hundred of 3,000 has: chance .886.
    n = 3_012
    data = people(n).assign(age=(np.arange(n) % 100 == 50) * 1.0)
    data["arm"] = np.where(np.arange(n) < 12, "none", "mail")
    plan = planned(
        arms={"none": 12 / n, "mail": 3_000 / n},
        metrics=metrics()[:1],
        estimators=("difference", "cuped"),
    )
    (check,) = (c for c in analysis(engine, data, plan).checks if c.code == "X5")
    assert check.outcome is Outcome.PASSED


def test_complier_effects_of_clusters(engine):
    # By hand: the ratio of two differences of means over members.
    data = people(1_200)
    found = analysis(engine, data, planned(), "home").find("spend", "mail", "complier_effect")
    by_arm = data.groupby("arm")[["spend", "reached"]].mean()
    gap = by_arm.loc["mail"] - by_arm.loc["none"]
    assert found.status is Status.OK
    assert found.value == pytest.approx(gap.spend / gap.reached, rel=1e-9)


def test_guardrails_know_the_looks(engine):
    # An interval that holds at one look only cannot rule harm out at every look.
    plan = planned(sequential=True)
    found = analysis(engine, people(1_200), plan)
    for guardrail in found.guardrails:
        estimate = found.find("bought", "mail", guardrail.estimator)
        assert (guardrail.ci_low, guardrail.ci_high) == (estimate.ci_low, estimate.ci_high)
        if ONE_LOOK_ONLY in estimate.note:
            assert guardrail.verdict is GuardrailVerdict.UNKNOWN
    judged = {guardrail.estimator: guardrail.verdict for guardrail in found.guardrails}
    assert judged["difference"] is GuardrailVerdict.RULED_OUT
    assert "complier_effect" not in judged


def test_complier_effects_are_wider_at_every_look(engine):
    data = people(1_200)
    once, always = (
        analysis(engine, data, planned(sequential=looks)).find("spend", "mail", "complier_effect")
        for looks in (False, True)
    )
    assert once.value == always.value
    assert always.ci_high - always.ci_low > 1.3 * (once.ci_high - once.ci_low)
    assert "valid at every look" in always.note


def test_a_thousand_cohorts_change_no_number_of_one(engine):
    data = people(3_000).assign(region=lambda d: np.arange(len(d)) // 3)
    data.loc[:299, "region"] = 5_000
    plan = planned(metrics=(metrics()[0], metrics()[3]), estimators=("difference", "cuped"))
    many = analysis(engine, data, plan)
    few = analysis(engine, data.assign(region=(data.region == 5_000) * 5_000), plan)
    cohort = Cohort("region", "5000")
    for metric, estimator in itertools.product(("spend", "ctr"), plan.estimators):
        one, other = (found.find(metric, "mail", estimator, cohort) for found in (many, few))
        same = (other.value, other.se, other.p_value)
        assert (one.value, one.se, one.p_value) == pytest.approx(same, rel=1e-9)
    assert len(many.estimates) > 3_000
