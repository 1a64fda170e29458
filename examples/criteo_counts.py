"""Effect of assignment on 13,979,592 people from four counts: ``python examples/criteo_counts.py``.

No row is needed: additive moments are built from the counts of the randomised groups. The file is
looked for in ``../shared/data`` beside the checkout, or where ``TRUELIFT_DATA`` points.
"""

import csv
import os
import sys
from pathlib import Path

from measure.incrementality.compliance import intention_to_treat
from measure.moments import Moments

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("TRUELIFT_DATA", ROOT.parent / "shared" / "data"))


def main() -> None:
    """Print the effect of being assigned on visits and conversions, in percentage points."""
    arms = {"0": [0, 0, 0], "1": [0, 0, 0]}
    with (DATA / "criteo_uplift_v21_cells.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for i, name in enumerate(("n", "visits", "conversions")):
                arms[row["treatment"]][i] += int(row[name])
    for i, name in ((1, "visit"), (2, "conversion")):
        control, arm = (
            Moments.from_counts(name, {0: n[0] - n[i], 1: n[i]}) for n in (arms["0"], arms["1"])
        )
        effect = intention_to_treat(control, arm)
        low, value, high = (100 * x for x in (effect.ci_low, effect.value, effect.ci_high))
        digits = 4 if name == "visit" else 5
        sys.stdout.write(f"{name} {value:+.{digits}f} pp ({low:.{digits}f} to {high:.{digits}f})\n")


if __name__ == "__main__":
    main()
