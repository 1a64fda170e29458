"""Segments that a search found, with their effect on units that the search did not see."""

from __future__ import annotations

from measure.results import Segment, Status
from reports.charts.shapes import Column, Table
from reports.facts import ExperimentReport, MetricFacts
from reports.numbers import NONE, count, p_value, percent
from reports.pages.cohorts import scale_within
from reports.pages.model import Block, TableBlock
from reports.words import clean, plain_name, status_word

_LEAD = (
    "exploratory: the rules were found on one half of the units and measured on the other; p is "
    "corrected for the number of segments"
)


def segments_block(report: ExperimentReport) -> tuple[Block, ...]:
    """One row per segment; nothing where no search was planned."""
    found = report.analysis.discovery
    if not found:
        return ()
    names = ("Metric", "Arm", "Segment", "Units", "Difference")
    figures = (f"{percent(report.facts.ci_level)} interval", "p")
    columns = (
        *(Column(n) for n in names[:3]),
        *(Column(n, numeric=True) for n in (*names[3:], *figures)),
    )
    metrics = {metric.name: metric for metric in report.facts.metrics}
    body = tuple(_row(segment, metrics[segment.metric]) for segment in found)
    heading = "Where the effect differs"
    return (TableBlock("segments", heading, _LEAD, Table(heading, columns, body)),)


def _row(segment: Segment, metric: MetricFacts) -> tuple[str, ...]:
    scale = scale_within(metric, ((segment.ci_low, segment.ci_high),))
    unit = " pp" if scale.points else ""
    head = (plain_name(metric.name), clean(segment.arm, 60), clean(segment.rule, 200))
    units = count(segment.n_control + segment.n_arm)
    if segment.status is not Status.OK:
        return (*head, units, status_word(segment.status), NONE, NONE)
    interval = scale.interval(segment.ci_low, segment.ci_high)
    return (*head, units, scale.value(segment.value) + unit, interval, p_value(segment.p_adjusted))
