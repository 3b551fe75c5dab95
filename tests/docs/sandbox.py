"""Runs the `console` blocks of a page in a folder of its own, with the files that the page shows.

A page's blocks after a line "`NAME`:" are files; those marked `console` are commands (`$ …`) with what they print,
where `...` stands for any text. A comment `<!-- $ command -->` is run too, for what a reader has done already. A
command that ends in ` &` runs until the page ends. Loopback ports are moved to free ones, so that pages run beside each
other. The folder has the examples' files and the environment, as the project's own folder has.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.peers.gatepost_client import VARIABLE
from tests.peers.nursery import CLIENT, nursery

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(?:^`([^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```$|^<!-- (\$ [^\n]*) -->$", re.MULTILINE | re.DOTALL)
_EXAMPLES = (
    *(f"examples/quickstart/{name}" for name in ("gatepost.toml", "people.csv", "broker.py")),
    *(f"examples/legacy-formats/{name}" for name in ("alarms.csv", "alarms.toml")),
    *(f"examples/merger/{name}" for name in ("gatepost.toml", "acme-exchange.csv", "bolt-domino.csv")),
)
_PORT = re.compile(r"127\.0\.0\.1:(\d{4,5})\b")
_REPEATABLE = (
    "gatepost queue",
    "gatepost trace",
    "gatepost why",
    "gatepost connectors",
    ".venv/bin/gatepost",
    "ls",
    "grep",
    "head",
    "curl",
)


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    title: str | None
    text: str


def blocks(page: Path) -> Iterator[Block]:
    for title, language, text, hidden in _BLOCK.findall(page.read_text(encoding="utf-8")):
        yield Block(language or "console", title or None, text or hidden)


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield (command, expected output) of one console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command = command[:-1] + more.strip()
        yield command, output.rstrip("\n")


def matches(expected: str, got: str) -> bool:
    """Compare outputs; `...` stands for any text, also of several lines.

    Ids, times, spans of time, sizes and Message-IDs differ from run to run and count as equal; runs of blanks count as
    one, since the widths of columns change with what stands in them.
    """
    pattern = "\n".join(re.escape(_even(line)).replace(re.escape("..."), ".*") for line in expected.split("\n"))
    actual = "\n".join(_even(line) for line in got.rstrip("\r\n").split("\n"))
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


_VARYING = (
    (re.compile(r"\b\d{8}T\d+Z\b"), "STAMP"),
    (re.compile(r"\b0[0-9a-hjkmnp-tv-z]{12}\b"), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"(?<![<>])\b\d+ (?:s|min|h|d)\b(?: \d+ (?:min|h)\b)?"), "SPAN"),
    (re.compile(r"\(now\)"), "(SPAN ago)"),
    (re.compile(r"\b\d+ B\b"), "SIZE"),
    (re.compile(r"<[\da-f.]+@[^<>@\s]+>"), "MESSAGE-ID"),
    (re.compile(r"\bgatepost \d+\.\d+\.\d+\b"), "gatepost VERSION"),
)


def _even(line: str) -> str:
    for varying, name in _VARYING:
        line = varying.sub(name, line)
    return re.sub(r"(?<=\S)[ \t]+", " ", line.rstrip())


class Sandbox:
    """One page's folder and the processes that its commands start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports: dict[str, str] = {}
        self._running: list[subprocess.Popen[bytes]] = []
        self._environ = {
            **os.environ,
            VARIABLE: str(nursery().ready()),
            "PATH": os.pathsep.join((str(folder / ".bin"), str(Path(sys.executable).parent), os.environ["PATH"])),
            "COLUMNS": "200",
            "TZ": "UTC",
        }
        for name in _EXAMPLES:
            self.write(name, (ROOT / name).read_bytes().decode("utf-8"))
        (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
        quick = folder / ".bin" / "gatepost"
        quick.parent.mkdir()
        quick.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {CLIENT} "$@"\n')
        quick.chmod(0o755)

    def moved(self, text: str) -> str:
        return _PORT.sub(lambda m: f"127.0.0.1:{self._port(m[1])}", text)

    def moved_back(self, text: str) -> str:
        for shown, real in self._ports.items():
            text = text.replace(f"127.0.0.1:{real}", f"127.0.0.1:{shown}")
        return text

    def _port(self, shown: str) -> str:
        """Return a free port of as many digits, so that columns keep their widths."""
        while shown not in self._ports:
            candidate = str(random.randint(3000, 9999) if len(shown) == 4 else 0)
            with socket.socket() as probe, suppress(OSError):
                probe.bind(("127.0.0.1", int(candidate)))
                self._ports[shown] = str(probe.getsockname()[1])
        return self._ports[shown]

    def write(self, name: str, text: str) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.moved(text).encode("utf-8"))

    def run(self, command: str, expected: str, within_s: float = 15.0) -> str:
        """Run a command and return what it printed; commands that only look are repeated until it is as expected."""
        moved = self.moved(command)
        if moved.endswith(" &"):
            return self._start(moved[:-2])
        end = time.monotonic() + within_s
        while True:
            done = subprocess.run(
                ["bash", "-c", moved],
                cwd=self.folder,
                env=self._environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
            got = self.moved_back(done.stdout.decode(errors="replace")).replace(str(self.folder), "/srv/gatepost")
            if matches(expected, got) or time.monotonic() > end or not command.startswith(_REPEATABLE):
                return got
            time.sleep(0.2)

    def _start(self, command: str) -> str:
        log = (self.folder / ".log").open("ab")
        begin = log.tell()
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self._environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self._running.append(process)
        end = time.monotonic() + 20
        while b"started" not in (self.folder / ".log").read_bytes()[begin:] and time.monotonic() < end:
            if process.poll() is not None:
                return (self.folder / ".log").read_text(errors="replace")
            time.sleep(0.05)
        return ""

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
