"""Features: what was known of a person before a point in time, declared with owner and version.

A feature of a person at a time sees a row only if it happened strictly before that time and, where
the row says when it was received, was received no later. Expressions that compute features are in
:mod:`measure.people.feature_values`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from measure.declared import Frozen
from measure.errors import InputError, UnknownName

FeatureKind = Literal[
    "recency",
    "frequency",
    "gap",
    "decay",
    "change",
    "lifetime",
    "money",
    "session_depth",
    "device",
    "rfm",
]
Days = Annotated[float, Field(gt=0, le=36_500)]
Borders = tuple[float, ...]

_STATISTICS: Mapping[str, tuple[str, ...]] = {
    "gap": ("mean", "last"),
    "lifetime": ("frequency", "recency", "age"),
    "money": ("sum", "mean"),
    "session_depth": ("last", "mean", "most"),
    "device": ("last", "share"),
    "rfm": ("recency", "frequency", "money", "cell"),
}
"""Kinds that come in several forms, and the forms."""

_NEEDED = {
    "half_life_days": ("decay",),
    "currency": ("money", "rfm"),
    "statistic": tuple(_STATISTICS),
}
_ALLOWED = {
    "window_days": ("frequency", "gap", "change", "money", "device", "rfm"),
    "per_day": ("lifetime",),
    "gap_minutes": ("session_depth",),
    "device": ("device",),
    "scores": ("rfm",),
    "borders": ("rfm",),
}
_UNITS = {
    "recency": "days",
    "frequency": "actions",
    "gap": "days",
    "decay": "actions",
    "change": "doublings of the rate",
    "session_depth": "actions",
}


class Rows(Frozen):
    """Which rows are a person's actions; without names, channels or kinds all of the table."""

    table: Literal["events", "activations", "conversions"] = "events"
    names: tuple[str, ...] = ()
    """Names of events, or kinds of activations."""
    channels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _exist(self) -> Self:
        if self.table == "conversions" and (self.names or self.channels):
            raise ValueError("names and channels belong to rows of events or activations")
        return self


class RfmBorders(Frozen):
    """Borders between scores, ascending: with n of them, scores run from 1 to n + 1."""

    recency_days: Borders
    frequency: Borders
    money: Borders
    """In major units of the currency."""

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        for name in ("recency_days", "frequency", "money"):
            given: Borders = getattr(self, name)
            if not given or list(given) != sorted(set(given)):
                raise ValueError(f"{name}: must be at least one number, ascending")
            if len(given) > 8:
                raise ValueError(f"{name}: must be at most 8 numbers, for scores from 1 to 9")
        return self


class Feature(Frozen):
    """A number (or a word) about a person at a time, with who answers for it and which version.

    ``recency``: days since the last action. ``frequency``: number of actions. ``gap``: days
    between actions, ``mean`` or ``last``. ``decay``: each action counts 2^(-age / half-life).
    ``change``: log2 of the rate of the last ``window_days`` over the person's own rate before them,
    half an action added to both. ``lifetime``: repeat purchases (``frequency``), days from first to
    last (``recency``) and from first to now (``age``), as in Fader, Hardie and Lee 2005.
    ``money``: value of orders, gross. ``session_depth``: actions in the ``last`` session, on
    average, or in the deepest. ``device``: the ``last`` device, or the ``share`` of one.
    ``rfm``: scores from 1 (long ago, rare, little) upwards, by ``borders`` or by equal parts of the
    people asked about at the same time.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    version: Annotated[int, Field(ge=1)]
    owner: Annotated[str, Field(min_length=1, pattern=r"\S")]
    """Who answers for the definition."""
    description: str = ""
    kind: FeatureKind
    of: Rows = Rows()
    statistic: str | None = None
    window_days: Days | None = None
    """Only actions of so many times 24 hours before; ``None`` sees the whole past."""
    half_life_days: Days | None = None
    per_day: bool = False
    """``lifetime`` counts days (UTC) with an action instead of actions, and whole days."""
    gap_minutes: Annotated[float, Field(gt=0)] = 30.0
    """``session_depth``: a longer pause begins a new session."""
    device: str | None = None
    currency: str | None = None
    scores: Annotated[int, Field(ge=2, le=9)] = 5
    """``rfm`` without borders: number of equal parts."""
    borders: RfmBorders | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name in ("customer_id", "at"):
            raise ValueError(f"{self.name!r} is the name of a key column")
        for field, kinds in {**_NEEDED, **_ALLOWED}.items():
            if self._given(field) and self.kind not in kinds:
                raise ValueError(f"{field} belongs to a feature of kind {' or '.join(kinds)}")
            if field in _NEEDED and not self._given(field) and self.kind in kinds:
                raise ValueError(f"{field} is needed by a feature of kind {self.kind}")
        forms = _STATISTICS.get(self.kind, ())
        if self.statistic is not None and self.statistic not in forms:
            raise ValueError(f"statistic of a {self.kind} must be {' or '.join(forms)}")
        return self

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.kind == "change" and self.window_days is None:
            raise ValueError("window_days is needed by a feature of kind change")
        if (self.statistic == "share") != (self.device is not None):
            raise ValueError("device names the device of a share, and a share needs one")
        if self.kind in ("money", "rfm") and self.of.table != "conversions":
            raise ValueError(f"a feature of kind {self.kind} is of the table conversions")
        if self.kind == "device" and self.of.table != "events":
            raise ValueError("only events say the device")
        if self.borders is not None and self._given("scores"):
            raise ValueError("scores follows from borders; remove one of them")
        return self

    def _given(self, field: str) -> bool:
        return bool(getattr(self, field) != type(self).model_fields[field].default)

    @property
    def unit(self) -> str | None:
        """What one of it is; shares, scores and words have none."""
        if self.kind == "money":
            return self.currency
        if self.kind == "lifetime":
            counted = "repeat days" if self.per_day else "repeat actions"
            return counted if self.statistic == "frequency" else "days"
        return _UNITS.get(self.kind)

    @property
    def is_text(self) -> bool:
        """Whether its values are words: a device, an RFM cell."""
        return (self.kind, self.statistic) in (("device", "last"), ("rfm", "cell"))


class Features(Frozen):
    """A file of features; ``features:`` is a list."""

    features: tuple[Feature, ...]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        names = [feature.name for feature in self.features]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"{repeated[0]!r} stands there twice; one version is in force at once")
        return self

    @classmethod
    def declared(cls, values: Mapping[str, Any]) -> Self:
        """Check plain values, as read from YAML; :class:`InputError` says the first fault."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = "".join(
                f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]
            ).removeprefix(".")
            rule = fault["msg"].removeprefix("Value error, ")
            raise InputError(f"{place or 'features'}: {rule}.") from None

    def feature(self, name: str) -> Feature:
        """The feature of this name; :class:`UnknownName` has the nearest one."""
        found = {feature.name: feature for feature in self.features}
        if name not in found:
            raise UnknownName.of("feature", name, found)
        return found[name]

    def only(self, names: tuple[str, ...]) -> Features:
        """The features of these names, in this order."""
        return Features(features=tuple(self.feature(name) for name in names))

    def to_yaml(self) -> str:
        """Write what was declared as YAML; reading it gives an equal value with an equal hash."""
        import yaml

        plain = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
