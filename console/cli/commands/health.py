"""`health`: what is wrong with the data, and since which hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.cli.output import MARKS, check_destination, deliver, table

if TYPE_CHECKING:
    from measure.health import Health


def health(*, at: str | None, acting: str | None, json: str | None) -> None:
    """Survey the workspace's tables."""
    from console.activating import moment_of
    from console.permission import permit
    from console.surveying import survey_workspace
    from console.workspace import Workspace
    from designs.registry.access import Action

    check_destination(json)
    moment = moment_of(at) if at is not None else None
    workspace = Workspace.find()
    permit(workspace, Action.REPORT, acting=acting)
    found = survey_workspace(workspace, moment)
    deliver(found.to_dict(), json, describe(found))


def describe(found: Health) -> list[str]:
    """Headline, incidents, sources, checks."""
    from reports.health_statements import health_headline, incident_sentence, since

    rows = [
        (
            one.source,
            f"{one.rows:,}",
            since(one.latest_event),
            f"{one.silent_hours:,.1f} h",
            f"{one.usual_silence_hours} h",
            "fallen silent" if one.behind else "fresh",
        )
        for one in found.sources
    ]
    head = ("source", "rows", "latest event, UTC", "silent for", "longest before", "")
    lasted = ["still open" if i.end is None else f"for {i.hours} hours" for i in found.incidents]
    told = [incident_sentence(i)[:-1] for i in found.incidents]
    incidents = [f"  {one}, {long}." for one, long in zip(told, lasted, strict=True)]
    checks = [f"  {MARKS[c.outcome]} {c.code:<9} {c.message}" for c in found.checks]
    return [
        f"{health_headline(found)}.",
        *incidents,
        *(["", *table(head, rows)] if rows else []),
        "",
        *checks,
    ]
