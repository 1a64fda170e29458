"""How many units of an experiment were erased from each arm: the count is kept, nobody's name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from measure.engine.manifest import read_erased

if TYPE_CHECKING:
    from measure.engine.connection import Engine

ERASURES = "truelift_erasures"
"""Table (experiment, arm, units) of a database in which people were erased."""


def erased_units(engine: Engine, experiment: str) -> dict[str, int]:
    """Units erased per arm; empty where nobody was."""
    if engine.url.startswith("warehouse:"):
        return read_erased(Path(engine.url.removeprefix("warehouse:"))).get(experiment, {})
    if not engine.has(ERASURES):
        return {}
    table = engine.table(ERASURES)
    rows = engine.fetch(table.filter(table.experiment == experiment)).to_pylist()
    return {row["arm"]: int(row["units"]) for row in rows}
