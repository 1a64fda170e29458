"""Numbers that other packages published for the same questions, and moments from their sums."""

import json
from functools import cache

import numpy as np

from measure.moments import Moments
from tests.data import fixture_file


@cache
def peers():
    document = json.loads(fixture_file("peer_statistics.json").read_text(encoding="utf-8"))
    return {fixture["id"]: fixture for fixture in document["fixtures"]}


def from_sums(given):
    """Moments of y, or of (y, x) with a covariate, from raw sums."""
    n = given["n"]
    if "covariate_sum" not in given:
        mean = given["sum"] / n
        square = given.get("sum_squares", given["sum"])  # a proportion has no other squares
        second = np.array([[square - n * mean**2]])
        return Moments(("y",), n, np.array([mean]), second, np.zeros(1))
    mean = np.array([given["sum"], given["covariate_sum"]]) / n
    raw = np.array(
        [
            [given["sum_squares"], given["sum_products"]],
            [given["sum_products"], given["covariate_sum_squares"]],
        ]
    )
    return Moments(("y", "x"), n, mean, raw - n * np.outer(mean, mean), np.zeros(2))


def from_aggregates(given, columns):
    """Moments from means, variances and covariances; ``columns`` maps theirs to ours."""
    n, theirs = given["n"], list(columns)
    cov = {frozenset(key.split("|")): value for key, value in given["cov_ddof1"].items()}
    cov |= {frozenset([name]): value for name, value in given["var_ddof1"].items()}
    comoment = [[cov[frozenset([a, b])] * (n - 1) for b in theirs] for a in theirs]
    mean = np.array([given["mean"][name] for name in theirs])
    return Moments(tuple(columns.values()), n, mean, np.array(comoment), np.zeros(len(theirs)))
