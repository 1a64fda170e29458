"""`truelift curve` on a registered experiment and on a long table, as text and as JSON."""

import csv
import json

import numpy as np
import pytest

from tests.console.command import truelift
from tests.console.documents import assert_documented

SPEC = """\
key: letters
hypothesis: A letter brings orders that would not have happened.
arms: {none: 0.5, letter: 0.5}
control: none
metrics:
  - {name: net_revenue, unit: EUR, role: primary}
  - {name: conversion, kind: proportion}
  - {name: prior_orders}
plan: {window_days: 14}
schedule: {start: 2026-01-05, end: 2026-03-31}
"""
LONG = """\
key: weeks
hypothesis: Mail brings sales that fade.
source: {path: weeks.csv, arm: arm, id: unit, period: week}
arms: {none: 0.5, mail: 0.5}
control: none
metrics:
  - {name: spend}
  - {name: visit, kind: proportion}
"""
UNITS = 1_200


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Customers who were assigned on 5 January; each third ordered in week 1, 2 and 5."""
    folder = tmp_path_factory.mktemp("curve") / "shop"
    assert truelift("init", folder).code == 0
    (folder / "experiments" / "letters.yaml").write_text(SPEC, encoding="utf-8")
    customers = [(f"u{i:04d}", "2025-06-01T00:00:00Z", i % 4) for i in range(UNITS)]
    days = ("2026-01-07", "2026-01-14", "2026-02-05")
    orders = [
        (
            f"c{i}",
            f"o{i}",
            f"u{i:04d}",
            f"{days[i % 9 // 3]}T10:00:00Z",
            1_000 + i,
            0,
            "EUR",
            "paid",
        )
        for i in range(0, UNITS, 3)
    ]
    table = "conversion_id,order_id,customer_id,ts,value,refunded_value,currency,status"
    files = {
        "customers": write(
            folder / "customers.csv", "customer_id,first_seen_at,prior_orders", customers
        ),
        "conversions": write(folder / "orders.csv", table, orders),
    }
    for name, path in files.items():
        ran = truelift("load", name, path, cwd=folder)
        assert ran.code == 0, ran.err
    for step, target in (
        ("register", "experiments/letters.yaml"), ("start", "letters"), ("assign", "letters"),
    ):  # fmt: skip
        ran = truelift(step, target, cwd=folder)
        assert ran.code == 0, ran.err
    return folder


def test_weeks_end_at_what_the_analysis_says(shop):
    ran = truelift("curve", "letters", "--by", "week", "--json", "-", cwd=shop)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert_documented("curve", document)
    assert document["until"] == "2026-02-06T00:00:00+00:00"  # the day after the last order
    assert document["notes"] == ["not followed through time: prior_orders"]
    whole = json.loads(truelift("analyze", "letters", "--json", "-", cwd=shop).out)
    for curve in document["curves"]:
        assert [effect["label"] for effect in curve["periods"]] == ["week 1", "week 2"]
        estimate = next(e for e in whole["estimates"] if e["metric"] == curve["metric"])
        for name in ("value", "ci_low", "ci_high", "p_value", "n_arm"):
            assert curve["cumulative"][-1][name] == pytest.approx(estimate[name], abs=1e-9)


def test_months_are_for_holdouts_that_stand_for_long(shop):
    options = ("--by", "month", "--metric", "net_revenue", "--until", "2026-03-01")
    ran = truelift("curve", "letters", *options, "--json", "-", cwd=shop)
    document = json.loads(ran.out)
    assert_documented("curve", document, absent={"notes[]"})
    (curve,) = document["curves"]
    # Assigned on 5 January, so February is the first month that everybody was in from its start.
    assert [effect["label"] for effect in curve["periods"]] == ["2026-02"]
    assert curve["verdict"] == "unknown"
    assert curve["periods"][0]["n_arm"] + curve["periods"][0]["n_control"] == UNITS
    ids = shop / "ids.txt"
    ids.write_text("\n".join(f"u{i:04d}" for i in range(UNITS)) + "\n")
    assigned = json.loads(truelift("assign", "letters", "--ids", ids, "--json", "-", cwd=shop).out)
    mean = {}
    for arm in ("none", "letter"):
        mine = [int(a["unit_id"][1:]) for a in assigned["assignments"] if a["arm"] == arm]
        # In February ordered those whose number leaves 6 when divided by 9.
        mean[arm] = sum(1_000 + i for i in mine if i % 9 == 6) / 100 / len(mine)
    assert curve["cumulative"][0]["value"] == pytest.approx(mean["letter"] - mean["none"])


def test_the_text_says_what_the_numbers_mean(shop):
    ran = truelift("curve", "letters", "--metric", "conversion", cwd=shop)
    assert ran.code == 0, ran.err
    assert "conversion, letter against none" in ran.out
    assert "day 14" in ran.out
    assert "Intervals are pointwise" in ran.out
    assert "1,200 units cover all periods, 0 do not" in ran.out


@pytest.fixture(scope="module")
def long_table(tmp_path_factory):
    """Mail adds 3 in week 1, 2 in week 2, 1 in week 3 and nothing in week 4."""
    home, rng = tmp_path_factory.mktemp("long"), np.random.default_rng(3)
    rows = [
        (f"00{unit}", arm, week, f"{spend:.2f}", int(rng.random() < 0.3))
        for unit in range(800)
        for arm in (("none", "mail")[unit % 2],)
        for week in range(1, 5)
        for spend in (10 + rng.normal() + (4 - week) * (arm == "mail"),)
    ]
    write(home / "weeks.csv", "unit,arm,week,spend,visit", rows)
    (home / "weeks.yaml").write_text(LONG, encoding="utf-8")
    return home


def test_a_long_table_needs_no_workspace(long_table):
    ran = truelift("curve", "weeks.yaml", "--json", "-", cwd=long_table)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert_documented("curve", document, absent={"notes[]"})
    assert (document["by"], document["until"]) == ("week", None)
    spend, visit = document["curves"]
    assert (spend["verdict"], visit["verdict"]) == ("fading", "steady")
    assert spend["trend"]["ci_low"] < -1 < spend["trend"]["ci_high"]  # planted
    assert spend["cumulative"][3]["ci_low"] < 6 < spend["cumulative"][3]["ci_high"]  # 3 + 2 + 1
    said = truelift("curve", "weeks.yaml", "--metric", "spend", cwd=long_table).out
    assert "the effect fades" in said


def test_bad_input_is_one_line(shop, long_table):
    truelift("curve", "letters", "--metric", "conversions", cwd=shop).refused("'conversion'")
    truelift("curve", "letters", "--metric", "prior_orders", cwd=shop).refused("cannot be followed")
    truelift("curve", "letters", "--until", "soon", cwd=shop).refused("--until", "2026-03-01")
    truelift("curve", "leters", cwd=shop).refused("letters")
    truelift("curve", "weeks.yaml", "--by", "day", cwd=long_table).refused("source.period")
    truelift("analyze", "weeks.yaml", cwd=long_table).refused("truelift curve")
