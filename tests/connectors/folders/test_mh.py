"""MH folders that programs pack and sort, and sequences with many holes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from connectors.folders import Folders, sequences
from gateway.contract import Appended, Content, NewItem
from gateway.formats.mh import read_sequences, write_sequences
from tests.connectors.folders.into_dovecot import made


def store(tmp_path: Path) -> Folders:
    (tmp_path / "state").mkdir(exist_ok=True)
    return made(Folders, {"format": "mh", "path": str(tmp_path / "{mailbox}")}, tmp_path / "state")


def test_a_folder_that_is_packed_keeps_its_messages(tmp_path: Path) -> None:
    inbox = tmp_path / "anna" / "inbox"
    inbox.mkdir(parents=True)
    for number in (3, 7, 12):
        (inbox / str(number)).write_bytes(b"Subject: %d\n\n" % number)
    (inbox / ",4").write_bytes(b"removed")
    (inbox / "05").write_bytes(b"no number")
    (inbox / ".mh_sequences").write_text("cur: 7\nunseen: 12\nflagged: 3-7\nmine: 3 12\n")

    async def body() -> None:
        async with store(tmp_path).open("anna") as opened:
            (folder,) = await opened.folders()
            assert (folder.path, folder.role, folder.total, folder.unread) == (("INBOX",), "inbox", 3, 1)
            before = (await opened.changes(folder.id, None)).items
            words = [set(state.flags) | set(state.keywords) for state in before]
            assert words == [{"seen", "flagged", "mine"}, {"seen", "flagged"}, {"mine"}]
            for number, place in ((3, 1), (7, 2), (12, 3)):
                (inbox / str(number)).rename(inbox / str(place))
            (inbox / ".mh_sequences").write_text("cur: 2\nunseen: 3\nflagged: 1-2\nmine: 1 3\n")
            after = (await opened.changes(folder.id, None)).items
            assert after == before
            await opened.remove([before[0].id], purge=True)
            await opened.set_flags([before[2].id], frozenset(["seen"]), frozenset(["mine"]))
            assert (inbox / ".mh_sequences").read_text() == "cur: 2\nflagged: 2\n"

    asyncio.run(body())


def test_a_word_that_no_sequence_can_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "anna" / "inbox").mkdir(parents=True)

    async def body() -> None:
        async with store(tmp_path).open("anna") as opened:
            words = frozenset(["good", "1st", "_label1", "ünder", "cur", "replied"])
            (answer,) = await opened.append("inbox", [NewItem("k", Content(b"Subject: s\r\n\r\n"), keywords=words)])
            assert isinstance(answer, Appended)
            assert {note.what.split()[1] for note in answer.notes} == words - {"good"}
            (state,) = (await opened.changes("inbox", None)).items
            assert state.keywords == {"good"}
            assert not state.flags

    asyncio.run(body())


def test_sequences_with_many_holes_are_quick() -> None:
    text = "unseen: " + " ".join(str(n) for n in range(1, 100_000, 2)) + "\n"
    read = read_sequences(text)
    began = time.process_time()
    unseen = sum("seen" not in sequences.told(read, number)[0] for number in range(1, 100_000))
    assert (unseen, time.process_time() - began < 5) == (50_000, True)
    sequences.put(read, 2, frozenset())
    assert write_sequences(read).startswith("unseen: 1-3 5 7")
