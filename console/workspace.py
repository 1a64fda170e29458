"""A workspace: one folder with settings, experiments, warehouse, registry and reports.

::

    truelift.toml     settings (below)
    experiments/      one YAML specification per experiment
    warehouse/        embedded tables: Parquet files and their manifest
    registry.db       experiments and their lifecycle
    results/          what analyses returned, as JSON
    reports/          generated pages
"""

from __future__ import annotations

import getpass
import os
import secrets
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from measure.errors import InputError, MissingFile, UnknownName

if TYPE_CHECKING:
    from designs.registry import Policy, Registry
    from measure.engine.connection import Engine

SETTINGS_FILE = "truelift.toml"

_TEMPLATE = """\
# Settings of this Truelift workspace. Paths are relative to this file.
engine = "warehouse:warehouse"      # or postgresql://…, spark://local[2]
registry = "sqlite:///registry.db"
time_zone = "{time_zone}"
currency = "{currency}"
min_cell = 50                       # no published number rests on fewer people
key_file = "truelift.key"           # secret of this workspace; keep it out of version control

# "none": an experiment starts straight from its draft, and the record says that nobody reviewed it.
# "required": it starts only after somebody else approved it; then name the people below, with one
# of the roles analyst, finance, modeler, admin. docs/registry.md says more, also on sign-offs.
approvals = "{approvals}"

[people]
{people}"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``truelift.toml`` says, each name with its default."""

    engine: str = "warehouse:warehouse"
    registry: str = "sqlite:///registry.db"
    time_zone: str = "UTC"
    currency: str = "EUR"
    min_cell: int = 50
    key_file: str = "truelift.key"
    approvals: str = "none"
    people: Mapping[str, str] = field(default_factory=dict)
    approval_rules: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder and its settings."""

    root: Path
    settings: Settings

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        time_zone: str = "UTC",
        currency: str = "EUR",
        approvals: str = "none",
        people: Mapping[str, str] | None = None,
    ) -> Workspace:
        """Make the folder, its settings and a secret key that only the owner can read."""
        if (root / SETTINGS_FILE).exists():
            raise InputError(f"{root} is a workspace already ({SETTINGS_FILE} exists).")
        for folder in ("experiments", "reports", "results"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        key = root / Settings().key_file
        key.touch(mode=0o600, exist_ok=False)
        key.write_text(secrets.token_hex(32) + "\n")
        (root / ".gitignore").write_text(
            "truelift.key\ntombstone.key\n.erasing.json\nwarehouse/\nregistry.db*\n"
        )
        text = _TEMPLATE.format(
            time_zone=time_zone,
            currency=currency,
            approvals=approvals,
            people="".join(f'"{name}" = "{role}"\n' for name, role in (people or {}).items()),
        )
        (root / SETTINGS_FILE).write_text(text, encoding="utf-8")
        return cls.open(root)

    @classmethod
    def open(cls, root: Path) -> Workspace:
        """Read the settings; every name and value is checked."""
        path = root / SETTINGS_FILE
        if not path.exists():
            raise MissingFile.at(path, "Make a workspace with `truelift init DIR`, or go to one.")
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not readable as TOML: {error}.") from error
        return cls(root, _checked(values, path))

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """Open the workspace of this folder or of the nearest one above it."""
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / SETTINGS_FILE).exists():
                return cls.open(folder)
        raise MissingFile.at(
            here / SETTINGS_FILE, "Make a workspace with `truelift init DIR`, or go to one."
        )

    def connect(self) -> Engine:
        """Open the engine that holds the tables."""
        from measure.engine.connection import connect

        return connect(_below(self.settings.engine, "warehouse:", self.root))

    @property
    def has_tables(self) -> bool:
        """Whether there are tables to read; an embedded warehouse begins with the first one."""
        return not self.settings.engine.startswith("warehouse:") or self.warehouse.is_dir()

    @property
    def warehouse(self) -> Path:
        """Folder of the embedded warehouse; an error when the tables live elsewhere."""
        if not self.settings.engine.startswith("warehouse:"):
            raise InputError(
                f"engine == {self.settings.engine!r}, `truelift load` fills the embedded warehouse "
                "only; load this database with its own tools."
            )
        return self.root / self.settings.engine.removeprefix("warehouse:")

    def named(self, file: Path) -> str:
        """A file's name as it leads there from the workspace's folder, wherever one is now."""
        here = file.is_absolute() or file.resolve() == (self.root / file).resolve()
        return str(file if here else file.resolve())

    @property
    def registry_url(self) -> str:
        """URL of the registry, with a path that holds from any folder."""
        return _below(self.settings.registry, "sqlite:///", self.root)

    @property
    def policy(self) -> Policy:
        """Who may do what here, and what must be approved."""
        from designs.registry import Policy

        settings = self.settings
        where = str(self.root / SETTINGS_FILE)
        return Policy.of(settings.approvals, settings.people, settings.approval_rules, where)

    def secret(self) -> bytes:
        """Return the workspace's key; an error when others can read it, or when it is too short."""
        path = self.root / self.settings.key_file
        if not path.is_file():
            raise MissingFile.at(path, "Restore the workspace's key from your backup.")
        if path.stat().st_mode & 0o077:
            raise InputError(f"{path}: others can read this key. Run `chmod 600 {path}`.")
        key = path.read_text(encoding="utf-8").strip()
        if len(key) < 32 or len(set(key)) < 8:
            rule = "too short or too plain to be a secret; it must be 64 random hex digits"
            raise InputError(f"{path}: {rule}. Restore the workspace's key from your backup.")
        return key.encode()

    def open_registry(self, clock: Callable[[], datetime] | None = None) -> Registry:
        """Open the registry for reading and writing, under the workspace's policy and key."""
        from designs.registry import Registry

        return Registry(
            self.registry_url,
            secret=self.secret(),
            policy=self.policy,
            account=account(),
            clock=clock,
        )

    def results(self, key: str) -> Path:
        """Folder of one experiment's results."""
        return self.root / "results" / key


def account() -> str:
    """Return the account of the operating system that this process runs under."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def acting_person(name: str | None = None) -> str:
    """Return who acts: the name given, else TRUELIFT_USER, else the account."""
    return name or os.environ.get("TRUELIFT_USER") or account()


def _below(url: str, scheme: str, root: Path) -> str:
    """Anchor the path of a URL at the workspace."""
    return scheme + str(root / url.removeprefix(scheme)) if url.startswith(scheme) else url


_KINDS: dict[str, tuple[type, str]] = {
    "min_cell": (int, "a whole number"),
    "people": (dict, 'a table: [people], then "Ana" = "analyst"'),
    "approval_rules": (list, "tables, each beginning with [[approval_rules]]"),
}


def _require_policy(settings: Settings, path: Path) -> None:
    """Find a fault of the policy when the workspace is opened, not at the first approval."""
    if not settings.people and not settings.approval_rules and settings.approvals == "none":
        return
    from designs.registry import Policy

    Policy.of(settings.approvals, settings.people, settings.approval_rules, str(path))


def _checked(values: dict[str, object], path: Path) -> Settings:
    known = Settings.__dataclass_fields__
    for name, value in values.items():
        if name not in known:
            raise UnknownName.of("setting", name, known, str(path))
        wanted, kind = _KINDS.get(name, (str, "text"))
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise InputError.rule(f"{path}: {name}", value, f"must be {kind}")
    settings = Settings(**values)  # type: ignore[arg-type]
    _require_policy(settings, path)
    if settings.min_cell < 1:
        raise InputError.rule(f"{path}: min_cell", settings.min_cell, "must be at least 1")
    if len(settings.currency) != 3 or not settings.currency.isupper():
        raise InputError.rule(
            f"{path}: currency", settings.currency, "must be an ISO 4217 code such as EUR"
        )
    try:
        ZoneInfo(settings.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError.rule(
            f"{path}: time_zone", settings.time_zone, "must be an IANA name such as Europe/Paris"
        ) from error
    return settings
