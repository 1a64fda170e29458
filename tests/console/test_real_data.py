"""The command line on real data with published answers, and its JSON against docs/json.md."""

import json
import os

import pytest

from tests.console.command import truelift
from tests.console.documents import assert_documented
from tests.data import ROOT, data_file, data_folder

pytestmark = pytest.mark.xdist_group("hillstrom")  # one worker computes it, once


@pytest.fixture(scope="module")
def hillstrom(tmp_path_factory):
    data_file("hillstrom.csv")
    out = tmp_path_factory.mktemp("hillstrom") / "out.json"
    ran = truelift("analyze", ROOT / "examples" / "hillstrom.yaml", "--json", out)
    assert ran.code == 0, ran.err
    return json.loads(out.read_text(encoding="utf-8")), ran.out


def pick(document, metric, arm, estimator, cohort=None):
    return next(
        e
        for e in document["estimates"]
        if (e["metric"], e["arm"], e["estimator"], e["cohort"]) == (metric, arm, estimator, cohort)
    )


@pytest.mark.parametrize(
    ("metric", "arm", "value", "digits"),
    [  # MANIFEST.md: Mens and Womens e-mail minus no e-mail
        ("visit", "Mens E-Mail", 0.0766, 4),
        ("conversion", "Mens E-Mail", 0.00681, 5),
        ("spend", "Mens E-Mail", 0.770, 3),
        ("visit", "Womens E-Mail", 0.0452, 4),
        ("conversion", "Womens E-Mail", 0.00311, 5),
        ("spend", "Womens E-Mail", 0.424, 3),
    ],
)
def test_hillstrom_gives_the_published_differences(hillstrom, metric, arm, value, digits):
    estimate = pick(hillstrom[0], metric, arm, "difference")
    assert round(estimate["value"], digits) == value
    assert estimate["status"] == "ok"


@pytest.mark.parametrize(
    ("arm", "low", "high"), [("Mens E-Mail", 0.485, 1.055), ("Womens E-Mail", 0.169, 0.680)]
)
def test_hillstrom_gives_the_published_intervals_of_spend(hillstrom, arm, low, high):
    # Source: MANIFEST.md, 95 % intervals of the difference in spend.
    estimate = pick(hillstrom[0], "spend", arm, "difference")
    assert (round(estimate["ci_low"], 3), round(estimate["ci_high"], 3)) == (low, high)


def test_hillstrom_cohorts_are_the_group_means(hillstrom):
    import pandas as pd

    frame = pd.read_csv(data_file("hillstrom.csv"))
    for dimension in ("history_segment", "channel", "zip_code"):
        means = frame.groupby([dimension, "segment"]).visit.mean().unstack()
        for value, row in means.iterrows():
            cohort = {"dimension": dimension, "value": value}
            estimate = pick(hillstrom[0], "visit", "Mens E-Mail", "difference", cohort)
            expected = row["Mens E-Mail"] - row["No E-Mail"]
            assert estimate["value"] == pytest.approx(expected, abs=1e-12)


def test_all_four_estimators_agree_on_a_randomised_test(hillstrom):
    # They estimate one effect; on 42,000 units none may stray by a standard error.
    for arm in ("Mens E-Mail", "Womens E-Mail"):
        plain = pick(hillstrom[0], "visit", arm, "difference")
        for estimator in ("cuped", "hierarchical_bayes", "double_ml"):
            other = pick(hillstrom[0], "visit", arm, estimator)
            assert abs(other["value"] - plain["value"]) < plain["se"]


def test_the_analysis_document_is_as_documented(hillstrom):
    absent = {"checks[].evidence[]"}
    assert_documented("analyze", hillstrom[0], absent=absent)


def test_the_analysis_reads_in_the_terminal(hillstrom):
    assert "spend       Mens E-Mail    difference" in hillstrom[1]
    assert "tests per cohort stand after correction" in hillstrom[1]


def test_path_data_gives_the_golden_numbers():
    # Source: spec/attribution.md, golden numbers on PathData.
    ran = truelift("attribute", "--paths", data_file("pathdata.csv"), "--json", "-")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert_documented(
        "attribute", document, absent={"credits[].cohort.dimension", "credits[].cohort.value"}
    )
    credited = {(c["model"], c["channel"]): c for c in document["credits"]}
    assert credited["first", "alpha"]["conversions"] == pytest.approx(6308, abs=1e-6)
    assert credited["last", "alpha"]["conversions"] == pytest.approx(8447, abs=1e-6)
    assert credited["linear", "alpha"]["conversions"] == pytest.approx(7574.7186, abs=5e-5)
    assert credited["markov", "alpha"]["removal_effect"] == pytest.approx(0.558399, abs=5e-7)
    assert credited["markov", "alpha"]["conversions"] == pytest.approx(5344.948, abs=5e-4)
    assert document["total_conversions"] == 19_785
    for model in {c["model"] for c in document["credits"]}:
        total = sum(c["conversions"] for (name, _), c in credited.items() if name == model)
        assert total == pytest.approx(19_785, rel=1e-12)


def test_the_example_is_the_same_for_any_newcomer(tmp_path, hillstrom):
    ran = truelift("example", "hillstrom", tmp_path / "first", TRUELIFT_DATA=str(data_folder()))
    assert ran.code == 0, ran.err
    spec = tmp_path / "first" / "hillstrom.yaml"
    assert "hillstrom.csv" in {path.name for path in spec.parent.iterdir()}
    text = spec.read_text(encoding="utf-8")
    spec.write_text(
        text.replace("[difference, cuped, hierarchical_bayes, double_ml]", "[difference]")
    )
    again = truelift("analyze", "hillstrom.yaml", "--json", "-", cwd=spec.parent)
    assert again.code == 0, again.err
    estimate = pick(json.loads(again.out), "spend", "Mens E-Mail", "difference")
    assert estimate == pick(hillstrom[0], "spend", "Mens E-Mail", "difference")


def test_the_example_says_where_to_get_the_data(tmp_path):
    ran = truelift("example", "hillstrom", tmp_path, TRUELIFT_DATA=str(tmp_path))
    ran.refused("TRUELIFT_DATA", "hillstrom.csv")


def test_a_score_is_validated_against_the_holdout():
    data_file("hillstrom.csv")
    ran = truelift("score", "validate", ROOT / "examples" / "hillstrom_score.yaml", "--json", "-")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert_documented("score validate", document)
    measures = {m["name"]: m for m in document["measures"]}
    # Source: MANIFEST.md, Womens − none on visit.
    assert round(measures["average_effect"]["value"], 4) == 0.0452
    qini = measures["qini"]
    assert qini["ci_low"] < 0 < qini["ci_high"]  # past spend does not find who is moved
    assert [d["decile"] for d in document["deciles"]] == list(range(1, 11))
    units = sum(d["n_arm"] + d["n_control"] for d in document["deciles"])
    assert units == document["n_arm"] + document["n_control"] == 21_387 + 21_306


def test_a_score_specification_is_refused_by_line_and_field(tmp_path):
    spec = tmp_path / "score.yaml"
    text = (ROOT / "examples" / "hillstrom_score.yaml").read_text(encoding="utf-8")
    spec.write_text(text.replace("metric:", "metrc:"))
    truelift("score", "validate", spec).refused("metrc", "Did you mean 'metric'?")


def test_criteo_counts_give_the_published_effect_to_all_digits():
    import subprocess
    import sys

    data_file("criteo_uplift_v21_cells.csv")
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "criteo_counts.py"],
        env={**os.environ, "TRUELIFT_DATA": str(data_folder())},
        capture_output=True,
        text=True,
        check=True,
    )
    # Source: MANIFEST.md, intention to treat of visit and conversion with 95 % intervals.
    assert done.stdout.splitlines() == [
        "visit +1.0342 pp (1.0056 to 1.0629)",
        "conversion +0.11519 pp (0.10845 to 0.12192)",
    ]
