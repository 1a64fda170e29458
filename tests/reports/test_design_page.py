"""The page of a design: what stands on it, every number from the plan, hostile names, Chromium."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from reports.charts.curve import Curves, Series, curve_chart
from reports.design_facts import Approval, design_facts
from reports.numbers import percent
from reports.pages import design
from reports.render import render
from tests.browser import browser, file_url
from tests.designs.planning import plans
from tests.reports.html import read, text_of

COST = {"cost": {"per_unit": 0.1, "margin": 0.4, "currency": "EUR"},
        "decision": {"scale_if": "P(roi > 1) >= 0.8"}}  # fmt: skip
SIGNED = Approval("Ada", "finance", "approve", "2026-02-20T09:00:00Z", "within budget")


def facts(past=None, approvals=(SIGNED,), **changes):
    of = plans.experiment(**{**COST, **changes})
    found = plans.plan(of, None if past is None else plans.history(of, *past))
    return design_facts(
        of, found, generated_on=date(2026, 2, 21), approvals=approvals, versions={"truelift": "0"}
    )


def page(report):
    return render(design.build(report, "design.html", ()))


def test_everything_for_sign_off_is_there():
    report = facts()
    text = text_of(page(report))
    first = report.plan.leading()[0]
    for words in (
        "brings orders that would not have happened",
        f"Finds a lift in revenue of {percent(first.mde_relative)} or more with 80% power",
        "10.0% of the units assigned are held out in arm control",
        "Power by true lift in revenue",
        "The price of looking before the end",
        "Anytime-valid",
        "Scale if",
        "The holdout",
        "The answer is worth",
        "Risks",
        "Winner’s curse",
        "Ada",
        "within budget",
        report.plan.provenance["plan_hash"],
        "1 – 28 March 2026",
    ):
        assert words in text, words


def test_a_design_without_signatures_says_so():
    assert "Nobody has signed this design yet." in text_of(page(facts(approvals=())))


def test_a_design_that_cannot_tell_leads_with_that():
    report = facts(past=(plans.SKEWED, 900))
    model = design.build(report, "design.html", ())
    assert model.tone == "bad"
    assert "cannot say what it would find" in model.headline
    assert "Power by true lift" not in text_of(page(report))


def test_simulated_points_are_shown_with_their_bands():
    text = text_of(page(facts(past=(plans.SKEWED, 8_000))))
    assert "simulated runs of the estimator itself" in text
    assert "permutation test" in text


def test_the_same_plan_gives_the_same_bytes():
    assert page(facts()) == page(facts())


def test_hostile_names_stay_text():
    name = "<script>alert(1)</script>\u202e"
    hostile = replace(facts(), key=name, hypothesis=name, population=name, state=name,
                      approvals=(Approval(name, name, name, name, name),))  # fmt: skip
    html = page(hostile)
    assert not [e for e in read(html).elements if e.tag == "script"]
    assert "\u202e" not in html


def test_a_curve_marks_level_and_expectation():
    spec = Curves((Series("a", ((0.0, 0.05), (0.1, 0.8))),), 0.8, "wanted", 0.05, "expected")
    wide, narrow = curve_chart("c", "t", "d", spec, lambda x, _: f"{x:g}", lambda y, _: f"{y:g}")
    assert wide.width > narrow.width
    words = {shape.text for shape in wide.shapes if shape.kind == "text"}
    assert {"a", "wanted", "expected"} <= words


@pytest.mark.xdist_group("chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_the_screen(tmp_path: Path, width: int):
    long = "Unbreakable" * 20
    (tmp_path / "a.html").write_text(page(facts()), encoding="utf-8")
    (tmp_path / "b.html").write_text(page(replace(facts(), population=long)), encoding="utf-8")
    with browser(width) as context:
        tab = context.new_page()
        said: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        for file in sorted(tmp_path.iterdir()):
            tab.goto(file_url(file))
            assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
    assert said == []
