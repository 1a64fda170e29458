"""Bad input: one clear line, exit code 2, nothing half written. Odd data: a status, no error."""

import json
from pathlib import Path

import pytest

from console.workspace import Workspace
from tests.console.command import truelift

SPEC = """\
key: letters
hypothesis: The letter brings visits.
unit: customer
source: {{path: {path}, arm: arm{id}}}
arms: {arms}
control: {control}
metrics:
  - {{name: visit, kind: proportion}}
  - {{name: spend, kind: mean, column: {column}, unit: EUR}}
covariates: [age]
cohorts: [city]
plan: {{estimators: [difference, cuped]}}
"""
ROWS = ["id,arm,visit,spend,age,city"] + [
    f"u{i},{'letter' if i % 2 else 'none'},{int(i % 3 == 0)},{(i % 7) * 1.5},{20 + i % 40},"
    f"{'Rome' if i % 5 else 'Oslo'}"
    for i in range(400)
]


def write(folder: Path, rows=ROWS, **changes: str) -> Path:
    values = {
        "path": "units.csv",
        "id": "",
        "arms": "{none: 0.5, letter: 0.5}",
        "control": "none",
        "column": "spend",
        **changes,
    }
    (folder / "units.csv").write_text("\n".join(rows) + "\n" if rows else "")
    spec = folder / "letters.yaml"
    spec.write_text(SPEC.format(**values))
    return spec


def analysed(spec: Path) -> dict:
    ran = truelift("analyze", spec, "--json", "-")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_good_input_is_analysed(tmp_path):
    document = analysed(write(tmp_path))
    assert document["status"] == "ok"
    assert {e["status"] for e in document["estimates"]} == {"ok"}


def test_a_missing_specification(tmp_path):
    truelift("analyze", tmp_path / "none.yaml").refused("none.yaml", "no such file")


def test_a_missing_data_file(tmp_path):
    spec = write(tmp_path, path="gone.csv")
    truelift("analyze", spec).refused("gone.csv", "no such file")


def test_a_wrong_column_is_met_with_the_nearest_one(tmp_path):
    truelift("analyze", write(tmp_path, column="spent")).refused("'spent'", "Did you mean 'spend'?")


def test_arms_that_do_not_add_up(tmp_path):
    spec = write(tmp_path, arms="{none: 0.5, letter: 0.6}")
    truelift("analyze", spec).refused("line 5", "arms", "add up to 1")


def test_a_control_that_does_not_exist(tmp_path):
    spec = write(tmp_path, control="nobody")
    truelift("analyze", spec).refused("line 6", "control", "'nobody'")


def test_an_unreadable_specification(tmp_path):
    spec = write(tmp_path)
    spec.write_text("key: [unclosed\nname: x")
    truelift("analyze", spec).refused("letters.yaml", "line 2")


def test_text_in_a_numeric_metric(tmp_path):
    rows = [*ROWS[:10], ROWS[10].replace(",", ",", 2).replace(",13.5,", ",much,"), *ROWS[11:]]
    rows[5] = "u4,none,0,a lot,24,Rome"
    truelift("analyze", write(tmp_path, rows)).refused("spend", "a lot", "row 5")


def test_an_empty_file(tmp_path):
    truelift("analyze", write(tmp_path, [])).refused("units.csv", "empty")


def test_a_file_with_a_header_only(tmp_path):
    truelift("analyze", write(tmp_path, ROWS[:1])).refused("units.csv", "no rows")


def test_two_rows_for_one_unit(tmp_path):
    spec = write(tmp_path, [*ROWS, ROWS[3]], id=", id: id")
    truelift("analyze", spec).refused("u2", "2 rows")


def test_an_arm_nobody_planned(tmp_path):
    spec = write(tmp_path, [*ROWS, "u999,postcard,0,0,30,Rome"])
    truelift("analyze", spec).refused("'postcard'")


def test_json_into_a_missing_folder_is_refused_before_any_work(tmp_path):
    ran = truelift("analyze", write(tmp_path), "--json", tmp_path / "no" / "out.json")
    ran.refused("--json", "does not exist")


def test_a_refused_analysis_leaves_no_file_behind(tmp_path):
    before = {path.name for path in tmp_path.iterdir()}
    spec = write(tmp_path, column="spent")
    truelift("analyze", spec, "--json", tmp_path / "out.json").refused("'spent'")
    assert {path.name for path in tmp_path.iterdir()} - before == {"units.csv", "letters.yaml"}


def test_outside_a_workspace_a_key_has_nowhere_to_live(tmp_path):
    truelift("analyze", "some-key", cwd=tmp_path).refused("truelift init DIR")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("analyse", "x"), "Did you mean 'analyze'?"),
        (("analyze",), "Missing argument"),
        (("analyze", "x", "--jsn"), "--json"),
        (("demo", "--customers", "many"), "--customers"),
        (("demo", "--customers", "10"), "--customers"),
        (("example", "hilstrom"), "Did you mean 'hillstrom'?"),
    ],
)
def test_usage(arguments, word, tmp_path):
    truelift(*arguments, cwd=tmp_path).refused(word)


@pytest.mark.parametrize("command", ["analyze", "start", "conclude", "assign", "report"])
def test_an_unknown_experiment(command, tmp_path):
    Workspace.create(tmp_path / "shop")
    truelift(command, "winbak", cwd=tmp_path / "shop").refused("winbak")


def test_unknown_tables_and_columns_are_met_with_the_nearest_one(tmp_path):
    Workspace.create(tmp_path / "shop")
    rows = tmp_path / "rows.csv"
    rows.write_text("activation_id,platfrom\na1,x\n")
    load = ("load", "activation", rows)
    truelift(*load, cwd=tmp_path / "shop").refused("Did you mean 'activations'?")
    load = ("load", "activations", rows)
    truelift(*load, cwd=tmp_path / "shop").refused("platfrom", "Did you mean 'platform'?")
    assert not list((tmp_path / "shop").glob("warehouse/**/*.parquet"))


def test_a_demo_never_overwrites_what_it_did_not_make(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    truelift("demo", tmp_path, "--customers", "2000").refused("is not empty")
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_constant_metric_is_degenerate_not_an_error(tmp_path):
    rows = [ROWS[0]] + [
        ",".join([*row.split(",")[:3], "5", *row.split(",")[4:]]) for row in ROWS[1:]
    ]
    document = analysed(write(tmp_path, rows))
    spend = [e for e in document["estimates"] if e["metric"] == "spend"]
    assert {e["status"] for e in spend} == {"degenerate"}
    assert all(e["ci_low"] is None and e["note"] for e in spend)


def test_an_arm_with_one_unit_is_insufficient_not_an_error(tmp_path):
    rows = [row for row in ROWS if ",letter," not in row] + ["u1,letter,1,3,30,Rome"]
    document = analysed(write(tmp_path, rows, arms="{none: 0.995, letter: 0.005}"))
    assert {e["status"] for e in document["estimates"]} <= {"insufficient", "invalid"}
    assert all(e["value"] is None or e["status"] == "ok" for e in document["estimates"])


def test_a_cohort_of_three_is_insufficient_not_an_error(tmp_path):
    rows = [*ROWS] + [f"v{i},{'letter' if i else 'none'},1,{i},30,Bari" for i in range(3)]
    document = analysed(write(tmp_path, rows))
    bari = [e for e in document["estimates"] if (e["cohort"] or {}).get("value") == "Bari"]
    assert len(bari) == 4
    assert {e["status"] for e in bari} == {"insufficient"}
    everybody = [e for e in document["estimates"] if e["cohort"] is None]
    assert {e["status"] for e in everybody} == {"ok"}
