"""YAML without surprises: plain data, the line of every field, and limits on size and nesting.

Scalars stay the text they are, except ``true``, ``false`` and ``null``; the schema decides what is
a number. So an arm called ``No``, an attribute ``007`` and a value ``1e5`` survive. Tags, repeated
keys and deep or multiplying structures are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from measure.errors import SpecError

MAX_DEPTH = 20
MAX_NODES = 20_000

Place = tuple[str | int, ...]

_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_MAP = "tag:yaml.org,2002:map"
_LIST = "tag:yaml.org,2002:seq"


class _Loader(yaml.SafeLoader):
    """A loader that recognises only ``true``, ``false`` and ``null`` in plain scalars."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the base class's own form


_Loader.add_implicit_resolver(
    _BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), [*"tTfF"]
)
_Loader.add_implicit_resolver(_NULL, re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML text holds, and the line (from 1) on which each place is written."""

    value: Any
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """Line of a place, or of the nearest place around it that was written."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_yaml(text: str, origin: str) -> Document:
    """Parse one document; :class:`SpecError` names line, column and way out."""
    try:
        _limit(text, origin)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, origin) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        rule = f"character U+{ord(text[error.position]):04X} is not allowed"
        raise SpecError.at(
            origin, line, "YAML", rule, "Remove it or write it as an escape."
        ) from None
    if root is None:
        raise SpecError.at(origin, None, "YAML", "the file is empty")
    builder = _Builder(origin)
    return Document(builder.build(root, ()), builder.lines)


def _limit(text: str, origin: str) -> None:
    """Count events before anything is built, so that a bomb costs nothing."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        opens = isinstance(event, yaml.CollectionStartEvent)
        depth += opens - isinstance(event, yaml.CollectionEndEvent)
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            rule = f"nested deeper than {MAX_DEPTH} or more than {MAX_NODES:,} values"
            line = event.start_mark.line + 1 if event.start_mark else None
            raise SpecError.at(origin, line, "YAML", rule)


def _unreadable(error: yaml.MarkedYAMLError, origin: str) -> SpecError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, 1)
    rule = f"cannot be read at column {column}: {error.problem or error.context}"
    way_out = "Indent with spaces, and quote text that holds ': ', '#', '%' or '@'."
    return SpecError.at(origin, line, "YAML", rule, way_out)


def _tag_rule(node: yaml.Node) -> str:
    return f"tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is not allowed"


class _Builder:
    """Turns nodes into plain values and remembers their lines."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.lines: dict[Place, int] = {}
        self._built = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, place: Place) -> Any:
        """Value of a node; aliases count every time they are used."""
        self._built += 1
        if self._built > MAX_NODES or len(place) > MAX_DEPTH or id(node) in self._open:
            raise self._refuse(node, place, "aliases multiply beyond measure", "Write it out.")
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            value: Any = self._mapping(node, place)
        elif isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
            value = [self.build(item, (*place, index)) for index, item in enumerate(node.value)]
        else:
            raise self._refuse(node, place, _tag_rule(node), "Remove it.")
        self._open.remove(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in {_TEXT, _NULL, _BOOL}:
                raise self._refuse(key, place, "a field's name must be plain text")
            here = (*place, key.value)
            if key.value in values:
                rule = f"written twice (first on line {self.lines[here]})"
                raise self._refuse(key, here, rule, "Keep one.")
            self.lines[here] = key.start_mark.line + 1
            values[key.value] = self.build(item, here)
        return values

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> str | bool | None:
        if node.tag == _TEXT:
            return str(node.value)
        if node.tag == _NULL:
            return None
        if node.tag == _BOOL:
            return str(node.value).lower() == "true"
        raise self._refuse(node, place, _tag_rule(node), "Remove it.")

    def _refuse(self, node: yaml.Node, place: Place, rule: str, way_out: str = "") -> SpecError:
        field = ".".join(str(part) for part in place) or "YAML"
        return SpecError.at(self.origin, node.start_mark.line + 1, field, rule, way_out)
