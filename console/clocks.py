"""Clocks of platforms: judged from the workspace's clicks and landings, corrected on record."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from measure.errors import DataError, UnknownName

if TYPE_CHECKING:
    from console.workspace import Workspace
    from measure.engine.clock_offsets import ClockOffset
    from measure.reconcile.skew import ClockEstimate


def judged_clocks(workspace: Workspace) -> tuple[ClockEstimate, ...]:
    """Return the clock of every platform with matched clicks, corrections in force applied."""
    from measure.reconcile.skew import estimate_clocks

    with workspace.connect() as engine:
        return estimate_clocks(engine)


def correct_clock(
    workspace: Workspace, platform: str, seconds: int | None, *, by: str
) -> ClockOffset:
    """Put a correction on record, estimated unless ``seconds`` says it, and return it.

    :class:`UnknownName` for a platform that no log has, or without matched clicks where nothing is
    said; :class:`DataError` when its clock cannot be estimated.
    """
    from measure.engine.clock_offsets import ClockOffset

    estimates = {estimate.platform: estimate for estimate in judged_clocks(workspace)}
    evidence = "stated, without matched clicks"
    if platform in estimates:
        evidence = estimates[platform].evidence
    elif seconds is None:
        raise UnknownName.of("platform", platform, estimates, "matched clicks")
    else:
        _require_logged(workspace, platform)
    if seconds is not None:
        offset = ClockOffset(platform, seconds, evidence, by, datetime.now(UTC))
        return _recorded(workspace, offset)
    estimate = estimates[platform]
    if estimate.offset_seconds is None:
        raise DataError(
            f"clock of {platform}: {estimate.note} {estimate.evidence}. "
            "State the offset yourself with --seconds."
        )
    offset = ClockOffset(platform, estimate.offset_seconds, evidence, by, datetime.now(UTC))
    return _recorded(workspace, offset)


def _require_logged(workspace: Workspace, platform: str) -> None:
    """Refuse a platform whose times nobody reads: its correction would correct nothing."""
    from measure.engine.clock_offsets import WRITTEN

    known: set[str] = set()
    with workspace.connect() as engine:
        for name in WRITTEN:
            if engine.has(name):
                rows = engine.table(name).select("platform").distinct()
                known.update(engine.fetch(rows)["platform"].to_pylist())
    if platform not in known:
        raise UnknownName.of("platform", platform, sorted(known), "activations and claims")


def _recorded(workspace: Workspace, offset: ClockOffset) -> ClockOffset:
    """Load the correction as what it is: a row of a table, whole or not at all."""
    from measure.engine.clock_offsets import TABLE
    from measure.engine.loading import Warehouse

    row = {
        "platform": offset.platform,
        "offset_seconds": offset.seconds,
        "evidence": offset.evidence,
        "recorded_by": offset.recorded_by,
        "recorded_at": offset.recorded_at.isoformat(timespec="microseconds"),
    }
    with TemporaryDirectory(prefix="truelift-") as folder:
        path = Path(folder) / "clock_offsets.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            writer.writeheader()
            writer.writerow(row)
        (report,) = Warehouse(workspace.warehouse).load(TABLE, [path])
    if not report.accepted:
        raise DataError(
            f"correction of {offset.platform} was not put on record. Run the command again."
        )
    return offset
