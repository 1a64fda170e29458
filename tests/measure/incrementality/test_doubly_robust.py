"""EconML's LinearDRLearner as it is used here: what goes round it is needed, and what comes out
equals closed forms."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.dummy import DummyClassifier, DummyRegressor

from measure.incrementality.borders import econml_border
from measure.incrementality.observational import learners as observational
from measure.incrementality.observational.sample import Sample as Observed
from measure.incrementality.orthogonal import models
from measure.incrementality.orthogonal.learners import Dummies, Ones, Sample, folds

N = 900


def sample(arms=2):
    rng = np.random.default_rng(5)
    treatment = rng.permutation(np.arange(N) % arms)
    region = rng.integers(0, 2, N)
    covariates = rng.normal(size=(N, 2))
    outcome = treatment * (1 + region) + covariates[:, 0] ** 2 + rng.normal(size=N)
    features = np.column_stack([np.zeros(N), region]).astype(float)
    return Sample(outcome, treatment.astype(np.int64), features, covariates, np.empty(0), 3)


def scores(units, predicted):
    """AIPW scores (n, arms), the propensity the share of each arm in the other folds."""
    arms = int(units.treatment.max()) + 1
    found = np.zeros((N, arms))
    dealt = folds(units.seed).split(np.zeros(N), units.treatment)
    for train, test in dealt:
        for arm in range(arms):
            share = np.mean(units.treatment[train] == arm)
            m = predicted(train, test, arm)
            here = units.treatment[test] == arm
            found[test, arm] = m + here * (units.outcome[test] - m) / share
    return found


@pytest.mark.parametrize("arms", [2, 3])
def test_effects_and_errors_equal_statsmodels_on_scores_by_hand(monkeypatch, arms):
    # Nuisances whose predictions are known: the mean of each arm in the other folds. The final
    # stage is then least squares of differences of scores on dummies, errors HC1.
    monkeypatch.setattr(models, "trees", lambda *_: DummyRegressor())
    units = sample(arms)

    def mean_of_arm(train, test, arm):
        # EconML's regression sees arms as dummies, so a model without them predicts one mean.
        return np.full(len(test), units.outcome[train].mean())

    by_hand = scores(units, mean_of_arm)
    with econml_border():
        fitted = models.doubly_robust(units)
        everybody, cohorts = fitted.effects(Ones()), fitted.effects(Dummies(0, np.array([0, 1])))
    region = (units.features[:, [1]] == [0, 1]).astype(float)
    for arm in range(1, arms):
        apart = by_hand[:, arm] - by_hand[:, 0]
        for design, (point, error) in ((np.ones((N, 1)), everybody), (region, cohorts)):
            ols = sm.OLS(apart, design).fit(cov_type="HC1")
            assert point[arm - 1] == pytest.approx(ols.params, abs=1e-10)
            assert error[arm - 1] == pytest.approx(ols.bse, rel=1e-9)


def test_residuals_are_outcomes_minus_out_of_fold_predictions(monkeypatch):
    # EconML shows no predictions, so they are got back from the scores: by hand the same.
    monkeypatch.setattr(models, "trees", lambda *_: DummyRegressor())
    units = sample()
    with econml_border():
        residual = models.doubly_robust(units).residual
    expected = np.empty(N)
    for train, test in folds(units.seed).split(np.zeros(N), units.treatment):
        expected[test] = units.outcome[test] - units.outcome[train].mean()
    assert residual == pytest.approx(expected, abs=1e-9)


def fitted_econml(features):
    from econml.dr import LinearDRLearner

    units = sample()
    model = LinearDRLearner(
        model_propensity=DummyClassifier(strategy="prior"),
        model_regression=DummyRegressor(),
        cv=3,
        random_state=1,
    )
    model.fit(units.outcome, units.treatment, X=features, W=units.covariates, cache_values=True)
    return model


def test_the_way_round_econml_is_still_needed():
    # Fails once EconML can do without: then the final stage may be asked for its average, and its
    # cached values need not be read.
    frame = pd.DataFrame({"region": sample().features[:, 1]})
    with econml_border():
        model = fitted_econml(frame)
        with pytest.raises(AttributeError, match="reshape"):
            model.ate_interval(frame)
        assert not hasattr(model, "residuals_")
        # The way round: as numbers it runs, and says what averages over the units say.
        plain = fitted_econml(frame.to_numpy())
        low, high = plain.ate_interval(frame.to_numpy())
        assert low < plain.ate(frame.to_numpy()) < high


def test_an_average_of_scores_knows_the_spread_of_effects_that_ate_interval_leaves_out():
    # Chernozhukov et al. 2018, section 5.1: the variance of the average effect is that of the
    # scores. An interval for effects at given covariates takes those as fixed and is shorter.
    rng = np.random.default_rng(8)
    region = rng.integers(0, 2, N).astype(float)
    treatment = rng.permutation(np.arange(N) % 2)
    outcome = 20 * region * treatment + rng.normal(size=N)
    features = np.column_stack([np.zeros(N), region])
    units = Sample(outcome, treatment, features, region[:, None], np.empty(0), 3)
    with econml_border():
        _, se = models.doubly_robust(units).effects(Ones())
    # Effects of 0 and 20 for half of the units each: their average alone has this error.
    assert se[0, 0] > 0.95 * 10 / np.sqrt(N)


def test_observational_scores_equal_weighting_by_hand_where_covariates_say_nothing():
    # One constant covariate: the propensity is a share and the prediction a mean, in each fold, so
    # the estimate is the difference in means up to what folds differ in (their means are near).
    rng = np.random.default_rng(2)
    treated = rng.permutation(np.arange(N) % 2).astype(float)
    outcome = 0.5 * treated + rng.normal(size=N)
    held = {"same": np.ones((N, 1))}
    found = observational.doubly_robust(
        Observed(outcome, treated, held, np.empty((N, 0)), {}, 4, deals=1)
    )
    plain = sm.OLS(outcome, sm.add_constant(treated)).fit(cov_type="HC1")
    assert found.everybody[0] == pytest.approx(plain.params[1], abs=0.1 * plain.bse[1])
    assert found.everybody[1] == pytest.approx(plain.bse[1], rel=0.02)
