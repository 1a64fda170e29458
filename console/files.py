"""Writing files whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from measure.errors import InputError
from reports.files import write_whole


def write_atomically(path: Path, text: str) -> None:
    """Write to a temporary file beside the target, sync, then rename over it."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist. Make it first.")
    write_whole(path, text)


def to_json(document: dict[str, Any]) -> str:
    """Indented JSON in the documents' own field order; never NaN or Infinity."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
