"""Consent at the time of a touch: validity, recording time, channel and purpose, case by case."""

from datetime import timedelta

import pytest

from measure.engine import connection
from measure.reconcile import Settings
from measure.reconcile.check import run
from measure.reconcile.consent import TOUCH_WITHOUT_CONSENT
from measure.reconcile.sources import Sources
from measure.results import Outcome
from tests.measure.reconcile.world import START, clean_world, consent

EARLIER, LATER = START - timedelta(days=5), START + timedelta(days=5)


def record(granted=True, channel="all", purpose="marketing", since=EARLIER, until=None, known=None):
    return consent("", purpose, channel, granted, since, until, known or since)


CASES = {  # records of a person touched once by e-mail at START: allowed?
    "asked for both": ([record()], True),
    "never asked": ([], False),
    "refused": ([record(granted=False)], False),
    "granted only afterwards": ([record(since=LATER)], False),
    "granted at that very moment": ([record(since=START)], True),
    "ran out before": ([record(until=START - timedelta(days=1))], False),
    "ran out at that very moment": ([record(until=START)], False),
    "runs out later": ([record(until=LATER)], True),
    "withdrawn afterwards": ([record(), record(granted=False, since=LATER)], True),
    "withdrawn before": (
        [record(), record(granted=False, since=START - timedelta(days=1))],
        False,
    ),
    "withdrawal from before, learnt later": (
        [record(), record(granted=False, since=START - timedelta(days=1), known=LATER)],
        False,
    ),
    "given again": (
        [
            record(granted=False),
            record(since=START - timedelta(days=1)),
        ],
        True,
    ),
    "a grant and a refusal at one moment": (
        [record(), record(granted=False, until=LATER, known=EARLIER, channel="email")],
        False,
    ),
    "another channel refused": (
        [record(), record(granted=False, channel="sms", since=START - timedelta(days=1))],
        True,
    ),
    "this channel refused": (
        [record(), record(granted=False, channel="email", since=START - timedelta(days=1))],
        False,
    ),
    "only this channel granted": ([record(channel="email")], True),
    "only another channel granted": ([record(channel="sms")], False),
    "all refused after this channel was granted": (
        [
            record(channel="email"),
            record(granted=False, since=START - timedelta(days=1)),
        ],
        False,
    ),
    "measurement refused": (
        [record(), record(granted=False, purpose="measurement", known=START)],
        False,
    ),
}


def judge(people: dict[str, list[dict]], extra=(), settings=None):
    """Run the check over one e-mail each at START; measurement is granted unless a case says so."""
    world = clean_world(10)
    world.tables["activations"] = [
        {
            "activation_id": name,
            "platform": "mailer",
            "channel": "email",
            "campaign": "spring-email",
            "kind": "send",
            "ts": START,
            "customer_id": name,
            "cost_micros": 10_000,
            "currency": "EUR",
        }
        for name in people
    ]
    rows = list(extra)
    for name, records in people.items():
        rows += [{**row, "customer_id": name} for row in records]
        measured = consent(name, "measurement", "all", True, EARLIER - timedelta(days=1))
        rows.append(measured)
    world.tables["consents"] = rows
    with connection.connect() as engine:
        world.register(engine, without=("claims", "conversions"))
        return run(TOUCH_WITHOUT_CONSENT, Sources(engine, settings or Settings(), None))


def test_every_case_is_judged_as_the_documentation_says():
    found = judge({name: records for name, (records, _) in CASES.items()})
    flagged = {row["entity_id"] for row in found.result.evidence}
    assert flagged == {name for name, (_, allowed) in CASES.items() if not allowed}


@pytest.mark.parametrize(("purposes", "flagged"), [(("marketing",), 0), (("measurement",), 1)])
def test_the_purposes_are_a_setting(purposes, flagged):
    records, _ = CASES["measurement refused"]
    found = judge({"one": records}, settings=Settings(consent_purposes=purposes))
    assert found.result.rows == flagged


def test_a_purpose_nobody_recorded_is_not_asked_for_but_said():
    settings = Settings(consent_purposes=("measurement", "personalisation"))
    found = judge({"one": [record()]}, settings=settings)
    assert found.result.outcome is Outcome.PASSED
    assert "No record speaks of personalisation." in found.result.message
