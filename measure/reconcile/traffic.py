"""Group E, traffic: touches that no person, or no person who could see them, stands behind.

Invalid traffic comes in two kinds (Media Rating Council, invalid traffic detection and filtration).
General invalid traffic follows from lists and plain rules and may be removed at once; sophisticated
invalid traffic is a suspicion with a score, so it is held and never dropped by itself.
"""

from __future__ import annotations

from functools import partial

from measure.engine.expressions import (
    Table,
    cume_dist,
    desc,
    ifelse,
    interval,
    or_,
    row_number,
    window,
)
from measure.reconcile.check import DeclaredCheck, Findings, Tally, money_text
from measure.reconcile.sources import Sources, seconds_of
from measure.reconcile.touches import flagged_touches, logged, logged_clicks
from measure.results import Severity

NETWORKS = ("data_centre", "internal")
"""Networks no customer surfs from."""
AGENTS = ("declared_bot", "prefetch")
"""Agents that say themselves that nobody looks."""
_LOG = ("activation_id", "platform", "kind", "ts", "customer_id")


def _touches_and_claims(sources: Sources, touches: Table) -> Findings:
    """Touches at their cost, and the claims whose click is one of them."""
    found = flagged_touches(sources, touches)
    return {**found, "claims": _claims_on(sources, touches)} if sources.has("claims") else found


def _claims_on(sources: Sources, touches: Table) -> Table:
    claims, clicks = sources.claims, sources.claim_clicks
    ids = touches.select(touched="activation_id").distinct()
    clicks = clicks.semi_join(ids, clicks.click_activation == ids.touched)
    hit = claims.join(clicks, claims.claim_id == clicks.clicker)
    return hit.select(
        entity_id=hit.claim_id,
        raw_id=hit.claim_id,
        amount=hit.value,
        whole=1,
        platform=hit.platform,
        order_id=hit.order_id,
        activation_id=hit.click_activation,
    )


def _with_claims(tally: Tally, text: str) -> str:
    """A sentence about touches, and what was claimed on them."""
    number = tally.rows.get("claims", 0)
    if not number:
        return text
    worth = money_text(tally.amounts["claims"], tally.currency)
    return f"{text}; {number:,} {'claim rests' if number == 1 else 'claims rest'} on them ({worth})"


_invalid = partial(
    DeclaredCheck,
    severity=Severity.WARNING,
    needs={"activations": _LOG},
    disposition="drop",
    counts=("activations",),
)
"""A check of general invalid traffic: its touches and the claims on them go."""
_suspicious = partial(_invalid, disposition="hold", stays=True)
"""A check of what may be invalid traffic: nothing goes before someone looked."""


def _listed(sources: Sources) -> Findings:
    log = sources.table("activations")
    bad = log.filter(or_(log.network.isin(NETWORKS), log.agent.isin(AGENTS)))
    return _touches_and_claims(sources, bad)


def _described(sources: Sources) -> Findings:
    log = sources.table("activations")
    return {"activations": log.filter(or_(log.network.notnull(), log.agent.notnull()))}


def _listed_sentence(tally: Tally) -> str:
    touches = tally.of("activations", "touch", "touches")
    return _with_claims(
        tally, f"{touches} come from a data centre, the own network, a declared bot or a pre-fetch"
    )


LISTED_TRAFFIC = _invalid(
    code="E1",
    name="givt_list",
    title="Touches by machines that say so",
    empty="no activation says which network or agent it came from",
    passed="No touch comes from a listed network or agent",
    flagged=_listed_sentence,
    find=_listed,
    examined=_described,
)


def _clockwork(sources: Sources) -> Findings:
    """Clicks of a person on one platform whose gaps are all the same to a second."""
    clicks, who = logged_clicks(sources)["activations"], ["customer_id", "platform"]
    second = seconds_of(clicks.ts)
    order = window(group_by=who, order_by=["ts", "activation_id"])
    gaps = clicks.mutate(second=second).mutate(before=second.lag().over(order))
    gaps = gaps.filter(gaps.before.notnull()).mutate(gap=lambda t: t.second - t.before)
    even = gaps.group_by(who).aggregate(
        gaps=gaps.count(), shortest=gaps.gap.min(), longest=gaps.gap.max()
    )
    even = even.filter(
        even.gaps >= sources.settings.periodic_clicks - 1,
        even.shortest > 0,
        even.longest - even.shortest <= 1,
    ).select(robot="customer_id", on="platform")
    bad = clicks.semi_join(even, [clicks.customer_id == even.robot, clicks.platform == even.on])
    return _touches_and_claims(sources, bad)


def _clockwork_sentence(tally: Tally) -> str:
    return _with_claims(
        tally, f"{tally.of('activations', 'click')} follow each other at a constant interval"
    )


CLOCKWORK_TRAFFIC = _invalid(
    code="E2",
    name="givt_activity",
    title="Clicks like clockwork",
    empty="the activation log has no clicks",
    passed="Nobody clicks at a constant interval",
    flagged=_clockwork_sentence,
    find=_clockwork,
    examined=logged_clicks,
)


def _scores(sources: Sources) -> Table:
    scores = sources.table("scores")
    return scores.filter(scores.model == sources.settings.invalid_traffic_model)


def _suspected(sources: Sources) -> Findings:
    """Touches of people whose highest score lies above the threshold."""
    log, scores = sources.table("activations"), _scores(sources)
    high = scores.filter(scores.score > sources.settings.invalid_traffic_score)
    people = high.select(suspect="unit_id").distinct()
    return _touches_and_claims(sources, log.semi_join(people, log.customer_id == people.suspect))


def _scored(sources: Sources) -> Findings:
    log, people = sources.table("activations"), _scores(sources).select(known="unit_id").distinct()
    return {"activations": log.semi_join(people, log.customer_id == people.known)}


SUSPECTED_TRAFFIC = _suspicious(
    code="E3",
    name="sivt_score",
    title="Touches under suspicion",
    needs={"activations": _LOG, "scores": ("unit_id", "model", "score")},
    empty="nobody in the log has a score of the model for invalid traffic",
    passed="No score of invalid traffic lies above the threshold",
    flagged=lambda tally: _with_claims(
        tally, f"{tally.of('activations', 'touch', 'touches')} are of people scored as suspicious"
    ),
    find=_suspected,
    examined=_scored,
)


def _view_claims(sources: Sources) -> Table:
    """View claims with what the log knows about their impression.

    The impression is the customer's on the platform at the claimed time, within the clock
    tolerance. ``seen`` is 1 when any was viewable, ``unknown`` counts those that do not say.
    """
    claims, log = sources.matched_claims, sources.table("activations")
    claims = claims.filter(claims.kind == "view", claims.order_customer.notnull())
    log = log.filter(log.kind.isin(("impression", "viewable"))).select(
        seen_by="customer_id",
        shown_on="platform",
        shown_at="ts",
        impression="activation_id",
        visible=ifelse((log.kind == "viewable") | log.viewable, 1, 0),
        silent=ifelse((log.kind == "impression") & log.viewable.isnull(), 1, 0),
    )
    pairs = claims.join(
        log,
        [
            claims.order_customer == log.seen_by,
            claims.platform == log.shown_on,
            log.shown_at >= claims.touched_at - sources.clock,
            log.shown_at <= claims.touched_at + sources.clock,
        ],
    )
    return pairs.group_by("claim_id", "value", "platform", "order_id").aggregate(
        impression=pairs.impression.min(), seen=pairs.visible.max(), unknown=pairs.silent.sum()
    )


def _unseen(sources: Sources) -> Findings:
    known = _view_claims(sources)
    unseen = known.filter(known.unknown == 0, known.seen == 0)
    rows = unseen.select(
        entity_id=unseen.claim_id,
        raw_id=unseen.claim_id,
        amount=unseen.value,
        whole=1,
        platform=unseen.platform,
        order_id=unseen.order_id,
        activation_id=unseen.impression,
    )
    return {"claims": rows}


def _known_views(sources: Sources) -> Findings:
    known = _view_claims(sources)
    return {"claims": known.filter(or_(known.seen == 1, known.unknown == 0))}


NOT_VIEWABLE = DeclaredCheck(
    code="E4",
    name="non_viewable",
    title="View claims on what nobody could see",
    severity=Severity.WARNING,
    needs={
        "claims": ("claim_id", "platform", "kind", "touched_at", "value", "currency"),
        "conversions": ("order_id", "customer_id", "ts", "status", "currency"),
        "activations": (*_LOG, "viewable"),
    },
    disposition="drop",
    empty="no view claim has an impression in the log that says whether it was viewable",
    passed="Every view claim stands on an impression that could be seen",
    flagged=lambda tally: (
        f"{tally.of('claims', 'view claim')} stand on impressions nobody could see"
    ),
    find=_unseen,
    examined=_known_views,
)


def _harvested(sources: Sources) -> Findings:
    """Orders whose last touch was a click of the brand's own campaigns shortly before."""
    settings, log = sources.settings, sources.table("activations")
    log = log.select(
        toucher="customer_id", touch="activation_id", touched="ts", to="campaign", how="kind"
    )
    orders = sources.table("conversions")
    pairs = orders.join(
        log,
        [
            orders.customer_id == log.toucher,
            log.touched <= orders.ts,
            log.touched >= orders.ts - interval(minutes=settings.checkout_minutes),
        ],
    )
    newest = window(group_by="conversion_id", order_by=[desc("touched"), "touch"])
    ranked = pairs.mutate(position=row_number().over(newest))
    last = ranked.filter(
        ranked.position == 0, ranked.how == "click", ranked.to.isin(settings.brand_campaigns)
    )
    rows = last.select(
        entity_id=last.conversion_id,
        raw_id=last.conversion_id,
        amount=sources.money_of(last),
        whole=1,
        order_id=last.order_id,
        activation_id=last.touch,
        campaign=last.to,
        clicked_at=last.touched,
        ordered_at=last.ts,
    )
    return {"conversions": rows}


def _with_brand(sources: Sources) -> Findings:
    orders = sources.table("conversions")
    return {"conversions": orders if sources.settings.brand_campaigns else orders.limit(0)}


HARVESTED = DeclaredCheck(
    code="E8",
    name="own_traffic",
    title="Brand clicks just before checkout",
    severity=Severity.NOTE,
    needs={
        "activations": (*_LOG, "campaign"),
        "conversions": ("conversion_id", "order_id", "customer_id", "ts", "value", "currency"),
    },
    disposition="note",
    empty="there are no conversions, or brand_campaigns names no campaign",
    passed="No order follows a brand click within minutes",
    flagged=lambda tally: (
        f"{tally.of('conversions', 'conversion')} follow a click of a brand campaign within "
        "minutes: the customer was probably on the way already"
    ),
    find=_harvested,
    examined=_with_brand,
)


def _too_many(sources: Sources) -> Findings:
    """Touches of people with many times the touches that 99 % of people stay below."""
    settings, log = sources.settings, sources.table("activations")
    people = log.group_by("customer_id").aggregate(touches=log.count())
    ranked = people.mutate(place=cume_dist().over(window(order_by="touches")))
    usual = ranked.filter(ranked.place >= 0.99).aggregate(usual=lambda t: t.touches.min())
    people = people.cross_join(usual)
    many = people.filter(
        people.touches >= settings.outlier_touches,
        people.touches > people.usual * settings.outlier_factor,
    ).select(busy="customer_id")
    return _touches_and_claims(sources, log.semi_join(many, log.customer_id == many.busy))


FREQUENCY_OUTLIER = _suspicious(
    code="E9",
    name="frequency_outlier",
    title="People with impossibly many touches",
    passed="Nobody has many times the touches of others",
    flagged=lambda tally: _with_claims(
        tally,
        f"{tally.of('activations', 'touch', 'touches')} belong to people with many times the "
        "touches of others (a shared device, a bot, or several people merged)",
    ),
    find=_too_many,
    examined=logged,
)
