"""Group H, consent: a valid basis when the touch happened (:mod:`measure.people.consent`)."""

from __future__ import annotations

from measure.engine.expressions import Table, coalesce
from measure.people import consent
from measure.reconcile.check import DeclaredCheck, Findings, Tally, money_text
from measure.reconcile.sources import Sources
from measure.results import Severity


def without_consent(
    sources: Sources, touches: Table, consents: Table, purposes: tuple[str, ...]
) -> Table:
    """Touches that lack consent for at least one of the purposes, by all that is known today.

    ``touches`` has ``touch`` (an id), ``customer_id``, ``channel``, ``ts`` and whatever else is to
    be kept.
    """
    everywhere = sources.settings.consent_every_channel
    return consent.without_consent(
        touches, consents, purposes, key="touch", every_channel=everywhere
    )


def known_purposes(sources: Sources) -> tuple[str, ...]:
    """Required purposes that the consents table records; all of them when it records none."""
    consents = sources.table("consents")
    known = sources.engine.fetch(consents.select("purpose").distinct())["purpose"].to_pylist()
    wanted = tuple(dict.fromkeys(sources.settings.consent_purposes))
    return tuple(purpose for purpose in wanted if purpose in known) or wanted


def _touches(sources: Sources, purposes: tuple[str, ...]) -> Table:
    log = sources.table("activations")
    touches = log.select(
        "customer_id", "channel", "campaign", "ts", touch="activation_id", cost=sources.cost_of(log)
    )
    flagged = without_consent(sources, touches, sources.table("consents"), purposes)
    return flagged.select(
        entity_id=flagged.touch,
        raw_id=flagged.touch,
        amount=flagged.cost,
        whole=1,
        customer_id=flagged.customer_id,
        channel=flagged.channel,
        campaign=flagged.campaign,
        ts=flagged.ts,
    )


def _claims(sources: Sources, purposes: tuple[str, ...]) -> Table:
    """Claims that rest on a touch without consent.

    The touch is the click in our log where the claim names one, else what the platform says: the
    order's customer on the claim's channel at the claimed time. A claim with neither click nor
    order has no person to ask (A1 flags it).
    """
    claims = sources.matched_claims
    clicks = sources.claim_clicks
    claims = claims.left_join(clicks, claims.claim_id == clicks.clicker)
    touches = claims.select(
        "order_id",
        "value",
        "click_activation",
        touch=claims.claim_id,
        customer_id=coalesce(claims.click_customer, claims.order_customer),
        channel=coalesce(claims.click_channel, claims.channel),
        ts=coalesce(claims.clicked_at, claims.touched_at),
    )
    known = touches.filter(touches.customer_id.notnull())
    consents = sources.table("consents")
    consents = consents.semi_join(known, consents.customer_id == known.customer_id)
    flagged = without_consent(sources, known, consents, purposes)
    return flagged.select(
        entity_id=flagged.touch,
        raw_id=flagged.touch,
        amount=flagged.value,
        whole=1,
        order_id=flagged.order_id,
        activation_id=flagged.click_activation,
        customer_id=flagged.customer_id,
    )


def _found(sources: Sources) -> Findings:
    purposes = known_purposes(sources)
    found = {"activations": _touches(sources, purposes)}
    if sources.has("claims") and sources.has("conversions"):
        found["claims"] = _claims(sources, purposes)
    return found


def _caveat(sources: Sources) -> str:
    """Purposes that nobody recorded, so that they could not be asked for."""
    known = known_purposes(sources)
    silent = [purpose for purpose in sources.settings.consent_purposes if purpose not in known]
    return f" No record speaks of {' or '.join(silent)}." if silent else ""


def _sentence(tally: Tally) -> str:
    text = f"{tally.of('activations', 'touch', 'touches')} had no valid consent"
    if tally.rows.get("claims"):
        number = tally.rows["claims"]
        worth = money_text(tally.amounts["claims"], tally.currency)
        noun = "claim rests" if number == 1 else "claims rest"
        text += f"; {number:,} {noun} on such touches ({worth})"
    return text


TOUCH_WITHOUT_CONSENT = DeclaredCheck(
    code="H1",
    name="touch_without_consent",
    title="Touches without consent",
    severity=Severity.WARNING,
    needs={
        "activations": ("activation_id", "channel", "ts", "customer_id"),
        "consents": (
            "customer_id",
            "purpose",
            "channel",
            "granted",
            "valid_from",
            "recorded_at",
        ),
    },
    disposition="drop",
    passed="Every touch had consent",
    flagged=_sentence,
    find=_found,
    examined=lambda sources: {"activations": sources.table("activations")},
    caveat=_caveat,
    counts=("activations",),
)
