"""The page about the data: its words, its size, and names that stay text."""

from datetime import date

import pytest

from measure.health import Health, Incident, MatchDay, MissingShare, SourceHealth, Volume
from measure.results import Check, Outcome
from reports.facts import HealthReport
from reports.health_statements import health_headline, incident_sentence
from reports.pages import health as page
from reports.render import render
from reports.site import incidents_csv
from tests.reports.html import read, text_of
from tests.reports.test_hostile import NAMES

SETTINGS = {
    "gap_share": 0.2, "gap_least_rows": 30, "missing_jump": 0.1, "missing_least_rows": 100,
    "match_rate_deviations": 4.0, "match_rate_rows": 30, "late_hours": 24,
}  # fmt: skip


def gap(source="activations / pigeon / social", end="2026-03-31T10:00:00Z"):
    start = "2026-03-31T04:00:00Z"
    return Incident("silence", source, "rows", start, end, 6, 0.0, 409.0, paid=True)


def sick(name="activations / pigeon / social", days=60):
    """A survey with everything in it, under one name."""
    dates = [date.fromordinal(date(2026, 3, 2).toordinal() + n).isoformat() for n in range(days)]
    sources = [f"{name} {n}" for n in range(12)]
    return Health(
        as_of="2026-04-30T23:59:00Z",
        checks=(Check("H-GAP", name, Outcome.FLAGGED, name), Check("H-LATE", "Late rows",
                Outcome.NOT_APPLICABLE, "Not applicable: nothing is loaded.")),
        sources=tuple(SourceHealth(s, 9, "2026-04-30T23:00:00Z", None, 1.0, 2, behind=False,
                                   late_rows=None, received_rows=None) for s in sources),
        incidents=(gap(sources[0]), gap(sources[1], end=None)),
        volumes=tuple(Volume(s, d, 1_000, 990) for s in sources for d in dates),
        missing=tuple(MissingShare(s, name, 100, 0.1, 0.4) for s in sources),
        matches=tuple(MatchDay(s, "click", d, 100, 60) for s in sources for d in dates),
        settings=SETTINGS,
    )  # fmt: skip


def health_report(found):
    return HealthReport(found, date(2026, 5, 1), "shop", versions={"truelift": "1"})


def made(found):
    return render(page.build(health_report(found), "health.html", "health-incidents.csv", ()))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_come_out_as_text(name):
    html = made(sick(name, days=3))
    plain = read(made(sick("Plain", days=3)))
    assert [e.tag for e in read(html).elements] == [e.tag for e in plain.elements]
    assert ",'=1+1," in incidents_csv(Health(None, (), incidents=(gap("=1+1"),)))


def test_a_full_page_is_small_and_says_what_is_open():
    html = made(sick())
    assert len(html.encode()) < 150_000
    text = text_of(html)
    assert "2 incidents in the data, 1 still open" in text
    assert "31 March 2026, 04:00" in text
    assert "Not looked at: late rows" in text
    assert "0 rows where 409 are usual" in text


def test_what_was_not_looked_at_is_never_called_whole():
    assert "Nothing has been loaded" in health_headline(Health(None, ()))
    fine = (Check("H-GAP", "Gaps", Outcome.PASSED, "none"),)
    assert health_headline(Health("x", fine, sick().sources)) == "The data are whole and fresh"
    partly = (*fine, Check("H-LATE", "Late", Outcome.NOT_APPLICABLE, "no"))
    assert health_headline(Health("x", partly, sick().sources)).endswith("could be looked at")


def test_an_incident_of_a_share_is_told_in_percent():
    drop = Incident("match", "conversions", "click", "2026-04-03T22:00:00Z", None, 60, 0.12, 0.68)
    assert incident_sentence(drop) == (
        "conversions: fewer matches (click), 12% where 68% is usual, since 3 April 2026, 22:00."
    )
