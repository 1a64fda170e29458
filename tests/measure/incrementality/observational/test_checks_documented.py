import re

from measure.incrementality.observational.checks import KINDS
from tests.data import ROOT


def test_every_check_without_randomisation_is_a_heading_of_the_docs():
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for kind in KINDS.values():
        assert kind.anchor in anchors
