"""How the command line speaks: results on standard output, as text or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from console.files import to_json, write_atomically
from measure.errors import InputError

MARKS = {"passed": "✓", "flagged": "!", "not_applicable": "–", "failed": "✗"}


def check_destination(json: str | None) -> None:
    """Refuse a JSON file that could not be written, before any work is done."""
    if json not in (None, "-") and not Path(json).resolve().parent.is_dir():
        raise InputError(f"--json {json}: the folder {Path(json).parent} does not exist.")
    if json not in (None, "-") and Path(json).is_dir():
        raise InputError(f"--json {json}: is a folder. Name a file in it.")


def deliver(document: dict[str, Any], json: str | None, lines: Sequence[str]) -> None:
    """Print for people, write for programs; with ``--json -`` only the document is printed."""
    if json == "-":
        sys.stdout.write(to_json(document))
        return
    if json is not None:
        write_atomically(Path(json), to_json(document))
    say(*lines)


def say(*lines: str) -> None:
    """Print lines for a person."""
    for line in lines:
        sys.stdout.write(f"{line}\n")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Plain columns: the first ``left`` flush left, the others flush right."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    return [line(cells[0]), "  ".join("─" * width for width in widths), *map(line, cells[1:])]
