import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from measure.errors import InputError
from measure.incrementality import analyze
from measure.incrementality.pooling.additive import (
    Crossed,
    averages,
    indicators,
    pool_crossed,
    posterior,
    shifts,
)
from measure.incrementality.pooling.exact import pool_exactly
from measure.incrementality.pooling.values import Group, Observed
from measure.methods import Bayes
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Status
from tests.measure.incrementality.frames import FrameUnits

LEVEL = 0.95
PRIORS = (0.01, 0.3, 0.03)
TOGETHER = Bayes(dimensions="together")
REGIONS, LANGUAGES = 9, 3


def observed(n):
    return [Observed(0.05, 0.02, 0.5, 1e-4)] * n


def crossed(seed, sizes, spread=0.03):
    rng = np.random.default_rng(seed)
    codes = np.stack([axis.ravel() for axis in np.meshgrid(*map(range, sizes))], axis=1)
    se = rng.uniform(0.01, 0.05, len(codes))
    planted = sum(rng.normal(0, spread, n)[codes[:, k]] for k, n in enumerate(sizes))
    found = Crossed(0.05 + planted + rng.normal(0, se), se, codes, sizes, *PRIORS)
    return found, averages(codes, sizes, rng.uniform(1, 9, len(codes)))


def test_one_dimension_is_what_it_was():
    # Reference: the posterior of one dimension, computed in another parametrisation.
    model, _ = crossed(0, (7,))
    rows = averages(model.codes, model.sizes, np.ones(7))
    ours, moves = pool_crossed(model, rows, observed(7), LEVEL)
    group = Group(model.estimate, model.se, *PRIORS)
    (theirs,) = pool_exactly([group], [observed(7)], LEVEL)
    for mine, other in zip(ours.posteriors, theirs.posteriors, strict=True):
        for name in ("value", "sd", "ci_low", "ci_high", "relative_ci_low", "relative_ci_high"):
            assert getattr(mine, name) == pytest.approx(getattr(other, name), abs=1e-8)
    for mine, other in zip(shifts(moves, slice(0, 7)), theirs.shifts, strict=True):
        assert (mine.prior, mine.factor, mine.member) == (other.prior, other.factor, other.member)
        assert mine.shift == pytest.approx(other.shift, abs=1e-6)
        assert mine.average == pytest.approx(other.average, abs=1e-6)


def test_two_dimensions_equal_a_dense_grid():
    # Reference: estimates are jointly normal with covariance R + a² 11′ + Σ τₖ² ZₖZₖ′; the two
    # spreads are summed over 120 × 120 midpoints, and the effects conditioned on the estimates.
    model, rows = crossed(1, (3, 2))
    edge = 0.15
    axis = (np.arange(120) + 0.5) * edge / 120
    tau = np.stack([a.ravel() for a in np.meshgrid(axis, axis, indexing="ij")], axis=1)
    centre, scale, spread = PRIORS
    design = indicators(model.codes, model.sizes)
    prior = np.concatenate(
        [np.full((len(tau), 1), scale**2), np.repeat(tau**2, model.sizes, axis=1)], axis=1
    )
    shared = np.einsum("cp,tp,dp->tcd", design, prior, design)
    total = shared + np.diag(model.se**2)
    residual = model.estimate - centre
    solved = np.linalg.solve(total, np.broadcast_to(residual, (len(tau), 6))[..., None])[..., 0]
    log_density = -0.5 * ((tau / spread) ** 2).sum(axis=1) - 0.5 * np.linalg.slogdet(total)[1]
    log_density -= 0.5 * solved @ residual
    mass = np.exp(log_density - log_density.max())
    mass /= mass.sum()
    crossing = np.einsum("rp,tp,cp->trc", rows, prior, design)
    mean = centre + np.einsum("trc,tc->tr", crossing, solved)
    before = np.einsum("rp,tp,rp->tr", rows, prior, rows)
    gone = np.linalg.solve(total, np.swapaxes(crossing, 1, 2))
    sd = np.sqrt(before - np.einsum("trc,tcr->tr", crossing, gone))
    found, _ = pool_crossed(model, rows, observed(5), LEVEL)
    for j, p in enumerate(found.posteriors):
        assert p.value == pytest.approx(mass @ mean[:, j], abs=1e-3 * p.sd)
        for end, share in ((p.ci_low, 0.025), (p.ci_high, 0.975)):
            assert mass @ ndtr((end - mean[:, j]) / sd[:, j]) == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize(
    ("sizes", "nodes", "within"), [((2, 9), 64, 1e-6), ((2, 30), 64, 1e-6), ((2, 3, 4), 36, 2e-3)]
)
def test_quadrature_has_converged(sizes, nodes, within):
    model, rows = crossed(2, sizes, spread=0.002)
    (ours, found), (fine, finer) = posterior(model, rows), posterior(model, rows, nodes)
    sd = np.sqrt(fine @ finer.spread)
    assert np.abs((ours @ found.centre - fine @ finer.centre) / sd).max() < within


def test_priors_move_posteriors_as_refitting_does():
    # Reference: the model computed anew with the other scales.
    model, rows = crossed(3, (4, 3))
    found, moves = pool_crossed(model, rows, observed(7), LEVEL)
    for prior, other in (
        (0, Crossed(model.estimate, model.se, model.codes, model.sizes, 0.01, 0.15, 0.03)),
        (3, Crossed(model.estimate, model.se, model.codes, model.sizes, 0.01, 0.3, 0.06)),
    ):
        again, _ = pool_crossed(other, rows, observed(7), LEVEL)
        for j, (one, two) in enumerate(zip(found.posteriors, again.posteriors, strict=True)):
            assert moves[prior, j] == pytest.approx((two.value - one.value) / one.sd, abs=1e-5)


def plan(bayes=TOGETHER, **more):
    given = {
        "arms": {"control": 0.5, "mail": 0.5},
        "control": "control",
        "metrics": (Metric(name="spend"),),
        "cohorts": ("region", "language"),
        "estimators": ("difference", "hierarchical_bayes"),
        "bayes": bayes,
    }
    return AnalysisPlan(**{**given, **more})


def world(seed, n=3_000, spreads=None):
    """Language follows region in three of four units; effects add up. With their true averages.

    Without ``spreads`` of the effects of regions and languages, they are drawn from the prior of
    the model, so that intervals hold on average over worlds.
    """
    rng = np.random.default_rng([23, seed])
    region = rng.integers(REGIONS, size=n)
    language = np.where(rng.random(n) < 0.75, region % LANGUAGES, rng.choice(LANGUAGES, n))
    spread = spreads or np.abs(rng.normal(0, 0.1, 2))
    by_region, by_language = rng.normal(0, spread[0], REGIONS), rng.normal(0, spread[1], LANGUAGES)
    effect = 0.1 + by_region[region] + by_language[language]
    arm = rng.permutation(n) < n // 2
    spend = rng.normal(5 + 0.1 * language, 1.0, n) + effect * arm
    names = {"region": np.char.add("r", region.astype(str))}
    names["language"] = np.char.add("l", language.astype(str))
    frame = pd.DataFrame({"spend": spend, "arm": np.where(arm, "mail", "control"), **names})
    truth = {
        Cohort(d, str(v)): float(effect[frame[d] == v].mean()) for d in names for v in set(names[d])
    }
    return frame, truth


def analysed(frame, of=None):
    of = of or plan()
    return analyze(FrameUnits(frame, "arm", of), of, experiment="x")


def pooled(analysis, metric="spend"):
    return {
        e.cohort: e
        for e in analysis.estimates
        if e.estimator == "hierarchical_bayes" and e.metric == metric
    }


def test_planted_effects_are_covered():
    # Band: 100 worlds × 12 cohorts at 95 %. Cohorts of a world share its luck; the share that held
    # per world gives the standard error, 3 of them either way.
    held = []
    for seed in range(100):
        frame, truth = world(seed)
        found = pooled(analysed(frame))
        held.append(
            np.mean([found[c].ci_low <= true <= found[c].ci_high for c, true in truth.items()])
        )
    assert abs(np.mean(held) - LEVEL) < 3 * np.std(held) / math.sqrt(len(held))


def test_where_dimensions_overlap_together_is_closer_than_apart():
    # Languages differ and regions hardly do: apart, regions seem to differ by the languages in
    # them. Measured over 30 worlds: 0.69 of the squared error.
    errors = {"together": 0.0, "apart": 0.0}
    for seed in range(30):
        frame, truth = world(seed, spreads=(0.02, 0.15))
        found, apart = pooled(analysed(frame)), pooled(analysed(frame, plan(Bayes())))
        assert found[None] == apart[None]
        for cohort, true in truth.items():
            errors["together"] += (found[cohort].value - true) ** 2
            errors["apart"] += (apart[cohort].value - true) ** 2
    assert errors["together"] < 0.85 * errors["apart"]


def test_a_lucky_variance_does_not_decide():
    # No effect, amounts with a long tail, a small holdout: combinations of few units seem sure of
    # whatever they hold. By their own variances alone cohorts lie 2.1 sd above everybody here.
    lean = []
    for seed in range(12):
        frame, truth = world(seed, n=4_000)
        rng, n = np.random.default_rng([5, seed]), len(frame)
        frame["spend"] = np.where(rng.random(n) < 0.15, rng.lognormal(2, 1, n), 0.0)
        frame["arm"] = np.where(rng.permutation(n) < 0.15 * n, "control", "mail")
        found = pooled(analysed(frame, plan(arms={"control": 0.15, "mail": 0.85})))
        usable = [found[c] for c in truth if found[c].status is Status.OK]
        lean.append(np.mean([e.value / e.se for e in usable]) - found[None].value / found[None].se)
    assert abs(np.mean(lean)) < 0.35


def test_three_dimensions():
    frame, _ = world(7)
    frame["age"] = np.where(np.arange(len(frame)) % 3, "old", "young")
    three, two = (pooled(analysed(frame, plan(cohorts=("region", "language", *more))))
                  for more in (("age",), ()))  # fmt: skip
    assert three[Cohort("age", "old")].status is Status.OK
    # Age does nothing, so naming it moves the others by less than half a standard deviation.
    for cohort, e in two.items():
        assert abs(three[cohort].value - e.value) < 0.5 * e.se


def test_swapping_arms_and_renaming_change_nothing_else():
    frame, truth = world(1, 2_000)
    found = pooled(analysed(frame))
    swapped = frame.assign(arm=frame.arm.map({"mail": "control", "control": "mail"}))
    turned = pooled(analysed(swapped))
    renamed = frame.assign(region=frame.region.map({f"r{i}": f"z{9 - i}" for i in range(REGIONS)}))
    other = pooled(analysed(renamed, plan(cohorts=("language", "region"))))
    # The prior's scale is that of the control arm; it moves these posteriors by far less than this.
    for cohort in truth:
        assert turned[cohort].value == pytest.approx(-found[cohort].value, abs=2e-3)
        name = cohort.value
        if cohort.dimension == "region":
            name = f"z{9 - int(name[1:])}"
        same = other[Cohort(cohort.dimension, name)]
        for field in ("value", "ci_low", "ci_high"):
            assert getattr(same, field) == pytest.approx(getattr(found[cohort], field), abs=1e-9)


def test_small_combinations_are_left_out_and_counted():
    frame, _ = world(2, 2_000)
    lonely = frame.iloc[:1].assign(region="r4", language="l9")
    analysis = analysed(pd.concat([frame, lonely], ignore_index=True))
    found = pooled(analysis)
    assert found[Cohort("language", "l9")].status is Status.INSUFFICIENT
    counted = analysis.provenance["hierarchical_bayes"]["combinations"]
    assert counted == [{"metric": "spend", "arm": "mail", "used": 27, "left_out": 1}]
    assert found[Cohort("region", "r4")].note.startswith("1 of 28 combinations of cohorts left out")
    said = analysis.provenance["hierarchical_bayes"]["sensitivity"]
    assert {row["dimension"] for row in said} == {"region", "language"}


def test_nothing_left_is_said():
    # Every combination holds one unit of each arm.
    n = 40
    frame = pd.DataFrame({"arm": ["control", "mail"] * n, "spend": np.arange(2.0 * n) % 7})
    frame["region"] = [f"r{i // 2 % 2}" for i in range(2 * n)]
    frame["language"] = [f"l{i // 2}" for i in range(2 * n)]
    found = pooled(analysed(frame))
    one = found[Cohort("region", "r0")]
    assert one.status is Status.INSUFFICIENT
    assert one.note.startswith("nothing to pool: 40 of 40 combinations")


def test_ratios_and_shares_are_pooled_together():
    frame, _ = world(3, 4_000)
    rng = np.random.default_rng(3)
    frame["visits"] = 1.0 + rng.poisson(2.0, len(frame))
    frame["bought"] = (rng.random(len(frame)) < 0.1).astype(float)
    metrics = (
        Metric(name="per visit", kind="ratio", column="spend", denominator="visits"),
        Metric(name="bought", kind="proportion"),
        Metric(name="median", kind="quantile", column="spend", quantile=0.5),
    )
    analysis = analysed(frame, plan(metrics=metrics))
    for name in ("per visit", "bought"):
        cohorts = pooled(analysis, name)
        plain = {e.cohort: e for e in analysis.estimates
                 if e.estimator == "difference" and e.metric == name}  # fmt: skip
        for cohort, e in cohorts.items():
            assert e.status is Status.OK
            assert e.se < 1.1 * plain[cohort].se
            assert abs(e.value - plain[cohort].value) < 4 * plain[cohort].se
    refused = pooled(analysis, "median")[Cohort("region", "r0")]
    assert refused.status is Status.INSUFFICIENT
    assert refused.note.startswith("dimensions are not pooled together for a quantile")


@pytest.mark.parametrize(
    ("bayes", "words"),
    [
        ({"model": "auto"}, "is for the normal model"),
        ({"model": "hurdle"}, "is for the normal model"),
        ({"compute": "sample"}, "is integrated, not sampled"),
    ],
)
def test_what_one_model_does_not_have_is_refused(bayes, words):
    frame, _ = world(4, 400)
    frame["bought"] = (frame.spend > 5).astype(float)
    metrics = (Metric(name="bought", kind="proportion"), Metric(name="spend"))
    asked = plan(Bayes(dimensions="together", **bayes), metrics=metrics)
    with pytest.raises(InputError, match=words):
        analysed(frame, asked)


def test_too_many_dimensions_cohorts_and_kept_draws_are_refused(tmp_path):
    frame, _ = world(5, 1_000)
    for name in ("a", "b"):
        frame[name] = frame.region
    with pytest.raises(InputError, match="3 dimensions of cohorts at most; there are 4"):
        analysed(frame, plan(cohorts=("region", "language", "a", "b")))
    frame["a"] = [f"a{i % 200}" for i in range(len(frame))]
    with pytest.raises(InputError, match="150 cohorts at most; there are 209"):
        analysed(frame, plan(cohorts=("region", "a")))
    with pytest.raises(InputError, match="keeps no draws"):
        analyze(FrameUnits(frame, "arm", plan()), plan(), experiment="x", draws=tmp_path)


def test_one_dimension_together_is_apart():
    frame, _ = world(6, 1_000)
    one = plan(cohorts=("region",))
    assert pooled(analysed(frame, one)) == pooled(
        analysed(frame, plan(Bayes(), cohorts=("region",)))
    )


def test_a_plan_that_does_not_ask_keeps_its_hash():
    assert Bayes(dimensions="apart").content_hash() == Bayes().content_hash()
    assert plan(Bayes()).content_hash() != plan().content_hash()
