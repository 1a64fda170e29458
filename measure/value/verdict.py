"""The verdict of a rule written down before the test, given a posterior."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Verdict(StrEnum):
    """What the registered rule says to do."""

    SCALE = "scale"
    """Spend more: the rule for scaling holds."""
    HOLD = "hold"
    """Neither rule holds, or what they speak of cannot be measured; the reason says which."""
    STOP = "stop"
    """Spend nothing: the rule for stopping holds."""


class Rule(Protocol):
    """A rule such as ``P(roi > 1) >= 0.8``, as its plain fields.

    It holds when P(``quantity`` > ``above``) is at least ``probability``, or with
    ``at_least == False`` at most. Quantities are ``roi``, ``iroas``, ``profit``, ``revenue`` (the
    last two in major units of the cost's currency) and ``lift`` (0.05 is +5 %).
    """

    @property
    def quantity(self) -> str:
        """What the rule speaks of."""

    @property
    def above(self) -> float:
        """The threshold that it must exceed."""

    @property
    def probability(self) -> float:
        """How sure one must be."""

    @property
    def at_least(self) -> bool:
        """Whether ``probability`` is a lower bound."""


def decide(
    scale_if: Rule | None,
    stop_if: Rule | None,
    scale_probability: float | None,
    stop_probability: float | None,
) -> tuple[Verdict, str]:
    """The verdict and its reason in one sentence.

    The probabilities are P(quantity > above) of each rule, ``None`` where that cannot be known; an
    unknown probability never satisfies a rule.
    """
    if scale_if is None and stop_if is None:
        return Verdict.HOLD, "No rule was registered."
    unknown = next(
        (
            rule.quantity
            for rule, chance in ((scale_if, scale_probability), (stop_if, stop_probability))
            if rule is not None and chance is None
        ),
        None,
    )
    if unknown is not None:
        return Verdict.HOLD, f"The rule speaks of {unknown}, which is not known."
    scale, stop = _holds(scale_if, scale_probability), _holds(stop_if, stop_probability)
    if scale and stop:
        return Verdict.HOLD, "The rules for scaling and stopping both hold: they contradict."
    if scale:
        return Verdict.SCALE, _sentence(scale_if, scale_probability)
    if stop:
        return Verdict.STOP, _sentence(stop_if, stop_probability)
    shown = (scale_if, scale_probability) if scale_if is not None else (stop_if, stop_probability)
    return Verdict.HOLD, f"No rule holds: {_sentence(*shown)}"


def _holds(rule: Rule | None, chance: float | None) -> bool:
    if rule is None or chance is None:
        return False
    return chance >= rule.probability if rule.at_least else chance <= rule.probability


def _sentence(rule: Rule | None, chance: float | None) -> str:
    if rule is None or chance is None:
        return ""
    bound = "at least" if rule.at_least else "at most"
    asked = f"the rule asks for {bound} {rule.probability:g}"
    return f"P({rule.quantity} > {rule.above:g}) is {_shown(chance, rule)}; {asked}."


def _shown(chance: float, rule: Rule) -> str:
    """Two decimals, more where rounding would seem to contradict the verdict."""
    for digits in range(2, 16):
        shown = round(chance, digits)
        same_side = (shown >= rule.probability) == (chance >= rule.probability)
        extreme = shown in {0.0, 1.0} and shown != chance
        if same_side and not extreme:
            return f"{chance:.{digits}f}"
        if extreme and digits >= 4:
            break
    return "below 0.0001" if chance < 0.5 else "above 0.9999"
