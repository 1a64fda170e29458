"""From integer-coded paths to the two small tables, with numpy and one pass per table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from measure.attribution.pathfile import Paths
from measure.journeys.tables import (
    BUCKETS,
    RULES,
    Integers,
    Numbers,
    PathTables,
    RuleCredits,
    Transitions,
    group_sums,
)

_FEW = 1000


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Journeys with the same path, outcome and bucket."""

    path: Integers
    bucket: Integers
    n: Numbers
    value: Numbers
    converted: bool


def tables_from_paths(
    paths: Paths,
    *,
    dimension: str | None = None,
    half_life: float = 1.0,
    buckets: int = BUCKETS,
    seed: int = 20080320,
) -> PathTables:
    """Build both tables; each journey of a counted path falls into a bucket by a seeded draw.

    ``half_life`` is in steps, because paths carry no time.
    """
    generator = np.random.default_rng(seed)
    yes = _cells(paths.converted, paths.value, buckets, generator, converted=True)
    no = _cells(paths.unconverted, None, buckets, generator, converted=False)
    return PathTables(
        paths.channels,
        dimension,
        paths.cohorts if dimension is not None else (),
        buckets,
        _transitions(paths, (yes, no), buckets),
        _credits(paths, yes, half_life, buckets),
        paths.untouched_conversions,
        paths.untouched_value,
    )


def split_over_buckets(
    counts: Integers, buckets: int, generator: np.random.Generator
) -> tuple[Integers, Integers, Integers]:
    """Throw each of ``counts[i]`` journeys into a bucket: item, bucket and how many, where not 0.

    Small counts draw one bucket per journey, large ones a multinomial: the same distribution.
    """
    small = np.where(counts <= _FEW, counts, 0)
    item = np.repeat(np.arange(len(counts)), small)
    drawn = item * buckets + generator.integers(0, buckets, size=len(item))
    key, (n,) = group_sums(drawn, len(counts) * buckets, np.ones(len(drawn)))
    large = np.flatnonzero(counts > _FEW)
    spread = generator.multinomial(counts[large], np.full(buckets, 1 / buckets))
    row, column = np.nonzero(spread)
    return (
        np.concatenate([key // buckets, large[row]]),
        np.concatenate([key % buckets, column]),
        np.concatenate([n.astype(np.int64), spread[row, column]]),
    )


def _cells(
    counts: Integers,
    value: Numbers | None,
    buckets: int,
    generator: np.random.Generator,
    *,
    converted: bool,
) -> _Cells:
    path, bucket, n = split_over_buckets(counts, buckets, generator)
    per_journey = np.zeros(len(counts))
    if value is not None:
        np.divide(value, counts, out=per_journey, where=counts > 0)
    return _Cells(path, bucket, n.astype(float), n * per_journey[path], converted)


def _touches_of(paths: Paths, cells: _Cells) -> tuple[Integers, Integers]:
    """All touches of all cells: index into ``paths.channel``, and the cell it belongs to."""
    lengths = (paths.start[1:] - paths.start[:-1])[cells.path]
    cell = np.repeat(np.arange(len(cells.path)), lengths)
    first = np.cumsum(lengths) - lengths
    return np.arange(len(cell)) - first[cell] + paths.start[cells.path][cell], cell


def _transitions(paths: Paths, outcomes: tuple[_Cells, ...], buckets: int) -> Transitions:
    states = len(paths.channels) + 3
    keys, counts, values = [], [], []
    for cells in outcomes:
        touch, cell = _touches_of(paths, cells)
        group = (paths.cohort[cells.path] * buckets + cells.bucket)[cell]
        state = paths.channel[touch] + 1
        is_first = touch == paths.start[cells.path][cell]
        is_last = touch == paths.start[cells.path + 1][cell] - 1
        end = states - 2 if cells.converted else states - 1
        following = np.append(state[1:], 0)
        following[is_last] = end
        keys += [(group[is_first] * states) * states + state[is_first]]
        counts += [cells.n[cell[is_first]]]
        values += [np.zeros(int(is_first.sum()))]
        keys += [(group * states + state) * states + following]
        counts += [cells.n[cell]]
        values += [np.where(is_last, cells.value[cell], 0.0)]
    size = len(paths.cohorts) * buckets * states * states
    key, (n, value) = group_sums(
        np.concatenate(keys), size, np.concatenate(counts), np.concatenate(values)
    )
    group, moves = np.divmod(key, states * states)
    return Transitions(group % buckets, group // buckets, moves // states, moves % states, n, value)


def _credits(paths: Paths, cells: _Cells, half_life: float, buckets: int) -> RuleCredits:
    weights = _rule_weights(paths, half_life)
    touch, cell = _touches_of(paths, cells)
    channels = len(paths.channels)
    group = paths.cohort[cells.path] * buckets + cells.bucket
    key = group[cell] * channels + paths.channel[touch]
    n, value = cells.n[cell], cells.value[cell]
    shares = [weights[rule][touch] for rule in RULES]
    columns = [share * n for share in shares] + [share * value for share in shares]
    present, sums = group_sums(key, len(paths.cohorts) * buckets * channels, *columns)
    bucket, cohort = present // channels % buckets, present // channels // buckets
    return RuleCredits(
        bucket,
        cohort,
        present % channels,
        dict(zip(RULES, sums[: len(RULES)], strict=True)),
        dict(zip(RULES, sums[len(RULES) :], strict=True)),
    )


def _rule_weights(paths: Paths, half_life: float) -> dict[str, Numbers]:
    """Share of its journey's conversion that each touch gets, per rule."""
    touches = len(paths.channel)
    lengths = paths.start[1:] - paths.start[:-1]
    path = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(touches) - paths.start[path]
    steps_back = lengths[path] - 1 - position
    decay = np.exp2(-steps_back / half_life)
    decay_sum = np.bincount(path, weights=decay, minlength=len(lengths))
    channels = len(paths.channels)
    _, new = np.unique(path * channels + paths.channel, return_index=True)
    is_new = np.zeros(touches)
    is_new[new] = 1.0
    distinct = np.bincount(path, weights=is_new, minlength=len(lengths))
    return {
        "first": (position == 0).astype(float),
        "last": (steps_back == 0).astype(float),
        "linear": 1.0 / lengths[path],
        "time_decay": decay / decay_sum[path],
        "shapley": is_new / distinct[path],
    }
