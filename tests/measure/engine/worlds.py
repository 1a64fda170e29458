"""A seeded table that has everything an analysis can meet, and what pandas makes of it."""

import numpy as np
import pandas as pd
import pyarrow as pa

from measure.moments import Moments
from measure.plan import AnalysisPlan, Metric, Source
from measure.results import Cohort

ARMS = ("control", "mail", "späte Mail", "nobody")


def frame(rows: int = 3_000, seed: int = 7) -> pd.DataFrame:
    """Money, counts, shares and measurements; missing values in each role; odd cohort names."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"unit": [f"u{i:05d}" for i in range(rows)]})
    table["arm"] = rng.choice(ARMS[:3], rows, p=[0.2, 0.3, 0.5])
    bought = rng.random(rows) < 0.1
    table["spend"] = np.where(bought, rng.lognormal(3, 1, rows).round(2), 0.0)
    table["bought"] = bought.astype(int)
    table["minutes"] = rng.gamma(2.0, 3.7, rows)
    table.loc[rng.random(rows) < 0.2, "minutes"] = np.nan
    table["orders"] = rng.poisson(0.4, rows).astype(float)
    table.loc[rng.random(rows) < 0.3, "orders"] = np.nan
    table["before"] = (rng.lognormal(2, 1, rows) + table.spend / 3).round(2)
    table["tenure"] = rng.normal(1e6, 25.0, rows)
    table.loc[rng.random(rows) < 0.05, "tenure"] = np.nan
    table["newbie"] = rng.random(rows) < 0.5
    table["channel"] = rng.choice(["Web", "Ünïcödé 🛒", "it's; drop--", None], rows)
    table["tier"] = rng.integers(1, 4, rows)
    return table


def arrow(table: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(table, preserve_index=False)


PLAN = AnalysisPlan(
    arms={"control": 0.2, "mail": 0.3, "späte Mail": 0.4, "nobody": 0.1},
    control="control",
    metrics=(
        Metric(name="spend", unit="USD", role="primary"),
        Metric(name="capped", column="spend", winsorize=0.95),
        Metric(name="bought", kind="proportion"),
        Metric(name="minutes"),
        Metric(name="orders", null="zero"),
        Metric(name="short minutes", column="minutes", winsorize=0.9),
    ),
    covariates=("before", "tenure", "newbie"),
    cohorts=("channel", "tier"),
)
SOURCE = Source(table="units", arm="arm", id="unit")


def with_policies(table: pd.DataFrame, plan: AnalysisPlan) -> pd.DataFrame:
    """The same table after null policies, caps and filled covariates, by pandas alone."""
    done = pd.DataFrame({"arm": table.arm})
    for metric in plan.metrics:
        values = table[metric.column].astype(float)
        values = values.fillna(0.0) if metric.null == "zero" else values
        if metric.winsorize is not None:
            values = values.clip(upper=values.quantile(metric.winsorize))
        done[metric.name] = values
    for name in plan.covariates:
        values = table[name].astype(float)
        done[name] = values.fillna(values.mean())
    for name in plan.cohorts:
        done[name] = table[name].map(lambda v: "(missing)" if pd.isna(v) else str(v))
    return done


def expected_cells(table: pd.DataFrame, plan: AnalysisPlan):
    """Moments of every cell, two-pass (mean first, then deviations), by pandas and numpy."""
    done = with_policies(table, plan)
    for metric in plan.metrics:
        columns = (metric.name, *plan.covariates)
        some = done[done[metric.name].notna()]
        for arm, group in some.groupby("arm"):
            yield (metric.name, None, arm), Moments.from_values(columns, group[list(columns)])
        for dimension in plan.cohorts:
            for (arm, value), group in some.groupby(["arm", dimension]):
                cell = (metric.name, Cohort(dimension, value), arm)
                yield cell, Moments.from_values(columns, group[list(columns)])


def assert_same(found: Moments, wanted: Moments, rel: float = 1e-9) -> None:
    """Equal to ``rel`` of each statistic's own scale."""
    assert found.columns == wanted.columns
    assert found.n == wanted.n
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=rel)
    sd = np.sqrt(np.diag(wanted.comoment))
    np.testing.assert_allclose(
        found.comoment, wanted.comoment, rtol=rel, atol=rel * max(sd) * max(sd)
    )
    spread = np.abs(wanted.third) + sd**3
    assert (np.abs(found.third - wanted.third) <= rel * spread + 1e-300).all()
