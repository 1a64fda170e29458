"""Group B, counting: one event counted under several names, or many times where one was agreed."""

from __future__ import annotations

from measure.engine.expressions import Table, coalesce, desc, greatest, row_number, window
from measure.reconcile.check import DeclaredCheck, Findings
from measure.reconcile.sources import Sources
from measure.results import Severity


def _with_action(sources: Sources) -> Table:
    claims = sources.claims
    return claims.filter(claims.action.notnull())


def _parents(sources: Sources) -> Table:
    """Actions of a platform whose claims and value equal those of all its other actions together.

    Where two actions alone are equal, either may be the other's parent: the greater value, then
    the name that sorts first, is taken for it.
    """
    claims, settings = _with_action(sources), sources.settings
    totals = claims.group_by(["platform", "action"]).aggregate(
        n=claims.count(), total=claims.value.sum().cast("int64")
    )
    same = window(group_by="platform")
    totals = totals.mutate(
        others=totals.n.sum().over(same) - totals.n,
        other_total=totals.total.sum().over(same) - totals.total,
    )
    near = settings.nested_tolerance
    equal = totals.filter(
        totals.n >= settings.nested_claims,
        (totals.n - totals.others).abs() <= greatest(totals.n, totals.others) * near,
        (totals.total - totals.other_total).abs()
        <= greatest(totals.total, totals.other_total) * near,
    )
    order = window(group_by="platform", order_by=[desc("total"), "action"])
    ranked = equal.mutate(position=row_number().over(order))
    first = ranked.filter(ranked.position == 0)
    return first.select(parent_platform="platform", parent_action="action", children="others")


def _nested(sources: Sources) -> Findings:
    claims, parents = _with_action(sources), _parents(sources)
    held = claims.join(
        parents,
        [claims.platform == parents.parent_platform, claims.action == parents.parent_action],
    )
    rows = held.select(
        entity_id=held.claim_id,
        raw_id=held.claim_id,
        amount=held.value,
        whole=1,
        platform=held.platform,
        action=held.action,
        order_id=held.order_id,
        claims_of_other_actions=held.children,
    )
    return {"claims": rows}


NESTED_ACTION_TYPES = DeclaredCheck(
    code="B4",
    name="nested_action_types",
    title="Actions that contain other actions",
    severity=Severity.WARNING,
    needs={"claims": ("claim_id", "platform", "action", "value", "currency")},
    disposition="drop",
    empty="no claim names its action",
    passed="No action of a platform is the sum of its others",
    flagged=lambda tally: (
        f"{tally.of('claims', 'claim with an action', 'claims with an action')} count under an "
        "action that is the sum of its platform's other actions"
    ),
    find=_nested,
    examined=lambda sources: {"claims": _with_action(sources)},
)


def _counted_once(sources: Sources) -> Table:
    """Claims on a click of platforms that agreed to count one conversion per click."""
    agreed = sources.table("platforms")
    agreed = agreed.filter(agreed.count_mode == "one").select(agreed="platform")
    claims = sources.claims.filter(sources.claims.click_id.notnull())
    return claims.semi_join(agreed, claims.platform == agreed.agreed)


def _many_per_click(sources: Sources) -> Findings:
    claims = _counted_once(sources)
    claims = claims.mutate(event=coalesce(claims.event_name, claims.action, ""))
    order = window(
        group_by=["platform", "click_id", "event"], order_by=["converted_at", "claim_id"]
    )
    claims = claims.mutate(
        position=row_number().over(order), kept=claims.claim_id.first().over(order)
    )
    again = claims.filter(claims.position > 0)
    rows = again.select(
        entity_id=again.claim_id,
        raw_id=again.claim_id,
        amount=again.value,
        whole=1,
        platform=again.platform,
        click_id=again.click_id,
        event_name=again.event_name,
        action=again.action,
        count_mode=again.count_mode,
        order_id=again.order_id,
        kept_claim_id=again.kept,
    )
    return {"claims": rows}


ONE_VERSUS_MANY = DeclaredCheck(
    code="B9",
    name="one_vs_many",
    title="Clicks counted more than once",
    severity=Severity.WARNING,
    needs={
        "claims": ("claim_id", "platform", "click_id", "converted_at", "value", "currency"),
        "platforms": ("platform", "count_mode"),
    },
    disposition="drop",
    empty="no claim rests on a click of a platform that counts one conversion per click",
    passed="Platforms that count one conversion per click claim no click twice",
    flagged=lambda tally: (
        f"{tally.of('claims', 'claim')} count a click again on platforms that agreed to count one "
        "conversion per click"
    ),
    find=_many_per_click,
    examined=lambda sources: {"claims": _counted_once(sources)},
)
