"""POP3 servers as they are found: without UIDL, with one UIDL for several messages, in use, gone in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connectors.pop import Pop
from connectors.pop.mailbox import PopMailbox
from gateway.contract import Content, Scope, Status, StoreFault
from tests.connectors.folders.into_dovecot import made


@dataclass
class Server:
    """Messages, and answers that are given in the place of what they would be, by the command's line."""

    mails: list[bytes]
    uids: list[str] | None = None
    capa: bytes | None = b"+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nUSER\r\n.\r\n"
    answers: dict[str, bytes] = field(default_factory=dict)
    greeting: bytes = b"+OK ready\r\n"
    cuts_after: int | None = None
    """Hang up after so many messages, once."""
    sessions: int = 0
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        gone: set[int] = set()
        read = 0
        writer.write(self.greeting)
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.asked.append(line)
            verb, _, rest = line.partition(" ")
            number = int(rest.split()[0]) if rest.split()[:1] and rest.split()[0].isdigit() else 0
            if line in self.answers or verb in self.answers:
                writer.write(self.answers.get(line) or self.answers[verb])
            elif verb == "CAPA":
                writer.write(self.capa or b"-ERR unknown command\r\n")
            elif verb == "LIST":
                lines = [b"%d %d\r\n" % (n, len(mail)) for n, mail in enumerate(self.mails, 1)]
                writer.write(b"+OK\r\n" + b"".join(lines) + b".\r\n")
            elif verb == "UIDL":
                if self.uids is None:
                    writer.write(b"-ERR unknown command\r\n")
                else:
                    told = [f"{n} {uid}\r\n".encode() for n, uid in enumerate(self.uids, 1)]
                    writer.write(b"+OK\r\n" + b"".join(told) + b".\r\n")
            elif verb in ("RETR", "TOP"):
                if verb == "RETR" and self.cuts_after is not None and read == self.cuts_after:
                    self.cuts_after = None
                    writer.write(b"+OK\r\n" + self.mails[number - 1][:10])
                    break
                read += verb == "RETR"
                mail = self.mails[number - 1]
                octets = mail if verb == "RETR" else mail.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                writer.write(b"+OK\r\n" + octets.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            elif verb == "DELE":
                gone.add(number)
                writer.write(b"+OK\r\n")
            elif verb == "QUIT":
                self.mails = [mail for n, mail in enumerate(self.mails, 1) if n not in gone]
                if self.uids is not None:
                    self.uids = [uid for n, uid in enumerate(self.uids, 1) if n not in gone]
                writer.write(b"+OK bye\r\n")
                break
            elif verb == "STAT":
                writer.write(b"+OK %d %d\r\n" % (len(self.mails), sum(map(len, self.mails))))
            else:
                writer.write(b"+OK\r\n")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def opened(server: Server, folder: Path) -> AsyncIterator[PopMailbox]:
    """Give the mailbox of such a server."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    config = {"host": "127.0.0.1", "port": port, "tls": "none", "password": "secret", "timeout_s": 20}
    connector = made(Pop, config, folder)
    await connector.start()
    try:
        async with connector.open("anna") as mailbox:
            yield mailbox
    finally:
        listening.close()


def mail(number: int, text: str = "text") -> bytes:
    return f"Message-ID: <{number}@example.org>\r\nSubject: {number}\r\n\r\n{text}\r\n".encode()


async def ids_of(mailbox: PopMailbox) -> list[str]:
    return [state.id for state in (await mailbox.changes("inbox", None)).items]


async def read(mailbox: PopMailbox, ids: list[str]) -> list[bytes]:
    found = [content async for _, content in mailbox.fetch(ids)]
    return [each.octets() for each in found if isinstance(each, Content)]


@pytest.mark.parametrize("uids", [None, ["x", "x", "y", "x"], ["", "", "", ""], ["a", "b", "c", "a"]])
def test_messages_without_ids_of_their_own_are_each_read_once(uids: list[str] | None, tmp_path: Path) -> None:
    mails = [mail(1), mail(2), mail(3), mail(2)]

    async def body() -> None:
        server = Server(list(mails), uids)
        async with opened(server, tmp_path) as mailbox:
            first = await ids_of(mailbox)
            assert len(set(first)) == 4
            assert await read(mailbox, first) == mails
            server.mails.insert(0, mail(0))  # all numbers change
            if server.uids is not None:
                server.uids.insert(0, "new")
            second = await ids_of(mailbox)
            assert set(first) <= set(second)
            assert len(set(second)) == 5
            assert await read(mailbox, first) == mails
            assert await mailbox.remove([first[1]]) == [None]
        assert sorted(server.mails) == sorted([mail(0), mail(1), mail(2), mail(3)])

    asyncio.run(body())


def test_a_server_of_1988_is_read(tmp_path: Path) -> None:
    async def body() -> None:
        server = Server([mail(1), mail(2)], None, capa=None, answers={"TOP": b"-ERR unknown command\r\n"})
        async with opened(server, tmp_path) as mailbox:
            ids = await ids_of(mailbox)
            assert await read(mailbox, ids) == [mail(1), mail(2)]

    asyncio.run(body())


def test_a_connection_that_is_lost_is_a_fault_and_the_next_call_goes_on(tmp_path: Path) -> None:
    mails = [mail(n) for n in range(9)]

    async def body() -> None:
        server = Server(list(mails), [f"u{n}" for n in range(9)], cuts_after=4)
        async with opened(server, tmp_path) as mailbox:
            ids = await ids_of(mailbox)
            got: list[bytes] = []

            async def take() -> None:
                async for _, content in mailbox.fetch(ids):
                    assert isinstance(content, Content)
                    got.append(content.octets())

            with pytest.raises(StoreFault) as caught:
                await take()
            assert caught.value.status.code == "4.4.2"
            assert got == mails[:4]
            assert got + await read(mailbox, ids[4:]) == mails
            assert server.sessions == 2

    asyncio.run(body())


def test_one_message_that_the_server_cannot_give_stops_no_other(tmp_path: Path) -> None:
    async def body() -> None:
        answers = {"RETR 2": b"-ERR [SYS/PERM] the message is damaged\r\n"}
        async with opened(Server([mail(1), mail(2), mail(3)], ["a", "b", "c"], answers=answers), tmp_path) as mailbox:
            found = [content async for _, content in mailbox.fetch(["a", "b", "c"])]
            assert [isinstance(each, Content) for each in found] == [True, False, True]
            assert isinstance(found[1], Status)
            assert found[1].code == "5.3.0"
            assert await read(mailbox, ["a"]) == [mail(1)]

    asyncio.run(body())


@pytest.mark.parametrize(
    ("answers", "code", "scope", "waits"),
    [
        ({"PASS": b"-ERR [IN-USE] locked by another session\r\n"}, "4.2.1", Scope.RECIPIENT, True),
        ({"PASS": b"-ERR [LOGIN-DELAY] wait\r\n"}, "4.7.28", Scope.RECIPIENT, True),
        ({"PASS": b"-ERR invalid password\r\n"}, "4.7.8", Scope.RECIPIENT, False),
        ({"PASS": b"-ERR [SYS/PERM] no mailbox\r\n"}, "5.3.0", Scope.RECIPIENT, False),
        ({"PASS": b"HTTP/1.1 400 Bad Request\r\n"}, "4.5.0", Scope.HOP, False),
    ],
)
def test_what_a_server_refuses_is_told_by_its_meaning(
    answers: dict[str, bytes], code: str, scope: Scope, waits: bool, tmp_path: Path
) -> None:
    async def body() -> None:
        with pytest.raises(StoreFault) as caught:
            async with opened(Server([], [], answers=answers), tmp_path):
                pass
        fault = caught.value
        assert (fault.status.code, fault.scope, fault.retry_after_s is not None) == (code, scope, waits)
        assert "secret" not in repr(fault.status)

    asyncio.run(body())


def test_nothing_is_removed_where_the_server_does_not_say_goodbye(tmp_path: Path) -> None:
    async def body() -> None:
        server = Server([mail(1)], ["a"], answers={"QUIT": b"-ERR [SYS/TEMP] some are still there\r\n"})
        async with opened(server, tmp_path) as mailbox:
            with pytest.raises(StoreFault):
                await mailbox.remove(["a"])

    asyncio.run(body())


def test_a_name_with_a_line_end_in_it_says_nothing_to_the_server(tmp_path: Path) -> None:
    async def body() -> None:
        server = Server([mail(1)], ["a"])
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        config = {"host": "127.0.0.1", "port": port, "tls": "none", "password": "secret"}
        with pytest.raises(StoreFault):
            async with made(Pop, config, tmp_path).open("anna\r\nDELE 1"):
                pass
        listening.close()
        assert "DELE 1" not in server.asked

    asyncio.run(body())
