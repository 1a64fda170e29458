"""``reconcile``: run the catalogue, count money once, draw the bridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from measure.reconcile.amounts import GROSS_CLAIMED, UNIT_ERROR
from measure.reconcile.billing import (
    FEE_OR_CREDIT_EXCLUDED,
    GRAIN_MISMATCH,
    SPEND_VS_INVOICE,
    UNMAPPED_CHANNEL,
)
from measure.reconcile.bridge import build_bridge
from measure.reconcile.check import DeclaredCheck, Ran, money_text, run
from measure.reconcile.click_ids import (
    CLICK_ID_MALFORMED,
    CLICK_ID_REUSED,
    CLICK_LANDING_GAP,
)
from measure.reconcile.clocks import (
    CHANGED_CLOCKS,
    CLICK_BEFORE_IMPRESSION,
    CLOCK_SKEW,
    IMPOSSIBLE_TIME,
    LATE_ARRIVAL,
)
from measure.reconcile.completeness import LOG_GAP, MISSING_DRIFT, SAMPLED, SUPPRESSED
from measure.reconcile.consent import TOUCH_WITHOUT_CONSENT
from measure.reconcile.copies import (
    BROWSER_SERVER_DUPLICATE,
    CLICK_BURST,
    DUPLICATE_TOUCH,
    NEAR_DUPLICATE_TOUCH,
)
from measure.reconcile.counting import NESTED_ACTION_TYPES, ONE_VERSUS_MANY
from measure.reconcile.delivery import (
    CONCURRENT,
    EXPOSURE_FIRST,
    NONCOMPLIANCE,
    PRE_PERIOD,
)
from measure.reconcile.duplication import ACROSS_PLATFORMS, DUPLICATE_ORDER, WITHIN_PLATFORM
from measure.reconcile.existence import (
    CLAIM_WITHOUT_ORDER,
    CLICK_ID_UNMATCHED,
    ORDER_WITHOUT_CLAIM,
    ORPHAN_TOUCH,
)
from measure.reconcile.identities import (
    FRAGMENTATION,
    LOW_CONFIDENCE_CREDIT,
    MERGE_CONFLICT,
    OVERMERGE,
)
from measure.reconcile.integrity import (
    CONTROL_CONTAMINATION,
    CROSS_ARM_PERSON,
    SAMPLE_RATIO_MISMATCH,
)
from measure.reconcile.ledger import OVERLAP, Ledger, count_once
from measure.reconcile.match_rate import MATCH_RATE_DROP
from measure.reconcile.models import (
    CONVERTER_ONLY_PATHS,
    CREDIT_CONSERVATION,
    MODEL_DISAGREEMENT,
    NEGATIVE_EFFECTS,
    SELF_CREDIT,
)
from measure.reconcile.periods import DATE_BASIS, IMMATURE, OUTSIDE_FLIGHT, TOO_FAST
from measure.reconcile.privacy import EXPIRED, MALFORMED_HASH, RAW_IDENTIFIER, WITHDRAWN
from measure.reconcile.protected import HASH_OF_ANOTHER_WRITING, SMALL_CELL, TO_BE_SPARED
from measure.reconcile.releases import VOLUME_STEP
from measure.reconcile.settings import ExperimentWindow, IncrementalRevenue, Settings
from measure.reconcile.skew import clock_notes
from measure.reconcile.sources import Sources
from measure.reconcile.spending import CURRENCY_MISMATCH, SPEND_VS_LOG_COST
from measure.reconcile.spillover import GEO_SPILLOVER, LIST_DRIFT
from measure.reconcile.time_zones import TIME_ZONE
from measure.reconcile.timing import CONVERSION_BEFORE_TOUCH, OUTSIDE_WINDOW
from measure.reconcile.traffic import (
    CLOCKWORK_TRAFFIC,
    FREQUENCY_OUTLIER,
    HARVESTED,
    LISTED_TRAFFIC,
    NOT_VIEWABLE,
    SUSPECTED_TRAFFIC,
)
from measure.reconcile.validity import REFUNDED_STILL_CLAIMED, TEST_OR_INTERNAL, WITHOUT_VALUE
from measure.results import Attribution, Check, Outcome, Reconciliation

if TYPE_CHECKING:
    from measure.engine.connection import Engine

CATALOGUE: tuple[DeclaredCheck, ...] = (
    CLAIM_WITHOUT_ORDER,
    ORDER_WITHOUT_CLAIM,
    CLICK_ID_UNMATCHED,
    CLICK_ID_MALFORMED,
    CLICK_ID_REUSED,
    CLICK_LANDING_GAP,
    MATCH_RATE_DROP,
    ORPHAN_TOUCH,
    ACROSS_PLATFORMS,
    WITHIN_PLATFORM,
    BROWSER_SERVER_DUPLICATE,
    NESTED_ACTION_TYPES,
    DUPLICATE_TOUCH,
    NEAR_DUPLICATE_TOUCH,
    CLICK_BURST,
    DUPLICATE_ORDER,
    ONE_VERSUS_MANY,
    CONVERSION_BEFORE_TOUCH,
    CLICK_BEFORE_IMPRESSION,
    OUTSIDE_WINDOW,
    OUTSIDE_FLIGHT,
    IMPOSSIBLE_TIME,
    LATE_ARRIVAL,
    CLOCK_SKEW,
    TIME_ZONE,
    CHANGED_CLOCKS,
    DATE_BASIS,
    TOO_FAST,
    IMMATURE,
    LOG_GAP,
    VOLUME_STEP,
    MISSING_DRIFT,
    SAMPLED,
    SUPPRESSED,
    LISTED_TRAFFIC,
    CLOCKWORK_TRAFFIC,
    SUSPECTED_TRAFFIC,
    NOT_VIEWABLE,
    TEST_OR_INTERNAL,
    REFUNDED_STILL_CLAIMED,
    WITHOUT_VALUE,
    HARVESTED,
    FREQUENCY_OUTLIER,
    SPEND_VS_LOG_COST,
    SPEND_VS_INVOICE,
    GRAIN_MISMATCH,
    CURRENCY_MISMATCH,
    UNIT_ERROR,
    GROSS_CLAIMED,
    UNMAPPED_CHANNEL,
    FEE_OR_CREDIT_EXCLUDED,
    CONTROL_CONTAMINATION,
    NONCOMPLIANCE,
    CROSS_ARM_PERSON,
    EXPOSURE_FIRST,
    SAMPLE_RATIO_MISMATCH,
    PRE_PERIOD,
    CONCURRENT,
    GEO_SPILLOVER,
    LIST_DRIFT,
    TOUCH_WITHOUT_CONSENT,
    WITHDRAWN,
    EXPIRED,
    RAW_IDENTIFIER,
    MALFORMED_HASH,
    HASH_OF_ANOTHER_WRITING,
    SMALL_CELL,
    TO_BE_SPARED,
    FRAGMENTATION,
    OVERMERGE,
    MERGE_CONFLICT,
    LOW_CONFIDENCE_CREDIT,
    CREDIT_CONSERVATION,
    CONVERTER_ONLY_PATHS,
    MODEL_DISAGREEMENT,
    SELF_CREDIT,
    NEGATIVE_EFFECTS,
)
"""All checks, in the order in which money counts under them."""
WITHOUT_MONEY = frozenset(
    {"C7", "C9", "D3", "G2", "G3", "G4", "G5", "G9", "H4", "H5", "H6", "I2", "I3"}
)
"""Checks that put no sum in question: what they cost, if anything, only an analysis can price."""


def reconcile(
    engine: Engine,
    *,
    settings: Settings | None = None,
    experiment: ExperimentWindow | None = None,
    incremental: IncrementalRevenue | None = None,
    attribution: Attribution | None = None,
) -> Reconciliation:
    """Hold claims, logs and spend against conversions, consent and arms.

    Every check of :data:`CATALOGUE` appears in the result with one of four outcomes. ``rows`` of a
    check is everything it flags; ``money`` is counted once: what an earlier check already put in
    question is left out. Credits of channels (``attribution``) are held against each other and
    against claims and experiment; without them those checks are not applicable. Only counts,
    totals and a bounded sample of rows leave the engine.
    :class:`InputError` when ``incremental`` is in another currency than the statement.
    """
    settings = settings or Settings()
    sources = Sources(
        engine, settings, experiment, incremental=incremental, attribution=attribution
    )
    ran = [run(declared, sources) for declared in CATALOGUE]
    ledger = count_once(sources, ran)
    return Reconciliation(
        checks=tuple(priced(one, ledger, sources.currency) for one in ran),
        bridge=build_bridge(sources, ran, ledger, incremental),
        currency=sources.currency,
        settings={**settings.model_dump(mode="json"), "currency": sources.currency},
        notes=(*_notes(sources, ran, incremental), *clock_notes(engine)),
    )


def priced(one: Ran, ledger: Ledger, currency: str) -> Check:
    """Complete a check with its money, counted once, and say what counts elsewhere."""
    check, code = one.result, one.declared.code
    if not one.answered or code in WITHOUT_MONEY or one.declared.judge is not None:
        return check
    money = ledger.money(one, currency)
    if not one.flagged:
        return replace(check, money=money, currency=currency)
    text = f"{check.message} In question: {money_text(money, currency)}."
    elsewhere = one.amounts.get("claims", 0) - ledger.claims(code).amount
    if elsewhere and one.declared.counted("claims") and one.declared.takes("claims"):
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
