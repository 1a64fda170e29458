"""Consent, with two times: what was valid at a moment, as it was known at another.

A record says what somebody granted or refused, for a purpose and a channel, from when to when, and
when that was recorded. One definition serves assignment, lists, features and checks:

* A record counts when its validity covers the moment (``valid_from <= at < valid_to``), when it is
  for the channel or for every channel, and when it had been recorded by ``known_at``.
* Of the records that count, the one recorded last decides. A grant and a refusal recorded at the
  same moment is a refusal. Where no record counts, there is no consent.

So a withdrawal that arrives late changes what is known of the past from then on, and what was known
before can still be asked for. These are the two time axes of Snodgrass, "Developing Time-Oriented
Database Applications in SQL" (1999), chapter 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from measure.engine.expressions import (
    Table,
    Value,
    coalesce,
    greatest,
    ifelse,
    literal,
    moment,
    null,
    or_,
)

EVERY_CHANNEL = "all"
"""The channel of a record that stands for every channel."""


def consenting(
    consents: Table,
    purpose: str,
    channel: str,
    at: datetime,
    known_at: datetime | None = None,
    *,
    every_channel: str = EVERY_CHANNEL,
) -> Table:
    """Customers with consent at one moment: (customer_id, granted), ``granted`` being 1.

    ``at`` and ``known_at`` are aware, or in UTC; without ``known_at`` every record counts. With the
    channel ``all`` only records for every channel do.
    """
    records = known_by(consents.filter(consents.purpose == purpose), known_at)
    valid = records.filter(
        *_valid(records, literal(channel), moment(at, records.valid_from), every_channel)
    )
    return _granted(valid, ["customer_id"]).select("customer_id", granted=literal(1))


def eligible(
    people: Table,
    consents: Table,
    purpose: str,
    channel: str,
    at: datetime,
    known_at: datetime | None = None,
) -> Table:
    """``people`` (with ``customer_id``) with a further column ``eligible``: 1 or 0."""
    granted = consenting(consents, purpose, channel, at, known_at)
    joined = people.left_join(granted, people.customer_id == granted.customer_id)
    return joined.select(*people.columns, eligible=coalesce(joined.granted, 0))


def with_consent(
    rows: Table,
    consents: Table,
    purposes: Sequence[str],
    *,
    key: str,
    known_at: datetime | None = None,
    known_then: bool = False,
) -> Table:
    """Rows with consent for each of the purposes at their own time; see :func:`without_consent`."""
    bare = without_consent(
        rows, consents, purposes, key=key, known_at=known_at, known_then=known_then
    )
    bare = bare.select(bare_key=bare[key])
    return rows.anti_join(bare, rows[key] == bare.bare_key)


def without_consent(
    rows: Table,
    consents: Table,
    purposes: Sequence[str],
    *,
    key: str,
    known_at: datetime | None = None,
    known_then: bool = False,
    every_channel: str = EVERY_CHANNEL,
) -> Table:
    """Rows that lack consent for at least one of the purposes at their own time.

    ``rows`` has ``customer_id``, ``channel``, ``ts`` and a ``key`` that is unique; other columns
    are kept. ``known_at`` leaves out what was recorded later; with ``known_then`` each row is
    judged by what had been recorded when it happened.
    """
    wanted = tuple(dict.fromkeys(purposes))
    known = known_by(consents.filter(consents.purpose.isin(wanted)), known_at)
    records = known.select(
        "purpose",
        "granted",
        "valid_from",
        "valid_to",
        "recorded_at",
        person="customer_id",
        for_channel="channel",
    )
    plain = _plainly_granted(records, wanted, every_channel, known_then=known_then)
    doubtful = rows.anti_join(
        plain, [rows.customer_id == plain.plain_person, rows.ts >= plain.since]
    )
    pairs = doubtful.join(records, doubtful.customer_id == records.person)
    valid = pairs.filter(*_valid(pairs, pairs.channel, pairs.ts, every_channel))
    if known_then:
        valid = valid.filter(valid.recorded_at <= valid.ts)
    granted = _granted(valid, [key, "purpose"])
    whole = granted.group_by(key).aggregate(purposes=granted.count())
    allowed = whole.filter(whole.purposes == len(wanted)).select(allowed=key)
    return doubtful.anti_join(allowed, doubtful[key] == allowed.allowed)


def known_by(consents: Table, known_at: datetime | None) -> Table:
    """The records that had been recorded by a moment; all of them when none is given."""
    if known_at is None:
        return consents
    return consents.filter(consents.recorded_at <= moment(known_at, consents.recorded_at))


def _valid(
    records: Table, channel: Value, at: Value, every_channel: str
) -> tuple[Value, Value, Value]:
    """What makes a record one for a channel and a moment."""
    own = "for_channel" if "for_channel" in records.columns else "channel"
    return (
        or_(records[own] == channel, records[own] == every_channel),
        records.valid_from <= at,
        or_(records.valid_to.isnull(), at < records.valid_to),
    )


def _granted(valid: Table, by: list[str]) -> Table:
    """The groups in which the record recorded last is a grant; of a tie the refusal decides."""
    nothing = null().cast(valid.recorded_at.type())
    last = valid.group_by(by).aggregate(
        yes=ifelse(valid.granted, valid.recorded_at, nothing).max(),
        no=ifelse(valid.granted, nothing, valid.recorded_at).max(),
    )
    return last.filter(last.yes.notnull(), or_(last.no.isnull(), last.yes > last.no))


def _plainly_granted(
    records: Table, purposes: tuple[str, ...], every_channel: str, *, known_then: bool
) -> Table:
    """Persons who never refused and gave open-ended grants for every channel, and since when.

    Nearly everybody; for them no order of records matters, so their rows need no ranking.
    """
    wide = records.granted & records.valid_to.isnull() & (records.for_channel == every_channel)
    nothing = null().cast(records.valid_from.type())
    begun = records.valid_from
    if known_then:
        begun = greatest(begun, records.recorded_at.cast(begun.type()))
    persons = records.group_by("person").aggregate(
        refusals=ifelse(records.granted, 0, 1).sum(),
        **{
            f"since_{n}": ifelse(wide & (records.purpose == purpose), begun, nothing).min()
            for n, purpose in enumerate(purposes)
        },
    )
    each = [persons[f"since_{n}"] for n in range(len(purposes))]
    plain = persons.filter(persons.refusals == 0, *(since.notnull() for since in each))
    return plain.select(plain_person="person", since=greatest(*each) if len(each) > 1 else each[0])
