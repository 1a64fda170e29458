"""Sentences of the reconciliation, attribution and score pages, and of the list of experiments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from measure.results import Check, Outcome
from reports.numbers import count, percent, plain_count, short_minor
from reports.words import clean, listed, plain_name, plural, sentence

_MODELS = {
    "first": "First touch",
    "last": "Last touch",
    "last_non_direct": "Last non-direct",
    "linear": "Linear",
    "position": "Position-based",
    "time_decay": "Time decay",
    "markov": "Markov",
    "shapley": "Shapley",
}
_HIDDEN = frozenset({"sentences", "refused", "seed", "buckets", "replicates"})

NO_MODEL_KNOWS = (
    "No rule and no Markov or Shapley model recovers what a channel caused: they divide up the "
    "conversions that were observed, including those that would have happened anyway."
)


def model_name(model: str) -> str:
    """An attribution model's name for readers."""
    return _MODELS.get(model, plain_name(model))


def portfolio_headline(verdicts: Sequence[str]) -> str:
    """Count what is to be done: 3 experiments: 1 to scale, 1 to hold, 1 without a decision."""
    words = {"scale": "to scale", "hold": "to hold", "stop": "to stop"}
    found = Counter(words.get(v, "without a decision") for v in verdicts)
    order = (*words.values(), "without a decision")
    parts = [f"{count(found[word])} {word}" for word in order if found[word]]
    if not verdicts:
        return "No experiment has been analysed yet"
    return f"{plural(len(verdicts), 'experiment')}: {', '.join(parts)}"


def claims_headline(claimed: int | None, survived: int | None, currency: str) -> str:
    """Say what platforms claimed and what survives."""
    if claimed is None or survived is None:
        return "There are no claims to hold against the orders"
    first = f"Platforms claimed {short_minor(claimed, currency)}"
    if claimed == 0:
        return "Platforms claimed no revenue in this period"
    if survived == claimed:
        return f"{first}, and all of it survives reconciliation"
    return f"{first}; {short_minor(survived, currency)} survives reconciliation"


def claims_deck(
    claimed: int | None,
    survived: int | None,
    incremental: int | None,
    currency: str,
    tested: int | None = None,
) -> tuple[str, ...]:
    """Put the over-claim in words, and what the experiment leaves of it (of what was tested)."""
    if not claimed or survived is None:
        return ()
    lost = claimed - survived
    texts = []
    if lost > 0:
        of = percent(lost / claimed)
        texts.append(f"{short_minor(lost, currency)}, {of} of the claims, does not hold up.")
    if incremental is not None:
        said = f"The experiment says that {short_minor(incremental, currency)} was caused"
        base = survived if tested is None else tested
        what = "survives" if tested is None else "survives and was under test"
        if incremental > base:
            texts.append(f"{said}, more than what {what}: part of it no platform claimed.")
        else:
            texts.append(f"{said}: {percent(incremental / base)} of what {what}." if base else said)
    return tuple(texts)


def checks_sentence(checks: Sequence[Check]) -> str:
    """Say which checks did not run, for what was not looked at is not clean."""
    silent = [c for c in checks if c.outcome in {Outcome.NOT_APPLICABLE, Outcome.FAILED}]
    if not silent:
        return ""
    codes = listed([clean(check.code, 20) for check in silent], 20)
    verb = "has" if len(silent) == 1 else "have"
    return f"{codes} {verb} not been examined; that is not the same as clean."


def credit_headline(
    channel: str, low: float, high: float, models: int, total: float, what: str = "conversions"
) -> str:
    """Say how far the models disagree on the channel they disagree on most."""
    name = plain_name(channel)
    name = name[:1].upper() + name[1:]
    if models < 2:
        return f"{name} gets {percent(high)} of {plain_count(total)} {what}"
    if percent(low) == percent(high):
        return f"All {count(models)} models agree on {plain_count(total)} {what}"
    return (
        f"{name} gets {percent(low)} or {percent(high)} of {plain_count(total)} "
        f"{what}, depending on the model"
    )


def incremental_sentence(
    name: str, conversions: float, low: float | None, high: float | None, level: float, total: float
) -> str:
    """Say what the experiment found of the conversions the models divide."""
    bounds = ""
    if low is not None and high is not None:
        bounds = f" ({percent(level)} interval {plain_count(low)} to {plain_count(high)})"
    share = (
        f", {percent(conversions / total)} of the {plain_count(total)} credited" if total else ""
    )
    found = f"{plain_count(conversions)} conversions{bounds}{share}"
    return f"The experiment {clean(name, 60)} says that the campaign caused {found}."


def definition_sentences(definition: Mapping[str, Any]) -> tuple[str, ...]:
    """The definition in the words it brings along, else name by name."""
    own = definition.get("sentences")
    if isinstance(own, list | tuple) and own:
        return tuple(sentence(clean(str(text), 700)) for text in own)
    return tuple(
        sentence(f"{plain_name(str(name)).capitalize()}: {clean(str(value), 300)}")
        for name, value in definition.items()
        if name not in _HIDDEN and value not in (None, "", [], {})
    )


def score_headline(
    score: str, top: float | None, overall: float | None, text: str, *, separates: bool | None
) -> str:
    """Say whether a score finds the units that the treatment moves."""
    name = f"the score {clean(score, 60)}"
    if separates is None or top is None:
        return f"Whether {name} finds the right people cannot be said yet"
    if not separates:
        return f"Whether {name} finds the right people is still open: {text}"
    better = overall is None or top > overall
    return f"T{name[1:]} {'finds' if better else 'misses'} the people who react: {text}"
