"""Cross-fitting from Gram matrices of every engine against the same done row by row in numpy."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from measure.engine.units import unit_table
from measure.incrementality.orthogonal import exact
from measure.plan import AnalysisPlan, Metric
from tests.measure.engine.worlds import arrow

FOLDS = exact.FOLDS
COVARIATES = ("age", "before", "tenure", "constant")


def frame(rows=2_000, seed=5):
    """Covariates far from zero, a metric with gaps, one that is 0 or 1, and two dimensions."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"unit": [f"u{i:05d}" for i in range(rows)]})
    table["arm"] = rng.choice(["none", "mail", "post"], rows, p=[0.3, 0.4, 0.3])
    table["age"] = rng.normal(40, 12, rows)
    table["before"] = rng.lognormal(2, 1, rows).round(2)
    table["tenure"] = rng.normal(1e6, 25, rows)
    table["constant"] = 3.0
    lift = (table.arm == "mail") * np.where(table.age > 40, 2.0, 0.5)
    table["spend"] = 5 + 0.1 * table.age + 0.4 * table.before + lift + rng.normal(0, 3, rows)
    table["minutes"] = (table.tenure - 1e6) * 0.2 + rng.normal(0, 4, rows)
    table.loc[rng.random(rows) < 0.15, "minutes"] = np.nan
    table["bought"] = (rng.random(rows) < 0.2).astype(int)
    table["channel"] = rng.choice(["Web", "Ünïcödé", None], rows)
    table["tier"] = rng.integers(1, 4, rows)
    return table


PLAN = AnalysisPlan(
    arms={"none": 0.3, "mail": 0.4, "post": 0.3},
    control="none",
    metrics=(
        Metric(name="spend"),
        Metric(name="minutes"),
        Metric(name="bought", kind="proportion"),
    ),
    covariates=COVARIATES,
    cohorts=("channel", "tier"),
)


def fold_of(unit):
    """The bucket function as documented, in plain Python: SHA-256 of salt, 0x1F and id."""
    text = f"folds {PLAN.seed}\x1f{unit}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16) % FOLDS


class ByRow:
    """The estimators row by row: the definitions of ``exact``, with nothing summed in advance."""

    def __init__(self, table, metric, arm):
        used = table[table.arm.isin(["none", arm]) & table[metric].notna()]
        self.y = used[metric].to_numpy(dtype=float)
        self.x = used[list(COVARIATES)].to_numpy(dtype=float)
        self.treated = (used.arm == arm).to_numpy()
        self.fold = used.unit.map(fold_of).to_numpy()
        self.labels = used[["channel", "tier"]].fillna("(missing)").astype(str)
        self.scale = self.x.std(axis=0)

    def predicted(self, chosen):
        """Ridge on the chosen units outside each fold, λ = number of covariates."""
        found = np.empty(len(self.y))
        use = self.scale > 0
        for fold in range(FOLDS):
            train, test = chosen & (self.fold != fold), self.fold == fold
            centre, level = self.x[train].mean(axis=0), self.y[train].mean()
            z = ((self.x[train] - centre) / np.where(use, self.scale, 1))[:, use]
            inner = z.T @ z + self.x.shape[1] * np.eye(int(use.sum()))
            slope = np.linalg.solve(inner, z.T @ (self.y[train] - level)) / self.scale[use]
            found[test] = level + (self.x[test] - centre)[:, use] @ slope
        return found

    def weighting(self, inside):
        m1, m0 = self.predicted(self.treated), self.predicted(~self.treated)
        t, gap = self.treated[inside], (m1 - m0)[inside]
        n, n1, n0 = len(t), t.sum(), (~t).sum()
        r1, r0 = (self.y - m1)[inside], (self.y - m0)[inside]
        effect = gap.mean() + r1[t].mean() - r0[~t].mean()
        weighted = np.where(t, (r1 - r1[t].mean()) * n / n1, -(r0 - r0[~t].mean()) * n / n0)
        psi = gap - gap.mean() + weighted
        parts = [(psi[a] ** 2).sum() / n**2 * k / (k - 1) for a, k in ((t, n1), (~t, n0))]
        return effect, sum(parts) ** 0.5

    def partialling(self, inside):
        left = (self.y - self.predicted(np.ones(len(self.y), dtype=bool)))[inside]
        one, other = left[self.treated[inside]], left[~self.treated[inside]]
        error = one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)
        return one.mean() - other.mean(), error**0.5


@pytest.fixture(scope="module")
def table():
    return frame()


@pytest.fixture(scope="module")
def grams(engine, table):
    engine.register("gram_units", arrow(table))
    units = unit_table(engine, engine.table("gram_units"), "arm", PLAN, id_column="unit")
    return units.grams(PLAN.cohorts, FOLDS)


def matrices(grams, metric, arm, dimension):
    block = next(b for b in grams[dimension] if metric in b.metrics)
    return block.of(metric, ("none", arm))


@pytest.mark.parametrize("metric", ["spend", "minutes", "bought"])
@pytest.mark.parametrize("arm", ["mail", "post"])
@pytest.mark.parametrize("name", ["weighting", "partialling"])
def test_points_and_errors_equal_cross_fitting_by_row(grams, table, metric, arm, name):
    estimator = {"weighting": exact.augmented_weighting, "partialling": exact.partialling_out}[name]
    rows = ByRow(table, metric, arm)
    whole = matrices(grams, metric, arm, None)
    for dimension in (None, *PLAN.cohorts):
        cells = matrices(grams, metric, arm, dimension)
        found = estimator(whole, cells)
        for place, cohort in enumerate(cells.cohorts):
            inside = np.ones(len(rows.y), dtype=bool)
            if cohort is not None:
                inside = (rows.labels[cohort.dimension] == cohort.value).to_numpy()
            wanted = getattr(rows, name)(inside)
            assert found.value[place] == pytest.approx(wanted[0], rel=1e-10, abs=1e-10)
            assert found.se[place] == pytest.approx(wanted[1], rel=1e-10)


def test_folds_are_those_of_the_bucket_function(grams, table):
    wanted = np.bincount(table.unit.map(fold_of), minlength=FOLDS)
    assert grams[None][0].n.sum(axis=(1, 2)).tolist() == wanted.tolist()


def test_cohorts_and_days_add_up(grams):
    for dimension in PLAN.cohorts:
        for whole, parts in zip(grams[None], grams[dimension], strict=True):
            assert_same(parts.everybody(), whole)


def assert_same(found, wanted):
    np.testing.assert_array_equal(found.n, wanted.n)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-12, atol=1e-12)
    sd = np.sqrt(np.einsum("fcakk->fcak", wanted.comoment)) + 1e-9
    scale = sd[..., :, None] * sd[..., None, :]
    assert (np.abs(found.comoment - wanted.comoment) <= 1e-11 * scale).all()


def test_tables_of_two_days_add_to_the_table_of_both(engine, table):
    parts = []
    for day in (table[::2], table[1::2], table):
        engine.register("gram_day", arrow(day.reset_index(drop=True)))
        units = unit_table(engine, engine.table("gram_day"), "arm", PLAN, id_column="unit")
        parts.append(units.grams(["tier"], FOLDS)["tier"])
    for one, other, both in zip(*parts, strict=True):
        assert_same(one + other, both)


def test_a_shift_of_a_billion_loses_no_digits(engine, table):
    moved = table.assign(spend=table.spend + 1e9)
    found = []
    for name, data in (("here", table), ("there", moved)):
        engine.register(f"gram_{name}", arrow(data))
        units = unit_table(engine, engine.table(f"gram_{name}"), "arm", PLAN, id_column="unit")
        whole = matrices(units.grams([], FOLDS), "spend", "mail", None)
        found.append(exact.augmented_weighting(whole, whole))
    # A double near 1e9 has 1e-7 left; the error of the effect, 0.15, keeps six digits.
    assert found[1].se[0] == pytest.approx(found[0].se[0], rel=1e-7)
    assert found[1].value[0] == pytest.approx(found[0].value[0], abs=1e-7)


def test_without_ids_folds_do_not_depend_on_the_order_of_rows(engine, table):
    coarse = table.assign(before=table.before.round(-1), age=table.age.round(-1)).drop(
        columns="unit"
    )
    found = []
    for data in (coarse, coarse.sample(frac=1, random_state=1)):
        engine.register("gram_nameless", arrow(data.reset_index(drop=True)))
        units = unit_table(engine, engine.table("gram_nameless"), "arm", PLAN)
        found.append(units.grams(["tier"], FOLDS)["tier"])
    for one, other in zip(*found, strict=True):
        assert_same(one, other)


NAMELESS_FOLDS = {}


def test_without_ids_folds_are_the_same_on_every_engine(engine, table):
    engine.register("gram_named_by_values", arrow(table.drop(columns="unit")))
    units = unit_table(engine, engine.table("gram_named_by_values"), "arm", PLAN)
    sizes = units.grams([], FOLDS)[None][0].n.tolist()
    assert NAMELESS_FOLDS.setdefault("first engine", sizes) == sizes
