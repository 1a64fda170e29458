"""DoWhy, at arm's length: plain names in, plain names out.

What DoWhy 0.14 does otherwise than one would expect is dealt with here and nowhere else:

- its default search for an adjustment set is exponential (30 covariates: 12 s; the maximal set of
  the same graph: 10 ms), so the maximal set is asked for;
- its answer lists variables in the order of hashes, so names are sorted before anybody sees them;
- it offers unmeasured variables as instruments and knows no instrument that needs covariates, so
  instruments are judged by ``identify.py``;
- its refuters answer wrongly on propensity weighting, and its estimators write into the caller's
  frame, so estimating and refuting are done without it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """Sets of variables that identify an effect; ``None`` where there is no such set."""

    backdoor: tuple[str, ...] | None
    frontdoor: tuple[str, ...] | None


def ask_dowhy(
    edges: Iterable[tuple[str, str]], treatment: str, outcome: str, measured: Collection[str]
) -> Answer:
    """Identify the average effect of treatment on outcome from what is measured."""
    import networkx as nx
    from dowhy.causal_identifier import (
        BackdoorAdjustment,
        EstimandType,
        identify_effect_auto,
    )

    found = identify_effect_auto(
        nx.DiGraph(sorted(edges)),
        [treatment],
        [outcome],
        sorted({*measured, treatment, outcome}),
        EstimandType.NONPARAMETRIC_ATE,
        backdoor_adjustment=BackdoorAdjustment.BACKDOOR_MAX,
    )
    known = found.estimands
    backdoor = found.get_backdoor_variables() if known.get("backdoor") else None
    frontdoor = found.frontdoor_variables if known.get("frontdoor") else None
    return Answer(
        None if backdoor is None else tuple(sorted(backdoor)),
        None if not frontdoor else tuple(sorted(frontdoor)),
    )
