"""Each command asks once who may run it; refusals are on record; without people nobody is asked."""

import re

import pytest

from console.cli import main
from console.workspace import Workspace
from designs.registry.access import Action, Role, permissions
from tests.designs.registry_books import KEY
from tests.designs.specs import written

PEOPLE = {"Ana": "analyst", "Finn": "finance", "Mo": "modeler", "Ada": "admin"}
NAMES = {Role(role): name for name, role in PEOPLE.items()}
COMMANDS = {  # command: what it asks for; the rest of the matrix is the data file's
    ("list",): Action.READ,
    ("history", KEY): Action.READ,
    ("diff", KEY, "1", "1"): Action.READ,
    ("jobs",): Action.READ,
    ("schedule", KEY): Action.READ,
    ("plan", KEY): Action.READ,
    ("plan", "--next"): Action.READ,
    ("suppress", "email", "--out", "out.csv"): Action.EXPORT_AUDIENCE,
    ("audience", KEY, "--channel", "email", "--out", "out.csv"): Action.EXPORT_AUDIENCE,
    ("holdout", "u1"): Action.READ_PERSONS,
    ("explain", KEY, "u1"): Action.READ_PERSONS,
    ("path", "u1"): Action.READ_PERSONS,
    ("trace", "v1"): Action.READ_PERSONS,
    ("health",): Action.REPORT,
    ("erase", "u1", "--reason", "asked by letter"): Action.ERASE_PERSON,
    ("assign", KEY): Action.ASSIGN,
    ("analyze", KEY): Action.ANALYZE,
    ("analyze", "spring.yaml"): Action.ANALYZE,
    ("attribute",): Action.ANALYZE,
    ("attribute", KEY): Action.ANALYZE,
    ("reconcile",): Action.RECONCILE,
    ("reconcile", KEY): Action.RECONCILE,
    ("report",): Action.REPORT,
    ("report", KEY): Action.REPORT,
    ("report", "spring.yaml"): Action.ANALYZE,
}


@pytest.fixture
def shop(tmp_path, monkeypatch):
    root = Workspace.create(tmp_path / "shop", approvals="required", people=PEOPLE).root
    monkeypatch.chdir(root)
    (root / "spring.yaml").write_text(written(), encoding="utf-8")
    assert run("register", "spring.yaml", "--as", "Ana") == (0, "")
    return root


def run(*arguments, capture=None):
    """Exit code and what is said on standard error."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return caught.value.code, capture.readouterr().err if capture else ""


@pytest.mark.parametrize("command", list(COMMANDS), ids=" ".join)
def test_each_command_is_open_to_exactly_its_roles(shop, capsys, command):
    action = COMMANDS[command]
    for role, name in NAMES.items():
        code, said = run(*command, "--as", name, capture=capsys)
        verb = str(action).replace("_", " ")
        refused = re.search(rf"{name} \({role}\) may not {verb}", said) is not None
        assert refused is (role not in permissions()[action]), (role, said)
        assert code == 2 if refused else "may not" not in said
    code, said = run(*command, "--as", "Eve", capture=capsys)
    assert code == 2
    assert "'Eve' is not among the people of this workspace" in said
    assert not (shop / "out.csv").exists()
    with Workspace.open(shop).open_registry() as registry:
        refusals = [e for e in registry.events() if e.what == "refuse"]
        shut = len(NAMES.keys() - permissions()[action])
        assert len(refusals) == shut + 1
        assert {e.detail["action"] for e in refusals} == {action}
        assert registry.verify_audit(by="Finn").intact


def test_the_name_may_come_from_the_environment(shop, capsys, monkeypatch):
    monkeypatch.setenv("TRUELIFT_USER", "Finn")
    code, said = run("holdout", "u1", capture=capsys)
    assert (code, "Finn (finance) may not read persons" in said) == (2, True)
    assert run("holdout", "u1", "--as", "Ana")[0] == 0


def test_without_people_nobody_is_asked_for_a_role_or_a_key(tmp_path, monkeypatch, capsys):
    root = Workspace.create(tmp_path / "own").root
    monkeypatch.chdir(root)
    (root / "truelift.key").unlink()
    for command in (("list",), ("jobs",), ("holdout", "u1")):
        assert run(*command, "--as", "anybody", capture=capsys) == (0, "")


def test_whoever_brings_a_file_of_their_own_is_not_asked(shop, capsys):
    (shop / "own.csv").write_text("arm,m\na,1\na,2\na,3\nb,2\nb,3\nb,5\n")
    (shop / "own.yaml").write_text(
        "{key: own, hypothesis: h, source: {path: own.csv, arm: arm}, arms: {a: 0.5, b: 0.5}, "
        "control: a, metrics: [{name: m}]}"
    )
    assert run("analyze", "own.yaml", "--as", "Finn", capture=capsys)[0] == 0


def test_nobody_approves_what_was_written_while_they_were_reading(shop, capsys):
    assert run("submit", KEY, "--as", "Ana")[0] == 0
    (shop / "spring.yaml").write_text(written().replace("28", "90"), encoding="utf-8")
    assert run("register", "spring.yaml", "--as", "Ana")[0] == 0
    assert run("submit", KEY, "--as", "Ana")[0] == 0
    code, said = run("approve", KEY, "--expect", "1", "--as", "Finn", capture=capsys)
    assert code == 2
    assert "version 2 by Ana is under review, not 1" in said
    assert "+plan: {window_days: 90" in said
    assert run("approve", KEY, "--expect", "2", "--as", "Finn")[0] == 0
    assert run("start", KEY, "--as", "Ana")[0] == 0
    assert run("start", KEY, "--as", "Ana")[0] == 0  # sent twice


def test_who_registers_over_somebody_elses_version_is_told(tmp_path, monkeypatch, capsys):
    root = Workspace.create(tmp_path / "own").root
    monkeypatch.chdir(root)
    spec = root / "spring.yaml"
    for name, days in (("Ana", "28"), ("Ben", "14"), ("Ana", "7")):
        spec.write_text(written().replace("28", days), encoding="utf-8")
        assert run("register", "spring.yaml", "--as", name)[0] == 0
    said = capsys.readouterr().out
    assert "It follows version 2 by Ben:\n  plan.window_days: 14 → 7" in said
    assert said.count("It follows") == 2
