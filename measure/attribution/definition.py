"""What exactly was computed.

Public packages give one channel 0 or 8,285 conversions on the same paths, both as "Markov". So a
definition travels with every result and prints itself in plain sentences.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from measure.errors import InputError, UnknownName
from measure.journeys.tables import BUCKETS

MODELS = ("first", "last", "linear", "time_decay", "markov", "shapley")
"""All models by name."""

DEFAULT_MODELS = ("first", "last", "linear", "time_decay", "markov")

SHARED_VALUE = "shared like conversions within a journey; for markov like its conversions"

_MEANING = {
    "first": "first: the first touch of a converting journey gets the whole conversion.",
    "last": "last: the last touch of a converting journey gets the whole conversion.",
    "linear": "linear: the touches of a converting journey share the conversion equally.",
    "shapley": (
        "shapley: the value of a set of channels is the number of conversions whose journeys used "
        "no channel outside it; this equals an equal split over the distinct channels of a journey."
    ),
}


@dataclass(frozen=True, slots=True)
class Definition:
    """Everything two analysts must agree on before they can compare attributed conversions."""

    models: tuple[str, ...] = DEFAULT_MODELS
    touch: str = "every step of a path"
    lookback_days: int | None = None
    tie_order: str = "the order in the path"
    journey: str = "a row of the path file, as often as it is counted there"
    order: int = 1
    removal: str = "redirect_to_null"
    null_paths: str = "included"
    self_loops: str = "kept"
    normalisation: str = "removal effects divided by their sum, times the total"
    half_life: float = 1.0
    half_life_unit: str = "steps"
    value: str = SHARED_VALUE
    replicates: int = 1000
    buckets: int = BUCKETS
    seed: int = 20080320
    ci_level: float = 0.95
    windows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse unknown models and numbers without meaning."""
        check_models(self.models)
        if not self.half_life > 0:
            raise InputError.rule("half_life", self.half_life, "must be > 0")
        if not 0.5 <= self.ci_level < 1:
            raise InputError.rule("ci_level", self.ci_level, "must be >= 0.5 and < 1")
        if self.replicates < 100:
            raise InputError.rule("replicates", self.replicates, "must be >= 100")
        if self.lookback_days is not None and self.lookback_days < 1:
            raise InputError.rule("lookback_days", self.lookback_days, "must be >= 1")

    def sentences(self) -> tuple[str, ...]:
        """The definition in plain sentences, for people."""
        window = (
            f" at most {self.lookback_days} days before the conversion"
            if self.lookback_days is not None
            else ""
        )
        if self.windows:
            window += f" ({'; '.join(self.windows)})"
        common = (
            f"A journey is {self.journey}; a touch is {self.touch}{window}; "
            f"touches are ordered by {self.tie_order}.",
        )
        models = tuple(self._sentence(model) for model in self.models)
        interval = (
            f"Value is {self.value}.",
            f"Intervals are {100 * self.ci_level:.4g} % percentile intervals of the credited "
            f"conversions over {self.replicates:,} multinomial reweights of {self.buckets} buckets "
            f"of whole journeys (seed {self.seed}); the total varies with them.",
            "Credits divide up the conversions that were observed. No model here says how many of "
            "them the channels caused; only a holdout does.",
        )
        return common + models + interval

    def _sentence(self, model: str) -> str:
        if model == "time_decay":
            every = f"{self.half_life:g} {self.half_life_unit}"
            if self.half_life == 1:
                every = self.half_life_unit.removesuffix("s")
            return (
                "time_decay: the touches share the conversion; a touch weighs half as much for "
                f"every {every} that it lies before the last touch."
            )
        if model == "markov":
            return (
                f"markov: chain of order {self.order}, self-loops {self.self_loops}, journeys "
                f"without conversion {self.null_paths}; removing a channel sends whoever reaches "
                f"it to the end without conversion ({self.removal}); {self.normalisation}."
            )
        return _MEANING[model]

    def to_mapping(self) -> dict[str, Any]:
        """Plain values under the field names, then ``sentences``."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        lists = {"models": list(self.models), "windows": list(self.windows)}
        return {**plain, **lists, "sentences": list(self.sentences())}


def check_models(models: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple; :class:`UnknownName` for one that does not exist."""
    if isinstance(models, str) or not models:
        raise InputError.rule("models", models, "must be a list of at least one model name")
    for model in models:
        if model not in MODELS:
            raise UnknownName.of("model", str(model), MODELS)
    repeated = sorted({model for model in models if list(models).count(model) > 1})
    if repeated:
        raise InputError.rule("models", list(models), f"names {repeated[0]!r} twice")
    return tuple(models)
