"""Names and bytes of the files of a site: safe names, whole files, and CSV nobody can run."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)")
_RUNS = frozenset("=+-@\t\r\n\0＝＋－＠")
"""First characters that make a spreadsheet take a text for a formula (OWASP ASVS 5.0, 1.2.10)."""


def slug(text: str) -> str:
    """A part of a file name: ``a-z``, ``0-9``, ``-``, and a hash for what these cannot say."""
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", folded).strip("-")[:60].rstrip("-")
    if name and name == text and not _RESERVED.fullmatch(name):
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name}-{digest}" if name else digest


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file (RFC 4180): numbers stay numbers, text that a spreadsheet would run is quoted."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([guarded(name) for name in header])
    writer.writerows([guarded(cell) for cell in row] for row in rows)
    return out.getvalue()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write rows as :func:`csv_text` does, however many there are; for the owner's eyes only."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\r\n")
            writer.writerow([guarded(name) for name in header])
            writer.writerows([guarded(cell) for cell in row] for row in rows)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o600)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def guarded(cell: object) -> object:
    """A cell as it is written: ``None`` is empty, numbers stay, dangerous text is quoted."""
    if cell is None:
        return ""
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        text = str(cell).replace("\0", "\N{REPLACEMENT CHARACTER}")
        bare = text.lstrip(" \N{NO-BREAK SPACE}\N{ZERO WIDTH NO-BREAK SPACE}\N{ZERO WIDTH SPACE}")
        return f"'{text}" if bare[:1] in _RUNS and bare else text
    return cell


def write_whole(path: Path, text: str) -> Path:
    """Write to a temporary file beside the target, sync, then rename over it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
