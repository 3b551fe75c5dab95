"""When a file is complete, and in which order files are taken: writers that keep each rule, and some that err."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from connectors.filedrop.ready import REMEMBERED, Since
from gateway.testing import RecordingIntake, numbered
from tests.connectors.filedrop.folders import GOOD, connector, left, peers, put, running, until


def sized(octets: bytes) -> bytes:
    return f"{len(octets)}\r\n".encode()


def summed(octets: bytes) -> bytes:
    return f"{len(octets)} {hashlib.sha256(octets).hexdigest()}".encode()


@pytest.mark.parametrize(
    ("pattern", "trigger"), [("{name}.done", "a.eml.done"), ("{stem}.ok", "a.ok"), ("go_{stem}.ctl", "go_a.ctl")]
)
async def test_a_trigger_says_that_its_file_is_complete_and_goes_last(
    tmp_path: Path, pattern: str, trigger: str
) -> None:
    intake = RecordingIntake()
    intake.gate.clear()
    put(tmp_path, "a.eml", GOOD[:40])
    async with running(connector(tmp_path, ready="trigger", trigger=pattern), intake):
        await asyncio.sleep(0.4)
        assert intake.calls == 0, "the trigger is not there yet"
        (tmp_path / "in" / "a.eml").write_bytes(GOOD)
        (tmp_path / "in" / trigger).touch()
        await until(lambda: intake.calls)
        assert (tmp_path / "in" / trigger).exists(), "before the commit the trigger stays"
        intake.gate.set()
        await until(lambda: left(tmp_path) == [])
    assert [one.octets for one in intake.accepted] == [GOOD]


@pytest.mark.parametrize(("check", "content"), [("size", sized), ("sha256", summed)])
async def test_a_file_that_is_not_what_its_trigger_says_is_waited_for(
    tmp_path: Path, check: str, content: object
) -> None:
    assert callable(content)
    intake = RecordingIntake()
    path = put(tmp_path, "a.eml", GOOD[:-4] if check == "size" else GOOD[:-4] + b"....")
    (tmp_path / "in" / "a.eml.done").write_bytes(content(GOOD))
    async with running(connector(tmp_path, ready="trigger", trigger_check=check), intake):
        await asyncio.sleep(0.4)
        assert intake.calls == 0
        path.write_bytes(GOOD)
        await until(lambda: left(tmp_path) == [])
    assert len(intake.accepted) == 1


@pytest.mark.parametrize("held", [b"17\r\n", b"no number", b""])
async def test_one_that_never_becomes_it_is_an_error(tmp_path: Path, held: bytes) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.eml")
    (tmp_path / "in" / "a.eml.done").write_bytes(held)
    options = {"ready": "trigger", "trigger_check": "size", "trigger_grace_s": 0.3, "errors": "bad"}
    async with running(connector(tmp_path, **options), intake):
        await until(lambda: (tmp_path / "bad" / "a.eml").exists())
        assert left(tmp_path) == [], "nor does its trigger stand for the next file of this name"
    text = (tmp_path / "bad" / "a.eml.reason.txt").read_text()
    for part in ("filedrop.trigger-mismatch", "octets" if held == b"17\r\n" else "a size", "then make a.eml.done"):
        assert part in text
    assert intake.accepted == []


async def test_a_locked_file_is_left_alone(tmp_path: Path) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.eml", GOOD[:50])
    lock = tmp_path / "in" / "a.eml.lck"
    lock.touch()
    async with running(connector(tmp_path, ready="lock"), intake):
        put(tmp_path, "b.eml")
        await until(lambda: intake.accepted)
        await asyncio.sleep(0.3)
        assert peers(intake) == ["b.eml"]
        assert left(tmp_path) == ["a.eml", "a.eml.lck"], "our own locks are gone"
        (tmp_path / "in" / "a.eml").write_bytes(GOOD)
        lock.unlink()
        await until(lambda: left(tmp_path) == [])
    assert intake.accepted[1].octets == GOOD


async def test_a_stale_lock_is_removed_where_that_is_asked_for(tmp_path: Path) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.eml")
    (tmp_path / "in" / "a.eml.lck").write_text("pid 4711")
    async with running(connector(tmp_path, ready="lock", lock_stale_s=0.5), intake):
        await asyncio.sleep(0.2)
        assert intake.calls == 0
        await until(lambda: left(tmp_path) == [])


async def test_a_lock_that_our_crash_left_holds_nothing_up(tmp_path: Path) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.eml")
    (tmp_path / "in" / "a.eml.lck").write_bytes(b"gatepost\n")
    async with running(connector(tmp_path, ready="lock"), intake):
        await until(lambda: left(tmp_path) == [])


async def test_a_file_that_stands_still_is_complete(tmp_path: Path) -> None:
    intake = RecordingIntake()
    path = put(tmp_path, "a.eml", GOOD[:-4])
    async with running(connector(tmp_path, ready="stable", stable_polls=3, poll_s=0.15), intake):
        for _ in range(6):  # it changes at every look, in its time alone too
            await asyncio.sleep(0.1)
            os.utime(path, (1, path.stat().st_mtime + 1))
        assert intake.calls == 0
        path.write_bytes(GOOD)
        os.utime(path, (4e9, 4e9))  # a clock far ahead of ours
        await until(lambda: left(tmp_path) == [])
    assert [one.octets for one in intake.accepted] == [GOOD]


async def test_marks_of_unfinished_files_are_the_writer_s_own(tmp_path: Path) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.$$$")
    put(tmp_path, "b.TMP")
    put(tmp_path, "c")
    async with running(connector(tmp_path, ready="rename", temporary=[".$$$"]), intake):
        await until(lambda: len(intake.accepted) == 2)
        await asyncio.sleep(0.2)
    assert sorted(peers(intake)) == ["b.TMP", "c"]


@pytest.mark.parametrize("order", ["name", "time"])
async def test_files_are_accepted_one_after_the_other_in_their_order(tmp_path: Path, order: str) -> None:
    intake = RecordingIntake()
    for number in range(30):
        path = put(tmp_path, f"{number if order == 'name' else 99 - number:02}.eml", numbered(number))
        os.utime(path, (1, 1000 + number if order == "time" else 9000 - number))
    async with running(connector(tmp_path, order=order, batch=7), intake):
        await until(lambda: len(intake.accepted) == 30)
        await until(lambda: left(tmp_path) == [])
    assert intake.marks == list(range(30))
    assert intake.in_flight_peak == 1


async def test_the_order_is_kept_over_a_pause_and_a_crash(tmp_path: Path) -> None:
    for number in range(10):
        put(tmp_path, f"{number}.eml", numbered(number))
    intake = RecordingIntake()
    intake.unavailable = 2
    async with running(connector(tmp_path, order="name", batch=4), intake):
        await until(lambda: len(intake.accepted) >= 3, 20)
    again = RecordingIntake()
    async with running(connector(tmp_path, order="name"), again):
        await until(lambda: left(tmp_path) == [])
    assert list(dict.fromkeys(intake.marks + again.marks)) == list(range(10))


async def test_a_bad_file_does_not_hold_up_the_order(tmp_path: Path) -> None:
    intake = RecordingIntake()
    put(tmp_path, "1.eml", b"no header")
    put(tmp_path, "2.eml", numbered(2))
    async with running(connector(tmp_path, order="name"), intake):
        await until(lambda: left(tmp_path) == ["1.eml.bad", "1.eml.reason.txt"])
    assert intake.marks == [2]


def test_what_is_remembered_of_waiting_files_is_bounded() -> None:
    now = 0.0
    since = Since(lambda: now)
    for number in range(REMEMBERED + 10):
        since.seconds(str(number))
    assert len(since._seen) <= REMEMBERED
    since.seconds("a", 1)
    now = 5.0
    assert since.seconds("a", 1) == 5.0
    assert since.seconds("a", 2) == 0.0
