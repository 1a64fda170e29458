"""Group A, click ids: spoiled on their way, carried by several people, or lost before landing."""

from __future__ import annotations

from measure.engine.expressions import Table, coalesce, ifelse, literal, null, or_, union, window
from measure.reconcile.check import DeclaredCheck, Findings
from measure.reconcile.existence import click_sentence, with_click
from measure.reconcile.sources import Sources
from measure.results import Severity

FOREIGN = '[^!-~]|["<>{}%]'
"""Characters that no click id holds: blanks, control characters and beyond ASCII; quotes, brackets
and per cent signs are left by placeholders that were never filled and by escapes."""
HOUSEHOLD = "household"


def _ids(sources: Sources, name: str, table: Table) -> Table:
    """One shape for both tables: ``id``, ``money``, ``platform``, ``order_id``, ``click_id``."""
    claims = name == "claims"
    return table.select(
        id=table.claim_id if claims else table.conversion_id,
        money=table.value if claims else sources.money_of(table),
        platform=table.platform if claims else null().cast("string"),
        order_id=table.order_id,
        click_id=table.click_id,
    )


def _clicks(sources: Sources) -> Table:
    log = sources.table("activations")
    return log.filter(log.click_id.notnull())


def _malformed(sources: Sources) -> Findings:
    tables = with_click(sources)
    found = {}
    for name, table in tables.items():
        ids = _ids(sources, name, table)
        found[name] = union(_foreign(sources, ids), _unknown(sources, ids))
    return found


def _rows(ids: Table) -> Table:
    return ids.select(
        entity_id=ids.id,
        raw_id=ids.id,
        amount=ids.money,
        whole=1,
        platform=ids.platform,
        order_id=ids.order_id,
        click_id=ids.click_id,
        reason=ids.reason,
        logged_click_id=ids.logged,
    )


def _spoiled(sources: Sources, ids: Table) -> Table:
    """1 where an id holds foreign characters or breaks the pattern of its platform."""
    wrong = ids.click_id.re_search(FOREIGN)
    for platform, pattern in sorted(sources.settings.click_id_patterns.items()):
        ours = coalesce(ids.platform, "") == platform
        wrong = or_(wrong, ours & ~ids.click_id.re_search(pattern))
    return ifelse(wrong, 1, 0)


def _foreign(sources: Sources, ids: Table) -> Table:
    ids = ids.mutate(spoiled=_spoiled(sources, ids))
    spoiled = ids.filter(ids.spoiled == 1)
    return _rows(spoiled.mutate(reason=literal("pattern"), logged=null().cast("string")))


def _unknown(sources: Sources, ids: Table) -> Table:
    """Ids that the log does not know, but for their case; or shorter than any that it knows."""
    log = _clicks(sources)
    known = log.select(known_click="click_id").distinct()
    ids = ids.mutate(spoiled=_spoiled(sources, ids))
    ids = ids.filter(ids.spoiled == 0).drop("spoiled")
    lost = ids.anti_join(known, ids.click_id == known.known_click)
    folded = log.group_by(folded=log.click_id.lower()).aggregate(logged=log.click_id.min())
    lost = lost.left_join(folded, lost.click_id.lower() == folded.folded)
    by_platform = log.group_by(logged_on="platform").aggregate(shortest=log.click_id.length().min())
    lost = lost.left_join(by_platform, lost.platform == by_platform.logged_on)
    overall = log.aggregate(shortest_of_all=log.click_id.length().min())
    lost = lost.cross_join(overall)
    shortest = lost.shortest.coalesce(lost.shortest_of_all)
    lost = lost.mutate(
        reason=ifelse(
            lost.logged.notnull(), "case", ifelse(lost.click_id.length() < shortest, "short", "")
        )
    )
    return _rows(lost.filter(lost.reason != ""))


CLICK_ID_MALFORMED = DeclaredCheck(
    code="A4",
    name="click_id_malformed",
    title="Click ids spoiled on their way",
    severity=Severity.WARNING,
    needs={
        "activations": ("platform", "click_id"),
        "claims": ("claim_id", "platform", "click_id", "value", "currency"),
    },
    uses=("conversions",),
    disposition="drop",
    empty="no claim and no conversion carries a click id",
    passed="No click id is malformed, truncated or changed in case",
    flagged=lambda tally: click_sentence(
        tally, "name a click id that is malformed, truncated or changed in case"
    ),
    find=_malformed,
    examined=with_click,
)


def _people(sources: Sources) -> Table:
    """Who carried each click id: in the log, and in the books."""
    log = _clicks(sources).select(click="click_id", person="customer_id")
    if not sources.has("conversions"):
        return log.distinct()
    books = sources.table("conversions")
    books = books.filter(books.click_id.notnull())
    return union(log, books.select(click="click_id", person="customer_id")).distinct()


def _reused(sources: Sources) -> Table:
    """Click ids of more people than allowed; those of one household or identity are one."""
    people = _people(sources)
    people = people.mutate(several=people.person.count().over(window(group_by="click")))
    people = people.filter(people.several > sources.settings.click_id_people)
    people = people.select("click", "person")
    if sources.has("identities"):
        joined = _joined(sources, people)
        people = people.anti_join(
            joined, [people.click == joined.same_click, people.person == joined.same_person]
        )
    counted = people.group_by("click").aggregate(people=people.count(), first=people.person.min())
    return counted.filter(counted.people > sources.settings.click_id_people)


def _joined(sources: Sources, people: Table) -> Table:
    """People of a click who share an identifier with one before them on the same click."""
    identities = sources.table("identities")
    kinds = sorted({HOUSEHOLD, *sources.settings.identity_kinds})
    shared = identities.filter(identities.kind.isin(kinds))
    shared = shared.select(member="customer_id", kind="kind", identifier="identifier")
    pairs = people.join(shared, people.person == shared.member)
    same = window(group_by=["click", "kind", "identifier"])
    pairs = pairs.mutate(first=pairs.person.min().over(same))
    later = pairs.filter(pairs.person > pairs.first)
    return later.select(same_click="click", same_person="person").distinct()


def _shared_clicks(sources: Sources) -> Findings:
    reused, found = _reused(sources), {}
    for name, table in with_click(sources).items():
        ids = _ids(sources, name, table)
        hit = ids.join(reused, ids.click_id == reused.click)
        found[name] = hit.select(
            entity_id=hit.id,
            raw_id=hit.id,
            amount=hit.money,
            whole=1,
            platform=hit.platform,
            order_id=hit.order_id,
            click_id=hit.click_id,
            people=hit.people,
            one_of_them=hit.first,
        )
    return found


CLICK_ID_REUSED = DeclaredCheck(
    code="A5",
    name="click_id_reused_across_persons",
    title="Click ids that several people carry",
    severity=Severity.WARNING,
    needs={
        "activations": ("click_id", "customer_id"),
        "claims": ("claim_id", "platform", "click_id", "value", "currency"),
    },
    uses=("conversions", "identities"),
    disposition="hold",
    empty="no claim and no conversion carries a click id",
    passed="No click id belongs to more people than allowed",
    flagged=lambda tally: click_sentence(
        tally, "name a click id that more people carry than one household"
    ),
    find=_shared_clicks,
    examined=with_click,
)


def _logged_clicks(sources: Sources) -> Table:
    log = _clicks(sources)
    return log.filter(log.kind == "click")


def _landings(sources: Sources) -> Table:
    """Click ids with which somebody landed."""
    events = sources.table("events")
    return events.filter(events.click_id.notnull()).select(landed="click_id").distinct()


def _gaps(sources: Sources) -> Findings:
    """Clicks without a landing, on the campaign days that lose too many."""
    settings, clicks, landings = sources.settings, _logged_clicks(sources), _landings(sources)
    clicks = clicks.left_join(landings, clicks.click_id == landings.landed)
    clicks = clicks.mutate(day=clicks.ts.date(), lost=ifelse(clicks.landed.isnull(), 1, 0))
    same = window(group_by=["platform", "campaign", "day"])
    clicks = clicks.mutate(
        clicks_of_day=clicks.count().over(same), lost_of_day=clicks.lost.sum().over(same)
    )
    gone = clicks.filter(
        clicks.lost == 1,
        clicks.clicks_of_day >= settings.landing_clicks,
        clicks.lost_of_day > clicks.clicks_of_day * settings.landing_gap,
    )
    rows = gone.select(
        entity_id=gone.activation_id,
        raw_id=gone.activation_id,
        amount=sources.cost_of(gone),
        whole=1,
        platform=gone.platform,
        campaign=gone.campaign,
        date=gone.day,
        click_id=gone.click_id,
        clicks_of_day=gone.clicks_of_day,
        lost_of_day=gone.lost_of_day,
    )
    return {"activations": rows}


def _landed_at_all(sources: Sources) -> Findings:
    """Clicks of the log; none when no event carries a click id."""
    landings = sources.number(_landings(sources).limit(1))
    clicks = _logged_clicks(sources)
    return {"activations": clicks if landings else clicks.limit(0)}


CLICK_LANDING_GAP = DeclaredCheck(
    code="A6",
    name="click_landing_gap",
    title="Clicks that never landed",
    severity=Severity.NOTE,
    needs={
        "activations": ("activation_id", "platform", "campaign", "kind", "ts", "click_id"),
        "events": ("event_id", "ts", "click_id"),
    },
    disposition="note",
    empty="no click or no event carries a click id",
    passed="Clicks of every campaign day land",
    flagged=lambda tally: (
        f"{tally.of('activations', 'click')} never landed, on campaign days that lose more than "
        "the limit"
    ),
    find=_gaps,
    examined=_landed_at_all,
)
