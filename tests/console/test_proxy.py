"""`truelift proxy` over many made experiments, as text and as JSON."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.console.command import truelift
from tests.console.documents import assert_documented

SPEC = """
key: test-{n}
hypothesis: Mail brings sales.
source: {{path: test-{n}.csv, arm: arm}}
arms: {{none: 0.5, mail: 0.5}}
control: none
metrics:
  - {{name: spend, kind: mean, unit: USD, role: primary}}
  - {{name: visit, kind: proportion}}
"""
EXPERIMENTS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Experiments in which a visit is worth the same whoever caused it."""
    home, rng = tmp_path_factory.mktemp("proxy"), np.random.default_rng(5)
    for n in range(EXPERIMENTS):
        arm = np.repeat(["none", "mail"], 4_000)
        rate = np.where(arm == "mail", 0.3 + 0.02 * (n - 5), 0.3)
        visit = rng.binomial(1, rate)
        spend = np.round(visit * rng.gamma(4, 5, len(arm)), 2)
        table = pd.DataFrame({"arm": arm, "visit": visit, "spend": spend})
        table.to_csv(home / f"test-{n}.csv", index=False)
        (home / f"test-{n}.yaml").write_text(SPEC.format(n=n))
    return home


def specs(count=EXPERIMENTS):
    return [f"test-{n}.yaml" for n in range(count)]


def test_a_proxy_that_carries_all_of_the_effect_is_strong(folder):
    # Built so: spend is a visit times an amount that no arm changes; lifts are equal in truth.
    ran = truelift(
        "proxy", *specs(), "--proxy", "visit", "--target", "spend", "--json", "-", cwd=folder
    )
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert_documented("proxy", document)
    assert document["status"] == "ok"
    assert document["verdict"] == "strong"
    assert document["slope"]["ci_low"] < 1 < document["slope"]["ci_high"]
    assert len(document["experiments"]) == EXPERIMENTS


def test_too_few_experiments_say_so(folder):
    ran = truelift("proxy", *specs(3), "--proxy", "visit", "--target", "spend", cwd=folder)
    assert ran.code == 0
    assert "insufficient: 3 experiments; at least 8 are needed." in ran.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--proxy", "visits", "--target", "spend"), "Did you mean 'visit'"),
        (("--proxy", "visit", "--target", "visit"), "must be another metric than --target"),
    ],
)
def test_bad_input_is_one_line(folder, options, said):
    ran = truelift("proxy", *specs(1), *options, cwd=folder)
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
