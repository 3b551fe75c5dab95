"""kill -9 at every commit of journal and calm: no message is lost and none is doubled, either way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.connectors.mqtt.doomed import DELIVERIES, MESSAGES
from tests.peers.process import descendants


class Doom:
    """The process in whose children the gateway dies."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def run(self, folder: Path, at: int = 0, when: str = "") -> bool:
        """Do what is left in a folder, up to a commit; return whether it died there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"folder": str(folder), "at": at, "when": when}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer in ("killed", "ended"), answer
        return answer == "killed"


@pytest.fixture
def doom() -> Iterator[Doom]:
    command = [sys.executable, "-m", "tests.connectors.mqtt.doomed"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Doom(process)


def check(folder: Path) -> None:
    """Read what has happened: each message told once, each delivery published once."""
    lines: list[list[Any]] = [json.loads(line) for line in (folder / "world").read_text().splitlines()]
    spool: dict[str, list[str]] = {}
    held: dict[int, str] = {}
    published: Counter[str] = Counter()
    for word, *rest in lines:
        if word == "spool":
            key, texts = rest
            assert spool.setdefault(key, texts) == texts, "another message under the key of one that is known"
        elif word == "publish":
            key, packet = rest
            if packet not in held:
                held[packet] = key
                published[key] += 1
            assert held[packet] == key, "the broker takes it for the one it has"
        elif word == "release":
            held.pop(rest[0], None)
    assert Counter(text for texts in spool.values() for text in texts) == Counter(map(str, range(MESSAGES)))
    assert published == Counter(f"d{n}" for n in range(DELIVERIES))
    assert not held


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_commit(tmp_path: Path, doom: Doom, when: str) -> None:
    dice = Random(7)
    at, died = 0, True
    while died:
        at += 1
        folder = tmp_path / f"{at}"
        folder.mkdir()
        died = doom.run(folder, at, when)
        if died and dice.random() < 0.5:
            doom.run(folder, dice.randrange(1, 12), dice.choice(["before", "after"]))
        doom.run(folder)
        check(folder)
    assert at > 15


def test_killed_at_any_moment(tmp_path: Path, doom: Doom) -> None:
    dice = Random(7)
    kills = 0
    for n in range(8):
        folder = tmp_path / f"{n}"
        folder.mkdir()
        delay = dice.uniform(0.001, 0.03)

        def kill(delay: float = delay) -> None:
            for _ in range(200):
                for pid in list(descendants(doom.process.pid))[1:]:
                    time.sleep(delay)
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    return
                time.sleep(0.001)

        killer = threading.Thread(target=kill)
        killer.start()
        kills += doom.run(folder)
        killer.join()
        doom.run(folder)
        check(folder)
    assert kills > 2
