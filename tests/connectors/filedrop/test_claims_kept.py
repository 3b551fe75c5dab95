"""Claimed files are in somebody's hands at any time: none is left in its claim folder until the next start."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop import source
from connectors.filedrop.formats.pickup import Pickup
from connectors.filedrop.inbox import Inbox
from gateway.testing import RecordingIntake
from tests.connectors.filedrop.folders import GOOD, connector, left, peers, put, running, until


async def test_a_listing_that_fails_half_way_keeps_what_was_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = Inbox._listing
    failures = [0]

    def fail_half_way(self: Inbox) -> Iterator[tuple[Path, os.DirEntry[str]]]:
        for number, found in enumerate(listing(self)):
            if number == 3 and not failures[0]:
                failures[0] += 1
                raise OSError(errno.EIO, "the share is gone for a moment")
            yield found

    monkeypatch.setattr(Inbox, "_listing", fail_half_way)
    intake = RecordingIntake()
    for number in range(6):
        put(tmp_path, f"{number}.eml")
    async with running(connector(tmp_path), intake):
        await until(lambda: left(tmp_path) == [])
    assert failures == [1]
    assert sorted(peers(intake)) == [f"{number}.eml" for number in range(6)]


async def test_a_file_claimed_by_who_is_gone_is_taken_by_an_idle_inbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "STRAYS_S", 0.3)
    intake = RecordingIntake()
    async with running(connector(tmp_path), intake):
        put(tmp_path, "a.eml")
        await until(lambda: left(tmp_path) == [])
        # As another node does that lost the inbox a moment ago.
        put(tmp_path, "0123456789abcdef.b.eml", folder="in/.claimed/w7")
        await until(lambda: left(tmp_path) == [])
    assert peers(intake) == ["a.eml", "b.eml"]


async def test_a_file_that_waits_for_its_next_try_is_no_stray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "STRAYS_S", 0.1)
    intake = RecordingIntake()
    intake.faults = 1
    put(tmp_path, "a.eml")
    async with running(connector(tmp_path, poll_s=0.1), intake):
        await until(lambda: intake.calls == 1)
        put(tmp_path, "b.eml")
        await until(lambda: left(tmp_path) == ["a.eml"])
        for _ in range(5):
            put(tmp_path, "c.eml")
            await until(lambda: left(tmp_path) == ["a.eml"])
    assert "a.eml" not in peers(intake)


async def test_a_file_that_takes_all_memory_twice_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "FAULT_RETRY_S", 0.1)
    decode = Pickup.decode
    tries = []

    def decode_or_starve(self: Pickup, file: Any, stamp: Any) -> Any:
        if b"EAT" in file.read(0, 100):
            tries.append(stamp.name)
            raise MemoryError
        return decode(self, file, stamp)

    monkeypatch.setattr(Pickup, "decode", decode_or_starve)
    intake = RecordingIntake()
    put(tmp_path, "a.eml", b"X-EAT: 1\r\n" + GOOD)
    put(tmp_path, "b.eml")
    async with running(connector(tmp_path), intake):
        await until(lambda: left(tmp_path) == ["a.eml.bad", "a.eml.reason.txt"])
    assert tries == ["a.eml", "a.eml"]
    assert peers(intake) == ["b.eml"]
    assert "filedrop.too-much-memory" in (tmp_path / "in" / "a.eml.reason.txt").read_text()


@pytest.mark.parametrize("size", [300_000, 3_000_000])
async def test_a_large_file_that_takes_all_memory_closes_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(source, "FAULT_RETRY_S", 0.1)

    def starve(self: Pickup, file: Any, stamp: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Pickup, "decode", starve)
    put(tmp_path, "a.eml", GOOD + b"x" * size)
    async with running(connector(tmp_path), RecordingIntake()):
        await until(lambda: "a.eml.bad" in left(tmp_path))
        assert str(tmp_path / "in") not in " ".join(map(_target, os.listdir("/proc/self/fd")))


def _target(handle: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        return ""
