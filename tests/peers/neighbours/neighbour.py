"""What the neighbours have in common: a folder in a root folder of theirs, a port, and a mailbox."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Self

from tests.peers.chroot import Chroot, chroot
from tests.peers.process import AS_ROOT, Process, answers, free_port, wait_until


class Neighbour(ABC):
    """One server: it takes mail for `address`, knows nobody else in `domain`, and sends all other mail to `next_hop`.

    `next_hop` is a loopback port. Use it as a context.
    """

    name: str

    @property
    def domain(self) -> str:
        return f"{self.name}.example"

    @property
    def address(self) -> str:
        return f"bob@{self.domain}"

    def __init__(self, next_hop: int) -> None:
        self.next_hop = next_hop
        self.port = free_port()

    @abstractmethod
    def start(self) -> Self:
        """Start it and wait until it greets. Raises: RuntimeError with what it said."""

    @abstractmethod
    def stop(self) -> None:
        """End it and remove its folder."""

    @abstractmethod
    def mailbox(self) -> list[bytes]:
        """Return the messages that came for `address`."""

    @abstractmethod
    def said(self) -> str:
        """Return its log."""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


class InChroot(Neighbour):
    """One that lives in a root folder; `alone` where its files have fixed places, so that one runs at a time."""

    packages: tuple[str, ...]
    alone = False

    def __init__(self, next_hop: int) -> None:
        super().__init__(next_hop)
        self.root: Chroot = chroot(*self.packages)
        self._lock: IO[str] | None = None
        if self.alone:
            self._lock = (Path("/var/tmp") / f"gatepost-{self.name}-{os.getuid()}.lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        made = self.root.run(["mktemp", "-d", f"/srv/{self.name}-XXXXXX"]).stdout.decode().strip()
        self.inside = made
        self.folder = self.root.path / made.lstrip("/")
        self.root.run(["chmod", "755", made])
        self.log = Path("/var/tmp") / f"gatepost-{self.name}-{os.getpid()}-{self.port}.log"
        self.process: Process | None = None

    def write(self, path: str, text: str) -> None:
        """Write a file in its root folder; a relative path is below its own folder."""
        self.root.run(["tee", path if path.startswith("/") else f"{self.inside}/{path}"], stdin=text.encode())

    def run_server(self, *words: str) -> None:
        """Run a server that stays in front, until it greets."""
        self.process = process = Process(self.root.command(words), self.log)
        wait_until(lambda: not process.is_alive or answers(self.port, b"220"), 60, f"{self.name} greets")
        if not process.is_alive:
            raise RuntimeError(f"{self.name} ended at once: {process.said()[-3000:]}")

    def said(self) -> str:
        return self.process.said() if self.process is not None else ""

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
        self.end_leftovers()
        subprocess.run([*AS_ROOT, "rm", "-rf", "--one-file-system", str(self.folder)], check=False)
        self.log.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def end_leftovers(self) -> None:
        """End what it started besides: all processes whose root folder is its own and that know its folder."""

    def end_all_in_root(self) -> None:
        """End every process whose root is this root folder; only for servers that are alone in it."""
        root = str(self.root.path)
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if os.readlink(entry / "root") == root:
                    os.kill(int(entry.name), signal.SIGKILL)

    def files_in(self, path: str) -> list[bytes]:
        """Return the contents of a folder's files by name; nothing where there is no such folder."""
        listed = self.root.run(["find", path, "-maxdepth", "1", "-type", "f"], check=False).stdout.decode()
        return [self.root.run(["cat", each]).stdout for each in sorted(listed.split("\n")) if each]
