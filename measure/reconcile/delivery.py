"""Group G, delivery: who was reached, when, and whether the arms differ in anything else."""

from __future__ import annotations

import math
from collections.abc import Mapping

from measure.currency import minor_digits
from measure.engine.expressions import Table, moment
from measure.reconcile.check import DeclaredCheck, Findings, Tally, answer, without_money
from measure.reconcile.integrity import experiment_of, of_reach, tested_touches, units_of
from measure.reconcile.sources import Sources
from measure.results import Check, Outcome, Severity

DELIVERED = ("impression", "send")
"""Kinds of touch that the advertiser decides on; clicks and opens are answers to it."""


def _treated(sources: Sources) -> Findings:
    """Treated units, looked at only when the experiment says which campaigns it tests."""
    units, experiment = units_of(sources), experiment_of(sources)
    treated = units.filter(units.arm != experiment.control)
    return {"treated units": treated if experiment.campaigns else treated.limit(0)}


def _unreached(sources: Sources) -> Findings:
    treated, touches = _treated(sources)["treated units"], tested_touches(sources)
    missed = treated.anti_join(touches, treated.unit_id == touches.customer_id)
    rows = missed.select(
        **without_money(missed.unit_id),
        arm=missed.arm,
    )
    return {"treated units": rows}


NONCOMPLIANCE = of_reach(
    code="G2",
    name="treatment_noncompliance",
    title="Treated units that were never reached",
    severity=Severity.NOTE,
    disposition="note",
    empty="no treated unit is assigned, or the experiment names no campaigns",
    passed="Every treated unit met a campaign under test",
    flagged=lambda tally: (
        f"{tally.of('treated units', 'treated unit')} never met a campaign under test. The effect "
        "of assignment includes them; complier_effect estimates the effect on those reached"
    ),
    find=_unreached,
    examined=_treated,
)


def _reached_early(sources: Sources) -> Findings:
    """Touches under test after the experiment began and before their unit was assigned."""
    units = _timed_units(sources)
    touches = tested_touches(sources)
    pairs = touches.join(units, touches.customer_id == units.unit_id)
    early = pairs.filter(pairs.ts < pairs.assigned_at - sources.clock)
    return {
        "early touches": early.select(
            **without_money(early.unit_id, early.activation_id),
            arm=early.arm,
            campaign=early.campaign,
            ts=early.ts,
            assigned_at=early.assigned_at,
        )
    }


def _timed_units(sources: Sources) -> Table:
    assigned = sources.table("assignments")
    assigned = assigned.filter(assigned.experiment == experiment_of(sources).key)
    return assigned.select("unit_id", "arm", "assigned_at")


def _assigned_scope(sources: Sources) -> Findings:
    units = units_of(sources)
    return {"assigned units": units if experiment_of(sources).campaigns else units.limit(0)}


def _early_sentence(tally: Tally) -> str:
    (assigned,) = tally.examined.values()
    units = Tally({"units": tally.rows["early touches"]}, {"units": assigned}, tally.currency)
    return (
        f"{units.of('units', 'assigned unit')} met a campaign under test before they were "
        "assigned, so who was assigned may depend on what was delivered"
    )


EXPOSURE_FIRST = of_reach(
    code="G4",
    name="assignment_after_exposure",
    title="Reached before they were assigned",
    needs={
        **of_reach.keywords["needs"],
        "assignments": ("experiment", "unit_id", "arm", "assigned_at"),
    },
    by_entity=True,
    disposition="hold",
    empty="nobody is assigned, or the experiment names no campaigns",
    passed="Nobody met a campaign under test before being assigned",
    flagged=_early_sentence,
    find=_reached_early,
    examined=_assigned_scope,
)


def _sums(sources: Sources, counted: Table) -> dict[str, tuple[int, float, float]]:
    """Units, sum and sum of squares of a number per unit, by arm; units without one have 0.

    ``counted`` has ``owner`` and ``number``, whole numbers, so sums below 2**53 are exact.
    """
    units = units_of(sources)
    joined = units.left_join(counted, units.unit_id == counted.owner)
    number = joined.number.fill_null(0).cast("float64")
    joined = joined.select("arm", number=number, square=number * number)
    sums = joined.group_by("arm").aggregate(
        n=joined.count(), total=joined.number.sum(), squares=joined.square.sum()
    )
    rows = sources.engine.fetch(sums).to_pylist()
    return {row["arm"]: (int(row["n"]), row["total"], row["squares"]) for row in rows}


def _least_p(arms: Mapping[str, tuple[int, float, float]], control: str) -> float:
    """Smallest p of each arm against control (normal limit of Welch's test), Bonferroni."""
    smallest, compared = 1.0, 0
    for arm, sums in arms.items():
        if arm == control:
            continue
        compared += 1
        (mean, error), (base, base_error) = _mean(*sums), _mean(*arms[control])
        variance = error + base_error
        if variance > 0:
            z = abs(mean - base) / math.sqrt(variance)
            smallest = min(smallest, math.erfc(z / math.sqrt(2)))
        elif mean != base:
            smallest = 0.0
    return min(1.0, smallest * max(compared, 1))


def _mean(n: int, total: float, squares: float) -> tuple[float, float]:
    """Mean, and its squared standard error."""
    mean = total / n
    return mean, max(squares - n * mean * mean, 0.0) / (n - 1) / n


def _compare(
    sources: Sources, declared: DeclaredCheck, counted: Table, words: tuple[str, str, float]
) -> Check:
    """Compare a number per unit between the arms; ``words`` has what it is, its unit and scale."""
    what, unit, scale = words
    arms, control = _sums(sources, counted), experiment_of(sources).control
    settings = sources.settings
    few = [arm for arm, sums in arms.items() if sums[0] < settings.compared_units]
    reason = ""
    if control not in arms or len(arms) < 2:
        reason = "fewer than two arms have units"
    elif not any(total for _, total, _ in arms.values()):
        reason = f"nobody has any {what}"
    elif few:
        reason = f"arm {min(few)} has fewer than {settings.compared_units} units"
    if reason:
        return answer(declared, Outcome.NOT_APPLICABLE, f"Not applicable: {reason}.")
    p = float(f"{_least_p(arms, control):.6g}")  # engines add up in their own order
    means = {arm: total / n / scale for arm, (n, total, _) in sorted(arms.items())}
    text = ", ".join(f"{arm} {mean:,.2f}" for arm, mean in means.items())
    bad = p < settings.compared_p
    return answer(
        declared,
        Outcome.FLAGGED if bad else Outcome.PASSED,
        f"{what.capitalize()} per unit{unit}: {text}; p = {p:.2g}."
        + (f" {declared.flagged(Tally({}, {}, sources.currency))}." if bad else ""),
        p_value=p,
        evidence=tuple(
            {"arm": arm, "units": arms[arm][0], "per_unit": mean} for arm, mean in means.items()
        ),
    )


def _before_start(sources: Sources) -> Check:
    """Order value per unit in a period before the start as long as the experiment's."""
    experiment, orders = experiment_of(sources), sources.table("conversions")
    begin = experiment.start - (experiment.end - experiment.start)
    orders = orders.filter(
        orders.status.isin(("paid", "refunded")),
        orders.ts >= moment(begin, orders.ts),
        orders.ts < moment(experiment.start, orders.ts),
    )
    spent = orders.mutate(money=sources.money_of(orders))
    spent = spent.group_by(owner="customer_id").aggregate(number=spent.money.sum())
    words = (
        "order value before the start",
        f" ({sources.currency})",
        10.0 ** minor_digits(sources.currency),
    )
    return _compare(sources, PRE_PERIOD, spent, words)


PRE_PERIOD = DeclaredCheck(
    code="G6",
    name="pre_period_imbalance",
    title="Arms that differed before the start",
    severity=Severity.WARNING,
    needs={
        "assignments": ("experiment", "unit_id", "arm"),
        "conversions": ("customer_id", "ts", "value", "currency", "status"),
    },
    needs_experiment=True,
    disposition="hold",
    flagged=lambda _: "The arms differed before anything was done, by more than chance",
    judge=_before_start,
)


def _other_campaigns(sources: Sources) -> Check:
    """Sends and impressions per unit of the campaigns that are not under test."""
    experiment, log = experiment_of(sources), sources.table("activations")
    others = log.filter(
        log.campaign.notin(sorted(experiment.campaigns)),
        log.kind.isin(DELIVERED),
        log.ts >= moment(experiment.start, log.ts),
        log.ts <= moment(experiment.end, log.ts),
    )
    counted = others.group_by(owner="customer_id").aggregate(number=others.count())
    if not experiment.campaigns:
        text = "Not applicable: the experiment names no campaigns."
        return answer(CONCURRENT, Outcome.NOT_APPLICABLE, text)
    return _compare(sources, CONCURRENT, counted, ("touches of other campaigns", "", 1.0))


CONCURRENT = DeclaredCheck(
    code="G7",
    name="concurrent_campaigns",
    title="Other campaigns in the arms",
    severity=Severity.WARNING,
    needs={
        "assignments": ("experiment", "unit_id", "arm"),
        "activations": ("campaign", "kind", "ts", "customer_id"),
    },
    needs_experiment=True,
    disposition="hold",
    flagged=lambda _: (
        "The arms met other campaigns unequally, so the effect is not that of the tested ones alone"
    ),
    judge=_other_campaigns,
)
