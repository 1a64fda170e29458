"""Combinations of cohorts are the same on every engine as in pandas."""

import pytest

from measure.engine import moments_query
from measure.engine.units import open_source
from measure.errors import InputError
from measure.moments import Moments, total
from measure.plan import AnalysisPlan, Metric, Source
from tests.measure.engine import worlds

PLAN = AnalysisPlan(
    arms={"control": 0.2, "mail": 0.3, "späte Mail": 0.5},
    control="control",
    metrics=(Metric(name="spend"), Metric(name="bought", kind="proportion")),
    covariates=("before",),
    cohorts=("channel", "tier"),
)


@pytest.fixture(scope="module")
def table():
    return worlds.frame(2_000)


@pytest.fixture(scope="module")
def units(engine, table, tmp_path_factory):
    engine.register("joint", worlds.arrow(table))
    source = Source(table="joint", arm="arm", id="unit")
    return open_source(engine, source, PLAN, tmp_path_factory.mktemp("base"))


def test_combinations_are_those_of_pandas_and_add_up(units, table):
    joint, whole = units.joint_moments(), units.moments()
    occurring = {values for _, values, _ in joint}
    channel = {c.value: c for c in whole.cohorts("channel")}
    tier = {c.value for c in whole.cohorts("tier")}
    assert occurring == {(c, t) for c in channel for t in tier}
    for metric in ("spend", "bought"):
        for arm in PLAN.arms:
            for name, cohort in channel.items():
                found = [joint[metric, (name, t), arm] for t in sorted(tier)]
                worlds.assert_same(total(found), whole.get(metric, arm, cohort))
    mine = table[(table.arm == "mail") & (table.channel == "Web") & (table.tier == 2)]
    rows = mine[["spend", "before"]].astype(float)
    rows["before"] = rows["before"].fillna(table.before.mean())
    rows = rows[rows.spend.notna()]
    (two,) = [t for t in tier if t.startswith("2")]
    expected = Moments.from_values(("spend", "before"), rows)
    worlds.assert_same(joint["spend", ("Web", two), "mail"], expected)


def test_too_many_combinations_are_refused(units, monkeypatch):
    monkeypatch.setattr(moments_query, "MOST_JOINT_CELLS", 5)
    with pytest.raises(InputError, match="more than 5 combinations"):
        units.joint_moments()
