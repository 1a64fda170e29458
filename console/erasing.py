"""Erasing a person from a workspace: tables, results, pages and lists; nothing comes back.

What is done is written down first (``.erasing.json``, for the owner's eyes only) and struck out
last, and every step can be done again. So an erasure that was cut off is finished by the next one,
and until the manifest is replaced nothing that is read has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.files import to_json
from measure.errors import InputError
from measure.results import Result

if TYPE_CHECKING:
    from console.workspace import Workspace
    from measure.engine.erasing import Marks, Removed

JOURNAL = ".erasing.json"
KEY_FILE = "tombstone.key"
REMEMBERED_DAYS = 3 * 365
"""How long a tombstone stands when nothing else is said."""


@dataclass(frozen=True, slots=True)
class Erased(Result):
    """What an erasure did, without naming whom."""

    rows: dict[str, int]
    """Rows taken out, by table."""
    quarantined: int
    units: dict[str, dict[str, int]]
    """Units by open experiment and arm; the analysis compares their shares."""
    rewritten: tuple[str, ...]
    """Results, pages and lists that named the person and no longer do."""
    removed: tuple[str, ...]
    """Results of open experiments, which are computed anew."""
    remaining: tuple[str, ...]
    """Files in the workspace that still name the person and are not Truelift's to change."""
    remembered_until: str | None
    """Until when a file that is loaded again does not bring the person back."""
    audit_row: int


def erase(
    workspace: Workspace,
    customer: str,
    reason: str,
    *,
    by: str,
    days: int = REMEMBERED_DAYS,
    now: datetime | None = None,
) -> Erased:
    """Erase a customer, and finish first what was cut off.

    :class:`InputError` when no table knows the customer, or when the reason names them: it goes
    into the audit, which nothing can be taken out of.
    """
    from measure.people.erasure import is_known

    if not reason.strip():
        raise InputError("--reason: is empty. Say why, without naming the person.")
    if days < 1:
        raise InputError.rule("--remember", days, "must be at least 1 day")
    _supported(workspace)
    finish(workspace, by=by)
    with workspace.connect() as engine:
        known = is_known(engine, customer)
    if not known and not _is_refused(workspace, customer):
        raise InputError(f"customer {customer!r} is in no table. Check the id.")
    marks = _marks(workspace, customer)
    if _named(reason, marks):
        raise InputError("--reason: names the person; the audit keeps it for good. Reword it.")
    until = (now or datetime.now(UTC)) + timedelta(days=days)
    _write_down(workspace, marks, reason, until)
    return _carried_out(workspace, by=by)


def finish(workspace: Workspace, *, by: str) -> Erased | None:
    """Finish an erasure that was cut off; ``None`` when there is none."""
    if not (workspace.root / JOURNAL).exists():
        return None
    return _carried_out(workspace, by=by)


def _write_down(workspace: Workspace, marks: Marks, reason: str, until: datetime) -> None:
    """Put on disk what is to be done, where only the owner can read it."""
    from measure.engine.manifest import publish

    journal = {
        "reason": reason,
        "until": until.isoformat(),
        "ids": {kind: sorted(ids) for kind, ids in marks.ids.items()},
        "words": sorted(marks.words),
    }
    path = workspace.root / JOURNAL
    temporary = path.with_name(f"{JOURNAL}.new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(to_json(journal), encoding="utf-8")
    publish(temporary, path)


def _is_refused(workspace: Workspace, customer: str) -> bool:
    """Whether a refused row names a customer whom no table knows."""
    from console.redacting import names_any

    if not workspace.settings.engine.startswith("warehouse:"):
        return False
    files = (workspace.warehouse / "quarantine").rglob("*.parquet")
    return any(names_any(path, frozenset({customer})) for path in files)


def _supported(workspace: Workspace) -> None:
    engine = workspace.settings.engine
    if not engine.startswith(("warehouse:", "postgresql://", "postgres://")):
        raise InputError(
            f"engine == {engine!r}, rows cannot be erased there from here. Delete them with its "
            "own tools."
        )


def _carried_out(workspace: Workspace, *, by: str) -> Erased:
    """Do what the journal says, step by step; each step may have been done before."""
    from measure.engine.erasing import Marks

    path = workspace.root / JOURNAL
    journal = json.loads(path.read_text(encoding="utf-8"))
    ids = {kind: frozenset(found) for kind, found in journal["ids"].items()}
    marks = Marks(ids, frozenset(journal["words"]))
    until = datetime.fromisoformat(journal["until"])
    lists = _lists(workspace)
    open_keys = _open_keys(workspace)
    taken = _from_tables(workspace, marks, open_keys, until)
    removed = tuple(_stale_results(workspace, open_keys))
    rewritten = tuple(_rewritten(workspace, marks, lists))
    embedded = workspace.settings.engine.startswith("warehouse:")
    facts: dict[str, Any] = {
        "reason": journal["reason"],
        "rows": dict(taken.rows),
        "quarantined": taken.quarantined,
        "units": {key: dict(arms) for key, arms in taken.units.items()},
        "files": len(rewritten),
        "remembered_until": until.isoformat() if embedded else None,
    }
    with workspace.open_registry() as registry:
        row = registry.record_erasure(facts, by=by)
    path.unlink()
    return Erased(
        rows=dict(sorted(taken.rows.items())),
        quarantined=taken.quarantined,
        units=facts["units"],
        rewritten=rewritten,
        removed=removed,
        remaining=tuple(_remaining(workspace, marks, lists)),
        remembered_until=facts["remembered_until"],
        audit_row=row,
    )


def _marks(workspace: Workspace, customer: str) -> Marks:
    from measure.people.erasure import marks_of

    with workspace.connect() as engine:
        return marks_of(engine, customer)


def _from_tables(
    workspace: Workspace, marks: Marks, open_keys: Sequence[str], until: datetime
) -> Removed:
    from measure.engine.erasing import erase_from_postgres, erase_from_warehouse

    if workspace.settings.engine.startswith("warehouse:"):
        return erase_from_warehouse(
            workspace.warehouse,
            marks,
            counted=open_keys,
            key_file=workspace.root / KEY_FILE,
            until=until,
        )
    with workspace.connect() as engine:
        return erase_from_postgres(engine, marks, open_keys)


def _open_keys(workspace: Workspace) -> list[str]:
    """Experiments that were started and are not closed."""
    from designs.registry import Registry
    from designs.registry.lifecycle import State

    closed = {State.CONCLUDED, State.ARCHIVED}
    with Registry(workspace.registry_url) as registry:
        return [e.key for e in registry.entries() if e.started_at and e.state not in closed]


def _stale_results(workspace: Workspace, open_keys: Sequence[str]) -> Iterator[str]:
    """Remove what was computed of open experiments; the next command computes it anew."""
    for key in open_keys:
        for path in sorted(workspace.results(key).glob("*.json")):
            if path.name != "balance.json":  # how an assignment was drawn, which cannot be repeated
                path.unlink()
                yield _shown(workspace, path)


def _lists(workspace: Workspace) -> list[Path]:
    """Lists of people that were written from this workspace, wherever they still are.

    By the audit, and by the receipts that lie beside them: a workspace may have been moved.
    """
    from designs.registry import Registry

    with Registry(workspace.registry_url) as registry:
        files = {e.detail["file"] for e in registry.events() if e.what == "export list"}
    paths = (Path(file) for file in sorted(files))
    found = [path if path.is_absolute() else workspace.root / path for path in paths]
    receipts = workspace.root.rglob("*.receipt.json")
    found += [path.with_name(path.name.removesuffix(".receipt.json")) for path in receipts]
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _rewritten(workspace: Workspace, marks: Marks, lists: Sequence[Path]) -> Iterator[str]:
    """Take rows of the person out of results, pages and lists; others keep their bytes."""
    from console.redacting import without_rows

    root, people = workspace.root, marks.ids.get("person", frozenset())
    kept = [p for folder in ("results", "reports") for p in sorted((root / folder).rglob("*"))]
    for path in (*kept, *lists):
        if path.is_file() and without_rows(path, marks.words, people):
            yield _shown(workspace, path)


def _remaining(workspace: Workspace, marks: Marks, lists: Sequence[Path]) -> Iterator[str]:
    """Files that still name the person by their own id, such as those that were once loaded."""
    from console.redacting import names_any

    people = marks.ids.get("person", frozenset())
    for path in dict.fromkeys((*sorted(workspace.root.rglob("*")), *lists)):
        if path.is_file() and names_any(path, people):
            yield _shown(workspace, path)


def _named(text: str, marks: Marks) -> bool:
    import re

    from measure.engine.erasing import words_pattern

    return re.search(words_pattern(marks.words), text) is not None


def _shown(workspace: Workspace, path: Path) -> str:
    return str(path.relative_to(workspace.root) if path.is_relative_to(workspace.root) else path)
