"""The vocabulary of all pages: names made safe, counts with nouns, words for states."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from measure.results import Outcome, Status
from reports.numbers import count

LADDER = (
    (0.99, "almost certainly"),
    (0.95, "very probably"),
    (0.80, "probably"),
    (0.60, "more likely than not"),
)
_STATUS = {
    Status.OK: "ok",
    Status.INSUFFICIENT: "too few units",
    Status.DEGENERATE: "does not vary",
    Status.INVALID: "not valid",
    Status.NOT_CONVERGED: "did not converge",
}
_OUTCOME = {
    Outcome.PASSED: "passed",
    Outcome.FLAGGED: "flagged",
    Outcome.NOT_APPLICABLE: "not applicable",
    Outcome.FAILED: "could not run",
}
_METHODS = {
    "difference": "Difference",
    "cuped": "Difference adjusted for covariates (CUPED)",
    "cuped_by_arm": "Difference adjusted for covariates in each arm (Lin)",
    "post_stratification": "Difference averaged over strata",
    "hierarchical_bayes": "Partial pooling (hierarchical Bayes)",
    "double_ml": "Double machine learning",
    "double_ml_partialling_out": "Double machine learning (partialling-out)",
    "double_ml_lightgbm": "Double machine learning (boosted trees)",
    "doubly_robust": "Doubly robust learner",
    "causal_forest": "Causal forest",
    "complier_effect": "Effect on those reached",
    "complier_effect_by_cohort": "Effect on those reached, by cohort",
    "regression": "Regression adjustment",
    "weighting": "Propensity weighting",
    "two_stage_least_squares": "Two-stage least squares",
    "doubly_robust_instrument": "Doubly robust learner with an instrument",
}
_SHORT_METHODS = _METHODS | {
    "cuped": "CUPED",
    "cuped_by_arm": "CUPED by arm",
    "post_stratification": "Post-stratification",
    "hierarchical_bayes": "Hierarchical Bayes",
    "double_ml": "Double ML",
    "double_ml_partialling_out": "Double ML, partialling-out",
    "double_ml_lightgbm": "Double ML, boosted trees",
    "doubly_robust": "Doubly robust",
}
_MULTIPLICITY = {
    "benjamini-hochberg": "Benjamini–Hochberg",
    "benjamini-yekutieli": "Benjamini–Yekutieli",
    "holm": "Holm",
    "hochberg": "Hochberg",
    "hierarchical": "cohorts only where everybody's effect stands (hierarchical)",
    "none": "no correction",
}


def clean(text: str, limit: int = 120) -> str:
    """A user's name on one line: no control or direction characters, at most ``limit`` long."""
    visible = "".join(_visible(character) for character in " ".join(text.split()))
    return visible if len(visible) <= limit else visible[: limit - 1].rstrip() + "…"


def plain_name(name: str) -> str:
    """A technical name as words: ``net_revenue`` → net revenue."""
    return clean(name.replace("_", " "), 80)


def method(estimator: str) -> str:
    """An estimator's name for readers."""
    return _METHODS.get(estimator, plain_name(estimator))


def method_short(estimator: str) -> str:
    """An estimator's name for a narrow column."""
    return _SHORT_METHODS.get(estimator, plain_name(estimator))


def inline(words: str) -> str:
    """A name inside a sentence: its first letter small, unless it is an abbreviation."""
    return words if words[1:2].isupper() else words[:1].lower() + words[1:]


def correction(multiplicity: str) -> str:
    """A multiplicity correction's name for readers."""
    return _MULTIPLICITY.get(multiplicity, plain_name(multiplicity))


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence: a, b and c; beyond ``most``, the rest is counted."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{count(len(names) - most)} more")
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def plural(n: int, singular: str, many: str = "") -> str:
    """A count with its noun: 1 cohort, 5 cohorts."""
    return f"{count(n)} {singular if n == 1 else many or singular + 's'}"


def verdict(p: float) -> str:
    """The fixed words for the probability that something is so: 0.96 → very probably."""
    for bound, words in LADDER:
        if p >= bound:
            return words
    if p > 1 - LADDER[-1][0]:
        return "as likely as not"
    words = next(words for bound, words in LADDER if 1 - p >= bound)
    return f"{words} not"


def status_word(status: Status) -> str:
    """What stands in a cell that may not hold a number."""
    return _STATUS[status]


def outcome_word(outcome: Outcome) -> str:
    """A check's outcome for readers."""
    return _OUTCOME[outcome]


def sentence(text: str) -> str:
    """A text with a full stop."""
    return text if not text or text.endswith((".", "!", "?", "…")) else f"{text}."


def _visible(character: str) -> str:
    """Stand in for what would act on the page instead of showing."""
    category = unicodedata.category(character)
    bidi = unicodedata.bidirectional(character) in {
        *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
    }
    return "\N{REPLACEMENT CHARACTER}" if category in {"Cc", "Cs"} or bidi else character
