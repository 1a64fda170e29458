"""The three gates of consent, by command: who is assigned, who is listed, who is reported on.

Canaries are people whose consent is missing or over; the expectation is worked out from the records
as ``tests/console/people_shop.py`` writes them, by hand.
"""

import json
import re

import pytest

from tests.console.documents import assert_documented
from tests.console.people_shop import ASKED, CANARIES, N, answer, begin, people, ran, read, shop

MEASURED = N
"""Everybody but the canaries may be measured at the end of the window and today."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    base = tmp_path_factory.mktemp("gates")
    root = shop(base / "shop", base / "files")
    assigned = answer(root, "assign", "spring")
    return root, assigned


def test_assignment_counts_whom_it_leaves_out_and_says_when_it_asks_nobody(asked):
    root, assigned = asked
    assert_documented("assign", assigned, absent={"balance"})
    # At the start everybody had said yes to marketing: withdrawals are of 5 March.
    assert assigned["consent"]["outcome"] == "enforced"
    assert assigned["consent"]["left_out"] == 0
    begin(root, "texts", "consent: {purpose: personalisation, channel: sms}")
    nobody = answer(root, "assign", "texts")
    assert nobody["units"]["no_consent"] == nobody["consent"]["left_out"] == len(people())
    assert (nobody["consent"]["purpose"], nobody["consent"]["channel"]) == (
        "personalisation", "sms"
    )  # fmt: skip
    loose = root / "ids.txt"
    loose.write_text("buyer-1\ncanary-never\n")
    told = answer(root, "assign", "texts", "--ids", str(loose))["assignments"]
    assert [(one["outcome"], one["arm"]) for one in told] == [("no_consent", None)] * 2
    told = answer(root, "assign", "spring", "--ids", str(loose))["assignments"]
    assert [one["outcome"] for one in told] == ["assigned"] * 2
    begin(root, "open")
    told = answer(root, "assign", "open")["consent"]
    assert (told["outcome"], told["left_out"]) == ("not_applicable", 0)
    assert "the design asks for none" in told["message"]


def test_a_list_never_has_anybody_without_consent_to_marketing_on_its_channel(asked):
    root, _ = asked
    out = root.parent / "reach.csv"
    told = answer(root, "audience", "spring", "--channel", "email", "--out", str(out))
    listed = {row["unit_id"] for row in read(out)}
    without = {"canary-withdrew", "canary-late"}
    assert not listed & without
    assert told["rows"] == len(listed) > N / 4
    # Made for a moment before the withdrawals, it still leaves today: they are not on it.
    early = ("--at", "2026-03-03T00:00:00Z")
    ran(root, "audience", "spring", "--channel", "email", "--out", str(out), *early)
    assert {row["unit_id"] for row in read(out)} == listed


def test_reports_rest_on_measured_people_and_show_nobody_else(asked):
    root, assigned = asked
    everybody = assigned["units"]["mail"] + assigned["units"]["control"]
    analysis = answer(root, "analyze", "spring")
    estimate = analysis["estimates"][0]
    assert estimate["n_arm"] + estimate["n_control"] == MEASURED == everybody - len(CANARIES)
    (check,) = [c for c in analysis["checks"] if c["code"] == "H9"]
    assert (check["outcome"], check["rows"]) == ("passed", len(CANARIES))
    assert sum(row["left_out"] for row in check["evidence"]) == len(CANARIES)
    assert "does not depend on the arm" in check["message"]
    attribution = answer(root, "attribute", "spring", "--model", "last")
    assert attribution["total_conversions"] == N / 4
    assert f"{len(CANARIES)} of {len(people())} customers" in " ".join(
        attribution["definition"]["sentences"]
    )
    reconciled = answer(root, "reconcile", "spring")
    claims = [s for s in reconciled["bridge"] if s["step"] == "platform-claimed revenue"]
    assert claims[0]["rows"] == N / 4 + len(CANARIES)  # sums stay whole
    assert any("without consent to be measured" in c["message"] for c in reconciled["checks"])
    ran(root, "report", "spring")
    pages = list((root / "reports").glob("*.html"))
    assert any("lack of consent to be measured" in page.read_text() for page in pages)
    # The taint test: no report, result or printed document has an id of a canary's, or of a row.
    printed = [json.dumps(d) for d in (analysis, attribution, reconciled)]
    written = [*(root / "reports").rglob("*"), *(root / "results").rglob("*")]
    texts = printed + [path.read_text() for path in written if path.is_file()]
    assert len(texts) > 6
    assert not [text[:80] for text in texts if "canary" in text]
    assert any("buyer-" in text for text in texts)  # evidence there is, of others
    # Who withdraws later is on no page that is written from then on.
    shown = re.compile(r"buyer-\d+(?!\d)")
    who = next(found[0] for page in pages if (found := shown.search(page.read_text())))
    letter = root.parent / "letter.csv"
    letter.write_text(
        "customer_id,purpose,channel,granted,valid_from,valid_to,recorded_at,source\n"
        f"{who},measurement,all,false,2026-04-01T00:00:00Z,,2026-04-01T00:00:00Z,letter\n"
    )
    ran(root, "load", "consents", str(letter))
    ran(root, "report", "spring")
    assert not [page for page in pages if who in shown.findall(page.read_text())]


def test_without_consents_each_gate_says_that_it_does_not_apply(tmp_path):
    root = shop(tmp_path / "shop", tmp_path / "files", consents=False, more="")
    told = answer(root, "assign", "spring")["consent"]
    assert (told["outcome"], told["message"]) == (
        "not_applicable",
        "Nobody was left out for lack of consent: no consents are loaded.",
    )
    out = str(tmp_path / "reach.csv")
    said = ran(root, "audience", "spring", "--channel", "email", "--out", out, code=2)
    assert "table consents" in said
    analysis = answer(root, "analyze", "spring")
    (check,) = [c for c in analysis["checks"] if c["code"] == "H9"]
    assert check["outcome"] == "not_applicable"
    assert "no consents are loaded" in check["message"]
    assert analysis["estimates"][0]["n_arm"] + analysis["estimates"][0]["n_control"] == len(
        people()
    )
    begin(root, "strict", ASKED)
    assert "table consents" in ran(root, "assign", "strict", code=2)
