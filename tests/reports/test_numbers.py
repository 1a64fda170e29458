"""Written numbers; expected texts follow from the rules in the module's own documentation."""

import math
import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import numbers as n

ANY = st.floats(allow_nan=True, allow_infinity=True)
MONEY = st.floats(min_value=-1e12, max_value=1e12)
CURRENCIES = st.sampled_from(("EUR", "USD", "GBP", "JPY", "CHF", "KWD"))
FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "bn": 1e9}

WRITERS = (
    lambda x: n.money_short(x, "EUR"),
    lambda x: n.money_short(x, "EUR", signed=True),
    lambda x: n.money(x, "USD", signed=True),
    lambda x: n.number(x, 2, signed=True),
    lambda x: n.percent(x, signed=True),
    lambda x: n.points(x, 1),
    n.plain_count,
    n.probability,
    n.p_value,
)


@given(ANY)
def test_no_hyphen_and_no_minus_zero(x: float) -> None:
    for write in WRITERS:
        text = write(x)
        assert "-" not in text
        assert not re.search(r"[−+]\D*0(\.0+)?(?![\d.,])", text), text
        assert "nan" not in text
        assert "inf" not in text


@given(st.sampled_from((math.nan, math.inf, -math.inf, None)))
def test_what_is_no_number_is_a_dash(x: float | None) -> None:
    for write in WRITERS:
        assert write(x) == "—"
    assert n.count(None) == n.money_minor(None, "EUR") == n.day(None) == "—"


@given(MONEY, CURRENCIES)
def test_short_money_reads_back_within_its_last_digit(x: float, currency: str) -> None:
    text = n.money_short(x, currency)
    found = re.fullmatch(r"(−?)\D*?([\d,]+(?:\.\d+)?)(k|m|bn|)", text)
    assert found is not None, text
    value = float(found[2].replace(",", "")) * FACTORS[found[3]] * (-1 if found[1] else 1)
    places = len(found[2].partition(".")[2])
    assert abs(value - x) <= 0.5000001 * FACTORS[found[3]] * 10.0**-places


@given(MONEY)
def test_short_money_never_says_a_thousand_k(x: float) -> None:
    text = n.money_short(x, "EUR")
    assert "1,000k" not in text
    assert "1000k" not in text
    assert "1,000m" not in text


@given(MONEY, MONEY)
def test_short_money_keeps_the_order(a: float, b: float) -> None:
    low, high = sorted((a, b))
    if n.money_short(low, "EUR") != n.money_short(high, "EUR"):
        assert low < high


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (410_000, "€410k"),
        (1.61, "€1.61"),
        (-498_000, "−€498k"),
        (1_240_000, "€1.2m"),
        (999_999, "€1.0m"),
        (999_499, "€999k"),
        (4_250, "€4,250"),
        (9_999.7, "€10.0k"),
        (25_400, "€25.4k"),
        (0.0042, "€0.0042"),
        (-0.004, "−€0.0040"),
        (0, "€0.00"),
        (3.2e9, "€3.2bn"),
        (99.999, "€100"),
    ],
)
def test_short_money(x: float, text: str) -> None:
    assert n.money_short(x, "EUR") == text


def test_currencies_have_their_own_minor_units_and_symbols() -> None:
    assert n.money_minor(41_012_345, "EUR") == "€410,123.45"
    assert n.money_minor(-1, "USD") == "−$0.01"
    assert n.money_minor(1_234, "JPY") == "¥1,234"
    assert n.money_minor(1_234, "KWD") == "KWD\N{NARROW NO-BREAK SPACE}1.234"
    assert n.money_short(5, "CHF") == "CHF\N{NARROW NO-BREAK SPACE}5.00"
    assert n.noun("EUR") == "euro"
    assert n.noun("CHF") == "CHF"


@pytest.mark.parametrize(("currency", "minor"), [("EUR", 100), ("JPY", 1), ("KWD", 1000)])
def test_minor_units_follow_the_currency(currency: str, minor: int) -> None:
    # Source: ISO 4217, table A.1.
    assert n.major(minor, currency) == 1


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.96, "96%"),
        (0.042, "4.2%"),
        (0.0042, "0.42%"),
        (0.00005, "0.0050%"),
        (0, "0%"),
        (1.18, "118%"),
        (-0.031, "−3.1%"),
        (0.0999, "10%"),
    ],
)
def test_percent(x: float, text: str) -> None:
    assert n.percent(x) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.96, "96%"),
        (0.995, "99.5%"),
        (1, "more than 99.9%"),
        (0, "less than 0.1%"),
        (0.009, "0.9%"),
        (0.0024, "0.2%"),
        (0.5, "50%"),
    ],
)
def test_probability(p: float, text: str) -> None:
    assert n.probability(p) == text


@given(st.floats(min_value=0, max_value=1))
def test_a_chance_is_never_said_to_be_certain(p: float) -> None:
    assert n.probability(p) not in {"0%", "100%", "0.0%", "100.0%"}


def test_p_values() -> None:
    assert n.p_value(0.0456) == "0.046"
    assert n.p_value(0.31) == "0.31"
    assert n.p_value(0.0009) == "< 0.001"
    assert n.p_value(0.9962) == "0.996"
    assert n.p_value(1) == "> 0.999"
    assert n.p_exact(1e-12) == "1.0e-12"
    assert n.p_exact(0) == "< 1e-300"


def test_intervals_carry_signs_and_u2212() -> None:
    scale = n.Scale(1, points=True)
    assert scale.interval(-0.003, 0.006) == "−0.3 to +0.6"
    assert scale.interval(0.0, 0.018) == "0.0 to +1.8"
    assert scale.interval(None, None) == "—"
    assert n.Scale(2, currency="EUR").interval(-0.1, 0.43) == "−€0.10 to +€0.43"


@pytest.mark.parametrize(
    ("width", "decimals"), [(2.6, 1), (0.51, 2), (0.098, 2), (71, 0), (0.0046, 4), (0, 2)]
)
def test_an_interval_shows_about_two_digits(width: float, decimals: int) -> None:
    assert n.decimals_for(width) == decimals


def test_dates_and_periods() -> None:
    first, last = date(2025, 10, 1), date(2025, 10, 28)
    assert n.period(first, last) == "1 – 28 October 2025"
    assert n.period(date(2025, 9, 28), last) == "28 September – 28 October 2025"
    assert n.period(date(2024, 12, 30), date(2025, 1, 2)) == "30 December 2024 – 2 January 2025"
    assert n.period(first, None) == "since 1 October 2025"
    assert n.period(None, None) == ""
    assert n.day(first) == "1 October 2025"
