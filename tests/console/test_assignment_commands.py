"""Assignment as a user meets it: lists per channel, membership, balance, clusters, schedules."""

import csv
import hashlib
import json
import sqlite3
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from console.assigning import read_ids
from console.workspace import Workspace
from designs.assignment.hashing import bucket, share_threshold
from tests.console.command import truelift

N = 3_000
AT = "2026-03-02T00:00:00Z"
HEAD = """\
key: {key}
hypothesis: It brings orders that would not have happened.
arms: {{mail: 0.8, control: 0.2}}
control: control
metrics: [{{name: revenue, unit: EUR, role: primary}}]
plan: {{window_days: 14}}
schedule: {{start: 2026-03-01, end: 2026-03-15}}
{more}
"""
SPRING = """\
channels: [email]
holdouts:
  - {name: universal, share: 0.1}
  - {name: quiet-mail, share: 0.2, channels: [email], rotation: {days: 30, since: 2026-03-01}}
"""


def country(i):
    return ("DE", "FR", "AT")[i % 3]


def rows():
    for i in range(N):
        yield "customers", (f"c{i}", "2026-01-01T00:00:00Z", country(i), str(i % 13), f"a{i // 4}")
        told = "true" if i % 2 else "false"
        since = "2026-01-01T00:00:00Z"
        yield "consents", (f"c{i}", "marketing", "email", told, since, "", since)
        if i % 5 == 0:
            value = "1000" if i % 10 else "3000"
            when = "2026-03-05T00:00:00Z"
            yield "conversions", (f"k{i}", f"o{i}", f"c{i}", when, value, "0", "EUR", "paid")


HEADERS = {
    "customers": ("customer_id", "first_seen_at", "country", "size", "account"),
    "consents": ("customer_id", "purpose", "channel", "granted", "valid_from", "valid_to",
                 "recorded_at"),
    "conversions": ("conversion_id", "order_id", "customer_id", "ts", "value", "refunded_value",
                    "currency", "status"),
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assignment") / "shop"
    assert truelift("init", folder).code == 0
    tables = {name: [header] for name, header in HEADERS.items()}
    for name, row in rows():
        tables[name].append(row)
    for name, lines in tables.items():
        path = folder / f"{name}.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(lines)
        ran = truelift("load", name, path, cwd=folder)
        assert ran.code == 0, ran.err
    begin(folder, "spring", SPRING)
    return folder


def begin(folder, key, more):
    path = folder / "experiments" / f"{key}.yaml"
    path.write_text(HEAD.format(key=key, more=more), encoding="utf-8")
    for command in (("register", path), ("start", key)):
        ran = truelift(*command, cwd=folder)
        assert ran.code == 0, ran.err


def answer(folder, *arguments):
    ran = truelift(*arguments, "--json", "-", cwd=folder)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def expected():
    """Who is held out, from what, by the definition of the buckets alone."""
    found = {}
    for i in range(N):
        unit, names = f"c{i}", []
        if bucket("holdout:quiet-mail/0", unit) < share_threshold(0.2):
            names.append("quiet-mail")
        if bucket("holdout:universal", unit) < share_threshold(0.1):
            names.append("universal")
        treated = bucket("arm:spring", unit) >= share_threshold(0.2)
        found[unit] = (names, "mail" if treated else "control")
    return found


def test_lists_wait_until_somebody_is_assigned(shop):
    out = shop / "early.csv"
    truelift("suppress", "email", "--out", out, cwd=shop).refused("assignments", "truelift assign")
    assert not out.exists()


def test_lists_hold_whom_they_should_and_are_the_same_each_time(shop):
    assert truelift("assign", "spring", cwd=shop).code == 0
    known, documents = expected(), []
    for name in ("suppressed.csv", "again.csv", "suppressed.parquet"):
        out = shop / name
        documents.append(answer(shop, "suppress", "email", "--out", out, "--at", AT))
        assert documents[-1]["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert documents[0]["sha256"] == documents[1]["sha256"]
    suppressed = read(shop / "suppressed.csv")
    assert pq.read_table(shop / "suppressed.parquet").to_pylist() == suppressed
    wanted = {
        unit: (" ".join(names), "" if names or arm == "mail" else "spring")
        for unit, (names, arm) in known.items()
        if names or arm == "control"
    }
    assert {r["unit_id"]: (r["holdouts"], r["control_of"]) for r in suppressed} == wanted
    assert documents[0]["rows"] == len(suppressed) == len(wanted)

    out = shop / "reach.csv"
    first = answer(shop, "audience", "spring", "--channel", "email", "--out", out, "--at", AT)
    reached = {r["unit_id"]: r["arm"] for r in read(out)}
    assert reached == {
        unit: arm
        for i, (unit, (names, arm)) in enumerate(known.items())
        if i % 2 and not names and arm == "mail"
    }
    assert not set(reached) & set(wanted)
    again = answer(shop, "audience", "spring", "--channel", "email", "--out", out, "--at", AT)
    assert first == again
    assert out.stat().st_mode & 0o077 == 0
    receipt = json.loads((shop / "reach.csv.receipt.json").read_text())
    assert receipt["export"] == {k: v for k, v in again.items() if k != "schema_version"}
    assert (receipt["experiment"], again["kind"]) == ("spring", "audience")
    with sqlite3.connect(shop / "registry.db") as registry:
        ((what, key, detail),) = registry.execute(
            "SELECT what, key, detail FROM audit WHERE sequence = ?", (receipt["audit_row"],)
        ).fetchall()
        (noted,) = registry.execute(
            "SELECT count(*) FROM audit WHERE what = 'export list'"
        ).fetchone()
    assert (what, key, json.loads(detail)) == ("export list", "spring", receipt["export"])
    assert noted == 5
    assert truelift("audit", "verify", cwd=shop).code == 0
    assert not list(shop.glob(".*csv*"))


def test_a_unit_is_told_what_it_is_held_out_of_and_until_when(shop):
    known = expected()
    unit = next(u for u, (names, _) in known.items() if names == ["quiet-mail"])
    found = answer(shop, "holdout", unit, "--at", AT)
    assert found["held_out"] is True
    held = {one["holdout"]: one for one in found["holdouts"]}
    assert (held["universal"]["held_out"], held["quiet-mail"]["held_out"]) == (False, True)
    assert held["universal"]["channels"] == ["all"]
    assert held["quiet-mail"]["channels"] == ["email"]
    assert held["quiet-mail"]["period_end"] == "2026-03-31T00:00:00+00:00"
    assert held["quiet-mail"]["bucket"] == int(held["quiet-mail"]["digest"], 16)
    said = truelift("holdout", unit, "--at", AT, cwd=shop).out
    assert said.startswith(f"{unit} is held out by quiet-mail, as of 2026-03-02 00:00 UTC\n")
    free = next(u for u, (names, _) in known.items() if not names)
    assert f"{free} is in no holdout" in truelift("holdout", free, "--at", AT, cwd=shop).out
    later = answer(shop, "holdout", unit, "--at", "2026-04-15")
    assert later["holdouts"][0]["salt"] == "holdout:quiet-mail/1"


def test_bad_requests_are_one_line(shop):
    out = shop / "x.csv"
    ask = ("suppress", "emial", "--out", out)
    truelift(*ask, cwd=shop).refused("'emial'", "Did you mean 'email'?")
    truelift("suppress", "email", "--out", shop / "x.xlsx", cwd=shop).refused(".csv or .parquet")
    gone = shop / "none" / "x.csv"
    truelift("suppress", "email", "--out", gone, cwd=shop).refused("does not exist")
    truelift("holdout", "c1", "--at", "soon", cwd=shop).refused("'soon'", "date or time")
    reach = ("audience", "spring", "--channel", "sms", "--out", out)
    truelift(*reach, cwd=shop).refused("does not run on channel 'sms'", "email")
    truelift("audience", "no", "--channel", "email", "--out", out, cwd=shop).refused("'no'")
    truelift("schedule", "spring", cwd=shop).refused("is no switchback")
    assert not out.exists()


def test_a_balanced_assignment_is_made_once_and_reported(shop):
    more = "population: {where: {country: AT}}\nbalance: {attributes: [size], draws: 100}"
    begin(shop, "even", more)
    first = answer(shop, "assign", "even")
    report = first["balance"]
    assert report["distance"] < report["median_distance"] / 10
    assert report["units"] == {"mail": 800, "control": 200}
    kept = json.loads((shop / "results" / "even" / "balance.json").read_text())
    assert kept["inputs_hash"] == report["inputs_hash"]
    again = answer(shop, "assign", "even")
    assert (again["units"]["mail"], again["units"]["control"]) == (800, 200)
    assert "balance" not in again
    steps = answer(shop, "explain", "even", "c2")["decisions"]
    assert [s["step"] for s in steps] == ["eligible", "balance"]
    assert steps[-1]["arm"] in {"mail", "control"}
    found = answer(shop, "analyze", "even")
    (estimate,) = found["estimates"]
    assert estimate["note"] == "p-value and interval from 499 re-drawn assignments"
    assert found["provenance"]["inference"] == "randomization"
    assert estimate["ci_low"] < estimate["value"] < estimate["ci_high"]
    assert (estimate["p_value"] * 250).is_integer()  # twice a share of 500 assignments
    assert (estimate["p_value"] <= 0.05) == (not estimate["ci_low"] <= 0 <= estimate["ci_high"])


def test_an_account_is_one_unit_from_arm_to_estimate(shop):
    begin(shop, "accounts", "cluster: {attribute: account}")
    assert truelift("assign", "accounts", cwd=shop).code == 0
    steps = answer(shop, "explain", "accounts", "c9")["decisions"]
    assert [s["step"] for s in steps] == ["eligible", "cluster", "arm"]
    assert "belongs to account 'a2'" in steps[1]["sentence"]
    arms = {
        answer(shop, "explain", "accounts", f"c{i}")["decisions"][-1]["arm"] for i in (8, 9, 10)
    }
    assert arms == {steps[-1]["arm"]}
    (estimate,) = answer(shop, "analyze", "accounts")["estimates"]
    control = {f"a{i}" for i in range(N // 4) if bucket("arm:accounts", f"account:a{i}")
               < share_threshold(0.2)}  # fmt: skip
    assert (estimate["n_control"], estimate["n_arm"]) == (len(control), N // 4 - len(control))
    totals = {}
    for i in range(N):
        spent = 0 if i % 5 else (10 if i % 10 else 30)
        totals[f"a{i // 4}"] = totals.get(f"a{i // 4}", 0) + spent
    mean = {
        arm: sum(v for a, v in totals.items() if (a in control) == arm)
        / sum((a in control) == arm for a in totals)
        for arm in (True, False)
    }
    assert estimate["value"] == pytest.approx(mean[False] - mean[True], rel=1e-9)


def test_shares_by_cohort_are_analysed_by_cohort(shop):
    more = "cohorts: [country]\nallocation: {attribute: country, shares: "
    begin(shop, "mixed", more + "{DE: {mail: 0.5, control: 0.5}}}")
    units = answer(shop, "assign", "mixed")["units"]
    assert abs(units["control"] - 900) < 4.5 * 21  # 500 of 1,000 Germans, 400 of the others
    steps = answer(shop, "explain", "mixed", "c0")["decisions"]
    assert (
        "country is 'DE', which has its own shares: control 0.5, mail 0.5"
        in (steps[-2]["sentence"])
    )
    found = answer(shop, "analyze", "mixed")
    assert found["status"] == "ok"
    everybody, *cohorts = found["estimates"]
    assert everybody["cohort"] is None
    assert "averaged over 2 strata" in everybody["note"]
    assert {c["cohort"]["value"] for c in cohorts} == {"DE", "FR", "AT"}
    (ratio,) = [c for c in found["checks"] if c["code"] == "G5"]
    assert ratio["outcome"] == "passed"
    assert everybody["n_arm"] + everybody["n_control"] == N
    checks = answer(shop, "reconcile", "mixed")["checks"]
    assert [c["outcome"] for c in checks if c["code"] == "G5"] == ["passed"]


def test_a_switchback_is_laid_out_from_its_file(shop):
    path = shop / "experiments" / "surge.yaml"
    text = HEAD.format(key="surge", more="unit: region\nswitchback: {units: [a, b], "
                       "block_hours: 12, washout_hours: 2}")  # fmt: skip
    path.write_text(text.replace("0.8", "0.5").replace("0.2}", "0.5}"), encoding="utf-8")
    blocks = answer(shop, "schedule", path)["blocks"]
    assert len(blocks) == 14 * 2 * 2
    assert blocks[0]["begin"] == "2026-03-01T00:00:00Z"
    assert blocks[0]["measured_from"] == "2026-03-01T02:00:00Z"
    out = shop / "blocks.csv"
    assert truelift("schedule", path, "--out", out, cwd=shop).code == 0
    assert read(out) == blocks
    now = datetime.now(UTC).isoformat()
    assert now not in out.read_text()


def test_a_slot_that_another_experiment_uses_is_refused(shop):
    begin(shop, "left", "layer: {name: home, slot: [0, 0.5]}")
    begin(shop, "right", "layer: {name: home, slot: [0.4, 1]}")
    truelift("assign", "right", cwd=shop).refused("'left' and 'right'", "overlap", "'home'")
    loose = shop / "loose.txt"
    loose.write_text("c1\n")
    truelift("assign", "right", "--ids", loose, cwd=shop).refused("overlap", "'home'")
    begin(shop, "odd", "holdout: {name: universal, share: 0.3}")
    truelift("assign", "odd", cwd=shop).refused("'universal'", "described differently")
    # Which of the two holds is not known, so no list is written until one of them ends.
    suppress = ("suppress", "email", "--out", shop / "torn.csv")
    truelift(*suppress, cwd=shop).refused("'universal'", "described differently")


def test_whom_a_wider_ramp_lets_in_is_assigned_when_it_does(shop):
    begin(shop, "ramp", "rollout: 0.2")
    first = answer(shop, "assign", "ramp")["units"]
    path = shop / "experiments" / "ramp.yaml"
    path.write_text(path.read_text().replace("rollout: 0.2", "rollout: 0.7"))
    assert truelift("register", path, cwd=shop).code == 0
    wider = datetime.now(UTC)
    second = answer(shop, "assign", "ramp")["units"]
    assert answer(shop, "assign", "ramp")["units"] == second
    assert second["mail"] > 3 * first["mail"]
    with Workspace.open(shop).connect() as engine:
        table = engine.table("assignments")
        rows = engine.fetch(table.filter(table.experiment == "ramp")).to_pylist()
    start = datetime(2026, 3, 1, tzinfo=UTC)
    early = {r["unit_id"] for r in rows if r["assigned_at"] == start}
    late = {r["unit_id"] for r in rows if r["assigned_at"] >= wider}
    assert (len(early), len(early) + len(late)) == (
        first["mail"] + first["control"],
        second["mail"] + second["control"],
    )
    assert len(rows) == len(early) + len(late)
    assert all(bucket("rollout:ramp", unit) < share_threshold(0.2) for unit in early)
    # What newcomers bought before they were let in is no outcome of theirs: all sales are of March.
    found = answer(shop, "analyze", "ramp")["estimates"][0]
    assert found["n_arm"] == second["mail"]


def test_ids_are_read_as_they_are(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_bytes("\ufeffa\u2028b\r\n x \n\n007\x0c\nlast".encode())
    assert read_ids(path) == ["a\u2028b", " x ", "007\x0c", "last"]
