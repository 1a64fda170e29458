"""Credits per model, channel and cohort, from a path file or from the engine's tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from measure.attribution.definition import DEFAULT_MODELS, SHARED_VALUE, Definition, check_models
from measure.attribution.markov import markov_credits
from measure.attribution.pathfile import read_paths
from measure.attribution.rules import ChannelCredits, Observed, observed, rule_credits
from measure.attribution.tables import tables_from_paths
from measure.errors import ConservationError, DataError
from measure.journeys.rules import TOUCH_KINDS, JourneyRules, TouchWindow
from measure.journeys.tables import Numbers, PathTables
from measure.results import Attribution, Cohort, Credit

if TYPE_CHECKING:
    from measure.engine.connection import Engine

FEWEST_BUCKETS = 20
"""Below this many buckets with a journey no interval is given."""

_NO_NULLS = (
    "every journey converted; a chain cannot tell channels apart without journeys that did not "
    "convert. Add them (total_null), or use a rule."
)


def attribute_paths(
    path_file: Path,
    models: Sequence[str] | None = None,
    *,
    separator: str = " > ",
    cohort_column: str | None = None,
    half_life_steps: float = 1.0,
    ci_level: float = 0.95,
    replicates: int = 1000,
    seed: int = 20080320,
) -> Attribution:
    """Credit the channels of a path file.

    Conversions are counts, value is in the file's own unit. A model that these paths do not
    identify is left out and named under ``refused`` in the definition; when no model is left,
    :class:`DataError` says why.
    """
    definition = Definition(
        models=check_models(DEFAULT_MODELS if models is None else models),
        half_life=half_life_steps,
        half_life_unit="steps",
        ci_level=ci_level,
        replicates=replicates,
        seed=seed,
    )
    paths = read_paths(Path(path_file), separator, cohort_column)
    tables = tables_from_paths(
        paths, dimension=cohort_column, half_life=half_life_steps, seed=definition.seed
    )
    return attribute_tables(tables, definition)


def attribute_engine(
    engine: Engine,
    *,
    models: Sequence[str] | None = None,
    cohort_dimension: str | None = None,
    lookback_days: int = 30,
    touch_kinds: Sequence[str] = TOUCH_KINDS,
    start: datetime | None = None,
    end: datetime | None = None,
    currency: str | None = None,
    half_life_days: float = 7.0,
    ci_level: float = 0.95,
    replicates: int = 1000,
    seed: int = 20080320,
    windows: Sequence[TouchWindow] = (),
) -> Attribution:
    """Credit the channels of the tables ``activations`` and ``conversions``.

    ``cohort_dimension`` is an attribute column of ``customers``. The period ``[start, end)`` (UTC
    where naive) bounds conversions; touches may reach ``lookback_days`` before it. Value is net of
    refunds, in major units of one currency. ``windows`` replace ``lookback_days`` for the channels
    and kinds of touch they name.
    """
    from measure.journeys.paths import path_tables

    rules = JourneyRules(lookback_days, tuple(touch_kinds), start, end, currency, tuple(windows))
    definition = Definition(
        models=check_models(DEFAULT_MODELS if models is None else models),
        touch=f"an activation of kind {', '.join(rules.kinds)}",
        lookback_days=lookback_days,
        windows=tuple(window.words() for window in windows),
        tie_order="time, then activation_id",
        journey=_journey(rules),
        half_life=half_life_days,
        half_life_unit="days",
        value=f"paid value net of refunds, {SHARED_VALUE}",
        ci_level=ci_level,
        replicates=replicates,
        seed=seed,
    )
    tables = path_tables(
        engine,
        rules,
        cohort_dimension=cohort_dimension,
        half_life_days=half_life_days,
        models=definition.models,
    )
    return attribute_tables(tables, definition)


def attribute_tables(tables: PathTables, definition: Definition) -> Attribution:
    """Credit the channels of two small tables; sums of credits are held against their totals."""
    everybody = observed(tables)
    if not everybody.conversions.sum() > 0:
        raise DataError("no journey with a touch converted, so there is nothing to credit.")
    weights = bootstrap_weights(definition)
    given: list[Credit] = []
    refused: dict[str, str] = {}
    for model in definition.models:
        for code, cohort in _populations(tables):
            seen = everybody if code is None else observed(tables, code)
            if model == "markov" and not seen.nulls.sum() > 0:
                refused[_refusal(model, cohort)] = _NO_NULLS
                continue
            found = _both(tables, model, weights, code)
            _check_sums(model, cohort, found, seen)
            given += _credits(tables, model, cohort, found, seen, definition.ci_level)
    if not given:
        raise DataError(f"{next(iter(refused))}: {_NO_NULLS}")
    return Attribution(
        definition=_describe(tables, definition, refused),
        total_conversions=float(everybody.conversions.sum()),
        total_value=float(everybody.value.sum()),
        credits=tuple(given),
    )


def bootstrap_weights(definition: Definition) -> Numbers:
    """Weights of the buckets, shape (1 + replicates, buckets): ones first, then the resamples."""
    generator = np.random.default_rng(definition.seed)
    equal = np.full(definition.buckets, 1 / definition.buckets)
    drawn = generator.multinomial(definition.buckets, equal, size=definition.replicates)
    return np.vstack([np.ones(definition.buckets), drawn])


def _populations(tables: PathTables) -> Iterator[tuple[int | None, Cohort | None]]:
    yield None, None
    for code, name in enumerate(tables.cohorts):
        yield code, Cohort(tables.dimension or "", name)


def _both(tables: PathTables, model: str, weights: Numbers, cohort: int | None) -> ChannelCredits:
    if model == "markov":
        return markov_credits(tables, weights, cohort)
    return rule_credits(tables, model, weights, cohort)


def _check_sums(model: str, cohort: Cohort | None, found: ChannelCredits, seen: Observed) -> None:
    """Credits divide up the total: neither more nor less than was observed."""
    pairs = (
        ("conversions", found.conversions[0].sum(), seen.conversions.sum()),
        ("value", found.value[0].sum(), seen.value.sum()),
    )
    for name, credited, total in pairs:
        if not math.isclose(credited, total, rel_tol=1e-9, abs_tol=1e-6):
            raise ConservationError.of(_refusal(model, cohort), name, credited, total)


def _credits(
    tables: PathTables,
    model: str,
    cohort: Cohort | None,
    found: ChannelCredits,
    seen: Observed,
    ci_level: float,
) -> Iterator[Credit]:
    low, high = _interval(found.conversions[1:], seen, ci_level)
    total = seen.conversions.sum()
    for i, channel in enumerate(tables.channels):
        yield Credit(
            model=model,
            channel=channel,
            cohort=cohort,
            conversions=float(found.conversions[0, i]),
            value=float(found.value[0, i]),
            share=float(found.conversions[0, i] / total) if total > 0 else 0.0,
            removal_effect=None
            if found.removal_effect is None
            else float(found.removal_effect[0, i]),
            ci_low=None if low is None else float(low[i]),
            ci_high=None if high is None else float(high[i]),
        )


def _interval(
    replicates: Numbers, seen: Observed, ci_level: float
) -> tuple[Numbers, Numbers] | tuple[None, None]:
    if (seen.journeys > 0).sum() < FEWEST_BUCKETS:
        return None, None
    tail = (1 - ci_level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    return low, high


def _journey(rules: JourneyRules) -> str:
    since = f" from {rules.start.isoformat()}" if rules.start else ""
    until = f" before {rules.end.isoformat()}" if rules.end else ""
    period = f" (conversions{since}{until})" if since or until else ""
    order = f"order in {rules.currency}" if rules.currency else "order"
    return (
        f"one person's touches up to a paid or refunded {order}, each counted once, or, where "
        f"no order follows in the window, up to the next order or the last touch{period}"
    )


def _refusal(model: str, cohort: Cohort | None) -> str:
    return model if cohort is None else f"{model} ({cohort.dimension} = {cohort.value})"


def _describe(
    tables: PathTables, definition: Definition, refused: Mapping[str, str]
) -> dict[str, object]:
    """The definition, and what it left out of these particular journeys."""
    mapping = definition.to_mapping()
    notes = [f"{name} is left out: {reason}" for name, reason in refused.items()]
    if tables.untouched_conversions:
        notes.append(
            f"{tables.untouched_conversions:,.0f} conversions had no touch in the window; they "
            "are in no total and no credit."
        )
    return {
        **mapping,
        "sentences": [*mapping["sentences"], *notes],
        "journeys": tables.journeys(),
        "untouched_conversions": tables.untouched_conversions,
        "untouched_value": tables.untouched_value,
        "currency": tables.currency,
        "cohort_dimension": tables.dimension,
        "refused": dict(refused),
    }
