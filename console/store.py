"""Results on disk: one JSON document per experiment and kind, read back as the same values."""

from __future__ import annotations

import json
from pathlib import Path

from console.files import to_json, write_atomically
from measure.errors import DataError
from measure.results import SCHEMA_VERSION, Result


def save(folder: Path, name: str, result: Result) -> Path:
    """Write ``name``.json whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    write_atomically(path, to_json(result.to_dict()))
    return path


def read[R: Result](folder: Path, name: str, kind: type[R]) -> R | None:
    """Read a result back; ``None`` when it was never computed."""
    from pydantic import TypeAdapter, ValidationError

    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document.pop("schema_version", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            raise DataError(f"{path}: schema_version {version}, must be {SCHEMA_VERSION}.")
        return TypeAdapter(kind).validate_python(document)
    except (ValueError, ValidationError) as error:
        raise DataError(f"{path}: not a readable result. Run the analysis again.") from error
