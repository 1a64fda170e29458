"""The statement of account: from what platforms claim to what the experiment says they caused.

Lines are totals or differences. A total is the sum of all differences before it and the first
line; money and rows both add up exactly, because every claim's money is counted once
(:mod:`measure.reconcile.ledger`) in integer minor units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measure.errors import InputError
from measure.reconcile.check import Ran
from measure.reconcile.ledger import OVERLAP, Ledger, Share, beyond_experiment
from measure.reconcile.settings import IncrementalRevenue
from measure.reconcile.sources import Sources
from measure.results import BridgeStep

CLAIMED = "platform-claimed revenue"
RECONCILED = "reconciled claimed revenue"
DISTINCT = "reconciled distinct revenue"
BEYOND = "not under test (other campaigns or days)"
TESTED = "reconciled revenue under test"
ANYWAY = "would have happened anyway"
INCREMENTAL = "incremental revenue (experiment)"
TOTALS = frozenset({CLAIMED, RECONCILED, DISTINCT, TESTED, INCREMENTAL})
"""Lines that state a sum; all others state what is added or taken away."""
NOT_CHECKED = " (not checked)"
"""Ends the name of a difference when none of its checks could run."""


@dataclass(frozen=True, slots=True)
class Line:
    """A difference of the bridge and the checks whose money it takes away."""

    step: str
    codes: tuple[str, ...]
    optional: bool = False
    """Left out when it takes nothing away."""


LINES = (
    Line("claimed twice by one platform", ("B2", "B3", "B4", "B9")),
    Line("no matching order or click", ("A1", "A3", "A4", "A5")),
    Line("outside the time allowed", ("C1", "C3")),
    Line("invalid or unseen traffic", ("E1", "E2", "E4"), optional=True),
    Line("test and staff orders", ("E5",), optional=True),
    Line("refunded or cancelled", ("E6",)),
    Line("in the wrong unit", ("F5",), optional=True),
    Line("tax and shipping", ("F6",), optional=True),
    Line("in another currency", ("F4",), optional=True),
    Line("touched without consent", ("H1",)),
)
"""Differences from claimed to reconciled, in the order they are drawn."""
SHARED = Line("claimed by several platforms", (OVERLAP,))
"""The difference from reconciled to distinct."""


def build_bridge(
    sources: Sources,
    ran: Sequence[Ran],
    ledger: Ledger,
    incremental: IncrementalRevenue | None = None,
) -> tuple[BridgeStep, ...]:
    """Return the lines of the bridge; none when there are no claims to begin with.

    ``rows`` of a difference are the claims that leave the account with it (a partly refunded claim
    loses money and stays); of the last total before the experiment, the distinct orders.
    """
    if not sources.has("claims"):
        return ()
    _same_currency(sources, incremental)
    steps = [_claimed(sources)]
    answered = {one.declared.code for one in ran if one.answered}
    for line in LINES:
        taken = _taken(line, ledger)
        if not line.optional or taken != Share():
            steps.append(_step(line, taken, answered))
    steps.append(_total(RECONCILED, steps))
    shared = _step(SHARED, _taken(SHARED, ledger), answered)
    distinct = _total(DISTINCT, [steps[-1], shared])
    if incremental is None:
        return (*steps, shared, distinct)
    beyond = beyond_experiment(sources, ran)
    tested = [BridgeStep(BEYOND, -beyond.rows, -beyond.amount)] if beyond != Share() else []
    if tested:
        tested.append(_total(TESTED, [distinct, *tested]))
    comparable = tested[-1] if tested else distinct
    return (*steps, shared, distinct, *tested, *_experiment(comparable, incremental))


def _same_currency(sources: Sources, incremental: IncrementalRevenue | None) -> None:
    if incremental is not None and incremental.currency != sources.currency:
        raise InputError.rule(
            "currency of the incremental revenue",
            incremental.currency,
            f"must be {sources.currency}, the currency of the statement",
            "Set the currency of the settings, or give the estimate in that currency.",
        )


def _claimed(sources: Sources) -> BridgeStep:
    """All claims read; money of those in the statement's currency."""
    claims = sources.table("claims")
    total = claims.aggregate(
        rows=claims.count(), money=sources.money_of(claims).sum().cast("int64")
    )
    row = sources.engine.fetch(total).to_pylist()[0]
    return BridgeStep(CLAIMED, int(row["rows"]), int(row["money"] or 0))


def _taken(line: Line, ledger: Ledger) -> Share:
    shares = [ledger.claims(code) for code in line.codes]
    return Share(sum(share.rows for share in shares), sum(share.amount for share in shares))


def _step(line: Line, taken: Share, answered: set[str]) -> BridgeStep:
    checked = any(code in answered for code in line.codes)
    return BridgeStep(line.step + ("" if checked else NOT_CHECKED), -taken.rows, -taken.amount)


def _total(step: str, steps: Sequence[BridgeStep]) -> BridgeStep:
    return BridgeStep(step, sum(s.rows for s in steps), sum(s.money for s in steps))


def _experiment(comparable: BridgeStep, incremental: IncrementalRevenue) -> tuple[BridgeStep, ...]:
    """What the experiment leaves of it; rows are 0, for an experiment names no single order."""
    anyway = BridgeStep(ANYWAY, 0, incremental.money - comparable.money)
    caused = BridgeStep(
        INCREMENTAL,
        0,
        incremental.money,
        money_low=incremental.money_low,
        money_high=incremental.money_high,
    )
    return anyway, caused
