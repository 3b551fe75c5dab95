"""A child process under a test: started, watched, killed, and what /proc knows of its cost."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.peers.nursery import Born, nursery

TICKS = os.sysconf("SC_CLK_TCK")
AS_ROOT: tuple[str, ...] = () if os.geteuid() == 0 else ("sudo", "-n")
"""In front of a command that needs root; empty for root itself."""


_LOCKS = Path(tempfile.gettempdir()) / f"gatepost-test-ports-{os.getuid()}"
_held: list[IO[str]] = []


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on now.

    Below the kernel's range for outgoing connections, so that no client takes it before its server has; and kept
    for this process by a lock, so that no other run of the tests does.
    """
    _LOCKS.mkdir(mode=0o777, exist_ok=True)
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = 12000 + int.from_bytes(os.urandom(2), "big") % max(1000, low - 12000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                lock = (_LOCKS / str(port)).open("w")
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            _held.append(lock)
            return port


def wait_until(condition: Callable[[], object], timeout_s: float, what: str, pause_s: float = 0.02) -> None:
    """Return once `condition()` is true. Raises: TimeoutError that names `what`.

    It is asked for again after `pause_s`, or a tenth of what was waited, up to 0.1 s: asking takes the processor from
    what is waited for.
    """
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        if waited > timeout_s:
            raise TimeoutError(f"after {timeout_s:g} s still not: {what}")
        time.sleep(max(pause_s, min(waited / 10, 0.1)))


def answers(port: int, greeting: bytes = b"") -> bool:
    """Say whether something on this loopback port accepts connections, and greets with `greeting`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
            return not greeting or s.recv(256).startswith(greeting)
    except OSError:
        return False


def descendants(pid: int) -> Iterator[int]:
    """Yield `pid` and every process below it that is alive."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from descendants(int(child))


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and all below it, those that have ended and been waited for included."""
    ticks = 0
    for each in descendants(pid):
        try:
            stat = Path(f"/proc/{each}/stat").read_text()
        except OSError:
            continue
        ticks += sum(int(n) for n in stat.rsplit(")", 1)[1].split()[11:15])
    return ticks / TICKS


def vm_hwm_bytes(pid: int) -> int:
    """Return the most memory that a process has held at any time (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def vm_rss_bytes(pid: int) -> int:
    """Return the memory that a process holds now (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


class Process:
    """One child in a session of its own, its output in a file."""

    def __init__(
        self,
        args: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
        popen: subprocess.Popen[bytes] | Born | None = None,
    ) -> None:
        """`popen`: it is started already."""
        self.args = [str(each) for each in args]
        self.log = log
        self.popen = popen or self._started(env)

    @classmethod
    def of_module(cls, module: str, args: Sequence[str], log: Path) -> Process:
        """Start a module of the tests, one that the nursery knows."""
        with log.open("ab") as out:
            return cls([module, *args], log, popen=nursery().start(args, out, out, {}, module))

    def _started(self, env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            return subprocess.Popen(
                self.args,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=None if env is None else {**os.environ, **env},
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def is_alive(self) -> bool:
        return self.popen.poll() is None

    def said(self) -> str:
        """Return all it has printed."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it and all below it at once, as a power cut would: SIGKILL."""
        for each in list(descendants(self.pid)) if self.is_alive else []:
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.popen.wait()

    def stop(self, timeout_s: float = 20.0) -> int:
        """Ask it to end (SIGTERM) and return its exit status. Raises: TimeoutError after killing what did not end."""
        if self.is_alive:
            self.popen.terminate()
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"{self.args[0]} did not end within {timeout_s:g} s:\n{self.said()[-2000:]}") from None
