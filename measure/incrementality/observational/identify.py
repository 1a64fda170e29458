"""From the graph to what must be held equal: backdoor through DoWhy, instruments by d-separation.

An instrument Z given covariates W satisfies the graphical criterion of Brito and Pearl (2002): in
the graph without the treatment's own arrows Z and the outcome are d-separated by W, and Z still
moves the treatment given W.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from measure.errors import InputError
from measure.incrementality.observational.border import ask_dowhy
from measure.incrementality.observational.graph import HIDDEN, WHERE, CausalGraph

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True)
class Identified:
    """How the effect on one metric can be had from what is measured.

    ``adjustment`` is ``None`` where no set of covariates closes all backdoor paths, ``given`` the
    covariates under which ``instruments`` are valid.
    """

    metric: str
    treatment: str
    adjustment: tuple[str, ...] | None
    instruments: tuple[str, ...]
    given: tuple[str, ...]

    @property
    def estimand(self) -> str:
        """The formula that is estimated, on one line."""
        y, t = self.metric, self.treatment
        parts = []
        if self.adjustment is not None:
            bar = "".join(f", {name}" for name in self.adjustment)
            formula = f"E[{y} | {t} = 1{bar}] − E[{y} | {t} = 0{bar}]"
            over = f" over {{{', '.join(self.adjustment)}}}" if self.adjustment else ""
            parts.append(f"the mean of {formula}{over}" if over else formula)
        if self.instruments:
            z = ", ".join(self.instruments)
            bar = "".join(f", {name}" for name in self.given)
            parts.append(f"the effect of {z} on {y} over its effect on {t}, given {{{bar[2:]}}}")
        return "; ".join(parts)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What must hold in the world and cannot be seen in the data."""
        found = []
        if self.adjustment is not None:
            held = ", ".join(self.adjustment) or "nothing"
            found.append(f"nothing but {held} moves both {self.treatment} and {self.metric}")
            found.append("units like the treated exist among the others, and the reverse")
        if self.instruments:
            z = ", ".join(self.instruments)
            found.append(f"{z} reaches {self.metric} through {self.treatment} only")
            found.append(f"{z} moves nobody's {self.treatment} the wrong way")
        return (*found, "no unit's treatment touches another unit's outcome")


def identify(graph: CausalGraph, metric: str) -> Identified:
    """Find adjustment and instruments for one metric.

    Raises :class:`InputError` when there is neither, or when a declared instrument is none.
    """
    adjustable = [name for name in graph.measured if name not in graph.instruments]
    answer = ask_dowhy(graph.edges, graph.treatment, metric, adjustable)
    adjustment = answer.backdoor
    if adjustment is not None:
        adjustment = _without_mere_causes_of_treatment(graph, metric, adjustment)
    given = _conditions(graph, metric, adjustable) if graph.instruments else ()
    if adjustment is None and not graph.instruments:
        raise _not_identified(graph, metric, answer.frontdoor)
    return Identified(metric, graph.treatment, adjustment, graph.instruments, given)


def _without_mere_causes_of_treatment(
    graph: CausalGraph, metric: str, adjustment: tuple[str, ...]
) -> tuple[str, ...]:
    """Leave out what moves the metric through treatment only: it costs precision for nothing."""
    import networkx as nx

    network = graph.network()
    network.remove_edges_from(list(network.out_edges(graph.treatment)))
    causes = nx.ancestors(network, metric)
    fewer = tuple(name for name in adjustment if name in causes)
    closed = nx.is_d_separator(network, {graph.treatment}, {metric}, set(fewer))
    return fewer if closed else adjustment


def _conditions(graph: CausalGraph, metric: str, adjustable: list[str]) -> tuple[str, ...]:
    """Covariates under which every declared instrument is valid."""
    import networkx as nx

    network = graph.network()
    cut = network.copy()
    cut.remove_edges_from(list(network.out_edges(graph.treatment)))
    causes = nx.ancestors(network, metric) | {metric}
    present = [name for name in adjustable if name in network]
    for held in (present, [name for name in present if name in causes], []):
        if all(_valid(network, cut, z, graph, metric, set(held)) for z in graph.instruments):
            return tuple(sorted(held))
    raise InputError.rule(
        "plan.observational.instruments",
        ", ".join(graph.instruments),
        f"must move {graph.treatment!r} and reach {metric!r} through it only, and the graph says "
        "otherwise",
        f"Correct {WHERE}, or remove the instrument.",
    )


def _valid(
    network: nx.DiGraph,
    cut: nx.DiGraph,
    instrument: str,
    graph: CausalGraph,
    metric: str,
    held: set[str],
) -> bool:
    import networkx as nx

    if instrument not in network:
        return False
    apart: bool = nx.is_d_separator(cut, {instrument}, {metric}, held)
    moves = not nx.is_d_separator(network, {instrument}, {graph.treatment}, held)
    return apart and moves


def _not_identified(
    graph: CausalGraph, metric: str, frontdoor: tuple[str, ...] | None
) -> InputError:
    import networkx as nx

    network = graph.network()
    shared = nx.ancestors(network, graph.treatment) & nx.ancestors(network, metric)
    hidden = sorted(shared - set(graph.measured) - {HIDDEN})
    way_out = f"Measure {', '.join(hidden)}, or name an instrument." if hidden else ""
    if frontdoor:
        way_out += f" The front door through {', '.join(frontdoor)} is not estimated here."
    return InputError.rule(
        WHERE,
        f"{graph.treatment} -> {metric}",
        "no set of measured covariates closes every other path between the two",
        way_out,
    )
