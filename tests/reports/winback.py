"""One experiment made by hand with everything a page can show.

The numbers of Win-back follow the trial page in their proportions. Everything derived (returns,
gross profit, profit, bridge) is computed here from a few amounts, so that identities can be tested.
"""

from __future__ import annotations

from datetime import date

from measure.incrementality.guardrails import judge_guardrails
from measure.plan import AnalysisPlan, Metric
from measure.results import (
    Analysis,
    BridgeStep,
    Check,
    Cohort,
    Estimand,
    Estimate,
    Family,
    Guardrail,
    Outcome,
    Reconciliation,
    Severity,
    Status,
)
from reports.facts import (
    ArmFacts,
    ExperimentFacts,
    MetricFacts,
    ReconciliationReport,
)
from reports.money import Amount, CohortVerdict, Line, MoneyFacts

TODAY = date(2026, 1, 1)
VERSIONS = {"truelift": "0.1.0", "pymc": "6.3.2", "econml": "0.17.0", "duckdb": "1.5.6"}
Z90, Z95 = 1.6448536269514722, 1.959963984540054


def estimate(
    metric: str,
    value: float | None,
    se: float | None = None,
    *,
    arm: str = "Win-back",
    control: str = "Holdout",
    cohort: Cohort | None = None,
    estimator: str = "difference",
    base: float = 0.0,
    n: tuple[int, int] = (20_113, 179_887),
    level: float = 0.90,
    p: float | None = None,
    status: Status = Status.OK,
    note: str = "",
) -> Estimate:
    z = Z90 if level == 0.90 else Z95
    low = None if value is None or se is None else value - z * se
    high = None if value is None or se is None else value + z * se
    known = value is not None and base > 0

    def share(x: float | None) -> float | None:
        return x / base if known and x is not None else None

    return Estimate(
        metric=metric,
        arm=arm,
        control=control,
        cohort=cohort,
        estimand=Estimand.CATE if cohort else Estimand.ITT,
        estimator=estimator,
        value=value,
        se=se,
        ci_low=low,
        ci_high=high,
        ci_level=level,
        p_value=p,
        relative=share(value),
        relative_ci_low=share(low),
        relative_ci_high=share(high),
        n_control=n[0],
        n_arm=n[1],
        status=status,
        note=note,
    )


COHORTS = (
    ("Direct mail · high value", 0.0240, 0.0079, "scale", 9_100),
    ("Email · lapsed 90d", 0.0190, 0.0043, "scale", 31_200),
    ("SMS · lapsed 90d", 0.0120, 0.0043, "scale", 14_800),
    ("Search · non-brand", 0.0110, 0.0036, "scale", 22_400),
    ("Push · new", 0.0090, 0.0055, "hold", 6_300),
    ("Paid social · prospecting", 0.0070, 0.0030, "scale", 28_900),
    ("Email · active", 0.0040, 0.0018, "hold", 24_700),
    ("Push · active", 0.0020, 0.0020, "hold", 11_900),
    ("Paid social · retargeting", 0.0015, 0.0027, "hold", 9_700),
    ("SMS · active", 0.0010, 0.0024, "hold", 8_200),
    ("Search · brand", -0.0010, 0.0030, "stop", 7_587),
    ("Display · retargeting", -0.0030, 0.0042, "stop", 5_100),
)
PASSED = (
    ("G5", "Sample ratio", "20,113 and 179,887 units where 10% and 90% were designed; p = 0.40."),
    ("X1", "Empty and tiny arms", "Every arm received units."),
    ("X2", "Missing metric values", "No metric value is missing."),
    ("X3", "Constant metrics", "Every metric varies."),
    ("X4", "Missing covariate values", "No covariate value is missing."),
    ("X5", "Covariate balance", "12 covariates differ as chance would have it."),
)


def passed(extra: tuple[Check, ...] = ()) -> tuple[Check, ...]:
    checks = tuple(
        Check(code, title, Outcome.PASSED, text, Severity.STOP,
              p_value=0.4 if code == "G5" else None,
              anchor=f"{code.lower()}-{title.lower().replace(' ', '-')}")
        for code, title, text in PASSED
    )  # fmt: skip
    return (*checks, *extra)


def cohort_estimates() -> tuple[Estimate, ...]:
    found = []
    for name, value, se, _, n in COHORTS:
        cohort = Cohort("segment", name)
        for estimator, shrink in (("difference", 1.15), ("hierarchical_bayes", 1.0)):
            found.append(
                estimate("conversion", value * shrink, se * shrink, cohort=cohort, base=0.031,
                         estimator=estimator, n=(n // 9, n))
            )  # fmt: skip
    tiny = Cohort("segment", "Fax · loyal")
    found.append(
        estimate("conversion", None, cohort=tiny, estimator="hierarchical_bayes", n=(1, 6),
                 status=Status.INSUFFICIENT)
    )  # fmt: skip
    for name, value, se in (("DE", 0.0101, 0.0021), ("FR", 0.0067, 0.0024), ("NL", 0.0049, 0.0031)):
        found.append(
            estimate("conversion", value, se, cohort=Cohort("country", name), base=0.031,
                     estimator="hierarchical_bayes", n=(6_700, 59_900))
        )  # fmt: skip
    return tuple(found)


def winback_analysis() -> Analysis:
    overall = []
    for estimator, factor, shrink in (
        ("difference", 1.0, 1.0),
        ("cuped", 1.02, 0.86),
        ("hierarchical_bayes", 0.99, 0.97),
        ("double_ml", 1.01, 0.84),
    ):
        p = None if estimator == "hierarchical_bayes" else 3e-9
        for metric, value, se, base in (
            ("conversion", 0.0079, 0.0013, 0.031),
            ("net_revenue", 2.28, 0.66, 7.91),
            ("orders", 0.0083, 0.0014, 0.033),
            ("unsubscribed", 0.0004, 0.0003, 0.011),
        ):
            overall.append(
                estimate(metric, value * factor, se * shrink, base=base, estimator=estimator,
                         p=0.18 if metric == "unsubscribed" and p else p)
            )  # fmt: skip
    family = Family(
        metric="conversion", arm="Win-back", dimension="segment", estimator="hierarchical_bayes",
        method="benjamini-hochberg", cohorts=tuple(name for name, *_ in COHORTS),
        p_adjusted=tuple(0.004 if verdict == "scale" else 0.3 for *_, verdict, _ in COHORTS),
        rejected=5,
    )  # fmt: skip
    return Analysis(
        experiment="win-back-2025",
        status=Status.OK,
        checks=passed(),
        estimates=(*overall, *cohort_estimates()),
        multiplicity=(family,),
        guardrails=guardrails("unsubscribed", -0.001, overall),
    )


def guardrails(metric: str, limit: float, estimates: list[Estimate]) -> tuple[Guardrail, ...]:
    """What the engine says of a guardrail, from estimates made by hand."""
    arms = tuple(dict.fromkeys(e.arm for e in estimates))
    control = estimates[0].control
    guard = Metric(name=metric, kind="proportion", role="guardrail", harm_below=limit)
    plan = AnalysisPlan(
        arms=dict.fromkeys((control, *arms), 1 / (1 + len(arms))),
        control=control,
        metrics=(guard,),
    )
    return judge_guardrails(estimates, plan)


def winback_facts(**changes: object) -> ExperimentFacts:
    values: dict[str, object] = {
        "key": "win-back-2025",
        "title": "Win-back",
        "hypothesis": "Lapsed customers who are written to buy what they would not have bought.",
        "unit": "customer",
        "arms": (ArmFacts("Win-back", 0.9, 179_887), ArmFacts("Holdout", 0.1, 20_113)),
        "control": "Holdout",
        "metrics": (
            MetricFacts("conversion", "proportion", None, "primary"),
            MetricFacts("net_revenue", "mean", "EUR"),
            MetricFacts("orders", "mean", "orders"),
            MetricFacts("unsubscribed", "proportion", None, "guardrail", -0.001),
        ),
        "estimators": ("difference", "cuped", "hierarchical_bayes", "double_ml"),
        "generated_on": TODAY,
        "state": "concluded",
        "started_on": date(2025, 10, 1),
        "ended_on": date(2025, 10, 28),
        "registered_on": date(2025, 9, 24),
        "window_days": 28,
        "time_zone": "Europe/Paris",
        "ci_level": 0.9,
        "covariates": ("orders_before", "revenue_before", "tenure_days"),
        "cohorts": ("segment", "country"),
        "multiplicity": "benjamini-hochberg",
        "currency": "EUR",
        "cost_per_unit": 0.90,
        "margin": 0.64,
        "scale_if": "P(roi > 1) >= 0.8",
        "stop_if": "P(roi > 1) <= 0.2",
        "source": "Workspace tables assignments, conversions and activations",
        "plan_hash": "9f2c41d07be5a8c3f6e01b9d24c7785a1e3390bb64d2f85c7a10d9e6b3f4c821",
        "data_hash": "51a7e09c33bd48f2916c0de57ab2f4380c9d1e6f72ba85430e1d9c7f6a5b2e04",
        "versions": VERSIONS,
    }
    return ExperimentFacts(**{**values, **changes})  # type: ignore[arg-type]


def account(
    arm: str,
    revenue: int,
    revenue_sd: int,
    margin: float,
    spend: int,
    *,
    currency: str = "EUR",
    level: float = 0.90,
    verdict: str | None = None,
    chance: float | None = None,
    cohorts: tuple[CohortVerdict, ...] = (),
    incentives: int = 0,
) -> MoneyFacts:
    """Money of an arm; everything follows from revenue, margin and spend."""
    z = Z90 if level == 0.90 else Z95
    gross, low, high = (round(margin * x) for x in (revenue, revenue - z * revenue_sd,
                                                    revenue + z * revenue_sd))  # fmt: skip
    costs = [Line("Cost of goods", revenue - gross)]
    costs += (
        [Line("Media", spend - incentives), Line("Incentives", incentives)] if incentives else []
    )
    costs += [] if incentives else [Line("Campaign cost", spend)]
    return MoneyFacts(
        arm=arm,
        currency=currency,
        ci_level=level,
        revenue=Amount(revenue, round(revenue - z * revenue_sd), round(revenue + z * revenue_sd)),
        spend=Amount(spend),
        profit=Amount(gross - spend, low - spend, high - spend),
        roi=gross / spend,
        roi_low=low / spend,
        roi_high=high / spend,
        probability_above=chance,
        gross_profit=Amount(gross, low, high),
        costs=tuple(costs),
        posterior_mean=gross / spend,
        posterior_sd=margin * revenue_sd / spend,
        spend_note="invoiced, ex VAT",
        verdict=verdict,  # type: ignore[arg-type]
        rule_probability=chance,
        cohorts=cohorts,
    )


def winback_money() -> MoneyFacts:
    cohorts = tuple(
        CohortVerdict("segment", name, verdict)  # type: ignore[arg-type]
        for name, _, _, verdict, _ in COHORTS
    )
    return account("Win-back", 41_012_344, 8_872_000, 0.64, 16_301_200, verdict="scale",
                   chance=0.9600, cohorts=cohorts, incentives=5_120_000)  # fmt: skip


def winback_reconciliation() -> Reconciliation:
    steps = [
        BridgeStep("platform-claimed revenue", 11_240, 91_004_510),
        BridgeStep("claimed twice by one platform", -310, -2_410_822),
        BridgeStep("no matching order or click", -702, -5_533_917),
        BridgeStep("outside the time allowed", -1_204, -9_871_006),
        BridgeStep("refunded or cancelled", -388, -3_340_150),
        BridgeStep("touched without consent", -215, -1_702_340),
    ]
    survived = BridgeStep(
        "reconciled claimed revenue", sum(s.rows for s in steps), sum(s.money for s in steps)
    )
    shared = BridgeStep("claimed by several platforms", -1_833, -14_020_881)
    distinct = BridgeStep(
        "reconciled distinct revenue", survived.rows + shared.rows, survived.money + shared.money
    )
    revenue = winback_money().revenue
    assert revenue is not None
    anyway = BridgeStep("would have happened anyway", 0, revenue.value - distinct.money)
    caused = BridgeStep(
        "incremental revenue (experiment)", 0, revenue.value, revenue.low, revenue.high
    )
    return Reconciliation(
        checks=reconciliation_checks(),
        bridge=(*steps, survived, shared, distinct, anyway, caused),
        currency="EUR",
        settings={"click_window_days": 30, "view_window_days": 7, "clock_tolerance_seconds": 300,
                  "spend_tolerance": 0.02, "consent_purposes": ["marketing", "measurement"]},
        notes=(
            "The incremental line is the experiment's total with its 90 % interval; it compares "
            "with the lines above only as far as the experiment tests what platforms claim for.",
        ),
    )  # fmt: skip


def reconciliation_checks() -> tuple[Check, ...]:
    def check(code: str, title: str, outcome: Outcome, message: str, rows: int | None = None,
              money: int | None = None, what: str | None = None,
              **more: object) -> Check:  # fmt: skip
        anchor = f"{code.lower()}-{title.lower().replace(' ', '-')}"
        return Check(code, title, outcome, message, rows=rows, money=money, disposition=what,
                     currency="EUR" if money is not None else None, anchor=anchor, **more)  # type: ignore[arg-type]  # fmt: skip

    evidence = tuple(
        {"claim_id": f"gads-{77_120 + i}", "order_id": f"{4_000_000 + 37 * i:09d}", "platform": p,
         "value": 8_990 + 715 * i, "converted_at": f"2025-10-{3 + i:02d}T09:1{i}:00Z"}
        for i, p in enumerate(("Search", "Paid social", "Search"))
    )  # fmt: skip
    return (
        check("A1", "Claims without an order", Outcome.FLAGGED,
              "402 of 11,240 claims (3.6%) name no order.", 402, 3_120_442, "drop",
              evidence=evidence),
        check("A3", "Click ids nobody logged", Outcome.FLAGGED,
              "300 of 9,884 click ids (3.0%) are in no log.", 300, 2_413_475, "hold"),
        check("B1", "Orders claimed by several platforms", Outcome.FLAGGED,
              "1,701 orders are claimed more than once; 1.24 claims per order.", 1_833, 14_020_881,
              "reweight"),
        check("B2", "Claims repeated by one platform", Outcome.FLAGGED,
              "310 of 11,240 claims (2.8%) repeat another.", 310, 2_410_822, "drop"),
        check("B8", "Orders recorded twice", Outcome.PASSED, "No order is recorded twice.", 0, 0),
        check("C1", "Conversions before their touch", Outcome.FLAGGED,
              "88 claims (0.78%) convert before they are touched.", 88, 701_220, "drop"),
        check("C3", "Conversions outside the window", Outcome.FLAGGED,
              "1,116 claims (9.9%) lie outside their window.", 1_116, 9_169_786, "drop"),
        check("E6", "Refunded orders still claimed", Outcome.FLAGGED,
              "388 claims (3.5%) were refunded or cancelled.", 388, 3_340_150, "drop"),
        check("F1", "Spend against logged cost", Outcome.FAILED,
              "Could not run: the currency of 12 spend rows is not known."),
        check("G1", "Control units that were touched", Outcome.FLAGGED,
              "61 of 20,113 control units (0.30%) met a campaign.", 61, None, "note",
              severity=Severity.NOTE),
        check("G3", "One person in both arms", Outcome.PASSED, "No person is in both arms.", 0),
        check("G5", "Sample ratio", Outcome.PASSED,
              "20,113 and 179,887 units where 10% and 90% were designed.", 0, p_value=0.40),
        check("H1", "Touches without consent", Outcome.FLAGGED,
              "215 claims (1.9%) rest on a touch without consent.", 215, 1_702_340, "drop"),
        check("E1", "Invalid traffic", Outcome.NOT_APPLICABLE,
              "Not applicable: activations has no column user_agent."),
    )  # fmt: skip


def reconciliation_report() -> ReconciliationReport:
    return ReconciliationReport(
        reconciliation=winback_reconciliation(), generated_on=TODAY, title="Win-back",
        time_zone="Europe/Paris", started_on=date(2025, 10, 1), ended_on=date(2025, 10, 28),
        versions=VERSIONS,
    )  # fmt: skip
