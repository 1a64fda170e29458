"""``X7``: effects that hang on a handful of units, such as one id with a hundred thousand clicks.

Chance does not deal such units evenly, so whoever gets them seems to have an effect. The check asks
what is left once the largest values of both arms together are capped alike: capping looks at both
arms as one group, so it favours neither. The estimates of the plan stay as they are; capping in
the analysis itself is the metric's ``winsorize``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from measure.incrementality.check_kind import CheckKind
from measure.incrementality.contrast import StudentT
from measure.incrementality.difference import difference
from measure.incrementality.inputs import CountedValues
from measure.incrementality.small_holdout import MIN_UNITS, pooled_skewness
from measure.moments import DENOMINATOR, CellMoments, Moments
from measure.plan import AnalysisPlan
from measure.results import Check, Outcome, Severity

KIND = CheckKind("X7", "Outliers")
KINDS = ("mean", "count")
FEW = 10_000
"""One unit in this many, at least one, is a handful."""
LIMIT = 2.0
"""Standard errors, of the capped estimate, by which a handful may move the estimate."""
DOMINATED = 0.5
"""Squared skewness per unit, over that of a handful without which the rest is nothing, below which
no handful can move the estimate so far. It spares a look at the values themselves."""

Counted = Callable[[str], Mapping[str, CountedValues]]
Row = dict[str, Any]


def outlier_check(
    plan: AnalysisPlan, moments: CellMoments, counted: Counted, withheld: Collection[str] = ()
) -> Check:
    """Hold every difference in means against the same with the largest values capped.

    Metrics ``withheld`` have no numbers to be shown. ``counted`` gives the units at each value of a
    metric, per arm; it is asked only where the skewness says that a handful of units may carry it.
    """
    names = [m.name for m in plan.metrics if m.kind in KINDS and m.name not in withheld]
    names = [name for name in names if not moments.has(name, DENOMINATOR)]
    if not names:
        message = "No amount or count per unit may be shown."
        return KIND.found(Outcome.NOT_APPLICABLE, message, Severity.NOTE)
    rows = tuple(row for name in names for row in _moved(name, plan, moments, counted))
    broken = [row for row in rows if abs(row["moved"]) > LIMIT]
    if not broken:
        message = (
            f"No effect moves by more than {LIMIT:g} standard errors when a handful is capped."
        )
        return KIND.found(Outcome.PASSED, message, Severity.NOTE, evidence=rows)
    worst = max(broken, key=lambda row: abs(row["moved"]))
    units = f"{worst['units']:,} unit{'s' if worst['units'] > 1 else ''}"
    message = (
        f"{worst['metric']} in {worst['arm']} hangs on {units} beyond {worst['cap']:,.6g}: the "
        f"difference is {_signed(worst['difference'])}, and {_signed(worst['capped'])} "
        f"({_signed(worst['capped_ci_low'])} to {_signed(worst['capped_ci_high'])}) when they are "
        "capped there. One id that stands for many, or a robot? Find out, or name winsorize."
    )
    return KIND.found(Outcome.FLAGGED, message, evidence=rows)


def _moved(
    metric: str, plan: AnalysisPlan, moments: CellMoments, counted: Counted
) -> Iterator[Row]:
    """Every arm whose difference may hang on a handful of units, plain and capped."""
    for name in plan.treatments:
        pair = moments.get(metric, plan.control).outcome(), moments.get(metric, name).outcome()
        n = sum(one.n for one in pair)
        if min(one.n for one in pair) < MIN_UNITS:
            continue
        few = max(1, n // FEW)
        if not pooled_skewness(*pair) ** 2 >= DOMINATED * n / few:
            continue
        values = counted(metric)
        row = _capped(pair, (values[plan.control], values[name]), few, plan.ci_level)
        if row is not None:
            yield {"metric": metric, "arm": name, **row}


def _capped(
    pair: tuple[Moments, Moments],
    values: tuple[CountedValues, CountedValues],
    few: int,
    level: float,
) -> Row | None:
    """The difference with values capped at the largest size not among the ``few`` largest."""
    sizes = np.abs(np.concatenate([one.values for one in values]))
    counts = np.concatenate([one.counts for one in values])
    order = np.argsort(-sizes, kind="stable")
    cap = float(sizes[order][np.searchsorted(np.cumsum(counts[order]), few, side="right")])
    capped = [_moments(one, cap) for one in values]
    contrast = difference(capped[0], capped[1])
    if not contrast.se > 0:
        return None
    low, high = StudentT(contrast.dof).quantiles(level)
    plain = float(pair[1].mean[0] - pair[0].mean[0])
    return {
        "cap": cap,
        "units": int(counts[sizes > cap].sum()),
        "difference": plain,
        "capped": contrast.value,
        "capped_ci_low": contrast.value - high * contrast.se,
        "capped_ci_high": contrast.value - low * contrast.se,
        "moved": (plain - contrast.value) / contrast.se,
    }


def _moments(values: CountedValues, cap: float) -> Moments:
    """Moments of one arm with its values capped."""
    counts: dict[float, int] = {}
    for value, units in zip(np.clip(values.values, -cap, cap), values.counts, strict=True):
        counts[float(value)] = counts.get(float(value), 0) + int(units)
    return Moments.from_counts("capped", counts)


def _signed(value: float) -> str:
    return f"{value:+,.3g}".replace("-", "−")
