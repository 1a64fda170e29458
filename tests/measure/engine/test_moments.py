"""R19: moments, policies, value counts and rows are the same on every engine as in pandas."""

import numpy as np
import pytest

from measure.engine.units import open_source
from measure.errors import UnknownName
from measure.results import Cohort
from tests.measure.engine import worlds


@pytest.fixture(scope="module")
def table():
    return worlds.frame()


@pytest.fixture(scope="module")
def units(engine, table, tmp_path_factory):
    engine.register("units", worlds.arrow(table))
    return open_source(engine, worlds.SOURCE, worlds.PLAN, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def cells(units):
    return units.moments()


def test_every_cell_equals_pandas(cells, table):
    wanted = dict(worlds.expected_cells(table, worlds.PLAN))
    assert len(wanted) > 100
    for (metric, cohort, arm), moments in wanted.items():
        worlds.assert_same(cells.get(metric, arm, cohort), moments)


def test_there_is_no_cell_that_pandas_does_not_have(cells, table):
    wanted = dict(worlds.expected_cells(table, worlds.PLAN))
    extra = {key for key, moments in cells.cells.items() if moments.n} - set(wanted)
    assert extra == set()


def test_units_and_missing_values_are_counted_per_arm(cells, table):
    sizes = table.arm.value_counts()
    assert cells.units == {arm: int(sizes.get(arm, 0)) for arm in worlds.ARMS}
    gaps = table.groupby("arm").minutes.apply(lambda s: int(s.isna().sum()))
    assert {a: cells.missing["minutes", a] for a in gaps.index} == gaps.to_dict()
    zeroed = table.groupby("arm").orders.apply(lambda s: int(s.isna().sum()))
    assert {a: cells.missing["orders", a] for a in zeroed.index} == zeroed.to_dict()
    assert all(cells.missing["spend", arm] == 0 for arm in worlds.ARMS)


def test_a_planned_arm_without_units_is_an_empty_cell(cells):
    empty = cells.get("spend", "nobody")
    assert empty.n == 0
    assert empty.columns == ("spend", *worlds.PLAN.covariates)


def test_cohorts_add_up_to_the_total(cells):
    for dimension in worlds.PLAN.cohorts:
        parts = [cells.get("spend", "mail", c) for c in cells.cohorts(dimension)]
        worlds.assert_same(sum(parts[1:], parts[0]), cells.get("spend", "mail"))


def test_cohort_labels_are_text_whatever_the_type(cells):
    assert [c.value for c in cells.cohorts("tier")] == ["1", "2", "3"]
    assert "(missing)" in [c.value for c in cells.cohorts("channel")]


def test_value_counts_equal_pandas(units, table):
    done = worlds.with_policies(table, worlds.PLAN)
    for metric in ("spend", "capped", "orders", "minutes"):
        web = done[(done.channel == "Web") & done[metric].notna()]
        for cohort, chosen in ((None, done[done[metric].notna()]), (Cohort("channel", "Web"), web)):
            counted = units.value_counts(metric, cohort)
            assert set(counted) == set(worlds.ARMS)
            for arm, found in counted.items():
                wanted = chosen[chosen.arm == arm][metric].value_counts().sort_index()
                np.testing.assert_allclose(found.values, wanted.index, rtol=1e-12)
                np.testing.assert_array_equal(found.counts, wanted.to_numpy())


def test_rows_carry_policies_and_labels_in_a_fixed_order(units, table):
    columns = ["orders", "minutes", "tenure", "newbie", "channel", "tier"]
    found = units.rows(columns).to_pandas()
    assert list(found.columns) == ["arm", *columns]
    done = worlds.with_policies(table, worlds.PLAN)[["arm", *columns]]
    order = np.random.default_rng(worlds.PLAN.seed).permutation(len(done))  # ids are sorted
    wanted = done.iloc[order].reset_index(drop=True)
    for name in ("arm", "channel", "tier"):
        assert found[name].tolist() == wanted[name].tolist()
    for name in ("orders", "minutes", "tenure", "newbie"):
        np.testing.assert_allclose(found[name].astype(float), wanted[name], rtol=1e-12)


def test_profile_tells_what_the_source_holds(units, table):
    profile = units.profile()
    for name in ("spend", "minutes", "orders", "before", "tenure", "newbie"):
        values = table[name].astype(float)
        assert profile[name].n == int(values.notna().sum())
        assert profile[name].missing == int(values.isna().sum())
        assert profile[name].mean == pytest.approx(values.mean(), rel=1e-11)
        assert (profile[name].minimum, profile[name].maximum) == (values.min(), values.max())


def test_names_that_the_plan_does_not_have_are_refused(units):
    with pytest.raises(UnknownName, match="Did you mean 'spend'"):
        units.value_counts("spent")
    with pytest.raises(UnknownName, match="Did you mean 'channel'"):
        units.value_counts("spend", Cohort("chanel", "Web"))
    with pytest.raises(UnknownName, match="Did you mean 'before'"):
        units.rows(["befor"])
