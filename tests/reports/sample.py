"""A site made by hand: a good, an open, a bad and a broken experiment, and a public data set."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

from measure.results import Analysis, Check, Cohort, Outcome, Severity, Status
from reports.facts import (
    ArmFacts,
    Decile,
    ExperimentReport,
    MetricFacts,
    ScoreMeasure,
    ScoreReport,
    Site,
)
from reports.money import MoneyFacts
from tests.reports.channels import attribution_report, journeys
from tests.reports.winback import (
    TODAY,
    VERSIONS,
    account,
    estimate,
    guardrails,
    passed,
    reconciliation_report,
    winback_analysis,
    winback_facts,
    winback_money,
)


def winback() -> ExperimentReport:
    return ExperimentReport(
        facts=winback_facts(), analysis=winback_analysis(), money=(winback_money(),),
        attribution=attribution_report(), reconciliation=reconciliation_report(),
        journeys=journeys(),
    )  # fmt: skip


def simple(
    key: str, title: str, value: float, se: float, money: MoneyFacts | None, ended: date,
    checks: tuple[Check, ...] | None = None, status: Status = Status.OK, **facts: object,
) -> ExperimentReport:  # fmt: skip
    """An experiment with one metric and one arm."""
    given = winback_facts(
        key=key, title=title, ended_on=ended, started_on=ended.replace(day=1), cohorts=(),
        metrics=(MetricFacts("net_revenue", "mean", "EUR", "primary"),),
        estimators=("difference", "cuped"), arms=(ArmFacts(title, 0.5, 50_211),
                                                   ArmFacts("Holdout", 0.5, 49_789)), **facts,
    )  # fmt: skip
    estimates = tuple(
        estimate("net_revenue", value, se, arm=title, base=8.2, estimator=name, n=(49_789, 50_211),
                 p=0.31) for name in ("difference", "cuped")
    )  # fmt: skip
    analysis = Analysis(key, status, checks if checks is not None else passed(), estimates)
    return ExperimentReport(given, analysis, (money,) if money else ())


def others() -> tuple[ExperimentReport, ...]:
    ratio = Check(
        "G5", "Sample ratio differs from the design", Outcome.FLAGGED,
        "49,100 and 50,900 units where 50% and 50% were designed; chance gives a split this uneven "
        "once in 78 million times.", Severity.STOP, p_value=1.3e-8, anchor="g5-sample-ratio",
    )  # fmt: skip
    rules = {"scale_if": "P(roi > 1) >= 0.8", "stop_if": "P(roi > 1) <= 0.2"}
    return (
        simple("push-new-2025", "Push to new customers", 0.11, 0.12,
               account("Push to new customers", 552_300, 620_000, 0.64, 301_000, verdict="hold",
                       chance=0.6100), date(2025, 11, 30), **rules),
        simple("retargeting-2025", "Display retargeting", -0.03, 0.10,
               account("Display retargeting", 1_204_000, 901_000, 0.64, 2_410_000, verdict="stop",
                       chance=0.0024), date(2025, 9, 30), **rules),
        simple("sms-reminder-2025", "SMS reminder", 0.31, 0.09, None, date(2025, 12, 31),
               (ratio, *passed()[1:]), Status.INVALID, **rules),
        hillstrom(),
    )  # fmt: skip


def hillstrom() -> ExperimentReport:
    """Differences of conversion, visit and spend as published (MANIFEST.md), rounded."""
    metrics = (
        MetricFacts("spend", "mean", "USD", "primary"),
        MetricFacts("conversion", "proportion"),
        MetricFacts("visit", "proportion", None, "guardrail", -0.002),
    )
    arms = (ArmFacts("No E-Mail", 0.333, 21_306), ArmFacts("Womens E-Mail", 0.334, 21_387),
            ArmFacts("Mens E-Mail", 0.333, 21_307))  # fmt: skip
    facts = winback_facts(
        key="womens-email-2008",
        title="Women's e-mail",
        arms=arms,
        control="No E-Mail",
        hypothesis="The women's e-mail brings purchases that would not have happened.",
        metrics=metrics,
        cohorts=("channel", "zip_code"),
        ci_level=0.95,
        started_on=None,
        ended_on=None,
        window_days=None,
        currency="USD",
        cost_per_unit=None,
        margin=None,
        scale_if=None,
        stop_if=None,
        registered_on=None,
        source="hillstrom.csv",
        state="",
        covariates=("recency", "history", "mens", "womens", "newbie"),
    )
    found = []
    for arm, n, rows in (
        ("Womens E-Mail", 21_387, (("spend", 0.4244, 0.1301, 0.6528),
         ("conversion", 0.0031, 0.00078,
         0.005726), ("visit", 0.0453, 0.0033, 0.10617))),
        ("Mens E-Mail", 21_307, (("spend", 0.7698, 0.1452, 0.6528),
         ("conversion", 0.0068, 0.00089,
         0.005726), ("visit", 0.0766, 0.0034, 0.10617))),
    ):  # fmt: skip
        for metric, value, se, base in rows:
            for name in facts.estimators:
                p = None if name == "hierarchical_bayes" else 1.1e-3 if metric == "spend" else 1e-12
                found.append(estimate(metric, value, se, arm=arm, control="No E-Mail", base=base,
                                      estimator=name, n=(21_306, n), level=0.95, p=p))  # fmt: skip
        for dimension, values in (("channel", ("Multichannel", "Phone", "Web")),
                                  ("zip_code", ("Rural", "Surburban", "Urban"))):  # fmt: skip
            for i, name in enumerate(values):
                found.append(estimate("spend", 0.3 + 0.2 * i - 0.1 * (arm[0] == "W"), 0.21, arm=arm,
                                      control="No E-Mail", cohort=Cohort(dimension, name),
                                      base=0.65, estimator="hierarchical_bayes", n=(7_100, 7_130),
                                      level=0.95))  # fmt: skip
    note = Check("X5", "Covariate balance", Outcome.FLAGGED,
                 "1 of 5 covariates differs a little more than chance would have it.",
                 Severity.WARNING, p_value=0.0009, anchor="x5-covariate-balance")  # fmt: skip
    analysis = Analysis(
        "womens-email-2008", Status.OK, (*passed()[:5], note), tuple(found),
        guardrails=guardrails("visit", -0.002, found),
    )  # fmt: skip
    return ExperimentReport(facts, analysis)


def score() -> ScoreReport:
    lifts = (0.021, 0.016, 0.013, 0.011, 0.009, 0.006, 0.005, 0.003, 0.0, -0.004)
    return ScoreReport(
        title="history", score="history", metric=MetricFacts("visit", "proportion"),
        measures=(ScoreMeasure("qini", 0.0123, 0.0041, 0.0205),
                  ScoreMeasure("area_under_uplift", 0.0311, 0.0207, 0.0415)),
        deciles=tuple(Decile(i + 1, 4_268, x, x - 0.006, x + 0.006) for i, x in enumerate(lifts)),
        generated_on=TODAY, versions=VERSIONS,
    )  # fmt: skip


def site() -> Site:
    return Site(
        title="Maison Verte", generated_on=TODAY, experiments=(winback(), *others()),
        attribution=attribution_report(), reconciliation=reconciliation_report(), scores=(score(),),
    )  # fmt: skip


def many_cohorts(n: int) -> ExperimentReport:
    """Win-back with ``n`` cohorts of one dimension."""
    report = winback()
    rows = tuple(
        estimate("conversion", 0.01 * math.sin(i), 0.003, base=0.03,
                 estimator="hierarchical_bayes", n=(100 + i, 900 + 9 * i),
                 cohort=Cohort("segment", f"Cohort {i:03d}"))
        for i in range(n)
    )  # fmt: skip
    kept = tuple(e for e in report.analysis.estimates if e.cohort is None)
    analysis = replace(report.analysis, estimates=(*kept, *rows), multiplicity=())
    money = tuple(replace(arm, cohorts=()) for arm in report.money)
    return replace(report, analysis=analysis, money=money)
