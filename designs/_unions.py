"""Faults of a field that may be written in several ways, as one finding in the file's own words.

Where a field takes ``false`` or a group of fields, the validator reports a fault for each way and
puts the way's name into the place: ``plan.sequential.literal[False]``. Nobody wrote that name.
Here the way that was meant is picked by the shape of what was written; when it has none of their
shapes, one finding says what is allowed.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ValidationError

UNION = "union"
"""Type of the finding that says what a field may be; ``ctx`` holds ``allowed``."""

type Finding = dict[str, Any]


@dataclass(slots=True)
class _Choice:
    """A field with several ways to be written: where, which ways, and the faults of each."""

    owner: type[BaseModel] | None
    ways: tuple[Any, ...]
    faults: dict[Any, list[Finding]] = field(default_factory=dict)


def settled(findings: Iterable[Any], model: type[BaseModel], written: Any) -> list[Finding]:
    """Findings with their places as they are written, and one way left of each choice."""
    plain: list[Finding] = []
    choices: dict[tuple[Any, ...], _Choice] = {}
    for item in findings:
        finding = dict(item)
        place, choice = _walk(tuple(item["loc"]), model)
        finding["loc"] = place
        if choice is None:
            plain.append(finding)
            continue
        where, owner, ways, way = choice
        kept = choices.setdefault(where, _Choice(owner, ways))
        kept.faults.setdefault(way, []).append(finding)
    for where, made in choices.items():
        plain += _meant(where, made, _at(where, written))
    return plain


def _walk(
    loc: tuple[Any, ...], model: type[BaseModel]
) -> tuple[
    tuple[Any, ...],
    tuple[tuple[Any, ...], type[BaseModel] | None, tuple[Any, ...], Any] | None,
]:
    """Follow a place through the declared types; leave out what names a way to write a field."""
    place: list[Any] = []
    annotation: Any = model
    owner: type[BaseModel] | None = None
    choice = None
    for part in loc:
        annotation = _bare(annotation)
        ways = _ways(annotation)
        if len(ways) > 1:
            annotation = _way(str(part), ways)
            choice = choice or (tuple(place), owner, ways, annotation)
            continue
        place.append(part)
        owner, annotation = _inside(annotation, part)
    return tuple(place), choice


def _inside(annotation: Any, part: Any) -> tuple[type[BaseModel] | None, Any]:
    """The type of a part of a value, and the model it is a field of."""
    if _is_model(annotation):
        known = annotation.model_fields.get(part)
        return annotation, known.annotation if known else None
    arguments = [one for one in typing.get_args(annotation) if one is not Ellipsis]
    if part == "[key]" or not arguments:
        return None, None
    return None, arguments[-1]


def _bare(annotation: Any) -> Any:
    """A type without its constraints, and without ``None`` where that is the only other way."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    ways = _ways(annotation)
    return _bare(ways[0]) if len(ways) == 1 and ways[0] is not annotation else annotation


def _ways(annotation: Any) -> tuple[Any, ...]:
    """The types that a union allows, ``None`` left out; of anything else only itself."""
    if typing.get_origin(annotation) not in (Union, types.UnionType):
        return (annotation,)
    return tuple(_bare(one) for one in typing.get_args(annotation) if one is not type(None))


def _way(tag: str, ways: Sequence[Any]) -> Any:
    """The way that the validator calls by this name."""
    for way in ways:
        if _is_model(way) and way.__name__ in re.findall(r"\w+", tag):
            return way  # a model with its own rules is tagged ``function-after[rule(), Model]``
        if typing.get_origin(way) is Literal and tag.startswith("literal["):
            return way
    others = [way for way in ways if not _is_model(way) and typing.get_origin(way) is not Literal]
    return others[0] if others else ways[0]


def _meant(where: tuple[Any, ...], choice: _Choice, given: Any) -> list[Finding]:
    """The faults of the way that has the shape of what was written, else what is allowed."""
    fitting = [way for way in choice.faults if _has_shape(way, given)]
    if fitting:
        return min((choice.faults[way] for way in fitting), key=len)
    allowed = [text for way in choice.ways for text in _described(way)]
    if "false" in allowed and "true" not in allowed and _accepts(choice.owner, where, given=True):
        allowed.insert(allowed.index("false"), "true")
    context = {"allowed": allowed}
    return [{"type": UNION, "loc": where, "input": given, "msg": "", "ctx": context}]


def _has_shape(way: Any, given: Any) -> bool:
    """Whether what was written is of a kind that this way takes: fields, or a list."""
    if isinstance(given, Mapping):
        return _is_model(way) or typing.get_origin(way) is dict
    return isinstance(given, list) and typing.get_origin(way) in (tuple, list)


def _described(way: Any) -> list[str]:
    """What a way takes, in the words of a specification."""
    if typing.get_origin(way) is Literal:
        words = {False: "false", True: "true", None: "null"}
        return [
            words[one] if one is None or isinstance(one, bool) else str(one)
            for one in typing.get_args(way)
        ]
    if _is_model(way):
        return [f"fields ({', '.join(way.model_fields)})"]
    if typing.get_origin(way) in (tuple, list):
        return ["a list"]
    return {bool: ["true", "false"], int: ["a whole number"], float: ["a number"]}.get(
        way, ["text"]
    )


def _accepts(owner: type[BaseModel] | None, where: tuple[Any, ...], *, given: bool) -> bool:
    """Whether a field takes a value that its type does not name, because it is read as another."""
    if owner is None:
        return False
    try:
        owner.model_validate({where[-1]: given})
    except ValidationError as error:
        return not any(item["loc"][:1] == where[-1:] for item in error.errors(include_url=False))
    return True


def _at(place: Sequence[Any], written: Any) -> Any:
    """What was written at a place; ``None`` where nothing was."""
    for part in place:
        try:
            written = written[part]
        except (KeyError, IndexError, TypeError):
            return None
    return written


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)
