"""Whole pages: self-contained, complete, in reading order, the same bytes every time."""

import hashlib
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from measure.results import Outcome, Severity, Status
from reports.facts import Site
from reports.render import TEMPLATES, style_sheet
from reports.site import site_files, write_site
from tests.reports import sample
from tests.reports.html import SHAPES, VOID, read, text_of
from tests.reports.winback import VERSIONS

ROOT = Path(__file__).resolve().parents[2]
FILES = dict(site_files(sample.site()))
PAGES = {name: text for name, text in FILES.items() if name.endswith(".html")}
MAIN = PAGES["experiment-win-back-2025.html"]
TAGS = """
    html head title style body a nav main header footer section article h1 h2 h3 p ul li dl dt dd
    div span strong b small code figure figcaption details summary table caption thead tbody tr th
    td"""
ATTRIBUTES = """
    lang charset http-equiv content name rel href class id aria-label aria-labelledby aria-hidden
    role tabindex scope data-label download viewbox x y x1 x2 y1 y2 cx cy r width height d
    text-anchor"""


@pytest.fixture(params=sorted(PAGES))
def page(request: pytest.FixtureRequest) -> str:
    return PAGES[request.param]


def test_every_page_is_there() -> None:
    assert {
        "index.html", "experiment-win-back-2025.html", "attribution-win-back-2025.html",
        "reconciliation-win-back-2025.html", "attribution.html", "reconciliation.html",
        "score-history.html",
    } <= set(FILES)  # fmt: skip
    assert list(FILES)[-1] == "index.html"


def test_a_page_needs_nothing_from_elsewhere(page: str) -> None:
    found = read(page)
    assert {element.tag for element in found.elements} <= VOID | SHAPES | {*TAGS.split()}
    assert {name for element in found.elements for name in element.attributes} <= {
        *ATTRIBUTES.split()
    }
    assert "://" not in page
    assert "url(" not in page
    assert "@import" not in page
    for element in found.elements:
        target = element.attributes.get("href")
        if target is not None:
            assert target in FILES or target in {"data:,", "#main"}


def test_the_policy_allows_this_style_sheet_only(page: str) -> None:
    import base64

    sheet = next(e for e in read(page).elements if e.tag == "style").text[0]
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = next(
        e.attributes["content"] for e in read(page).elements if "http-equiv" in e.attributes
    )
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert 'style="' not in page


def test_ids_are_unique_and_labels_point_at_them(page: str) -> None:
    elements = read(page).elements
    ids = [e.attributes["id"] for e in elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in elements:
        for name in (element.attributes.get("aria-labelledby") or "").split():
            assert name in ids


def test_headings_landmarks_and_language(page: str) -> None:
    tags = [element.tag for element in read(page).elements]
    assert tags.count("h1") == tags.count("main") == 1
    assert tags.index("h1") < tags.index("h2") if "h2" in tags else True
    assert read(page).elements[0].attributes == {"lang": "en"}
    assert any(e.attributes.get("class") == "skip" for e in read(page).elements)


def test_every_picture_has_a_name_a_description_and_a_table(page: str) -> None:
    found = [e for e in read(page).elements if e.tag == "svg"]
    charts = [e for e in found if e.attributes.get("role") == "img"]
    assert all("aria-hidden" in e.attributes for e in found if e not in charts)
    tags = [e.tag for e in read(page).elements]
    assert tags.count("desc") == len(charts)
    assert page.count('class="twin"') * 2 == len(charts)


def test_pages_are_small(page: str) -> None:
    assert len(page.encode()) < 150_000


def test_pages_hold_no_blank_or_broken_values(page: str) -> None:
    text = text_of(page)
    for bad in ("None", "nan", "inf ", "-0.0", "−0.0 ", "{{", "}}", "€1000k", " ."):
        assert bad not in text, bad
    assert not re.search(r"(?<![\w-])-\d(?!\d*-\d)", re.sub(r"\S*[a-z]\S*", "", text))


def test_the_reading_order_of_an_experiment() -> None:
    text = text_of(MAIN)
    wanted = (
        "Win-back returned €1.61 of margin for each euro spent, very probably more than it cost",
        "Between €1.04 and €2.18 with 90% probability. The chance that it lost money is 4%.",
        "Incremental revenue €410k €264k to €556k",
        "Chance above break-even 96% rule set before: 80%",
        "Decision Scale; of 12 cohorts scale 5, hold 5 and stop 2.",
        "Margin returned per euro spent — where the truth probably lies",
        "From claimed to profit",
        "By segment",
        "Journeys before conversion",
        "Guardrails",
        "Every metric, every method",
        "Checks — 7 checks: 6 passed, 1 flagged.",
        "How this was measured",
        "9f2c41d07be5",
        "generated on 1 January 2026",
    )
    places = [text.find(words) for words in wanted]
    assert -1 not in places, wanted[places.index(-1)]
    assert places == sorted(places)


SOUND = ("push-new-2025", "womens-email-2008")


def test_a_page_whose_checks_failed_leads_with_that_and_shows_no_lift() -> None:
    page = PAGES["experiment-sms-reminder-2025.html"]
    text = text_of(page)
    assert "No conclusion can be drawn: the arms did not receive" in text
    sound = " ".join(text_of(PAGES[f"experiment-{key}.html"]) for key in SOUND)
    for withheld in ("Lift", "Difference", "€0.31", "interval runs", "Every metric, every method"):
        assert withheld in sound
        assert withheld not in text.partition("How this was measured")[0]
    assert "experiment-sms-reminder-2025-estimates.csv" not in FILES
    assert "svg" not in {e.tag for e in read(page).elements if e.attributes.get("role")}


def test_a_stop_flag_is_enough_whatever_the_status_says() -> None:
    report = sample.winback()
    check = replace(
        report.analysis.checks[0], outcome=Outcome.FLAGGED, severity=Severity.STOP, code="G5"
    )
    analysis = replace(report.analysis, checks=(check, *report.analysis.checks[1:]))
    assert analysis.status is Status.OK
    files = site_files(replace(sample.site(), experiments=(replace(report, analysis=analysis),)))
    text = text_of(files["experiment-win-back-2025.html"])
    assert "No conclusion can be drawn" in text
    assert "€410k" not in text


def test_results_without_money_lead_with_the_metric() -> None:
    text = text_of(PAGES["experiment-womens-email-2008.html"])
    assert "Mens E-Mail raised spend by $0.77 per customer, Womens E-Mail by $0.42" in text
    assert "1 check needs a look before anybody acts on this." in text
    assert "caused by the treatment" not in text
    assert "No decision rule was registered" in text


def test_open_and_bad_results_are_said_plainly() -> None:
    found = text_of(PAGES["experiment-push-new-2025.html"])
    assert "more likely than not more than it cost" in found
    lost = text_of(PAGES["experiment-retargeting-2025.html"])
    assert "almost certainly less than it cost" in lost


def test_all_four_outcomes_have_a_word_and_a_shape() -> None:
    page = PAGES["reconciliation-win-back-2025.html"]
    text = text_of(page)
    for word in ("passed", "flagged", "not applicable", "could not run"):
        assert word in text
    for name in ("passed", "flagged", "not_applicable", "failed"):
        assert f'class="icon {name}"' in page
    assert "F1 and E1 have not been examined; that is not the same as clean." in text
    assert "docs/checks.md#a1-claims-without-an-order" in text


def test_attribution_says_what_it_does_not_know() -> None:
    text = text_of(PAGES["attribution-win-back-2025.html"])
    assert "Search gets 22% or 41% of 4,500 conversions, depending on the model" in text
    assert "No rule and no Markov or Shapley model recovers what a channel caused" in text
    assert "caused 1,421 conversions (90% interval 1,036 to 1,806), 32% of the 4,500" in text
    assert "A journey is a customer's touches in order" in text


def test_long_lists_are_cut_and_counted() -> None:
    report = sample.many_cohorts(400)
    files = site_files(replace(sample.site(), experiments=(report,)))
    page = files["experiment-win-back-2025.html"]
    assert len(page.encode()) < 150_000
    assert "The 24 largest of 400 cohorts; all are in the CSV." in text_of(page)
    assert files["experiment-win-back-2025-estimates.csv"].count("\n") > 400


def test_an_empty_site_says_so() -> None:
    files = site_files(Site("Nothing yet", sample.TODAY))
    assert list(files) == ["index.html"]
    assert "No experiment has been analysed yet" in text_of(files["index.html"])


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    """R23: repeats, hash seeds, locales and time zones."""
    again = dict(site_files(sample.site()))
    assert again == FILES
    wanted = hashlib.sha256("".join(FILES.values()).encode()).hexdigest()
    program = (
        "import hashlib; from tests.reports import sample; from reports.site import site_files;"
        "print(hashlib.sha256(''.join(site_files(sample.site()).values()).encode()).hexdigest())"
    )
    for seed, zone, locale in (("0", "UTC", "C.UTF-8"), ("1", "Pacific/Auckland", "C")):
        env = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale}
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env,
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert done.stdout.strip() == wanted


def test_a_site_is_written_with_its_index_last(tmp_path: Path) -> None:
    written = write_site(tmp_path / "new" / "site", sample.site())
    assert [path.name for path in written] == list(FILES)
    assert written[-1].read_text(encoding="utf-8") == FILES["index.html"]
    assert {path.name for path in (tmp_path / "new" / "site").iterdir()} == set(FILES)


def test_one_experiment_is_rendered_in_a_fifth_of_a_second() -> None:
    site = replace(sample.site(), experiments=(sample.winback(),), scores=())
    best = min(_seconds(site) for _ in range(5))
    assert best < 0.2


def _seconds(site: Site) -> float:
    begun = time.process_time()
    site_files(site)
    return time.process_time() - begun


def test_templates_escape_everything_and_quote_every_attribute() -> None:
    """A3: no unquoted attribute, no ``safe`` filter, no script in any template."""
    for path in sorted(TEMPLATES.glob("*.j2")):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"=\s*\{\{", source), path.name
        assert "|safe" not in source.replace(" ", "")
        assert "autoescape" not in source
        assert "<script" not in source
        assert "style=" not in source.replace('rel="stylesheet"', "")
    assert "</" not in style_sheet()


def test_versions_are_named() -> None:
    text = text_of(MAIN)
    for name, number in VERSIONS.items():
        assert f"{name} {number}" in text
