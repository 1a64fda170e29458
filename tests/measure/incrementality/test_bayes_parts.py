"""Pooled cohorts, conversions and revenue in two parts.

Simulation-based calibration: ranks of planted parameters among their draws are uniform.
"""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from measure.errors import InputError
from measure.incrementality import analyze
from measure.incrementality.pooling.outcomes import Parts, cohorts, misfit
from measure.incrementality.pooling.paired import (
    RATIO_SCALE,
    SD_SCALE,
    Amounts,
    Counts,
    Pairs,
    Priors,
    Sampled,
    sample_pairs,
)
from measure.methods import Bayes, PriorEffect
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Status
from tests.measure.incrementality.frames import FrameUnits

PRIORS = {
    "counts": Priors((-2.5, 0.1), (0.5, 0.3), (0.5, 0.3)),
    "amounts": Priors((4.0, 0.1), (0.5, 0.3), (0.5, 0.3)),
}
GROUPS, COHORTS, KEPT = 16, 4, 63


def simulated(kind, seed):
    """Average effect, effects and data from the model's own priors, cohorts of 20 to 100,000."""
    rng = np.random.default_rng([11, seed])
    p = PRIORS[kind]
    average = rng.normal(p.centre, p.scale)
    spread = np.abs(rng.normal(0, p.spread))
    level, effect = rng.normal(average[:, None], spread[:, None], (2, COHORTS))
    n = np.exp(rng.uniform(math.log(20), math.log(100_000), COHORTS)).round()
    n = np.stack([(0.3 * n).round(), n - (0.3 * n).round()])
    share = n[1] / n.sum(axis=0)
    predictor = np.stack([level - share * effect, level + (1 - share) * effect])
    if kind == "counts":
        y = rng.binomial(n.astype(int), 1 / (1 + np.exp(-predictor))).astype(float)
        return average[1], effect, Pairs(Counts(n, y), p)
    ratio = rng.normal(0, RATIO_SCALE)
    sd = abs(rng.normal(0, SD_SCALE)) * np.exp([[-ratio / 2], [ratio / 2]])
    mean = rng.normal(predictor, sd / np.sqrt(n))
    squares = sd**2 * rng.chisquare(n - 1)
    return average[1], effect, Pairs(Amounts(n, mean, squares), p)


def calibration(kind, runs):
    """Ranks of the average effect and of one cohort's, and how often 95 % intervals held."""
    ranks, held = [], []
    for run in range(runs):
        worlds = [simulated(kind, GROUPS * run + i) for i in range(GROUPS)]
        for (average, effect, _), found in zip(
            worlds, sample_pairs([world[2] for world in worlds], run), strict=True
        ):
            assert found.complaint == ""
            drawn = (found.predictor[:, :, 1] - found.predictor[:, :, 0]).reshape(-1, COHORTS)
            thin = np.linspace(0, len(drawn) - 1, KEPT).astype(int)
            ranks.append((found.average[..., 1].ravel()[thin] < average).sum())
            ranks.append((drawn[thin, 0] < effect[0]).sum())
            low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
            held += list((low <= effect) & (effect <= high))
    return np.array(ranks), float(np.mean(held))


def uniform(ranks, bins):
    """P-value of χ² for ranks 0 … 63 in equal bins."""
    from scipy.special import chdtrc

    counts = np.histogram(ranks, bins=bins, range=(0, KEPT + 1))[0]
    expected = len(ranks) / bins
    return float(chdtrc(bins - 1, ((counts - expected) ** 2 / expected).sum()))


@pytest.mark.xdist_group("pymc")
@pytest.mark.parametrize("kind", ["counts", "amounts"])
def test_simulation_based_calibration(kind):
    # Source: Talts et al. 2018. 32 ranks in 4 bins at α = .001; 64 intervals, 4 standard errors.
    ranks, held = calibration(kind, 1)
    assert uniform(ranks, 4) > 0.001
    assert held >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / 64)


@pytest.mark.validation
@pytest.mark.xdist_group("pymc")
@pytest.mark.parametrize("kind", ["counts", "amounts"])
def test_simulation_based_calibration_at_length(kind, record_property):
    ranks, held = calibration(kind, 26)
    p_values = [uniform(ranks[half::2], 16) for half in (0, 1)]
    record_property("model", kind)
    record_property("ranks uniform, p", ", ".join(f"{p:.3f}" for p in p_values))
    record_property("coverage", f"{100 * held:.1f} %")
    assert min(p_values) > 0.001
    assert 0.935 <= held <= 0.965


def shop(n=12_000, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"arm": rng.choice(["control", "mail"], n)})
    frame["region"] = rng.choice(list("abcd"), n)
    treated = (frame["arm"] == "mail").to_numpy()
    frame["bought"] = (rng.random(n) < np.where(treated, 0.12, 0.10)).astype(float)
    frame["spend"] = frame["bought"] * np.exp(rng.normal(4, 0.6, n))
    return frame


def analysed(frame, metrics, tmp_path=None, **bayes):
    plan = AnalysisPlan(
        arms={"control": 0.5, "mail": 0.5},
        control="control",
        metrics=metrics,
        cohorts=("region",),
        estimators=("difference", "hierarchical_bayes"),
        bayes=Bayes(**bayes),
    )
    return analyze(FrameUnits(frame, "arm", plan), plan, experiment="x", draws=tmp_path)


BOUGHT, SPEND = Metric(name="bought", kind="proportion"), Metric(name="spend")


@pytest.mark.xdist_group("pymc")
def test_two_parts_agree_with_the_difference_where_data_abound(tmp_path):
    found = analysed(shop(), (BOUGHT, SPEND), tmp_path, model="hurdle")
    for metric in ("bought", "spend"):
        plain = found.find(metric, "mail", "difference")
        parts = found.find(metric, "mail", "hierarchical_bayes")
        assert parts.value == pytest.approx(plain.value, abs=0.3 * plain.se)
        assert parts.se == pytest.approx(plain.se, rel=0.15)
        cohort = found.find(metric, "mail", "hierarchical_bayes", Cohort("region", "a"))
        assert cohort.status is Status.OK
        assert cohort.ci_low < cohort.value < cohort.ci_high
        assert cohort.se < found.find(metric, "mail", "difference", Cohort("region", "a")).se
    said = found.provenance["hierarchical_bayes"]
    assert said["models"] == {"bought": "binomial", "spend": "hurdle"}
    assert said["sampler"]["name"] == "nutpie"

    import arviz as az

    tree = az.from_zarr(tmp_path / "spend-mail-region.zarr")
    kept = tree["posterior"]["effect"]
    assert kept.dims == ("chain", "draw", "cohort")
    cohort = found.find("spend", "mail", "hierarchical_bayes", Cohort("region", "a"))
    assert float(kept.sel(cohort="a").mean()) == pytest.approx(cohort.value)


def test_the_default_is_exact_and_says_so(tmp_path):
    found = analysed(shop(), (BOUGHT, SPEND), tmp_path)
    said = found.provenance["hierarchical_bayes"]
    assert said["compute"] == {"bought": "exact", "spend": "exact"}
    assert said["sampler"] is None
    assert len(said["sensitivity"]) == 2 * 4
    assert said["draws"] == ["bought-mail-region.zarr", "spend-mail-region.zarr"]


def test_a_given_prior_pulls_and_is_shown():
    # Closed form: with a prior far narrower than the data the posterior is the prior.
    found = analysed(shop(), (SPEND,), effect=PriorEffect(mean=0.05, sd=1e-4))
    base = found.provenance["hierarchical_bayes"]["priors"][0]["average_effect_mean"] / 0.05
    overall = found.find("spend", "mail", "hierarchical_bayes")
    assert overall.value == pytest.approx(0.05 * base, rel=0.01)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="is for proportions, and 'spend' is a mean"):
        analysed(shop(), (SPEND,), model="binomial")
    with pytest.raises(InputError, match="Add --draws DIR"):
        analysed(shop(), (SPEND,), keep_draws=True)
    with pytest.raises(InputError, match="needs 5 concluded experiments"):
        analysed(shop(), (SPEND,), effect="registry")


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_share_that_nobody_or_everybody_has_is_degenerate(value):
    frame = shop(400)
    frame["bought"] = value
    found = analysed(frame, (BOUGHT,), model="binomial")
    for estimate in found.estimates:
        assert (estimate.status, estimate.value) == (Status.DEGENERATE, None)
        assert "does not vary" in estimate.note


def test_returns_are_no_hurdle():
    frame = shop()
    frame.loc[0, "spend"] = -5.0
    found = analysed(frame, (SPEND,), model="hurdle")
    refused = found.find("spend", "mail", "hierarchical_bayes")
    assert refused.status is Status.INVALID
    assert "negative" in refused.note


def test_amounts_that_are_not_lognormal_are_refused():
    # Closed form: two amounts, 1 and e⁴ in equal number, average 27.8; a lognormal with their
    # moments of logs (2 and 4 · 1000 / 999) would average e^(2 + 2.002) = 54.7, 97 % more.
    cell = np.array([[1000.0], [1000.0]])
    amounts = Amounts(cell, np.full((2, 1), 2.0), np.full((2, 1), 4000.0))
    assert "+97%" in misfit(amounts, ((1 + math.e**4) / 2, (1 + math.e**4) / 2))
    assert misfit(amounts, (math.e**4, math.e**4)) == ""


def drawn(seed, draws, mean, sd):
    """Draws of two cohorts without a model behind them."""
    rng = np.random.default_rng(seed)
    predictor = rng.normal(mean, 0.05, (4, draws, 2, 2))
    noise = np.abs(rng.normal(0, 1, (4, draws, 2)))
    return Sampled(predictor, noise, noise, sd, np.zeros((4, draws), bool), "")


def test_parts_of_different_length_are_put_together():
    # Closed form: at logit 0 and log amount 0 with sd 1 a unit is worth exp(½) / 2 in either arm.
    chances, amounts = drawn(0, 500, 0.0, None), drawn(1, 1000, 0.0, np.ones((4, 1000, 2)))
    pair = Pairs(Counts(np.ones((2, 2)), np.ones((2, 2))), PRIORS["counts"])
    found = cohorts(chances, amounts, Parts(pair), 0.95)
    assert found.draws["control"].shape == (4, 500, 2)
    assert found.draws["control"].mean() == pytest.approx(math.exp(0.5) / 2, rel=0.01)
    stopped = cohorts(
        dataclasses.replace(chances, complaint="R-hat nan"), amounts, Parts(pair), 0.95
    )
    assert stopped.posteriors == ()
    assert stopped.complaint == "R-hat nan"
