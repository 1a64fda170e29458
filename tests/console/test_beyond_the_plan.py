"""What was signed is shown under what was signed; what was not planned is called exploratory."""

import json
import re

import pytest

from console.cli import main
from console.workspace import Workspace

PEOPLE = {"Ana": "analyst", "Ben": "analyst", "Finn": "finance"}
KEY = "letters"
SPEC = f"""\
key: {KEY}
hypothesis: Letters bring orders.
unit: person
source: {{path: units.csv, arm: arm}}
arms: {{letter: 0.5, none: 0.5}}
control: none
metrics:
  - {{name: orders, role: primary}}
  - {{name: returns, kind: mean}}
plan: {{estimators: [difference]}}
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    root = Workspace.create(tmp_path / "shop", approvals="required", people=PEOPLE).root
    monkeypatch.chdir(root)
    rows = [f"{'letter' if i % 2 else 'none'},{i % 7 + i % 2},{i % 3}" for i in range(400)]
    (root / "units.csv").write_text("arm,orders,returns\n" + "\n".join(rows) + "\n")
    (root / "spec.yaml").write_text(SPEC)
    return root


def run(*arguments, name="Ana"):
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--as", name])
    assert caught.value.code == 0


def signatures(root):
    """The rows of the page's table of approvals, tags left out."""
    run("plan", "spec.yaml", "--lift", "0.1", "--runs", "0", "--page", "page.html")
    page = (root / "page.html").read_text(encoding="utf-8")
    section = page[page.index('id="approvals-h"') :]
    section = section[: section.index("</section>")]
    rows = re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)[1:]
    return [
        [" ".join(re.sub(r"<[^>]+>", "", cell).split()) for cell in re.findall(
            r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)]
        for row in rows
    ], section  # fmt: skip


def test_the_design_page_shows_who_signed_this_very_design(shop):
    assert "Nobody has signed this design yet." in signatures(shop)[1]  # not even registered
    run("register", "spec.yaml")
    run("submit", KEY)
    run("reject", KEY, "--reason", "too short", name="Ben")
    run("submit", KEY)
    run("approve", KEY, "--reason", "the rule is fixed", name="Finn")
    rows, _ = signatures(shop)
    assert [(row[0].lower(), row[1].lower(), row[2], row[4]) for row in rows] == [
        ("ana", "analyst", "Submitted", "—"),
        ("ben", "analyst", "Rejected", "too short"),
        ("ana", "analyst", "Submitted", "—"),
        ("finn", "finance", "Approved", "the rule is fixed"),
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", row[3]) for row in rows)


def test_a_signature_does_not_follow_the_design_through_an_edit(shop):
    run("register", "spec.yaml")
    run("submit", KEY)
    run("approve", KEY, "--reason", "fine", name="Finn")
    (shop / "spec.yaml").write_text(SPEC.replace("0.5, none: 0.5", "0.9, none: 0.1"))
    assert "Nobody has signed this design yet." in signatures(shop)[1]
    run("register", "spec.yaml", name="Ben")
    run("submit", KEY, name="Ben")
    assert [row[2] for row in signatures(shop)[0]] == ["Submitted"]
    (shop / "spec.yaml").write_text("# a comment is no edit of the design\n" + SPEC)
    assert [row[2] for row in signatures(shop)[0]] == ["Submitted", "Approved"]


@pytest.mark.parametrize(
    ("old", "new", "exploratory"),
    [
        ("Letters bring", "Letters bring", False),
        ("key:", "# a comment\nkey:", False),
        ("key:", "title: Letters\nkey:", False),
        ("metrics:", "covariates: [returns2]\nmetrics:", True),
        ("estimators: [difference]", "estimators: [difference], seed: 2", True),
        ("Letters bring orders", "Letters cost orders", True),
    ],
)
def test_an_analysis_of_results_brought_along_knows_what_was_planned(
    shop, capsys, old, new, exploratory
):
    lines = (shop / "units.csv").read_text().splitlines()
    wider = [f"{line},{'returns2' if i == 0 else i % 5}" for i, line in enumerate(lines)]
    (shop / "units.csv").write_text("\n".join(wider) + "\n")
    for step in (("register", "spec.yaml"), ("submit", KEY)):
        run(*step)
    run("approve", KEY, name="Finn")
    run("start", KEY)
    (shop / "other.yaml").write_text(SPEC.replace(old, new))
    capsys.readouterr()
    run("analyze", "other.yaml", "--json", "out.json")
    provenance = json.loads((shop / "out.json").read_text())["provenance"]
    assert (provenance["registered"], provenance["exploratory"]) == (True, exploratory)
    said = capsys.readouterr().out
    assert ("Exploratory: beyond the plan that was frozen" in said) is exploratory


def test_what_was_never_registered_is_not_called_exploratory(shop):
    run("analyze", "spec.yaml", "--json", "out.json")
    provenance = json.loads((shop / "out.json").read_text())["provenance"]
    assert (provenance["registered"], provenance["exploratory"]) == (False, False)
