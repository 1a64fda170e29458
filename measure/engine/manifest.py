"""The manifest: which files were loaded, and which Parquet files make up each table.

A data file counts only once the manifest names it, and the manifest is replaced in one rename:
whatever is killed at whatever moment, readers see the table before or after a file, never between.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measure.errors import EngineError, MissingFile

VERSION = 1
_NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One loaded file: its content hash, its counts, and where its rows went."""

    table: str
    source: str
    sha256: str
    read: int
    accepted: int
    duplicates: int
    quarantined: int
    conflicts: int
    data_file: str
    quarantine_file: str | None
    reading: str = ""
    """How times were read that the file left open; empty when it left none open."""


def read_manifest(root: Path) -> tuple[Entry, ...]:
    """Entries in the order they were loaded; none when nothing was loaded yet."""
    path = root / _NAME
    if not path.exists():
        return ()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, entries = content["version"], [Entry(**entry) for entry in content["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{path}: the warehouse's manifest cannot be read ({type(error).__name__}). "
            "Restore it from a backup, or load all files into a new folder."
        ) from error
    if version != VERSION:
        raise EngineError(
            f"{path}: version {version!r} of the manifest, this release reads {VERSION}. "
            "Use the release that wrote it."
        )
    return tuple(entries)


def write_manifest(
    root: Path, entries: tuple[Entry, ...], erased: Mapping[str, Mapping[str, int]] | None = None
) -> None:
    """Replace the manifest durably; numbers of units erased stay unless new ones are given."""
    # A field at its default stays out, so that releases without it still read the manifest.
    files = [{n: v for n, v in asdict(entry).items() if n != "reading" or v} for entry in entries]
    content: dict[str, Any] = {"version": VERSION, "files": files}
    units = read_erased(root) if erased is None else erased
    if units:
        content["erased"] = units
    temporary = root / f"{_NAME}.new"
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    publish(temporary, root / _NAME)


def read_erased(root: Path) -> dict[str, dict[str, int]]:
    """Units erased per experiment and arm: how many there were, and nothing else of them."""
    path = root / _NAME
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found: dict[str, dict[str, int]] = content.get("erased", {})
    return found


def publish(temporary: Path, final: Path) -> None:
    """Flush a finished file to disk and give it its name, which appears whole or not at all."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def table_files(root: Path) -> dict[str, list[Path]]:
    """Parquet files of each loaded table, in loading order."""
    if not root.is_dir():
        raise MissingFile.at(root, "Make a workspace with truelift init, or load a table.")
    files: dict[str, list[Path]] = {}
    for entry in read_manifest(root):
        files.setdefault(entry.table, []).append(root / entry.data_file)
    return files


@contextmanager
def only_writer(root: Path, patience: float = 30.0) -> Iterator[None]:
    """Hold the warehouse's lock; the system frees it should the process die."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a") as lock:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EngineError(
                        f"{root}: another load has been running for {patience:g} seconds. "
                        "Wait for it to finish and load again; nothing is lost."
                    ) from None
                time.sleep(0.05)
        yield
