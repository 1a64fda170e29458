"""Effects over weak links: attenuated as predicted, and right again once corrected."""

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from measure.engine.connection import connect
from measure.errors import DataError, InputError, UnknownName
from measure.incrementality.linked import linked_effects
from measure.people.attenuation import WrongLinks, corrected
from measure.plan import AnalysisPlan, Metric, Source
from measure.results import Estimand, Estimate, Status
from tests.data import data_file

ARMS = {"No E-Mail": 1 / 2, "Womens E-Mail": 1 / 2}
PLAN = AnalysisPlan(
    arms=ARMS,
    control="No E-Mail",
    metrics=(
        Metric(name="visit", kind="proportion", column="visit", role="primary"),
        Metric(name="spend", kind="mean", column="spend"),
    ),
)
SOURCE = Source(path="linked.parquet", arm="segment")
RATES = (0.0, 0.1, 0.2, 0.3)


@pytest.fixture(scope="module")
def hillstrom():
    table = pc.read_csv(data_file("hillstrom.csv"))
    kept = np.isin(np.asarray(table["segment"]), list(ARMS))
    names = ("segment", "visit", "spend")
    return {name: np.asarray(table[name])[kept] for name in names}


def corrupted(data, rate, seed):
    """Wrong links at a rate, each with probability 1 − p; p is 1, or 1 − 2 · rate, evenly.

    A wrong link brings somebody else's outcome, whoever it is.
    """
    rng = np.random.default_rng(seed)
    n = len(data["visit"])
    p = np.where(rng.random(n) < 0.5, 1.0, 1 - 2 * rate)
    wrong, other = rng.random(n) > p, rng.integers(0, n, n)
    found = {name: np.where(wrong, data[name][other], data[name]) for name in ("visit", "spend")}
    return {"segment": data["segment"], **found, "p": p}


def effects(data, folder, thresholds=(0.0,), source=SOURCE):
    pq.write_table(pa.table(data), folder / "linked.parquet")
    with connect() as engine:
        return linked_effects(
            engine, source, PLAN, "p", folder, experiment="linked", thresholds=thresholds
        )


def difference(data, metric="visit"):
    treated = data["segment"] == "Womens E-Mail"
    return data[metric][treated].mean() - data[metric][~treated].mean()


@pytest.mark.parametrize("rate", RATES)
def test_the_effect_attenuates_as_predicted_and_the_correction_undoes_it(hillstrom, tmp_path, rate):
    """Truth: the difference on the file itself, all links being right (NumPy)."""
    truth, share = difference(hillstrom), None
    reported = []
    for seed in range(2):
        (found,) = effects(corrupted(hillstrom, rate, seed), tmp_path)
        share = found.wrong.share
        assert share == pytest.approx(rate, abs=0.01)
        visit, right = found.estimates[0], found.corrected[0]
        reported.append(visit.value)
        assert (visit.metric, right.estimator) == ("visit", "difference_corrected")
        assert right.value == pytest.approx(visit.value / (1 - share))
        assert right.ci_low < truth < right.ci_high
        assert right.ci_high - right.ci_low >= visit.ci_high - visit.ci_low
    # Whose outcome came in is noise around (1 − e) · truth: under four of its standard errors.
    noise = 4 * visit.se * np.sqrt(2 * rate) / np.sqrt(len(reported)) + 1e-12
    assert np.mean(reported) == pytest.approx((1 - rate) * truth, abs=noise)
    if rate == 0.3:
        assert np.mean(reported) < 0.85 * truth


@pytest.mark.validation
@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_the_corrected_interval_covers(hillstrom, tmp_path, rate):
    """200 resamples of Hillstrom, links corrupted anew in each; truth: the whole file."""
    truth, covered, naive, runs = difference(hillstrom), 0, 0, 200
    for seed in range(runs):
        rng = np.random.default_rng([seed, 1])
        # Within arms: sizes drawn by chance break the sample ratio once in a thousand times.
        arms = (np.flatnonzero(hillstrom["segment"] == arm) for arm in ARMS)
        chosen = np.concatenate([rng.choice(places, len(places)) for places in arms])
        again = {name: column[chosen] for name, column in hillstrom.items()}
        (found,) = effects(corrupted(again, rate, seed), tmp_path)
        visit, right = found.estimates[0], found.corrected[0]
        covered += right.ci_low < truth < right.ci_high
        naive += visit.ci_low < truth < visit.ci_high
    # Binomial band of 200 draws at 0.95, 99.9 %: 0.95 ± 3.3 · 0.0154.
    assert 0.899 <= covered / runs <= 1.0
    if rate == 0.3:
        assert naive / runs < 0.3


def test_thresholds_leave_out_the_doubtful(hillstrom, tmp_path):
    data = corrupted(hillstrom, 0.2, 3)
    low, high, none = effects(data, tmp_path, (0.5, 0.9, 1.0))[:3]
    sure = data["p"] >= 0.9
    assert (low.units, low.left_out) == (len(sure), 0)
    assert (high.units, high.left_out) == (sure.sum(), (~sure).sum())
    assert high.wrong.share == 0
    assert none.units == high.units
    only = {name: column[sure] for name, column in data.items()}
    assert high.estimates[0].value == pytest.approx(difference(only), abs=1e-12)
    assert high.corrected[0].value == high.estimates[0].value
    assert [e.metric for e in low.estimates] == ["visit", "spend"]


def test_no_link_at_all_is_insufficient(hillstrom, tmp_path):
    data = corrupted(hillstrom, 0.2, 3) | {"p": np.full(len(hillstrom["visit"]), 0.4)}
    (found,) = effects(data, tmp_path, (0.5,))
    assert (found.units, found.status, found.estimates) == (0, Status.INSUFFICIENT, ())


@pytest.mark.parametrize("value", [None, -0.1, 1.1, float("nan")])
def test_a_probability_that_is_none_is_refused(hillstrom, tmp_path, value):
    data = corrupted(hillstrom, 0.2, 3)
    data["p"] = [value, *data["p"][1:].tolist()]
    with pytest.raises(DataError, match="missing or not between 0 and 1 in 1 rows"):
        effects(data, tmp_path)


def test_bad_input_is_named(hillstrom, tmp_path):
    data = corrupted(hillstrom, 0.0, 1)
    with pytest.raises(InputError, match="threshold"):
        effects(data, tmp_path, (1.5,))
    with pytest.raises(UnknownName, match="q"), connect() as engine:
        linked_effects(engine, SOURCE, PLAN, "q", tmp_path, experiment="x")


def estimate(**changes):
    fields = {
        "metric": "spend", "arm": "a", "control": "c", "cohort": None, "estimand": Estimand.ITT,
        "estimator": "difference", "value": 0.8, "se": 0.1, "ci_low": 0.6, "ci_high": 1.0,
        "ci_level": 0.95, "p_value": 0.001, "relative": 0.1, "relative_ci_low": 0.0,
        "relative_ci_high": 0.2, "n_control": 10, "n_arm": 10, "status": Status.OK,
    }  # fmt: skip
    return Estimate(**(fields | changes))


def test_the_correction_in_closed_form():
    """e = 0.2 divides all by 0.8; with a variance v of e, se² = (s² + β² v) / (1 − e)²."""
    plain = corrected(estimate(), WrongLinks(100, 0.2, 0.0))
    assert (plain.value, plain.se) == pytest.approx((1.0, 0.125))
    assert (plain.ci_low, plain.ci_high) == pytest.approx((0.75, 1.25))
    assert plain.p_value == 0.001
    assert plain.relative is None
    unsure = corrected(estimate(), WrongLinks.of(100, 20.0, 16.0))
    assert unsure.se == pytest.approx(np.sqrt(0.1**2 + 1.0**2 * 0.0016) / 0.8)
    assert unsure.ci_high - unsure.value == pytest.approx(0.25 * unsure.se / 0.125)


def test_too_many_wrong_links_withhold_the_number():
    hopeless = corrected(estimate(), WrongLinks(100, 0.6, 0.001))
    assert (hopeless.status, hopeless.value) == (Status.INSUFFICIENT, None)
    assert "60 % of the links" in hopeless.note
    nothing = estimate(value=None, se=None, ci_low=None, ci_high=None, status=Status.DEGENERATE)
    assert corrected(nothing, WrongLinks(1, 0.2, 0.1)).status is Status.DEGENERATE
    with pytest.raises(InputError, match="sums over links"):
        WrongLinks.of(10, 11.0, 1.0)
