"""Spark, local or a cluster: one quiet session that listens on the loopback interface alone."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure.errors import EngineError

_LOCAL_OPTIONS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    # Two hundred shuffle files per query are for clusters.
    "spark.sql.shuffle.partitions": "4",
}
_OPTIONS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.catalogImplementation": "in-memory",
}


def open_spark(url: str) -> Any:
    """An Ibis backend for ``spark://local[N]`` or ``spark://host:port``."""
    master = url.removeprefix("spark://")
    local = master.startswith("local")
    try:
        import pyspark  # noqa: F401 - its absence is told apart from any other failure
    except ImportError as error:
        raise EngineError(
            f"{url}: Spark is not installed. Install it with: pip install 'truelift[spark]'"
        ) from error
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise EngineError(
            f"{url}: Java is not installed, and Spark runs on it. Install Java 17, for example "
            "with: apt-get install openjdk-17-jre-headless"
        )
    if local:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    folder = Path(tempfile.mkdtemp(prefix="truelift-spark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    options = _OPTIONS | (_LOCAL_OPTIONS if local else {})
    options["spark.sql.warehouse.dir"] = str(folder / "tables")
    log = folder / "spark.log"
    try:
        with _standard_error_into(log), warnings.catch_warnings():
            # Spark's way over pandas is not used here, see Engine.fetch.
            warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
            return _session(master if local else url, options)
    except Exception as error:  # the gateway raises a handful of unrelated classes
        raise EngineError(
            f"{url}: Spark did not start ({_reason(error, log)}). Check that Java 17 runs and that "
            "the master can be reached."
        ) from error


def _session(master: str, options: dict[str, str]) -> Any:
    import ibis
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master).appName("truelift")
    for name, value in options.items():
        builder = builder.config(name, value)
    return ibis.pyspark.connect(builder.getOrCreate())


@contextmanager
def _standard_error_into(log: Path) -> Iterator[None]:
    """The Java process inherits this standard error, so its chatter goes to a file from now on."""
    kept = os.dup(2)
    try:
        with log.open("ab") as target:
            os.dup2(target.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _reason(error: Exception, log: Path) -> str:
    """The exception's first line, else the last line that Java wrote."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    logged = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return (said[:1] or logged[-1:] or [type(error).__name__])[0][:200].rstrip(".")
