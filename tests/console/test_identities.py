"""`truelift identities` over a workspace and over a specification, as text and as JSON."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from tests.console.command import truelift
from tests.console.documents import assert_documented
from tests.data import data_file

TABLES = {
    "customers": "customer_id,first_seen_at\n"
    + "".join(f"c{n},2025-01-01T00:00:00Z\n" for n in range(1, 9)),
    "identities": "customer_id,kind,identifier,seen_at\n"
    "c1,login,anna,2025-01-01T00:00:00Z\nc2,login,anna,2025-01-02T00:00:00Z\n"
    "c3,phone_hash,p1,2025-01-03T00:00:00Z\nc4,phone_hash,p1,2025-01-03T00:00:00Z\n"
    "c3,login,bert,2025-01-03T00:00:00Z\nc4,login,cora,2025-01-03T00:00:00Z\n",
    "links": "customer_id,other_customer_id,probability,model,linked_at\n"
    "c1,c5,0.95,records,2025-01-04T00:00:00Z\nc6,c7,0.6,records,2025-01-04T00:00:00Z\n",
    "activations": "activation_id,platform,channel,campaign,kind,ts,customer_id\n"
    "a1,mailer,email,spring,click,2025-02-01T00:00:00Z,c7\n",
    "conversions": "conversion_id,order_id,customer_id,ts,value,refunded_value,currency,status\n"
    "v1,o1,c6,2025-02-02T00:00:00Z,1000,0,EUR,paid\n",
}
SPEC = """
key: stitched
hypothesis: Mail brings visits.
source: {path: linked.csv, arm: segment}
arms: {No E-Mail: 0.5, Womens E-Mail: 0.5}
control: No E-Mail
metrics: [{name: visit, kind: proportion, role: primary}]
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    home = tmp_path_factory.mktemp("identities") / "shop"
    assert truelift("init", home).code == 0
    for table, text in TABLES.items():
        (home / f"{table}.csv").write_text(text)
        ran = truelift("load", table, f"{table}.csv", cwd=home)
        assert ran.code == 0, ran.err
    return home


def test_a_workspace_in_numbers(workspace):
    """By hand: anna is c1 and c2; bert and cora share a telephone; c5 is linked, c6–c7 weakly."""
    ran = truelift("identities", "--json", "out.json", cwd=workspace)
    assert ran.code == 0, ran.err
    document = json.loads((workspace / "out.json").read_text())
    assert_documented("identities", document)
    assert (document["customers"], document["persons"], document["largest"]) == (8, 7, 2)
    assert document["merges"] == {"login": 1}
    assert document["conflicts"] == {"login": 1}
    assert [t["persons"] for t in document["thresholds"]] == [5, 6, 7]
    assert [t["links"] for t in document["thresholds"]] == [2, 1, 0]
    assert document["thresholds"][0]["credited"] == {
        "orders": 1,
        "value": 1_000,
        "expected_wrong": 400,
        "currency": "EUR",
    }
    assert document["thresholds"][1]["credited"]["orders"] == 0
    assert "7 persons among 8 customers" in ran.out
    assert re.search(r"0\.5 +2 +0\.5 +5 +1 +1 +10\.00 EUR +4\.00 EUR", ran.out)


def test_an_effect_over_links(tmp_path):
    table = pd.read_csv(data_file("hillstrom.csv"))
    table = table[table["segment"] != "Mens E-Mail"][["segment", "visit"]]
    table["p"] = np.where(np.arange(len(table)) % 2, 1.0, 0.8)
    table.to_csv(tmp_path / "linked.csv", index=False)
    (tmp_path / "stitched.yaml").write_text(SPEC)
    command = ("identities", "stitched.yaml", "--probability", "p", "--json", "-")
    ran = truelift(*command, cwd=tmp_path)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert_documented("identities of a specification", document)
    half, ninety, _ = document["effects"]
    assert half["wrong"]["share"] == pytest.approx(0.1, abs=1e-4)
    assert (half["units"], half["left_out"]) == (len(table), 0)
    assert ninety["units"] == (table["p"] == 1).sum()
    reported, right = half["estimates"][0], half["corrected"][0]
    by_arm = table.groupby("segment")["visit"].mean()
    assert reported["value"] == pytest.approx(by_arm["Womens E-Mail"] - by_arm["No E-Mail"])
    assert right["value"] == pytest.approx(reported["value"] / 0.9, rel=1e-3)
    missing = truelift("identities", "stitched.yaml", "--probability", "q", cwd=tmp_path)
    missing.refused("'q'", "not found")
    truelift("identities", "stitched.yaml", cwd=tmp_path).refused("--probability")
