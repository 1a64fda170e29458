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

import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from measure.errors import InputError, MissingFile, UnknownName

if TYPE_CHECKING:
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
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``truelift.toml`` says, each name with its default."""

    engine: str = "warehouse:warehouse"
    registry: str = "sqlite:///registry.db"
    time_zone: str = "UTC"
    currency: str = "EUR"
    min_cell: int = 50
    key_file: str = "truelift.key"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder and its settings."""

    root: Path
    settings: Settings

    @classmethod
    def create(cls, root: Path, *, time_zone: str = "UTC", currency: str = "EUR") -> Workspace:
        """Make the folder, its settings and a secret key that only the owner can read."""
        if (root / SETTINGS_FILE).exists():
            raise InputError(f"{root} is a workspace already ({SETTINGS_FILE} exists).")
        for folder in ("experiments", "reports", "results"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        key = root / Settings().key_file
        key.touch(mode=0o600, exist_ok=False)
        key.write_text(secrets.token_hex(32) + "\n")
        (root / ".gitignore").write_text("truelift.key\nwarehouse/\nregistry.db*\n")
        text = _TEMPLATE.format(time_zone=time_zone, currency=currency)
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
    def warehouse(self) -> Path:
        """Folder of the embedded warehouse; an error when the tables live elsewhere."""
        if not self.settings.engine.startswith("warehouse:"):
            raise InputError(
                f"engine == {self.settings.engine!r}, `truelift load` fills the embedded warehouse "
                "only; load this database with its own tools."
            )
        return self.root / self.settings.engine.removeprefix("warehouse:")

    @property
    def registry_url(self) -> str:
        """URL of the registry, with a path that holds from any folder."""
        return _below(self.settings.registry, "sqlite:///", self.root)

    def results(self, key: str) -> Path:
        """Folder of one experiment's results."""
        return self.root / "results" / key


def _below(url: str, scheme: str, root: Path) -> str:
    """Anchor the path of a URL at the workspace."""
    return scheme + str(root / url.removeprefix(scheme)) if url.startswith(scheme) else url


def _checked(values: dict[str, object], path: Path) -> Settings:
    known = Settings.__dataclass_fields__
    for name, value in values.items():
        if name not in known:
            raise UnknownName.of("setting", name, known, str(path))
        wanted = int if name == "min_cell" else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "a whole number" if wanted is int else "text"
            raise InputError.rule(f"{path}: {name}", value, f"must be {kind}")
    settings = Settings(**values)  # type: ignore[arg-type]
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
