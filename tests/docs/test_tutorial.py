"""The tutorial, followed to the letter: its commands and files, in their order, in a clean environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docs.sandbox import ROOT, blocks, matches, steps
from tests.peers.clean import CleanEnvironment
from tests.peers.process import free_port

pytestmark = pytest.mark.xdist_group("clean environment")

PAGE = ROOT / "docs" / "tutorial.md"
LOOKS = ("cat ", "gatepost trace")
"""Commands that only look: they are repeated until they show what the page does."""
PATIENCE_S = 60.0


class Reader:
    """Somebody with a shell in a clean environment, who does what the page says."""

    def __init__(self, folder: Path) -> None:
        self.clean = CleanEnvironment(folder / "environment")
        self.top = folder / "work"
        self.top.mkdir()
        self.cwd = self.top
        self._port = str(free_port())
        self._running: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str) -> None:
        target = self.top / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self._moved(text))

    def do(self, command: str, expected: str) -> str:
        """Run one command and return what it printed, with the page's own port in it."""
        if command.startswith("cd "):
            self.cwd = (self.cwd / command[3:]).resolve()
            return ""
        if command.endswith(" &"):
            return self._start(command[:-2])
        end = time.monotonic() + PATIENCE_S
        while True:
            ran = self._shell(command)
            got = ran.stdout.replace(self._port, "4711")
            if matches(expected, got) or not command.startswith(LOOKS) or time.monotonic() > end:
                return got
            time.sleep(0.2)

    def _moved(self, text: str) -> str:
        return re.sub(r"\b4711\b", self._port, text)

    def _shell(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", self._moved(command)],
            cwd=self.cwd,
            env={**self.clean.environ, "COLUMNS": "200", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )

    def _start(self, command: str) -> str:
        """Start what goes on running, and wait until it says that it has started."""
        log = self.cwd / (command.partition(" > ")[2] or "run.log")
        words = command.partition(" > ")[0]
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._moved(words)}"],
                cwd=self.cwd,
                env=self.clean.environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self._running.append(process)
        end = time.monotonic() + PATIENCE_S
        while b"started" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        return ""

    def close(self) -> None:
        for process in reversed(self._running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.close()


@pytest.mark.timeout(900)
def test_it_leads_from_nothing_to_an_answered_message(reader: Reader) -> None:
    done = 0
    for block in blocks(PAGE):
        if block.title is not None:
            reader.write(block.title, block.text)
        elif block.language == "console":
            for command, expected in steps(block.text):
                got = reader.do(command, expected)
                assert matches(expected, got), f"$ {command}\n{got}\n--- the page says:\n{expected}"
                done += 1
    assert done > 20
