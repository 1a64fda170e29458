"""Small populations: the most balanced of many random draws, and inference that knows of it.

Rerandomisation after Morgan and Rubin (2012, Annals of Statistics 40:1263-1282): draws are compared
by the Mahalanobis distance between the arms' means, here as the best of a fixed number of draws,
so that the procedure always ends. What was chosen among draws must be analysed as such: the usual
interval is too wide, never too narrow (their section 3); :func:`redrawn` replays the whole
procedure, choice included, for a randomisation test (their section 2.2). Each draw comes from
PCG64 raw output seeded by a SHA-256, so it can be replayed anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from designs.assignment.hashing import Purpose, digest, purpose_salt
from designs.experiment import Experiment
from measure.errors import InputError
from measure.results import Result

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_UNITS = 20_000
"""Beyond this, hashing balances by itself and can go on assigning newcomers."""
_CHUNK = 1_000_000
"""Draws times units that are in memory at once."""
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class AttributeBalance(Result):
    """Means of one attribute per arm, and the largest difference from control in sd of all."""

    attribute: str
    means: dict[str, float]
    largest_difference: float
    missing: int
    """Units without a value; they count as average."""


@dataclass(frozen=True, slots=True)
class BalanceReport(Result):
    """How a balanced assignment came about, enough to replay it."""

    experiment: str
    units: dict[str, int]
    strata: int
    draws: int
    chosen: int
    """Number of the draw that was taken, from 0."""
    distance: float
    """Its Mahalanobis distance."""
    median_distance: float
    """Of all draws: what one draw would have had, by the half chance."""
    attributes: tuple[AttributeBalance, ...]
    seed: str
    """Salt of the draws."""
    inputs_hash: str
    """SHA-256 over ids, values and strata: the same inputs give the same arms."""


@dataclass(frozen=True, slots=True, eq=False)
class Small:
    """A small population in the order of its ids: values (n, k) with NaN where missing."""

    unit_ids: tuple[str, ...]
    values: NDArray[np.float64]
    strata: tuple[str, ...]

    @classmethod
    def of(
        cls, unit_ids: Sequence[str], values: NDArray[np.float64], strata: Sequence[str] = ()
    ) -> Small:
        """Bring a population in order, so that the order in which it was given moves nobody."""
        import numpy as np

        found = np.asarray(values, dtype=np.float64)
        labels = tuple(strata) or ("",) * len(unit_ids)
        if found.ndim != 2 or len(found) != len(unit_ids) or len(labels) != len(unit_ids):
            raise InputError("balance: ids, values and strata must have one row per unit.")
        if not 2 <= len(unit_ids) <= MOST_UNITS:
            rule = f"must be between 2 and {MOST_UNITS:,}"
            raise InputError.rule("units to balance", len(unit_ids), rule, "Remove balance.")
        if len(set(unit_ids)) < len(unit_ids):
            raise InputError("balance: a unit is listed twice.")
        order = sorted(range(len(unit_ids)), key=unit_ids.__getitem__)
        ids = tuple(unit_ids[i] for i in order)
        return cls(ids, found[order], tuple(labels[i] for i in order))

    @property
    def content_hash(self) -> str:
        """SHA-256 (64 hex digits) of all of it."""
        found = hashlib.sha256()
        for unit, row, stratum in zip(
            self.unit_ids, self.values.tolist(), self.strata, strict=True
        ):
            found.update(repr((unit, row, stratum)).encode())
        return found.hexdigest()


def balanced(experiment: Experiment, small: Small) -> tuple[tuple[str, ...], BalanceReport]:
    """Arms of the units in the order of ``small.unit_ids``, and how they came about."""
    import numpy as np

    codes, distances, chosen = _best(experiment, small, replicate=0)
    names = sorted(experiment.arms)
    sizes = np.bincount(codes, minlength=len(names))
    if (sizes == 0).any():
        empty = names[int(np.argmin(sizes))]
        raise InputError(f"{experiment.key}: {len(codes)} units leave no unit for arm {empty!r}.")
    report = BalanceReport(
        experiment=experiment.key,
        units={name: int(n) for name, n in zip(names, sizes, strict=True)},
        strata=len(set(small.strata)),
        draws=len(distances),
        chosen=chosen,
        distance=float(distances[chosen]),
        median_distance=float(np.median(distances)),
        attributes=_attributes(experiment, small, codes),
        seed=purpose_salt(Purpose.DRAW, experiment.salt),
        inputs_hash=small.content_hash,
    )
    return tuple(names[code] for code in codes), report


def replayed(experiment: Experiment, small: Small, replicate: int) -> tuple[str, ...]:
    """Arms that the same procedure would have given by other draws; replicate 0 is the real one."""
    codes, _, _ = _best(experiment, small, replicate)
    names = sorted(experiment.arms)
    return tuple(names[code] for code in codes)


def redrawn(
    experiment: Experiment, small: Small, replicates: int = 499, progress: Progress | None = None
) -> NDArray[np.int64]:
    """Other assignments by the same procedure, choice of the best draw included: codes (r, n).

    Codes number the arms in the order of their names; units are in the order of
    ``small.unit_ids``. The real assignment (replicate 0) is not among them. ``progress`` is told
    how many are done.
    """
    import numpy as np

    found = np.empty((replicates, len(small.unit_ids)), dtype=np.int64)
    for replicate in range(1, replicates + 1):
        found[replicate - 1], _, _ = _best(experiment, small, replicate)
        if progress is not None:
            progress(replicate)
    return found


def randomisation_test(
    experiment: Experiment,
    small: Small,
    outcome: Sequence[float],
    arm: str,
    replicates: int = 199,
) -> float:
    """Two-sided p-value of "no effect on anybody", from ``replicates`` re-drawn assignments.

    :class:`InputError` where no statistic can be had: two units an arm, and an outcome that
    varies. ``outcome`` is in the order of ``small.unit_ids``.
    """
    from measure.incrementality.randomization import randomization

    names = sorted(experiment.arms)
    real, _, _ = _best(experiment, small, 0)
    drawn = redrawn(experiment, small, replicates)
    found = randomization(outcome, real, drawn, names.index(arm), names.index(experiment.control))
    if found is None:
        raise InputError(f"{experiment.key}: too few units, or an outcome that does not vary.")
    return found.p_value()


def _best(
    experiment: Experiment, small: Small, replicate: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Arm codes of the best draw, the distances of all, and which one it is."""
    import numpy as np

    n_draws = experiment.balance.draws if experiment.balance else 1
    whitened = _whitened(small.values)
    strata = np.unique(np.asarray(small.strata), return_inverse=True)[1]
    ends = np.cumsum([experiment.arms[name] for name in sorted(experiment.arms)])
    size = max(1, _CHUNK // len(strata))
    first = replicate * n_draws
    distances: list[NDArray[np.float64]] = []
    for begin in range(first, first + n_draws, size):
        numbers = range(begin, min(begin + size, first + n_draws))
        codes = _draws(experiment.salt, numbers, strata, ends)
        distances.append(_distances(codes, whitened, len(ends)))
    found = np.concatenate(distances)
    # Rounded, so that equal draws stay equal whatever the order in which a machine adds.
    chosen = int(np.argmin(found.round(9)))
    (best,) = _draws(experiment.salt, [first + chosen], strata, ends)
    return best, found, chosen


def _draws(
    salt: str, numbers: Sequence[int], strata: NDArray[np.int64], ends: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Arm codes (draws, n): within each stratum in random order, each arm its share to one unit."""
    import numpy as np

    kinds, prefix = int(strata.max()) + 1, purpose_salt(Purpose.DRAW, salt)
    seeds = [int(digest(prefix, str(number)), 16) for number in numbers]
    raw = np.stack([np.random.PCG64(seed).random_raw(len(strata) + kinds) for seed in seeds])
    # A random offset per stratum, so that what is left over goes to every arm by its share.
    offsets = (raw[:, :kinds] >> np.uint64(11)) * 2.0**-53
    codes = np.empty((len(raw), len(strata)), dtype=np.int64)
    for stratum in range(kinds):
        members = np.flatnonzero(strata == stratum)
        order = np.argsort(raw[:, kinds + members], axis=1, kind="stable")
        at = ((np.arange(len(members)) + offsets[:, [stratum]]) / len(members)) % 1.0
        owners = np.minimum(np.searchsorted(ends, at, side="right"), len(ends) - 1)
        np.put_along_axis(codes, members[order], owners, axis=1)
    return codes


def _whitened(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values turned so that their covariance is the identity; constant directions are left out."""
    import numpy as np

    means = _means(values)
    centred = np.where(np.isnan(values), 0.0, values - means)
    scale = centred.std(axis=0)
    usable = scale > 1e-12 * np.maximum(1.0, np.abs(means))
    if not usable.any():
        raise InputError(
            "balance.attributes: each has one value for everybody; there is nothing to balance."
        )
    scaled = centred[:, usable] / scale[usable]
    spread, axes = np.linalg.eigh(np.atleast_2d(np.cov(scaled, rowvar=False)))
    keep = spread > 1e-9 * spread.max()
    whitened: NDArray[np.float64] = scaled @ (axes[:, keep] / np.sqrt(spread[keep]))
    return whitened


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of the columns over what is there; an attribute that is missing everywhere has 0."""
    import numpy as np

    present = ~np.isnan(values)
    sums = np.where(present, values, 0.0).sum(axis=0)
    means: NDArray[np.float64] = sums / np.maximum(present.sum(axis=0), 1)
    return means


def _distances(
    codes: NDArray[np.int64], whitened: NDArray[np.float64], arms: int
) -> NDArray[np.float64]:
    """Mahalanobis distance of each draw: for two arms n p (1 − p) d'S⁻¹d, summed over arms else."""
    import numpy as np

    found = np.zeros(len(codes))
    for arm in range(arms):
        mine = (codes == arm).astype(np.float64)
        sums, sizes = mine @ whitened, np.maximum(mine.sum(axis=1), 1.0)
        found += (sums**2).sum(axis=1) / sizes
    return found


def _attributes(
    experiment: Experiment, small: Small, codes: NDArray[np.int64]
) -> tuple[AttributeBalance, ...]:
    import numpy as np

    names, wanted = sorted(experiment.arms), experiment.balance
    means = _means(small.values)
    filled = np.where(np.isnan(small.values), means, small.values)
    control = filled[codes == names.index(experiment.control)].mean(axis=0)
    found = []
    for column, attribute in enumerate(wanted.attributes if wanted else ()):
        per_arm = {
            name: float(filled[codes == code, column].mean()) for code, name in enumerate(names)
        }
        scale = float(filled[:, column].std())
        gap = max(abs(mean - float(control[column])) for mean in per_arm.values())
        missing = int(np.isnan(small.values[:, column]).sum())
        found.append(AttributeBalance(attribute, per_arm, gap / scale if scale else 0.0, missing))
    return tuple(found)
