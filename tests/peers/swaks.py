"""swaks, the Swiss army knife for SMTP, as administrators use it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """How a run of swaks ended: its status and the whole dialog."""

    status: int
    dialog: str


def swaks(port: int, *options: str, sender: str = "ann@source.example", to: str = "bob@target.example") -> Said:
    """Send one message. `options` are those of swaks(1)."""
    command = ["swaks", "--server", "127.0.0.1", "--port", str(port), "--ehlo", "swaks.example"]
    command += ["--from", sender, "--to", to, "--timeout", "20", *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return Said(ran.returncode, ran.stdout + ran.stderr)
