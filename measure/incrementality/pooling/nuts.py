"""PyMC models sampled by nutpie's NUTS: compiled once per shape, the sampler named and recorded.

PyMC alone would pick whatever sampler happens to be installed, so the same seed would give other
draws elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from measure.incrementality.borders import pymc_border
from measure.incrementality.pooling.values import Vector

SAMPLER = "nutpie"
CHAINS = 4


@dataclass(frozen=True, slots=True)
class Attempt:
    """Draws kept and thrown away per chain, and the acceptance aimed at."""

    draws: int
    tune: int
    target_accept: float


_COMPILED: dict[Hashable, Any] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Draws by variable, (chains, draws, …), and the sampler's own statistics, (chains, draws)."""

    draws: Mapping[str, Vector]
    statistics: Mapping[str, Vector]

    @property
    def divergences(self) -> float:
        """Divergent transitions; NaN where the sampler did not say."""
        found = self.statistics.get("diverging")
        return float(found.sum()) if found is not None and found.size else float("nan")


def run(
    key: Hashable,
    build: Callable[[dict[str, Vector]], Any],
    data: dict[str, Vector],
    seed: int,
    attempt: Attempt,
) -> Trace:
    """Sample a model over ``data``; models of one ``key`` share their compiled form."""
    with pymc_border():
        import nutpie

        if key not in _COMPILED:
            _COMPILED[key] = nutpie.compile_pymc_model(build(data))
        tree = nutpie.sample(
            _COMPILED[key].with_data(**data),
            draws=attempt.draws,
            tune=attempt.tune,
            chains=CHAINS,
            cores=1,
            seed=seed,
            target_accept=attempt.target_accept,
            progress_bar=False,
        )
    return Trace(_arrays(tree.posterior), _arrays(tree.sample_stats))


def round_up(n: int, least: int) -> int:
    """Next power of two, ``least`` at least: few shapes, few compilations."""
    return int(max(least, 2 ** (n - 1).bit_length()))


def _arrays(dataset: Any) -> dict[str, Vector]:
    return {
        str(name): np.asarray(values)
        for name, values in dataset.data_vars.items()
        if np.asarray(values).dtype.kind in "bif"
    }
