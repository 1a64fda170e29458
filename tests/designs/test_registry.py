"""The registry: what is fixed stays fixed, every step leaves a trace, refusals say the way out."""

import sqlite3

import pytest
from sqlalchemy import text as sql
from sqlalchemy.exc import DBAPIError

from designs.assignment.declared import Allocation, Cluster
from designs.experiment import Decision
from designs.registry import Registry
from designs.registry.access import Action
from designs.registry.database import Database
from designs.registry.writing import Writing
from designs.specification import parse_specification
from measure.errors import InputError, LifecycleError, RegistryError, UnknownName
from tests.designs.registry_books import KEY, opened, register
from tests.designs.specs import HILLSTROM, written

HALVES = {"newsletter": 0.5, "control": 0.5}


@pytest.fixture
def registry(registry_url):
    with opened(registry_url) as registry:
        yield registry


def test_an_experiment_goes_from_draft_to_running_to_concluded(registry):
    draft = register(registry)
    assert (draft.state, draft.version, draft.started_at) == ("draft", 1, None)
    assert draft.plan_hash == draft.experiment.analysis_plan().content_hash()
    assert draft.spec_hash == draft.experiment.content_hash()
    assert draft.text == written()

    running = registry.start(KEY, by="ben")
    assert (running.state, running.version) == ("running", 1)
    assert running.start_time is not None
    assert running.started_at == running.start_time.isoformat().replace("+00:00", "Z")

    concluded = registry.conclude(KEY, {"status": "ok", "estimates": []}, by="ana")
    assert concluded.state == "concluded"
    assert concluded.concluded_at > concluded.started_at > concluded.registered_at
    assert registry.result(KEY) == {"status": "ok", "estimates": []}
    assert registry.get(KEY) == concluded
    assert "text" not in concluded.to_dict()


def test_every_step_is_an_event_with_time_person_and_what(registry):
    register(registry)
    register(registry, written() + "# clearer\n", by="cy")
    registry.start(KEY, by="ben")
    registry.conclude(KEY, {"a": 1}, by="ana")
    register(registry, written("other"))
    events = registry.events(KEY)
    assert [(e.who, e.what) for e in events] == [
        ("ana", "register"),
        ("cy", "register"),
        ("ben", "start"),
        ("ana", "conclude"),
    ]
    assert [e.detail.get("version") for e in events] == [1, 2, 2, None]
    assert events[2].detail["plan_hash"] == registry.get(KEY).plan_hash
    assert events[3].detail["result_hash"] == registry.get(KEY).result_hash
    assert [e.sequence for e in registry.events()] == [1, 2, 3, 4, 5]


def test_an_edited_draft_becomes_the_next_version_and_the_old_text_stays(registry):
    register(registry)
    changed = written().replace("28", "14")
    assert register(registry, changed).version == 2
    assert registry.get(KEY).experiment.plan.window_days == 14
    assert registry.text(KEY, 1) == written()
    assert registry.text(KEY, 2) == changed
    with pytest.raises(UnknownName, match="version '3' not found"):
        registry.text(KEY, 3)


def test_registering_the_same_again_changes_nothing(registry):
    first = register(registry)
    assert register(registry) == first
    assert len(registry.events()) == 1
    registry.start(KEY, by="ana")
    again = register(registry, "# another comment\n" + written())
    assert (again.state, again.version) == ("running", 1)
    assert len(registry.events()) == 2


def test_a_running_experiment_refuses_what_would_break_it(registry):
    register(registry)
    registry.start(KEY, by="ana")
    with pytest.raises(LifecycleError) as caught:
        register(registry, written().replace("28", "14"))
    assert str(caught.value) == (
        f"'{KEY}' is running; plan.window_days: 28 → 14: plan is part of the analysis plan, which "
        "was frozen at the start. Analyse it all the same with `truelift analyze SPEC.yaml` "
        f"(labelled exploratory), or open a new phase: stop this one, write key: {KEY}-phase-2 and "
        "register that file; its salt and its arms are new."
    )
    assert registry.get(KEY).experiment.plan.window_days == 28


def test_steps_out_of_order_are_refused(registry):
    register(registry)
    with pytest.raises(LifecycleError, match=r"is a draft since .* Start it first"):
        registry.conclude(KEY, {}, by="ana")
    with pytest.raises(LifecycleError, match="only a running or stopped experiment"):
        registry.require_running(KEY)
    registry.start(KEY, by="ana")
    with pytest.raises(LifecycleError, match=r"is running since .*; only a draft can be started"):
        registry.start(KEY, by="ben")
    assert registry.require_running(KEY).state == "running"
    concluded = registry.conclude(KEY, {"a": 1}, by="ana")
    assert registry.conclude(KEY, {"a": 1}, by="ana") == concluded  # acknowledged twice
    for step in (
        lambda: registry.conclude(KEY, {"a": 2}, by="ana"),
        lambda: registry.start(KEY, by="ana"),
        lambda: register(registry, written().replace("28", "14")),
    ):
        with pytest.raises(LifecycleError, match="is concluded since"):
            step()
    assert len(registry.events()) == 3


def test_an_unknown_key_has_a_nearest_name(registry):
    register(registry)
    for step in (registry.get, registry.events, registry.result, registry.require_running):
        with pytest.raises(UnknownName, match=f"Did you mean '{KEY}'"):
            step("spring-newsleter")


def test_only_the_frozen_plan_is_planned(registry):
    plan = register(registry).experiment.analysis_plan()
    assert not registry.is_planned(KEY, plan)  # a draft promises nothing
    registry.start(KEY, by="ana")
    assert registry.is_planned(KEY, plan)
    assert not registry.is_planned(KEY, plan.model_copy(update={"cohorts": ("country", "device")}))


def test_a_stale_edit_is_refused_with_the_difference(registry):
    register(registry)
    register(registry, written().replace("28", "14"), by="ben")
    with pytest.raises(LifecycleError) as caught:
        register(registry, written().replace("28", "7"), expected_version=1)
    message = str(caught.value)
    assert f"'{KEY}' is at version 2 by ben, not 1; read it again" in message
    assert "-plan: {window_days: 14" in message
    assert "+plan: {window_days: 7" in message
    assert register(registry, written().replace("28", "7"), expected_version=2).version == 3


def test_text_and_experiment_must_be_the_same(registry):
    other = parse_specification(written().replace("28", "14"), "x").experiment
    with pytest.raises(InputError, match="does not say what the experiment says"):
        registry.register(written(), other, by="ana")
    assert registry.entries() == ()


def test_entries_are_listed_by_key(registry):
    for key in ("b", "a", "c"):
        register(registry, written(key))
    registry.start("b", by="ana")
    assert [(e.key, e.state) for e in registry.entries()] == [
        ("a", "draft"),
        ("b", "running"),
        ("c", "draft"),
    ]


def test_an_experiment_with_its_own_results_can_be_registered(registry):
    text = HILLSTROM.read_text(encoding="utf-8")
    assert register(registry, text).experiment.source.path == "../../shared/data/hillstrom.csv"


def test_a_name_cannot_forge_lines(registry):
    register(registry, by="ana\r\n2026-01-01 root start\x1b[31m")
    assert registry.events()[0].who == "ana  2026-01-01 root start [31m"


@pytest.mark.parametrize(
    "action",
    [f"{verb} {t}" for t in ("versions", "results", "audit") for verb in ("DELETE FROM", "UPDATE")]
    + ["DELETE FROM approvals", "UPDATE approvals", "DELETE FROM experiments"],
)
def test_the_record_cannot_be_rewritten(registry, registry_url, action):
    register(registry)
    registry.submit(KEY, by="ana")
    registry.approve(KEY, by="ben")
    registry.start(KEY, by="ana")
    registry.conclude(KEY, {"a": 1}, by="ana")
    statement = f"{action} SET key = 'x'" if action.startswith("UPDATE") else action
    database = Database(registry_url)
    table = action.rpartition(" ")[2]
    with (
        database.engine.connect() as connection,
        pytest.raises(DBAPIError, match=f"{table} is append-only"),
    ):
        connection.execute(sql(statement))
    database.close()


@pytest.mark.parametrize(
    ("table", "columns", "values"),
    [
        ("versions", "key, version, text, spec_hash, plan_hash, registered_at, registered_by",
         "key, version, 'forged', spec_hash, plan_hash, registered_at, registered_by"),
        ("results", "key, document, result_hash, recorded_at", "key, '{}', 'x', recorded_at"),
        ("audit", "sequence, key, at, who, role, account, what, detail, hash",
         "sequence, key, at, 'eve', role, account, what, detail, hash"),
        ("approvals", "sequence, key, version, who, role, reason, at",
         "sequence, key, version, 'eve', role, reason, at"),
    ],
)  # fmt: skip
def test_no_row_of_the_record_is_replaced(registry, registry_url, table, columns, values):
    register(registry)
    registry.submit(KEY, by="ana")
    registry.approve(KEY, by="ben")
    registry.start(KEY, by="ana")
    registry.conclude(KEY, {"a": 1}, by="ana")
    database = Database(registry_url)
    with database.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            text = f"REPLACE INTO {table} ({columns}) SELECT {values} FROM {table}"
        else:
            first, second = columns.split(", ")[0], columns.split(", ")[1]
            same = f"{first}, {second}" if table == "versions" else first
            text = (
                f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} "
                f"ON CONFLICT ({same}) DO UPDATE SET key = 'x'"
            )
        with pytest.raises(DBAPIError, match=f"{table} is append-only"):
            connection.execute(sql(text))
    database.close()


@pytest.mark.parametrize(
    "table", ["versions", "results", "audit", "approvals", "experiments", "audit_head"]
)
def test_postgresql_refuses_to_empty_any_table_of_the_record(postgres_url, table):
    with opened(postgres_url) as registry:
        register(registry)
        with (
            registry._database.engine.connect() as connection,
            pytest.raises(DBAPIError, match=r"is append-only"),
        ):
            connection.execute(sql(f"TRUNCATE {table} CASCADE"))


def test_a_step_sent_twice_is_taken_once(registry):
    """A commit may succeed unacknowledged; the same request again is answered, not refused."""
    register(registry)
    steps = [
        lambda by: registry.submit(KEY, by=by),
        lambda by: registry.approve(KEY, by="ben" if by == "ana" else by, reason="fine"),
        lambda by: registry.start(KEY, by=by),
        lambda by: registry.stop(KEY, by=by, reason="enough"),
        lambda by: registry.conclude(KEY, {"a": 1}, by=by),
        lambda by: registry.archive(KEY, by=by, reason="done"),
    ]
    for number, step in enumerate(steps, 2):
        first = step("ana")
        assert step("ana") == first
        assert len(registry.events()) == number
        if number != 6:  # the same result is the same whoever records it
            with pytest.raises(LifecycleError):
                step("cy")
    registry.permit(Action.READ, KEY, by="ana")
    assert registry.verify_audit(by="x").intact


def test_the_same_step_for_another_reason_is_another_step(registry):
    register(registry)
    registry.start(KEY, by="ana")
    registry.stop(KEY, by="ana", reason="enough")
    with pytest.raises(LifecycleError, match="only a running experiment"):
        registry.stop(KEY, by="ana", reason="harm")


def test_postgresql_refuses_to_empty_the_record(postgres_url):
    with opened(postgres_url) as registry:
        register(registry)
        with (
            registry._database.engine.connect() as connection,
            pytest.raises(DBAPIError, match="audit is append-only"),
        ):
            connection.execute(sql("TRUNCATE audit"))


def test_a_specification_that_departs_from_the_registered_one_is_not_as_registered(registry):
    entry = register(registry, written(more="rollout: 0.5"))
    assert not registry.is_as_registered(KEY, entry.experiment)  # a draft promises nothing
    registry.start(KEY, by="ana")
    same = entry.experiment
    assert registry.is_as_registered(KEY, same)
    assert registry.is_as_registered(KEY, same.model_copy(update={"rollout": 1.0}))
    for other in (
        {"cohorts": ("country", "device")},
        {"cluster": Cluster(attribute="account")},  # the plan's hash does not know units
        {"allocation": Allocation(attribute="country", shares={"DE": HALVES})},
        {"decision": Decision(scale_if="P(lift > 0) >= 0.5")},
        {"hypothesis": "The newsletter costs orders."},
    ):
        assert not registry.is_as_registered(KEY, same.model_copy(update=other)), other


def test_a_failed_step_leaves_nothing_behind(registry, monkeypatch):
    register(registry)

    def fails(*_args, **_kwargs):
        raise RuntimeError("power cut")

    monkeypatch.setattr(Writing, "note", fails)
    with pytest.raises(RuntimeError):
        registry.start(KEY, by="ana")
    monkeypatch.undo()
    assert registry.get(KEY).state == "draft"
    assert len(registry.events()) == 1


def test_a_registry_is_opened_again(registry_url):
    with opened(registry_url) as first:
        entry = register(first)
    with opened(registry_url) as second:
        assert second.get(KEY) == entry


def test_without_the_key_it_can_be_read_but_not_written(registry_url):
    with opened(registry_url) as first:
        entry = register(first)
    with Registry(registry_url) as second:
        assert second.get(KEY) == entry
        with pytest.raises(RegistryError, match="without the workspace's key"):
            second.start(KEY, by="ana")


def test_the_database_is_set_up_for_durability(sqlite_url):
    with opened(sqlite_url) as registry, registry._database.engine.connect() as connection:
        found = {
            name: connection.execute(sql(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    mode = "wal" if sqlite3.sqlite_version_info >= (3, 51, 3) else "truncate"
    # https://sqlite.org/pragma.html#pragma_synchronous: 2 is FULL
    expected = {"journal_mode": mode, "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    assert found == expected


def test_what_is_no_registry_is_refused_in_one_line(tmp_path):
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database, but long enough to look at" * 50)
    for url, words in (
        (f"sqlite:///{garbage}", "file is not a database"),
        (f"sqlite:///{tmp_path}/absent/registry.db", "unable to open database file"),
        ("registry.db", "not a URL; write sqlite:///PATH"),
        ("mysql://ana:secret@host/db", "only sqlite:///PATH and postgresql://"),
        ("postgresql://ana:secret@127.0.0.1:1/db", "check that the server runs"),
    ):
        with pytest.raises(RegistryError) as caught:
            Registry(url)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
    assert garbage.read_bytes().startswith(b"not a database")


def test_a_read_only_registry_says_so(sqlite_url):
    with opened(sqlite_url) as registry:
        register(registry)
        with registry._database.engine.connect() as connection:
            connection.execute(sql("PRAGMA query_only = ON"))
            connection.rollback()
        with pytest.raises(RegistryError, match="readonly"):
            registry.start(KEY, by="ana")
