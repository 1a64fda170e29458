"""Group H, consent: a valid basis when the touch happened.

Consent is bitemporal: a record says what held from when to when, and when it was learnt. At a
touch, the records whose validity covers its time decide, and among them the one recorded last; a
grant and a refusal recorded at the same moment is a refusal. Records for the touch's channel and
for every channel compete on equal terms.
"""

from __future__ import annotations

from measure.engine.expressions import Table, coalesce, greatest, ifelse, null, or_
from measure.reconcile.check import DeclaredCheck, Findings, Tally, money_text
from measure.reconcile.sources import Sources
from measure.results import Severity


def without_consent(
    sources: Sources, touches: Table, consents: Table, purposes: tuple[str, ...]
) -> Table:
    """Touches that lack consent for at least one of the purposes.

    ``touches`` has ``touch`` (an id), ``customer_id``, ``channel``, ``ts`` and whatever else is to
    be kept.
    """
    records = consents.filter(consents.purpose.isin(purposes)).select(
        person="customer_id",
        purpose="purpose",
        granted_channel="channel",
        granted="granted",
        valid_from="valid_from",
        valid_to="valid_to",
        recorded_at="recorded_at",
    )
    plain = _plainly_granted(sources, records, purposes)
    doubtful = touches.anti_join(
        plain, [touches.customer_id == plain.plain_person, touches.ts >= plain.since]
    )
    allowed = _allowed(sources, doubtful, records, purposes)
    return doubtful.anti_join(allowed, doubtful.touch == allowed.allowed)


def _plainly_granted(sources: Sources, records: Table, purposes: tuple[str, ...]) -> Table:
    """Persons who never refused and gave open-ended grants for every channel, and since when.

    Nearly everybody; for them no order of records matters, so their touches need no ranking.
    """
    wide = (
        records.granted
        & records.valid_to.isnull()
        & (records.granted_channel == sources.settings.consent_every_channel)
    )
    nothing = null().cast(records.valid_from.type())
    persons = records.group_by("person").aggregate(
        refusals=ifelse(records.granted, 0, 1).sum(),
        **{
            f"since_{n}": ifelse(
                wide & (records.purpose == purpose), records.valid_from, nothing
            ).min()
            for n, purpose in enumerate(purposes)
        },
    )
    each = [persons[f"since_{n}"] for n in range(len(purposes))]
    plain = persons.filter(persons.refusals == 0, *(since.notnull() for since in each))
    return plain.select(plain_person="person", since=greatest(*each) if len(each) > 1 else each[0])


def _allowed(sources: Sources, touches: Table, records: Table, purposes: tuple[str, ...]) -> Table:
    """Ids of touches for which the deciding record of every purpose is a grant."""
    pairs = touches.join(records, touches.customer_id == records.person)
    valid = pairs.filter(
        or_(
            pairs.granted_channel == pairs.channel,
            pairs.granted_channel == sources.settings.consent_every_channel,
        ),
        pairs.valid_from <= pairs.ts,
        or_(pairs.valid_to.isnull(), pairs.ts < pairs.valid_to),
    )
    nothing = null().cast(valid.recorded_at.type())
    latest = valid.group_by(["touch", "purpose"]).aggregate(
        yes=ifelse(valid.granted, valid.recorded_at, nothing).max(),
        no=ifelse(valid.granted, nothing, valid.recorded_at).max(),
    )
    granted = latest.filter(latest.yes.notnull(), or_(latest.no.isnull(), latest.yes > latest.no))
    whole = granted.group_by("touch").aggregate(purposes=granted.count())
    return whole.filter(whole.purposes == len(purposes)).select(allowed="touch")


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
    clicks = sources.clicks_of(sources.claims, "claim_id")
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
