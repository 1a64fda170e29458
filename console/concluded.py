"""What concluded experiments of a registry teach: the lifts they ended with, for priors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from measure.errors import InputError

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from designs.registry.records import Entry
    from measure.incrementality.pooling.priors import PastEffect


def past_effects(experiment: Experiment) -> dict[str, list[PastEffect]]:
    """Lifts by metric of experiments that were concluded before this one started.

    Every arm counts once, with the first estimate for everybody of its analysis that is usable and
    no posterior. The workspace is the one around the current folder; :class:`InputError` without.
    """
    from console.workspace import Workspace
    from designs.registry import Registry

    found: dict[str, list[PastEffect]] = {}
    with Registry(Workspace.find().registry_url) as registry:
        entries = registry.entries()
        started = next((e.started_at for e in entries if e.key == experiment.key), None)
        for entry in entries:
            if entry.key != experiment.key and _ended_before(entry, started):
                for metric, effect in _lifts(registry.result(entry.key) or {}):
                    found.setdefault(metric, []).append(effect)
    return found


def _ended_before(entry: Entry, started: str | None) -> bool:
    ended = entry.concluded_at
    return ended is not None and (started is None or ended <= started)


def _lifts(document: dict[str, Any]) -> list[tuple[str, PastEffect]]:
    """Metric and lift of every arm in a recorded analysis."""
    from scipy.special import ndtri

    from measure.incrementality.pooling.priors import PastEffect

    found: dict[tuple[str, str], PastEffect] = {}
    if document.get("provenance", {}).get("design") == "observational":
        return []  # what was not randomised is no effect that a prior may rest on
    for e in document.get("estimates", ()):
        ends = (e["relative_ci_low"], e["relative_ci_high"])
        usable = e["status"] == "ok" and e["relative"] is not None and None not in ends
        if e["cohort"] is None and usable and e["p_value"] is not None:
            width = 2 * float(ndtri((1 + e["ci_level"]) / 2))
            effect = PastEffect(e["relative"], (ends[1] - ends[0]) / width)
            found.setdefault((e["metric"], e["arm"]), effect)
    return [(metric, effect) for (metric, _), effect in found.items()]


def learned(experiment: Experiment) -> dict[str, list[PastEffect]] | None:
    """Past effects where the plan's prior is learned from them, else ``None``."""
    plan = experiment.analysis_plan()
    if plan.bayes.effect != "registry" or "hierarchical_bayes" not in plan.estimators:
        return None
    try:
        return past_effects(experiment)
    except InputError as error:
        raise InputError(
            f"{experiment.key}: plan.bayes.effect == 'registry', which is read from a workspace: "
            f"{error}"
        ) from error
