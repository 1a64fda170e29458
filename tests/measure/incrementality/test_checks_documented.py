import re

from measure.incrementality.checks import _ANCHORS, _CODES
from tests.data import ROOT


def test_every_check_of_an_analysis_is_a_heading_of_the_docs():
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for code, title in _CODES.items():
        assert (_ANCHORS.get(code) or f"{code}-{title}".lower().replace(" ", "-")) in anchors
