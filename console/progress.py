"""Progress for people: transient lines on a terminal, nothing where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

WIDTH = 68
_CLEAR = "\r\x1b[K"


def tell(doing: str) -> None:
    """Show what is being done, on one line that the next one replaces; empty text clears it."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{_CLEAR}  … {doing}"[: WIDTH + 12] if doing else _CLEAR)
        sys.stderr.flush()


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show a step while it runs and, afterwards, how long it took."""
    tell(title)
    begun = time.monotonic()
    yield
    tell("")
    line = f"  ✓ {title}"
    sys.stderr.write(f"{line:<{WIDTH}}{time.monotonic() - begun:6.1f} s\n")
    sys.stderr.flush()
