"""Files that a message names: claimed with it, finished with it, given back with it, and never read from elsewhere."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop import FileDrop
from connectors.filedrop.enclosed import belongs_to
from gateway.contract import Status
from gateway.testing import RecordingIntake
from tests.connectors.filedrop.folders import connector, left, put, running, until
from tests.connectors.filedrop.slips import Slips, slip

Make = Callable[..., FileDrop]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr("connectors.filedrop.connector.codec_class", lambda name: Slips)
    return lambda **options: connector(tmp_path, **options)


def base64_of(octets: bytes) -> bytes:
    lines = [base64.b64encode(octets[n : n + 57]) for n in range(0, len(octets), 57)]
    return b"".join(line + b"\r\n" for line in lines)


def test_a_claimed_one_is_known_by_its_name() -> None:
    assert belongs_to("0123456789abcdef+01234567.a.b.pdf") == ("0123456789abcdef", "a.b.pdf")
    for name in ("0123456789abcdef.a+01234567.b", "a+b.c", "0123456789abcdef+.b", "0123456789abcdef!a.slip"):
        assert belongs_to(name) is None


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 1000, 300_000, 1_000_003])
async def test_its_octets_come_in_lines_and_it_goes_with_its_message(tmp_path: Path, make: Make, size: int) -> None:
    intake = RecordingIntake()
    octets = os.urandom(size)
    put(tmp_path, "a.pdf", octets)
    put(tmp_path, "m.slip", slip(1, attach="a.pdf"))
    async with running(make(archive="done"), intake):
        await until(lambda: left(tmp_path) == [])
    assert intake.accepted[0].octets.endswith(b"text\r\n" + base64_of(octets))
    assert sorted(os.listdir(tmp_path / "done")) == ["a.pdf", "m.slip"]
    assert (tmp_path / "done" / "a.pdf").read_bytes() == octets
    assert os.listdir(tmp_path / "in" / ".claimed" / "w0") == []


async def test_one_that_is_kept_stays(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.pdf", b"x" * 10)
    put(tmp_path, "m.slip", slip(1, keep="a.pdf"))
    async with running(make(), intake):
        await until(lambda: left(tmp_path) == ["a.pdf"])
    assert base64_of(b"x" * 10) in intake.accepted[0].octets


async def test_a_late_one_is_waited_for(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    put(tmp_path, "m.slip", slip(1, attach="late.pdf"))
    async with running(make(), intake):
        put(tmp_path, "n.slip", slip(2))
        await until(lambda: intake.marks == [2])
        await asyncio.sleep(0.3)
        put(tmp_path, "LATE.PDF", b"late")  # as a system names it that does not tell capitals apart
        await until(lambda: left(tmp_path) == [])
    assert base64_of(b"late") in intake.accepted[1].octets


async def test_one_that_never_comes_keeps_its_message_alone(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    put(tmp_path, "m.slip", slip(1) + slip(2, attach="never.pdf") + slip(3))
    async with running(make(errors="bad", attachment_grace_s=0.3), intake):
        await until(lambda: left(tmp_path) == [])
    assert sorted(intake.marks) == [1, 3]
    [kept, reason] = sorted((tmp_path / "bad").iterdir())
    assert kept.read_bytes() == slip(2, attach="never.pdf")
    assert reason.name == f"{kept.name}.reason.txt"
    assert "never.pdf" in reason.read_text()
    assert "filedrop.no-attachment" in reason.read_text()


async def test_two_messages_of_a_file_may_name_the_same(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.pdf", b"x")
    put(tmp_path, "m.slip", slip(1, attach="a.pdf") + slip(2, attach="a.pdf"))
    async with running(make(archive="done"), intake):
        await until(lambda: left(tmp_path) == [])
    assert sorted(intake.marks) == [1, 2]
    assert sorted(os.listdir(tmp_path / "done")) == ["a.pdf", "m.slip"]


async def test_a_refused_message_gives_its_file_back(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    intake.rejects = Status("5.1.1", "nobody of that name")
    put(tmp_path, "a.pdf", b"x")
    put(tmp_path, "m.slip", slip(1, attach="a.pdf"))
    async with running(make(errors="bad"), intake):
        await until(lambda: (tmp_path / "bad" / "m.slip").exists())
        assert left(tmp_path) == ["a.pdf"]
        intake.rejects = None
        (tmp_path / "bad" / "m.slip").rename(tmp_path / "in" / "m.slip")  # as the reason says
        await until(lambda: left(tmp_path) == [])
    assert base64_of(b"x") in intake.accepted[0].octets


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "..", ".hidden", "a\\b", "c:x", "nul", "con.txt", "a\x01b"]
)
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, make: Make, name: str) -> None:
    intake = RecordingIntake()
    (tmp_path / "secret").write_bytes(b"secret")
    put(tmp_path, "m.slip", slip(1, attach=name) + slip(2))
    async with running(make(errors="bad"), intake):
        await until(lambda: left(tmp_path) == [])
    assert intake.marks == [2]
    assert any("filedrop.unsafe-name" in path.read_text() for path in (tmp_path / "bad").glob("*.reason.txt"))
    assert (tmp_path / "secret").exists()


async def test_links_are_not_followed(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.pdf").write_bytes(b"secret")
    put(tmp_path, "m.slip", slip(1, attach="link.pdf") + slip(2, attach="a.pdf", folder="att") + slip(3))
    (tmp_path / "in" / "link.pdf").symlink_to(tmp_path / "secret")
    (tmp_path / "in" / "att").symlink_to(tmp_path / "elsewhere")
    async with running(make(errors="bad"), intake):
        await until(lambda: intake.marks == [3])
        await until(lambda: "m.slip" not in left(tmp_path))
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert (tmp_path / "elsewhere" / "a.pdf").exists()
    assert len(list((tmp_path / "bad").glob("*.reason.txt"))) == 2


async def test_a_folder_of_their_own(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.pdf", b"x", folder="att")
    put(tmp_path, "b.pdf", b"y", folder="att/deep")
    put(tmp_path, "m.slip", slip(1, attach="a.pdf") + slip(2, attach="b.pdf", folder="deep"))
    async with running(make(inbox_attachments="att"), intake):
        await until(lambda: left(tmp_path) == [])
    assert base64_of(b"x") in intake.accepted[0].octets
    assert [path for path in (tmp_path / "att").rglob("*") if path.is_file()] == []


async def test_what_a_crash_left_behind_its_message_is_finished(tmp_path: Path, make: Make) -> None:
    """The message's file went to the archive, then the gateway died: its attachment must not lie about for ever."""
    claims = tmp_path / "in" / ".claimed" / "w3"
    claims.mkdir(parents=True)
    (claims / "0123456789abcdef+01234567.a.pdf").write_bytes(b"x")
    (claims / "0123456789abcdef!m.slip").touch()
    put(tmp_path, "n.slip", slip(2))
    async with running(make(archive="done"), RecordingIntake()):
        await until(lambda: list(claims.iterdir()) == [])
    assert (tmp_path / "done" / "a.pdf").read_bytes() == b"x"


async def test_what_a_crash_left_before_the_commit_is_found_by_its_message(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.pdf", b"x")
    put(tmp_path, "m.slip", slip(1, attach="a.pdf"))
    intake.faults = 1

    async def stopped() -> None:
        async with running(make(), intake):
            await until(lambda: intake.faults == 0)
            await asyncio.sleep(0.05)

    await stopped()
    assert left(tmp_path) == ["a.pdf", "m.slip"], "both are claimed, and neither is lost"
    assert os.listdir(tmp_path / "in") == [".claimed"]
    again: Any = RecordingIntake()
    async with running(make(), again):
        await until(lambda: left(tmp_path) == [])
    assert base64_of(b"x") in again.accepted[0].octets
