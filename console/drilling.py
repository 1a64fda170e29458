"""All raw rows behind one check of the reconciliation, as a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.accounting import reconciliation_inputs
from console.following import without_contacts
from measure.errors import InputError
from measure.results import Result

if TYPE_CHECKING:
    from console.workspace import Workspace
    from measure.reconcile.flagged import FlaggedRows


@dataclass(frozen=True, slots=True)
class Drilled(Result):
    """A file of flagged rows, and the sums that hold it against the statement."""

    code: str
    file: str
    rows: int
    entities: int
    by_entity: bool
    """Whether the check counts entities: then ``entities`` is its number of rows."""
    money: int | None
    """Minor units counted under the check; ``None`` for a check that puts no sum in question."""
    currency: str
    sha256: str


def write_flagged(
    workspace: Workspace, key: str | None, code: str, out: Path, *, by: str
) -> Drilled:
    """Write all rows that a check flags as CSV, whole or not at all, readable by the owner only.

    Numbers of rows and money are those of the statement: :class:`InputError` where they are not.
    The file lists people, so that it left the workspace is noted in the audit chain.
    """
    from measure.reconcile.flagged import flagged_rows
    from measure.reconcile.sources import Sources
    from reports.files import write_csv

    if out.suffix != ".csv":
        raise InputError(f"--rows {out}: must end in .csv.")
    if not out.parent.is_dir():
        raise InputError(f"--rows {out}: the folder {out.parent} does not exist. Make it first.")
    with workspace.connect() as engine:
        sources = Sources(engine, **reconciliation_inputs(workspace, engine, key))
        found = flagged_rows(sources, code)
        sums = _Sums(found)
        write_csv(out, found.header, sums.counted())
        drilled = _drilled(workspace.named(out), found, sums, out, sources.currency)
    try:
        with workspace.open_registry() as registry:
            registry.record_export(key or "", {"list": "flagged", **drilled.to_dict()}, by=by)
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return drilled


class _Sums:
    """Adds up what passes by on its way into the file."""

    def __init__(self, found: FlaggedRows) -> None:
        self._found = found
        self.rows = 0
        self.amounts: dict[str, int] = {}
        self.entities: set[str] = set()

    def counted(self) -> Iterator[tuple[Any, ...]]:
        """The rows, with addresses and numbers of people blotted out."""
        entity, money, unit = (
            self._found.header.index(name) for name in ("entity_id", "money_counted", "unit")
        )
        for row in self._found.rows:
            self.rows += 1
            if self._found.by_entity:
                self.entities.add(row[entity])
            self.amounts[row[unit]] = self.amounts.get(row[unit], 0) + int(row[money] or 0)
            yield tuple(without_contacts(value) for value in row)


def _drilled(name: str, found: FlaggedRows, sums: _Sums, out: Path, currency: str) -> Drilled:
    from measure.reconcile.check import micros_to_minor

    micros = micros_to_minor(sums.amounts.get("micros", 0), currency)
    money = sums.amounts.get("minor", 0) + micros
    entities = len(sums.entities) if found.by_entity else sums.rows
    stated = (found.check.rows, found.check.money)
    wanted = (entities, None if found.check.money is None else money)
    if stated != wanted:
        out.unlink(missing_ok=True)
        raise InputError(
            f"{found.check.code}: {wanted} rows and money in the file, {stated} in the statement; "
            "the tables changed meanwhile. Run it again."
        )
    with out.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Drilled(
        found.check.code,
        name,
        sums.rows,
        entities,
        found.by_entity,
        wanted[1],
        currency,
        sha256,
    )
