"""Maildirs that other programs work in meanwhile, that are full, odd or not to be trusted."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.folders import Folders
from connectors.folders import keywords as table
from connectors.folders.opened import FolderMailbox
from gateway.contract import Appended, Content, ItemState, NewItem, Status, StoreFault
from tests.connectors.folders.into_dovecot import made

MAIL = b"Message-ID: <1@x>\r\nSubject: s\r\n\r\nbody\r\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("cur", "new", "tmp"):
        (tmp_path / "box" / name).mkdir(parents=True)
    return tmp_path / "box"


@asynccontextmanager
async def opened(root: Path, **more: Any) -> AsyncIterator[FolderMailbox]:
    state = root.parent / "state"
    state.mkdir(exist_ok=True)
    config = {"format": "maildir", "path": str(root.parent / "{mailbox}")} | more
    async with made(Folders, config, state).open(root.name) as mailbox:
        yield mailbox


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(body())


async def listed(mailbox: FolderMailbox, folder: str = "") -> dict[str, ItemState]:
    return {state.id: state for state in (await mailbox.changes(folder, None, 10_000)).items}


async def read(mailbox: FolderMailbox, ids: list[str]) -> list[bytes | str]:
    found = [content async for _, content in mailbox.fetch(ids)]
    return [each.code if isinstance(each, Status) else b"".join(each.chunks()) for each in found]


def test_a_message_is_the_same_whatever_programs_call_it(root: Path) -> None:
    (root / "new" / "1.a.host").write_bytes(MAIL)
    (root / "cur" / "2.b.host,S=5:2,S").write_bytes(MAIL)
    (root / "cur" / "3.c.host:1,experimental").write_bytes(MAIL)

    async def body() -> None:
        async with opened(root) as mailbox:
            before = await listed(mailbox)
            assert [sorted(state.flags) for state in before.values()] == [[], ["seen"], []]
            (root / "new" / "1.a.host").rename(root / "cur" / "1.a.host:2,FRS")
            (root / "cur" / "2.b.host,S=5:2,S").rename(root / "cur" / "2.b.host,S=5:2,ST")
            assert await read(mailbox, list(before)) == [MAIL] * 3
            after = await listed(mailbox)
            assert list(after) == list(before)
            flags = [sorted(state.flags) for state in after.values()]
            assert flags == [["answered", "flagged", "seen"], ["deleted", "seen"], []]
            first = next(iter(before))
            shutil.move(root / "cur" / "1.a.host:2,FRS", root / "cur" / "1.a.host:2,S")
            assert await mailbox.set_flags([first], frozenset(["flagged"]), frozenset()) == ["flagged,seen"]
            assert (root / "cur" / "1.a.host:2,FS").exists()

    run(body)


def test_copies_made_by_hand_are_each_a_message(root: Path) -> None:
    for name in ("1.a.host:2,", "1.a.host:2,S"):
        (root / "cur" / name).write_bytes(MAIL)
    (root / "new" / "1.a.host").write_bytes(MAIL.replace(b"body", b"other"))

    async def body() -> None:
        async with opened(root) as mailbox:
            ids = list(await listed(mailbox))
            assert len(set(ids)) == 3
            assert sorted(await read(mailbox, ids)) == sorted([MAIL, MAIL, MAIL.replace(b"body", b"other")])

    run(body)


def test_links_pipes_and_folders_are_no_messages(root: Path) -> None:
    (root.parent / "secret").write_bytes(b"Subject: secret\n\n")
    (root / "cur" / "1.link.host:2,").symlink_to(root.parent / "secret")
    os.mkfifo(root / "cur" / "2.pipe.host:2,")
    (root / "cur" / "3.folder.host:2,").mkdir()
    (root / "cur" / ".hidden").write_bytes(MAIL)
    (root / "cur" / "4.good.host:2,").write_bytes(MAIL)
    (root / ".Linked").symlink_to(root.parent)

    async def body() -> None:
        async with opened(root) as mailbox:
            assert [folder.path for folder in await mailbox.folders()] == [("INBOX",)]
            ids = list(await listed(mailbox))
            assert await read(mailbox, ids) == [MAIL]

    run(body)


@pytest.mark.parametrize("name", ["../box", "a/b", "..", ".", "", ".hidden", "a\0b", "x@../y"])
def test_a_mailboxs_name_leads_nowhere_else(root: Path, name: str) -> None:
    async def body() -> None:
        config = {"format": "maildir", "path": str(root.parent / "{mailbox}"), "create": True}
        with pytest.raises(StoreFault) as caught:
            async with made(Folders, config, root.parent).open(name):
                pass
        assert caught.value.status.is_permanent

    run(body)


def test_a_share_that_is_not_mounted_is_no_empty_mailbox(root: Path) -> None:
    async def body() -> None:
        async with opened(root) as mailbox:
            assert await mailbox.folders()
            shutil.rmtree(root)
            os.mkdir(root)
            for call in (mailbox.folders(), mailbox.changes("", None)):
                with pytest.raises(StoreFault) as caught:
                    await call
                assert not caught.value.status.is_permanent
        with pytest.raises(StoreFault):
            async with opened(root):
                pass

    run(body)


def test_a_folder_that_is_still_needs_no_reading(root: Path) -> None:
    (root / "cur" / "1.a.host:2,").write_bytes(MAIL)
    for name in ("cur", "new"):
        os.utime(root / name, (time.time() - 60, time.time() - 60))

    async def body() -> None:
        async with opened(root) as mailbox:
            (before,) = await mailbox.folders()
            (again,) = await mailbox.folders()
            assert before.mark is not None
            assert before.mark == again.mark
            (root / "cur" / "1.a.host:2,").rename(root / "cur" / "1.a.host:2,S")
            (fresh,) = await mailbox.folders()
            assert fresh.mark is None  # what changed this moment may change again under the same time

    run(body)


def test_a_quota_is_kept_and_told(root: Path) -> None:
    (root / "maildirsize").write_bytes(b"1000S,3C\n900 1\n")

    async def body() -> None:
        async with opened(root) as mailbox:
            facts = await mailbox.facts()
            assert (facts.used_bytes, facts.limit_bytes) == (900, 1000)
            made = await mailbox.append("", [NewItem("a", Content(MAIL)), NewItem("b", Content(MAIL * 3))])
            assert isinstance(made[0], Appended)
            assert isinstance(made[1], Status)
            assert made[1].code == "4.2.2"
            ids = list(await listed(mailbox))
            await mailbox.remove(ids, purge=True)
        size = len(MAIL.replace(b"\r\n", b"\n"))
        assert (root / "maildirsize").read_bytes() == b"1000S,3C\n900 1\n%d 1\n-%d -1\n" % (size, size)

    run(body)


def test_more_words_than_there_are_letters_are_told(root: Path) -> None:
    async def body() -> None:
        async with opened(root) as mailbox:
            words = frozenset(f"word{n:02d}" for n in range(30))
            (made,) = await mailbox.append("", [NewItem("a", Content(MAIL), keywords=words)])
            assert isinstance(made, Appended)
            assert len(made.notes) == 4
            ((_, state),) = (await listed(mailbox)).items()
            assert len(state.keywords) == 26
            assert len(table.read(root)) == 26

    run(body)


def test_words_keep_their_letters_and_go_along_when_a_message_moves(root: Path) -> None:
    (root / "dovecot-keywords").write_text("0 old\n3 kept\n")
    (root / "cur" / "1.a.host:2,Sad").write_bytes(MAIL)

    async def body() -> None:
        async with opened(root) as mailbox:
            other = await mailbox.create_folder(("Other",))
            ((id, state),) = (await listed(mailbox)).items()
            assert state.keywords == {"old", "kept"}
            await mailbox.set_flags([id], frozenset(["new"]), frozenset(["old"]))
            assert (root / "dovecot-keywords").read_text() == "0 old\n1 new\n3 kept\n"
            assert (root / "cur" / "1.a.host:2,Sbd").exists()
            await mailbox.move([id], other.id)
            ((_, moved),) = (await listed(mailbox, other.id)).items()
            assert moved.keywords == {"new", "kept"}
            assert moved.flags == {"seen"}

    run(body)


def test_words_of_more_than_ascii_are_such_as_imap_can_show(root: Path) -> None:
    (root / "dovecot-keywords").write_text("0 &AOQ-lter\n1 röh\n")
    (root / "cur" / "1.a.host:2,Sab").write_bytes(MAIL)

    async def body() -> None:
        async with opened(root) as mailbox:
            ((id, state),) = (await listed(mailbox)).items()
            assert state.keywords == {"älter", "röh"}
            await mailbox.set_flags([id], frozenset(["größer", "R&D"]), frozenset())
            ((_, after),) = (await listed(mailbox)).items()
            assert after.keywords == {"älter", "röh", "größer", "R&D"}
            assert "&APYA3w-er" in (root / "dovecot-keywords").read_text()
            await mailbox.set_flags([id], frozenset(), frozenset(["röh", "älter"]))
            ((_, last),) = (await listed(mailbox)).items()
            assert last.keywords == {"größer", "R&D"}

    run(body)


def test_octets_come_back_whatever_their_line_ends_are(root: Path) -> None:
    odd = [
        MAIL,
        MAIL.replace(b"\r\n", b"\n"),
        b"a\r\nb\n\nc\r",
        b"a\nb\r\n",
        b"",
        b"\r",
        b"\n",
        b"no end",
        MAIL + b"\0\xff\r",
    ]

    async def body() -> None:
        async with opened(root) as mailbox:
            made = await mailbox.append("", [NewItem(f"k{n}", Content(each)) for n, each in enumerate(odd)])
            ids = [each.id for each in made if isinstance(each, Appended)]
            assert await read(mailbox, ids) == odd
            other = await mailbox.create_folder(("Other",))
            (moved,) = await mailbox.move(ids[1:2], other.id)
            assert isinstance(moved, str)
            assert await read(mailbox, [moved]) == [odd[1]]
            assert await mailbox.find("", ["k0", "k1"]) == {"k0": ids[0]}
            assert await mailbox.find(other.id, ["k1"]) == {"k1": moved}

    run(body)


def test_nothing_is_left_of_an_append_that_fails(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    async def body() -> None:
        async with opened(root) as mailbox:
            monkeypatch.setattr(os, "fsync", full)
            with pytest.raises(StoreFault) as caught:
                await mailbox.append("", [NewItem("a", Content(MAIL)), NewItem("b", Content(MAIL))])
            assert caught.value.status.code == "4.3.1"
            assert caught.value.unknown
            assert await mailbox.find("", ["a", "b"]) == {}
        assert [each for name in ("cur", "new", "tmp") for each in (root / name).iterdir()] == []

    run(body)


def test_what_is_renamed_while_it_is_listed_is_not_gone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        (root / "new" / f"{number}.a.host").write_bytes(MAIL)
    listdir, lstat, moves = os.listdir, os.lstat, [0, 1, 2]

    def moving(folder: Path) -> list[str]:
        found = listdir(folder)
        if Path(folder).name == "new" and len(moves) == 3:  # after a program has looked, and before `cur` is listed
            number = moves.pop()
            time.sleep(0.02)
            (root / "new" / f"{number}.a.host").rename(root / "cur" / f"{number}.a.host:2,S")
        return found

    def flagging(path: Path) -> os.stat_result:
        if moves and len(moves) < 3:
            number = moves.pop()
            time.sleep(0.02)
            (root / "new" / f"{number}.a.host").rename(root / "cur" / f"{number}.a.host:2,F")
        return lstat(path)

    monkeypatch.setattr(os, "listdir", moving)
    monkeypatch.setattr(os, "lstat", flagging)

    async def body() -> None:
        async with opened(root) as mailbox:
            assert len(await listed(mailbox)) == 6
        assert moves == []

    run(body)


def test_a_message_that_cannot_be_read_is_there_and_stops_no_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (root / "cur" / f"{number}.a.host:2,").write_bytes(MAIL)
    plain = os.open

    def broken(path: Any, *args: Any, **more: Any) -> int:
        if str(path).endswith("1.a.host:2,"):
            raise OSError(5, "Input/output error")
        return plain(path, *args, **more)

    monkeypatch.setattr(os, "open", broken)

    async def body() -> None:
        async with opened(root) as mailbox:
            ids = list(await listed(mailbox))
            assert len(ids) == 3
            assert await read(mailbox, ids) == [MAIL, "4.3.0", MAIL]

    run(body)
