"""Dialogues with servers played again: the ones recorded, and ones written by what makers and users tell of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from connectors.imap.ids import hash_of
from gateway.contract import Appended, Content, Fate, NewItem, Scope, Status, StoreFault
from tests.connectors.imap.courses import day
from tests.connectors.imap.dialogues import played
from tests.connectors.imap.kit import message, new, opened

FOLDERS: Final[dict[str, dict[str, tuple[str | None, int, bool]]]] = {
    "dovecot": {"INBOX": ("inbox", 0, False), "Süd": (None, 0, True)},
    "courier": {"INBOX": ("inbox", 0, True), "Süd": (None, 0, True)},
    "cyrus": {
        "INBOX": ("inbox", 0, True),
        "Sent": ("sent", 0, True),
        "Süd": (None, 0, True),
        "Trash": ("trash", 0, True),
    },
}


@pytest.mark.parametrize("name", FOLDERS)
async def test_a_day(name: str, tmp_path: Path) -> None:
    async with played(name) as server:
        seen = await day(tmp_path, server.port)
    assert seen == {
        "folders": FOLDERS[name],
        "appended": 3,
        "listed": [
            ("<1@x.example>", 66, ["seen"], [], 1_600_000_000.0),
            ("<2@x.example>", 66, [], ["Grün"], 1_600_000_001.0),
            ("<3@x.example>", 66, [], [], 1_600_000_002.0),
        ],
        "fetched": [message(3), message(1)],
        "since": [(0, ["flagged"])],
        "gone": [1, 2],
        "moved": ["<2@x.example>"],
    }


async def test_gmails_labels(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("ya29.token\n")
    oauth = {"password": None, "token_file": "token", "auth": "xoauth2", "compress": False}
    async with played("gmail") as server, opened(tmp_path, server.port, "ann@acme.example", **oauth) as mailbox:
        paths = [folder.path for folder in await mailbox.folders()]
        assert paths == [("INBOX",), ("Café", "Bills"), ("[Gmail]", "All Mail"), ("[Gmail]", "Sent Mail")]
        assert mailbox.holds().max_item_bytes == 35651584
        one, other = (await mailbox.changes("[Gmail]/All Mail", None)).items
        assert (one.object, other.object) == ("1278455344230334865", "1278455344230334866")
        assert one.labels == {"\\Inbox", "\\Sent", "Café/Bills", "Hidden", 'with "quotes"'}
        assert (one.message_id, one.version, other.message_id, other.labels) == (
            "<seven@x.example>",
            "4711",
            None,
            frozenset(),
        )


async def test_a_token_that_is_over(tmp_path: Path) -> None:
    oauth = {"password": "ya29.token", "auth": "oauthbearer"}
    async with played("refused-token") as server:
        with pytest.raises(StoreFault) as told:
            async with opened(tmp_path, server.port, "ann@acme.example", **oauth):
                pass
    assert (told.value.status.code, told.value.scope) == ("4.7.8", Scope.RECIPIENT)
    assert "ya29" not in str(told.value)


async def test_a_server_that_throttles(tmp_path: Path) -> None:
    oauth = {"password": "ya29.token", "auth": "xoauth2"}
    async with (
        played("token-without-ir") as server,
        opened(tmp_path, server.port, "ann@acme.example", **oauth) as mailbox,
    ):
        items = [new(1, flags=frozenset(("seen", "forwarded")), received_at=1_600_000_000.0), new(2)]
        first, second = await mailbox.append("INBOX", items)
        assert isinstance(first, Appended)  # it is there, and may not be told as failed
        assert [note.what for note in first.notes] == ["flag forwarded"]
        assert isinstance(second, Status)
        assert second.code == "4.7.28"
        with pytest.raises(StoreFault) as told:
            await mailbox.append("INBOX", [new(3)])
        assert told.value.retry_after_s == pytest.approx(299.961)
        assert not told.value.unknown


async def test_a_server_that_has_it_wrong(tmp_path: Path) -> None:
    async with played("wrong") as server, opened(tmp_path, server.port, max_connections=1) as mailbox:
        mailbox._names = {hash_of(b"INBOX"): b"INBOX"}
        found = (await mailbox.changes("INBOX", None)).items
        assert [(each.message_id, each.size, each.received_at) for each in found] == [
            ("<one@x.example>", None, None),
            (None, 7, 1577833200.0),
            (None, 0, None),
            (None, 12, None),
        ]
        assert [each.flags | each.keywords for each in found] == [{"seen"}, {"deleted"}, {"NonJunk"}, set()]
        given = [content async for _, content in mailbox.fetch([each.id for each in found[:3]])]
        assert [each.octets() if isinstance(each, Content) else each.code for each in given] == [
            b"one",
            "4.3.0",
            "4.2.0",
        ]
        with pytest.raises(StoreFault) as told:
            _ = [pair async for pair in mailbox.fetch([found[0].id])]
        assert (told.value.scope, told.value.retry_after_s) == (Scope.HOP, 120)


async def test_a_server_that_refuses_words(tmp_path: Path) -> None:
    async with played("words") as server, opened(tmp_path, server.port, max_connections=1) as mailbox:
        (made,) = await mailbox.append("INBOX", [new(1, flags=frozenset(("seen",)), keywords=frozenset(("NonJunk",)))])
        assert isinstance(made, Appended)
        assert [(note.fate, note.what) for note in made.notes] == [(Fate.DROPPED, "flag NonJunk")]
        roles = {folder.path: (folder.role, folder.total) for folder in await mailbox.folders()}
        assert roles == {("INBOX",): ("inbox", 1), ("Papierkorb",): ("trash", None)}
        (version,) = await mailbox.set_flags([made.id], frozenset(("deleted", "NonJunk")), frozenset())
        assert version == "\\deleted \\seen"
        facts = await mailbox.facts()
        assert (facts.used_bytes, facts.limit_bytes) == (100 * 1024, 200 * 1024)  # the root that is the fullest
        assert facts.rights == ("INBOX: ann lrswipkxtecda", "INBOX: group:? lr", "Papierkorb: (own) lrsw")


async def test_rev2_alone(tmp_path: Path) -> None:
    async with played("rev2") as server, opened(tmp_path, server.port, max_connections=1) as mailbox:
        folders = await mailbox.folders()
        assert [(folder.path, folder.role) for folder in folders] == [(("INBOX",), "inbox"), (("Müll",), "trash")]
        umlaut = NewItem("k", Content("Subject: über\r\n\r\n8 bits\r\n".encode()))
        made = await mailbox.append("INBOX", [new(1), umlaut])
        assert [each.id.partition(".")[2] for each in made if isinstance(each, Appended)] == ["7.9", "7.10"]
        (moved,) = await mailbox.move([f"{hash_of(b'INBOX')}.7.8"], folders[1].id)
        assert isinstance(moved, str)
        assert moved.endswith(".7.1")
