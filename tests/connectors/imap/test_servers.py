"""What real servers do with what they are asked: octets, words, quota, rights, news, and folders that are others'."""

from __future__ import annotations

import asyncio
import imaplib
import itertools
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import pytest

from connectors.imap.mailbox import ImapMailbox
from gateway.contract import Appended, Content, NewItem, Status, StoreFault
from tests.connectors.imap.kit import message, new, opened
from tests.connectors.imap.mailboxes import courier, cyrus, dovecot
from tests.connectors.imap.without import Without
from tests.peers.courier import Courier
from tests.peers.cyrus import ADMIN, PASSWORD, Cyrus
from tests.peers.dovecot import Dovecot
from tests.peers.imap_filter import Answer, Command
from tests.peers.liar_imap import Liar

pytestmark = pytest.mark.xdist_group("imap-cyrus")  # servers that take long to start are started once
_NUMBERS = itertools.count(1)
SERVERS: Final[dict[str, Callable[[], Dovecot | Cyrus | Courier]]] = {
    "dovecot": dovecot,
    "cyrus": cyrus,
    "courier": courier,
}
ODD: Final = {
    "LF": b"Subject: x\n\none\ntwo\n",
    "CR": b"Subject: x\r\n\r\none\rtwo\r\n",
    "no end": b"Subject: x\r\n\r\nlast",
    "NUL": b"Subject: x\r\n\r\none\0two\r\n",
    "8-bit header": b"Subject: \xfc\xff\r\n\r\nbody\r\n",
    "long line": b"Subject: " + b"x" * 2**20 + b"\r\n\r\nbody\r\n",
    "no header": b"text alone\r\n",
    "empty": b"",
}
MADE: Final[dict[str, dict[str, bytes | None]]] = {
    "dovecot": {
        "LF": b"Subject: x\r\n\r\none\r\ntwo\r\n",
        "NUL": b"Subject: x\r\n\r\none\x80two\r\n",
        "empty": None,
    },
    "cyrus": {"LF": None, "no header": None, "empty": None},
    "courier": {
        "LF": b"Subject: x\r\n\r\none\r\ntwo\r\n",
        "CR": b"Subject: x\r\n\r\nonetwo\r\n",
        "no end": b"Subject: x\r\n\r\nlast\r\n",
        "empty": b"\r\n",
    },
}
"""What they make of odd octets; None: they refuse them. All else stays as it is."""


def user(server: Dovecot | Cyrus | Courier) -> str:
    """Return a new user."""
    name = f"user{next(_NUMBERS)}"
    return name if isinstance(server, Dovecot) else server.user(name)


async def put(mailbox: ImapMailbox, *items: NewItem) -> list[str]:
    """Append into the inbox, and return the ids."""
    made = await mailbox.append("INBOX", items)
    assert all(isinstance(each, Appended) for each in made), made
    return [each.id for each in made if isinstance(each, Appended)]


@pytest.mark.parametrize("name", SERVERS)
async def test_what_they_make_of_octets(name: str, tmp_path: Path) -> None:
    server = SERVERS[name]()
    found: dict[str, bytes | None] = {}
    async with opened(tmp_path, server.port, user(server)) as mailbox:
        items = [NewItem(f"k.{n}", Content(octets)) for n, octets in enumerate(ODD.values())]
        made = await mailbox.append("INBOX", items)
        ids = {each.id: key for key, each in zip(ODD, made, strict=True) if isinstance(each, Appended)}
        async for id, content in mailbox.fetch(list(ids)):
            assert isinstance(content, Content)
            found[ids[id]] = b"".join(content.chunks())
    expected = {key: MADE[name].get(key, octets) for key, octets in ODD.items()}
    assert {key: found.get(key) for key in ODD} == expected


@pytest.mark.parametrize("several", [True, False], ids=["at once", "one by one"])
@pytest.mark.parametrize("name", ["dovecot", "courier"])  # Courier tells no numbers
async def test_what_is_appended_first_is_there_first(name: str, several: bool, tmp_path: Path) -> None:
    server = SERVERS[name]()
    async with opened(tmp_path, server.port, user(server), multiappend=several, max_connections=2) as mailbox:
        calls = [mailbox.append("INBOX", [new(n) for n in range(at, at + 7)]) for at in (0, 7, 14)]
        made = [each for answers in await asyncio.gather(*calls) for each in answers]
        ids = [each.id for each in made if isinstance(each, Appended)]
        assert len(set(ids)) == 21
        found = {each.id: each.message_id for each in (await mailbox.changes("INBOX", None)).items}
        assert [found[id] for id in ids] == [f"<{n}@x.example>" for n in range(21)]
        assert list(found) == ids


@pytest.mark.parametrize("name", SERVERS)
async def test_keywords_of_any_letters(name: str, tmp_path: Path) -> None:
    server = SERVERS[name]()
    words = frozenset(("Grün", "日本", "R&D", "$Label1", "NonJunk"))
    async with opened(tmp_path, server.port, user(server)) as mailbox:
        (id,) = await put(mailbox, new(1, keywords=words))
        (state,) = (await mailbox.changes("INBOX", None)).items
        assert state.keywords == words
        (version,) = await mailbox.set_flags([id], frozenset(("Später",)), words | {"none such"})
        assert isinstance(version, str)
        (state,) = (await mailbox.changes("INBOX", None)).items
        assert state.keywords == {"Später"}
        assert not state.flags


@pytest.mark.parametrize("name", ["dovecot", "cyrus"])  # Courier has IDLE, and knows nothing without FAM
async def test_news_come_at_once(name: str, tmp_path: Path) -> None:
    server = SERVERS[name]()
    who = user(server)
    async with opened(tmp_path, server.port, who) as mailbox, opened(tmp_path, server.port, who) as other:
        await put(other, new(1))
        async with aclosing(mailbox.watch(["INBOX"])) as hints:
            first = asyncio.ensure_future(anext(hints))
            await asyncio.sleep(1)
            assert not first.done()
            await put(other, new(2))
            assert await asyncio.wait_for(first, 45) == "INBOX"  # each minute all folders are hinted in any case


async def test_a_folder_is_watched_without_idle(tmp_path: Path) -> None:
    with Without(dovecot().port, ["IDLE"]) as server:
        async with opened(tmp_path, server.port, user(dovecot())) as mailbox:
            mailbox._poll_s = 0.3
            await mailbox.create_folder(("Other",))
            async with aclosing(mailbox.watch(["INBOX", "Other"])) as hints:
                assert [await asyncio.wait_for(anext(hints), 60) for _ in range(4)] == ["INBOX", "Other"] * 2


async def test_quota_and_rights(tmp_path: Path) -> None:
    server = cyrus()
    who = user(server)
    async with opened(tmp_path, server.port, who) as mailbox:
        await put(mailbox, *(new(n, "x" * 3000) for n in range(4)))
        assert (await mailbox.facts()).limit_bytes is None
        admin = imaplib.IMAP4("127.0.0.1", server.port)
        admin.login(ADMIN, PASSWORD)
        admin.setquota(f"user/{who}", "(STORAGE 50)")
        admin.setacl(f"user/{who}/Sent", "eve", "lrs")
        facts = await mailbox.facts()
        assert facts.limit_bytes == 50 * 1024
        assert 10_000 < (facts.used_bytes or 0) < 14_000
        assert "Sent: eve lrs" in facts.rights
        assert any(line.startswith(f"INBOX: {who} ") for line in facts.rights)
        with pytest.raises(StoreFault) as full:
            await mailbox.append("INBOX", [new(10, "y" * 90_000)])
        assert (full.value.status.code, full.value.unknown) == ("4.2.2", False)
        await put(mailbox, new(11))  # and what fits is taken
        admin.logout()


async def test_what_others_share_is_none_of_a_mailbox(tmp_path: Path) -> None:
    server = cyrus()
    ann, bob = user(server), user(server)
    async with opened(tmp_path, server.port, ann) as mailbox:
        await mailbox.create_folder(("Shared",))
    client = imaplib.IMAP4("127.0.0.1", server.port)
    client.login(ann, PASSWORD)
    client.setacl("Shared", bob, "lrswipkxtecda")
    client.logout()
    async with opened(tmp_path, server.port, bob) as mailbox:
        paths = [folder.path for folder in await mailbox.folders()]
        assert ("INBOX",) in paths
        assert not [path for path in paths if path[0] == "Other Users"]
    client = imaplib.IMAP4("127.0.0.1", server.port)
    client.login(bob, PASSWORD)
    assert any(b"Other Users" in line for line in client.list()[1] if isinstance(line, bytes))
    client.logout()


async def test_a_message_is_the_same_object_wherever_it_is(tmp_path: Path) -> None:
    server = cyrus()
    async with opened(tmp_path, server.port, user(server)) as mailbox:
        (id,) = await put(mailbox, new(1))
        other = await mailbox.create_folder(("Other",))
        (before,) = (await mailbox.changes("INBOX", None)).items
        assert before.object
        await mailbox.move([id], other.id)
        (after,) = (await mailbox.changes(other.id, None)).items
        assert after.object == before.object
        assert after.id != before.id


async def test_a_connection_is_compressed(tmp_path: Path) -> None:
    server = cyrus()
    who = user(server)
    large = b"Subject: large\r\n\r\n" + b"the same line again\r\n" * 200_000
    for compress in (True, False):
        async with opened(tmp_path, server.port, who, compress=compress) as mailbox:
            (id,) = await put(mailbox, NewItem("k", Content(large)))
            ((_, content),) = [pair async for pair in mailbox.fetch([id])]
            assert isinstance(content, Content)
            assert b"".join(content.chunks()) == large
            async with mailbox._pool.session() as session:
                assert (session.connection._deflate is not None) == compress


async def test_a_mark_changes_with_anything(tmp_path: Path) -> None:
    async with opened(tmp_path, dovecot().port, user(dovecot())) as mailbox:
        marks: list[str | None] = []

        async def mark() -> bool:
            marks.append(next(folder.mark for folder in await mailbox.folders() if folder.role == "inbox"))
            return marks[-1] is not None and marks[-1] not in marks[:-1]

        assert await mark()
        one, two = await put(mailbox, new(1), new(2))
        assert await mark()
        await mailbox.set_flags([one], frozenset(("seen",)), frozenset())
        assert await mark()
        await mailbox.remove([two], purge=True)
        assert await mark()
        assert not await mark()  # nothing happened


async def test_another_program_sees_what_was_put_in(tmp_path: Path) -> None:
    server = dovecot()
    who = user(server)
    async with opened(tmp_path, server.port, who) as mailbox:
        await mailbox.create_folder(("Süd", "Ost"))
        await put(mailbox, new(1, flags=frozenset(("seen", "forwarded")), received_at=1_500_000_000.0))
    client = imaplib.IMAP4("127.0.0.1", server.port)
    client.login(who, PASSWORD)
    client.select("INBOX", readonly=True)
    told = client.fetch("1", "(FLAGS INTERNALDATE BODY.PEEK[])")[1][0]
    assert isinstance(told, tuple)
    assert told[1] == message(1)
    assert {b"\\Seen", b"$Forwarded"} <= set(imaplib.ParseFlags(told[0]))
    assert b'INTERNALDATE "14-Jul-2017 02:40:00 +0000"' in told[0]
    assert client.lsub()[1][-1:] != [None]
    assert any(b"S&APw-d/Ost" in line for line in client.lsub()[1] if isinstance(line, bytes))
    client.logout()


async def test_what_others_have_marked_stays_where_numbers_cannot_be_expunged(tmp_path: Path) -> None:
    with Without(dovecot().port, ["UIDPLUS", "MOVE"]) as server:
        async with opened(tmp_path, server.port, user(dovecot())) as mailbox:
            one, two, three = await put(mailbox, new(1), new(2, flags=frozenset(("deleted",))), new(3))
            other = await mailbox.create_folder(("Other",))
            assert await mailbox.remove([one], purge=True) == [None]
            (moved,) = await mailbox.move([three], other.id)
            assert isinstance(moved, str)
            (left,) = (await mailbox.changes("INBOX", None)).items
            assert left.id == two
            assert left.flags == {"deleted"}
            assert [state.id for state in (await mailbox.changes(other.id, None)).items] == [moved]


async def test_others_append_while_numbers_are_looked_up(tmp_path: Path) -> None:
    who = user(dovecot())
    client = imaplib.IMAP4("127.0.0.1", dovecot().port)
    client.login(who, PASSWORD)
    texts = iter(("another's, of another size", "text"))

    def also(command: Command) -> Answer:
        if command.verb == "APPEND":
            client.append("INBOX", "", imaplib.Time2Internaldate(1_500_000_000), message(9, next(texts, "more")))
        return plain(command)

    with Without(dovecot().port, ["UIDPLUS", "MULTIAPPEND"]) as server:
        plain, server.answer = server.answer, also
        async with opened(tmp_path, server.port, who) as mailbox:
            (id,) = await put(mailbox, new(1))
            found = {state.id: state.message_id for state in (await mailbox.changes("INBOX", None)).items}
            assert found[id] == "<1@x.example>"
            # Of two of one size it can't be told which is ours; whoever has to know looks at what is in them.
            (made,) = await mailbox.append("INBOX", [new(2)])
            assert isinstance(made, Status)
            assert made.code == "4.5.0"
            assert len((await mailbox.changes("INBOX", None)).items) == 4
    client.logout()


async def test_a_server_that_says_stop_is_left_alone(tmp_path: Path) -> None:
    with Liar(dovecot().port, without=["MULTIAPPEND"]) as server:
        server.full_after = 5
        async with opened(tmp_path, server.port, user(dovecot())) as mailbox:
            made = await mailbox.append("INBOX", [new(n) for n in range(40)])
            assert [isinstance(each, Appended) for each in made] == [True] * 5 + [False] * 35
            assert {each.code for each in made[5:] if isinstance(each, Status)} == {"4.2.2"}
            assert server.verbs().count("APPEND") <= 15
            with pytest.raises(StoreFault, match="OVERQUOTA"):
                await mailbox.append("INBOX", [new(n) for n in range(40)])
            assert server.verbs().count("APPEND") <= 16
            server.full_after = None
            await put(mailbox, *(new(n) for n in range(40)))
            assert len((await mailbox.changes("INBOX", None)).items) == 45
