"""Journeys and credits of the hand-made experiment."""

from __future__ import annotations

from measure.results import Attribution, Cohort, Credit
from reports.facts import AttributionReport, Flow, IncrementalFacts, Journeys
from tests.reports.winback import TODAY, VERSIONS


def journeys() -> Journeys:
    flows = (
        (0, "Email", "Email", 3_100), (0, "Email", "Site visit", 3_700),
        (0, "Paid social", "Search", 2_300), (0, "Paid social", "Site visit", 2_700),
        (0, "Search", "Email", 1_100), (0, "Search", "Search", 1_700),
        (0, "Search", "Site visit", 1_600),
        (0, "Direct", "Site visit", 2_700),
        (1, "Email", "Converted", 900), (1, "Email", "No conversion", 3_300),
        (1, "Search", "Converted", 1_500), (1, "Search", "No conversion", 2_500),
        (1, "Site visit", "Converted", 2_100), (1, "Site visit", "No conversion", 8_600),
    )  # fmt: skip
    return Journeys(("First touch", "Second touch", "Outcome"), tuple(Flow(*f) for f in flows))


SHARES = {
    "first": (0.31, 0.27, 0.22, 0.12, 0.08),
    "last": (0.14, 0.18, 0.41, 0.17, 0.10),
    "linear": (0.22, 0.23, 0.31, 0.14, 0.10),
    "time_decay": (0.19, 0.21, 0.35, 0.15, 0.10),
    "markov": (0.24, 0.22, 0.26, 0.16, 0.12),
}
CHANNELS = ("Email", "Paid social", "Search", "Direct mail", "Display")


def attribution() -> Attribution:
    found = []
    for cohort, total in ((None, 4_500.0), (Cohort("country", "DE"), 2_610.0),
                          (Cohort("country", "FR"), 1_890.0)):  # fmt: skip
        for model, shares in SHARES.items():
            for channel, share in zip(CHANNELS, shares, strict=True):
                n = share * total
                removal = share * 1.4 if model == "markov" else None
                found.append(
                    Credit(model, channel, cohort, n, n * 74.2, share, removal, n * 0.93, n * 1.07)
                )
    return Attribution(
        definition={
            "sentences": [
                "A journey is a customer's touches in order; a touch is a click or a delivered "
                "message at most 30 days before the conversion.",
                "first: the first touch of a converting journey gets the whole conversion.",
                "markov: chain of order 1, self-loops kept, journeys without conversion included; "
                "removing a channel sends whoever reaches it to the end without conversion.",
            ]
        },
        total_conversions=4_500.0,
        total_value=333_900.0,
        credits=tuple(found),
    )


def attribution_report() -> AttributionReport:
    return AttributionReport(
        attribution=attribution(), generated_on=TODAY, title="Win-back", currency="EUR",
        ci_level=0.95, journeys=journeys(), versions=VERSIONS,
        incremental=IncrementalFacts("Win-back", 1_421.0, 1_036.0, 1_806.0, 0.9),
    )  # fmt: skip
