"""`demo`."""

from __future__ import annotations

from pathlib import Path

from console.cli.output import MARKS, check_destination, deliver, table
from console.progress import step


def demo(folder: Path, *, seed: int, customers: int, json: str | None) -> None:
    """Run the whole loop on a made-up world and hold it against the truth."""
    from console.demo.loop import run

    check_destination(json)
    result = run(folder, seed=seed, customers=customers, step=step)
    rows = []
    for row in result.truth:
        bounds = row.ci_low is not None and row.ci_high is not None
        interval = f"{_number(row.ci_low)} to {_number(row.ci_high)}" if bounds else "exact"
        mark = MARKS["passed"] if row.holds else "outside"
        rows.append((row.name, _number(row.truth), _number(row.value), interval, mark))
    lines = table(("planted", "truth", "estimate", "95 % interval", ""), rows)
    held = sum(row.holds for row in result.truth)
    deliver(
        result.to_dict(),
        json,
        [
            "",
            *lines,
            "",
            f"{held} of {len(result.truth)} within their interval or exact; of 95 % intervals one "
            "in twenty misses.",
            "",
            f"Open {result.page}",
        ],
    )


def _number(value: float | None) -> str:
    """Whole numbers with separators, others with four significant digits."""
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) >= 10:
        return f"{value:,.0f}".replace("-", "−")
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return digits.replace("-", "−")
