"""Who is one person, as a workspace's tables say it, and what weak links between them do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure.errors import InputError
from measure.people.linkage import THRESHOLDS
from measure.results import SCHEMA_VERSION, Result

if TYPE_CHECKING:
    from console.workspace import Workspace
    from measure.engine.connection import Engine
    from measure.incrementality.linked import LinkedEffect
    from measure.people.identities import IdentityGraph


@dataclass(frozen=True, slots=True)
class Credited(Result):
    """Orders whose last click came over a link: their value, and what is expected to be wrong."""

    orders: int
    value: int
    expected_wrong: int
    currency: str


@dataclass(frozen=True, slots=True)
class AtThreshold(Result):
    """Persons when links of at least ``threshold`` join too."""

    threshold: float
    links: int
    expected_wrong_links: float
    persons: int
    conflicts: int
    credited: Credited | None


@dataclass(frozen=True, slots=True)
class Identities(Result):
    """Persons among customers: what joined them, what was refused, and what links would change."""

    customers: int
    persons: int
    largest: int
    merges: dict[str, int]
    """Merges by kind of identifier."""
    conflicts: dict[str, int]
    """Refused merges by the rule that forbids them."""
    shared: dict[str, int]
    """Identifiers that too many carry, by kind; they join nobody."""
    thresholds: tuple[AtThreshold, ...]

    def to_dict(self) -> dict[str, Any]:
        """The ``identities`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}


@dataclass(frozen=True, slots=True)
class LinkedEffects(Result):
    """Effects of an experiment whose outcomes were found over links."""

    experiment: str
    probability: str
    effects: tuple[LinkedEffect, ...]

    def to_dict(self) -> dict[str, Any]:
        """The ``identities SPEC.yaml`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}


def identities_of(workspace: Workspace) -> Identities:
    """Build the identity graph of a workspace's warehouse, without links and at each threshold."""
    from measure.people.identities import identity_graph

    with workspace.connect() as engine:
        graph = identity_graph(engine)
        found = graph.components
        sizes = found.persons["customers"].to_pylist()
        return Identities(
            customers=graph.customers,
            persons=graph.persons,
            largest=max(sizes, default=min(graph.customers, 1)),
            merges=_counted(found.merges["kind"].to_pylist()),
            conflicts=_counted(found.conflicts["rule"].to_pylist()),
            shared=_counted(graph.shared["kind"].to_pylist()),
            thresholds=_at_thresholds(engine, workspace.settings.currency),
        )


def linked_effects_of(path: Path, probability: str, thresholds: Sequence[float]) -> LinkedEffects:
    """Analyse a specification's source at thresholds of the match probability in a column."""
    from console.workspace import Workspace
    from designs.specification import load_experiment
    from measure.engine.connection import connect
    from measure.incrementality.linked import linked_effects

    experiment = load_experiment(path)
    if experiment.source is None:
        raise InputError(f"{path}: source: is missing, so there is no column of probabilities.")
    in_table = experiment.source.table is not None
    with Workspace.find(path.parent).connect() if in_table else connect() as engine:
        found = linked_effects(
            engine,
            experiment.source,
            experiment.analysis_plan(),
            probability,
            path.parent,
            experiment=experiment.key,
            thresholds=thresholds,
        )
    return LinkedEffects(experiment.key, probability, found)


def _counted(values: Sequence[str]) -> dict[str, int]:
    return {value: values.count(value) for value in sorted(set(values))}


def _at_thresholds(engine: Engine, currency: str) -> tuple[AtThreshold, ...]:
    from measure.people.identities import identity_graph

    if not engine.has("links"):
        return ()
    return tuple(
        _at_threshold(engine, identity_graph(engine, threshold=t), t, currency) for t in THRESHOLDS
    )


def _at_threshold(
    engine: Engine, graph: IdentityGraph, threshold: float, currency: str
) -> AtThreshold:
    sure = graph.links["probability"].to_pylist()
    return AtThreshold(
        threshold=threshold,
        links=len(sure),
        expected_wrong_links=float(sum(1 - p for p in sure)),
        persons=graph.persons,
        conflicts=len(graph.components.conflicts),
        credited=_credited(engine, threshold, currency),
    )


def _credited(engine: Engine, threshold: float, currency: str) -> Credited | None:
    """What last click credits over links this likely; ``None`` without clicks or orders."""
    from measure.reconcile import Settings
    from measure.reconcile.identities import credited_over_links
    from measure.reconcile.sources import Sources

    if not (engine.has("activations") and engine.has("conversions")):
        return None
    settings = Settings(currency=currency, link_least=threshold)
    rows = credited_over_links(Sources(engine, settings, None))
    total = rows.aggregate(orders=rows.count(), value=rows.money.sum(), wrong=rows.doubtful.sum())
    row = engine.fetch(total).to_pylist()[0]
    return Credited(int(row["orders"]), int(row["value"] or 0), int(row["wrong"] or 0), currency)
