"""Where `gatepost` processes are born with their imports behind them, which are most of what a start costs.

Run as a program it imports what the commands do, and forks for each that is asked for: the same code under the same
arguments, environment, folder and output. One serves each process of the tests, and ends with it. What a gateway
starts itself, workers and reading processes, is started as ever.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_MODULES: Final = (
    "gateway.cli.app", "gateway.node", "gateway.registry", "gateway.cli.reach", "gateway.spool.sqlite",
    "gateway.spool.postgres", "connectors.smtp", "connectors.filedrop", "connectors.filedrop.cli", "uvloop",
)  # fmt: skip
_PREFIXES: Final = ("PYTHON", "LD_", "MALLOC_", "UV_")
"""Variables that tell at a process's start; who sets one gets a process of its own."""


class Born:
    """A process of the nursery; what `subprocess.Popen` has of one, as far as tests ask."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        if self.returncode is None:
            status = self._nursery.ask({"poll": self.pid})
            self.returncode = None if status is None else os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("gatepost", timeout or 0)
            time.sleep(0.005)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The tests' end of it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: the modules beside this file are no packages.
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._line = ours.makefile("rwb")
        ours.close()

    def ask(self, request: dict[str, Any]) -> Any:
        self._line.write(json.dumps(request).encode() + b"\n")
        self._line.flush()
        return json.loads(self._line.readline())

    def start(self, args: Sequence[str], log: Path, errors: Path, env: Mapping[str, str]) -> Born:
        """Start `gatepost ARGS`, its output added to the ends of two files (or of one)."""
        request = {"args": list(args), "log": str(log), "errors": str(errors), "env": {**os.environ, **env}}
        return Born(self, self.ask({**request, "cwd": os.getcwd()}))

    def run(self, args: Sequence[str], env: Mapping[str, str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run `gatepost ARGS` to its end. Raises: subprocess.TimeoutExpired."""
        with tempfile.TemporaryDirectory() as folder:
            out, errors = Path(folder) / "out", Path(folder) / "err"
            born = self.start(args, out, errors, env)
            try:
                status = born.wait(timeout_s)
            except subprocess.TimeoutExpired:
                born.kill()
                born.wait()
                raise
            return subprocess.CompletedProcess(list(args), status, out.read_text(), errors.read_text())


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


def _serve(line: Any) -> dict[str, Any] | None:
    """Answer what is asked; return the request in a process that is born, None at the end of it all."""
    while request := line.readline():
        asked: dict[str, Any] = json.loads(request)
        if "poll" in asked:
            pid, status = 0, 0
            with suppress(ChildProcessError):
                pid, status = os.waitpid(asked["poll"], os.WNOHANG)
            answer = status if pid else None
        else:
            answer = os.fork()
            if not answer:
                return asked
        line.write(json.dumps(answer).encode() + b"\n")
        line.flush()
    return None


def _become(asked: dict[str, Any], line: Any) -> None:
    """Have the streams, session, folder, environment and arguments that were asked for."""
    line.close()
    os.setsid()
    for number, path in ((1, asked["log"]), (2, asked["errors"])):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["gatepost", *asked["args"]]


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as end:
        line = end.makefile("rwb")
    for name in _MODULES:
        importlib.import_module(name)
    asked = _serve(line)
    if asked is not None:
        _become(asked, line)
        from gateway.cli import main as gatepost

        gatepost()


if __name__ == "__main__":
    main()
