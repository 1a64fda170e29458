"""Run the command as a user does: in this process, or as the installed program.

Starting a Python and importing what an analysis needs takes seconds, so tests call the entry
point here, each time with the state of a process of its own: arguments, folder, environment,
standard streams (whatever writes to their file descriptors is caught too), warnings as an
interpreter shows them, and logging. What only a process can show (its start, its exit, being
killed, running beside another) is asked of the :func:`installed` program, in ``test_process``.
"""

import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TextIO
from unittest.mock import patch

COMMAND = Path(sys.executable).with_name("truelift")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def refused(self, *words: str) -> None:
        """Assert one clear line, exit code 2, and that the line holds these words."""
        assert self.code == 2, (self.code, self.out, self.err)
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("truelift: ")
        assert "Traceback" not in self.err
        assert self.out == ""
        for word in words:
            assert word in lines[0], lines[0]


def truelift(*arguments: object, cwd: Path | None = None, **environment: str) -> Ran:
    """Run the command in this process."""
    (entry,) = entry_points(group="console_scripts", name=COMMAND.name)
    with _stream("stdout", 1) as out, _stream("stderr", 2) as err:
        with _process(list(map(str, arguments)), cwd, environment):
            code = _exit_code(entry.load())
        return Ran(code, _written(out), _written(err))


def installed(*arguments: object, cwd: Path | None = None, **environment: str) -> Ran:
    """Run the installed program in a process of its own."""
    done = subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def _exit_code(main) -> int:
    try:
        main()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            sys.stderr.write(f"{stop.code}\n")
            return 1
        return int(stop.code or 0)
    return 0


@contextmanager
def _process(arguments: list[str], cwd: Path | None, environment: dict[str, str]) -> Iterator[None]:
    """What a new process would find, and nothing of it kept afterwards."""
    with ExitStack() as state:
        state.enter_context(patch.dict(os.environ, environment))
        state.enter_context(chdir(cwd or Path.cwd()))
        state.enter_context(patch.object(sys, "argv", [str(COMMAND), *arguments]))
        nothing = state.enter_context(Path(os.devnull).open(encoding="utf-8"))
        state.enter_context(patch.object(sys, "stdin", nothing))
        state.enter_context(patch.object(logging.root, "handlers", [logging.lastResort]))
        state.enter_context(warnings.catch_warnings())
        warnings.resetwarnings()
        for ignored in (DeprecationWarning, PendingDeprecationWarning, ImportWarning):
            warnings.simplefilter("ignore", ignored)
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.filterwarnings("default", category=DeprecationWarning, module="__main__")
        warnings.showwarning = _show
        yield


def _show(message, category, filename, lineno, file=None, line=None) -> None:
    (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


@contextmanager
def _stream(name: str, descriptor: int) -> Iterator[TextIO]:
    """A file in place of a standard stream and of its descriptor."""
    kept = os.dup(descriptor)
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
            os.dup2(file.fileno(), descriptor)
            with patch.object(sys, name, file):
                yield file
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


def _written(file: TextIO) -> str:
    file.flush()
    file.seek(0)
    return file.read()
