"""A private PostgreSQL server: made in a folder of its own, on a free loopback port, gone afterwards.

Durable as shipped (fsync and synchronous_commit on). Runs as user `postgres` where we are root, since the
server refuses to; as ourselves otherwise. A fresh cluster is a copy of one that `initdb` has made once, which takes a
second of the processor; it is kept under /var/tmp for later runs.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.scratch import SCRATCH

_START_S: Final = 30.0
_FRESH: Final = Path("/var/tmp")
_INITDB: Final = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")


def find_binaries() -> Path:
    """Return the folder of the newest server programs installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if not found:
        raise RuntimeError("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    return found[-1].parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PostgresServer:
    """A server with the database `postgres` and the superuser `postgres`, open to this machine."""

    def __init__(self, parent: Path | str = SCRATCH) -> None:
        self._binaries = find_binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-pg-", dir=parent))
        self._as_user: list[str] = []
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        self.data = self.folder / "data"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._free: list[str] = []
        self._numbers = itertools.count()
        try:
            self._run("cp", "-a", str(self._fresh()), str(self.data))
        except BaseException:
            self.remove()
            raise

    def _fresh(self) -> Path:
        """Return a cluster that no server has run on, of this version and user; make it where there is none."""
        top = _FRESH / f"gatepost-pg-fresh-{self._binaries.parts[-2]}-{os.getuid()}"
        top.mkdir(exist_ok=True)
        if self._as_user:
            os.chown(top, pwd.getpwnam("postgres").pw_uid, -1)
        made = top / "data"
        with (top / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                half = top / "half"
                shutil.rmtree(half, ignore_errors=True)
                self._run(str(self._binaries / "initdb"), "-D", str(half), *_INITDB)
                half.rename(made)
        return made

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_user, program, *arguments],
            capture_output=True, text=True, cwd=self.folder, env=_environment(), check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr or done.stdout}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 60,
            "shared_buffers": "128MB",
            "logging_collector": "off",
        }
        options = [f"-c{name}={value}" for name, value in settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, str(self._binaries / "postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=_environment(),
                start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + _START_S
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > until or self._process.poll() is not None:
                    log_text = (self.folder / "log").read_text(errors="replace")[-2000:]
                    self.stop()
                    raise RuntimeError(f"the PostgreSQL server does not start: {error}\n{log_text}") from error
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server; SIGINT drops its clients, SIGQUIT is as good as a crash."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """Stop the server and remove everything of it."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=3
        )

    def new_database(self, name: str) -> str:
        """Make an empty database; returns its URL as a spool's."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def drop_database(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Lend an empty database by its URL; it is emptied and lent again, since to make one and to drop it takes ten
        times as long."""
        if self._free:
            name = self._free.pop()
        else:
            self.new_database(name := f"lent{next(self._numbers)}")
        yield self.url(name)
        with self.connect(name) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        self._free.append(name)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
