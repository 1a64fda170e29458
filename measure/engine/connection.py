"""``connect(url)``: one data engine behind one small class.

======================  =======================================================================
URL                     what it opens
======================  =======================================================================
``duckdb://``           DuckDB in memory
``warehouse:PATH``      the embedded warehouse: Parquet files under PATH named by its manifest
``postgresql://…``      a PostgreSQL database
``spark://local[2]``    Spark, local or a cluster (optional extra ``truelift[spark]``)
======================  =======================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from measure.errors import EngineError, UnknownName

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

    from measure.engine.expressions import Table


class Engine:
    """A connection to tables; all queries go through it, none is written as text elsewhere."""

    def __init__(self, backend: Any, url: str) -> None:
        self.backend = backend
        self.url = url

    @property
    def name(self) -> str:
        """``duckdb``, ``postgres`` or ``pyspark``."""
        return str(self.backend.name)

    def tables(self) -> tuple[str, ...]:
        """Names of all tables, sorted."""
        return tuple(sorted(self.backend.list_tables()))

    def table(self, name: str) -> Table:
        """A table as an expression; :class:`UnknownName` when there is none."""
        if name not in self.tables():
            raise UnknownName.of("table", name, self.tables())
        return self.backend.table(name)

    def has(self, name: str) -> bool:
        """Whether a table exists."""
        return name in self.tables()

    def register(self, name: str, data: pa.Table) -> Table:
        """Create (or replace) a table from Arrow data."""
        import ibis

        self.backend.create_table(name, ibis.memtable(data), overwrite=True)
        return self.backend.table(name)

    def fetch(self, expression: Any) -> pa.Table:
        """Run a query and return its rows as Arrow."""
        return (
            expression.to_pyarrow()
            if self.name != "postgres"
            else self.backend.to_pyarrow(expression)
        )

    def close(self) -> None:
        """Give the connection back."""
        self.backend.disconnect()

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
    import ibis

    if url.startswith("warehouse:"):
        return Engine(ibis.duckdb.connect(), url)
    if url == "duckdb://":
        return Engine(ibis.duckdb.connect(), url)
    if url.startswith("postgresql://"):
        return Engine(ibis.connect(url), url)
    raise EngineError(
        f"engine {url!r}: unknown kind; use warehouse:, duckdb://, postgresql:// or spark://"
    )
