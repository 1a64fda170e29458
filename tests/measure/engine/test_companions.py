"""Columns beside a metric, strata and clusters are the same on every engine as in pandas."""

import numpy as np
import pandas as pd
import pytest

from measure.engine.units import open_source
from measure.errors import DataError, UnknownName
from measure.moments import DENOMINATOR, EXPOSURE, Moments
from measure.plan import AnalysisPlan, Metric, Source
from measure.results import Cohort
from tests.measure.engine import worlds

PLAN = AnalysisPlan(
    arms={"control": 0.2, "mail": 0.3, "späte Mail": 0.5},
    control="control",
    metrics=(
        Metric(name="per visit", kind="ratio", column="spend", denominator="visits"),
        Metric(name="rate", kind="ratio", column="orders", denominator="visits", null="zero"),
        Metric(name="speed", kind="ratio", column="minutes", denominator="orders"),
        Metric(name="spend"),
        Metric(name="clicks", kind="count", column="visits"),
        Metric(name="capped", column="spend", winsorize=0.95),
        Metric(name="bought", kind="proportion"),
    ),
    covariates=("before", "newbie"),
    cohorts=("channel",),
    strata=("tier", "newbie"),
    estimators=("post_stratification",),
    exposure="reached",
)


def frame(rows=3_000):
    rng = np.random.default_rng(11)
    table = worlds.frame(rows)
    table["visits"] = rng.poisson(2.0, rows).astype(float)
    table.loc[rng.random(rows) < 0.1, "visits"] = np.nan
    table["reached"] = (rng.random(rows) < 0.6) & (table.arm != "control")
    table["home"] = [f"h{i}" for i in np.arange(rows) // 3]
    first = table.drop_duplicates("home").set_index("home")
    for name in ("arm", "channel", "tier"):
        table[f"{name} of home"] = table.home.map(first[name])
    return table


def pairs(table, metric):
    """Numerator and denominator of a ratio as they are summed, by pandas alone."""
    above, below = (table[name].astype(float) for name in (metric.column, metric.denominator))
    if metric.null == "zero":
        return above.fillna(0.0), below.fillna(0.0)
    both = above.notna() & below.notna()
    return above.where(both), below.where(both)


def wanted(table, metric):
    """Columns of a metric's cells, by pandas alone."""
    found = pd.DataFrame(index=table.index)
    if metric.denominator:
        found[metric.name], found[DENOMINATOR] = pairs(table, metric)
    else:
        found[metric.name] = worlds.with_policies(table, PLAN)[metric.name]
    for name in PLAN.covariates:
        found[name] = table[name].astype(float)
    found[EXPOSURE] = table.reached.astype(float)
    beside = [DENOMINATOR] if metric.denominator else []
    return found[[metric.name, *PLAN.covariates, *beside, EXPOSURE]]


def same(found, rows):
    expected = Moments.from_values(tuple(rows.columns), rows[rows.iloc[:, 0].notna()])
    worlds.assert_same(found, expected)
    asked = [found.at(name) for name in (DENOMINATOR, EXPOSURE) if name in found.columns]
    scale = np.abs(expected.mixed).max()
    np.testing.assert_allclose(
        found.mixed[:, asked], expected.mixed[:, asked], rtol=1e-9, atol=1e-9 * scale
    )


@pytest.fixture(scope="module")
def table():
    return frame()


@pytest.fixture(scope="module")
def units(engine, table, tmp_path_factory):
    engine.register("beside", worlds.arrow(table))
    source = Source(table="beside", arm="arm", id="unit")
    return open_source(engine, source, PLAN, tmp_path_factory.mktemp("base"))


def test_cells_carry_denominators_and_exposure(units, table):
    cells = units.moments()
    for metric in PLAN.metrics:
        rows = wanted(table, metric)
        for arm in PLAN.arms:
            same(cells.get(metric.name, arm), rows[table.arm == arm])
            web = rows[(table.arm == arm) & (table.channel == "Web")]
            same(cells.get(metric.name, arm, Cohort("channel", "Web")), web)


def test_a_ratio_lacks_what_either_number_lacks(units, table):
    missing = units.moments().missing
    for arm in PLAN.arms:
        mine = table[table.arm == arm]
        gaps = {name: mine[name].isna() for name in ("spend", "visits", "orders", "minutes")}
        assert missing["per visit", arm] == (gaps["spend"] | gaps["visits"]).sum()
        assert missing["rate", arm] == (gaps["orders"] | gaps["visits"]).sum()
        assert missing["speed", arm] == (gaps["minutes"] | gaps["orders"]).sum()


def test_strata_are_cells_of_their_own_and_add_up(units, table):
    strata, whole = units.moments_by_stratum(), units.moments()
    assert len(strata) == 6
    newbie = sorted({name.split(" · ")[1] for name in strata})
    assert len(newbie) == 2
    for cohort in (None, Cohort("channel", "Web")):
        for metric in ("spend", "per visit", "speed"):
            parts = [cells.get(metric, "mail", cohort) for cells in strata.values()]
            worlds.assert_same(sum(parts[1:], parts[0]), whole.get(metric, "mail", cohort))
    mine = table[(table.arm == "mail") & (table.tier == 2) & table.newbie]
    same(strata["2 · true"].get("spend", "mail"), wanted(mine, PLAN.metric("spend")))


def test_rows_name_companions_and_strata(units, table):
    found = units.rows(["rate", "rate (denominator)", "rate (exposure)", "tier"]).to_pandas()
    order = np.random.default_rng(PLAN.seed).permutation(len(table))
    shuffled = table.iloc[order].reset_index(drop=True)
    above, below = pairs(shuffled, PLAN.metric("rate"))
    np.testing.assert_array_equal(found["rate"], above)
    np.testing.assert_array_equal(found["rate (denominator)"], below)
    np.testing.assert_array_equal(found["rate (exposure)"], shuffled.reached.astype(float))
    assert found["tier"].tolist() == shuffled.tier.astype(str).tolist()


CLUSTERED = PLAN.model_copy(update={"cohorts": ("channel of home",), "strata": ("tier of home",)})


def test_clusters_are_sums_of_their_rows(engine, table, tmp_path):
    engine.register("homes", worlds.arrow(table))
    source = Source(table="homes", arm="arm of home", id="unit", cluster="home")
    cells = open_source(engine, source, CLUSTERED, tmp_path).moments()
    arms = table.drop_duplicates("home").set_index("home")["arm of home"]
    assert cells.units == arms.value_counts().to_dict()
    capped = table.spend.clip(upper=table.spend.quantile(0.95))
    for metric in PLAN.metrics:
        value, size = table[metric.column].astype(float), None
        if metric.denominator:
            value, size = pairs(table, metric)
        value = capped if metric.name == "capped" else value
        size = value.notna().astype(float) if size is None else size
        rows = pd.DataFrame({metric.name: value, DENOMINATOR: size.where(value.notna())})
        rows[EXPOSURE] = table.reached.astype(float).where(value.notna())
        homes = rows.groupby(table.home).sum(min_count=1)
        for name in PLAN.covariates:
            homes[name] = table[name].astype(float).groupby(table.home).mean()
        homes = homes[[metric.name, *PLAN.covariates, DENOMINATOR, EXPOSURE]]
        for arm in PLAN.arms:
            same(cells.get(metric.name, arm), homes[arms.reindex(homes.index) == arm])
        gaps = value.isna() if metric.null == "drop" else table[metric.column].isna()
        if metric.name == "per visit":
            some = gaps.groupby(table.home).any()
            for arm in PLAN.arms:
                assert (
                    cells.missing[metric.name, arm] == some[arms.reindex(some.index) == arm].sum()
                )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arm of home": "mail"}, "home 'h0' has rows of arm"),
        (
            {"channel of home": "Mars"},
            "home 'h0' has rows of cohort '.missing.' and 'Mars' in column",
        ),
        ({"tier of home": 9}, "home 'h0' has rows of stratum"),
        ({"home": None}, "cluster column 'home' is empty in 1 rows"),
        ({"reached": 0.5}, "exposure column 'reached' holds 0.5; only 0 and 1 are allowed"),
        ({"reached": None}, "exposure column 'reached' is empty in 1 rows"),
    ],
)
def test_what_clusters_and_exposure_may_not_be(engine, table, tmp_path, change, words):
    bad = table.head(30).astype({"reached": float})
    bad["arm of home"] = bad["arm of home"].where(bad.home != "h0", "control")
    bad.loc[1, list(change)] = list(change.values())
    name = f"bad_{len(words)}"
    engine.register(name, worlds.arrow(bad))
    source = Source(table=name, arm="arm of home", cluster="home")
    with pytest.raises(DataError, match=words):
        open_source(engine, source, CLUSTERED, tmp_path)


def test_a_denominator_that_is_not_there_is_named(engine, table, tmp_path):
    metric = Metric(name="r", kind="ratio", column="spend", denominator="visit")
    plan = PLAN.model_copy(update={"metrics": (metric,)})
    engine.register("beside", worlds.arrow(table))
    with pytest.raises(UnknownName, match=r"column 'visit' not found.*Did you mean 'visits'"):
        open_source(engine, Source(table="beside", arm="arm"), plan, tmp_path)
