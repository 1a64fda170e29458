"""A check by its code and title, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from measure.results import Check, Outcome, Severity


@dataclass(frozen=True, slots=True)
class CheckKind:
    """A check as it is declared; ``name`` is that of the catalogue, where it is not the title."""

    code: str
    title: str
    name: str = ""

    @property
    def anchor(self) -> str:
        """Its heading in ``docs/checks.md``."""
        return f"{self.code}-{self.name or self.title}".lower().replace(" ", "-")

    def found(
        self,
        outcome: Outcome,
        message: str,
        severity: Severity = Severity.WARNING,
        p_value: float | None = None,
        evidence: tuple[Mapping[str, Any], ...] = (),
        rows: int | None = None,
    ) -> Check:
        """What the check found."""
        return Check(
            code=self.code,
            title=self.title,
            outcome=outcome,
            message=message,
            severity=severity,
            rows=rows,
            p_value=p_value,
            anchor=self.anchor,
            evidence=evidence,
        )
