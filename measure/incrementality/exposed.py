"""``X6``: the comparison that must not be made, shown next to the one that may.

Units that were reached differ from those that were not in more than having been reached, so
"exposed minus control" mixes who they are with what was done to them. It is named here, as a
warning only, because somebody will compute it; it is never an estimate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from measure.incrementality.check_kind import CheckKind
from measure.incrementality.compliance import joint
from measure.moments import DENOMINATOR, EXPOSURE, CellMoments
from measure.plan import AnalysisPlan, Metric
from measure.results import Check, Outcome, Severity

KIND = CheckKind("X6", "Exposed against control")
_KINDS = ("mean", "proportion", "count")


def exposure_check(plan: AnalysisPlan, moments: CellMoments) -> Check:
    """Exposed units of each arm minus control, beside the effect of assignment; for plans with one.

    Flagged wherever an arm was reached in part; passed where everybody was reached as assigned.
    """
    if all(_added_up(moments, metric) for metric in plan.metrics):
        message = "In clusters the outcomes of those reached are not counted apart."
        return KIND.found(Outcome.NOT_APPLICABLE, message, Severity.NOTE)
    rows = tuple(_naive(plan, moments))
    if not rows:
        return KIND.found(
            Outcome.FAILED, "No metric has units that were reached.", Severity.WARNING
        )
    partly = [row for row in rows if row["reached"] < 1 or row["reached in control"] > 0]
    if not partly:
        message = "Every unit was reached as assigned."
        return KIND.found(Outcome.PASSED, message, Severity.NOTE, evidence=rows)
    worst = next((row for row in partly if row["metric"] == plan.primary.name), partly[0])
    message = (
        f"Not an effect: exposed minus control says {_signed(worst['exposed_minus_control'])} on "
        f"{worst['metric']} in {worst['arm']}, where assignment made "
        f"{_signed(worst['effect_of_assignment'])}. Who was reached differs from who was not."
    )
    return KIND.found(Outcome.FLAGGED, message, Severity.WARNING, evidence=rows)


def _naive(plan: AnalysisPlan, moments: CellMoments) -> Iterator[dict[str, Any]]:
    for metric in plan.metrics:
        if metric.kind not in _KINDS or not moments.has(metric.name, EXPOSURE):
            continue
        if _added_up(moments, metric):
            continue
        control = joint(moments.get(metric.name, plan.control))
        for name in plan.treatments:
            arm = joint(moments.get(metric.name, name))
            if not (control.n and arm.n and arm.mean[1] > 0):
                continue
            # Of a 0/1 exposure, Σ of outcomes among the exposed is the raw cross-product.
            exposed = float(arm.comoment[0, 1] / arm.n / arm.mean[1] + arm.mean[0])
            yield {
                "metric": metric.name,
                "arm": name,
                "reached": float(arm.mean[1]),
                "reached in control": float(control.mean[1]),
                "exposed_minus_control": exposed - float(control.mean[0]),
                "effect_of_assignment": float(arm.mean[0] - control.mean[0]),
            }


def _added_up(moments: CellMoments, metric: Metric) -> bool:
    """Whether units are clusters, whose outcomes and exposures are sums over members."""
    return metric.kind != "ratio" and moments.has(metric.name, DENOMINATOR)


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")
