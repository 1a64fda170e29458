"""Factorial designs and switchbacks that bring their results along, as a user analyses them."""

import csv
import json

import numpy as np
import pytest

from designs.assignment.switchback import switchback_schedule
from designs.specification import load_experiment
from tests.console.command import truelift
from tests.console.documents import fields

FACTORIAL = """\
key: creative
hypothesis: A short subject and a voucher add up.
source: {path: results.csv, arm: arm}
factors: {subject: {short: 0.5, long: 0.5}, offer: {none: 0.5, voucher: 0.5}}
control: long + none
metrics: [{name: orders, role: primary}]
"""
SWITCHBACK = """\
key: surge
hypothesis: Higher courier fees bring more couriers.
unit: region
source: {path: blocks.csv, arm: arm}
switchback: {units: [berlin, bremen], block_hours: 6, washout_hours: 1}
arms: {high: 0.5, usual: 0.5}
control: usual
metrics: [{name: orders, role: primary}]
schedule: {start: 2026-03-01, end: 2026-03-15}
"""


def analysed(path):
    ran = truelift("analyze", path, "--json", "-")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_a_factorial_analysis_lists_what_its_factors_do(tmp_path):
    rng = np.random.default_rng(2)
    means = {}
    with (tmp_path / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("arm", "orders"))
        for subject in ("short", "long"):
            for offer in ("none", "voucher"):
                values = rng.poisson(5 + (subject == "short") + (offer == "voucher"), 500)
                means[subject, offer] = values.mean()
                writer.writerows((f"{subject} + {offer}", value) for value in values)
    path = tmp_path / "creative.yaml"
    path.write_text(FACTORIAL)
    found = analysed(path)
    assert {one["arm"] for one in found["estimates"]} == {
        "short + none", "short + voucher", "long + voucher"
    }  # fmt: skip
    subject, offer, both = found["factorial"]
    assert (subject["arm"], subject["control"]) == ("subject = short", "subject = long")
    assert subject["value"] == pytest.approx(
        (means["short", "none"] + means["short", "voucher"]) / 2
        - (means["long", "none"] + means["long", "voucher"]) / 2
    )
    assert (offer["estimator"], offer["n_arm"], offer["n_control"]) == ("factorial", 1000, 1000)
    assert both["arm"] == "subject = short × offer = voucher"
    assert both["value"] == pytest.approx(
        means["short", "voucher"] - means["short", "none"]
        - means["long", "voucher"] + means["long", "none"]
    )  # fmt: skip
    assert {path for path, _ in fields(subject)} == {
        path for path, _ in fields(found["estimates"][0])
    }


def written(folder, change=lambda rows: rows):
    path = folder / "surge.yaml"
    path.write_text(SWITCHBACK)
    rng = np.random.default_rng(3)
    rows = [
        [b.unit, b.block, b.arm, 20 + 2 * (b.arm == "high") + rng.normal(0, 1)]
        for b in switchback_schedule(load_experiment(path))
    ]
    with (folder / "blocks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("unit", "block", "arm", "orders"))
        writer.writerows(change(rows))
    return path


def test_a_switchback_is_analysed_from_its_blocks(tmp_path):
    found = analysed(written(tmp_path))
    (estimate,) = found["estimates"]
    assert (estimate["n_arm"], estimate["n_control"]) == (56, 56)
    assert estimate["ci_low"] < 2 < estimate["ci_high"] < 3
    assert estimate["p_value"] == pytest.approx(2 / 1000)
    assert estimate["note"] == (
        "paired within 28 rounds; p-value and interval from 999 re-drawn schedules"
    )
    assert found["provenance"]["redrawn_schedules"] == 999
    assert found["provenance"]["data_hash"]
    fewer = analysed(written(tmp_path, lambda rows: rows[:30] + rows[33:]))
    assert "paired within 27 rounds" in fewer["estimates"][0]["note"]


def swapped(rows):
    rows[5][2] = {"high": "usual", "usual": "high"}[rows[5][2]]
    return rows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swapped, "was scheduled"),
        (lambda rows: [*rows, rows[0]], "is there twice"),
        (lambda rows: [["kiel", *rows[0][1:]], *rows[1:]], "unit 'kiel', block 0 is not in the"),
    ],
)
def test_blocks_that_are_not_those_scheduled_are_refused(tmp_path, change, words):
    truelift("analyze", written(tmp_path, change)).refused(words)


def test_what_blocks_of_time_cannot_give_is_refused(tmp_path):
    path = written(tmp_path)
    path.write_text(SWITCHBACK + "plan: {estimators: [difference, cuped]}\ncovariates: [block]\n")
    truelift("analyze", path).refused("covariates has no meaning in a switchback")
    path.write_text(SWITCHBACK.replace("arm: arm}", "arm: arm}").replace("blocks.csv", "no.csv"))
    truelift("analyze", path).refused("no.csv")
