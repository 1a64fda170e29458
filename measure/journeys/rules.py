"""What a journey is, declared before any data is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from measure.engine.contracts import CONTRACTS
from measure.errors import InputError, UnknownName

TOUCH_KINDS = ("impression", "click", "send", "open")
"""Activations that count as touches; ``viewable`` repeats an impression, ``delivered`` a send."""


@dataclass(frozen=True, slots=True)
class JourneyRules:
    """What a journey is: window, touches, period (half-open, UTC; ``None`` is unbounded)."""

    lookback_days: int = 30
    kinds: tuple[str, ...] = TOUCH_KINDS
    start: datetime | None = None
    end: datetime | None = None
    currency: str | None = None

    def __post_init__(self) -> None:
        """Refuse windows and kinds that cannot be."""
        if self.lookback_days < 1:
            raise InputError.rule("lookback_days", self.lookback_days, "must be >= 1")
        known = CONTRACTS["activations"].column("kind").allowed
        for kind in self.kinds:
            if kind not in known:
                raise UnknownName.of("kind of activation", kind, known)
        if not self.kinds:
            raise InputError.rule("kinds", self.kinds, "must name at least one kind")
        if self.start and self.end and self.start >= self.end:
            raise InputError.rule("start", self.start.isoformat(), f"must be < {self.end}")
