"""Where `gatepost` processes are born with their imports behind them, which are most of what a start costs.

Run as a program it imports what the commands do, and forks for each that is asked for: the same code under the same
arguments, environment, folder and streams. One serves all processes of a run of the tests, and ends with the one that
started it. What a gateway starts itself, workers and reading processes, is started as ever.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from tests.peers import gatepost_client
from tests.peers.gatepost_client import asked_for

_MODULES: Final = (
    "gateway.cli.app", "gateway.cli.queue", "gateway.cli.mapping", "gateway.cli.db", "gateway.cli.reach",
    "gateway.node", "gateway.registry", "gateway.config_check", "gateway.mapping_desk.desk", "gateway.spool.sqlite",
    "gateway.spool.postgres", "alembic.command", "sqlalchemy.dialects.postgresql.psycopg", "connectors.smtp.connector",
    "connectors.filedrop.connector", "connectors.filedrop.looking", "connectors.mqtt", "uvloop", "gateway.cli.sync",
    "gateway.sync.runner", "gateway.sync.course", "gateway.sync.watch", "gateway.sync.verify", "gateway.sync.apart",
    "connectors.imap", "connectors.folders", "connectors.pop",
)  # fmt: skip
"""Also what a command imports only where it needs it."""
_PEERS: Final = ("tests.peers.sink", "tests.peers.load")
"""Modules of the tests that are run as programs."""
_CONFIG: Final = """\
[gateway]
name = "gw.example"

[connector.internet]
type = "smtp"
listen = ["127.0.0.1:2525"]
relay_networks = ["127.0.0.0/8"]
smart_host = "127.0.0.1:2526"

[connector.drop]
type = "filedrop"
inbox = "in"
outbox = "out"

[[route]]
match = "smtp:*"
to = "internet"
"""
_PREFIXES: Final = ("PYTHON", "LD_", "MALLOC_", "UV_")
"""Variables that tell at a process's start; who sets one gets a process of its own."""
_LONGEST: Final = 128 * 1024
SHARED: Final = "GATEPOST_TESTS_NURSERY"
"""The variable that names the socket of one that is shared."""
CLIENT: Final = Path(gatepost_client.__file__)


class Born:
    """A process of the nursery; what `subprocess.Popen` has of one, as far as tests ask."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.pid = int(line.recv(64))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._wait(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("gatepost", timeout or 0)
        return status

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._line], [], [], timeout)[0]:
            self.returncode = int(self._line.recv(64))
            self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The tests' end of it; `path` is the socket at which it is asked."""

    def __init__(self, path: Path | None = None) -> None:
        """`path`: of one that another process has started, or starts just now."""
        if path is not None:
            self.path = path
            return
        self._folder = tempfile.TemporaryDirectory(prefix="nursery-")
        self.path = Path(self._folder.name) / "socket"
        ended, self._ends = os.pipe()
        subprocess.Popen(
            [sys.executable, "-m", "tests.peers.nursery", str(self.path), str(ended)],
            pass_fds=(ended,),
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        os.close(ended)

    def ready(self) -> Path:
        """Return the socket once somebody listens there. Raises: TimeoutError."""
        end = time.monotonic() + 60
        while not self.path.exists():
            if time.monotonic() > end:
                raise TimeoutError("no nursery")
            time.sleep(0.02)
        return self.path

    def start(
        self, args: Sequence[str], out: IO[bytes], errors: IO[bytes], env: Mapping[str, str], module: str = ""
    ) -> Born:
        """Start `gatepost ARGS`; `module`: one of the tests' instead."""
        with Path(os.devnull).open("rb") as nothing:
            streams = [nothing.fileno(), out.fileno(), errors.fileno()]
            return Born(asked_for(str(self.ready()), args, {**os.environ, **env}, streams, module))

    def run(self, args: Sequence[str], env: Mapping[str, str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run `gatepost ARGS` to its end. Raises: subprocess.TimeoutExpired."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            born = self.start(args, out, errors, env)
            try:
                status = born.wait(timeout_s)
            except subprocess.TimeoutExpired:
                born.kill()
                born.wait()
                raise
            out.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(list(args), status, out.read().decode(), errors.read().decode())


_nursery: Nursery | None = None


def nursery() -> Nursery:
    """Return the nursery; start it where no process above this one has."""
    global _nursery
    if _nursery is None:
        path = os.environ.get(SHARED)
        _nursery = Nursery(Path(path) if path else None)
    return _nursery


def share() -> None:
    """Have the processes that this one starts use its nursery."""
    os.environ[SHARED] = str(nursery().path)


def suits(env: Mapping[str, str]) -> bool:
    """Tell whether a process of the nursery is the same as one of its own would be."""
    return not any(key.startswith(_PREFIXES) for key in env)


def _warm() -> None:
    """Do once what each start does: what is installed is found, models and migrations are made ready, and kept."""
    from sqlalchemy import create_engine

    from gateway.config import load
    from gateway.spool import migrations as of_the_spool
    from mappings import migrations as of_the_mapping

    with tempfile.TemporaryDirectory(prefix="nursery-") as folder:
        config = Path(folder) / "gatepost.toml"
        config.write_text(_CONFIG)
        load(config, dry=True)
    for upgrade in (of_the_spool.upgrade, of_the_mapping.upgrade):
        engine = create_engine("sqlite://")
        with engine.connect() as connection:
            upgrade(connection)
        engine.dispose()


def _serve(listener: socket.socket, ended: int) -> tuple[dict[str, Any], list[int]] | None:
    """Answer who asks; return what was asked for, and the streams, in a process that is born, None at the end."""
    while True:
        ready, _, _ = select.select([listener.fileno(), ended], [], [])
        if ended in ready:
            return None
        with listener.accept()[0] as line:
            octets, streams, _, _ = socket.recv_fds(line, _LONGEST, 3)
            if not octets:
                continue
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                os.close(ended)
                pid = os.fork()
                if not pid:
                    return json.loads(octets), streams
                _tell(line, pid, streams)
        for stream in streams:
            os.close(stream)


def _tell(line: socket.socket, pid: int, streams: Sequence[int]) -> None:
    """Tell of a process that is born, and of its end; end then. Who asked may be gone by then."""
    os.setsid()
    for stream in (*streams, 0, 1, 2):
        os.close(stream)
    with suppress(OSError):
        line.send(b"%d" % pid)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        line.send(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(asked: dict[str, Any], streams: Sequence[int]) -> None:
    """Have the streams, session, folder, environment and arguments that were asked for."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = [asked["module"] or "gatepost", *asked["args"]]


def main() -> None:
    path, ended = sys.argv[1:]
    for name in (*_MODULES, *_PEERS):
        importlib.import_module(name)
    # As the installed program has it, and not what is beside the tests.
    sys.path[:] = [entry for entry in sys.path if entry and not (Path(entry) / "tests" / "peers").is_dir()]
    _warm()
    gc.collect()
    gc.freeze()  # else each process that is born looks through all of it, and so copies it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that tell of an end are waited for by nobody
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"{path}.new")
        listener.listen(64)
        Path(f"{path}.new").rename(path)
        asked = _serve(listener, int(ended))
    if asked is not None:
        _become(*asked)
        _end(importlib.import_module(asked[0]["module"] or "gateway.cli").main)


def _end(program: Callable[[], object]) -> NoReturn:
    """Run a program and end as the interpreter does, but for taking two thousand modules apart, which nobody sees."""
    status: object = 0
    try:
        program()
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 - told as the interpreter tells it
        traceback.print_exc()
        status = 1
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit((status or 0) & 0xFF)


if __name__ == "__main__":
    main()
