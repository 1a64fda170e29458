"""What a programme costs and what a unit of revenue leaves, exact in minor units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal

from measure.currency import minor_digits
from measure.errors import InputError
from measure.results import Cohort


@dataclass(frozen=True, slots=True)
class Cost:
    """What is known about the cost of an arm, in one currency.

    ``spend`` is money paid, in integer minor units (media, as billed); ``per_unit`` and ``fixed``
    are in major units. The cost is the sum of what is given; ``None`` means unknown and is never
    taken for 0 unless another part is known. ``margin`` is the share of revenue left after the cost
    of goods. :class:`InputError` for anything negative, or a margin outside (0, 1].
    """

    currency: str
    spend: int | None = None
    per_unit: float | None = None
    fixed: float | None = None
    margin: float | None = None

    def __post_init__(self) -> None:
        for name in ("spend", "per_unit", "fixed"):
            number = getattr(self, name)
            if number is not None and not (math.isfinite(number) and number >= 0):
                raise InputError.rule(f"cost.{name}", number, "must be finite and not negative")
        if self.margin is not None and not 0 < self.margin <= 1:
            raise InputError.rule("cost.margin", self.margin, "must be above 0 and at most 1")

    def total(self, units: int) -> int | None:
        """Cost of treating ``units`` units in minor units, ``None`` when nothing is known."""
        if self.spend is None and self.per_unit is None and self.fixed is None:
            return None
        major = exact(self.per_unit or 0) * units + exact(self.fixed or 0)
        return (self.spend or 0) + to_minor(major, self.currency)

    def shares(self, units: Mapping[Cohort, int]) -> dict[Cohort, Cost]:
        """The cost divided among cohorts, ``spend`` and ``fixed`` in proportion to their units.

        The parts of ``spend`` are whole and add up to it exactly (largest remainders).
        """
        everybody = sum(units.values())
        spends = _divide(self.spend, list(units.values()))
        return {
            cohort: replace(
                self,
                spend=spend,
                fixed=None if self.fixed is None else self.fixed * n / max(everybody, 1),
            )
            for (cohort, n), spend in zip(units.items(), spends, strict=True)
        }


def exact(number: float) -> Decimal:
    """A float as the decimal that it prints as, so that 0.1 × 3 is 0.3."""
    return Decimal(repr(float(number)))


def to_minor(major: Decimal, currency: str) -> int:
    """Whole minor units; a half goes to the even neighbour."""
    return int(major.scaleb(minor_digits(currency)).to_integral_value(ROUND_HALF_EVEN))


def _divide(whole: int | None, weights: list[int]) -> list[int | None]:
    """Whole numbers in proportion to ``weights`` that add up to ``whole``."""
    if whole is None or not sum(weights):
        return [whole if whole is None else 0 for _ in weights]
    parts = [divmod(whole * weight, sum(weights)) for weight in weights]
    left = whole - sum(part for part, _ in parts)
    first = sorted(range(len(parts)), key=lambda i: (-parts[i][1], i))[:left]
    return [part + (i in first) for i, (part, _) in enumerate(parts)]
