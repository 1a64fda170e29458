"""Group H, privacy: consent that has ended, and identifiers that are not what they should be.

Evidence names the customer and the kind of identifier, never the identifier: it may be personal.
"""

from __future__ import annotations

from functools import partial

from measure.engine.clear_text import IN_CLEAR
from measure.engine.expressions import Table, interval, or_
from measure.reconcile.check import DeclaredCheck, Findings, without_money
from measure.reconcile.consent import known_purposes, without_consent
from measure.reconcile.sources import Sources
from measure.results import Severity

HASHED = ("email_hash", "phone_hash")
"""Kinds of identifier that must be a SHA-256 digest in lower-case hexadecimal."""
EMPTY_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing (FIPS 180-4): an address that was missing when it was hashed."""
_DIGEST = r"^[0-9a-f]{64}$"
_LOG = ("activation_id", "channel", "ts", "customer_id")
_CONSENTS = ("customer_id", "purpose", "channel", "granted", "valid_from", "recorded_at")


def _touches(sources: Sources) -> Table:
    log = sources.table("activations")
    return log.select(
        "customer_id", "channel", "campaign", "ts", touch="activation_id", cost=sources.cost_of(log)
    )


def _grants(sources: Sources) -> Table:
    """Grants of the required purposes, by person and channel."""
    consents = sources.table("consents")
    granted = consents.filter(consents.granted, consents.purpose.isin(known_purposes(sources)))
    return granted.select(
        person="customer_id", purpose="purpose", on_channel="channel", since="valid_from"
    )


def _earlier_grants(sources: Sources, touches: Table) -> Table:
    """Pairs of a touch and a grant for its channel that had begun by then."""
    grants = _grants(sources)
    pairs = touches.join(grants, touches.customer_id == grants.person)
    everywhere = sources.settings.consent_every_channel
    return pairs.filter(
        or_(pairs.on_channel == pairs.channel, pairs.on_channel == everywhere),
        pairs.since <= pairs.ts,
    )


def _flagged(touches: Table) -> Findings:
    rows = touches.select(
        entity_id=touches.touch,
        raw_id=touches.touch,
        amount=touches.cost,
        whole=1,
        customer_id=touches.customer_id,
        channel=touches.channel,
        campaign=touches.campaign,
        ts=touches.ts,
    )
    return {"activations": rows}


def _withdrawn(sources: Sources) -> Findings:
    """Touches without consent of people who had once given it."""
    purposes = known_purposes(sources)
    bare = without_consent(sources, _touches(sources), sources.table("consents"), purposes)
    once = _earlier_grants(sources, bare).select(before="touch").distinct()
    return _flagged(bare.semi_join(once, bare.touch == once.before))


WITHDRAWN = DeclaredCheck(
    code="H2",
    name="consent_withdrawn_used_after",
    title="Touches after consent was withdrawn",
    severity=Severity.WARNING,
    needs={"activations": _LOG, "consents": _CONSENTS},
    disposition="drop",
    passed="Nobody was touched after withdrawing consent",
    flagged=lambda tally: (
        f"{tally.of('activations', 'touch', 'touches')} came after a consent that had been "
        "withdrawn or had ended"
    ),
    find=_withdrawn,
    examined=lambda sources: {"activations": sources.table("activations")},
)


def _stale(sources: Sources) -> Findings:
    """Touches whose newest grant of some required purpose is older than consent lasts."""
    pairs = _earlier_grants(sources, _touches(sources))
    newest = pairs.group_by("touch", "purpose").aggregate(since=pairs.since.max())
    oldest = newest.group_by(stale="touch").aggregate(since=newest.since.min())
    touches = _touches(sources)
    dated = touches.join(oldest, touches.touch == oldest.stale)
    lasts = interval(days=sources.settings.consent_lasts_days or 0)
    return _flagged(dated.filter(dated.since < dated.ts - lasts))


def _if_consent_ends(sources: Sources) -> Findings:
    log = sources.table("activations")
    return {"activations": log if sources.settings.consent_lasts_days else log.limit(0)}


EXPIRED = DeclaredCheck(
    code="H3",
    name="consent_expired",
    title="Touches on a consent too old",
    severity=Severity.WARNING,
    needs={"activations": _LOG, "consents": _CONSENTS},
    disposition="hold",
    empty="the log has no rows, or consent_lasts_days sets no age at which consent ends",
    passed="Every consent was young enough when it was used",
    flagged=lambda tally: (
        f"{tally.of('activations', 'touch', 'touches')} rest on a consent that should have been "
        "renewed"
    ),
    find=_stale,
    examined=_if_consent_ends,
)


def _hashed(sources: Sources) -> Table:
    known = sources.table("identities")
    return known.filter(known.kind.isin(HASHED))


def _identifiers(rows: Table) -> Findings:
    return {
        "identities": rows.select(
            **without_money(rows.customer_id, rows.customer_id.concat(": ", rows.kind)),
            kind=rows.kind,
            characters=rows.identifier.length(),
        )
    }


_of_hashes = partial(
    DeclaredCheck,
    needs={"identities": ("customer_id", "kind", "identifier")},
    disposition="hold",
    empty="no identity is of a hashed kind",
    examined=lambda sources: {"identities": _hashed(sources)},
)
"""A check of identifiers that are to be hashes."""


def _raw(sources: Sources) -> Findings:
    known = _hashed(sources)
    return _identifiers(known.filter(known.identifier.re_search(IN_CLEAR)))


RAW_IDENTIFIER = _of_hashes(
    code="H4",
    name="raw_pii_present",
    title="Addresses and numbers in place of hashes",
    severity=Severity.STOP,
    passed="No hashed identity looks like an e-mail address or a telephone number",
    flagged=lambda tally: (
        f"{tally.of('identities', 'hashed identity', 'hashed identities')} look like an e-mail "
        "address or a telephone number in clear. Remove them, and load them hashed"
    ),
    find=_raw,
)


def _malformed(sources: Sources) -> Findings:
    known = _hashed(sources)
    digest = known.identifier.re_search(_DIGEST)
    return _identifiers(known.filter(or_(~digest, known.identifier == EMPTY_HASH)))


MALFORMED_HASH = _of_hashes(
    code="H5",
    name="hash_malformed",
    title="Hashes that cannot be one",
    severity=Severity.WARNING,
    passed="Every hash has 64 lower-case hexadecimal digits and is not that of an empty text",
    flagged=lambda tally: (
        f"{tally.of('identities', 'hashed identity', 'hashed identities')} are not 64 lower-case "
        "hexadecimal digits, or are the hash of an empty text"
    ),
    find=_malformed,
)
