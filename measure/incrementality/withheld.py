"""Numbers that a check forbids, taken out: a table is copied without its warnings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from measure.incrementality.contrast import NUMBERS
from measure.results import Check, Estimate, Outcome, Severity, Status

COMPARING = frozenset({"X6", "X7", "O6", "O7", "O8", "O9", "O10"})
"""Checks whose messages and evidence hold effects."""


def said(check: Check) -> str:
    """A check as the reason why a number is missing."""
    return f"check {check.code} ({check.title.lower()}): {check.message.rstrip('.')}"


def withheld(estimate: Estimate, reason: str) -> Estimate:
    """An ``invalid`` estimate without numbers; one that had none anyway keeps its status."""
    if estimate.status not in (Status.OK, Status.NOT_CONVERGED):
        return estimate
    gone: dict[str, Any] = dict.fromkeys(NUMBERS)
    return replace(estimate, **gone, status=Status.INVALID, note=reason)


def without_effects(check: Check) -> Check:
    """The check, or a word in its place where it shows the effects that are withheld."""
    if check.code not in COMPARING or check.outcome is Outcome.NOT_APPLICABLE:
        return check
    return replace(
        check,
        outcome=Outcome.NOT_APPLICABLE,
        severity=Severity.NOTE,
        message="Other checks withhold the effects that this one compares.",
        p_value=None,
        evidence=(),
    )
