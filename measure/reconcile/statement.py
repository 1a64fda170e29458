"""``reconcile``: run the catalogue, count money once, draw the bridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from measure.reconcile.bridge import build_bridge
from measure.reconcile.check import DeclaredCheck, Ran, money_text, run
from measure.reconcile.consent import TOUCH_WITHOUT_CONSENT
from measure.reconcile.duplication import ACROSS_PLATFORMS, DUPLICATE_ORDER, WITHIN_PLATFORM
from measure.reconcile.existence import CLAIM_WITHOUT_ORDER, CLICK_ID_UNMATCHED
from measure.reconcile.integrity import (
    CONTROL_CONTAMINATION,
    CROSS_ARM_PERSON,
    SAMPLE_RATIO_MISMATCH,
)
from measure.reconcile.ledger import OVERLAP, Ledger, count_once
from measure.reconcile.settings import ExperimentWindow, IncrementalRevenue, Settings
from measure.reconcile.sources import Sources
from measure.reconcile.spending import CURRENCY_MISMATCH, SPEND_VS_LOG_COST
from measure.reconcile.timing import CONVERSION_BEFORE_TOUCH, OUTSIDE_WINDOW
from measure.reconcile.validity import REFUNDED_STILL_CLAIMED
from measure.results import Check, Outcome, Reconciliation

if TYPE_CHECKING:
    from measure.engine.connection import Engine

CATALOGUE: tuple[DeclaredCheck, ...] = (
    CLAIM_WITHOUT_ORDER,
    CLICK_ID_UNMATCHED,
    ACROSS_PLATFORMS,
    WITHIN_PLATFORM,
    DUPLICATE_ORDER,
    CONVERSION_BEFORE_TOUCH,
    OUTSIDE_WINDOW,
    REFUNDED_STILL_CLAIMED,
    SPEND_VS_LOG_COST,
    CURRENCY_MISMATCH,
    CONTROL_CONTAMINATION,
    CROSS_ARM_PERSON,
    SAMPLE_RATIO_MISMATCH,
    TOUCH_WITHOUT_CONSENT,
)
"""All checks, in the order in which money counts under them."""
WITHOUT_MONEY = frozenset({"G3", "G5"})
"""Checks whose cost is a change of the estimate, which only an analysis can price."""


def reconcile(
    engine: Engine,
    *,
    settings: Settings | None = None,
    experiment: ExperimentWindow | None = None,
    incremental: IncrementalRevenue | None = None,
) -> Reconciliation:
    """Hold claims, logs and spend against conversions, consent and arms.

    Every check of :data:`CATALOGUE` appears in the result with one of four outcomes. ``rows`` of a
    check is everything it flags; ``money`` is counted once: what an earlier check already put in
    question is left out. Only counts, totals and a bounded sample of rows leave the engine.
    :class:`InputError` when ``incremental`` is in another currency than the statement.
    """
    settings = settings or Settings()
    sources = Sources(engine, settings, experiment)
    ran = [run(declared, sources) for declared in CATALOGUE]
    ledger = count_once(sources, ran)
    return Reconciliation(
        checks=tuple(_priced(one, ledger, sources.currency) for one in ran),
        bridge=build_bridge(sources, ran, ledger, incremental),
        currency=sources.currency,
        settings={**settings.model_dump(mode="json"), "currency": sources.currency},
        notes=_notes(sources, ran, incremental),
    )


def _priced(one: Ran, ledger: Ledger, currency: str) -> Check:
    """Complete a check with its money, counted once, and say what counts elsewhere."""
    check, code = one.result, one.declared.code
    if not one.answered or code in WITHOUT_MONEY:
        return check
    money = ledger.money(one, currency)
    if not one.flagged:
        return replace(check, money=money, currency=currency)
    text = f"{check.message} In question: {money_text(money, currency)}."
    elsewhere = one.amounts.get("claims", 0) - ledger.claims(code).amount
    if elsewhere and one.declared.counted("claims"):
        text += f" A further {money_text(elsewhere, currency)} counts under other checks."
    if code == OVERLAP and ledger.by_platform:
        split = [f"{name} {money_text(m, currency)}" for name, m in ledger.by_platform.items()]
        text += f" Pro rata: {', '.join(split)}."
    return replace(check, message=text, money=money, currency=currency)


def _notes(
    sources: Sources, ran: Sequence[Ran], incremental: IncrementalRevenue | None
) -> tuple[str, ...]:
    """What a reader of the bridge must know about it."""
    if not sources.has("claims"):
        return ("There is no table claims, so there is no bridge.",)
    notes = []
    broken = [one.declared.code for one in ran if one.result.outcome is Outcome.FAILED]
    if broken:
        notes.append(f"Could not run: {', '.join(broken)}. Their money is not in the bridge.")
    if incremental is None:
        notes.append("No experiment estimate was given, so the bridge ends at reconciled revenue.")
    else:
        notes.append(
            f"The incremental line is the experiment's total with its "
            f"{100 * incremental.ci_level:g} % interval. It is held against the claims for the "
            "campaigns and days under test; what no platform claimed is part of it."
        )
    return tuple(notes)
