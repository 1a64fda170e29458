"""From hourly counts to the hour in which something began, and the one in which it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.reconcile.completeness import LEAST_WEEKS

WEEK = 168
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """Hours ``[first, end)`` of a series, with the rows found and usual in them."""

    first: int
    end: int
    rows: int
    usual: int


def usual_of(counts: Counts, period: int) -> NDArray[np.int64]:
    """The median of the same place in the period (lower middle); -1 where it is seen too rarely."""
    usual = np.full(len(counts), -1, dtype=np.int64)
    for place in range(min(period, len(counts))):
        same = np.sort(counts[place::period])
        if len(same) >= LEAST_WEEKS:
            usual[place::period] = same[(len(same) - 1) // 2]
    return usual


def silent_runs(counts: Counts, share: float, least: int) -> list[Run]:
    """Runs of hours with less than ``share`` of the rows usual in that hour of the week.

    A run must miss at least ``least`` usual rows, so that quiet hours of small sources are no
    alarm: at the defaults (a fifth, 30 rows) a Poisson source with 30 usual rows has fewer than six
    once in forty million times. Hours in which nothing is usual neither begin nor end a run.
    """
    usual = usual_of(counts, WEEK)
    low = (usual > 0) & (counts < usual * share)
    neutral = (usual == 0) & (counts == 0)
    runs, first = [], None
    for hour in range(len(counts) + 1):
        inside = hour < len(counts) and (low[hour] or (first is not None and neutral[hour]))
        if inside and first is None:
            first = hour
        elif not inside and first is not None:
            end = first + int(np.flatnonzero(low[first:hour])[-1]) + 1
            run = Run(first, end, int(counts[first:end].sum()), int(usual[first:end].sum()))
            if run.usual >= least:
                runs.append(run)
            first = None
    return runs


def longest_silence(counts: Counts) -> int:
    """The longest run of empty hours."""
    best = here = 0
    for n in counts.tolist():
        here = 0 if n else here + 1
        best = max(best, here)
    return best


def changed_between(
    rows: Sequence[int], hits: Sequence[int], *, rises: bool = True
) -> tuple[int, int]:
    """The hours ``[first, end)`` in which a share most likely lies above (below) all other hours.

    Two segments of binomial counts by maximum likelihood (Hinkley and Hinkley 1970, Biometrika 57);
    ``end`` is the length of the series when the change lasts.
    """
    n, k = (np.concatenate([[0], np.cumsum(values)]).astype(float) for values in (rows, hits))
    first, end = np.triu_indices(len(n), k=1)
    inside = _likelihood(k[end] - k[first], n[end] - n[first])
    outside = _likelihood(k[-1] - (k[end] - k[first]), n[-1] - (n[end] - n[first]))
    here = (k[end] - k[first]) * (n[-1] - (n[end] - n[first]))
    there = (k[-1] - (k[end] - k[first])) * (n[end] - n[first])
    allowed = here > there if rises else here < there  # shares compared without dividing
    best = int(np.argmax(np.where(allowed, inside + outside, -np.inf)))
    return int(first[best]), int(end[best])


def _likelihood(hits: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-likelihood of binomial counts at their own share."""
    rest = rows - hits
    share = np.divide(hits, rows, out=np.zeros_like(hits), where=rows > 0)
    log_hit = np.log(share, out=np.zeros_like(share), where=share > 0)
    log_rest = np.log1p(-share, out=np.zeros_like(share), where=share < 1)
    return np.asarray(hits * log_hit + rest * log_rest)
