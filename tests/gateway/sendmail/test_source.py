"""The daemon's side alone: its start, its callers' words, and what is made of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract import Content, Context, Rejected, Status
from gateway.log import get_log
from gateway.sendmail import dropped as dropped_module
from gateway.sendmail import handover, options, way
from gateway.sendmail import source as source_module
from gateway.sendmail.dialogue import converse
from gateway.sendmail.dropped import Dropped, Folder
from gateway.sendmail.source import Sendmail, SendmailConfig
from gateway.sendmail.taken import Desk, Senders, User, Words
from gateway.testing import RecordingIntake
from tests.connectors.smtp.server_kit import settled


def made(folder: Path, *, worker: int = 0, **config: Any) -> Sendmail:
    context = Context("gw.example", folder, folder, get_log("test"), time.time, worker=worker, workers=2)
    return Sendmail("programs", SendmailConfig(folder="local", **config), context)


async def test_one_worker_of_a_machine_serves(tmp_path: Path) -> None:
    second = made(tmp_path, worker=1)
    await second.start()
    running = asyncio.create_task(second.run(RecordingIntake()))
    await asyncio.sleep(0.05)
    assert second.health().ok
    assert not (tmp_path / "local").exists()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_what_keeps_it_from_starting_is_said(tmp_path: Path) -> None:
    (tmp_path / "local").write_text("in the way")
    with pytest.raises(OSError, match="install -d -o USER"):
        await made(tmp_path).start()
    (tmp_path / "local").unlink()
    with pytest.raises(ValueError, match="domain 'a b'"):
        await made(tmp_path, domain="a b").start()
    with pytest.raises(ValueError, match="107 octets"):
        await made(tmp_path / ("x" * 100)).start()
    (tmp_path / "local").mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "local/socket"))
        other.listen()
        with pytest.raises(OSError, match="another gateway answers there"):
            await made(tmp_path).start()
    await made(tmp_path).start()
    assert not (tmp_path / "local/socket").exists(), "one of a gateway that is gone is taken away"


async def test_callers_who_say_nothing_sensible(tmp_path: Path) -> None:
    source, intake = made(tmp_path), RecordingIntake()
    await source.start()
    running = asyncio.create_task(source.run(intake))
    await settled(lambda: source.health().ok)
    path = str(tmp_path / "local/socket")
    try:
        for octets, status in (
            (b"", b"65"),
            (b"GET / HTTP/1.1\r\n\r\n", b"65"),
            (b"\0" * 100_000, b"65"),
            (handover.FIRST + b"\n\n", b"65"),
            (handover.write([("do", "mail"), ("to", "a@b.example"), ("evil", "x")]), b"64"),
            (handover.write([("do", "mail"), ("to", "no address@")]), b"65"),
            (handover.write([("do", "mail")] + [("to", f"n{n}@b.example") for n in range(10_001)]), b"69"),
        ):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(octets)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 60)
            assert answer.split(b" ")[0] == status, (octets[:60], answer)
            assert answer.endswith(b"\n")
            writer.close()
        assert intake.accepted == []
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert not (tmp_path / "local/socket").exists()


def desk(senders: Senders = "warn", *, trusted: tuple[str, ...] = ()) -> Desk:
    return Desk("programs", "gw.example", "acme.example", senders, frozenset(trusted))


ANN = User(1000, "ann", "Ann Lee")


def handed(content: bytes, *words: tuple[str, str], by: Desk | None = None) -> tuple[Any, bytes]:
    message = (by or desk()).message(ANN, Words(words), Content(content), 0.0)
    return message.envelope, message.content.octets()


async def test_a_caller_that_ends_in_the_middle_leaves_no_half_message(tmp_path: Path) -> None:
    source, intake = made(tmp_path), RecordingIntake()
    await source.start()
    running = asyncio.create_task(source.run(intake))
    await settled(lambda: source.health().ok)
    id = "0" * 32
    whole = handover.write([("do", "mail"), ("id", id), ("size", "12"), ("to", "a@b.example")]) + b"Subject: hi\n"
    try:
        for octets, status in ((whole[:-3], b"69"), (whole + b"x", b"69"), (whole, b"0")):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "local/socket"))
            writer.write(octets)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 60)
            assert answer.split(b" ")[0] == status, (octets, answer)
            writer.close()
        (message,) = intake.accepted
        assert b"Subject: hi\r\n" in message.octets
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_what_is_refused_for_now_is_tried_again_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropped_module, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(source_module, "LOOK_S", 0.02)
    monkeypatch.setattr(source_module, "AGAIN_S", 0.05)
    source, intake = made(tmp_path), RecordingIntake()
    await source.start()
    intake.rejects = Status("4.7.1", "too many messages, try again later")
    way.drop(str(tmp_path / "local"), "1" * 32, [handover.write([("do", "mail"), ("to", "a@b.example")]) + b"hello\n"])
    running = asyncio.create_task(source.run(intake))
    try:
        await settled(lambda: intake.calls > 1)
        monkeypatch.setattr(source_module, "AGAIN_S", 2.0)  # longer than a busy machine may hold up the rest
        calls = intake.calls
        await settled(lambda: intake.calls > calls)
        intake.rejects = None
        words = handover.write([("do", "mail"), ("to", "b@b.example")])
        way.drop(str(tmp_path / "local"), "2" * 32, [words + b"hello\n"])
        await settled(lambda: len(intake.accepted) == 2)
        first, _ = intake.accepted
        assert first.message.envelope.recipients[0].address.value == "b@b.example"
        await settled(lambda: not list((tmp_path / "local/claimed").iterdir()))
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert not list((tmp_path / "local/bad").iterdir())


async def test_a_fault_of_ours_leaves_no_content_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the drop folder is tried again every minute."""

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    source, intake = made(tmp_path), RecordingIntake()
    monkeypatch.setattr(Desk, "message", fails)
    await source.start()
    words = handover.write([("do", "mail"), ("to", "a@b.example")])
    way.drop(str(tmp_path / "local"), "1" * 32, [words + b"x" * 300_000])
    running = asyncio.create_task(source.run(intake))
    try:
        await settled(lambda: [writer.abandoned for writer in intake.writers] == [True])
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert len(list((tmp_path / "local/claimed").iterdir())) == 1


def test_a_folder_in_the_drop_folder_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path / "drop", 1000)
    folder.make()
    for name in (f"{'a' * 32}.msg", f"{'b' * 32}.new"):
        (folder.path / name).mkdir()
        os.utime(folder.path / name, (0, 0))
    (folder.path / f"{'c' * 32}.msg").write_bytes(handover.write([]))
    rename = os.rename

    def by_who_is_not_root(old: Path, new: Path) -> None:
        if Path(old).is_dir():
            raise PermissionError(13, "Permission denied")
        rename(old, new)

    monkeypatch.setattr("gateway.sendmail.dropped.os.rename", by_who_is_not_root)
    (taken,) = folder.claim()
    assert isinstance(taken, Dropped)
    assert taken.id == "c" * 32
    taken.close()


def test_what_was_put_aside_is_in_nobodys_way(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "drop", 1000)
    folder.make()
    bad = folder.path / f"{'a' * 32}.msg"
    for _ in range(2):
        bad.mkdir()
        (bad / "full").touch()
        assert len(folder.claim()) == 1
    os.mkfifo(bad)
    assert len(folder.claim()) == 1
    assert len(list(folder.bad.iterdir())) == 3


def test_what_one_recipient_asks_for_is_not_asked_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[tuple[str, str, str]] = []

    def post(call: options.Call, kept: object) -> tuple[int, str]:
        posted.append((call.notify, call.ret, call.envid))
        return 0, "queued"

    monkeypatch.setattr("gateway.sendmail.command.post", post)
    to = [
        ("MAIL FROM:<a@b.example> ENVID=+0AX", []),  # refused, and so is what follows
        ("MAIL FROM:<a@b.example> RET=HDRS ENVID=x+2By", ["NOTIFY=NEVER"]),
        ("MAIL FROM:<a@b.example>", [""]),
        ("MAIL FROM:<a@b.example>", ["", "NOTIFY=NEVER"]),
        ("MAIL FROM:<a@b.example>", ["NOTIFY=SUCCESS", "NOTIFY=NEVER", "NOTIFY=DELAY,SUCCESS"]),
    ]
    lines = [
        line
        for mail, words in to
        for line in (mail, *(f"RCPT TO:<n@b.example> {word}" for word in words), "DATA", "Subject: hi", "", ".")
    ]
    reading, writing = os.pipe()
    os.write(writing, "".join(f"{line}\n" for line in lines).encode())
    os.close(writing)
    with open(os.devnull, "wb") as out:
        converse(options.Call(), str(tmp_path), reading, out.fileno())
    os.close(reading)
    assert posted == [("never", "hdrs", "x+y"), ("", "", ""), ("failure", "", ""), ("success,delay", "", "")]


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize(
    ("begin", "kept"),
    [
        (b"From ann Mon Nov 30 05:00:00 2026\nSubject: hi\n\n", b"Subject: hi\r\n\r\n"),
        (b">From ann Mon Nov 30 05:00:00 2026\nSubject: hi\n\n", b"Subject: hi\r\n\r\n"),
        (b"From now on, write here.\nAnn\n", b"\r\n\r\nFrom now on, write here.\r\nAnn\r\n"),
        (b"From: ann@b.example\n\n", b"From: ann@b.example\r\n\r\n"),
    ],
)
async def test_a_from_line_of_a_mailbox_is_no_part_of_the_message(
    tmp_path: Path, begin: bytes, kept: bytes, size: int
) -> None:
    source, intake = made(tmp_path), RecordingIntake()

    async def octets() -> AsyncIterator[bytes]:
        for at in range(0, len(begin), 7):
            yield begin[at : at + 7]
        yield b"x" * size + b"\n"

    words = Words([("do", "mail"), ("to", "a@b.example")])
    await source._accept(intake, User.of(0), words, octets())
    (message,) = intake.accepted
    assert message.octets.partition(b"Message-ID: ")[2].endswith(kept + b"x" * size + b"\r\n")
    assert message.octets.startswith((b"From: ", b"Date: "))
    assert message.octets.count(b"From ") == kept.count(b"From ")


def test_senders() -> None:
    envelope, octets = handed(b"", ("to", "bob"))
    assert envelope.reverse_path.value == "ann@acme.example"
    assert octets.startswith(b"From: Ann Lee <ann@acme.example>\r\nDate: ")
    envelope, octets = handed(b"", ("to", "bob"), ("sender", "ann"))
    assert b"X-Authentication-Warning" not in octets, "her own, without its domain"
    envelope, octets = handed(b"", ("to", "bob"), ("sender", "boss@acme.example"))
    assert octets.startswith(b"X-Authentication-Warning: gw.example: ann set sender to boss@acme.example using -f\r\n")
    assert b"From: boss@acme.example\r\n" in octets, "her name is not beside another's address"
    for by in (desk("any"), desk("warn", trusted=("ann",)), desk("own", trusted=("ann",))):
        assert b"Warning" not in handed(b"", ("to", "bob"), ("sender", "boss@acme.example"), by=by)[1]
    with pytest.raises(Rejected, match=r"ann may not send as boss@acme\.example"):
        handed(b"", ("to", "bob"), ("sender", "boss@acme.example"), by=desk("own"))
    envelope, _ = handed(b"", ("to", "bob"), ("sender", ""), by=desk("own"))
    assert envelope.reverse_path is None


def test_recipients() -> None:
    envelope, octets = handed(
        b"To: a, b@x.example\nBcc: c\n\n".replace(b"\n", b"\r\n"), ("header", ""), ("to", "a"), ("to", "d")
    )
    assert [r.address.value for r in envelope.recipients] == [
        "a@acme.example", "b@x.example", "c@acme.example", "d@acme.example",
    ]  # fmt: skip
    assert b"Bcc" not in octets
    for words in ([("to", "a b")], [("header", "")], []):
        with pytest.raises(Rejected):
            handed(b"Subject: x\r\n\r\n", *words)


def test_the_rest_of_the_envelope() -> None:
    words = [("to", "a"), ("notify", "success,delay"), ("ret", "hdrs"), ("envid", "id-1"), ("id", "0" * 32)]
    envelope, _ = handed(b"", *words)
    assert (envelope.ret, envelope.envid, envelope.dedupe_key) == ("hdrs", "id-1", f"programs:1000:{'0' * 32}")
    assert envelope.recipients[0].notify.value == 2 | 8
    assert (envelope.origin.user, envelope.origin.peer, envelope.origin.trusted) == ("ann", "userid-1000", True)


def test_users() -> None:
    assert User.of(0).login == "root"
    assert User.of(4_000_000_000) == User(4_000_000_000, "uid-4000000000", "")


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=50)), max_size=8), st.binary(max_size=200))
def test_no_words_raise_more_than_a_refusal(words: list[tuple[str, str]], head: bytes) -> None:
    with contextlib.suppress(Rejected):
        handed(b"Subject: x\r\n\r\n", *words)
    with contextlib.suppress(handover.Malformed):
        handover.read(head)
    with contextlib.suppress(handover.Malformed, Rejected):
        Words(handover.read(handover.FIRST + b"\n" + head))
