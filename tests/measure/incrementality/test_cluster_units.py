"""Rows below the unit of randomisation: inference belongs to the cluster."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from measure.engine.connection import connect
from measure.engine.units import unit_table
from measure.incrementality import analyze
from measure.plan import AnalysisPlan, Metric
from measure.results import Status

EVEN = {"none": 0.5, "mail": 0.5}
Z_999 = 3.2905267314919  # two-sided 99.9 % point of the normal
PLAN = AnalysisPlan(
    arms=EVEN,
    control="none",
    metrics=[Metric(name="spend"), Metric(name="bought", kind="proportion")],
    covariates=["before"],
    estimators=["difference", "cuped", "double_ml"],
)


def homes(clusters, seed, lift=0.0):
    """Homes of 1 to 12 members whose spend has an intraclass correlation of .1."""
    rng = np.random.default_rng(seed)
    sizes = np.clip(rng.geometric(0.25, clusters), 1, 12)
    home = np.repeat(np.arange(clusters), sizes)
    common = rng.normal(0, math.sqrt(0.1), clusters)[home]
    arm = np.where(rng.permutation(clusters) < clusters // 2, "none", "mail")[home]
    before = common + rng.normal(0, 1, len(home))
    spend = 5 + common + rng.normal(0, math.sqrt(0.9), len(home)) + lift * (arm == "mail")
    bought = (common + rng.normal(0, math.sqrt(0.9), len(home)) > 1).astype(float)
    return pd.DataFrame(
        {"home": [f"h{i}" for i in home], "arm": arm, "spend": spend, "bought": bought,
         "before": before}
    )  # fmt: skip


def analysis(engine, frame, plan=PLAN, cluster="home"):
    table = engine.register("members", pa.Table.from_pandas(frame, preserve_index=False))
    return analyze(
        unit_table(engine, table, "arm", plan, cluster_column=cluster), plan, experiment="homes"
    )


def test_mean_over_rows_with_the_error_of_clusters():
    # Closed form: the cluster-robust error of a mean is that of the ratio of sums over sizes.
    frame = homes(400, 1, lift=0.2)
    with connect() as engine:
        found = analysis(engine, frame)
    means, errors, sizes = {}, {}, {}
    for arm, mine in frame.groupby("arm"):
        grouped = mine.groupby("home").spend
        left = grouped.sum() - mine.spend.mean() * grouped.count()
        means[arm], sizes[arm] = mine.spend.mean(), len(left)
        errors[arm] = left.var(ddof=1) / len(left) / grouped.count().mean() ** 2
    estimate = found.find("spend", "mail", "difference")
    assert estimate.value == pytest.approx(means["mail"] - means["none"], rel=1e-9)
    assert estimate.se == pytest.approx(math.sqrt(sum(errors.values())), rel=1e-6)
    assert (estimate.n_control, estimate.n_arm) == (sizes["none"], sizes["mail"]) == (200, 200)
    assert found.find("spend", "mail", "cuped").se < estimate.se * 1.01
    refused = found.find("spend", "mail", "double_ml")
    assert refused.status is Status.INSUFFICIENT
    assert refused.note.startswith("double_ml cannot estimate metrics of kind mean over clusters")


def test_clusters_of_one_row_are_units():
    frame = homes(300, 2).drop_duplicates("home")
    plan = PLAN.model_copy(update={"estimators": ("difference", "cuped")})
    with connect() as engine:
        apart, together = analysis(engine, frame, plan, None), analysis(engine, frame, plan)
    for one, other in zip(apart.estimates, together.estimates, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-9)
        assert one.se == pytest.approx(other.se, rel=5e-3)  # p (1 - p) over n or n - 1


def false_positives(trials, clusters):
    """Claims over clusters, and what a test over rows would claim of the same data."""
    plan = PLAN.model_copy(update={"estimators": ("difference",), "covariates": ()})
    found = {"spend": 0, "bought": 0, "rows": 0}
    with connect() as engine:
        for trial in range(trials):
            frame = homes(clusters, trial)
            for estimate in analysis(engine, frame, plan).estimates:
                found[estimate.metric] += estimate.p_value <= 0.05
            none, mail = (frame.spend[frame.arm == arm] for arm in EVEN)
            se = math.sqrt(none.var() / len(none) + mail.var() / len(mail))
            found["rows"] += abs(mail.mean() - none.mean()) / se > 1.96
    return found


def _holds(found, trials):
    half = Z_999 * math.sqrt(0.05 * 0.95 / trials)
    for metric in ("spend", "bought"):
        assert abs(found[metric] / trials - 0.05) <= half
    return half


def test_no_claims_where_nothing_was_done():
    trials = 40
    _holds(false_positives(trials, 120), trials)


@pytest.mark.validation
def test_rows_would_claim_too_much_where_clusters_do_not():
    trials = 1_500
    found = false_positives(trials, 200)
    half = _holds(found, trials)
    assert found["rows"] / trials > 0.05 + half


def test_a_test_over_rows_fails_on_these_clusters():
    # 1,000 trials of the naive test alone, on the same generator.
    wrong, trials = 0, 1_000
    for trial in range(trials):
        frame = homes(100, trial)
        values, mail = frame.spend.to_numpy(), (frame.arm == "mail").to_numpy()
        a, b = values[mail], values[~mail]
        se = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        wrong += abs(a.mean() - b.mean()) / se > 1.96
    assert wrong / trials > 0.05 + Z_999 * math.sqrt(0.05 * 0.95 / trials)
