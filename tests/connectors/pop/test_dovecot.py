"""POP3 at a real Dovecot: all that is there is read, what is new is told, and nothing goes unless it is told to."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.pop import Pop
from gateway.contract import Changes, Content, ItemState, NewItem, OpenMailbox, Status, StoreFault
from tests.connectors.folders.into_dovecot import copied, fill, imap, made, shown
from tests.peers.dovecot import PASSWORD, Dovecot

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot() as running:
        yield running


@pytest.fixture
def user() -> str:
    return f"user{next(_NUMBERS)}"


def mail(number: int, body: bytes = b"text\r\n") -> bytes:
    return b"Message-ID: <%d@example.org>\r\nSubject: %d\r\n\r\n" % (number, number) + body


def pop(server: Dovecot, folder: Path, **more: Any) -> Pop:
    config = {"host": "127.0.0.1", "port": server.pop_port, "tls": "none", "password": PASSWORD} | more
    return made(Pop, config, folder)


async def everything(mailbox: OpenMailbox, limit: int = 500) -> Changes:
    token: str | None = None
    items: dict[str, ItemState] = {}
    while True:
        page = await mailbox.changes("inbox", token, limit)
        items |= {state.id: state for state in page.items}
        token = page.token
        if not page.more:
            return Changes(tuple(items.values()), (), token, False)


async def fetched(mailbox: OpenMailbox, ids: list[str]) -> list[bytes | Status]:
    return [b"".join(found.chunks()) if isinstance(found, Content) else found async for _, found in mailbox.fetch(ids)]


@pytest.mark.parametrize("more", [{}, {"pipelining": False}, {"auth": "user"}, {"auth": "plain"}])
def test_all_messages_are_read_in_order(server: Dovecot, user: str, tmp_path: Path, more: dict[str, Any]) -> None:
    bodies = [b".dot\r\n..two\r\n", b"", b"x" * 3_000_000 + b"\r\n", b"\xff\x00eight\r\n".replace(b"\0", b"0")]
    mails = [mail(n, body) for n, body in enumerate(bodies)] + [mail(n) for n in range(10, 60)]
    fill(server, user, mails)

    async def body() -> None:
        connector = pop(server, tmp_path, **more)
        await connector.start()
        async with connector.open(user) as mailbox:
            (inbox,) = await mailbox.folders()
            assert (inbox.path, inbox.role, inbox.total) == (("INBOX",), "inbox", len(mails))
            told = await everything(mailbox, 7)
            assert [state.message_id for state in told.items][:2] == ["<0@example.org>", "<1@example.org>"]
            ids = [state.id for state in told.items]
            asked = [ids[3], "no-such-message", *ids]
            found = await fetched(mailbox, asked)
            assert isinstance(found[1], Status)
            assert found[:1] + found[2:] == [mails[3], *mails]
            assert [state.size for state in told.items] == [len(octets) for octets in mails]

    asyncio.run(body())


def test_a_look_shows_what_came_since_and_nothing_is_removed_unasked(
    server: Dovecot, user: str, tmp_path: Path
) -> None:
    fill(server, user, [mail(1), mail(2)])

    async def body() -> None:
        connector = pop(server, tmp_path)
        await connector.start()
        async with connector.open(user) as mailbox:
            first = await everything(mailbox)
            await asyncio.to_thread(fill, server, user, [mail(3)])
            second = await everything(mailbox)
            assert [s.id for s in second.items][:2] == [s.id for s in first.items]
            assert len(second.items) == 3
            assert await mailbox.remove([second.items[1].id, "no-such-message"]) == [None, None]
            third = await everything(mailbox)
            assert [s.id for s in third.items] == [second.items[0].id, second.items[2].id]
            (answer,) = await mailbox.append("inbox", [NewItem("k", Content(mail(4)))])
            assert isinstance(answer, Status)
            assert answer.is_permanent

    asyncio.run(body())


def test_a_wrong_password_is_a_fault_of_that_mailbox_and_in_no_text(server: Dovecot, user: str, tmp_path: Path) -> None:
    async def body() -> None:
        connector = pop(server, tmp_path, password="wrong-and-secret")
        await connector.start()
        with pytest.raises(StoreFault) as caught:
            async with connector.open(user):
                pass
        assert caught.value.status.code == "4.7.8"
        assert caught.value.scope.name == "RECIPIENT"
        assert "secret" not in f"{caught.value!r} {caught.value.status!r} {caught.value.__cause__!r}"

    asyncio.run(body())


def test_an_administrator_opens_every_mailbox(server: Dovecot, user: str, tmp_path: Path) -> None:
    fill(server, user, [mail(1)])

    async def body() -> None:
        connector = pop(server, tmp_path, act_as="{mailbox}", username="{mailbox}")
        await connector.start()
        async with connector.open(user) as mailbox:
            assert len((await everything(mailbox)).items) == 1

    asyncio.run(body())


def test_it_is_copied_into_imap_once_and_its_octets_are_equal(server: Dovecot, user: str, tmp_path: Path) -> None:
    mails = [mail(n, b"body %d\r\n" % n) for n in range(120)]
    fill(server, user, mails)

    for _ in range(2):
        report = copied(pop(server, tmp_path), user, imap(server, tmp_path), f"{user}-new", tmp_path).report
        assert sorted(each.octets for each in shown(server, f"{user}-new")) == sorted(mails)
    assert (report.copied, report.read) == (0, 0)
    (tmp_path / "sync.sqlite").unlink()
    lost = copied(pop(server, tmp_path), user, imap(server, tmp_path), f"{user}-new", tmp_path).report
    assert (lost.copied, lost.adopted) == (0, len(mails))
