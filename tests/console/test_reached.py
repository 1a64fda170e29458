"""Who was reached is read from the activation log, and carries the complier effect."""

import json
from pathlib import Path

import pytest

from tests.console.command import truelift
from tests.console.test_own_workspace import write

KEY = "letters"
SPEC = """\
key: letters
title: Letters
hypothesis: A letter that arrives brings orders that would not have happened.
arms: {none: 0.5, letter: 0.5}
control: none
metrics:
  - {name: conversion, kind: proportion, role: primary}
exposure: exposed
campaigns: [spring-letter]
plan: {window_days: 14, estimators: [difference, complier_effect]}
schedule: {start: 2026-01-05, end: 2026-01-19}
"""
UNITS = 800
pytestmark = pytest.mark.xdist_group("reached")  # the steps follow each other


def workspace(folder: Path, spec: str = SPEC) -> dict[str, str]:
    """A started experiment with its customers; arms by unit."""
    assert truelift("init", folder).code == 0
    (folder / "experiments" / "letters.yaml").write_text(spec, encoding="utf-8")
    names = [f"u{i:04d}" for i in range(UNITS)]
    people = write(
        folder / "customers.csv",
        "customer_id,first_seen_at",
        [(name, "2025-06-01T00:00:00Z") for name in names],
    )
    steps = (
        ("load", "customers", people),
        ("register", "experiments/letters.yaml"),
        ("start", KEY),
        ("assign", KEY),
    )
    for step in steps:
        ran = truelift(*step, cwd=folder)
        assert ran.code == 0, ran.err
    (folder / "ids.txt").write_text("\n".join(names) + "\n")
    listed = truelift("assign", KEY, "--ids", folder / "ids.txt", "--json", "-", cwd=folder)
    return {row["unit_id"]: row["arm"] for row in json.loads(listed.out)["assignments"]}


def load(folder: Path, table: str, header: str, rows: list) -> None:
    ran = truelift("load", table, write(folder / f"{table}.csv", header, rows), cwd=folder)
    assert ran.code == 0, ran.err


def orders(folder: Path, units: list[str]) -> None:
    load(
        folder,
        "conversions",
        "conversion_id,order_id,customer_id,ts,value,refunded_value,currency,status",
        [(f"c{u}", f"o{u}", u, "2026-01-08T10:00:00Z", 1_000, 0, "EUR", "paid") for u in units],
    )


def test_the_complier_effect_divides_by_the_share_that_the_log_says_was_reached(tmp_path):
    """Source: Wald's ratio, counted by hand over units and log."""
    folder = tmp_path / "shop"
    arms = workspace(folder)
    sent = [u for u, arm in arms.items() if arm == "letter" and int(u[1:]) % 4]
    strays = [u for u, arm in arms.items() if arm == "none" and int(u[1:]) % 20 == 0]
    bought = {u for u in arms if int(u[1:]) % 7 == 0}
    bought |= {u for u in sent if int(u[1:]) % 5 == 0}
    orders(folder, sorted(bought))
    inside, outside = "2026-01-06T09:00:00Z", "2025-12-30T09:00:00Z"
    log = [(f"a{u}", "spring-letter", inside, u) for u in [*sent, *strays]]
    log += [(f"b{u}", "spring-letter", outside, u) for u in arms]  # before the assignment
    log += [(f"d{u}", "another", inside, u) for u in arms]
    load(
        folder,
        "activations",
        "activation_id,campaign,ts,customer_id,platform,channel,kind",
        [(*row, "post", "mail", "send") for row in log],
    )
    ran = truelift("analyze", KEY, "--json", "-", cwd=folder)
    assert ran.code == 0, ran.err
    found = {e["estimator"]: e for e in json.loads(ran.out)["estimates"]}
    reached = set(sent) | set(strays)

    def share(arm: str, of: set[str]) -> float:
        units = [unit for unit, its in arms.items() if its == arm]
        return sum(unit in of for unit in units) / len(units)

    effect = share("letter", bought) - share("none", bought)
    exposure = share("letter", reached) - share("none", reached)
    assert found["difference"]["value"] == pytest.approx(effect, rel=1e-9)
    assert found["complier_effect"]["value"] == pytest.approx(effect / exposure, rel=1e-9)
    assert found["complier_effect"]["estimand"] == "CACE"


def test_without_campaigns_nobody_can_say_who_was_reached(tmp_path):
    folder = tmp_path / "shop"
    workspace(folder, SPEC.replace("campaigns: [spring-letter]\n", ""))
    orders(folder, ["u0001"])
    ran = truelift("analyze", KEY, cwd=folder)
    assert ran.code == 2
    assert "campaigns: is empty" in ran.err
