"""Decision rules are read exactly, or refused."""

import pytest

from designs.decision_rule import QUANTITIES, DecisionRule, parse_rule
from measure.errors import InputError, UnknownName


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P(roi > 1) >= 0.8", DecisionRule("roi", 1.0, 0.8, at_least=True)),
        ("P( roi>1 )<=.2".replace(".2", "0.2"), DecisionRule("roi", 1.0, 0.2, at_least=False)),
        ("P(lift > -0.05) >= 0.975", DecisionRule("lift", -0.05, 0.975, at_least=True)),
        ("P(profit > 1e4) >= 0.5", DecisionRule("profit", 10_000.0, 0.5, at_least=True)),
    ],
)
def test_rules_are_read(text, expected):
    assert parse_rule(text) == expected
    assert parse_rule(str(expected)) == expected


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_quantity_can_be_named(quantity):
    assert parse_rule(f"P({quantity} > 0) >= 0.9").quantity == quantity


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a decision rule"),
        ("roi > 1", "is not a decision rule"),
        ("P(roi > 1)", "is not a decision rule"),
        ("P(roi > 1) >= 0.8 and P(lift > 0) >= 0.9", "is not a decision rule"),
        ("P(roi < 1) >= 0.8", "compares roi by '<'"),
        ("P(roi > 1) > 0.8", "compares the probability by '>'"),
        ("P(roi > 1) >= 80%", "'80%' is not a number"),
        ("P(roi > nan) >= 0.8", "'nan' is not a number"),
        ("P(roi > 1_000) >= 0.8", "'1_000' is not a number"),
        ("P(roi > 1) >= 80", "must lie between 0 and 1"),
        ("P(roi > 1) >= 0", "must lie between 0 and 1"),
        ("P(roi > 1) >= -0.2", "must lie between 0 and 1"),
    ],
)
def test_what_is_no_rule_is_refused(text, words):
    with pytest.raises(InputError) as caught:
        parse_rule(text)
    assert words in str(caught.value)


def test_an_unknown_quantity_has_a_nearest_name():
    with pytest.raises(UnknownName, match="Did you mean 'profit'"):
        parse_rule("P(profits > 0) >= 0.8")


@pytest.mark.parametrize(
    ("text", "probability", "holds"),
    [
        ("P(roi > 1) >= 0.8", 0.8, True),
        ("P(roi > 1) >= 0.8", 0.7999, False),
        ("P(roi > 1) <= 0.2", 0.2, True),
        ("P(roi > 1) <= 0.2", 0.21, False),
    ],
)
def test_a_rule_holds_on_its_boundary(text, probability, holds):
    assert parse_rule(text).holds(probability) is holds
