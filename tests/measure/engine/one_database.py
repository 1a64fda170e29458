"""One embedded database for many small loads: opening one takes longer than loading ten rows."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from measure.engine import loading
from measure.engine.embedded import open_database


@contextmanager
def one_database() -> Iterator[None]:
    """Every load within opens a session of the same database; each has its own tables."""
    with pytest.MonkeyPatch.context() as patch, open_database() as database:
        database.execute("SET threads = 1")
        patch.setattr(loading, "open_database", lambda: nullcontext(database))
        yield
