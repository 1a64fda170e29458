"""Sentences about the health of the data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from measure.results import Outcome
from reports.numbers import count, day, percent
from reports.words import clean, listed, plain_name, plural

if TYPE_CHECKING:
    from measure.health import Health, Incident

_KINDS = {
    "silence": "rows missing",
    "missing": "values missing",
    "late": "rows late",
    "match": "fewer matches",
}


def kind_word(kind: str) -> str:
    """An incident's kind for readers."""
    return _KINDS.get(kind, plain_name(kind))


def since(iso: str | None) -> str:
    """A time to the hour: 5 March 2026, 14:00."""
    if not iso:
        return "an unknown time"
    moment = datetime.fromisoformat(iso).astimezone(UTC)
    return f"{day(moment.date())}, {moment:%H:%M}"


def health_headline(found: Health) -> str:
    """Say whether anything is wrong, and how much of it is not over."""
    if not found.sources:
        return "Nothing has been loaded yet, so nothing can be said about it"
    open_ = sum(incident.end is None for incident in found.incidents)
    if not found.incidents:
        silent = [check for check in found.checks if check.outcome is not Outcome.PASSED]
        rest = ", as far as it could be looked at" if silent else ""
        return f"The data are whole and fresh{rest}"
    said = plural(len(found.incidents), "incident")
    return f"{said} in the data, {count(open_)} still open" if open_ else f"{said}, all over"


def health_deck(found: Health) -> tuple[str, ...]:
    """Name what was hit, and what was not looked at."""
    texts = []
    if found.incidents:
        hit = sorted({clean(incident.source, 60) for incident in found.incidents})
        texts.append(f"Hit: {listed(hit, 4)}.")
    silent = [c for c in found.checks if c.outcome in {Outcome.NOT_APPLICABLE, Outcome.FAILED}]
    if silent and found.sources:
        names = listed([clean(c.title, 60).lower() for c in silent], 4)
        texts.append(f"Not looked at: {names}.")
    return tuple(texts)


def incident_sentence(incident: Incident) -> str:
    """One incident as a sentence."""
    source = clean(incident.source, 60)
    begun = since(incident.start)
    if incident.kind == "silence":
        rows = (
            f"{count(round(incident.observed))} rows where {count(round(incident.usual))} are usual"
        )
        return f"{source}: {rows}, since {begun}."
    what = f"{kind_word(incident.kind)} ({plain_name(incident.what)})"
    shares = f"{percent(incident.observed)} where {percent(incident.usual)} is usual"
    return f"{source}: {what}, {shares}, since {begun}."
