"""Real components that the tests need: PostgreSQL, Java and Chromium; installed when missing.

Run as a program it installs whatever is absent and says so; a component that cannot be installed
is named, and the tests that need it fail. Nothing is ever skipped in silence.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Component:
    name: str
    packages: tuple[str, ...]
    find: Callable[[], Path | None]


def postgres_programs() -> Path | None:
    """The folder with initdb and pg_ctl: the newest that Debian installed, else the one on PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    found = [folder for folder in folders if (folder / "initdb").exists()]
    if found:
        return found[-1]
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def java() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").exists():
        return Path(home) / "bin" / "java"
    found = shutil.which("java")
    return Path(found) if found else None


def chromium() -> Path | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    return Path(found) if found else None


POSTGRES = Component("PostgreSQL", ("postgresql",), postgres_programs)
JAVA = Component("Java 17", ("openjdk-17-jre-headless",), java)
CHROMIUM = Component("Chromium", ("chromium",), chromium)
COMPONENTS = (POSTGRES, JAVA, CHROMIUM)


class ComponentMissing(Exception):
    """A component is absent and could not be installed."""


def require(component: Component) -> Path:
    """Return where a component is, installing it first if it is absent."""
    found = component.find()
    if found is None:
        _install(component)
        found = component.find()
    if found is None:
        raise ComponentMissing(f"{component.name} is still missing after its installation")
    return found


def _install(component: Component) -> None:
    wanted = " ".join(component.packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ComponentMissing(
            f"{component.name} is missing; install it as root: apt-get install {wanted}"
        )
    print(f"Installing {component.name} ({wanted}) …", file=sys.stderr, flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["update"],
        ["install", "--yes", "--no-install-recommends", *component.packages],
    ):
        done = subprocess.run(
            ["apt-get", "--quiet", *command],
            env=quiet,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
            raise ComponentMissing(
                f"{component.name} could not be installed: apt-get {command[0]}: {last[0]}"
            )


def main() -> int:
    missing = []
    for component in COMPONENTS:
        try:
            print(f"{component.name}: {require(component)}")
        except ComponentMissing as error:
            print(f"error: {error}", file=sys.stderr)
            missing.append(component.name)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
