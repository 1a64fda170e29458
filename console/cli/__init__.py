"""The `truelift` command: one clear line on bad input, exit code 2, never a traceback."""

from __future__ import annotations

import os
import sys

from measure.errors import TrueliftError

INTERRUPTED = 130
"""What Typer makes of Ctrl-C."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 it ran, 2 the input was wrong, 1 anything else."""
    import typer

    from console.cli.app import app

    try:
        code = app(args=arguments, prog_name="truelift", standalone_mode=False)
    except typer.TyperException as error:
        _fail(error.format_message(), 2)
    except TrueliftError as error:
        _fail(str(error), error.exit_code)
    except typer.Abort:
        _fail("Stopped.", 1)
    except Exception as error:  # the border: no traceback reaches a user
        if os.environ.get("TRUELIFT_DEBUG"):
            raise
        _fail(
            f"{type(error).__name__}: {error}. This is a defect of Truelift; "
            "set TRUELIFT_DEBUG=1 to see where.",
            1,
        )
    if code == INTERRUPTED:
        _fail("Stopped.", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    """Print one line on standard error and leave."""
    sys.stderr.write(f"truelift: {' '.join(message.split())}\n")
    sys.exit(code)
