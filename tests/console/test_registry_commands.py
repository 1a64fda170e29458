"""The lifecycle and the audit as people type them."""

import json
import sqlite3

import pytest

from console.workspace import Workspace
from measure.errors import InputError
from tests.console.command import truelift
from tests.designs.specs import written

KEY = "spring-newsletter"
RULE = '[[approval_rules]]\nname = "VIP"\nrole = "finance"\npopulation = {segment = "VIP"}\n'


@pytest.fixture
def shop(tmp_path):
    people = {"Ana": "analyst", "Ben": "analyst", "Finn": "finance", "Mo": "modeler"}
    workspace = Workspace.create(tmp_path / "shop", approvals="required", people=people)
    with (workspace.root / "truelift.toml").open("a", encoding="utf-8") as settings:
        settings.write(RULE)
    write(workspace.root)
    return workspace.root


def write(root, text=None, name="spring"):
    (root / f"{name}.yaml").write_text(text or written(), encoding="utf-8")


def ok(*arguments, cwd, **environment):
    ran = truelift(*arguments, cwd=cwd, **environment)
    assert ran.code == 0, ran.err
    return ran.out


def test_two_people_and_a_reason_bring_a_high_impact_design_to_its_start(shop):
    assert "truelift submit" in ok("register", "spring.yaml", "--as", "Ana", cwd=shop)
    truelift("start", KEY, "--as", "Ana", cwd=shop).refused("only an approved experiment")
    (shop / "ids.txt").write_text("u1\n")
    assert "finance (VIP: the population touches" in ok("submit", KEY, "--as", "Ana", cwd=shop)
    truelift("approve", KEY, "--as", "Ana", cwd=shop).refused("nobody approves their own design")
    truelift("approve", KEY, "--as", "Mo", cwd=shop).refused("Mo (modeler) may not approve")
    truelift("approve", KEY, "--as", "Eve", cwd=shop).refused("'Eve' is not among the people")
    truelift("approve", KEY, "--as", "Finn", cwd=shop).refused("sign-off of finance", "--reason")
    assert "still needs" in ok("approve", KEY, cwd=shop, TRUELIFT_USER="Ben")
    said = ok("approve", KEY, "--as", "Finn", "--reason", "capped", "--json", "-", cwd=shop)
    assert json.loads(said)["state"] == "approved"
    assert "is running since" in ok("start", KEY, "--as", "Ana", cwd=shop)
    history = ok("history", KEY, "--as", "Finn", cwd=shop)
    assert history.count("refuse") == 3
    assert "nobody approves their own design" in history
    assert "Finn (finance)  approve, version 1" in history


def test_a_running_change_is_proposed_shown_and_approved(shop):
    write(shop, written(more="rollout: 0.1"))
    for step in (("register", "spring.yaml"), ("submit", KEY)):
        ok(*step, "--as", "Ana", cwd=shop)
    ok("approve", KEY, "--as", "Finn", "--reason", "small", cwd=shop)
    ok("start", KEY, "--as", "Ana", cwd=shop)
    write(shop, written(more="rollout: 0.5"))
    assert "Version 2" in ok("register", "spring.yaml", "--as", "Ana", cwd=shop)
    assert "rollout: 0.1 → 0.5" in ok("diff", KEY, "--as", "Finn", cwd=shop)
    ok("reject", KEY, "--as", "Finn", "--reason", "not yet", cwd=shop)
    ok("register", "spring.yaml", "--as", "Ana", cwd=shop)
    ok("approve", KEY, "--as", "Finn", "--reason", "now", cwd=shop)
    document = json.loads(ok("list", "--as", "Mo", "--json", "-", cwd=shop))["experiments"][0]
    assert (document["version"], document["proposed_version"]) == (3, None)
    write(shop, written(more="rollout: 0.5").replace("0.9, control: 0.1", "0.8, control: 0.2"))
    ran = truelift("register", "spring.yaml", "--as", "Ana", cwd=shop)
    ran.refused("arms.newsletter: 0.9 → 0.8", f"key: {KEY}-phase-2")
    document = json.loads(ok("diff", KEY, "1", "3", "--as", "Mo", "--json", "-", cwd=shop))
    assert document["changes"] == [{"field": "rollout", "before": 0.1, "after": 0.5}]
    truelift("diff", KEY, "1", "9", "--as", "Mo", cwd=shop).refused("version '9' not found")


@pytest.mark.parametrize(
    ("person", "command", "words"),
    [
        ("Finn", ("explain", KEY, "u1"), "Finn (finance) may not read persons"),
        (
            "Mo",
            ("audience", KEY, "--channel", "email", "--out", "x.csv"),
            "may not export audience",
        ),
        ("Mo", ("assign", KEY), "Mo (modeler) may not assign"),
        ("Finn", ("analyze", KEY), "Finn (finance) may not analyze"),
        ("Finn", ("conclude", KEY), "Finn (finance) may not conclude"),
        ("Ana", ("assign", KEY), "an unapproved design cannot be assigned"),
    ],
)
def test_what_a_role_may_not_do_is_refused_and_on_record(shop, person, command, words):
    ok("register", "spring.yaml", "--as", "Ana", cwd=shop)
    truelift(*command, cwd=shop, TRUELIFT_USER=person).refused(words)
    assert ("refuse" in ok("history", KEY, "--as", "Finn", cwd=shop)) is ("may not" in words)
    assert not (shop / "x.csv").exists()


def test_stop_and_archive(shop):
    ok("register", "spring.yaml", "--as", "Ana", cwd=shop)
    truelift("stop", KEY, "--as", "Ana", cwd=shop).refused("only a running experiment")
    assert "all its versions" in ok("archive", KEY, "--as", "Ana", "--reason", "no", cwd=shop)
    truelift("register", "spring.yaml", "--as", "Ana", cwd=shop)
    write(shop, written().replace("28", "14"))
    truelift("register", "spring.yaml", "--as", "Ana", cwd=shop).refused("was archived")


def test_the_loser_of_a_race_sees_the_difference(shop):
    ok("register", "spring.yaml", "--as", "Ana", cwd=shop)
    write(shop, written().replace("28", "14"))
    ok("register", "spring.yaml", "--as", "Ben", "--expect", "1", cwd=shop)
    write(shop, written().replace("28", "7"))
    ran = truelift("register", "spring.yaml", "--as", "Ana", "--expect", "1", cwd=shop)
    ran.refused(
        "is at version 2 by Ben, not 1", "-plan: {window_days: 14", "+plan: {window_days: 7"
    )


def test_the_audit_is_verified_exported_and_its_first_bad_row_named(shop):
    ok("register", "spring.yaml", "--as", "Ana", cwd=shop)
    ok("submit", KEY, "--as", "Ana", cwd=shop)
    truelift("audit", "verify", "--as", "Ana", cwd=shop).refused("Ana (analyst) may not verify")
    ok("audit", "head", "--out", "head.json", "--as", "Finn", cwd=shop)
    said = ok("audit", "verify", "--head", "head.json", "--as", "Finn", cwd=shop)
    assert "4 rows" in said
    assert "Row 4 is the one in head.json" in said
    database = sqlite3.connect(shop / "registry.db")
    database.execute("UPDATE experiments SET state = 'approved'")
    database.commit()
    ran = truelift("audit", "verify", "--as", "Finn", cwd=shop)
    ran.refused(f"registry: '{KEY}' is approved in the tables and in review in the audit")
    database.execute("DROP TRIGGER audit_no_update")
    database.execute("UPDATE audit SET who = 'Eve' WHERE sequence = 2")
    database.commit()
    database.close()
    ran = truelift("audit", "verify", "--as", "Finn", cwd=shop)
    ran.refused("row 2 does not follow from the rows before it")
    truelift("audit", "verify", "--head", "no.json", "--as", "Finn", cwd=shop).refused("no.json")


def test_one_person_may_start_small(tmp_path):
    root = Workspace.create(tmp_path / "own").root
    assert 'approvals = "none"' in (root / "truelift.toml").read_text(encoding="utf-8")
    write(root)
    assert f"truelift start {KEY}" in ok("register", "spring.yaml", cwd=root)
    assert "nobody reviewed its design" in ok("start", KEY, cwd=root)
    assert ok("audit", "verify", cwd=root).startswith("✓ 2 rows")
    assert "No jobs yet" in ok("jobs", cwd=root)


def test_a_key_that_others_can_read_or_guess_is_refused(tmp_path):
    workspace = Workspace.create(tmp_path / "own")
    key = workspace.root / "truelift.key"
    key.chmod(0o644)
    with pytest.raises(InputError, match="others can read this key"):
        workspace.secret()
    key.chmod(0o600)
    for text in ("", "secret", "a" * 64):
        key.write_text(text)
        with pytest.raises(InputError, match="too short or too plain"):
            workspace.secret()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('approvals = "yes"', 'must be "none" or "required"'),
        ('approvals = "required"', "at least two names"),
        ('people = "Ana"', "must be a table"),
        ('[people]\nAna = "boss"', "'boss' not found"),
        ("approval_rules = 3", "must be tables"),
        (RULE, "have no effect"),
    ],
)
def test_settings_of_approvals_are_checked_when_the_workspace_opens(tmp_path, lines, words):
    (tmp_path / "truelift.toml").write_text(lines)
    truelift("list", cwd=tmp_path).refused(words)
