"""The causal graph of a specification: parsed, and refused where it contradicts itself.

An edge reads ``cause -> effect``; several names on either side are set apart by commas. Without
edges the graph is the usual assumption: every covariate causes the treatment and the metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from measure.errors import InputError, UnknownName
from measure.methods import Observational
from measure.plan import AnalysisPlan

if TYPE_CHECKING:
    import networkx as nx

WHERE = "plan.observational.graph"
HIDDEN = "(unmeasured cause)"
"""What makes instruments necessary, when no graph says it."""


@dataclass(frozen=True, slots=True)
class CausalGraph:
    """Edges (cause, effect) among columns, metrics and the treatment.

    ``given`` says whether the analyst drew it; ``measured`` are the columns that may be adjusted
    for or used as instruments.
    """

    edges: tuple[tuple[str, str], ...]
    treatment: str
    measured: tuple[str, ...]
    instruments: tuple[str, ...]
    given: bool

    def network(self) -> nx.DiGraph:
        """The graph as NetworkX has it; nodes and edges sorted."""
        import networkx as nx

        return nx.DiGraph(sorted(self.edges))

    def caused_by_treatment(self) -> frozenset[str]:
        """Everything that the treatment may change."""
        import networkx as nx

        return frozenset(nx.descendants(self.network(), self.treatment))

    def colliders(self, adjusted: tuple[str, ...]) -> tuple[str, ...]:
        """Measured columns with two causes or more, left out because adjusting opens a path."""
        network = self.network()
        left_out = set(self.measured) - set(adjusted) - set(self.instruments)
        return tuple(sorted(n for n in left_out if n in network and network.in_degree(n) > 1))


def read_graph(plan: AnalysisPlan, declared: Observational) -> CausalGraph:
    """The graph of a plan.

    Raises :class:`InputError` with the edge or name at fault: a name that is no column, a circle,
    a metric that the treatment does not reach, a covariate that comes after the treatment.
    """
    _refuse_names(plan, declared)
    edges = tuple(_parsed(declared.graph)) if declared.graph else tuple(_usual(plan, declared))
    named = {name for edge in edges for name in edge}
    measured = tuple(plan.covariates) + tuple(
        name for name in plan.cohorts if name in named and name not in plan.covariates
    )
    graph = CausalGraph(
        edges, declared.treatment, measured, declared.instruments, bool(declared.graph)
    )
    if graph.given:
        _refuse_unknown(named, plan, declared)
    _refuse_circles(graph)
    _refuse_unreached(graph, plan)
    _refuse_late(graph, plan)
    return graph


def _parsed(lines: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every cause with every effect of each line."""
    for line in lines:
        sides = [[name.strip() for name in side.split(",")] for side in line.split("->")]
        if len(sides) < 2 or not all(name for side in sides for name in side):
            rule = "must read cause -> effect"
            raise InputError.rule(WHERE, line, rule, "Set several names apart by commas.")
        for causes, effects in pairwise(sides):
            yield from ((cause, effect) for cause in causes for effect in effects)


def _usual(plan: AnalysisPlan, declared: Observational) -> Iterator[tuple[str, str]]:
    """Covariates cause treatment and metrics; instruments reach the metrics through treatment."""
    treatment, metrics = declared.treatment, [metric.name for metric in plan.metrics]
    confounders = [name for name in plan.covariates if name not in declared.instruments]
    for cause in confounders:
        yield from ((cause, effect) for effect in (*declared.instruments, treatment, *metrics))
    for instrument in declared.instruments:
        yield instrument, treatment
        yield HIDDEN, treatment
        yield from ((HIDDEN, metric) for metric in metrics)
    yield from ((treatment, metric) for metric in metrics)


def _refuse_names(plan: AnalysisPlan, declared: Observational) -> None:
    """Covariates and cohorts may not come after treatment, instruments must be read."""
    for name in (*plan.covariates, *plan.cohorts):
        if name in declared.measured_after:
            raise InputError.rule(
                "covariate" if name in plan.covariates else "cohort",
                name,
                "is measured after treatment (measured_after)",
                "Holding equal what the treatment changed hides or invents effects; remove it.",
            )
    for name in declared.instruments:
        if name not in plan.covariates:
            way_out = "List it there, so that it is read."
            rule = "must be one of the covariates"
            raise InputError.rule("plan.observational.instruments", name, rule, way_out)
    for metric in plan.metrics:
        if metric.kind not in ("mean", "proportion", "count"):
            rule = f"is a {metric.kind}; units that were not randomised are compared by means"
            raise InputError.rule("metric", metric.name, rule, "Use mean, proportion or count.")


def _refuse_unknown(named: set[str], plan: AnalysisPlan, declared: Observational) -> None:
    known = {declared.treatment, *plan.covariates, *plan.cohorts, *declared.unmeasured}
    known |= {metric.name for metric in plan.metrics}
    for name in sorted(named - known):
        raise UnknownName.of(
            "name", name, known, f"{WHERE} (a covariate, or listed under unmeasured?)"
        )
    for name in plan.covariates:
        if name not in named:
            rule = f"has no edge in {WHERE}"
            raise InputError.rule("covariate", name, rule, "Say what it causes, or remove it.")


def _refuse_circles(graph: CausalGraph) -> None:
    import networkx as nx

    try:
        circle = nx.find_cycle(graph.network())
    except nx.NetworkXNoCycle:
        return
    shown = " -> ".join([circle[0][0], *(effect for _, effect in circle)])
    raise InputError.rule(WHERE, shown, "runs in a circle", "Remove one of these edges.")


def _refuse_unreached(graph: CausalGraph, plan: AnalysisPlan) -> None:
    network = graph.network()
    reached = graph.caused_by_treatment() if graph.treatment in network else frozenset()
    for metric in plan.metrics:
        if metric.name not in reached:
            rule = f"is not reached from {graph.treatment!r} in {WHERE}, so there is no effect"
            way_out = "Add an edge, or name the treatment by plan.observational.treatment."
            raise InputError.rule("metric", metric.name, rule, way_out)


def _refuse_late(graph: CausalGraph, plan: AnalysisPlan) -> None:
    late = graph.caused_by_treatment()
    for name in (*plan.covariates, *plan.cohorts):
        if name in late:
            raise InputError.rule(
                "covariate" if name in plan.covariates else "cohort",
                name,
                f"comes after {graph.treatment!r} in {WHERE}",
                "Holding equal what the treatment changed hides or invents effects; remove it.",
            )
