"""`clocks`: how far platforms' clocks are off, and corrections on record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from console.cli.output import check_destination, deliver, table
from measure.results import SCHEMA_VERSION

if TYPE_CHECKING:
    from measure.engine.clock_offsets import ClockOffset
    from measure.reconcile.skew import ClockEstimate


def clocks(
    platform: str | None, *, seconds: int | None, acting: str | None, json: str | None
) -> None:
    """Estimate, or correct one platform's clock."""
    from console.clocks import correct_clock, judged_clocks
    from console.permission import permit
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action
    from measure.errors import InputError

    check_destination(json)
    if seconds is not None and platform is None:
        raise InputError("--seconds is for one platform; name it with --correct PLATFORM.")
    workspace = Workspace.find()
    permit(workspace, Action.RECONCILE, "", acting)
    recorded = None
    if platform is not None:
        recorded = correct_clock(workspace, platform, seconds, by=acting_person(acting))
    estimates = judged_clocks(workspace)
    document = {
        "schema_version": SCHEMA_VERSION,
        "recorded": _record(recorded) if recorded else None,
        "clocks": [_plain(estimate) for estimate in estimates],
    }
    deliver(document, json, _lines(recorded, estimates))


def _record(offset: ClockOffset) -> dict[str, Any]:
    return {
        "platform": offset.platform,
        "offset_seconds": offset.seconds,
        "evidence": offset.evidence,
        "recorded_by": offset.recorded_by,
        "recorded_at": offset.recorded_at.isoformat(timespec="microseconds"),
    }


def _plain(estimate: ClockEstimate) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(estimate) | {"status": str(estimate.status)}


def _lines(recorded: ClockOffset | None, estimates: tuple[ClockEstimate, ...]) -> list[str]:
    from measure.reconcile.skew import signed

    lines = []
    if recorded:
        lines += [
            f"On record: {signed(recorded.seconds)} s on every time of {recorded.platform}, by "
            f"{recorded.recorded_by}. Loaded rows stay as they are.",
            "",
        ]
    if not estimates:
        return [*lines, "No event carries the click id of a logged click: clocks are unknown."]
    rows = [
        [
            e.platform,
            e.note,
            f"{e.clicks:,}",
            f"{signed(e.median_seconds)} s",
            f"{signed(e.ci_low)} to {signed(e.ci_high)}",
            f"{signed(e.in_force_seconds)} s",
            "unknown" if e.offset_seconds is None else f"{signed(e.offset_seconds)} s",
        ]
        for e in estimates
    ]
    header = ["platform", "verdict", "clicks", "landing \N{MINUS SIGN} click", "95 %", "in force",
              "should be"]  # fmt: skip
    return [*lines, *table(header, rows, left=2)]
