"""Worlds with a known effect through the shipped analysis: covered, refuted, reported."""

import numpy as np
import pytest

from measure.results import Outcome
from tests.measure.incrementality.observational.worlds import check, study, world

ALL = ("regression", "weighting", "double_ml", "doubly_robust")


def test_a_confounded_world_is_recovered_and_survives_every_refuter():
    found = study(world(3000, 1.0, 1), observational={"estimators": ALL})
    plain = next(row["unadjusted"] for row in check(found, "O10").evidence)
    assert plain > 1.5  # the difference without adjustment is wrong
    for name in ALL:
        one = found.find("y", "yes", name)
        assert one.ci_low < 1.0 < one.ci_high
        assert one.estimand == "ATE"
    for code in ("O1", "O3", "O4", "O5", "O6", "O7", "O8", "O9", "O10"):
        assert check(found, code).outcome is Outcome.PASSED, check(found, code).message


def test_intervals_cover_the_truth_as_often_as_they_say():
    # 99.9 % binomial band of 0.95 over 200 worlds: 178 to 199.
    hits = dict.fromkeys(("regression", "weighting"), 0)
    for seed in range(200):
        hits = {k: v + h for (k, v), h in zip(hits.items(), _covered(seed, 400), strict=True)}
    assert all(178 <= count <= 199 for count in hits.values()), hits


@pytest.mark.validation
def test_learners_cover_the_truth_as_often_as_they_say():
    # 99.9 % binomial band of 0.95 over 400 worlds: 364 to 394.
    names = ("double_ml", "doubly_robust")
    hits = dict.fromkeys(names, 0)
    for seed in range(400):
        hits = {
            k: v + h for (k, v), h in zip(hits.items(), _covered(seed, 1500, names), strict=True)
        }
    assert all(364 <= count <= 394 for count in hits.values()), hits


def _covered(seed: int, n: int, names=("regression", "weighting")) -> list[int]:
    """Whether each estimator's interval holds the truth, without the refuters' time."""
    from measure.incrementality.observational.comparing import ADJUSTING, Compared, inference
    from tests.measure.incrementality.observational.test_sensitivity import sample_of_frame

    units = sample_of_frame(world(n, 1.0, 1000 + seed))
    bare = Compared("y", "yes", None, units, 0.95)
    found = []
    for name in names:
        effects = ADJUSTING[name](units)
        told = inference(bare, effects, effects.everybody)
        found.append(int(told.ci_low < 1.0 < told.ci_high))
    return found


def test_placebos_are_centred_on_zero():
    scores = []
    for seed in range(20):
        found = study(world(500, 1.0, seed))
        assert check(found, "O5").outcome is Outcome.PASSED
        scores += [row["standard_errors"] for row in check(found, "O5").evidence]
    # Scores of a sound estimator are standard normal; each world's two share nothing but the data.
    assert abs(np.mean(scores)) < 3.3 / np.sqrt(20)
    assert np.std(scores) < 1.6


def test_a_confounder_nobody_measured_is_reported():
    # No effect at all: what is found is the hidden confounder's, as strong as the measured ones.
    found = study(world(3000, 0.0, 5, hidden=0.35))
    one = found.find("y", "yes", "regression")
    assert one.ci_low > 0  # a false effect, and nothing in the data can tell
    flagged = check(found, "O8")
    assert flagged.outcome is Outcome.FLAGGED
    assert "as strong as a leaves" in flagged.message


def test_measuring_the_confounder_takes_the_false_effect_away():
    found = study(world(3000, 0.0, 5, hidden=0.35), covariates=("a", "b", "c", "u"))
    one = found.find("y", "yes", "regression")
    assert one.ci_low < 0 < one.ci_high


def test_an_instrument_finds_what_adjustment_cannot():
    rng = np.random.default_rng(8)
    frame = world(4000, 0.0, 8, hidden=1.0)
    coin = (rng.random(4000) < 0.5).astype(float)
    chance = 1 / (1 + np.exp(-(2.5 * coin - 1 + frame["a"] * 0.3 + frame["u"])))
    treated = rng.random(4000) < chance
    y = 0.7 * treated + frame["a"] + 1.5 * frame["u"] + rng.normal(size=4000)
    frame = frame.assign(arm=np.where(treated, "yes", "no"), y=y, coin=coin)
    found = study(frame, covariates=("a", "coin"), observational={"instruments": ("coin",)})
    for name in ("two_stage_least_squares", "doubly_robust_instrument"):
        one = found.find("y", "yes", name)
        assert one.ci_low < 0.7 < one.ci_high
        assert one.estimand == "CACE"
        assert one.relative is None
    assert check(found, "O11").outcome is Outcome.PASSED
    assert check(found, "O5").outcome is Outcome.NOT_APPLICABLE


def test_cohorts_get_effects_of_their_own():
    frame = world(4000, 1.0, 9)
    extra = ((frame["segment"] == "new") & (frame["arm"] == "yes")) * 1.0
    found = study(
        frame.assign(y=frame["y"] + extra), cohorts=("segment",), observational={"estimators": ALL}
    )
    for estimate in found.estimates:
        if estimate.cohort is None:
            continue
        truth = 2.0 if estimate.cohort.value == "new" else 1.0
        assert abs(estimate.value - truth) < 4 * estimate.se
        assert estimate.estimand == "CATE"
    assert {family.dimension for family in found.multiplicity} == {"segment"}


def test_swapping_the_arms_turns_the_sign():
    frame = world(800, 1.0, 4)
    swapped = frame.assign(arm=frame["arm"].map({"yes": "no", "no": "yes"}))
    for name in ("regression", "weighting"):
        one, other = (study(f).find("y", "yes", name) for f in (frame, swapped))
        assert one.value == pytest.approx(-other.value, rel=1e-6)
        assert one.se == pytest.approx(other.se, rel=1e-6)
