"""Means, proportions and counts per unit: Welch's test, or permutation where a holdout is small."""

from __future__ import annotations

from measure.incrementality.comparison import Comparison
from measure.incrementality.difference import difference
from measure.incrementality.findings import STATUS, Finding, conclude
from measure.incrementality.small_holdout import Method, judge, reference_from_counts


def difference_in_means(asked: Comparison) -> Finding:
    """Arm minus control, judged as the cell's allocation and skewness allow."""
    pair = asked.control, asked.arm
    judgement = judge(*pair, asked.metric.name, asked.level)
    if judgement.method in (Method.REFUSE, Method.DEGENERATE):
        return Finding(asked.target, STATUS[judgement.method], judgement.reason)
    kind = asked.metric.kind
    contrast = difference(*pair, kind)
    counted = asked.values() if judgement.method is Method.PERMUTATION else {}
    judged = reference_from_counts(judgement, contrast, counted, asked.cell, kind)
    return conclude(asked.target, contrast, judged, asked.level, asked.look)
