"""Where `gatepost` processes are born with their imports behind them, which are most of what a start costs.

Run as a program it imports what the commands do, and forks for each that is asked for: the same code under the same
arguments, environment, folder and streams. One serves each process of the tests, and ends with it. What a gateway
starts itself, workers and reading processes, is started as ever.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

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
_PREFIXES: Final = ("PYTHON", "LD_", "MALLOC_", "UV_")
"""Variables that tell at a process's start; who sets one gets a process of its own."""
_LONGEST: Final = 128 * 1024
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

    def __init__(self) -> None:
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
        end = time.monotonic() + 60
        while not self.path.exists():
            if time.monotonic() > end:
                raise TimeoutError("no nursery")
            time.sleep(0.02)

    def start(self, args: Sequence[str], out: IO[bytes], errors: IO[bytes], env: Mapping[str, str]) -> Born:
        """Start `gatepost ARGS`."""
        with Path(os.devnull).open("rb") as nothing:
            streams = [nothing.fileno(), out.fileno(), errors.fileno()]
            return Born(asked_for(str(self.path), args, {**os.environ, **env}, streams))

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
    """Return this process's nursery."""
    global _nursery
    if _nursery is None:
        _nursery = Nursery()
    return _nursery


def suits(env: Mapping[str, str]) -> bool:
    """Tell whether a process of the nursery is the same as one of its own would be."""
    return not any(key.startswith(_PREFIXES) for key in env)


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
    # As the installed program has it, and not what is beside the tests.
    sys.path[:] = [entry for entry in sys.path if entry and not (Path(entry) / "tests" / "peers").is_dir()]
    sys.argv = ["gatepost", *asked["args"]]


def main() -> None:
    path, ended = sys.argv[1:]
    for name in _MODULES:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that tell of an end are waited for by nobody
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"{path}.new")
        listener.listen(64)
        Path(f"{path}.new").rename(path)
        asked = _serve(listener, int(ended))
    if asked is not None:
        _become(*asked)
        from gateway.cli import main as gatepost

        gatepost()


if __name__ == "__main__":
    main()
