"""Effects on outcomes found over links: at thresholds of match probability, and corrected.

Where outcomes are joined to units by likeness, each unit has the probability p that its outcome is
its own. At a threshold only units with p at or above it are analysed. Links are made from what was
known before assignment, so leaving units out by p favours no arm; the sample ratio is checked at
every threshold all the same. Wrong links that remain attenuate the effect by 1 − e
(:mod:`measure.people.attenuation`), and the corrected effect stands beside the reported one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from measure.engine.connection import connect
from measure.engine.files import opened
from measure.engine.roles import CLUSTER
from measure.engine.sources import Keys, file_table, needed
from measure.engine.strict import read_numbers
from measure.engine.units import unit_table
from measure.errors import DataError, InputError, UnknownName
from measure.incrementality.analyze import analyze
from measure.people.attenuation import WrongLinks, corrected
from measure.people.linkage import THRESHOLDS
from measure.results import Estimate, Result, Status

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Table
    from measure.plan import AnalysisPlan, Source

_MATCH = "__match_probability"


@dataclass(frozen=True, slots=True)
class LinkedEffect(Result):
    """Effects among units linked with at least ``threshold``; ``left_out`` are the others.

    ``corrected`` runs parallel to ``estimates``. Without any unit the status is ``insufficient``.
    """

    threshold: float
    units: int
    left_out: int
    wrong: WrongLinks
    status: Status
    estimates: tuple[Estimate, ...] = ()
    corrected: tuple[Estimate, ...] = ()


def linked_effects(
    engine: Engine,
    source: Source,
    plan: AnalysisPlan,
    probability: str,
    base: Path,
    *,
    experiment: str,
    thresholds: Sequence[float] = THRESHOLDS,
) -> tuple[LinkedEffect, ...]:
    """The difference in every metric and arm, among units above each threshold.

    ``source`` has one row per unit, and its column ``probability`` how likely the row's outcome is
    the unit's own. Raises what :func:`measure.engine.units.open_source` does; :class:`DataError`
    for a probability that is missing or outside 0 to 1, :class:`InputError` for a threshold outside
    them and for a source with several rows per unit.
    """
    _refuse(source, thresholds)
    keys = Keys(source.arm, source.id, None)
    if source.table is not None:
        table, where = engine.table(source.table), f"table {source.table!r}"
        return _at_thresholds(
            engine, table, keys, plan, (probability, where), experiment, thresholds
        )
    with opened((base / str(source.path)).resolve()) as file, connect() as embedded:
        where = str(source.path)
        table = file_table(embedded, file, [*needed(keys, plan), probability])
        return _at_thresholds(
            embedded, table, keys, plan, (probability, where), experiment, thresholds
        )


def _refuse(source: Source, thresholds: Sequence[float]) -> None:
    for threshold in thresholds:
        if not 0 <= threshold <= 1:
            raise InputError.rule("threshold", threshold, "must lie between 0 and 1")
    for name in (CLUSTER, "period"):
        value = getattr(source, name, None)
        if value is not None:
            raise InputError.rule(f"source.{name}", value, "gives each unit several rows here")


def _at_thresholds(
    engine: Engine,
    table: Table,
    keys: Keys,
    plan: AnalysisPlan,
    named: tuple[str, str],
    experiment: str,
    thresholds: Sequence[float],
) -> tuple[LinkedEffect, ...]:
    from measure.engine.embedded import ROW

    probability, where = named
    if probability not in table.columns:
        raise UnknownName.of("column", probability, (n for n in table.columns if n != ROW), where)
    number = table[probability]
    if number.type().is_string():
        row = ROW if ROW in table.columns else None
        texts = {probability: probability}
        number = read_numbers(engine, table, texts, row, where)[probability]
    table = engine.materialize(table.mutate(**{_MATCH: number.cast("float64")}))
    total = _units(engine, table, probability, where)
    return tuple(
        _effect(engine, table, keys, plan, (where, experiment), threshold, total)
        for threshold in thresholds
    )


def _units(engine: Engine, table: Table, probability: str, where: str) -> int:
    """Rows of the table, none of which lacks a probability."""
    from measure.engine.expressions import ifelse

    p = table[_MATCH]
    good = ifelse(p.notnull() & (p >= 0) & (p <= 1), 1, 0)
    row = engine.fetch(table.aggregate(n=table.count(), good=good.sum())).to_pylist()[0]
    bad = int(row["n"]) - int(row["good"] or 0)
    if bad:
        raise DataError(
            f"{where}: column {probability!r} is missing or not between 0 and 1 in {bad:,} rows. "
            "Give each unit the probability that its outcome is its own; 1 where that is certain."
        )
    return int(row["n"])


def _effect(
    engine: Engine,
    table: Table,
    keys: Keys,
    plan: AnalysisPlan,
    named: tuple[str, str],
    threshold: float,
    total: int,
) -> LinkedEffect:
    where, experiment = named
    kept = table.filter(table[_MATCH] >= threshold)
    p = kept[_MATCH]
    with engine.in_order():
        sums = engine.fetch(
            kept.aggregate(n=kept.count(), doubt=(1 - p).sum(), spread=(p * (1 - p)).sum())
        ).to_pylist()[0]
    units = int(sums["n"])
    wrong = WrongLinks.of(units, float(sums["doubt"] or 0.0), float(sums["spread"] or 0.0))
    if not units:
        return LinkedEffect(threshold, 0, total, wrong, Status.INSUFFICIENT)
    simple = plan.model_copy(
        update={"estimators": ("difference",), "cohorts": (), "covariates": ()}
    )
    opened_units = unit_table(engine, kept, keys.arm, simple, id_column=keys.id, where=where)
    analysis = analyze(opened_units, simple, experiment=experiment)
    found = analysis.estimates
    return LinkedEffect(
        threshold,
        units,
        total - units,
        wrong,
        analysis.status,
        found,
        tuple(corrected(estimate, wrong) for estimate in found),
    )
