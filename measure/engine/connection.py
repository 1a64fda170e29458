"""``connect(url)``: one data engine behind one small class.

======================  =======================================================================
URL                     what it opens
======================  =======================================================================
``duckdb://``           DuckDB in memory
``warehouse:PATH``      the embedded warehouse: Parquet files under PATH named by its manifest
``postgresql://…``      a PostgreSQL database
``spark://local[2]``    Spark, local or a cluster (optional extra ``truelift[spark]``)
others                  whatever Ibis connects to by URL
======================  =======================================================================
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from measure.engine.embedded import identifier, open_embedded, quietly, read_parts, sql
from measure.engine.manifest import table_files
from measure.errors import EngineError, UnknownName

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

    from measure.engine.expressions import Table

_CONNECT_SECONDS = 10


class Engine:
    """A connection to tables; what one engine does differently from another is in here."""

    def __init__(self, backend: Any, url: str) -> None:
        self.backend = backend
        self.url = url

    @property
    def name(self) -> str:
        """``duckdb``, ``postgres`` or ``pyspark``."""
        return str(self.backend.name)

    def tables(self) -> tuple[str, ...]:
        """Names of all tables, sorted."""
        with self._border():
            return tuple(sorted(self.backend.list_tables()))

    def table(self, name: str) -> Table:
        """A table as an expression; :class:`UnknownName` when there is none."""
        if not self.has(name):
            raise UnknownName.of("table", name, self.tables())
        with self._border():
            return self.backend.table(name)

    def has(self, name: str) -> bool:
        """Whether a table exists."""
        return name in self.tables()

    def register(self, name: str, data: pa.Table) -> Table:
        """Create (or replace) a table from Arrow data; on Spark it lives as long as the session."""
        import ibis

        with self._border():
            if self.name == "pyspark":
                self._spark.createDataFrame(data).createOrReplaceTempView(name)
            else:
                self.backend.create_table(name, ibis.memtable(data), overwrite=True)
            return self.backend.table(name)

    def materialize(self, expression: Table) -> Table:
        """Compute a table once, so that several queries can read it; it goes with the engine."""
        name = f"truelift_{uuid.uuid4().hex}"
        with self._border():
            if self.name == "pyspark":
                frame = self._spark.sql(self.backend.compile(expression))
                frame.cache().createOrReplaceTempView(name)
                return self.backend.table(name)
            return self.backend.create_table(name, expression, temp=True)

    def hold(self, data: pa.Table) -> Table:
        """Arrow data as a table that goes with the engine and that nobody finds by its name."""
        if self.name == "pyspark":
            return self.register(f"truelift_{uuid.uuid4().hex}", data)
        import ibis

        return self.materialize(ibis.memtable(data))

    def is_derived(self, table: Table) -> bool:
        """Whether reading a table expression means computing it anew each time."""
        from ibis.expr.operations import PhysicalTable

        return not isinstance(table.op(), PhysicalTable)

    def fetch(self, expression: Any) -> pa.Table:
        """Run a query and return its rows as Arrow; :class:`EngineError` says why it could not."""
        with self._border():
            if self.name != "pyspark":
                return expression.as_table().to_pyarrow()
            # By way of pandas, as Ibis does it, 64-bit integers beside a missing one lose digits.
            rows = self._spark.sql(self.backend.compile(expression.as_table())).toArrow()
            return rows.cast(expression.as_table().schema().to_pyarrow())

    def batches(self, expression: Table, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a query as Arrow, about ``rows`` at a time and never all of them at once."""
        with self._border():
            reader = expression.to_pyarrow_batches(chunk_size=rows)
        while True:
            with self._border():
                batch = next(reader, None)
            if batch is None:
                return
            yield batch

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Sum floats in the order of the rows, so that they come out the same each time.

        On DuckDB one thread reads meanwhile; the work is the same, it takes longer by the clock.
        PostgreSQL and Spark promise no order.
        """
        if self.name != "duckdb":
            yield
            return
        connection = self.backend.con
        (threads,) = connection.execute("SELECT current_setting('threads')").fetchone()
        connection.execute("SET threads = 1")
        try:
            yield
        finally:
            connection.execute(f"SET threads = {int(threads)}")

    def close(self) -> None:
        """Give the connection back."""
        self.backend.disconnect()

    @property
    def _spark(self) -> Any:
        return self.backend._session  # noqa: SLF001 - Ibis has no public name for it

    @contextmanager
    def _border(self) -> Iterator[None]:
        """One line instead of an engine's own traceback."""
        try:
            with quietly():
                yield
        except _engine_errors(self.name) as error:
            raise EngineError(f"{self.name} could not answer: {_one_line(error)}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def connect(url: str = "duckdb://") -> Engine:
    """Open the engine a URL names; :class:`EngineError` says what could not be reached."""
    if url.startswith("warehouse:"):
        return Engine(_open_warehouse(Path(url.removeprefix("warehouse:"))), url)
    if url in ("duckdb://", "duckdb://:memory:"):
        return Engine(open_embedded(), url)
    if url.startswith(("postgresql://", "postgres://")):
        return Engine(_open_postgres(url), url)
    if url.startswith("spark://"):
        from measure.engine.spark import open_spark

        return Engine(open_spark(url), url)
    return Engine(_open_other(url), url)


def _open_warehouse(root: Path) -> Any:
    """DuckDB in memory with one view per loaded table; the Parquet files are only read."""
    backend = open_embedded()
    for table, files in table_files(root).items():
        view = sql(
            "CREATE VIEW $name AS FROM $parts", name=identifier(table), parts=read_parts(files)
        )
        backend.con.execute(view)
    return backend


def _rendered_from_a_copy(backend: Any) -> Any:
    """Make a backend render SQL from a copy of the query it has built.

    Ibis 12 renders in place. Where a table with an anti-join is used twice, both uses share one
    node; sqlglot rewrites it as NOT EXISTS at the first and leaves ANTI JOIN at the second.
    """

    def compile(expression: Any, **options: Any) -> str:  # noqa: A001 - the name in Ibis
        options.pop("pretty", None)
        query = backend.compiler.to_sqlglot(expression, **options)
        return str(query.sql(dialect=backend.dialect))

    backend.compile = compile
    return backend


def _open_postgres(url: str) -> Any:
    import ibis
    import psycopg

    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    options.setdefault("connect_timeout", str(_CONNECT_SECONDS))
    place = f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
    try:
        bare = parts._replace(query="", scheme="postgres").geturl()
        backend = ibis.postgres._from_url(urlsplit(bare), **options)  # noqa: SLF001
        with backend._safe_raw_sql("SET TimeZone TO 'UTC'"):  # noqa: SLF001
            pass
    except psycopg.Error as error:
        raise EngineError(
            f"postgresql://{place}: {_one_line(error)}. "
            "Check that the server runs and that user, password and database are right."
        ) from error
    return _rendered_from_a_copy(backend)


def _open_other(url: str) -> Any:
    import ibis

    try:
        return ibis.connect(url)
    except Exception as error:  # each backend has errors of its own
        raise EngineError(
            f"engine {_without_password(url)!r}: {_one_line(error)}. "
            "Use warehouse:PATH, duckdb://, postgresql://… or spark://…"
        ) from error


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username}:…@{parts.hostname}").geturl()


def _engine_errors(name: str) -> tuple[type[Exception], ...]:
    """The exceptions an engine raises for its own reasons."""
    if name == "duckdb":
        import duckdb

        return (duckdb.Error,)
    if name == "postgres":
        import psycopg

        return (psycopg.Error,)
    if name == "pyspark":
        from pyspark.errors import PySparkException

        return (PySparkException,)
    return ()


def _one_line(error: Exception) -> str:
    """The first lines of an engine's message as one, without passwords or query text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines else type(error).__name__
    return (text if len(text) <= 300 else text[:297] + "…").rstrip(".")
