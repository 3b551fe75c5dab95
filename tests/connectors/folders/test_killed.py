"""Copying into each format that is written, killed again and again: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest

from connectors.folders import Folders
from gateway.contract import Content
from gateway.sync.values import Policy
from tests.connectors.folders.into_dovecot import copied, made

COUNT = 150
POLICY = Policy(batch_items=4, page_items=30)


def stores(root: Path, format: str) -> tuple[Folders, Folders]:
    source = {"format": "maildir", "path": str(root / "from" / "{mailbox}")}
    target = {"format": format, "path": str(root / "to" / "{mailbox}"), "create": True}
    return made(Folders, source, root / "state"), made(Folders, target, root / "state")


def run(root: Path, format: str) -> None:
    one, two = stores(root, format)
    copied(one, "anna", two, "anna", root, POLICY)


def fill(root: Path) -> None:
    """Make messages; every third has no Message-ID, and every fifth is there twice."""
    for name in ("cur", "new", "tmp"):
        (root / "from" / "anna" / name).mkdir(parents=True)
    (root / "to").mkdir()
    (root / "state").mkdir()
    for number in range(COUNT):
        name = f"Message-ID: <{number}@example.org>\n" if number % 3 else ""
        octets = f"{name}Subject: {number}\n\nFrom here\n{'text ' * number}\n".encode()
        for copy in range(1 + (number % 5 == 0)):
            (root / "from" / "anna" / "cur" / f"{1_500_000_000 + number}.c{copy}.host:2,S").write_bytes(octets)


def read(store: Folders) -> list[bytes]:
    async def body() -> list[bytes]:
        found: list[bytes] = []
        async with store.open("anna") as opened:
            for folder in await opened.folders():
                ids = [state.id for state in (await opened.changes(folder.id, None, 10_000)).items]
                contents = [content async for _, content in opened.fetch(ids)]
                found += [b"".join(each.chunks()) for each in contents if isinstance(each, Content)]
        return sorted(found)

    return asyncio.run(body())


@pytest.mark.parametrize("format", ["maildir", "mbox", "mmdf", "mh"])
def test_killed_at_any_moment_nothing_is_lost_or_doubled(format: str, tmp_path: Path) -> None:
    fill(tmp_path)
    forks, chance, kills = multiprocessing.get_context("fork"), random.Random(format), 0
    for _ in range(3):
        child = forks.Process(target=run, args=(tmp_path, format))
        child.start()
        state = tmp_path / "sync.sqlite-wal"
        end = time.monotonic() + 60
        grown = state.stat().st_size if state.exists() else 0
        while child.is_alive() and time.monotonic() < end:
            if state.exists() and state.stat().st_size != grown:  # it is at work, and not starting
                break
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.15))
        if child.is_alive():
            assert child.pid is not None
            os.kill(child.pid, 9)
            kills += 1
        child.join(60)
    run(tmp_path, format)
    one, two = stores(tmp_path, format)
    assert kills >= 1
    assert read(two) == read(one)
    assert len(read(two)) == COUNT + COUNT // 5
