"""Every number on a page is in its model, every number of the model in the results; sums hold."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from enum import Enum

import pytest

from measure.results import BridgeStep
from measure.value.results import Value
from reports import numbers as n
from reports.charts.shapes import Shape
from reports.charts.waterfall import adds_up
from reports.money import money_from_value
from reports.pages import attribution, experiment, reconciliation
from reports.pages.bridge import (
    CLAIMED,
    DISTINCT,
    INCREMENTAL,
    RECONCILED,
    TESTED,
    TOTALS,
    money_accounts,
    reconciliation_accounts,
)
from reports.pages.method import words_block
from reports.pages.model import Page
from reports.render import render
from tests.reports import sample
from tests.reports.html import text_of

TOKEN = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def tokens(text: str) -> set[str]:
    return set(TOKEN.findall(text))


def strings(value: object) -> Iterator[str]:
    """All texts of a model; coordinates and axis ticks are no results."""
    if isinstance(value, Shape):
        if value.style != "tick":
            yield value.text
    elif isinstance(value, str):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from strings(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from strings(item)


def raw(value: object) -> Iterator[object]:
    """All plain values that went in."""
    if isinstance(value, Enum):
        return
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from raw(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from raw(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from raw(item)
    else:
        yield value


def written(value: object) -> Iterator[str]:
    """All ways in which the pages may write one value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, date):
        yield n.day(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield n.count(value)
        yield n.money_minor(value, "EUR")
        yield n.short_minor(value, "EUR")
    elif isinstance(value, float) and math.isfinite(value):
        yield from (n.percent(value), n.percent(value, decimals=2), n.plain_count(value))
        yield from (n.probability(value), n.probability(1 - value), n.p_value(value))
        yield n.money_short(value, "EUR")
        for places in range(7):
            yield n.number(abs(value), places)
            yield n.points(abs(value), places)


def known(*values: object) -> set[str]:
    return {t for v in values for plain in raw(v) for text in written(plain) for t in tokens(text)}


def visible(page: Page) -> set[str]:
    return tokens(" ".join(strings(page)))


def ticks(page: Page) -> set[str]:
    def walk(value: object) -> Iterator[str]:
        if isinstance(value, Shape):
            if value.style == "tick":
                yield value.text
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            for field in dataclasses.fields(value):
                yield from walk(getattr(value, field.name))
        elif isinstance(value, tuple):
            for item in value:
                yield from walk(item)

    return tokens(" ".join(walk(page)))


REPORTS = (sample.winback(), *sample.others())


@pytest.mark.parametrize("report", REPORTS, ids=lambda r: r.facts.key)
def test_every_number_of_an_experiment_comes_from_its_results(
    report: sample.ExperimentReport,
) -> None:
    page = experiment.build(report, "page.html", "page.csv", ())
    printed = tokens(text_of(render(page)))
    assert printed <= visible(page) | ticks(page)
    facts, analysis = report.facts, report.analysis
    rule = {t for text in (facts.scale_if, facts.stop_if) if text for t in tokens(text)}
    derived = {
        n.count(sum(arm.units or 0 for arm in facts.arms)),
        n.percent(1.0),
        "50", "80", "20",  # the thick interval, and the rule's probabilities in percent
        *(n.count(len(items)) for items in (analysis.checks, facts.cohorts, facts.treatments)),
        *(n.count(len(arm.cohorts)) for arm in report.money),
        *(n.count(sum(c.verdict == v for c in arm.cohorts))
          for arm in report.money for v in ("scale", "hold", "stop")),
        *(n.count(k) for k in range(10)),  # small counts of rows, checks and cohorts
        *(n.count(len(family.cohorts)) for family in analysis.multiplicity),
    }  # fmt: skip
    total = sum(arm.units or 0 for arm in facts.arms) or 1
    shares = {n.percent((arm.units or 0) / total, decimals=2) for arm in facts.arms}
    accounts = money_accounts(
        report.money, report.reconciliation.reconciliation if report.reconciliation else None
    )
    static = tokens(" ".join(strings(words_block())))
    sources = known(facts, analysis, report.money, report.reconciliation, report.journeys, accounts)
    flows = report.journeys.flows if report.journeys else ()
    sums = {
        n.count(sum(f.count for f in flows if f.column == column and getattr(f, end) == name))
        for column in (0, 1) for end in ("source", "target")
        for name in {getattr(f, end) for f in flows}
    }  # fmt: skip
    allowed = sources | tokens(" ".join(derived | shares | sums)) | rule | static
    assert visible(page) - allowed == set()


def test_every_number_of_the_other_pages_is_in_their_model() -> None:
    pages = (
        attribution.build(sample.attribution_report(), "a.html", "a.csv", ()),
        reconciliation.build(sample.reconciliation_report(), "r.html", "r.csv", ()),
    )
    for page in pages:
        assert tokens(text_of(render(page))) <= visible(page) | ticks(page)


def test_every_number_of_a_reconciliation_comes_from_its_results() -> None:
    report = sample.reconciliation_report()
    page = reconciliation.build(report, "r.html", "r.csv", ())
    money = {step.step: step.money for step in report.reconciliation.bridge}
    lost = money[CLAIMED] - money[DISTINCT]
    derived = (
        n.short_minor(lost, "EUR"), n.percent(lost / money[CLAIMED]),
        n.percent(money[INCREMENTAL] / money[DISTINCT]), n.count(len(report.reconciliation.checks)),
        *(n.count(k) for k in range(12)),
    )  # fmt: skip
    assert visible(page) - known(report) - tokens(" ".join(derived)) == set()


def test_return_times_spend_is_what_came_back() -> None:
    money = sample.winback_money()
    assert money.spend is not None
    assert money.gross_profit is not None
    assert money.roi is not None
    assert money.roi * money.spend.value == pytest.approx(money.gross_profit.value, abs=1)


def test_bridges_add_up_to_the_cent() -> None:
    account = sample.reconciliation_report().reconciliation
    for lines in (
        reconciliation_accounts(account.bridge),
        money_accounts([sample.winback_money()], account),
        money_accounts([sample.winback_money()], None),
    ):
        assert lines
        running = None
        for line in lines:
            assert not (line.total and running is not None and line.money != running), line
            running = line.money if line.total else (running or 0) + line.money
    assert adds_up([])


def test_costs_that_do_not_add_up_are_not_split() -> None:
    money = replace(sample.winback_money(), costs=())
    lines = money_accounts([money], None)
    assert [line.label for line in lines] == [
        "Incremental revenue",
        "All costs",
        "Incremental profit",
    ]


def test_the_names_of_totals_are_those_of_the_reconciliation() -> None:
    from measure.reconcile import bridge

    assert TOTALS == bridge.TOTALS
    assert (CLAIMED, RECONCILED, DISTINCT, TESTED, INCREMENTAL) == (
        bridge.CLAIMED, bridge.RECONCILED, bridge.DISTINCT, bridge.TESTED, bridge.INCREMENTAL,
    )  # fmt: skip


def test_what_was_not_under_test_leaves_the_account_before_the_experiment_speaks() -> None:
    account = sample.reconciliation_report().reconciliation
    steps = list(account.bridge)
    distinct = steps[-3]
    tested = BridgeStep(TESTED, 5_000, 45_000_000)
    beyond = BridgeStep("not under test (other campaigns or days)", 0, 45_000_000 - distinct.money)
    anyway = BridgeStep("would have happened anyway", 0, steps[-1].money - 45_000_000)
    full = replace(account, bridge=(*steps[:-2], beyond, tested, anyway, steps[-1]))
    for lines in (
        reconciliation_accounts(full.bridge),
        money_accounts([sample.winback_money()], full),
    ):
        running = 0
        for line in lines:
            assert not line.total or running in {0, line.money}, line
            running = line.money if line.total else running + line.money
        assert 45_000_000 in [line.money for line in lines]
    report = replace(sample.reconciliation_report(), reconciliation=full)
    page = text_of(render(reconciliation.build(report, "r.html", "r.csv", ())))
    assert "91% of what survives and was under test" in page


def test_without_claims_there_is_no_bridge_of_claims() -> None:
    steps = (BridgeStep("something else", 1, 1),)
    account = replace(sample.reconciliation_report().reconciliation, bridge=steps)
    lines = money_accounts([sample.winback_money()], account)
    assert lines[0].label == "Incremental revenue"


def test_money_is_taken_from_a_value_as_it_is() -> None:
    """A value by hand: margin 0.5, so gross profit, profit and both returns follow."""
    value = _value()
    money = money_from_value(value)
    assert money.revenue is not None
    assert money.profit is not None
    assert (money.roi, money.basis, money.verdict) == (1.5, "margin", "scale")
    assert sum(line.money for line in money.costs) == money.revenue.value - money.profit.value
    assert money_from_value(value, registered=False).verdict is None
    without = money_from_value(replace(value, roi=None, margin=None, gross_profit=None))
    assert (without.roi, without.basis, without.probability_above) == (3.0, "revenue", None)
    assert without.costs == ()


def _value() -> Value:
    from measure.results import Status
    from measure.value import Verdict

    return Value(
        metric="revenue", arm="B", control="A", cohort=None, estimator="difference", units=10,
        currency="EUR", ci_level=0.9, revenue=30_000, revenue_low=20_000, revenue_high=40_000,
        cost=10_000, margin=0.5, gross_profit=15_000, gross_profit_low=10_000,
        gross_profit_high=20_000, profit=5_000, profit_low=0, profit_high=10_000, iroas=3.0,
        iroas_low=2.0, iroas_high=4.0, roi=1.5, roi_low=1.0, roi_high=2.0, roi_sd=0.3,
        probability_profitable=0.95, scale_probability=0.95, stop_probability=None,
        verdict=Verdict.SCALE, reason="", status=Status.OK,
    )  # fmt: skip
