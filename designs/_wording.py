"""What pydantic finds, in words an analyst can act on: the rule that was broken and the way out."""

from __future__ import annotations

import re
from typing import Any

from designs._unions import UNION
from measure.errors import hint

_FIELDS = ("must be fields with values (name: value)", "")
_LIST = ("must be a list", "Write [a, b].")
_NUMBER = ("must be a number", "")
_WHOLE = ("must be a whole number", "")
_SWITCH = ("must be true or false", "")
_TIME = ("must be a date or time", "Write 2026-03-29 or 2026-03-29T08:00:00Z.")
_TEXT = ("must be text", "Put it in quotes if it reads like true, false or null.")
_SOME = ("must not be empty", "")

_RULES = {
    "dict_type": _FIELDS,
    "model_type": _FIELDS,
    "tuple_type": _LIST,
    "string_type": _TEXT,
    "string_too_short": _SOME,
    "too_short": _SOME,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": ("must be a finite number", ""),
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": ("must say its time zone", "End it in Z or in an offset like +02:00."),
}
_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", "≥"),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "≤"),
}


def worded(error: Any) -> tuple[str, str]:
    """Rule and way out for one finding (an item of ``ValidationError.errors()``)."""
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind in _RULES:
        rule, way_out = _RULES[kind]
        return (rule if isinstance(given, dict | list) else f"{_shown(given)} {rule}"), way_out
    if kind in _BOUNDS:
        name, sign = _BOUNDS[kind]
        return f"{_shown(given, plain=True)} must be {sign} {context[name]:g}", ""
    if kind in {"literal_error", UNION}:
        return _unsupported(given, context.get("allowed") or _options(context["expected"]))
    if kind == "value_error":
        rule, _, way_out = str(error["msg"]).removeprefix("Value error, ").partition(". ")
        return rule, way_out
    if kind == "missing":
        return "is required", "Add it."
    return _rare(kind, given, error)


def _rare(kind: str, given: object, error: Any) -> tuple[str, str]:
    if kind == "string_pattern_mismatch" and error["ctx"]["pattern"] == "^[A-Z]{3}$":
        return f"{_shown(given)} must be a currency code of three capital letters", "Write EUR."
    if kind in {"string_too_long", "too_long"}:
        return f"must have at most {error['ctx']['max_length']} characters", ""
    return f"{_shown(given)}: {error['msg']}", ""


def _options(expected: str) -> list[str]:
    """The values of a choice as YAML writes them, from ``False, 'a' or 'b'``."""
    found = re.findall(r"'([^']*)'|\b(True|False|None)\b", expected)
    words = {"True": "true", "False": "false", "None": "null"}
    return [quoted or words[plain] for quoted, plain in found]


def _unsupported(given: object, options: list[str]) -> tuple[str, str]:
    rule = f"{_shown(given)} is not supported"
    if len(options) == 1:
        return rule, f"Write {options[0]}."
    near = hint(str(given), options)
    plain = {"true", "false", "null"}.isdisjoint(options) and " " not in "".join(options)
    if plain or near.startswith("Did you mean"):
        return rule, near
    return rule, f"Write {', '.join(options[:-1])} or {options[-1]}."


def _shown(given: object, *, plain: bool = False) -> str:
    """A value as YAML would write it, cut to a readable length."""
    if given is None or isinstance(given, bool):
        return {None: "null", True: "true", False: "false"}[given]
    return str(given)[:60] if plain else repr(given)[:60]
