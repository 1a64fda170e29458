"""How numbers are written: one place, so that a figure reads the same wherever it stands.

Rules: minus is U+2212; zero has no sign; what is not a finite number is an em dash; short money has
about three significant digits and never says ``€1000k``. Percentages of less than one keep two
significant digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeGuard

from measure.currency import minor_digits

MINUS = "−"
NONE = "—"
THIN = "\N{NARROW NO-BREAK SPACE}"

_SYMBOLS = {
    "EUR": "€",
    "USD": "$",
    "GBP": "£",
    "JPY": "¥",
    "INR": "₹",
    "KRW": "₩",
    "AUD": "A$",
    "CAD": "CA$",
    "NZD": "NZ$",
    "BRL": "R$",
}
_NOUNS = {"EUR": "euro", "USD": "dollar", "GBP": "pound", "JPY": "yen", "INR": "rupee"}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

Number = float | int | Decimal | None


def is_currency(unit: str | None) -> bool:
    """Whether a metric's unit is a currency code (three capital letters)."""
    return unit is not None and len(unit) == 3 and unit.isascii() and unit.isupper()


def symbol(currency: str) -> str:
    """``€`` for EUR; the code itself, set apart by a narrow space, where there is no own symbol."""
    return _SYMBOLS.get(currency, f"{currency}{THIN}")


def noun(currency: str) -> str:
    """Name one unit of a currency: ``euro``, ``dollar``, or the code."""
    return _NOUNS.get(currency, currency)


def nouns(currency: str) -> str:
    """Name many units of a currency: ``euro``, ``dollars``, or the code."""
    name = noun(currency)
    return f"{name}s" if name in {"dollar", "pound", "rupee"} else name


def major(minor: int | None, currency: str) -> Decimal | None:
    """Minor units as an exact amount of the currency: 161 EUR → 1.61."""
    return None if minor is None else Decimal(minor).scaleb(-minor_digits(currency))


def number(x: Number, decimals: int = 0, *, signed: bool = False) -> str:
    """A number with thousands separators and a fixed number of decimals."""
    return _written(x, decimals, signed=signed)


def count(n: int | None) -> str:
    """A whole number: 56,000."""
    return number(n)


def plain_count(x: Number) -> str:
    """A count that may be a fraction (credits): one decimal below 100, none above."""
    if not _finite(x):
        return NONE
    return number(x, 0 if abs(float(x)) >= 99.95 or float(x).is_integer() else 1)


def money(x: Number, currency: str, *, decimals: int | None = None, signed: bool = False) -> str:
    """An amount in major units to the last digit of the currency: €410,123.45."""
    places = minor_digits(currency) if decimals is None else decimals
    return _written(x, places, signed=signed, before=symbol(currency))


def money_short(x: Number, currency: str, *, signed: bool = False) -> str:
    """An amount in about three digits: €1.61, €25.40, €4,250, €25.4k, €410k, €1.2m, €3.0bn."""
    if not _finite(x):
        return NONE
    size = abs(float(x))
    small = minor_digits(currency)
    if size < 0.995 * 10.0**-small and size > 0 and small:
        return _written(x, _significant(size, 2), signed=signed, before=symbol(currency))
    steps = (
        (99.995, 1, small, ""),
        (9_999.5, 1, 0, ""),
        (99_950, 1e3, 1, "k"),
        (999_500, 1e3, 0, "k"),
        (99_950_000, 1e6, 1, "m"),
        (999_500_000, 1e6, 0, "m"),
        (math.inf, 1e9, 1, "bn"),
    )
    _, unit, places, suffix = next(step for step in steps if size < step[0])
    scaled = float(x) / unit
    return _written(scaled, places, signed=signed, before=symbol(currency), after=suffix)


def money_minor(minor: int | None, currency: str, *, signed: bool = False) -> str:
    """Minor units to the last digit: 41012345 EUR → €410,123.45."""
    return money(major(minor, currency), currency, signed=signed)


def short_minor(minor: int | None, currency: str, *, signed: bool = False) -> str:
    """Minor units in about three digits: 41012345 EUR → €410k."""
    return money_short(major(minor, currency), currency, signed=signed)


def percent(x: Number, *, signed: bool = False, decimals: int | None = None) -> str:
    """A share as a percentage: 96%, 4.2%, 0.42%, 0.0050%; one decimal below ten."""
    if not _finite(x):
        return NONE
    value = float(x) * 100
    size = abs(value)
    if decimals is None:
        if 0 < size < 0.995:
            decimals = min(_significant(size, 2), 8)
        else:
            decimals = 0 if size >= 9.95 or size == round(size) else 1
    return _written(value, decimals, signed=signed, after="%")


def probability(p: Number) -> str:
    """A chance in whole percent; near 0 and 1 one decimal, then a bound, never 0% or 100%."""
    if not _finite(p):
        return NONE
    value = min(max(float(p), 0.0), 1.0)
    if value > 0.999:
        return "more than 99.9%"
    if value < 0.001:
        return "less than 0.1%"
    return _written(value * 100, 1 if value >= 0.99 or value < 0.00995 else 0, after="%")


def points(x: Number, decimals: int = 1, *, signed: bool = True) -> str:
    """A difference of shares in percentage points, without its unit: 0.024 → +2.4."""
    return _written(None if not _finite(x) else float(x) * 100, decimals, signed=signed)


def p_value(p: Number) -> str:
    """A p-value in two digits, a bound beyond 0.001 and 0.999."""
    if not _finite(p):
        return NONE
    if p < 0.001:
        return "< 0.001"
    if p > 0.999:
        return "> 0.999"
    return number(p, 3 if p < 0.0995 or p >= 0.995 else 2)


def p_exact(p: Number) -> str:
    """A p-value for tables that are checked: 3.2e-10, and ``< 1e-300`` where floats end."""
    if not _finite(p):
        return NONE
    if p < 1e-300:
        return "< 1e-300"
    return f"{float(p):.1e}" if p < 0.001 else p_value(p)


def interval(low: Number, high: Number, write: Callable[[Number], str]) -> str:
    """Two bounds in words: −0.3 to +0.6; an em dash when there is no interval."""
    if low is None and high is None:
        return NONE
    return f"{write(low)} to {write(high)}"


def decimals_for(width: float | None, *, most: int = 6) -> int:
    """Decimals that show an interval of this width in about two digits."""
    if width is None or not math.isfinite(width) or width <= 0:
        return 2
    return min(max(math.ceil(0.85 - math.log10(width)), 0), most)


def day(when: date | None) -> str:
    """A date: 1 October 2025."""
    return NONE if when is None else f"{when.day} {_MONTHS[when.month - 1]} {when.year}"


def period(start: date | None, end: date | None) -> str:
    """A period without repeating what both dates share: 1 – 28 October 2025."""
    if start is None or end is None:
        return f"since {day(start)}" if start else f"until {day(end)}" if end else ""
    if start == end:
        return day(start)
    first = str(start.day)
    if (start.year, start.month) != (end.year, end.month):
        first += f" {_MONTHS[start.month - 1]}"
    if start.year != end.year:
        first += f" {start.year}"
    return f"{first} – {day(end)}"


@dataclass(frozen=True, slots=True)
class Scale:
    """How the values of one metric are written: money, percentage points, or plain numbers."""

    decimals: int
    currency: str | None = None
    points: bool = False
    unit: str = ""
    per_unit: bool = True
    """Whether a difference is one per unit; that of two quantiles is not."""

    def value(self, x: Number, *, signed: bool = True) -> str:
        """A difference with its sign: +2.4, −€0.10."""
        if self.points:
            return points(x, self.decimals, signed=signed)
        if self.currency is not None:
            return money(x, self.currency, decimals=self.decimals, signed=signed)
        return number(x, self.decimals, signed=signed)

    def interval(self, low: Number, high: Number) -> str:
        """Both bounds with their signs: −0.3 to +0.6."""
        return interval(low, high, self.value)

    @property
    def label(self) -> str:
        """What one unit is, for captions: ``percentage points``, ``EUR``, ``orders``."""
        return "percentage points" if self.points else self.currency or self.unit


def scale_for(
    kind: str, unit: str | None, bounds: tuple[tuple[float | None, float | None], ...]
) -> Scale:
    """The scale of a metric whose intervals are ``bounds`` (in the metric's own unit)."""
    share, per_unit = kind in ("proportion", "retention"), kind != "quantile"
    factor = 100.0 if share else 1.0
    widths = sorted(
        (high - low) * factor for low, high in bounds if low is not None and high is not None
    )
    places = decimals_for(widths[len(widths) // 2] if widths else None)
    if share:
        return Scale(max(places, 1), points=True)
    if unit is not None and is_currency(unit):
        digits = minor_digits(unit)
        return Scale(max(places, digits) if places else 0, currency=unit, per_unit=per_unit)
    return Scale(places, unit=unit or "", per_unit=per_unit)


def _finite(x: Number) -> TypeGuard[float | int | Decimal]:
    return x is not None and math.isfinite(x)


def _significant(size: float, digits: int) -> int:
    """Decimals that keep so many significant digits of a small number."""
    return digits - 1 - math.floor(math.log10(size))


def _written(
    x: Number, decimals: int, *, signed: bool = False, before: str = "", after: str = ""
) -> str:
    """Sign, then symbol, then digits; the sign is decided after rounding."""
    if not _finite(x):
        return NONE
    exact = x if isinstance(x, Decimal) else Decimal(str(x))
    digits = f"{abs(exact):,.{decimals}f}"
    zero = not digits.strip("0.,")
    sign = "" if zero else MINUS if exact < 0 else "+" if signed else ""
    return f"{sign}{before}{digits}{after}"
