"""Run the installed command as a user does."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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
