"""Files of many messages, and large ones: decoded step by step, each message committed, only the bad ones kept."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.filedrop import FileDrop
from gateway.contract import Content, Envelope, Message, Receipt, Recipient, Status, Traits
from gateway.testing import RecordingIntake
from tests.connectors.filedrop.folders import connector, left, put, running, until
from tests.connectors.filedrop.slips import Slips, slip

MIB = 1024 * 1024
Make = Callable[..., FileDrop]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr("connectors.filedrop.connector.codec_class", lambda name: Slips)
    return lambda **options: connector(tmp_path, **options)


@pytest.mark.parametrize("filler", [0, 2000], ids=["small", "large"])
async def test_each_message_is_accepted_under_a_key_of_its_own(tmp_path: Path, make: Make, filler: int) -> None:
    intake = RecordingIntake()
    put(tmp_path, "m.slip", b"".join(slip(n, b"x" * filler) for n in range(200)))
    async with running(make(max_in_flight=20), intake):
        await until(lambda: left(tmp_path) == [])
    assert sorted(intake.marks) == list(range(200))
    keys = [str(one.message.envelope.dedupe_key).split(":") for one in intake.accepted]
    assert len({key[1] for key in keys}) == 1
    assert {(key[2], key[3]) for key in keys} == {(str(n), f"no. {n}") for n in range(200)}
    assert intake.in_flight_peak <= 20


@pytest.mark.parametrize("filler", [10, 20_000], ids=["small", "large"])
async def test_only_what_is_bad_of_it_is_kept(tmp_path: Path, make: Make, filler: int) -> None:
    intake = RecordingIntake()
    text = b"y" * filler
    slips = [slip(n, text, **({"bad": "1"} if n % 10 == 3 else {})) for n in range(30)]
    put(tmp_path, "m.slip", b"".join(slips))
    async with running(make(errors="bad", archive="done"), intake):
        await until(lambda: left(tmp_path) == [])
        assert sorted(intake.marks) == [n for n in range(30) if n % 10 != 3]
        assert (tmp_path / "done" / "m.slip").read_bytes() == b"".join(slips)
        kept = sorted((tmp_path / "bad").glob("*.slip"))
        assert sorted(path.read_bytes() for path in kept) == sorted(slips[n] for n in (3, 13, 23))
        for path in kept:
            reason = path.with_name(f"{path.name}.reason.txt").read_text()
            assert "slips.bad" in reason
            assert f"move {path.name} into the inbox" in reason
            assert f"kept as {path.name}." in reason
            at = b"".join(slips).index(path.read_bytes())
            assert f"place:  octet {at} of m.slip as it came" in reason
        # mended and moved, it is taken, and it alone
        kept[0].write_bytes(slip(3, text))
        kept[0].rename(tmp_path / "in" / kept[0].name)
        await until(lambda: 3 in intake.marks)
        await until(lambda: left(tmp_path) == [])
    assert len(intake.marks) == 28


@pytest.mark.parametrize("filler", [1, 400], ids=["small", "large"])
async def test_a_file_with_very_many_bad_messages_is_kept_whole(tmp_path: Path, make: Make, filler: int) -> None:
    intake = RecordingIntake()
    octets = slip(1) + b"".join(slip(n, b"y" * filler, bad="1") for n in range(1100)) + slip(2)
    put(tmp_path, "m.slip", octets)
    async with running(make(errors="bad"), intake):
        await until(lambda: left(tmp_path) == [])
    assert sorted(intake.marks) == [1, 2]
    assert sorted(path.name for path in (tmp_path / "bad").iterdir()) == ["m.slip", "m.slip.reason.txt"]
    assert (tmp_path / "bad" / "m.slip").read_bytes() == octets
    text = (tmp_path / "bad" / "m.slip.reason.txt").read_text()
    assert "2 messages were accepted" in text
    assert text.count("slips.bad") == 20
    assert "And so on" in text


async def test_one_that_is_refused_is_kept_alone(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    intake.rejects = Status("5.1.1", "nobody of that name")
    put(tmp_path, "m.slip", slip(1) + slip(2))
    async with running(make(errors="bad"), intake):
        await until(lambda: left(tmp_path) == [])
    kept = sorted((tmp_path / "bad").glob("*.slip"))
    assert [path.read_bytes() for path in kept] == [slip(1), slip(2)]


async def test_a_file_that_is_bad_from_some_place_on_says_how_much_was_taken(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    octets = slip(1) + slip(2) + slip(3, rotten="1")
    put(tmp_path, "m.slip", octets)
    async with running(make(errors="bad"), intake):
        await until(lambda: (tmp_path / "bad" / "m.slip").exists())
    assert intake.marks == [1, 2]
    assert (tmp_path / "bad" / "m.slip").read_bytes() == octets
    text = (tmp_path / "bad" / "m.slip.reason.txt").read_text()
    for part in ("2 messages were accepted", f"octet {2 * len(slip(1))}", "slips.rotten", "sent twice"):
        assert part in text


async def test_after_a_fault_amid_the_file_nothing_is_taken_twice(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    put(tmp_path, "m.slip", b"".join(slip(n, b"z" * 3000) for n in range(300)))
    async with running(make(), intake):
        await until(lambda: len(intake.accepted) > 50)
        intake.unavailable = 3
        await until(lambda: left(tmp_path) == [])
    assert sorted(intake.marks) == list(range(300))
    assert any(one.receipt.duplicate for one in intake.accepted)


async def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, make: Make) -> None:
    intake = RecordingIntake()
    intake.gate.clear()
    path = put(tmp_path, "m.slip", b"".join(slip(n, b"z" * 3000) for n in range(300)))
    writer = os.open(path, os.O_WRONLY | os.O_APPEND)
    async with running(make(), intake):
        await until(lambda: intake.in_flight)
        os.write(writer, slip(300))
        os.close(writer)
        intake.gate.set()
        await until(lambda: left(tmp_path) == [])
    assert sorted(intake.marks) == list(range(301))


async def test_an_empty_file_of_a_format_of_many_is_bad_only_in_time(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "m.slip", b"")
    async with running(make(), RecordingIntake()):
        await asyncio.sleep(0.3)
        assert left(tmp_path) == ["m.slip"]


SIZE = int(os.environ.get("GATEPOST_HUGE_MIB", "200")) * MIB
"""`make soak` asks for two gigabytes."""

MEASURE = """
import asyncio, sys
from pathlib import Path
from tests.connectors.filedrop import test_many_a_file as it
asyncio.run(it.take_huge(Path(sys.argv[1])))
"""


class CountingWriter:
    """A ContentWriter that counts octets."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, piece: bytes) -> bool:
        self.size += len(piece)
        return True

    async def drain(self) -> None:
        return

    async def finish(self, traits: Traits | None = None) -> Content:
        return Content(b"", attributes={"size": str(self.size)})

    async def abandon(self) -> None:
        return


class CountingIntake:
    """An Intake that keeps nothing, so that what grows is the connector."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.messages = self.octets = 0

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        return None

    def content(self) -> CountingWriter:
        return CountingWriter()

    async def accept(self, message: Message, *, report: bool = False) -> Receipt:
        await asyncio.sleep(0.001)
        self.messages += 1
        self.octets += int(message.content.attributes.get("size", message.content.size))
        return Receipt(self.messages)


def most_memory(*, anew: bool = False) -> int:
    """Return the most octets that this process has had in memory, counted from now on where `anew`."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


async def take_huge(tmp: Path) -> None:
    """Take the files of a folder, and print the most memory that it took beyond what was there at the start."""
    intake = CountingIntake()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connectors.filedrop.connector.codec_class", lambda name: Slips)
        made = connector(tmp, max_file_bytes=4 << 30)
    before = most_memory(anew=True)
    async with running(made, intake):
        await until(lambda: left(tmp) == [], 100 + SIZE / MIB)
    print(intake.messages, intake.octets, most_memory() - before)


@pytest.mark.timeout(100 + 2 * SIZE // MIB)
@pytest.mark.parametrize("kind", ["one message", "many messages"])
def test_a_huge_file_needs_little_memory(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "m.slip"
    with open(path, "wb") as file:
        if kind == "one message":
            file.write(f"to=bob@acme.example number=1 text={SIZE}\n".encode())
            file.truncate(file.tell() + SIZE)
        else:
            one = slip(7, b"x" * 100_000)
            for _ in range(SIZE // len(one)):
                file.write(one)
    said = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True, env={**os.environ}
    ).stdout.split()
    count, octets, grown = map(int, said)
    if kind == "one message":
        assert count == 1
    else:
        assert count == SIZE // len(slip(7, b"x" * 100_000))
    assert octets > 0.99 * SIZE
    print(f"{kind}: {grown / MIB:.1f} MiB for {SIZE // MIB} MiB")
    assert grown < 32 * MIB
