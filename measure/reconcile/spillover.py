"""Group G, spillover: what reaches control by another way than delivery.

People of a control geo who buy on a click that was meant for another, and lists that are not, at
the platform, what the registry handed out.
"""

from __future__ import annotations

from statistics import NormalDist

from measure.engine.expressions import (
    Column,
    Table,
    ifelse,
    moment,
    trimmed,
    window,
)
from measure.reconcile.check import DeclaredCheck, Findings, without_money
from measure.reconcile.integrity import experiment_of, tested_touches, units_of
from measure.reconcile.sources import Sources
from measure.results import Severity


def _control_conversions(sources: Sources) -> Findings:
    """Conversions of control geos with a click id while the experiment ran.

    None where no campaign is named.
    """
    experiment, orders, units = (
        experiment_of(sources),
        sources.table("conversions"),
        units_of(sources),
    )
    control = units.filter(units.arm == experiment.control)
    inside = orders.filter(
        orders.ts >= moment(experiment.start, orders.ts),
        orders.ts <= moment(experiment.end, orders.ts),
        orders.click_id.notnull(),
    )
    inside = inside.semi_join(control, inside.geo == control.unit_id)
    return {"conversions": inside if experiment.campaigns else inside.limit(0)}


def _crossed(sources: Sources) -> Findings:
    """Conversions of control geos that carry the click id of a tested campaign."""
    orders, log = _control_conversions(sources)["conversions"], tested_touches(sources)
    log = log.filter(log.click_id.notnull())
    clicks = log.group_by(clicked="click_id").aggregate(activation=log.activation_id.min())
    hit = orders.join(clicks, orders.click_id == clicks.clicked)
    rows = hit.select(
        entity_id=hit.conversion_id,
        raw_id=hit.conversion_id,
        amount=sources.money_of(hit),
        whole=1,
        geo=hit.geo,
        order_id=hit.order_id,
        click_id=hit.click_id,
        activation_id=hit.activation,
        ts=hit.ts,
    )
    return {"conversions": rows}


GEO_SPILLOVER = DeclaredCheck(
    code="G8",
    name="spillover",
    title="Control geos that buy on tested clicks",
    severity=Severity.WARNING,
    needs={
        "assignments": ("experiment", "unit_id", "arm"),
        "conversions": ("conversion_id", "order_id", "ts", "value", "currency", "click_id", "geo"),
        "activations": ("activation_id", "campaign", "ts", "click_id"),
    },
    needs_experiment=True,
    disposition="note",
    empty=(
        "no conversion with a click id is of a control geo under test, or the experiment names no "
        "campaigns"
    ),
    passed="Nobody in a control geo bought on a click of a campaign under test",
    flagged=lambda tally: (
        f"{tally.of('conversions', 'conversion')} of control geos follow a click of a campaign "
        "under test, which brings the arms closer together"
    ),
    find=_crossed,
    examined=_control_conversions,
)


def _lists(sources: Sources) -> Table:
    """Lists uploaded for the experiment that can be held against anything, beside the others."""
    lists = sources.table("list_uploads")
    held = _beside_others(lists.filter(lists.experiment == experiment_of(sources).key))
    return held.filter(held.registered_sha256.notnull() | _comparable(held))


def _comparable(held: Table) -> Column:
    """Whether there is a list of another arm that the share matched can be held against."""
    return _rated(held) & (held.everywhere > held.here)


def _rated(lists: Table) -> Column:
    return lists.matched.notnull() & lists.arm.notnull() & (lists.members > 0)


def _beside_others(lists: Table) -> Table:
    """Lists with members and matches of their arm, and of all arms, at the platform."""
    rated = lists.filter(_rated(lists))
    sums = rated.group_by(["platform", "kind", "arm"]).aggregate(
        here=rated.members.sum().cast("float64"), here_matched=rated.matched.sum().cast("float64")
    )
    same = window(group_by=["platform", "kind"])
    sums = sums.mutate(
        everywhere=sums.here.sum().over(same), all_matched=sums.here_matched.sum().over(same)
    )
    sums = sums.rename(arm_on="platform", arm_of="kind", of_arm="arm")
    return lists.left_join(
        sums, [lists.platform == sums.arm_on, lists.kind == sums.arm_of, lists.arm == sums.of_arm]
    )


def _unlike(held: Table, limit: float) -> Column:
    """Whether an arm's share matched differs from that of the others: two-sample proportions."""
    there, there_matched = held.everywhere - held.here, held.all_matched - held.here_matched
    apart = held.here_matched * there - there_matched * held.here
    spread = held.here * there * held.all_matched * (held.everywhere - held.all_matched)
    return (there > 0) & (apart * apart * held.everywhere > spread * limit * limit)


def _drifted(sources: Sources) -> Findings:
    """Lists whose content is not what was registered, or that match unlike those of other arms.

    The share matched is held against that of the other arms' lists of the same platform and kind
    at ``compared_p``, divided among the lists.
    """
    held = _lists(sources)
    compared = max(sources.number(held.filter(_comparable(held))), 1)
    limit = NormalDist().inv_cdf(1 - sources.settings.compared_p / 2 / compared)
    held = held.mutate(
        content=ifelse(held.sha256 != held.registered_sha256, "content ", ""),
        rate=ifelse(_unlike(held, limit), "match rate", ""),
    )
    held = held.mutate(reason=trimmed(held.content.concat(held.rate)))
    wrong = held.filter(held.reason != "")
    name = wrong.list_id.concat(" / ", wrong.platform)
    rows = wrong.select(
        **without_money(name),
        platform=wrong.platform,
        kind=wrong.kind,
        arm=wrong.arm,
        reason=wrong.reason,
        members=wrong.members,
        matched=wrong.matched,
    )
    return {"lists": rows}


LIST_DRIFT = DeclaredCheck(
    code="G9",
    name="suppression_list_drift",
    title="Lists that are not what was registered",
    severity=Severity.WARNING,
    needs={
        "list_uploads": ("list_id", "experiment", "platform", "kind", "sha256", "uploaded_at"),
    },
    needs_experiment=True,
    disposition="hold",
    empty=(
        "no list of this experiment states a registered hash, or how many matched in its arm and "
        "in another"
    ),
    passed="The platforms hold the lists that were registered, and match their arms alike",
    flagged=lambda tally: (
        f"{tally.of('lists', 'list')} at the platforms differ from what was registered, or find "
        "the people of one arm more readily than those of another"
    ),
    find=_drifted,
    examined=lambda sources: {"lists": _lists(sources)},
)
