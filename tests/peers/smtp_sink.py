"""Postfix's own `smtp-sink`: takes all mail and forgets it; the next hop where nothing but speed counts."""

from __future__ import annotations

import os
from pathlib import Path

from tests.peers.process import Process, answers, free_port, wait_until


class SmtpSink:
    """One running smtp-sink. Use it as a context."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        # Root must name another user; the program drops to it after it has its socket.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = ["smtp-sink", *user, f"127.0.0.1:{self.port}", "1024"]
        path = os.environ.get("PATH", "") + ":/usr/sbin"
        self.process = Process(command, folder / f"smtp-sink-{self.port}.log", {"PATH": path})

    def __enter__(self) -> SmtpSink:
        wait_until(lambda: answers(self.port, b"220"), 60, "smtp-sink greets")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
