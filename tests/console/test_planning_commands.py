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
    # Source: closed form on the file: 2.8016 standard errors, the treated variance that of
    # (1 + lift) times as many buyers: E[x²](1 + lift) − (mean (1 + lift))².
    lift, mean, variance = first["mde_relative"], 0.652789, 11.5882**2
    treated = (variance + mean**2) * (1 + lift) - (mean * (1 + lift)) ** 2
    error = (variance / 21_312 + treated / 21_376) ** 0.5
    assert lift == pytest.approx(2.8016 * error / mean, rel=1e-3)
    assert "Finds a lift in spend of 54% or more" in page.read_text(encoding="utf-8")


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


RATIO = """\
key: clicks
hypothesis: The new page brings more clicks for each visit.
source: {path: users.csv, arm: arm, id: user}
arms: {control: 0.5, page: 0.5}
control: control
metrics:
  - {name: click_rate, kind: ratio, column: clicks, denominator: visits, role: primary}
  - {name: half, kind: KIND}
"""


@pytest.fixture
def users(tmp_path):
    """Users with visits and clicks, made by numpy."""
    import numpy as np

    rng = np.random.default_rng(4)
    visits = rng.poisson(4, 4_000) + 1
    clicks = rng.binomial(visits, rng.beta(2, 6, 4_000))
    rows = [f"u{i},{('control', 'page')[i % 2]},{c},{v}" for i, (c, v) in
            enumerate(zip(clicks, visits, strict=True))]  # fmt: skip
    (tmp_path / "users.csv").write_text("\n".join(["user,arm,clicks,visits", *rows]) + "\n")
    control = np.arange(4_000) % 2 == 0
    return tmp_path, clicks[control], visits[control]


def test_a_ratio_is_planned_from_the_specification(users):
    folder, clicks, visits = users
    file = folder / "clicks.yaml"
    kind = "quantile, column: visits, quantile: 0.5"
    file.write_text(RATIO.replace("KIND", kind), encoding="utf-8")
    ran = truelift("plan", file, "--lift", "0.1", "--json", "-")
    assert ran.code == 0, ran.err
    plan = json.loads(ran.out)
    (found,) = plan["precision"]
    # Source: delta method over users by numpy, treated variance × 1.1², normal power.
    from scipy.stats import norm

    ratio = clicks.sum() / visits.sum()
    variance = ((clicks - ratio * visits) / visits.mean()).var(ddof=1)
    shift = 0.1 * ratio / (variance * (1 + 1.21) / 2_000) ** 0.5
    assert (found["metric"], found["method"]) == ("click_rate", "normal")
    assert found["power"] == pytest.approx(norm.sf(1.96 - shift), abs=2e-3)
    assert any("a quantile is not planned" in note for note in plan["provenance"]["notes"])
    half = "{name: half, kind: quantile, column: visits, quantile: 0.5, role: primary}"
    text = RATIO.replace(", role: primary", "").replace("{name: half, kind: KIND}", half)
    file.write_text(text, encoding="utf-8")
    truelift("plan", file).refused("half", "make that one primary")


def test_a_lift_of_units_reached_is_diluted(hillstrom, tmp_path):
    file = tmp_path / "assume.yaml"
    file.write_text("assumptions: {lift: 0.6, reached: 0.5}\n", encoding="utf-8")
    ran = truelift("plan", hillstrom, "--assume", file, "--json", "-")
    reached = json.loads(ran.out)
    whole = json.loads(truelift("plan", hillstrom, "--lift", "0.3", "--json", "-").out)
    # Source: the effect of assignment is the share reached times the complier effect.
    assert reached["precision"][0]["power"] == pytest.approx(whole["precision"][0]["power"])
    first = reached["precision"][0]
    assert first["mde_reached"] == pytest.approx(2 * first["mde_relative"])
    assert reached["assumptions"]["lift_reached"] == pytest.approx(0.6)
