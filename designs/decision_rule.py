"""Decision rules fixed before the test: ``P(roi > 1) >= 0.8`` as frozen values.

Nothing here evaluates a rule; ``measure.value`` does, from the plain fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from measure.errors import InputError, UnknownName

QUANTITIES = ("roi", "iroas", "profit", "revenue", "lift")
"""What a rule may speak of. ``roi``: margin on incremental revenue over cost; ``iroas``:
incremental revenue over cost; ``profit`` and ``revenue``: incremental, in the cost's currency;
``lift``: relative effect on the primary metric (0.05 is +5 %)."""

NEEDS_COST = frozenset({"roi", "iroas", "profit"})
"""Quantities that cannot be computed before ``cost`` is known."""

_FORM = re.compile(
    r"\s*P\s*\(\s*(?P<quantity>[A-Za-z_]\w*)\s*(?P<inner>>=|<=|>|<|==|=)\s*(?P<above>[^\s()]+)\s*\)"
    r"\s*(?P<outer>>=|<=|>|<|==|=)\s*(?P<probability>\S+)\s*"
)
_EXAMPLE = 'Write it like "P(roi > 1) >= 0.8"'


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """The rule holds when the probability that ``quantity > above`` is at least ``probability``.

    With ``at_least=False`` it holds when that probability is at most ``probability``.
    """

    quantity: str
    above: float
    probability: float
    at_least: bool

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"P({self.quantity} > {self.above:g}) {sign} {self.probability:g}"

    def holds(self, probability: float) -> bool:
        """Whether the rule holds, given the probability that ``quantity > above``."""
        if self.at_least:
            return probability >= self.probability
        return probability <= self.probability


def parse_rule(text: str) -> DecisionRule:
    """Read a rule; :class:`InputError` names what does not fit and how to write it."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise InputError.rule("rule", text, "is not a decision rule", _EXAMPLE)
    if found["inner"] != ">":
        raise InputError.rule(
            "rule", text, f"compares {found['quantity']} by {found['inner']!r}, only '>'", _EXAMPLE
        )
    if found["outer"] not in {">=", "<="}:
        raise InputError.rule(
            "rule", text, f"compares the probability by {found['outer']!r}, not '>=' or '<='"
        )
    if found["quantity"] not in QUANTITIES:
        raise UnknownName.of("quantity", found["quantity"], QUANTITIES, f"rule {text!r}")
    probability = _number(text, found["probability"])
    if not 0 < probability < 1:
        raise InputError.rule(
            "probability", probability, "must lie between 0 and 1", f"Rule: {text}"
        )
    return DecisionRule(
        quantity=found["quantity"],
        above=_number(text, found["above"]),
        probability=probability,
        at_least=found["outer"] == ">=",
    )


def _number(rule: str, text: str) -> float:
    """Read a plain finite decimal; Python's own spellings (``1_000``, ``nan``) are refused."""
    if not re.fullmatch(r"[-+]?\d+(\.\d+)?([eE][-+]?\d{1,2})?", text, re.ASCII):
        raise InputError.rule("rule", rule, f"{text!r} is not a number", _EXAMPLE)
    return float(text)
