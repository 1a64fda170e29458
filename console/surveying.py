"""The health of a workspace's data, as a result and as the facts of a page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from console.workspace import Workspace
    from measure.health import Health
    from reports.facts import HealthReport


def survey_workspace(workspace: Workspace, at: datetime | None = None) -> Health:
    """Survey all logs; silence is counted up to ``at``, else to the latest hour of any log."""
    from measure.health import survey
    from measure.reconcile import Settings

    with workspace.connect() as engine:
        return survey(engine, settings=Settings(currency=workspace.settings.currency), at=at)


def health_report(workspace: Workspace, *, synthetic: bool) -> HealthReport | None:
    """Return what the page about the data is made of; ``None`` where no log is loaded."""
    from console.measuring import versions
    from reports.facts import HealthReport

    found = survey_workspace(workspace)
    if not found.sources:
        return None
    zone = ZoneInfo(workspace.settings.time_zone)
    return HealthReport(
        found,
        datetime.now(UTC).astimezone(zone).date(),
        workspace.root.resolve().name,
        synthetic=synthetic,
        versions=versions(),
    )
