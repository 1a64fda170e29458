"""`path`, `trace` and `reconcile --rows` on the demo's world, held against pandas and the results.

One world of 2,000 customers is built in this process; the demo's planted defects are in it.
"""

import csv
import json
from contextlib import nullcontext

import pandas as pd
import pyarrow as pa
import pytest

from console.accounting import attribute_workspace, reconciliation_inputs
from console.demo.loop import run
from console.drilling import write_flagged
from console.following import person_path, without_contacts
from console.store import read
from console.tracing import trace_orders
from console.workspace import Workspace
from measure.engine.connection import connect
from measure.journeys.timeline import customers_of_person
from measure.reconcile.check import IN_MICROS, micros_to_minor
from measure.reconcile.check import run as run_check
from measure.reconcile.ledger import counted_rows
from measure.reconcile.sources import Sources
from measure.reconcile.statement import CATALOGUE
from measure.results import Analysis, Outcome, Reconciliation
from tests.console.command import truelift
from tests.console.documents import assert_documented

KEY = "winback-2025-10"
PEOPLE = 20
TABLES = {
    "customers": ("customer_id", "first_seen_at", ("customer_id",)),
    "consents": (
        "customer_id",
        "valid_from",
        ("customer_id", "purpose", "channel", "valid_from", "recorded_at"),
    ),
    "assignments": ("unit_id", "assigned_at", ("experiment", "unit_id")),
    "activations": ("customer_id", "ts", ("activation_id",)),
    "conversions": ("customer_id", "ts", ("conversion_id",)),
}
pytestmark = pytest.mark.xdist_group("following")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("following") / "shop"
    run(folder, seed=7, customers=2_000, step=lambda _: nullcontext())
    return Workspace.open(folder)


@pytest.fixture(scope="module")
def frames(shop):
    with shop.connect() as engine:
        return {name: engine.fetch(engine.table(name)).to_pandas() for name in engine.tables()}


@pytest.fixture(scope="module")
def stored(shop):
    """The statement that the demo left on record."""
    return read(shop.results(KEY), "reconciliation", Reconciliation)


@pytest.fixture(scope="module")
def traces(shop, frames):
    """All conversions of the world, traced at once."""
    with shop.connect() as engine:
        return trace_orders(shop, engine, frames["conversions"].conversion_id.tolist(), KEY)


def by_pandas(frames, customers):
    """(time, table, row id) of everything about some customers, by pandas alone."""
    found = []
    for name, (whose, when, key) in TABLES.items():
        frame = frames[name]
        for row in frame[frame[whose].isin(customers)].to_dict("records"):
            parts = [_text(row[part]) for part in key]
            found.append((row[when].to_pydatetime(), name, " / ".join(parts)))
    orders = frames["conversions"]
    mine = orders[orders.customer_id.isin(customers)]
    clicks = set(mine.click_id.dropna())
    log = frames["activations"]
    clicks |= set(log[log.customer_id.isin(customers)].click_id.dropna())
    claims = frames["claims"]
    named = claims.order_id.isin(mine.order_id)
    loose = claims.order_id.isna() & claims.click_id.isin(clicks)
    told = claims[named | loose].to_dict("records")
    found += [(row["converted_at"].to_pydatetime(), "claims", row["claim_id"]) for row in told]
    return sorted(found)


def _text(value):
    if not isinstance(value, pd.Timestamp):
        return str(value)
    return value.to_pydatetime().isoformat().replace("+00:00", "Z")


def persons(frames):
    """Pairs of customers that share an e-mail hash and have no different logins, by pandas."""
    marks = frames["identities"]
    mails = marks[marks.kind == "email_hash"].groupby("identifier").customer_id.agg(sorted)
    assert mails.map(len).max() == 2  # this world plants pairs, so nothing hangs together further
    login = marks[marks.kind == "login"].set_index("customer_id").identifier
    person = {c: c for c in frames["customers"].customer_id}
    person |= {
        other: one
        for one, other in mails[mails.map(len) == 2]
        if one not in login or other not in login or login[one] == login[other]
    }
    return pd.Series(person)


def test_timelines_of_twenty_people_are_those_that_pandas_finds(shop, frames):
    person = persons(frames)
    shared = person[person.duplicated(keep=False)].index.tolist()[:5]
    claimed = frames["conversions"].merge(frames["claims"], on="order_id").customer_id.unique()
    chosen = sorted({*shared, *claimed[: PEOPLE - len(shared)]})
    chosen += frames["customers"].customer_id.tolist()[: PEOPLE - len(chosen)]
    arms = frames["assignments"].set_index("unit_id").arm
    assert len(chosen) >= PEOPLE
    several = 0
    for customer in chosen[:PEOPLE]:
        path = person_path(shop, customer)
        expected = sorted(person[person == person[customer]].index)
        assert list(path.customers) == expected
        several += len(expected) > 1
        found = [(m.at, m.table, m.row_id) for m in path.moments]
        assert sorted(found) == by_pandas(frames, path.customers)
        assert [m.at for m in path.moments] == sorted(m.at for m in path.moments)
        assert {(a.customer_id, a.arm) for a in path.arms} == {(c, arms[c]) for c in expected}
        # The winback design is hashed, so the registered design gives each of them again.
        assert all(arm.agrees for arm in path.arms)
    assert several >= 3


def test_two_logins_are_two_people_whatever_else_they_share():
    rows = [
        ("a", "email_hash", "1" * 64), ("b", "email_hash", "1" * 64), ("b", "phone_hash", "2"),
        ("c", "phone_hash", "2"), ("a", "login", "ann"), ("c", "login", "cleo"),
        ("d", "device", "x"), ("a", "device", "x"),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["customer_id", "kind", "identifier"])
    frame["seen_at"] = pd.Timestamp("2026-01-01", tz="UTC")
    frame["source"] = "web"
    with connect() as engine:
        engine.register("identities", pa.Table.from_pandas(frame, preserve_index=False))
        assert customers_of_person(engine, "a") == ("a", "b")
        assert customers_of_person(engine, "c") == ("c",)
        assert customers_of_person(engine, "d") == ("d",)  # a device is nobody's own


def test_every_conversion_can_be_walked_to_its_raw_rows(frames, traces):
    rows = [(t.order_id, row) for t in traces for row in t.rows]
    found = {row.moment.row_id for _, row in rows if row.moment.table == "conversions"}
    assert found == set(frames["conversions"].conversion_id)
    for _, row in rows:
        assert row.origin is not None, row.moment
        assert len(row.origin.sha256) == 64
    # Every claim that names an order of the world is in the trace of that order.
    claims = frames["claims"][frames["claims"].order_id.isin(frames["conversions"].order_id)]
    traced = {(o, row.moment.row_id) for o, row in rows if row.moment.table == "claims"}
    assert traced >= set(zip(claims.order_id, claims.claim_id, strict=True))
    clocks = {claim: clock for t in traces for claim, clock in t.clocks.items()}
    late = claims.set_index("claim_id")
    within = (late.converted_at - late.touched_at).dt.total_seconds().between(
        0, late.window_days * 86_400
    )  # fmt: skip
    assert {c: clocks[c]["inside_window"] for c in late.index} == within.to_dict()


def test_the_source_file_of_a_row_holds_that_row(shop, traces):
    manifest = json.loads((shop.warehouse / "manifest.json").read_text(encoding="utf-8"))
    known = {(e["table"], e["source"], e["sha256"]) for e in manifest["files"]}
    stated = {
        (row.moment.table, row.origin.source_file, row.origin.sha256)
        for t in traces
        for row in t.rows
    }
    assert stated <= known
    for one in traces:
        for row in one.rows:
            if row.moment.table == "conversions":
                text = (shop.root / "files" / row.origin.source_file).read_text(encoding="utf-8")
                assert f"{row.moment.row_id},{one.order_id}," in text


def test_credits_of_single_conversions_sum_to_those_of_channels(shop, traces):
    attribution = attribute_workspace(shop, KEY)
    sums = {}
    for one in traces:
        for figure in one.figures:
            if figure.result == "credit":
                sums[figure.name] = sums.get(figure.name, 0.0) + figure.part
    whole = {
        f"{c.model} / {c.channel}": c.conversions
        for c in attribution.credits
        if c.cohort is None and c.model != "markov" and c.conversions
    }
    assert sums == pytest.approx(whole, abs=1e-9)


def test_metrics_of_single_conversions_sum_to_those_of_the_arms(shop, traces):
    analysis = read(shop.results(KEY), "analysis", Analysis)
    found = {}
    for one in traces:
        for figure in one.figures:
            if figure.result == "metric" and figure.name.endswith("/ net_revenue"):
                found[figure.name] = found.get(figure.name, 0.0) + figure.part
    estimate = analysis.find("net_revenue", "winback", "difference")
    control = found.get(f"{KEY} / holdout / net_revenue", 0.0) / estimate.n_control
    treated = found[f"{KEY} / winback / net_revenue"] / estimate.n_arm
    assert (treated - control) / 100 == pytest.approx(estimate.value, abs=1e-9)


def test_claims_of_all_conversions_add_up_to_the_bridge_without_those_of_no_order(
    frames, stored, traces
):
    bridge = {step.step: step.money for step in stored.bridge}
    sums, seen = {}, set()
    for one in traces:
        for figure in one.figures:
            if figure.result == "bridge":
                claim, _, step = figure.name.partition(" / ")
                seen.add(claim)
                sums[step] = sums.get(step, 0) + figure.part
    # What remains are claims on orders that do not exist: claimed, and taken away again.
    ghosts = frames["claims"][~frames["claims"].claim_id.isin(seen)]
    sums["platform-claimed revenue"] += ghosts.value.sum()
    taken = bridge["no matching order or click"] - sums["no matching order or click"]
    assert taken == -ghosts.value.sum()
    sums["no matching order or click"] += taken
    assert sums == {step: bridge[step] for step in sums}
    for check in stored.checks:
        if check.code == "B1":
            stated = {f.row_id for t in traces for f in t.flags if f.code == "B1"}
            assert len(stated) == check.rows


def test_the_rows_of_every_check_are_as_many_and_worth_as_much_as_it_states(shop, stored):
    """All flagged checks of the demo's world, row for row, against the statement on record."""
    stated = {c.code: c for c in stored.checks if c.outcome is Outcome.FLAGGED}
    seen = set()
    with shop.connect() as engine:
        sources = Sources(engine, **reconciliation_inputs(shop, engine, KEY))
        ran = [run_check(declared, sources) for declared in CATALOGUE if declared.code in stated]
        for one in ran:
            if one.declared.judge is not None:
                continue
            check, money, rows = stated[one.declared.code], 0, 0
            for table in filter(one.declared.counted, one.found):
                found = engine.fetch(counted_rows(sources, ran, one, table)).to_pylist()
                ids = [r["entity_id"] if one.declared.by_entity else i for i, r in enumerate(found)]
                rows += len(set(ids))
                micros = sum(int(r["counted"]) for r in found)
                money += micros_to_minor(micros, "EUR") if table in IN_MICROS else micros
            assert rows == check.rows, check.code
            if check.money is not None:
                assert money == check.money, check.code
            seen.add(check.code)
    assert seen >= {"A1", "A2", "A3", "B1", "B2", "B8", "C1", "C3", "E6", "F1", "G1", "G3", "H1"}


def test_the_file_of_a_check_holds_its_rows_and_is_on_record(shop, stored, tmp_path):
    check = next(c for c in stored.checks if c.code == "B1")
    drilled = write_flagged(shop, KEY, "B1", tmp_path / "rows.csv", by="Ana")
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), sum(int(r["money_counted"]) for r in rows)) == (check.rows, check.money)
    assert_documented("reconcile rows", {"schema_version": "1", **drilled.to_dict()})
    assert (tmp_path / "rows.csv").stat().st_mode & 0o077 == 0
    with shop.open_registry() as registry:
        last = list(registry.events())[-1]
    assert last.what == "export list"
    assert (last.detail["code"], last.detail["sha256"]) == ("B1", drilled.sha256)


def test_documents_roles_and_one_clear_line(shop, frames):
    root = shop.root
    customer = frames["conversions"].customer_id[0]
    ran = truelift("path", customer, "--json", "-", cwd=root)
    assert ran.code == 0, ran.err
    assert_documented("path", json.loads(ran.out))
    shared = frames["claims"][frames["claims"].order_id.duplicated()]
    sold = shared.merge(frames["conversions"], on="order_id").conversion_id[0]
    ran = truelift("trace", sold, "--json", "-", cwd=root)
    assert ran.code == 0, ran.err
    assert_documented("trace", json.loads(ran.out))
    truelift("path", "nobody@example.org", cwd=root).refused("nobody of this id")
    truelift("trace", "none", cwd=root).refused("no conversion and no order")
    for command in (("path", customer), ("trace", sold)):
        truelift(*command, "--as", "Finn", cwd=root).refused("Finn (finance) may not read persons")
    rows = ("reconcile", "--check", "B1", "--rows", "f.csv")
    truelift(*rows, "--as", "Finn", cwd=root).refused("Finn (finance) may not read persons")
    truelift("reconcile", "--check", "B1", cwd=root).refused("--check and --rows go together")
    for code in ("J1", "Z9"):
        truelift("reconcile", "--check", code, "--rows", "f.csv", cwd=root).refused(code)
    with shop.open_registry() as registry:
        refused = [e for e in registry.events() if e.what == "refuse"]
    assert {e.detail["action"] for e in refused} == {"read_persons"}


def test_addresses_and_numbers_of_people_are_blotted_out():
    told = {"a": ["ann@example.org", "phone_hash: +49 170 1234567"], "b": 7, "c": "o0000046"}
    assert without_contacts(told) == {
        "a": ["(e-mail hidden)", "phone_hash: (telephone hidden)"],
        "b": 7,
        "c": "o0000046",
    }
    assert without_contacts("2025-10-01T08:50:59+00:00") == "2025-10-01T08:50:59+00:00"
