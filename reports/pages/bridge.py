"""The bridge: from what platforms claim, over what survives and what was caused, to profit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measure.results import BridgeStep, Reconciliation
from reports.charts.shapes import Chart, Column, Table
from reports.charts.waterfall import Step, waterfall
from reports.money import Amount, Line, MoneyFacts
from reports.numbers import NONE, count, major, money_minor, nouns, short_minor
from reports.words import plain_name

CLAIMED = "platform-claimed revenue"
RECONCILED = "reconciled claimed revenue"
DISTINCT = "reconciled distinct revenue"
TESTED = "reconciled revenue under test"
INCREMENTAL = "incremental revenue (experiment)"
TOTALS = frozenset({CLAIMED, RECONCILED, DISTINCT, TESTED, INCREMENTAL})
"""Lines of a reconciliation that state a sum; all others state a difference."""

_ANYWAY, _UNCLAIMED = "Would have happened anyway", "Claimed by no platform"
_LABELS = {
    CLAIMED: "Claimed by platforms",
    RECONCILED: "Survives the checks",
    DISTINCT: "Each order once",
    TESTED: "Of this, under test",
    INCREMENTAL: "Incremental revenue",
}


@dataclass(frozen=True, slots=True)
class Account:
    """A line of a bridge in minor units."""

    label: str
    money: int
    total: bool = False
    low: int | None = None
    high: int | None = None
    rows: int | None = None


def total_of(bridge: Sequence[BridgeStep], *names: str) -> int | None:
    """Money of the last of the named totals that a bridge states; ``None`` without one."""
    found = [step.money for step in bridge if step.step in names]
    return found[-1] if found else None


def reconciliation_accounts(bridge: Sequence[BridgeStep]) -> tuple[Account, ...]:
    """All lines of a reconciliation; differences of nothing are left out of the picture."""
    return tuple(
        Account(
            _label(step),
            step.money,
            total=step.step in TOTALS,
            low=step.money_low,
            high=step.money_high,
            rows=step.rows,
        )
        for step in bridge
    )


def money_accounts(
    arms: Sequence[MoneyFacts], reconciliation: Reconciliation | None
) -> tuple[Account, ...]:
    """From claims, where they are known, through incremental revenue to profit; all arms together.

    Empty when an arm's revenue or profit is unknown.
    """
    known = [(arm, arm.revenue, arm.profit) for arm in arms if arm.revenue and arm.profit]
    if not known or len(known) < len(arms):
        return ()
    single = len(known) == 1
    revenue = sum(revenue.value for _, revenue, _ in known)
    profit = sum(profit.value for _, _, profit in known)
    lines = [
        *_claims(reconciliation, known[0][0].currency, revenue),
        _estimated("Incremental revenue", revenue, known[0][1] if single else None),
        *(Account(line.name, -line.money) for line in _costs(arms, revenue - profit)),
        _estimated("Incremental profit", profit, known[0][2] if single else None),
    ]
    return tuple(lines)


def bridge_chart(
    name: str, accounts: Sequence[Account], currency: str, heading: str, lead: str, note: str = ""
) -> Chart:
    """The accounts as a waterfall with its table."""
    steps = [_step(account, currency) for account in accounts]
    first, last = accounts[0], accounts[-1]
    described = (
        f"Bars from {first.label}, {short_minor(first.money, currency)}, down to {last.label}, "
        f"{short_minor(last.money, currency)}; each change stands between its two totals."
    )
    return Chart(
        id=name,
        heading=heading,
        lead=lead,
        drawings=waterfall(name, heading, described, steps),
        table=_table(accounts, currency, heading),
        note=note,
    )


def in_currency(currency: str) -> str:
    """The unit of a bridge for its caption: in euro, in CHF."""
    return f"in {nouns(currency)}"


def _claims(
    reconciliation: Reconciliation | None, currency: str, incremental: int
) -> tuple[Account, ...]:
    """Claimed, what did not survive, what did, and what would have happened anyway."""
    if reconciliation is None or reconciliation.currency != currency:
        return ()
    claimed = total_of(reconciliation.bridge, CLAIMED)
    survived = total_of(reconciliation.bridge, RECONCILED, DISTINCT)
    if claimed is None or survived is None:
        return ()
    tested = total_of(reconciliation.bridge, TESTED)
    lines = [
        Account("Claimed by platforms", claimed, total=True),
        Account("Does not survive the checks", survived - claimed),
        Account("Reconciled claims", survived, total=True),
    ]
    if tested is not None:
        lines.append(Account("Other campaigns and days", tested - survived))
        lines.append(Account("Reconciled, under test", tested, total=True))
    left = incremental - (survived if tested is None else tested)
    return (*lines, Account(_ANYWAY if left <= 0 else _UNCLAIMED, left))


def _costs(arms: Sequence[MoneyFacts], between: int) -> tuple[Line, ...]:
    """Costs by name over all arms; one nameless line when they do not add up to the difference."""
    sums: dict[str, int] = {}
    for arm in arms:
        for line in arm.costs:
            sums[line.name] = sums.get(line.name, 0) + line.money
    if sum(sums.values()) != between:
        return (Line("All costs", between),)
    return tuple(Line(name, money) for name, money in sums.items())


def _estimated(label: str, money: int, amount: Amount | None) -> Account:
    low, high = (amount.low, amount.high) if amount else (None, None)
    return Account(label, money, total=True, low=low, high=high)


def _step(account: Account, currency: str) -> Step:
    def units(minor: int | None) -> float | None:
        exact = major(minor, currency)
        return None if exact is None else float(exact)

    return Step(
        label=account.label,
        amount=units(account.money) or 0.0,
        text=short_minor(account.money, currency, signed=not account.total),
        total=account.total,
        low=units(account.low),
        high=units(account.high),
    )


def _table(accounts: Sequence[Account], currency: str, caption: str) -> Table:
    def write(minor: object) -> str:
        return money_minor(minor if isinstance(minor, int) else None, currency)

    with_rows = any(account.rows is not None for account in accounts)
    names = ("Line", "Money", "Interval", *(("Rows",) if with_rows else ()))
    body = []
    for account in accounts:
        low, high = account.low, account.high
        cells = [
            account.label,
            money_minor(account.money, currency, signed=not account.total),
            NONE if low is None or high is None else f"{write(low)} to {write(high)}",
        ]
        if with_rows:
            cells.append(NONE if account.rows is None else count(account.rows))
        body.append(tuple(cells))
    return Table(caption, tuple(Column(name, i > 0) for i, name in enumerate(names)), tuple(body))


def _label(step: BridgeStep) -> str:
    """A line's name; what the experiment finds beyond the claims did not happen anyway."""
    if step.step == _ANYWAY.lower() and step.money > 0:
        return _UNCLAIMED
    words = plain_name(step.step)
    return _LABELS.get(step.step, words[:1].upper() + words[1:])
