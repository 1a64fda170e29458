"""Every error a user can meet: one root, one subclass per cause, one readable line each.

A message names the thing, its value, the rule it broke and the way out; ``exit_code`` is what the
command line returns (2: the input was wrong, 1: anything else).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class TrueliftError(Exception):
    """Root of all errors raised on purpose."""

    exit_code = 1


class InputError(TrueliftError):
    """Something the user gave cannot be used: a file, a name, a value."""

    exit_code = 2

    @classmethod
    def rule(cls, name: str, value: object, rule: str, way_out: str = "") -> InputError:
        """Word a broken rule: ``holdout_share == 1.2, must be < 1``, then the way out."""
        return cls(_sentence(f"{name} == {value!r}, {rule}", way_out))


class MissingFile(InputError):
    """A file or folder that was named does not exist."""

    @classmethod
    def at(cls, path: Path | str, way_out: str = "") -> MissingFile:
        """Name the path, and what to do about it."""
        return cls(_sentence(f"{path}: no such file or folder", way_out))


class UnknownName(InputError):
    """A column, table, arm, metric, channel … that does not exist."""

    @classmethod
    def of(cls, kind: str, name: str, options: Iterable[str], where: str = "") -> UnknownName:
        """Say what was asked for, the nearest existing name, and what there is."""
        known = sorted(set(options))
        place = f" in {where}" if where else ""
        return cls(_sentence(f"{kind} {name!r} not found{place}", hint(name, known)))


class SpecError(InputError):
    """A YAML specification breaks a rule."""

    @classmethod
    def at(
        cls, path: Path | str, line: int | None, field: str, rule: str, way_out: str = ""
    ) -> SpecError:
        """Name file, line, field, rule and way out."""
        place = f"{path}, line {line}" if line else f"{path}"
        return cls(_sentence(f"{place}: {field}: {rule}", way_out))


class DataError(InputError):
    """A file or table was read, and what it holds cannot be used."""


class LifecycleError(InputError):
    """An experiment is asked for a step that its state does not allow."""


class AccessError(InputError):
    """Somebody asks for a step that their role, or a rule of the workspace, does not allow them."""


class EngineError(TrueliftError):
    """The data engine cannot be reached or cannot do what was asked."""


class ConservationError(TrueliftError):
    """Parts do not add up to their total; nothing computed from them may be shown."""

    @classmethod
    def of(cls, what: str, unit: str, parts: float, total: float) -> ConservationError:
        """Name both sums."""
        return cls(f"{what}: {unit} credited add up to {parts!r}, the total is {total!r}.")


class RegistryError(TrueliftError):
    """The registry cannot be read or written."""


def hint(name: str, known: Iterable[str], most: int = 8) -> str:
    """Ask "Did you mean …?", or list what there is (at most ``most`` names)."""
    options = sorted(set(known))
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if not near:
        folded = {option.casefold(): option for option in options}
        near = [folded[name.casefold()]] if name.casefold() in folded else []
    if near:
        return f"Did you mean {near[0]!r}?"
    if not options:
        return "There is none."
    shown = ", ".join(repr(option) for option in options[:most])
    more = f" and {len(options) - most} more" if len(options) > most else ""
    return f"There is {shown}{more}."


def _sentence(text: str, way_out: str) -> str:
    """Join message and way out on a single line."""
    joined = f"{text.rstrip('.')}. {way_out}".strip() if way_out else f"{text.rstrip('.')}."
    return " ".join(joined.split())
