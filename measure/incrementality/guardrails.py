"""Guardrails: whether harm beyond the limit set beforehand is ruled out.

A non-inferiority test at the plan's own interval: its end on the harmful side is a one-sided bound
of level 1 − (1 − ci_level)/2, and harm is ruled out when the bound does not reach the limit
(Committee for Proprietary Medicinal Products 2000, Points to consider on switching between
superiority and non-inferiority). Guardrails need no correction for being several, because all of
them must hold for a launch (intersection–union test, Berger 1982, Technometrics 24(4)); each makes
an undecided answer likelier, which is what planning them costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from measure.incrementality.sequential import ONE_LOOK_ONLY
from measure.plan import AnalysisPlan, Metric
from measure.results import Estimand, Estimate, Guardrail, GuardrailVerdict, Status


def judge_guardrails(estimates: Sequence[Estimate], plan: AnalysisPlan) -> tuple[Guardrail, ...]:
    """One verdict per guardrail with a limit, arm and estimator, over everybody.

    Where a plan is looked at before the end, only an interval that holds at every look decides.
    """
    return tuple(_verdicts(estimates, plan))


def _verdicts(estimates: Sequence[Estimate], plan: AnalysisPlan) -> Iterator[Guardrail]:
    for metric in plan.metrics:
        for estimate in estimates:
            if estimate.metric != metric.name or estimate.cohort is not None:
                continue
            if estimate.estimand == Estimand.CACE:  # a limit is set for everybody assigned
                continue
            for side, limit in _limits(metric):
                yield Guardrail(
                    metric=metric.name,
                    arm=estimate.arm,
                    estimator=estimate.estimator,
                    harm=side,
                    limit=limit,
                    verdict=_verdict(estimate, side, limit),
                    ci_low=estimate.ci_low,
                    ci_high=estimate.ci_high,
                )


def _limits(metric: Metric) -> Iterator[tuple[str, float]]:
    if metric.harm_below is not None:
        yield "below", metric.harm_below
    if metric.harm_above is not None:
        yield "above", metric.harm_above


def _verdict(estimate: Estimate, side: str, limit: float) -> GuardrailVerdict:
    low, high = estimate.ci_low, estimate.ci_high
    if estimate.status is not Status.OK or low is None or high is None:
        return GuardrailVerdict.UNKNOWN
    if ONE_LOOK_ONLY in estimate.note:
        return GuardrailVerdict.UNKNOWN
    if side == "above":  # mirror, so that harm always lies below the limit
        low, high, limit = -high, -low, -limit
    if low > limit:
        return GuardrailVerdict.RULED_OUT
    return GuardrailVerdict.HARMED if high < limit else GuardrailVerdict.UNDECIDED
