"""Appending to a shared mailbox: whole or not at all, whatever fails and whenever the process dies."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from connectors.filedrop.append import REMEMBERED, AppendLayout
from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Encoded
from connectors.filedrop.layouts import Sheet
from gateway.formats import mmdf
from gateway.formats.from_line import write
from gateway.formats.mbox import Dialect, Entry, joint, scan, written
from gateway.mailbox_files import Operations
from gateway.mailbox_lock import MailboxLock
from gateway.message import Content
from tests.connectors.filedrop.kill import UNSYNCED, fails_at, run

FROM = write("ann@a.example", 1_795_482_123.0)


def sheet(stem: str, *, text: bytes = b"text") -> Sheet:
    content = Content(b"Subject: " + stem.encode() + b"\r\n\r\n" + text + b"\r\n")
    return Sheet(stem, Encoded(written(content, FROM, Dialect.MBOXRD)))


def layout(folder: Path, ops: Operations = UNSYNCED, *, wait_s: float = 0.0) -> AppendLayout:
    return AppendLayout(folder, "box", ("fcntl", "dotlock"), wait_s, joint, ops)


def subjects(folder: Path) -> list[str]:
    """Return the messages of the mailbox; one that is not whole is told as such."""
    octets = (folder / "box").read_bytes()
    found = []
    for entry in scan(InMemory(octets)):
        assert isinstance(entry, Entry)
        message = octets[entry.head : entry.end]
        name = message.partition(b"\n")[0].decode().removeprefix("Subject: ")
        found.append(name if message.endswith((b"text\n", b"foreign\n")) else f"half {name}")
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_messages_are_appended_in_order(tmp_path: Path) -> None:
    box = layout(tmp_path)
    sheets = [sheet(f"m{n}") for n in range(5)]
    assert box.groups(sheets) == [[0, 1, 2, 3, 4]]
    assert box.groups([]) == []
    assert box.count(10) == 0
    box.put(sheets[:2])
    box.put(sheets[2:])
    box.sync()
    assert subjects(tmp_path) == ["m0", "m1", "m2", "m3", "m4"]
    assert box.count(10) == 1
    assert names(tmp_path) == [".box.appended", "box"]


OLD = FROM + b"Subject: old\n\nforeign"


@pytest.mark.parametrize(
    "there", [b"", b"\n", OLD, OLD + b"\n", OLD + b"\n\n", OLD.replace(b"\n", b"\r\n") + b"\r\n\r\n"]
)
def test_a_message_is_parted_from_what_is_there(tmp_path: Path, there: bytes) -> None:
    (tmp_path / "box").write_bytes(there)
    layout(tmp_path).put([sheet("m0")])
    octets = (tmp_path / "box").read_bytes()
    assert octets.startswith(there)
    assert len(list(scan(InMemory(octets)))) == 1 + bool(there.strip())
    assert not octets.startswith(b"\n\n")


def test_mmdf_is_appended_to(tmp_path: Path) -> None:
    (tmp_path / "box").write_bytes(b"\x01\x01\x01\x01\nA: b\n\n\x01\x01\x01\x01")
    box = AppendLayout(tmp_path, "box", ("fcntl",), 0, mmdf.joint)
    box.put([Sheet("a", Encoded(mmdf.written(Content(b"C: d\r\n\r\n"))))])
    frames = list(mmdf.scan(InMemory((tmp_path / "box").read_bytes())))
    assert [isinstance(frame, mmdf.Frame) and frame.is_whole for frame in frames] == [True, True]


def test_what_was_appended_is_not_appended_again(tmp_path: Path) -> None:
    sheets = [sheet("m0"), sheet("m1")]
    layout(tmp_path).put(sheets)
    layout(tmp_path).put([*sheets, sheet("m2")])
    layout(tmp_path).put([sheet("m2")])
    assert subjects(tmp_path) == ["m0", "m1", "m2"]
    # and not even where a reader took the mailbox away in between
    (tmp_path / "box").unlink()
    layout(tmp_path).put([sheet("m1"), sheet("m3")])
    assert subjects(tmp_path) == ["m3"]


def test_only_the_last_ones_are_remembered(tmp_path: Path) -> None:
    box = layout(tmp_path)
    box.put([sheet("first")])
    for start in range(0, REMEMBERED, 64):
        box.put([sheet(f"m{start + n}") for n in range(64)])
    assert (tmp_path / ".box.appended").stat().st_size < 20_000
    box.put([sheet("first"), sheet(f"m{REMEMBERED - 1}")])
    assert subjects(tmp_path).count("first") == 2
    assert subjects(tmp_path).count(f"m{REMEMBERED - 1}") == 1


def test_a_lock_that_others_hold_defers(tmp_path: Path) -> None:
    (tmp_path / "box").write_bytes(b"")
    (tmp_path / "box.lock").write_text(str(os.getpid()))
    with pytest.raises(BlockingIOError):
        layout(tmp_path).put([sheet("m0")])
    assert names(tmp_path) == ["box", "box.lock"]


def test_a_content_that_cannot_be_read_touches_nothing(tmp_path: Path) -> None:
    def octets() -> Iterable[bytes]:
        yield b"half"
        raise OSError(errno.EIO, "gone")

    with pytest.raises(OSError, match="gone"):
        layout(tmp_path).put([sheet("m0"), Sheet("bad", Encoded(octets))])
    assert names(tmp_path) == []


def test_whatever_fails_nothing_or_all_is_there(tmp_path: Path) -> None:
    """Each call that changes something fails once, as on a full disk; then the retry comes."""
    call = 1
    while True:
        folder = tmp_path / str(call)
        folder.mkdir()
        layout(folder).put([sheet("old")])
        sheets = [sheet(f"m{n}") for n in range(3)]
        try:
            layout(folder, fails_at(call, OSError(errno.ENOSPC, "full"))).put(sheets)
            break
        except OSError:
            pass
        assert subjects(folder) in (["old"], ["old", "m0", "m1", "m2"]), call
        layout(folder).put(sheets)
        assert subjects(folder) == ["old", "m0", "m1", "m2"], call
        assert not [name for name in names(folder) if name.endswith((".lock", ".append"))], call
        call += 1
    assert call > 12


def test_a_kill_at_any_call_leaves_no_half_and_doubles_nothing(tmp_path: Path) -> None:
    call = 1
    sheets = [sheet(f"m{n}") for n in range(3)]
    whole = ["old", "m0", "m1", "m2"]
    while True:
        folder = tmp_path / str(call)
        folder.mkdir()
        layout(folder).put([sheet("old")])
        ended = run(lambda ops, folder=folder: layout(folder, ops).put(sheets), call)  # type: ignore[misc]
        layout(folder).put([sheet("another")])  # whoever comes next cuts off or takes note
        assert subjects(folder) in (["old", "another"], [*whole, "another"]), call
        layout(folder).put(sheets)
        assert sorted(subjects(folder)) == sorted([*whole, "another"]), call
        assert not [name for name in names(folder) if name.endswith((".lock", ".append"))], call
        if ended:
            break
        call += 1
    assert call > 15


def half_appended(folder: Path) -> tuple[bytes, bytes]:
    """Die while the mailbox is written; return what it was, and what it is."""
    layout(folder).put([sheet("old")])
    before = (folder / "box").read_bytes()
    call = 1
    while not run(lambda ops: layout(folder, ops).put([sheet("m0", text=b"x" * 1000 + b"\r\ntext")]), call):
        now = (folder / "box").read_bytes()
        if len(now) > len(before):
            return before, now
        call += 1
    raise AssertionError("it never died there")


def test_a_half_is_cut_off_after_a_power_cut_that_left_it_without_octets(tmp_path: Path) -> None:
    before, now = half_appended(tmp_path)
    (tmp_path / "box").write_bytes(now[: len(before) + 40] + b"\0" * (len(now) - len(before) - 40))
    layout(tmp_path).put([sheet("m1")])
    assert subjects(tmp_path) == ["old", "m1"]


def test_mail_of_others_behind_a_half_is_never_cut_off(tmp_path: Path) -> None:
    _, now = half_appended(tmp_path)
    foreign = b"\n\n" + FROM + b"Subject: theirs\n\nforeign\n\n"
    (tmp_path / "box.lock").unlink()
    with (tmp_path / "box").open("ab") as file:
        file.write(foreign)
    layout(tmp_path).put([sheet("m1")])
    assert (tmp_path / "box").read_bytes().startswith(now + foreign)
    assert subjects(tmp_path) == ["old", "half m0", "theirs", "m1"]


def test_what_is_whole_counts_as_appended_though_another_wrote_behind_it(tmp_path: Path) -> None:
    """The process dies with the copy done and the journal open; then others' mail comes."""
    one = sheet("m0")
    call = 1
    while True:
        folder = tmp_path / str(call)
        folder.mkdir()
        assert not run(lambda ops, folder=folder: layout(folder, ops).put([one]), call)  # type: ignore[misc]
        there = (folder / "box").read_bytes() if (folder / "box").exists() else b""
        if there == b"".join(one.encoded.octets()) and (folder / ".box.append").exists():
            break
        call += 1
    (folder / "box.lock").unlink()
    (folder / "box").write_bytes(there + FROM + b"Subject: theirs\n\nforeign\n\n")
    layout(folder).put([one, sheet("m1")])
    assert subjects(folder) == ["m0", "theirs", "m1"]


def test_a_mailbox_that_was_taken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    half_appended(tmp_path)
    (tmp_path / "box").unlink()
    (tmp_path / "box").write_bytes(FROM + b"Subject: theirs\n\nforeign\n\n" * 40)
    was = (tmp_path / "box").read_bytes()
    layout(tmp_path).put([sheet("m1")])
    assert (tmp_path / "box").read_bytes().startswith(was)


def test_a_journal_that_nobody_can_read_is_none(tmp_path: Path) -> None:
    layout(tmp_path).put([sheet("m0")])
    for text in (b"", b"{", b"[]", b'{"device": 1}', b"\xff"):
        (tmp_path / ".box.append").write_bytes(text)
        (tmp_path / ".box.appended").write_bytes(text)
        layout(tmp_path).put([sheet(f"after {text!r}")])
    assert len(subjects(tmp_path)) == 6


def test_staged_files_that_old_crashes_left_go(tmp_path: Path) -> None:
    for name, seconds in ((".box.0123.staged", 2 * 86400), (".box.4567.staged", 60), ("mail.staged", 2 * 86400)):
        (tmp_path / name).write_bytes(b"x")
        now = (tmp_path / name).stat().st_mtime
        os.utime(tmp_path / name, (now - seconds, now - seconds))
    layout(tmp_path).put([sheet("m0")])
    assert names(tmp_path) == [".box.4567.staged", ".box.appended", "box", "mail.staged"]


def test_a_reader_that_takes_the_mailbox_away_gets_whole_messages(tmp_path: Path) -> None:
    box = layout(tmp_path, wait_s=30.0)
    taken = []
    for number in range(20):
        box.put([sheet(f"m{number}")])
        if number % 7 == 3:
            with MailboxLock(tmp_path / "box", ("fcntl", "dotlock")):
                os.rename(tmp_path / "box", tmp_path / "claim")
            os.rename(tmp_path / "claim", tmp_path / f"box{number}")
            taken.append((tmp_path / f"box{number}").read_bytes())
    taken.append((tmp_path / "box").read_bytes())
    assert sum(len(list(scan(InMemory(octets)))) for octets in taken) == 20


def test_nothing_is_told_before_it_is_durable(tmp_path: Path) -> None:
    """The staged octets and the journal before the mailbox is touched, the mailbox before the journal is closed."""
    done: list[str] = []
    files: dict[int, str] = {}

    def opening(path: str, flags: int, mode: int) -> int:
        handle = os.open(path, flags, mode)
        files[handle] = "staged" if path.endswith(".staged") else Path(path).name
        return handle

    def pwrite(handle: int, octets: memoryview, at: int) -> int:
        done.append("append")
        return os.pwrite(handle, octets, at)

    def rename(source: str, target: str) -> None:
        done.append(f"rename to {Path(target).name}")
        os.rename(source, target)

    (tmp_path / "box").write_bytes(b"")
    synced = Operations(
        open=opening, fsync=lambda handle: done.append(f"sync {files[handle]}"), pwrite=pwrite, rename=rename
    )
    box = layout(tmp_path, synced)
    box.put([sheet("m0")])
    box.sync()
    folder = f"sync {tmp_path.name}"
    assert done == [
        "sync staged",
        "sync .box.append.tmp",
        "rename to .box.append",
        folder,
        "append",
        "sync box",
        "rename to .box.appended",
        folder,
    ]
