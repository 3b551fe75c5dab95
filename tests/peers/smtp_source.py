"""Postfix's own load generator, `smtp-source`: real, in C, one command at a time on each session."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class SourceFailed(Exception):
    """smtp-source gave up: the server refused something or went away."""


def args(
    port: int,
    *,
    messages: int,
    size: int = 4096,
    sessions: int = 20,
    reuse: bool = True,
    sender: str = "load@source.example",
    recipient: str = "sink@target.example",
    file: Path | None = None,
    numbered: bool = False,
) -> list[str]:
    """Return the command: `size` octets of content each; a connection per message unless `reuse`.

    `numbered` puts a number that goes up from 1 in front of each recipient.
    """
    command = ["smtp-source", "-s", str(sessions), "-m", str(messages), "-f", sender, "-t", recipient]
    command += ["-M", "source.example", *(["-d"] if reuse else []), *(["-N"] if numbered else [])]
    command += ["-F", str(file)] if file else ["-l", str(size)]
    return [*command, f"127.0.0.1:{port}"]


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin"}


def send(command: list[str], timeout_s: float = 300.0) -> None:
    """Run it to its end: every message was answered 250 when this returns. Raises: SourceFailed."""
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, env=environment(), stdin=subprocess.DEVNULL
    )
    if ran.returncode != 0 or "fatal" in ran.stderr:
        raise SourceFailed(f"{ran.returncode}: {ran.stdout[-500:]}{ran.stderr[-500:]}")
