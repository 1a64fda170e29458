"""What came back for each unit spent: key figures, posterior and bridge of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from designs.decision_rule import parse_rule
from reports.charts.density import Density, density, draws_curve, normal_curve
from reports.charts.shapes import Chart, Column, Table, tick_decimals
from reports.facts import ExperimentReport
from reports.money import Amount, MoneyFacts
from reports.numbers import money, money_short, noun, percent, probability, short_minor
from reports.pages.bridge import bridge_chart, in_currency, money_accounts
from reports.pages.model import Block, ChartBlock, KeyFigure
from reports.words import clean

MOST_ARMS = 3
"""Arms that get a picture of their own."""

_FROM_CLAIMS = "less what fails checks, would have happened anyway, or was paid"
_FROM_REVENUE = "what the treatment brought, less what it cost"


def money_figures(arm: MoneyFacts, scale_if: str | None) -> tuple[KeyFigure, ...]:
    """Money, spend, return, chance."""
    c = arm.currency
    revenue, spend = arm.revenue, arm.spend
    bounds = ""
    if revenue and revenue.low is not None and revenue.high is not None:
        bounds = f"{short_minor(revenue.low, c)} to {short_minor(revenue.high, c)}"
    returned = f"{'Margin' if arm.basis == 'margin' else 'Revenue'} per {noun(c)} spent"
    span = f"{money_short(arm.roi_low, c)} to {money_short(arm.roi_high, c)}"
    above = "break-even" if arm.hurdle == 1 else money_short(arm.hurdle, c)
    return (
        KeyFigure(
            "Incremental revenue", short_minor(revenue.value if revenue else None, c), bounds
        ),
        KeyFigure("Spend", _short(spend, c), clean(arm.spend_note)),
        KeyFigure(returned, money_short(arm.roi, c), span if arm.roi_low is not None else ""),
        KeyFigure(f"Chance above {above}", probability(arm.probability_above), _asked(scale_if)),
    )


def _asked(scale_if: str | None) -> str:
    """The probability the registered rule asks for, under the one that was found."""
    if scale_if is None:
        return ""
    rule = parse_rule(scale_if)
    return f"rule set before: {percent(rule.probability)}"


def arm_figure(arm: MoneyFacts) -> KeyFigure:
    """The return of one of several arms."""
    c = arm.currency
    label = f"{clean(arm.arm, 40)}, per {noun(c)}"
    span = f"{money_short(arm.roi_low, c)} to {money_short(arm.roi_high, c)}"
    return KeyFigure(label, money_short(arm.roi, c), span if arm.roi_low is not None else "")


def ranked(arms: Sequence[MoneyFacts]) -> list[MoneyFacts]:
    """Arms with a return, the best first."""
    known = [arm for arm in arms if arm.roi is not None]
    return sorted(known, key=lambda arm: (-(arm.roi or 0), arm.arm))


def density_blocks(report: ExperimentReport) -> tuple[Block, ...]:
    """A posterior of the return for each arm that has one."""
    several = len(report.money) > 1
    charts = [
        _density(arm, f"return-{i + 1}", several=several)
        for i, arm in enumerate(ranked(report.money)[:MOST_ARMS])
    ]
    return tuple(ChartBlock(chart) for chart in charts if chart is not None)


def _density(arm: MoneyFacts, name: str, *, several: bool) -> Chart | None:
    c = arm.currency
    if arm.posterior_draws:
        curve = draws_curve(arm.posterior_draws)
    elif arm.posterior_mean is not None and arm.posterior_sd:
        curve = normal_curve(arm.posterior_mean, arm.posterior_sd)
    else:
        return None
    if arm.roi is None or arm.roi_low is None or arm.roi_high is None:
        return None
    bar = "break-even" if arm.hurdle == 1 else f"hurdle {money_short(arm.hurdle, c)}"
    value, chance = money_short(arm.roi, c), probability(arm.probability_above)
    spec = Density(curve, arm.hurdle, bar, arm.roi, value, arm.roi_low, arm.roi_high,
                   f"{chance} above {bar}")  # fmt: skip
    of = "Margin returned" if arm.basis == "margin" else "Revenue returned"
    heading = f"{of} per {noun(c)} spent" + (f", {clean(arm.arm, 60)}" if several else "")
    span = f"{money_short(arm.roi_low, c)} to {money_short(arm.roi_high, c)}"
    level = percent(arm.ci_level)
    described = (
        f"A curve of how plausible each return is, highest near {value}; {level} of it lies "
        f"between {span.replace(' to ', ' and ')}, and {chance} above {bar}."
    )
    rows = (
        ("Estimate", value),
        (f"{level} interval", span),
        (bar[:1].upper() + bar[1:], money_short(arm.hurdle, c)),
        (f"Chance above {bar}", chance),
    )
    table = Table(heading, (Column("Quantity"), Column("Value", numeric=True)), rows)
    lead = "where the truth probably lies"
    drawings = density(name, heading, described, spec, _tick_writer(c))
    note = f"The bar under the curve is the {level} interval."
    return Chart(name, heading, lead, drawings, table, note)


def _tick_writer(currency: str) -> Callable[[float, Sequence[float]], str]:
    def write(value: float, values: Sequence[float]) -> str:
        places = tick_decimals(values)
        return money(value, currency, decimals=max(places, 2) if places else 0)

    return write


def bridge_block(report: ExperimentReport) -> tuple[Block, ...]:
    """From claimed, where claims are known, to profit."""
    found = report.reconciliation
    accounts = money_accounts(report.money, found.reconciliation if found else None)
    if not accounts:
        return ()
    c = report.money[0].currency
    claimed = accounts[0].label.startswith("Claimed")
    heading = "From claimed to profit" if claimed else "From incremental revenue to profit"
    lead = f"{in_currency(c)}; {_FROM_CLAIMS if claimed else _FROM_REVENUE}"
    note = ""
    if any(account.low is not None for account in accounts):
        note = f"Thin lines: {percent(report.money[0].ci_level)} interval of what was estimated."
    return (ChartBlock(bridge_chart("bridge", accounts, c, heading, lead, note)),)


def _short(amount: Amount | None, currency: str) -> str:
    return short_minor(amount.value if amount else None, currency)
