"""The inbox as a source: what is taken, what is set aside, what a crash leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop.formats.pickup import Pickup
from gateway.contract import Status
from gateway.testing import Journal, RecordingIntake, numbered, sample
from mappings.network import parse
from tests.connectors.filedrop.folders import GOOD, connector, left, peers, put, running, until


async def test_a_file_becomes_a_message_and_goes(tmp_path: Path) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.eml")
    async with running(connector(tmp_path), intake):
        await until(lambda: left(tmp_path) == [])
    [one] = intake.accepted
    envelope = one.message.envelope
    assert envelope.reverse_path == parse("mhs:ann@sales")
    assert [str(r.address) for r in envelope.recipients] == ["smtp:bob@acme.example"]
    assert (envelope.origin.connector, envelope.origin.peer, envelope.origin.trusted) == ("oldmhs", "a.eml", True)
    assert one.octets == GOOD


async def test_writers_who_may_not_relay_are_told_to_the_core(tmp_path: Path) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.eml")
    async with running(connector(tmp_path, trusted=False), intake):
        await until(lambda: left(tmp_path) == [])
    assert [one.message.envelope.origin.trusted for one in intake.accepted] == [False]


async def test_a_key_of_the_other_system_has_a_length_and_no_controls(tmp_path: Path) -> None:
    intake = RecordingIntake()
    octets = b"SMF-70\r\nTo: bob@plant\r\nFrom: ann@sales\r\nMessage-ID: A\x00\x01B" + b"9" * 5000 + b"\r\n\r\nText\r\n"
    put(tmp_path, "00000001", octets)
    async with running(connector(tmp_path, format="smf70", ready="rename"), intake):
        await until(lambda: left(tmp_path) == [])
    [one] = intake.accepted
    key = str(one.message.envelope.dedupe_key).split(":", 3)[3]
    assert key.startswith("A  B999")
    assert len(key) == 255


async def test_a_share_that_raises_no_events_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def no_events(*folders: Any, **options: Any) -> AsyncIterator[set[Any]]:
        asked.append(folders)
        await asyncio.Event().wait()
        yield set()

    monkeypatch.setattr("connectors.filedrop.source.awatch", no_events)
    intake = RecordingIntake()
    async with running(connector(tmp_path, poll_s=0.05), intake):
        await until(lambda: asked)
        for name in ("a.eml", "b.eml"):
            put(tmp_path, name)
            await until(lambda: left(tmp_path) == [])
    assert peers(intake) == ["a.eml", "b.eml"]


async def test_an_archive_keeps_what_was_accepted(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a.eml").write_bytes(b"an older one of the same name")
    put(tmp_path, "a.eml")
    async with running(connector(tmp_path, archive="archive"), RecordingIntake()):
        await until(lambda: left(tmp_path) == [])
    assert (tmp_path / "archive" / "a-2.eml").read_bytes() == GOOD


@pytest.mark.parametrize(
    ("ready", "name", "taken"),
    [
        ("suffix", "a.eml", True),
        ("suffix", "A.EML", True),
        ("suffix", "a.msg", False),
        ("suffix", ".a.eml", False),
        ("suffix", "a.eml.tmp", False),
        ("rename", "a", True),
        ("rename", "a.part", False),
        ("rename", "a~", False),
        ("rename", ".a", False),
        ("rename", "a.bad", False),
        ("rename", "a.reason.txt", False),
    ],
)
async def test_which_files_are_ready(tmp_path: Path, ready: str, name: str, taken: bool) -> None:
    intake = RecordingIntake()
    put(tmp_path, name)
    put(tmp_path, "sign.eml")
    async with running(connector(tmp_path, ready=ready), intake):
        await until(lambda: "sign.eml" in [one.message.envelope.origin.peer for one in intake.accepted])
        await asyncio.sleep(0.1)
    assert (name in [one.message.envelope.origin.peer for one in intake.accepted]) is taken
    assert (name in left(tmp_path)) is not taken


async def test_a_bad_file_is_kept_with_the_reason(tmp_path: Path) -> None:
    intake = RecordingIntake()
    octets = b"Subject: s\r\nFrom: ann@sales\r\nTo: Bob Lee\r\n\r\ntext"
    put(tmp_path, "a.eml", octets)
    put(tmp_path, "b.eml")
    async with running(connector(tmp_path), intake):
        await until(lambda: left(tmp_path) == ["a.eml.bad", "a.eml.reason.txt"])
        put(tmp_path, "a.eml", octets + b" more")
        await until(lambda: "a-2.eml.reason.txt" in left(tmp_path))
    assert (tmp_path / "in" / "a.eml.bad").read_bytes() == octets
    text = (tmp_path / "in" / "a.eml.reason.txt").read_text()
    for part in ("a.eml", "pickup.bad-address-list", "line 3, octet 29", "Bob Lee", "user@domain"):
        assert part in text
    assert len(intake.accepted) == 1


async def test_a_mended_file_is_taken(tmp_path: Path) -> None:
    intake = RecordingIntake()
    bad = put(tmp_path, "a.eml", b"no header")
    async with running(connector(tmp_path), intake):
        await until(lambda: "a.eml.bad" in left(tmp_path))
        kept = bad.with_name("a.eml.bad")
        kept.write_bytes(GOOD)
        kept.rename(bad)
        await until(lambda: left(tmp_path) == ["a.eml.reason.txt"])
    assert len(intake.accepted) == 1


async def test_a_file_that_fails_again_has_the_reason_of_this_time(tmp_path: Path) -> None:
    bad = put(tmp_path, "a.eml", b"no header")
    reason = bad.with_name("a.eml.reason.txt")
    async with running(connector(tmp_path), RecordingIntake()):
        await until(lambda: "a.eml.bad" in left(tmp_path))
        assert "pickup.no-header" in reason.read_text()
        kept = bad.with_name("a.eml.bad")
        kept.write_bytes(b"Subject: to nobody\r\n\r\n")
        kept.rename(bad)
        await until(lambda: "a.eml.bad" in left(tmp_path))
    assert left(tmp_path) == ["a.eml.bad", "a.eml.reason.txt"]
    assert "pickup.no-header" not in reason.read_text()
    assert "kept as a.eml.bad" in reason.read_text()


async def test_bad_files_may_have_a_folder_of_their_own(tmp_path: Path) -> None:
    put(tmp_path, "a.eml", b"no header")
    async with running(connector(tmp_path, errors="bad"), RecordingIntake()):
        await until(lambda: (tmp_path / "bad" / "a.eml").exists())
    text = (tmp_path / "bad" / "a.eml.reason.txt").read_text()
    assert "retry:  move a.eml into the inbox; it is taken again." in text
    assert left(tmp_path) == []


async def test_a_refused_message_is_kept_with_the_reason(tmp_path: Path) -> None:
    intake = RecordingIntake()
    intake.rejects = Status("5.1.1", "nobody of that name at acme.example")
    put(tmp_path, "a.eml")
    async with running(connector(tmp_path), intake):
        await until(lambda: left(tmp_path) == ["a.eml.bad", "a.eml.reason.txt"])
    assert "refused.5.1.1" in (tmp_path / "in" / "a.eml.reason.txt").read_text()
    assert "nobody of that name" in (tmp_path / "in" / "a.eml.reason.txt").read_text()


async def test_links_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    intake = RecordingIntake()
    secret = tmp_path / "secret"
    secret.write_bytes(GOOD)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.eml").symlink_to(secret)
    (tmp_path / "in" / "folder.eml").mkdir()
    async with running(connector(tmp_path), intake):
        await until(lambda: "link.eml.bad" in left(tmp_path))
    assert left(tmp_path) == ["folder.eml", "link.eml.bad", "link.eml.reason.txt"]
    assert "filedrop.not-regular" in (tmp_path / "in" / "link.eml.reason.txt").read_text()
    assert intake.accepted == []
    assert secret.read_bytes() == GOOD


async def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    put(tmp_path, "a.eml", GOOD + b"x" * 5000)
    async with running(connector(tmp_path, max_file_bytes=5000), RecordingIntake()):
        await until(lambda: "a.eml.reason.txt" in left(tmp_path))
    assert "filedrop.too-big" in (tmp_path / "in" / "a.eml.reason.txt").read_text()


async def test_a_large_file_goes_through_a_writer(tmp_path: Path) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.eml", sample("body-3mib").replace(b"To:", b"Bcc: secret@ops\r\nTo:", 1))
    async with running(connector(tmp_path), intake):
        await until(lambda: left(tmp_path) == [])
    assert [writer.finished for writer in intake.writers] == [True]
    assert not intake.writers[0].abandoned
    assert intake.accepted[0].octets == sample("body-3mib")


async def test_a_large_file_that_is_not_accepted_leaves_no_content(tmp_path: Path) -> None:
    intake = RecordingIntake()
    intake.unavailable = 1
    put(tmp_path, "a.eml", sample("body-3mib"))
    async with running(connector(tmp_path), intake):
        await until(lambda: left(tmp_path) == [])
    assert [writer.abandoned for writer in intake.writers] == [True, False]


async def test_a_large_file_waits_while_there_is_no_room(tmp_path: Path) -> None:
    intake = RecordingIntake()
    intake.no_room = Status("4.3.1", "not enough spool space, try again later")
    put(tmp_path, "a.eml", sample("body-3mib"))
    async with running(connector(tmp_path), intake):
        await until(lambda: intake.writers)
        await asyncio.sleep(0.1)
        assert intake.accepted == []
        assert left(tmp_path) == ["a.eml"]
        intake.no_room = None
        await until(lambda: left(tmp_path) == [])
    assert len(intake.accepted) == 1


async def test_what_a_crash_left_claimed_is_taken_up_under_the_same_key(tmp_path: Path) -> None:
    claims = tmp_path / "in" / ".claimed"
    (claims / "w7").mkdir(parents=True)  # of a worker that is gone
    (claims / "w7" / "0123456789abcdef.a.eml").write_bytes(GOOD)
    (claims / "w7" / "by-chance").write_bytes(GOOD)
    intake = RecordingIntake()
    async with running(connector(tmp_path), intake):
        await until(lambda: intake.accepted)
        await until(lambda: [path.name for path in claims.glob("*/*")] == ["by-chance"])
    [one] = intake.accepted
    assert one.message.envelope.dedupe_key == "oldmhs:0123456789abcdef:0"


async def test_two_files_of_the_same_name_and_octets_are_two_messages(tmp_path: Path) -> None:
    intake = RecordingIntake()
    async with running(connector(tmp_path), intake):
        for count in (1, 2):
            put(tmp_path, "a.eml")
            await until(partial(lambda count: len(intake.accepted) == count, count))
            await until(lambda: left(tmp_path) == [])
    assert not any(one.receipt.duplicate for one in intake.accepted)


def test_killed_between_commit_and_unlink_a_file_is_not_doubled(tmp_path: Path) -> None:
    """kill -9 right after the commit: the next start finds the file, hands it over again, and it is known."""
    journal = Journal(tmp_path / "journal")
    put(tmp_path, "a.eml", numbered(1))

    class Killing(RecordingIntake):
        async def accept(self, message: Any, *, report: bool = False) -> Any:
            await super().accept(message)
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:

        async def body() -> None:
            made = connector(tmp_path)
            await made.start()
            await made.run(Killing(journal))

        try:
            asyncio.run(body())
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert left(tmp_path) == ["a.eml"]
    assert len(journal.lines()) == 1

    async def restarted() -> RecordingIntake:
        intake = RecordingIntake(journal)
        async with running(connector(tmp_path), intake):
            await until(lambda: left(tmp_path) == [])
        return intake

    intake = asyncio.run(restarted())
    assert [one.receipt.duplicate for one in intake.accepted] == [True]
    assert intake.marks == []


async def test_a_file_still_being_written_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = RecordingIntake()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.eml").touch()
    put(tmp_path, "a.eml")
    async with running(connector(tmp_path), intake):
        await until(lambda: intake.accepted)
        await asyncio.sleep(0.3)
        assert left(tmp_path) == ["empty.eml"]
        (tmp_path / "in" / "empty.eml").write_bytes(GOOD)
        await until(lambda: left(tmp_path) == [])
        # one that never gets any octets is bad in the end
        monkeypatch.setattr("connectors.filedrop.ready.EMPTY_GRACE_S", 0.2)
        (tmp_path / "in" / "empty.eml").touch()
        await until(lambda: "empty.eml.reason.txt" in left(tmp_path))


async def test_an_inbox_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    intake = RecordingIntake()
    made = connector(tmp_path, create_folders=False)
    async with running(made, intake):
        await asyncio.sleep(0.1)
        assert not made.health().ok
        assert "inbox" in made.health().text
        assert not (tmp_path / "in").exists(), "a share that is not mounted must not be hidden by a folder of ours"
        put(tmp_path, "a.eml")
        await until(lambda: intake.accepted)
        assert made.health().ok


async def test_files_are_taken_in_the_order_of_their_names(tmp_path: Path) -> None:
    intake = RecordingIntake()
    for number in (3, 1, 2):
        put(tmp_path, f"{number}.eml", numbered(number))
    async with running(connector(tmp_path, order="name"), intake):
        await until(lambda: len(intake.accepted) == 3)
    assert intake.marks == [1, 2, 3]


async def test_a_codec_s_fault_stops_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(Pickup):
        def decode(self, file: Any, stamp: Any) -> Any:
            if file.read(0, 4) == b"boom":
                raise ZeroDivisionError
            return super().decode(file, stamp)

    monkeypatch.setattr("connectors.filedrop.connector.codec_class", lambda name: Faulty)
    intake = RecordingIntake()
    put(tmp_path, "a.eml", b"boom")
    put(tmp_path, "b.eml")
    async with running(connector(tmp_path), intake):
        await until(lambda: intake.accepted)
    assert left(tmp_path) == ["a.eml"]


async def test_a_thousand_files_are_taken_quickly_and_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(1000):
        (tmp_path / "in" / f"{number}.eml").write_bytes(numbered(number))
    intake = RecordingIntake()
    began = time.monotonic()
    async with running(connector(tmp_path), intake):
        await until(lambda: len(intake.accepted) == 1000, 60)
        await until(lambda: left(tmp_path) == [])
    assert sorted(intake.marks) == list(range(1000))
    assert intake.in_flight_peak <= 200
    print(f"{1000 / (time.monotonic() - began):.0f} files/s")


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.eml", "Übergabe №1.eml".encode(), b"a\nX-Evil: 1.eml", b" .eml", b"-rf.eml"]
)
async def test_names_in_any_encoding(tmp_path: Path, name: bytes) -> None:
    intake = RecordingIntake()
    (tmp_path / "in").mkdir()
    for octets, folder in ((GOOD, b"in"), (b"no header", b"in")):
        path = os.path.join(os.fsencode(tmp_path), folder, name)
        with open(path, "wb") as file:  # noqa: ASYNC230 - a test's own file
            file.write(octets)
        async with running(connector(tmp_path, archive="done", errors="bad"), intake):
            await until(lambda: left(tmp_path) == [])
    [one] = intake.accepted
    peer = one.message.envelope.origin.peer
    assert peer.isprintable()
    peer.encode()
    assert os.listdir(os.fsencode(tmp_path / "done")) == [name]
    assert sorted(os.listdir(os.fsencode(tmp_path / "bad"))) == sorted([name, name + b".reason.txt"])


async def test_a_file_that_vanishes_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from connectors.filedrop.ready import ByName

    class Vanishing(ByName):
        def is_complete(self, folder: Path, name: str, found: os.stat_result) -> bool:
            if name.startswith("gone"):
                (folder / name).unlink()
            return True

    monkeypatch.setattr("connectors.filedrop.inbox.rule_of", lambda config, ops: Vanishing())
    intake = RecordingIntake()
    for number in range(5):
        put(tmp_path, f"gone{number}.eml")
        put(tmp_path, f"{number}.eml")
    made = connector(tmp_path)
    async with running(made, intake):
        await until(lambda: len(intake.accepted) == 5)
        await until(lambda: left(tmp_path) == [])
        assert made.health().ok


async def test_a_claimed_file_that_somebody_removes_is_told_once(tmp_path: Path) -> None:
    intake = RecordingIntake()
    intake.unavailable = 1
    put(tmp_path, "a.eml")
    made = connector(tmp_path)
    async with running(made, intake):
        await until(lambda: intake.calls)
        for path in (tmp_path / "in" / ".claimed").glob("*/*"):
            path.unlink()
        put(tmp_path, "b.eml")
        await until(lambda: intake.accepted, 20)
        await until(lambda: any("is gone" in line[1] for line in made.context.log.lines))
    assert [one.message.envelope.origin.peer for one in intake.accepted] == ["b.eml"]


async def test_an_archive_has_a_folder_a_day(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path, f"{number}.eml")
    made = connector(tmp_path, archive="done/{yyyy}/{mm}-{dd}/ok")
    async with running(made, RecordingIntake()):
        await until(lambda: left(tmp_path) == [])
    day = time.strftime("%Y/%m-%d", time.gmtime())
    assert len(list((tmp_path / "done" / day / "ok").iterdir())) == 3


async def test_a_name_that_is_used_again_and_again_is_archived_at_the_same_cost(tmp_path: Path) -> None:
    intake = RecordingIntake()
    async with running(connector(tmp_path, archive="done", poll_s=0.05), intake):
        for count in range(1, 16):
            put(tmp_path, "MSG.eml")
            await until(partial(lambda count: len(intake.accepted) == count, count))
            await until(lambda: left(tmp_path) == [])
    names = sorted(os.listdir(tmp_path / "done"))
    assert len(names) == 15
    assert sum(len(name) == len("MSG-0123456789abcdef01234567.eml") for name in names) == 6


async def test_an_archive_on_a_full_disk_loses_and_doubles_nothing(tmp_path: Path) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.eml")
    made = connector(tmp_path, archive="done")
    async with running(made, intake):
        (tmp_path / "done").rename(tmp_path / "away")
        await until(lambda: intake.accepted)
        await until(lambda: any("cannot be removed" in line[1] for line in made.context.log.lines))
        assert left(tmp_path) == ["a.eml"]
    (tmp_path / "away").rename(tmp_path / "done")
    again = RecordingIntake()
    async with running(connector(tmp_path, archive="done"), again):
        await until(lambda: left(tmp_path) == [])
    assert len({one.message.envelope.dedupe_key for one in intake.accepted + again.accepted}) == 1


@pytest.mark.timeout(300)
async def test_a_folder_of_a_hundred_thousand_files_costs_the_same_a_file(tmp_path: Path) -> None:
    """Not all of them are accepted here: what counts is that the first come at once, and each at the same pace."""
    (tmp_path / "in").mkdir()
    for number in range(100_000):
        if number % 50_000 == 0:
            first = tmp_path / "in" / f"{number}.eml"
            first.write_bytes(GOOD)
        else:
            os.link(first, tmp_path / "in" / f"{number}.eml")
    intake = RecordingIntake()
    began = time.monotonic()
    async with running(connector(tmp_path), intake):
        await until(lambda: intake.accepted, 20)
        first_s = time.monotonic() - began
        await until(lambda: len(intake.accepted) > 3000, 60)
        early_s = time.monotonic() - began - first_s
    print(f"first after {first_s:.2f} s, then {3000 / early_s:.0f} a second")
    assert first_s < 5
    assert early_s < 30
