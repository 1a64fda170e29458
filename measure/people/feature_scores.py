"""RFM: recency, frequency and money of a person's orders as scores from 1 upwards."""

from __future__ import annotations

from collections.abc import Sequence

from measure.currency import minor_digits
from measure.engine.expressions import Table, Value, ifelse, literal, null, window
from measure.engine.spans import DAY
from measure.people.features import Feature


def with_scores(found: Table, features: Sequence[Feature]) -> Table:
    """Replace the sums of each RFM feature by its score, a whole number, or by its cell, a text.

    ``found`` has per feature its money (minor units) under its name, ``…__age`` (microseconds since
    the last order) and ``…__n`` (orders); people without an order have no score.
    """
    for feature in features:
        score = _by_borders if feature.borders else _by_parts
        scored = {
            "recency": score(found, feature, "recency", f"{feature.name}__age"),
            "frequency": score(found, feature, "frequency", f"{feature.name}__n"),
            "money": score(found, feature, "money", feature.name),
        }
        if feature.statistic == "cell":
            digits = [part.cast("string") for part in scored.values()]
            value = digits[0] + digits[1] + digits[2]
        else:
            value = scored[str(feature.statistic)]
        found = found.mutate(**{feature.name: value})
    return found


def _ordered(found: Table, feature: Feature) -> Value:
    return found[f"{feature.name}__n"] > 0


def _by_parts(found: Table, feature: Feature, part: str, column: str) -> Value:
    """1 + floor(scores × share of the people at the same time who score lower).

    People who are equal get the same score; a part may then be larger than its share.
    """
    has_orders = _ordered(found, feature)
    value = ifelse(has_orders, found[column], null("int64"))
    key = literal(0, type="int64") - value if part == "recency" else value
    # People without orders come first, so that they can be subtracted.
    first = ifelse(has_orders, 1, 0)
    ranking = window(group_by=[found.at], order_by=[first, key])
    everyone = window(group_by=[found.at])
    with_orders = first.sum().over(everyone)
    below = key.rank().over(ranking) - (found.at.count().over(everyone) - with_orders)
    score = (below * feature.scores) // with_orders.nullif(0) + 1
    return ifelse(has_orders, score.cast("int64"), null("int64"))


def _by_borders(found: Table, feature: Feature, part: str, column: str) -> Value:
    """1 + the number of borders that a person reached; for recency, that lie beyond the days."""
    if feature.borders is None:
        return null("int64")
    value = found[column]
    score = literal(1, type="int64")
    if part == "recency":
        for days in feature.borders.recency_days:
            score = score + ifelse(value < round(days * DAY), 1, 0)
    elif part == "frequency":
        for number in feature.borders.frequency:
            score = score + ifelse(value.cast("float64") >= number, 1, 0)
    else:
        per_major = 10 ** minor_digits(feature.currency or "")
        for amount in feature.borders.money:
            score = score + ifelse(value >= round(amount * per_major), 1, 0)
    return ifelse(_ordered(found, feature), score.cast("int64"), null("int64"))
