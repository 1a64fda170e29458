import stat
from pathlib import Path

import pytest

from console.workspace import Workspace
from measure.errors import InputError, MissingFile, UnknownName


def test_a_new_workspace_opens_and_keeps_its_key_to_the_owner(tmp_path):
    workspace = Workspace.create(tmp_path / "shop", currency="USD")
    assert workspace.settings.currency == "USD"
    key = workspace.root / "truelift.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_text().strip()) == 64
    assert Workspace.find(workspace.root / "experiments").root == workspace.root.resolve()


def test_two_workspaces_have_different_keys(tmp_path):
    keys = [(Workspace.create(tmp_path / name).root / "truelift.key").read_text() for name in "ab"]
    assert keys[0] != keys[1]


def test_a_workspace_is_never_made_over_another(tmp_path):
    Workspace.create(tmp_path)
    before = (tmp_path / "truelift.key").read_text()
    with pytest.raises(InputError, match="is a workspace already"):
        Workspace.create(tmp_path)
    assert (tmp_path / "truelift.key").read_text() == before


def test_outside_a_workspace_the_way_in_is_named(tmp_path):
    with pytest.raises(MissingFile, match="truelift init DIR"):
        Workspace.find(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("currancy = 'EUR'", "Did you mean 'currency'"),
        ("currency = 'euro'", "must be an ISO 4217 code"),
        ("time_zone = 'Mars/Olympus'", "must be an IANA name"),
        ("min_cell = 'many'", "must be a whole number"),
        ("min_cell = 0", "must be at least 1"),
        ("currency = ", "not readable as TOML"),
    ],
)
def test_settings_are_checked_by_name_and_value(tmp_path, line, message):
    (tmp_path / "truelift.toml").write_text(line)
    with pytest.raises((InputError, UnknownName), match=message):
        Workspace.open(tmp_path)


def test_a_file_is_named_so_that_it_is_found_from_anywhere(tmp_path, monkeypatch):
    workspace = Workspace.create(tmp_path / "w")
    monkeypatch.chdir(workspace.root)
    assert workspace.named(Path("reach.csv")) == "reach.csv"
    monkeypatch.chdir(workspace.root / "experiments")
    assert workspace.named(Path("../../reach.csv")) == str(tmp_path.resolve() / "reach.csv")
    assert workspace.named(tmp_path / "reach.csv") == str(tmp_path / "reach.csv")
