"""Clusters in history: the likeness that was planted, and the table it is read from."""

import numpy as np
import pytest

from designs.planning.assumptions import Assumptions
from designs.planning.clusters import intraclass
from designs.planning.warehouse import warehouse_history
from measure.engine.connection import connect
from measure.errors import InputError
from tests.designs.planning import plans
from tests.designs.planning.test_history import shop, windowed


def test_planted_likeness_is_found():
    # Source: construction; cluster effects of variance .3 and residuals of .7 give ICC .3.
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 9, 6_000)
    effects = np.repeat(rng.normal(0, 0.3**0.5, len(sizes)), sizes)
    values = effects + rng.normal(0, 0.7**0.5, sizes.sum())
    which = np.repeat(np.arange(len(sizes)), sizes)
    sums, squares = np.bincount(which, values), np.bincount(which, values**2)
    found = intraclass(sizes, sums, squares)
    assert found.icc == pytest.approx(0.3, abs=0.03)
    assert found.size == pytest.approx(sizes.mean())
    assert found.cv == pytest.approx(sizes.std() / sizes.mean())


def test_equal_sizes_are_the_textbook_case():
    # Closed form: two clusters {0, 2}, {4, 6}: MSB 16, MSW 2, ICC (16 − 2) / (16 + 2) = 7/9.
    found = intraclass([2, 2], [2 - 6, 10 - 6], [9 + 1, 1 + 9])
    assert found.icc == pytest.approx(7 / 9)
    with pytest.raises(InputError):
        intraclass([5], [0], [3])


def test_clusters_of_one_cost_nothing():
    assert intraclass([1, 1, 1], [1, -1, 0], [1, 1, 0]).design_effect == 1


def test_a_specification_with_clusters_is_planned_with_theirs():
    customers, orders = shop()
    names = [f"h{i // 4}" for i in range(len(customers))]
    households = customers.append_column("household", [names])
    of = plans.experiment(cluster={"attribute": "household"}, unit="household", covariates=[])
    with connect("duckdb://") as engine:
        engine.register("customers", households)
        engine.register("conversions", orders)
        history = warehouse_history(engine, of, Assumptions())
        with pytest.raises(InputError, match="count twice"):
            warehouse_history(engine, of, Assumptions(clusters={"size": 2, "icc": 0.1}))
    assert history.clusters is not None
    assert history.clusters.size == pytest.approx(4, rel=0.05)
    # Source: pandas. The analysis adds revenue up by household, so households are what is planned.
    present, revenue = windowed((households, orders), 28)
    which = households.to_pandas().set_index("customer_id").household.reindex(present)
    sums = revenue.groupby(which.to_numpy()).sum()
    moments = history.outcomes["revenue"].moments
    assert moments.n == len(sums)
    assert moments.variance == pytest.approx(sums.var(), rel=1e-9)
    assert history.units == 100  # 400 people in households of four
    assert all(span.active <= 100 for span in history.spans)
    planned = plans.plan(of, history, acts="shift", runs=0)
    assert planned.provenance["clusters"]["size"] == history.clusters.size
    assert planned.leading()[0].n_arm == 90
