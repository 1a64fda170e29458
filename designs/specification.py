"""``load_experiment(path)``: a YAML specification, or one line that says what to mend in it."""

from __future__ import annotations

import hashlib
import inspect
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from designs._unions import settled
from designs._wording import worded
from designs._yaml import Document, Place, read_yaml
from designs.experiment import Experiment
from measure.errors import MissingFile, SpecError, hint

MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Specification:
    """A specification as it was written, and what it means."""

    origin: str
    """Where it was read: paths inside it are relative to this file."""
    text: str
    experiment: Experiment

    @property
    def text_hash(self) -> str:
        """SHA-256 (64 hex digits) of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Fault:
    """One broken rule: where, what, and the way out."""

    place: Place
    rule: str
    way_out: str
    line: int
    unknown: bool = False

    @property
    def field(self) -> str:
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.place)
        return "".join(parts).removeprefix(".") or "specification"


def load_experiment(path: Path | str) -> Experiment:
    """Read an experiment; :class:`SpecError` names file, line, field, rule and way out."""
    return read_specification(path).experiment


def read_specification(path: Path | str) -> Specification:
    """Read a specification with its text; raises like :func:`load_experiment`."""
    return parse_specification(_read_text(Path(path)), str(path))


def parse_specification(text: str, origin: str) -> Specification:
    """Read a specification from text; ``origin`` names it in messages."""
    return Specification(origin, text, _parsed(text, origin, Experiment))


def load_model[M: BaseModel](path: Path | str, model: type[M]) -> M:
    """Read any declared model from YAML; raises like :func:`load_experiment`."""
    return _parsed(_read_text(Path(path)), str(path), model)


def _parsed[M: BaseModel](text: str, origin: str, model: type[M]) -> M:
    document = read_yaml(text.removeprefix("\ufeff"), origin)
    if not isinstance(document.value, dict):
        raise SpecError.at(origin, 1, "YAML", "must be fields with values", "Begin with 'key: …'.")
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        found = settled(error.errors(include_url=False), model, document.value)
        findings = [item for item in found if _written(item, document)]
        faults = [_fault(item, document, model) for item in findings]
        raise _first(faults, origin) from None


def _read_text(path: Path) -> str:
    if not path.exists():
        raise MissingFile.at(path, "Check the path to the specification.")
    if not path.is_file():
        raise SpecError.at(path, None, "file", "is not a file", "Name one YAML file.")
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError.at(path, None, "file", f"cannot be read ({error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise SpecError.at(path, None, "file", f"is larger than {MAX_BYTES:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError.at(path, line, "file", "is not UTF-8", "Save it as UTF-8 text.") from None


def _written(error: Any, document: Document) -> bool:
    """Whether a finding is about something written or missing, not about a derived value."""
    return not error["loc"] or error["type"] == "missing" or error["loc"][:1] in document.lines


def _first(faults: Iterable[_Fault], origin: str) -> SpecError:
    """Report the fault to mend first: unknown names explain missing ones, then by line."""
    ordered = sorted(faults, key=lambda fault: (not fault.unknown, fault.line))
    first, more = ordered[0], len(ordered) - 1
    rest = f"({more} more {'fault' if more == 1 else 'faults'} in this file.)" if more else ""
    return SpecError.at(
        origin, first.line, first.field, first.rule, f"{first.way_out} {rest}".strip()
    )


def _fault(error: Any, document: Document, model: type[BaseModel]) -> _Fault:
    """Word a finding of pydantic, and find the line it speaks of."""
    place: Place = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] == "extra_forbidden":
        way_out = hint(str(place[-1]), _fields_at(place[:-1], model))
        return _Fault(place, "unknown field", way_out, document.line(place), unknown=True)
    rule, way_out = worded(error)
    if error["type"] == "value_error":
        place, rule = _named_field(place, rule, model)
    return _Fault(place, rule, way_out, document.line(place))


def _named_field(place: Place, message: str, model: type[BaseModel]) -> tuple[Place, str]:
    """Split ``field: rule`` when the field is one of those known at this place."""
    name, _, rule = message.partition(": ")
    parts = tuple(name.split("."))
    if rule and parts[0] in _fields_at(place, model):
        return (*place, *parts), rule
    if rule and place and place[-1] == name:
        return place, rule
    return place, message


def _fields_at(place: Place, root: type[BaseModel]) -> tuple[str, ...]:
    """Field names of the model that stands at a place, nothing where there is none."""
    models: list[type[BaseModel]] = [root]
    for part in place:
        if isinstance(part, int):
            continue
        annotations = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        models = [model for annotation in annotations for model in _models_in(annotation)]
    return tuple(name for model in models for name in model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Models named anywhere in an annotation, such as ``tuple[Metric, ...] | None``."""
    parts = typing.get_args(annotation)
    if not parts:
        return (
            [annotation]
            if inspect.isclass(annotation) and issubclass(annotation, BaseModel)
            else []
        )
    return [model for part in parts for model in _models_in(part)]
