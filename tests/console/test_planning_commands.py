"""`truelift plan` as a user runs it."""

import json

import pytest

from tests.console.command import truelift
from tests.data import data_file
from tests.designs import specs


@pytest.fixture(scope="module")
def hillstrom():
    data_file("hillstrom.csv")
    return specs.HILLSTROM


def test_a_plan_is_printed_and_written(hillstrom, tmp_path):
    document, page = tmp_path / "plan.json", tmp_path / "design.html"
    ran = truelift("plan", hillstrom, "--lift", "0.3", "--json", document, "--page", page)
    assert ran.code == 0, ran.err
    for words in ("spend", "anytime-valid", "holdout is expected to cost", "P1", "P10"):
        assert words in ran.out
    plan = json.loads(document.read_text(encoding="utf-8"))
    assert plan["schema_version"] == "1.0"
    assert plan["experiment"] == "womens-email-2008"
    first = plan["precision"][0]
    assert (first["metric"], first["estimator"], first["method"]) == (
        "spend", "difference", "normal",
    )  # fmt: skip
    # Source: closed form on the file: 2.8016 · sd · sqrt(1/21,312 + 1/21,376) / mean.
    assert first["mde_relative"] == pytest.approx(2.8016 * 11.5882 * 0.0096800 / 0.652789, rel=1e-3)
    assert "Finds a lift in spend of 48% or more" in page.read_text(encoding="utf-8")


def test_assumptions_come_from_a_file_and_the_command_line_wins(hillstrom, tmp_path):
    file = tmp_path / "assume.yaml"
    file.write_text("assumptions: {power: 0.9, lift: 0.2, looks: 3}\n", encoding="utf-8")
    ran = truelift("plan", hillstrom, "--assume", file, "--lift", "0.4", "--json", "-")
    assumed = json.loads(ran.out)["assumptions"]
    assert (assumed["power"], assumed["lift"], assumed["looks"]) == (0.9, 0.4, 3)


def test_bad_input_is_one_line(hillstrom, tmp_path):
    truelift("plan").refused("--next")
    truelift("plan", tmp_path / "absent.yaml").refused("absent.yaml")
    truelift("plan", hillstrom, "--power", "1.5").refused("power")
    truelift("plan", hillstrom, "--lift-sd", "0.1").refused("lift_sd")
    truelift("plan", hillstrom, "--page", tmp_path / "no" / "p.html").refused("--page")
    truelift("plan", hillstrom, "--next").refused("--next")
    file = tmp_path / "assume.yaml"
    file.write_text("assumptions: {powr: 0.9}\n", encoding="utf-8")
    truelift("plan", hillstrom, "--assume", file).refused("powr", "line 1")


def test_next_ranks_what_nobody_has_started(hillstrom, tmp_path):
    truelift("init", tmp_path / "shop")
    folder = tmp_path / "shop" / "experiments"
    text = hillstrom.read_text(encoding="utf-8").replace(
        "../../shared/data/hillstrom.csv", str(data_file("hillstrom.csv"))
    )
    (folder / "dear.yaml").write_text(text.replace("womens-email-2008", "dear"), encoding="utf-8")
    cheap = text.replace("womens-email-2008", "cheap").replace("per_unit: 0.05", "per_unit: 0.01")
    (folder / "cheap.yaml").write_text(cheap, encoding="utf-8")
    broken = text.replace("womens-email-2008", "no-cost").split("cost:")[0]
    (folder / "no-cost.yaml").write_text(broken, encoding="utf-8")
    ran = truelift("plan", "--next", "--lift", "0.2", "--json", "-", cwd=tmp_path / "shop")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)["candidates"]
    assert [c["rank"] for c in found] == [1, 2, 3]
    assert found[-1]["experiment"] == "no-cost"
    assert "give cost" in found[-1]["note"]
    ratios = [c["ratio"] for c in found[:2] if c["ratio"] is not None]
    assert ratios == sorted(ratios, reverse=True)


def test_next_without_candidates_says_what_to_do(tmp_path):
    truelift("init", tmp_path / "shop")
    truelift("plan", "--next", cwd=tmp_path / "shop").refused("experiments", "specification")
