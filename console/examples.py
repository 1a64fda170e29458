"""Real, public data sets with their specifications, for a first try in any folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from console.files import write_atomically
from measure.errors import InputError, UnknownName


@dataclass(frozen=True, slots=True)
class Example:
    """A data file, where it comes from, and the specification that reads it."""

    name: str
    file: str
    sha256: str
    url: str
    specification: str


EXAMPLES = {
    example.name: example
    for example in (
        Example(
            "hillstrom",
            "hillstrom.csv",
            # Kevin Hillstrom's MineThatData e-mail challenge of 20 March 2008, 64,000 customers.
            "0e5893329d8b93cefecc571777672028290ab69865718020c78c7284f291aece",
            "http://www.minethatdata.com/"
            "Kevin_Hillstrom_MineThatData_E-MailAnalytics_DataMiningChallenge_2008.03.20.csv",
            "hillstrom.yaml",
        ),
    )
}


def write_example(name: str, folder: Path) -> Path:
    """Copy or download the data, check its SHA-256, write the specification; return its path."""
    if name not in EXAMPLES:
        raise UnknownName.of("example", name, EXAMPLES)
    example = EXAMPLES[name]
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / example.file
    if not data.exists():
        _obtain(example, data)
    _require_hash(example, data)
    spec = folder / example.specification
    text = (_specifications() / example.specification).read_text(encoding="utf-8")
    write_atomically(spec, text.replace(f"../../shared/data/{example.file}", example.file))
    return spec


def _obtain(example: Example, target: Path) -> None:
    """Take the file from ``TRUELIFT_DATA``, else download it."""
    given = os.environ.get("TRUELIFT_DATA")
    if given:
        source = Path(given) / example.file
        if not source.exists():
            raise InputError(
                f"TRUELIFT_DATA == {given!r}, must be a folder that holds {example.file}."
            )
        shutil.copyfile(source, target)
        return
    import pooch

    try:
        pooch.retrieve(
            example.url, f"sha256:{example.sha256}", fname=target.name, path=target.parent
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{example.file} could not be downloaded ({type(error).__name__}). Get it from "
            f"{example.url}, put it into a folder and set TRUELIFT_DATA to that folder."
        ) from error


def _require_hash(example: Example, data: Path) -> None:
    found = hashlib.sha256(data.read_bytes()).hexdigest()
    if found != example.sha256:
        raise InputError(
            f"{data}: SHA-256 is {found[:12]}…, must be {example.sha256[:12]}…. "
            "Remove the file to fetch it again."
        )


def _specifications() -> Path:
    """Folder of the specifications: inside an installed package, or the checkout's examples/."""
    packaged = Path(__file__).parent / "specifications"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "examples"
