"""Gatepost itself as a process under test: `gatepost run -c` on a configuration made for the test.

SMTP comes in on a free loopback port and goes to a smart host, as an administrator would set it up; nothing is
turned off that ships turned on. What a test must bend is given as extra lines of TOML.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.answers import merge
from gateway.config import GatewaySection, state_dir
from gateway.control import ControlError, ask_all
from tests.peers.nursery import nursery, suits
from tests.peers.process import AS_ROOT, Process, answers, cpu_s, descendants, free_port, vm_hwm_bytes, wait_until

CONFIG = """\
[gateway]
name = "gw.example"
spool = {spool}
{workers}
postmaster = "postmaster@gw.example"
admin_listen = "127.0.0.1:{admin}"
{gateway}
[connector.internet]
type = "smtp"
listen = ["127.0.0.1:{port}"]
relay_networks = ["127.0.0.0/8"]
smart_host = "127.0.0.1:{next_hop}"
{connector}
[[route]]
match = "smtp:*"
to = "internet"
{more}
"""


class Gateway:
    """One gateway in `folder`. Use it as a context, or `start`, `kill` and `start` again on what is left.

    `gateway` and `connector` are lines for the two tables of these names, `more` is appended.
    `spool` is a database's URL; absent, a folder of SQLite beside the configuration. `workers` None leaves their number
    to the gateway.
    """

    def __init__(
        self,
        folder: Path,
        next_hop: int,
        *,
        workers: int | None = 1,
        spool: str | None = None,
        gateway: str = "",
        connector: str = "",
        more: str = "",
        env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        self.folder = folder
        self.port, self.admin = port or free_port(), free_port()
        self.spool = folder / "spool"
        self.config = folder / "gatepost.toml"
        self.log = folder / "gatepost.log"
        self.env = dict(env or {})
        self.wrapper = list(wrapper)
        self.process: Process | None = None
        self.config.write_text(
            CONFIG.format(
                spool=json.dumps(spool or "sqlite:///spool"),
                workers="" if workers is None else f"workers = {workers}",
                admin=self.admin,
                gateway=gateway,
                port=self.port,
                next_hop=next_hop,
                connector=connector,
                more=more,
            )
        )

    @property
    def command(self) -> Path:
        """Return the installed `gatepost`, the one an administrator would call."""
        return Path(sys.executable).parent / "gatepost"

    def start(self, timeout_s: float = 30.0) -> Gateway:
        """Start it and wait until it is healthy and greets. Raises: RuntimeError with its log."""
        words: list[str | Path] = [self.command, "run", "-c", self.config]
        if self.wrapper or not suits(self.env):
            self.process = Process([*self.wrapper, *words], self.log, self.env)
        else:
            with self.log.open("ab") as log:
                born = nursery().start([str(word) for word in words[1:]], log, log, self.env)
            self.process = Process(words, self.log, popen=born)
        process = self.process
        try:
            wait_until(
                lambda: not process.is_alive or (self.is_healthy() and answers(self.port, b"220")),
                timeout_s,
                "gatepost is ready",
            )
        except TimeoutError as fault:
            process.kill()
            raise RuntimeError(f"{fault}\n{process.said()[-4000:]}") from fault
        if not process.is_alive:
            raise RuntimeError(f"gatepost ended at once\n{process.said()[-4000:]}")
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def metrics(self) -> dict[str, float]:
        """Return /metrics: each sample's value by its name with labels, as it is printed."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = {}
        for line in lines:
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def cli(self, *args: str, timeout_s: float = 60.0) -> Any:
        """Run `gatepost ... --json` on this configuration and return what it printed. Raises: RuntimeError."""
        words = [*args, "-c", str(self.config), "--json"]
        if suits(self.env):
            ran = nursery().run(words, self.env, timeout_s)
        else:
            ran = subprocess.run(
                [self.command, *words],
                capture_output=True,
                text=True,
                timeout=timeout_s,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
            )
        if ran.returncode != 0:
            raise RuntimeError(f"gatepost {' '.join(args)}: {ran.returncode}\n{ran.stdout}{ran.stderr}")
        return json.loads(ran.stdout)

    def asked(self, command: str, **given: Any) -> Any:
        """Return what the workers answer to a command's question: that of `cli`, without a process for each time.

        Raises: ControlError, NotRunning.
        """
        section = GatewaySection.model_validate(tomllib.loads(self.config.read_text())["gateway"])
        return merge(command, asyncio.run(ask_all(state_dir(section, self.folder), command, given)))

    def rows(self, limit: int = 10_000) -> list[dict[str, Any]]:
        """Return the deliveries that `gatepost queue list` tells."""
        try:
            found: list[dict[str, Any]] = self.asked("queue.list", where={}, limit=limit)["rows"]
        except ControlError:  # it does not run, or is just ending
            found = self.cli("queue", "list", "--limit", str(limit))["rows"]
        return found

    def queued(self) -> int:
        """Return how many deliveries are in the spool, up to the command's own limit."""
        return len(self.rows(100))

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its workers."""
        return cpu_s(self.pid)

    def vm_hwm_bytes(self) -> int:
        """Return the most memory that any one of its processes has held."""
        return max(vm_hwm_bytes(each) for each in descendants(self.pid))

    def kill(self) -> None:
        """SIGKILL all of it."""
        assert self.process is not None
        self.process.kill()

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, and return its exit status."""
        assert self.process is not None
        if self.wrapper:
            # strace passes no signal on, and ends with what it traces.
            for each in list(descendants(self.pid))[1:2]:
                os.kill(each, signal.SIGTERM)
            return self.process.popen.wait(timeout_s)
        return self.process.stop(timeout_s)

    def wipe(self) -> None:
        """Remove the spool of a stopped gateway."""
        shutil.rmtree(self.spool, ignore_errors=True)

    def __enter__(self) -> Gateway:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.is_alive:
            self.process.kill()


class SmallDisk:
    """A tmpfs of a few MiB, to be filled. Needs root (or sudo)."""

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.folder = folder
        self.size_mib = size_mib

    def __enter__(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        options = f"size={self.size_mib}m,uid={os.getuid()},mode=0700"
        command = [*AS_ROOT, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)
        return self.folder

    def __exit__(self, *_: object) -> None:
        subprocess.run([*AS_ROOT, "umount", "-l", str(self.folder)], check=True, capture_output=True)
