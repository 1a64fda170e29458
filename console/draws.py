"""Posterior draws that a plan keeps: where they lie, and how a later analysis replaces them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from measure.errors import InputError
from measure.results import Analysis, Status

if TYPE_CHECKING:
    from console.workspace import Workspace
    from designs.registry import Entry

ON_RECORD = "draws"
"""Folder of the draws beside the result they belong to."""


def with_draws(
    workspace: Workspace, entry: Entry, asked: Path | None, run: Callable[[Path | None], Analysis]
) -> Analysis:
    """Run an analysis with the folder for its draws: the one asked for, else that on record.

    Draws on record are replaced as a whole once the analysis is done, so that they are always those
    of one result. :class:`InputError` where the experiment is concluded and its draws stay.
    """
    plan = entry.experiment.analysis_plan()
    keeps = plan.bayes.keep_draws and "hierarchical_bayes" in plan.estimators
    if asked is not None or not keeps:
        return located(run(asked), None if asked is None else str(asked))
    folder = workspace.results(entry.key) / ON_RECORD
    if entry.concluded_at is not None and folder.exists():
        raise InputError(
            f"{entry.key} is concluded, and its draws on record stay. Add --draws DIR for those of "
            "today's data."
        )
    fresh = folder.with_name(f"{ON_RECORD}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    analysis = run(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    if fresh.exists():
        fresh.rename(folder)
    return located(analysis, folder.relative_to(workspace.root).as_posix())


def without_draws(analysis: Analysis, folder: Path | None) -> Analysis:
    """The analysis, with its draws taken off the disk where its numbers are withheld."""
    said = analysis.provenance.get("hierarchical_bayes")
    if folder is None or not said or analysis.status is not Status.INVALID:
        return analysis
    for name in said["draws"]:
        shutil.rmtree(folder / name)
    pooled = {**said, "draws": []}
    return replace(analysis, provenance={**analysis.provenance, "hierarchical_bayes": pooled})


def located(analysis: Analysis, folder: str | None) -> Analysis:
    """The analysis, saying in which folder its draws are, where it has any."""
    said = analysis.provenance.get("hierarchical_bayes")
    if folder is None or not said or not said.get("draws"):
        return analysis
    pooled = {**said, "draws_in": folder}
    return replace(analysis, provenance={**analysis.provenance, "hierarchical_bayes": pooled})
