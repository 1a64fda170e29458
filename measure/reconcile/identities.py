"""Group I, identity: one person taken for several, several taken for one, and weak links.

Persons come from the identity graph (:mod:`measure.people.identities`), which is built once for all
checks; they go back to the engine as a table, and everything else is counted there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from measure.engine.contracts import COUNTED
from measure.engine.expressions import (
    Table,
    Value,
    desc,
    ifelse,
    interval,
    literal,
    row_number,
    union,
    window,
)
from measure.people.bridges import bridges
from measure.people.identities import IdentityRules, links_between
from measure.reconcile.check import DeclaredCheck, Findings, Tally, without_money
from measure.reconcile.sources import Sources
from measure.results import Severity

_IDENTITIES = ("customer_id", "kind", "identifier", "seen_at")
_ORDERS = ("conversion_id", "order_id", "customer_id", "ts", "value", "currency", "status")
_TOUCHES = ("activation_id", "kind", "ts", "customer_id")
_LINKS = ("customer_id", "other_customer_id", "probability")


def _carriers(sources: Sources) -> Table:
    """Everybody of whom an identifier is known."""
    return sources.table("identities").select("customer_id").distinct()


def _shared_caveat(sources: Sources) -> str:
    shared = len(sources.identities.shared)
    if not shared:
        return ""
    most = sources.settings.identity_customers
    noun = "identifier that" if shared == 1 else "identifiers that each"
    return f" Nobody is joined by {shared:,} {noun} more than {most:,} customers carry."


def _linked(sources: Sources) -> Table:
    """Links likely enough to count, in both directions: customer_id, other, probability."""
    links = links_between(sources.engine)
    links = links.filter(links.probability >= sources.settings.link_least)
    there = links.select("customer_id", "probability", other="other_customer_id")
    back = links.select("probability", customer_id="other_customer_id", other="customer_id")
    names = ("customer_id", "other", "probability")
    return union(there.select(*names), back.select(*names))


def _late_orders(sources: Sources) -> Table:
    """Orders so late that the log covers the whole window before them."""
    orders, log = sources.table("conversions"), sources.table("activations")
    orders = orders.filter(orders.status.isin(COUNTED))
    orders = orders.cross_join(log.aggregate(log_begins=log.ts.min()))
    covered = interval(days=sources.settings.click_window_days)
    return orders.filter(orders.ts >= orders.log_begins + covered).drop("log_begins")


def _several_keys(sources: Sources) -> Table:
    """Customers of whom more than one identifier of their own is known, or another id."""
    known = sources.table("identities").select("customer_id", "kind", "identifier").distinct()
    same = window(group_by=["kind", "identifier"])
    known = known.mutate(carriers=known.count().over(same))
    own = known.filter(known.carriers <= sources.settings.identity_customers)
    counted = own.group_by("customer_id").aggregate(keys=own.count())
    several = counted.filter(counted.keys > 1).select(known_customer="customer_id")
    persons = sources.persons.select(known_customer="customer_id")
    return union(several, persons).distinct()


def _touched(sources: Sources, orders: Table, whose: str) -> Table:
    """Ids of orders before which somebody (the customer in column ``whose``) met a campaign."""
    log = sources.table("activations").select(toucher="customer_id", touched_at="ts")
    pairs = orders.join(log, orders[whose] == log.toucher)
    return pairs.filter(pairs.touched_at < pairs.ts).select(met="conversion_id").distinct()


def _alone(sources: Sources) -> Table:
    """Orders of people with one identifier and no earlier touch."""
    orders, several = _late_orders(sources), _several_keys(sources)
    orders = orders.anti_join(several, orders.customer_id == several.known_customer)
    touched = _touched(sources, orders, "customer_id")
    return orders.anti_join(touched, orders.conversion_id == touched.met)


def _fragments(sources: Sources) -> Findings:
    """All of them where they are more than usual; money of those that a link leads to a touch."""
    alone = _alone(sources)
    usual = sources.settings.fragmented_share * sources.number(_late_orders(sources))
    if sources.number(alone) <= usual:
        alone = alone.limit(0)
    gained: Value = literal(0)
    if sources.has("links"):
        links = _linked(sources).select(linked="customer_id", other="other")
        pairs = alone.join(links, alone.customer_id == links.linked)
        met = _touched(sources, pairs, "other")
        alone = alone.left_join(met, alone.conversion_id == met.met)
        gained = ifelse(alone.met.notnull(), sources.money_of(alone), 0)
    rows = alone.select(
        entity_id=alone.conversion_id,
        raw_id=alone.conversion_id,
        amount=gained.cast("int64"),
        whole=ifelse(gained > 0, 1, 0),
        order_id=alone.order_id,
        customer_id=alone.customer_id,
        ts=alone.ts,
    )
    return {"conversions": rows}


def _per_device(sources: Sources) -> Mapping[str, Any]:
    known = sources.table("identities")
    devices = known.filter(known.kind == "device").select("customer_id", "identifier").distinct()
    counted = sources.engine.fetch(
        devices.aggregate(pairs=devices.count(), devices=devices.identifier.nunique())
    ).to_pylist()[0]
    rate = counted["pairs"] / counted["devices"] if counted["devices"] else None
    return {"per_device": rate, "usual": sources.settings.fragmented_share}


def _fragment_sentence(tally: Tally) -> str:
    rate = tally.facts["per_device"]
    devices = f"; there are {rate:.2f} customers per device" if rate is not None else ""
    return (
        f"{tally.of('conversions', 'order')} come from people with one identifier and no earlier "
        f"touch, where up to {100 * tally.facts['usual']:g} % are usual{devices}. The money is "
        "that of orders which likely links would lead to a touch"
    )


FRAGMENTATION = DeclaredCheck(
    code="I1",
    name="fragmentation",
    title="Persons in pieces",
    severity=Severity.WARNING,
    needs={"identities": _IDENTITIES, "conversions": _ORDERS, "activations": _TOUCHES},
    uses=("links",),
    disposition="note",
    empty="no order is so late that the log covers the whole click window before it",
    passed="No more orders than usual come from people with one identifier and no earlier touch",
    flagged=_fragment_sentence,
    find=_fragments,
    examined=lambda sources: {"conversions": _late_orders(sources)},
    facts=_per_device,
)


def _suspects(sources: Sources) -> Table:
    """Persons who may be several: person_key and the reasons, 0 or 1 each."""
    persons, engine = sources.persons, sources.engine
    known = sources.table("identities")
    logins = known.filter(known.kind.isin(IdentityRules().apart_kinds))
    logins = logins.select(bearer="customer_id", login="identifier")
    joined = persons.left_join(logins, persons.customer_id == logins.bearer)
    sizes = joined.group_by("person_key").aggregate(
        size=joined.customers.max(), logins=joined.login.nunique()
    )
    graph = sources.identities
    cut = bridges(graph.components, graph.sightings, sources.settings.bridge_customers)
    cut_persons = engine.hold(cut).select(cut_key="person_key").distinct()
    sizes = sizes.left_join(cut_persons, sizes.person_key == cut_persons.cut_key)
    reason = ifelse(
        sizes["size"] > sources.settings.person_customers,
        "customers",
        ifelse(sizes.logins > 1, "logins", ifelse(sizes.cut_key.notnull(), "bridge", "")),
    )
    return sizes.select(suspect="person_key", reason=reason).filter(lambda t: t.reason != "")


def _overmerged(sources: Sources) -> Findings:
    persons, suspects = sources.persons, _suspects(sources)
    hit = persons.join(suspects, persons.person_key == suspects.suspect)
    rows = hit.select(
        **without_money(hit.customer_id),
        person_key=hit.person_key,
        customers=hit.customers,
        reason=hit.reason,
    )
    return {"identities": rows}


def _overmerged_facts(sources: Sources) -> Mapping[str, Any]:
    rows = _overmerged(sources)["identities"]
    counted = sources.engine.fetch(rows.aggregate(persons=rows.person_key.nunique()))
    return {"persons": int(counted["persons"][0].as_py())}


def _overmerge_sentence(tally: Tally) -> str:
    persons = tally.facts["persons"]
    noun = "person" if persons == 1 else "persons"
    return (
        f"{tally.of('identities', 'customer')} make up {persons:,} {noun} of too many ids, of "
        "several logins, or held together by one identifier alone"
    )


OVERMERGE = DeclaredCheck(
    code="I2",
    name="overmerge",
    title="Several people taken for one",
    severity=Severity.WARNING,
    needs={"identities": _IDENTITIES},
    by_entity=True,
    disposition="hold",
    empty="no identity is known",
    passed="No person has too many ids or logins, or hangs by a single identifier",
    flagged=_overmerge_sentence,
    find=_overmerged,
    examined=lambda sources: {"identities": _carriers(sources)},
    facts=_overmerged_facts,
    caveat=_shared_caveat,
)


def _told_apart(sources: Sources) -> Table:
    """Customers of whom something is known that can keep them apart."""
    rules, known = IdentityRules(), sources.table("identities")
    parts = [known.filter(known.kind.isin(rules.apart_kinds)).select("customer_id")]
    if sources.has("customers"):
        customers = sources.table("customers")
        for name in rules.apart_attributes:
            if name in customers.columns:
                value = customers[name].cast("string")
                told = customers.filter(value.notnull(), value != "")
                parts.append(told.select("customer_id"))
    return (union(*parts) if len(parts) > 1 else parts[0]).distinct()


def _conflicts(sources: Sources) -> Findings:
    refused = sources.engine.hold(sources.identities.components.conflicts)
    both = refused.customer_id.concat(": ", refused.other_customer_id)
    rows = refused.select(
        **without_money(refused.customer_id, both),
        customer_id=refused.customer_id,
        other_customer_id=refused.other_customer_id,
        kind=refused.kind,
        rule=refused.rule,
        seen_at=refused["at"],
    )
    return {"identities": rows}


MERGE_CONFLICT = DeclaredCheck(
    code="I3",
    name="merge_conflict",
    title="Shared identifiers of different people",
    severity=Severity.WARNING,
    needs={"identities": _IDENTITIES},
    uses=("customers",),
    disposition="hold",
    empty="of nobody is a login or a date of birth known",
    passed="No identifier would join people whom a login or a date of birth tells apart",
    flagged=lambda tally: (
        f"{tally.rows['identities']:,} times customers share an identifier, and their logins or "
        "dates of birth say that they are different people. They were not joined"
    ),
    find=_conflicts,
    examined=lambda sources: {"identities": _told_apart(sources)},
    caveat=_shared_caveat,
)


def _orders(sources: Sources) -> Table:
    """The first conversion of each order that counts; B8 flags the others."""
    orders = sources.table("conversions")
    orders = orders.filter(orders.status.isin(COUNTED))
    same = window(group_by="order_id", order_by=["ts", "conversion_id"])
    ranked = orders.mutate(position=row_number().over(same))
    return ranked.filter(ranked.position == 0).drop("position")


def _clicks_before(sources: Sources, orders: Table, whose: str) -> Table:
    """Orders beside the clicks, inside the click window, of the customers in column ``whose``."""
    log = sources.table("activations")
    clicks = log.filter(log.kind == "click").select(
        clicker="customer_id", clicked_at="ts", click="activation_id"
    )
    pairs = orders.join(clicks, orders[whose] == clicks.clicker)
    reach = interval(days=sources.settings.click_window_days)
    return pairs.filter(pairs.clicked_at <= pairs.ts, pairs.clicked_at >= pairs.ts - reach)


def _last_by_link(sources: Sources) -> Table:
    """The last click before each order by somebody linked to its customer, and how likely so."""
    links = _linked(sources).select(linked="customer_id", other="other", probability="probability")
    same = _same_person(sources)
    links = links.anti_join(same, [links.linked == same.one, links.other == same.two])
    orders = _orders(sources)
    pairs = orders.join(links, orders.customer_id == links.linked)
    pairs = _clicks_before(sources, pairs, "other")
    latest = window(
        group_by="conversion_id",
        order_by=[desc("clicked_at"), desc("probability"), "click"],
    )
    ranked = pairs.mutate(position=row_number().over(latest))
    return ranked.filter(ranked.position == 0).drop("position", "clicker", "linked")


def _same_person(sources: Sources) -> Table:
    """Pairs of different ids of one person."""
    one, two = sources.persons, sources.persons.view()
    pairs = one.join(two, one.person_key == two.person_key)
    pairs = pairs.select(one=one.customer_id, two=two.customer_id)
    return pairs.filter(pairs.one != pairs.two)


def _last_of_their_own(sources: Sources, orders: Table) -> Table:
    """Time of the last click before each order by its customer, under any id of the person."""
    ids, same = orders.select("conversion_id", "customer_id", "ts"), _same_person(sources)
    others = ids.join(same, ids.customer_id == same.one)
    names = ("conversion_id", "whose", "ts")
    everybody = union(
        ids.mutate(whose=ids.customer_id).select(*names),
        others.mutate(whose=others.two).select(*names),
    )
    clicks = _clicks_before(sources, everybody, "whose")
    return clicks.group_by(own_order="conversion_id").aggregate(own_at=clicks.clicked_at.max())


def credited_over_links(sources: Sources) -> Table:
    """Orders whose last click came over a link, with its ``probability`` and the ``money``."""
    linked = _last_by_link(sources)
    own = _last_of_their_own(sources, linked)
    credited = linked.left_join(own, linked.conversion_id == own.own_order)
    credited = credited.filter(credited.own_at.isnull() | (credited.clicked_at > credited.own_at))
    money = sources.money_of(credited)
    doubtful = money.cast("float64") * (1 - credited.probability)
    return credited.mutate(money=money, doubtful=(doubtful + 0.5).floor().cast("int64"))


def _weakly_credited(sources: Sources) -> Findings:
    """Orders whose last click came over a weak link; money: value × (1 − p), rounded."""
    credited = credited_over_links(sources)
    weak = credited.filter(credited.probability < sources.settings.link_confidence)
    rows = weak.select(
        entity_id=weak.conversion_id,
        raw_id=weak.conversion_id,
        amount=weak.doubtful,
        whole=0,
        order_id=weak.order_id,
        customer_id=weak.customer_id,
        linked_customer_id=weak.other,
        activation_id=weak.click,
        probability=weak.probability,
    )
    return {"conversions": rows}


def _linkable(sources: Sources) -> Findings:
    orders = _orders(sources)
    return {"conversions": orders if sources.number(_linked(sources)) else orders.limit(0)}


LOW_CONFIDENCE_CREDIT = DeclaredCheck(
    code="I4",
    name="low_confidence_credit",
    title="Credit over weak links",
    severity=Severity.NOTE,
    needs={
        "links": _LINKS,
        "identities": _IDENTITIES,
        "conversions": _ORDERS,
        "activations": _TOUCHES,
    },
    disposition="reweight",
    empty="there is no order, or no link likely enough to count",
    passed="No order owes its last click to a weak link",
    flagged=lambda tally: (
        f"{tally.of('conversions', 'order')} owe their last click to a weak link. The money is "
        "what is expected to be credited wrongly: value × (1 − p)"
    ),
    find=_weakly_credited,
    examined=_linkable,
)
