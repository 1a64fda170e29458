"""Make sure that the real components the tests start are here; install what is missing, and say so.

Run before the tests: ``python tests/components.py``. Anything that stays missing is an error.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Component:
    name: str
    programs: tuple[str, ...]  # any of these, on PATH or as a path with wildcards
    package: str  # Debian's name

    def present(self) -> bool:
        return any(shutil.which(p) or any(Path("/").glob(p.lstrip("/"))) for p in self.programs)


COMPONENTS = (
    Component("Chromium", ("chromium",), "chromium"),
    Component("PostgreSQL", ("/usr/lib/postgresql/*/bin/initdb",), "postgresql"),
    Component("Java 17 (for Spark)", ("java",), "openjdk-17-jre-headless"),
    Component("Node.js", ("node",), "nodejs"),
    Component("pdftotext", ("pdftotext",), "poppler-utils"),
)


def install(missing: list[Component]) -> None:
    packages = [component.package for component in missing]
    print(f"Installing {', '.join(c.name for c in missing)} from Debian …", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    for command in (
        ["update", "-qq"],
        ["install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        subprocess.run(
            [*sudo, "apt-get", *command], check=True, env=environment, stdout=subprocess.DEVNULL
        )


def main() -> int:
    missing = [component for component in COMPONENTS if not component.present()]
    if missing:
        try:
            install(missing)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"apt-get failed: {error}", file=sys.stderr)
    absent = [component for component in COMPONENTS if not component.present()]
    for component in absent:
        print(
            f"{component.name} is missing and could not be installed; "
            f"install Debian's {component.package}.",
            file=sys.stderr,
        )
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main())
