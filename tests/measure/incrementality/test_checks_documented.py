import re

from measure.incrementality import checks, exposed, left_out, outliers, strata_balance
from tests.data import ROOT


def test_every_check_of_an_analysis_is_a_heading_of_the_docs():
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    alone = (exposed.KIND, outliers.KIND, strata_balance.KIND)
    for kind in (*checks.KINDS, *alone, left_out.UNMEASURED, left_out.ERASED):
        assert kind.anchor in anchors
