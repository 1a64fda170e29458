"""What reconciliation found about an experiment's integrity, told on the experiment's own page."""

from __future__ import annotations

from measure.results import Check, Outcome
from reports.facts import ExperimentReport

INTEGRITY = ("G1", "G2", "G3", "G4", "G6", "G7")
"""Sizes of the arms (G5) are a check of the analysis already."""


def integrity_checks(report: ExperimentReport) -> tuple[Check, ...]:
    """Checks of integrity that were flagged or could not run; the others say nothing new."""
    if report.reconciliation is None:
        return ()
    bad = {Outcome.FLAGGED, Outcome.FAILED}
    found = report.reconciliation.reconciliation.checks
    return tuple(check for check in found if check.code in INTEGRITY and check.outcome in bad)


def page_checks(report: ExperimentReport) -> tuple[Check, ...]:
    """Checks of the analysis, and what reconciliation found about the experiment."""
    return (*report.analysis.checks, *integrity_checks(report))
