"""Maildir and MH folders as an outbox: whole files, names found again, whatever fails and whenever the process dies."""

from __future__ import annotations

import errno
import mailbox
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.filedrop.formats import Encoded, Options
from connectors.filedrop.formats.maildir import MaildirFile, MaildirSettings
from connectors.filedrop.layouts import Layout, Sheet
from connectors.filedrop.maildir_layout import MaildirLayout
from connectors.filedrop.mh_layout import MhLayout
from gateway import mailbox_maildir
from gateway.formats.maildir import read_name
from gateway.formats.mh import read_sequences
from gateway.mailbox_files import Operations
from tests.connectors.filedrop.kill import UNSYNCED, fails_at, run

STEM = "20261124T010203456Z-01k9rw3m8c00{}-0"
NAME = "1795482123.M456000Q01k9rw3m8c000-0.gw.example"


def sheet(number: int, text: bytes = b"text\n") -> Sheet:
    octets = b"Subject: m%d\n\n" % number + text
    return Sheet(STEM.format(number), Encoded(lambda: iter((octets[:5], octets[5:]))))


def in_maildir(folder: Path, ops: Operations = UNSYNCED) -> MaildirLayout:
    return MaildirLayout(folder, folder, "gw.example", ops=ops)


def in_mh(folder: Path, ops: Operations = UNSYNCED, unseen: str = "unseen") -> MhLayout:
    return MhLayout(folder, unseen, ("fcntl", "dotlock"), 0.0, ops)


def maildir_messages(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for kind in ("new", "cur") for path in (folder / kind).glob("*"))


def mh_messages(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.iterdir() if path.name.isdecimal())


KINDS = [
    pytest.param(in_maildir, maildir_messages, id="maildir"),
    pytest.param(in_mh, mh_messages, id="mh"),
]
Make = Callable[[Path, Operations], Layout]
Look = Callable[[Path], list[bytes]]


def put(layout: Layout, sheets: list[Sheet]) -> None:
    """Put as the destination does."""
    for group in layout.groups(sheets):
        layout.put([sheets[index] for index in group])
    layout.sync()


def octets_of(sheets: list[Sheet]) -> list[bytes]:
    return sorted(b"".join(one.encoded.octets()) for one in sheets)


@pytest.mark.parametrize(("make", "look"), KINDS)
def test_messages_are_put_once(tmp_path: Path, make: Make, look: Look) -> None:
    sheets = [sheet(n) for n in range(4)]
    put(make(tmp_path, UNSYNCED), sheets[:2])
    put(make(tmp_path, UNSYNCED), sheets)
    assert look(tmp_path) == octets_of(sheets)
    assert make(tmp_path, UNSYNCED).count(10) == 4
    assert make(tmp_path, UNSYNCED).count(2) == 3


@pytest.mark.parametrize(("make", "look"), KINDS)
def test_whatever_fails_the_retry_makes_it_whole(tmp_path: Path, make: Make, look: Look) -> None:
    call = 1
    sheets = [sheet(n) for n in range(3)]
    while True:
        folder = tmp_path / str(call)
        folder.mkdir()
        put(make(folder, UNSYNCED), [sheet(9)])
        try:
            put(make(folder, fails_at(call, OSError(errno.ENOSPC, "full"))), sheets)
            break
        except OSError:
            pass
        assert set(look(folder)) <= set(octets_of([*sheets, sheet(9)])), call
        put(make(folder, UNSYNCED), sheets)
        assert look(folder) == octets_of([*sheets, sheet(9)]), call
        call += 1
    assert call > 8


@pytest.mark.parametrize(("make", "look"), KINDS)
def test_a_kill_at_any_call_leaves_no_half_and_doubles_nothing(tmp_path: Path, make: Make, look: Look) -> None:
    call = 1
    sheets = [sheet(n) for n in range(3)]
    while True:
        folder = tmp_path / str(call)
        folder.mkdir()
        put(make(folder, UNSYNCED), [sheet(9)])
        ended = run(lambda ops, folder=folder: put(make(folder, ops), sheets), call)  # type: ignore[misc]
        assert set(look(folder)) <= set(octets_of([*sheets, sheet(9)])), call
        put(make(folder, UNSYNCED), [sheet(8)])
        put(make(folder, UNSYNCED), sheets)
        assert look(folder) == octets_of([*sheets, sheet(9), sheet(8)]), call
        if ended:
            break
        call += 1
    assert call > 12


@pytest.mark.parametrize(("make", "look"), KINDS)
def test_octets_are_synced_before_they_get_their_name(tmp_path: Path, make: Make, look: Look) -> None:
    done: list[str] = []

    def rename(source: str, target: str) -> None:
        done.append("name")
        os.rename(source, target)

    def link(source: str, target: str) -> None:
        done.extend(() if target.endswith(".lock") else ("name",))
        os.link(source, target)

    def fsync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "octets")

    put(make(tmp_path, UNSYNCED), [sheet(9)])
    put(make(tmp_path, Operations(rename=rename, link=link, fsync=fsync)), [sheet(0), sheet(1)])
    assert len(look(tmp_path)) == 3
    assert done in (["octets", "name", "octets", "name", "folder"], ["octets", "octets", "name", "name", "folder"])


# --- Maildir


def test_a_name_tells_time_message_and_sizes(tmp_path: Path) -> None:
    put(in_maildir(tmp_path), [sheet(0)])
    assert os.listdir(tmp_path / "new") == [f"{NAME},S=18,W=21"]
    assert sorted(os.listdir(tmp_path)) == ["cur", "new", "tmp"]
    assert os.listdir(tmp_path / "tmp") == []
    other = tmp_path / "other"
    other.mkdir()
    put(MaildirLayout(other, other, "gw.example", sizes=False), [sheet(0)])
    assert os.listdir(other / "new") == [NAME]


@pytest.mark.parametrize("info", [":2,", ":2,FRSab", ",U=7:2,S"])
def test_a_message_that_was_seen_is_found_again(tmp_path: Path, info: str) -> None:
    layout = in_maildir(tmp_path)
    put(layout, [sheet(0)])
    [there] = (tmp_path / "new").iterdir()
    there.rename(tmp_path / "cur" / (there.name + info))
    put(in_maildir(tmp_path), [sheet(0), sheet(1)])
    assert len(maildir_messages(tmp_path)) == 2


def test_a_listing_of_what_was_seen_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = in_maildir(tmp_path)
    put(layout, [sheet(0)])
    [there] = (tmp_path / "new").iterdir()
    there.rename(tmp_path / "cur" / f"{there.name}:2,S")
    monkeypatch.setattr(mailbox_maildir, "RESCAN_S", 0.0)
    put(layout, [sheet(0)])
    assert len(maildir_messages(tmp_path)) == 1


def test_the_outbox_itself_is_never_made(tmp_path: Path) -> None:
    layout = in_maildir(tmp_path / "gone")
    for call in (lambda: layout.put([sheet(0)]), lambda: layout.count(9)):
        with pytest.raises(FileNotFoundError):
            call()
    assert not (tmp_path / "gone").exists()


def test_a_folder_of_a_maildir_is_made(tmp_path: Path) -> None:
    codec = MaildirFile(
        "maildir", Options(hostname="gw.example"), MaildirSettings.model_validate({"folder": "Archive/Entwürfe"})
    )
    put(codec.layout(tmp_path), [sheet(0)])
    folder = tmp_path / ".Archive.Entw&APw-rfe"
    assert sorted(os.listdir(folder)) == ["cur", "maildirfolder", "new", "tmp"]
    assert len(os.listdir(folder / "new")) == 1
    assert mailbox.Maildir(tmp_path).list_folders() == ["Archive.Entw&APw-rfe"]
    with pytest.raises(ValueError, match="no name of a folder"):
        MaildirSettings.model_validate({"folder": "../elsewhere"})


def test_a_quota_is_kept(tmp_path: Path) -> None:
    (tmp_path / "maildirsize").write_bytes(b"50S,10C\n20 1\n")
    put(in_maildir(tmp_path), [sheet(0)])
    assert (tmp_path / "maildirsize").read_bytes() == b"50S,10C\n20 1\n18 1\n"
    put(in_maildir(tmp_path), [sheet(0)])  # again: it is there
    with pytest.raises(OSError, match="quota has no room") as raised:
        in_maildir(tmp_path).put([sheet(1)])
    assert raised.value.errno == errno.EDQUOT
    assert len(maildir_messages(tmp_path)) == 1
    assert os.listdir(tmp_path / "tmp") == []


def test_a_quota_file_that_grew_is_made_anew(tmp_path: Path) -> None:
    put(in_maildir(tmp_path), [sheet(0), sheet(1)])
    for name, octets in ((".Sub/cur/1.a.h,S=7:2,S", b"x"), (".Sub/new/2.b.h", b"abc"), ("cur/3.c.h:2,T", b"trash"),
                         (".Trash/cur/4.d.h", b"trash")):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(octets)
    (tmp_path / "maildirsize").write_bytes(b"1000S\n" + b"1 1\n" * 1500)
    put(in_maildir(tmp_path), [sheet(2)])
    # 18 octets each in new; 7 by its name, 3 by its size; then what was put
    assert (tmp_path / "maildirsize").read_bytes() == b"1000S\n46 4\n18 1\n"


def test_a_quota_that_seems_full_for_long_is_counted_anew(tmp_path: Path) -> None:
    (tmp_path / "maildirsize").write_bytes(b"100S\n100 5\n")
    with pytest.raises(OSError, match="quota"):
        in_maildir(tmp_path).put([sheet(0)])
    now = (tmp_path / "maildirsize").stat().st_mtime
    os.utime(tmp_path / "maildirsize", (now - 1000, now - 1000))
    put(in_maildir(tmp_path), [sheet(0)])
    assert (tmp_path / "maildirsize").read_bytes() == b"100S\n0 0\n18 1\n"


def test_a_file_that_is_no_quota_is_left(tmp_path: Path) -> None:
    (tmp_path / "maildirsize").write_bytes(b"what is this\n")
    put(in_maildir(tmp_path), [sheet(0)])
    assert (tmp_path / "maildirsize").read_bytes() == b"what is this\n"


def test_names_are_those_that_the_standard_library_reads(tmp_path: Path) -> None:
    put(in_maildir(tmp_path), [sheet(n) for n in range(3)])
    found = mailbox.Maildir(tmp_path)
    assert sorted(message["subject"] for message in found) == ["m0", "m1", "m2"]


# --- MH


def test_numbers_go_on_from_the_highest(tmp_path: Path) -> None:
    (tmp_path / "7").write_bytes(b"x")
    (tmp_path / ",9").write_bytes(b"x")
    put(in_mh(tmp_path), [sheet(0), sheet(1)])
    assert sorted(os.listdir(tmp_path)) == [",9", ".mh_sequences", "7", "8", "9"]
    assert (tmp_path / "8").read_bytes().startswith(b"Subject: m0\n")


def test_a_number_that_another_takes_is_passed_over(tmp_path: Path) -> None:
    def link(source: str, target: str) -> None:
        if target.endswith("/1") and not Path(target).exists():
            Path(target).write_bytes(b"another's")
        os.link(source, target)

    put(in_mh(tmp_path, Operations(link=link)), [sheet(0)])
    assert (tmp_path / "1").read_bytes() == b"another's"
    assert (tmp_path / "2").read_bytes().startswith(b"Subject: m0\n")


def test_new_messages_are_unseen(tmp_path: Path) -> None:
    (tmp_path / ".mh_sequences").write_text("cur: 3\nunseen: 1-3\nmine: 2\n")
    (tmp_path / "3").write_bytes(b"x")
    put(in_mh(tmp_path), [sheet(0), sheet(1)])
    assert (tmp_path / ".mh_sequences").read_text() == "cur: 3\nunseen: 1-5\nmine: 2\n"
    put(in_mh(tmp_path, unseen="new-mail"), [sheet(2)])
    assert read_sequences((tmp_path / ".mh_sequences").read_text())["new-mail"] == [(6, 6)]
    found = mailbox.MH(tmp_path)
    assert found.get_sequences()["new-mail"] == [6]


def test_no_sequence_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    put(in_mh(tmp_path, unseen=""), [sheet(0)])
    assert os.listdir(tmp_path) == ["1"]


def test_a_lock_of_the_sequences_defers(tmp_path: Path) -> None:
    (tmp_path / ".mh_sequences").write_text("")
    (tmp_path / ".mh_sequences.lock").write_text(str(os.getpid()))
    with pytest.raises(BlockingIOError):
        in_mh(tmp_path).put([sheet(0)])
    assert mh_messages(tmp_path) == []
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(("make", "look"), KINDS)
def test_several_threads_lose_nothing(tmp_path: Path, make: Make, look: Look) -> None:
    sheets = [sheet(n) for n in range(24)]

    def work(part: list[Sheet]) -> None:
        layout = MhLayout(tmp_path, "unseen", ("fcntl",), 30.0) if make is in_mh else make(tmp_path, UNSYNCED)
        for one in part:
            put(layout, [one])

    threads = [threading.Thread(target=work, args=(sheets[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert look(tmp_path) == octets_of(sheets)
    if make is in_mh:
        assert read_sequences((tmp_path / ".mh_sequences").read_text()) == {"unseen": [(1, 24)]}
    else:
        assert len({read_name(name).unique for name in os.listdir(tmp_path / "new")}) == 24
