"""Effects over time, from long tables that are brought along, against closed forms and analyze."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from measure.engine.connection import connect
from measure.engine.units import open_source, unit_table
from measure.errors import DataError, InputError, UnknownName
from measure.incrementality import analyze
from measure.incrementality.over_time import effects_over_time
from measure.journeys.brought_over_time import brought_over_time
from measure.moments import Moments
from measure.plan import AnalysisPlan, Metric, Source
from measure.results import Status
from tests.measure.incrementality.frames import Counted

SOURCE = Source(table="long", arm="arm", id="unit", period="week")


def plan(**changes):
    base = {
        "arms": {"none": 0.5, "mail": 0.5},
        "control": "none",
        "metrics": (Metric(name="spend"), Metric(name="visit", kind="proportion")),
    }
    return AnalysisPlan(**(base | changes))


def long_table(rng, units=400, effects=(0.0,) * 6, share=0.5):
    """Outcomes of units that differ for good, so that their periods are correlated."""
    arm = np.arange(units) < units * share
    level = rng.normal(0, 1, units)
    frames = []
    for week, effect in enumerate(effects, start=1):
        spend = 10 + level + rng.normal(0, 1, units) + effect * arm
        visit = (rng.random(units) < 0.3).astype(float)
        frames.append(
            pd.DataFrame(
                {
                    "unit": [f"u{i}" for i in range(units)],
                    "arm": np.where(arm, "mail", "none"),
                    "week": week,
                    "spend": np.round(spend, 2),
                    "visit": visit,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def curves(frame, chosen=None, source=SOURCE):
    chosen = chosen or plan()
    with connect() as engine:
        engine.register("long", pa.Table.from_pandas(frame, preserve_index=False))
        panel = brought_over_time(engine, source, chosen, None)
        return effects_over_time(panel, experiment="test", by="week")


def test_periods_and_trend_are_welch_tests_of_unit_summaries():
    # Oracle: scipy's Welch test on one number per unit.
    frame = long_table(np.random.default_rng(1), effects=(1.0, 0.5, 0.0, 0.3))
    found = curves(frame).curves[0]
    wide = frame.pivot_table(index=["arm", "unit"], columns="week", values="spend")
    slope = wide.apply(lambda row: np.polyfit(range(4), row, 1)[0], axis=1)
    late = wide[[3, 4]].mean(axis=1) - wide[[1, 2]].mean(axis=1)
    summaries = [
        (found.periods[1], wide[2]),
        (found.cumulative[2], wide[[1, 2, 3]].sum(axis=1)),
        (found.trend, slope),
        (found.late, late),
    ]
    for effect, values in summaries:
        oracle = stats.ttest_ind(values["mail"], values["none"], equal_var=False)
        interval = oracle.confidence_interval(0.95)
        assert effect.value == pytest.approx(values["mail"].mean() - values["none"].mean())
        assert effect.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
        assert (effect.ci_low, effect.ci_high) == pytest.approx(tuple(interval))
    oracle = stats.ttest_ind(wide.loc["mail", 2], wide.loc["none", 2], equal_var=False)
    band = oracle.confidence_interval(1 - 0.05 / 4)  # Bonferroni over four weeks
    assert (found.periods[1].band_low, found.periods[1].band_high) == pytest.approx(tuple(band))
    assert found.trend.band_low is None


def test_the_last_cumulative_effect_is_that_of_an_analysis():
    frame = long_table(np.random.default_rng(2), effects=(1.0, 0.5, 0.2))
    found = curves(frame)
    totals = frame.groupby(["unit", "arm"], as_index=False).agg(
        spend=("spend", "sum"), visit=("visit", "max")
    )
    with connect() as engine:
        table = engine.register("units", pa.Table.from_pandas(totals, preserve_index=False))
        whole = analyze(unit_table(engine, table, "arm", plan()), plan(), experiment="test")
    for curve in found.curves:
        last, estimate = curve.cumulative[-1], whole.find(curve.metric, "mail", "difference")
        for name in ("value", "se", "ci_low", "ci_high", "p_value", "relative", "relative_ci_low"):
            assert getattr(last, name) == pytest.approx(getattr(estimate, name), abs=1e-9), name
        assert (last.n_arm, last.n_control) == (estimate.n_arm, estimate.n_control)


def test_a_small_holdout_is_dealt_by_the_draws_of_an_analysis():
    rng = np.random.default_rng(3)
    frame = long_table(rng, units=600, effects=(0.0, 0.0), share=0.95)
    frame["spend"] = np.where(rng.random(len(frame)) < 0.1, np.round(rng.gamma(1, 30), 0), 0.0)
    chosen = plan(arms={"none": 0.05, "mail": 0.95}, metrics=(Metric(name="spend"),))
    last = curves(frame, chosen).curves[0].cumulative[-1]
    totals = frame.groupby(["unit", "arm"], as_index=False).agg(spend=("spend", "sum"))
    with connect() as engine:
        table = engine.register("units", pa.Table.from_pandas(totals, preserve_index=False))
        whole = analyze(unit_table(engine, table, "arm", chosen), chosen, experiment="test")
    estimate = whole.find("spend", "mail", "difference")
    assert "permutation" in last.note
    assert last.note == estimate.note
    assert last.p_value == estimate.p_value
    assert last.ci_low == pytest.approx(estimate.ci_low, abs=1e-9)


def test_weeks_add_up_and_rows_of_zeros_change_nothing():
    # Identity: with every unit followed, cumulative effects are running sums of period effects.
    frame = long_table(np.random.default_rng(4), effects=(1.0, 0.5, 0.2))
    frame.loc[frame.index % 3 == 0, ["spend", "visit"]] = 0.0
    dense = curves(frame)
    spend = dense.curves[0]
    running = np.cumsum([effect.value for effect in spend.periods])
    assert [effect.value for effect in spend.cumulative] == pytest.approx(running)
    silent = (frame["spend"] == 0) & (frame["week"] != 3)
    sparse = curves(frame[~silent])
    assert as_numbers(sparse) == pytest.approx(as_numbers(dense), nan_ok=True)


def test_order_of_rows_names_and_swapped_arms():
    frame = long_table(np.random.default_rng(5), effects=(1.0, 0.5))
    first = curves(frame)
    shuffled = curves(frame.sample(frac=1, random_state=1))
    assert as_numbers(shuffled) == pytest.approx(as_numbers(first), abs=1e-9, nan_ok=True)
    swapped = curves(frame.assign(arm=frame["arm"].map({"mail": "none", "none": "mail"})))
    for one, other in zip(first.curves, swapped.curves, strict=True):
        assert other.trend.value == pytest.approx(-one.trend.value)
        assert other.trend.p_value == pytest.approx(one.trend.p_value)
        assert [e.value for e in other.periods] == pytest.approx([-e.value for e in one.periods])


def as_numbers(found):
    keys = ("value", "ci_low", "band_high", "p_value")
    effects = [e for c in found.curves for e in (*c.periods, *c.cumulative, c.trend, c.late)]
    return [np.nan if getattr(e, k) is None else getattr(e, k) for e in effects for k in keys]


def test_units_count_as_far_as_they_were_followed():
    frame = long_table(np.random.default_rng(6), effects=(1.0, 1.0, 1.0))
    short = frame["unit"].isin([f"u{i}" for i in range(0, 400, 4)])
    frame["weeks"] = np.where(short, 2, 3)
    frame = frame[~(short & (frame["week"] == 3))]
    spend = curves(frame, source=SOURCE.model_copy(update={"followed": "weeks"})).curves[0]
    assert [effect.left_out for effect in spend.periods] == [0, 0, 100]
    assert (spend.trend.left_out, spend.trend.n_arm) == (100, 150)
    # Without that column a missing row is a zero: the third week falls.
    filled = curves(frame).curves[0]
    assert [effect.left_out for effect in filled.periods] == [0, 0, 0]
    assert filled.periods[2].n_arm == 200
    assert spend.periods[2].value == pytest.approx(1.0, abs=0.5)


def test_an_effect_that_fades_is_found_and_named():
    frame = long_table(np.random.default_rng(7), units=2_000, effects=(2.0, 1.5, 1.0, 0.5, 0.0))
    spend, visit = curves(frame).curves
    assert spend.verdict == "fading"
    assert spend.trend.ci_low < -0.5 < spend.trend.ci_high  # planted: −0.5 a week
    assert spend.late.ci_low < -1.5 < spend.late.ci_high  # 0.25 late, 1.75 early
    assert visit.verdict == "steady"
    rising = long_table(np.random.default_rng(8), units=2_000, effects=(0.0, 0.5, 1.0, 1.5))
    assert curves(rising).curves[0].verdict == "growing"
    crossing = long_table(np.random.default_rng(9), units=2_000, effects=(-1, 0.0, 1.0))
    assert curves(crossing).curves[0].verdict == "turning"


class Dense:
    """A panel over a matrix (units, periods) of one metric: the same methods as the engine's."""

    def __init__(self, arm, values, chosen):
        self.plan, self.metrics = chosen, chosen.metrics
        self.labels = tuple(str(p + 1) for p in range(values.shape[1]))
        self.arm, self.values = arm, values
        self.units = {name: int((arm == name).sum()) for name in chosen.arms}

    def covered(self, arm, _step):
        return self.units[arm]

    def _of(self, arm, step):
        values, periods = self.values[self.arm == arm], len(self.labels)
        if step.series == "period":
            return values[:, step.period - 1]
        if step.series == "cumulative":
            return values[:, : step.period].sum(axis=1)
        if step.series == "trend":
            time = np.arange(periods) - (periods - 1) / 2
            return values @ time / (time @ time)
        half = periods // 2
        return values[:, periods - half :].mean(axis=1) - values[:, :half].mean(axis=1)

    def moments(self, metric, arm, step):
        return Moments.from_values((metric,), self._of(arm, step))

    def value_counts(self, _metric, step):
        found = (np.unique(self._of(a, step), return_counts=True) for a in self.plan.arms)
        return {a: Counted(*pair) for a, pair in zip(self.plan.arms, found, strict=True)}


def simulated(rng, effects, units=200):
    """A curve of correlated, skewed outcomes; half of their variance is the unit's for good."""
    arm = np.array(["mail", "none"])[np.arange(units) % 2]
    level = rng.gamma(2, 1, (units, 1))
    spend = level + rng.gamma(2, 1, (units, len(effects)))
    spend += np.where(arm == "mail", 1.0, 0.0)[:, None] * np.array(effects)
    panel = Dense(arm, spend, plan(metrics=(Metric(name="spend"),)))
    return effects_over_time(panel, experiment="test", by="week").curves[0]


def test_a_dense_panel_is_the_same_curve():
    frame = long_table(np.random.default_rng(13), effects=(1.0, 0.5, 0.2))
    wide = frame.pivot_table(index=["unit", "arm"], columns="week", values="spend").reset_index()
    chosen = plan(metrics=(Metric(name="spend"),))
    dense = Dense(wide["arm"].to_numpy(), wide[[1, 2, 3]].to_numpy(), chosen)
    found = effects_over_time(dense, experiment="test", by="week")
    assert as_numbers(curves(frame, chosen)) == pytest.approx(as_numbers(found), nan_ok=True)


RUNS = 300


@pytest.mark.parametrize(
    "runs",
    [RUNS, pytest.param(4_000, marks=pytest.mark.validation)],
)
def test_a_constant_effect_is_called_steady_at_the_nominal_rate(runs):
    # Verdicts other than steady are false; at a level of 5 % their number is binomial, and its
    # central 99.9 % is the band. A Bonferroni band misses one of the periods at most as often.
    rng = np.random.default_rng(10)
    found = [simulated(rng, (0.5,) * 6) for _ in range(runs)]
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, 0.05)
    moved = sum(curve.verdict != "steady" for curve in found)
    assert low <= moved <= high, moved
    missed = sum(any(not e.band_low <= 0.5 <= e.band_high for e in c.periods) for c in found)
    assert missed <= high, missed
    for period in (0, 5):
        bounds = [(c.cumulative[period].ci_low, c.cumulative[period].ci_high) for c in found]
        truth = 0.5 * (period + 1)
        assert low <= sum(not a <= truth <= b for a, b in bounds) <= high


def test_a_decay_is_found_as_often_as_its_power_says():
    # Power from the closed form: slopes have variance 2 (gamma's own) / 17.5 in each arm of 100,
    # so a planted −0.1 a week has z = −0.1 / sqrt(2 × 2 / 17.5 / 100) = −2.09, power 55 %.
    rng = np.random.default_rng(14)
    decay = tuple(0.6 - 0.1 * week for week in range(6))
    found = [simulated(rng, decay) for _ in range(RUNS)]
    power = stats.norm.cdf(0.1 / np.sqrt(4 / 17.5 / 100) - 1.96)
    low, high = stats.binom.ppf([0.0005, 0.9995], RUNS, power)
    assert low <= sum(c.trend.p_value <= 0.05 for c in found) <= high
    low, high = stats.binom.ppf([0.0005, 0.9995], RUNS, 0.95)
    assert low <= sum(c.trend.ci_low <= -0.1 <= c.trend.ci_high for c in found) <= high


def test_edges():
    rng = np.random.default_rng(11)
    one = curves(long_table(rng, effects=(1.0,))).curves[0]
    assert (one.trend.status, one.verdict) == (Status.INSUFFICIENT, "unknown")
    assert "a change needs two" in one.trend.note
    few = curves(long_table(rng, units=12, effects=(1.0, 1.0))).curves[0]
    assert few.periods[0].status is Status.INSUFFICIENT
    assert few.verdict == "unknown"
    still = curves(long_table(rng, effects=(1.0, 1.0)).assign(spend=3.0)).curves[0]
    assert still.periods[0].status is Status.DEGENERATE
    assert still.trend.status is Status.DEGENERATE
    skewed = curves(long_table(rng, effects=(1.0, 1.0), share=0.2))
    assert skewed.status is Status.INVALID
    assert skewed.curves[0].periods[0].value is None
    assert "sample ratio" in skewed.curves[0].trend.note
    assert skewed.curves[0].verdict == "unknown"


FRAME = long_table(np.random.default_rng(12), units=20, effects=(1.0, 1.0))


@pytest.mark.parametrize(
    ("frame", "error", "said"),
    [
        (FRAME.assign(week=FRAME["week"] - 1), DataError, "not a whole number from 1"),
        (FRAME.assign(week=FRAME["week"] + 0.5), DataError, "not a whole number from 1"),
        (FRAME.assign(week=FRAME["week"] + 900), InputError, "must be at most 400"),
        (FRAME.assign(week=1), DataError, "two rows for one period .20 of them, 'u0' for one"),
        (FRAME.assign(arm="mial"), DataError, "arm 'mial' is not one of the plan's"),
        (FRAME.assign(arm=["none", "mail"] * 20).assign(unit="u"), DataError, "in two arms"),
        (FRAME.assign(unit=""), DataError, "without an id"),
        (FRAME.assign(spend=np.nan), DataError, "'spend' is empty in 40 rows"),
        (FRAME.assign(visit=0.5), DataError, "must hold 0 or 1"),
        (FRAME.drop(columns="visit"), UnknownName, "column 'visit' not found"),
        (FRAME.iloc[:0], DataError, "there is no row"),
    ],
)
def test_faults_of_a_long_table_are_one_line(frame, error, said):
    with pytest.raises(error, match=said):
        curves(frame)


def test_faults_of_the_follow_up():
    source = SOURCE.model_copy(update={"followed": "weeks"})
    for weeks, said in ((1, "after the end of their follow-up"), (2.5, "whole number from 0")):
        with pytest.raises(DataError, match=said):
            curves(FRAME.assign(weeks=weeks), source=source)
    with pytest.raises(DataError, match="several values of source"):
        curves(FRAME.assign(weeks=np.where(FRAME["week"] == 1, 2, 3)), source=source)


def test_an_analysis_refuses_a_row_per_period():
    with connect() as engine, pytest.raises(InputError, match="truelift curve"):
        open_source(engine, SOURCE, plan(), None)


def test_missing_values_that_are_zeros():
    chosen = plan(metrics=(Metric(name="spend", null="zero"),))
    gaps = FRAME.assign(spend=FRAME["spend"].where(FRAME.index % 2 == 0))
    zeros = FRAME.assign(spend=FRAME["spend"].where(FRAME.index % 2 == 0, 0.0))
    assert curves(gaps, chosen).to_dict() == curves(zeros, chosen).to_dict()
