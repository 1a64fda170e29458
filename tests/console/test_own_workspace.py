"""The README's steps on somebody's own files: from an empty folder to a concluded experiment."""

import csv
import json
from pathlib import Path

import pytest

from tests.console.command import truelift

KEY = "letters"
pytestmark = pytest.mark.xdist_group("own")  # the steps follow each other
SPEC = """\
key: letters
title: Letters
hypothesis: A letter brings orders that would not have happened.
arms: {none: 0.5, letter: 0.5}
control: none
metrics:
  - {name: net_revenue, unit: EUR, role: primary}
  - {name: conversion, kind: proportion}
covariates: [prior_orders]
cohorts: [city]
plan: {window_days: 14, estimators: [difference, cuped]}
schedule: {start: 2026-01-05, end: 2026-01-19}
"""


def write(path: Path, header: str, rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "shop"
    assert truelift("init", folder).code == 0
    (folder / "experiments" / "letters.yaml").write_text(SPEC, encoding="utf-8")
    customers = [
        (f"u{i:04d}", "2025-06-01T00:00:00Z", "Rome" if i % 3 else "Oslo", i % 4)
        for i in range(2_000)
    ]
    orders = [
        (f"c{i}", f"o{i}", f"u{i:04d}", "2026-01-07T10:00:00Z", 1_000 + i, 0, "EUR", "paid")
        for i in range(0, 2_000, 5)
    ]
    table = "conversion_id,order_id,customer_id,ts,value,refunded_value,currency,status"
    files = {
        "customers": write(
            folder / "customers.csv", "customer_id,first_seen_at,city,prior_orders", customers
        ),
        "conversions": write(folder / "orders.csv", table, orders),
    }
    for name, path in files.items():
        ran = truelift("load", name, path, cwd=folder)
        assert ran.code == 0, ran.err
    for step in ("register", "start", "assign"):
        target = "experiments/letters.yaml" if step == "register" else KEY
        ran = truelift(step, target, cwd=folder)
        assert ran.code == 0, ran.err
    return folder


def test_the_analysis_equals_a_count_by_hand(shop):
    ran = truelift("analyze", KEY, "--json", "-", cwd=shop)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    ids = shop / "ids.txt"
    ids.write_text("\n".join(f"u{i:04d}" for i in range(2_000)) + "\n")
    assigned = json.loads(truelift("assign", KEY, "--ids", ids, "--json", "-", cwd=shop).out)
    arms = {row["unit_id"]: row["arm"] for row in assigned["assignments"]}
    # Every fifth customer ordered once, so the arms' conversion is a count of ids.
    rate = {}
    for arm in ("none", "letter"):
        units = [unit for unit, its in arms.items() if its == arm]
        rate[arm] = sum(int(unit[1:]) % 5 == 0 for unit in units) / len(units)
    estimate = next(
        e
        for e in document["estimates"]
        if (e["metric"], e["estimator"], e["cohort"]) == ("conversion", "difference", None)
    )
    assert estimate["value"] == pytest.approx(rate["letter"] - rate["none"], abs=1e-12)
    assert estimate["n_arm"] + estimate["n_control"] == 2_000


def test_assigning_again_moves_nobody(shop):
    first = truelift("assign", KEY, "--json", "-", cwd=shop)
    again = truelift("assign", KEY, "--json", "-", cwd=shop)
    assert first.code == 0, first.err
    assert json.loads(first.out) == json.loads(again.out)
    units = json.loads(first.out)["units"]
    assert units["none"] + units["letter"] == 2_000
    assert 895 < units["none"] < 1_105  # binomial(2000, .5) within 4.7 sd


def test_without_claims_the_money_checks_do_not_apply(shop):
    document = json.loads(truelift("reconcile", KEY, "--json", "-", cwd=shop).out)
    outcomes = {check["code"]: check["outcome"] for check in document["checks"]}
    assert outcomes["G5"] == "passed"
    assert outcomes["A1"] == outcomes["F1"] == outcomes["H1"] == "not_applicable"
    assert document["bridge"] == []


def test_concluding_closes_the_experiment_with_its_result(shop):
    ran = truelift("conclude", KEY, cwd=shop)
    assert ran.code == 0, ran.err
    assert f"{KEY} is concluded" in ran.out
    truelift("conclude", KEY, cwd=shop).refused("concluded")
    truelift("start", KEY, cwd=shop).refused("can be started")
    listed = json.loads(truelift("list", "--json", "-", cwd=shop).out)["experiments"]
    assert [(e["key"], e["state"]) for e in listed] == [(KEY, "concluded")]
    recorded = (shop / "results" / KEY / "analysis.json").read_bytes()
    again = truelift("analyze", KEY, cwd=shop)
    assert again.code == 0, again.err
    assert "Concluded: the result on record stays" in again.out
    assert (shop / "results" / KEY / "analysis.json").read_bytes() == recorded
    ran = truelift("report", cwd=shop)
    assert ran.code == 0, ran.err
    page = shop / "reports" / "experiment-letters.html"
    assert "Letters" in page.read_text(encoding="utf-8")
