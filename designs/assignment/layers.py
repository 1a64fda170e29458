"""Layers: experiments in disjoint slots of one layer never share a unit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from designs.experiment import Experiment


def overlapping(experiments: Sequence[Experiment]) -> tuple[tuple[Experiment, Experiment], ...]:
    """Pairs of experiments whose slots of one layer overlap, so that units are in both."""
    found = []
    for one, other in combinations(sorted(experiments, key=lambda e: e.key), 2):
        if one.layer is None or other.layer is None or one.layer.name != other.layer.name:
            continue
        first = max(one.layer.slot[0], other.layer.slot[0])
        if first < min(one.layer.slot[1], other.layer.slot[1]):
            found.append((one, other))
    return tuple(found)
