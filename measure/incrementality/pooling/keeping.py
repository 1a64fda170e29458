"""Posterior draws kept for modellers: one zarr store per metric, arm and dimension.

A store opens with ``arviz.from_zarr`` and has the groups ``posterior`` and, where a sampler ran,
``sample_stats``.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure.incrementality.borders import zarr_border
from measure.incrementality.pooling.values import Vector

_PAIR = ("control", "arm")
_LEVELS = ("level", "effect")
_DIMENSIONS: Mapping[str, tuple[str, Sequence[str]]] = {
    "spread": ("of", _LEVELS),
    "average": ("of", _LEVELS),
    "amount_average": ("of", _LEVELS),
    "amount_spread": ("of", _LEVELS),
    "amount_sd": ("side", _PAIR),
}
"""Last dimension of variables that are not per cohort, and its labels."""


def keep(
    folder: Path, name: Mapping[str, str], cohorts: Sequence[str], draws: Mapping[str, Vector]
) -> str:
    """Write draws of one group and return the store's file name.

    ``name`` says metric, arm and dimension; ``draws`` are of shape (chains, draws) or with one more
    dimension. A store of an earlier analysis is replaced.
    """
    import arviz as az

    store = folder / f"{'-'.join(_slug(part) for part in name.values())}.zarr"
    folder.mkdir(parents=True, exist_ok=True)
    variables = {key: values for key, values in draws.items() if key != "diverging"}
    dims, coords = {}, {"cohort": list(cohorts)}
    for key, values in variables.items():
        if values.ndim == 3:
            dimension, labels = _DIMENSIONS.get(key, ("cohort", cohorts))
            dims[key], coords[dimension] = [dimension], list(labels)
    groups = {"posterior": variables}
    if "diverging" in draws:
        groups["sample_stats"] = {"diverging": draws["diverging"]}
    tree = az.from_dict(groups, coords=coords, dims=dims)
    tree.attrs.update(name)
    part = store.with_suffix(".part")
    with zarr_border():
        tree.to_zarr(part, mode="w")
    shutil.rmtree(store, ignore_errors=True)
    part.rename(store)
    return store.name


def _slug(text: str) -> str:
    """Letters and digits of a name; a name that had anything else gets a mark of its own."""
    kept = "".join(c if c.isalnum() else "_" for c in text)
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return kept if kept == text else f"{kept}_{mark}"
