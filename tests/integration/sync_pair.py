"""Two mailboxes at real IMAP servers, filled and read by an independent client, and brought in step."""

from __future__ import annotations

import asyncio
import imaplib
import itertools
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from connectors.imap import Imap
from connectors.imap.config import ImapConfig
from gateway.contract import Connector, Context
from gateway.mailbox import OpenMailbox
from gateway.sync.engine import Result, run_pass
from gateway.sync.pace import Pace
from gateway.sync.preview import Preview, plan_pass
from gateway.sync.state import State
from gateway.sync.transfer import Report
from gateway.sync.values import Policy, Problem
from tests.gateway.sync.memory import Memory
from tests.peers.dovecot import PASSWORD, Dovecot

_USERS: Final = itertools.count(1)
_LISTED: Final = re.compile(rb'\((?P<attributes>[^)]*)\) (?:"(?P<separator>.)"|NIL) (?:"(?P<quoted>.*)"|(?P<atom>\S+))')
NAME: Final = "pair"
"""The pairing."""


def mail(number: int, text: str = "text", **fields: str) -> bytes:
    """Return a message."""
    head = {"Message-ID": f"<{number}@example.org>", "Subject": str(number)} | fields
    lines = [f"{name}: {value}" for name, value in head.items() if value]
    return ("\r\n".join(lines) + f"\r\n\r\n{text}\r\n").encode()


@dataclass(frozen=True, slots=True, order=True)
class Shown:
    """A message as the independent client reads it."""

    folder: str
    octets: bytes
    flags: tuple[str, ...] = ()
    at: float = 0.0


@dataclass
class Box:
    """One user's mailbox at a server."""

    server: Dovecot
    user: str

    @contextmanager
    def client(self) -> Iterator[imaplib.IMAP4]:
        """Give a client that is logged in."""
        client = imaplib.IMAP4("127.0.0.1", self.server.port, timeout=60)
        client.login(self.user, PASSWORD)
        try:
            yield client
        finally:
            client.logout()

    def put(self, *messages: bytes, folder: str = "INBOX", flags: str = "", at: float = 1.5e9) -> None:
        """Append messages."""
        with self.client() as client:
            if folder != "INBOX":
                client.create(f'"{folder}"')
            for octets in messages:
                told, answer = client.append(f'"{folder}"', flags, imaplib.Time2Internaldate(at), octets)
                assert told == "OK", answer

    def folders(self) -> list[str]:
        """Return the names of all folders that can be selected, as they are listed."""
        with self.client() as client:
            return self._folders(client)

    def _folders(self, client: imaplib.IMAP4) -> list[str]:
        names: list[str] = []
        for line in client.list()[1]:
            found = _LISTED.match(line if isinstance(line, bytes) else b"")
            if found is not None and b"\\Noselect" not in found["attributes"]:
                names.append((found["quoted"] or found["atom"]).decode().replace('\\"', '"').replace("\\\\", "\\"))
        return sorted(names)

    def shown(self, separator: str = "/") -> list[Shown]:
        """Return all messages, in an order of its own, with `/` between folders."""
        found: list[Shown] = []
        with self.client() as client:
            for name in self._folders(client):
                quoted = name.replace("\\", "\\\\").replace('"', '\\"')
                told, count = client.select(f'"{quoted}"', readonly=True)
                if told != "OK" or count == [b"0"]:
                    continue
                for part in client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]:
                    if not isinstance(part, tuple):
                        continue
                    flags = sorted(each.decode() for each in imaplib.ParseFlags(part[0]) if each != b"\\Recent")
                    date = imaplib.Internaldate2tuple(part[0])
                    assert date is not None
                    found.append(Shown(name.replace(separator, "/"), part[1], tuple(flags), time.mktime(date)))
        return sorted(found)

    def octets(self) -> list[bytes]:
        """Return the octets of all messages."""
        return sorted(each.octets for each in self.shown())

    def do(self, folder: str, *commands: tuple[str, ...]) -> None:
        """Give commands by UID in a folder, and expunge."""
        with self.client() as client:
            client.select(f'"{folder}"')
            for command in commands:
                told, answer = client.uid(command[0], *command[1:])
                assert told == "OK", answer
            client.expunge()


@dataclass
class Waits:
    """A clock that goes as fast as it is waited for, and how long each wait was."""

    now: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def pace(self, most_items: int = 50, bytes_per_day: int | None = None) -> Pace:
        """Return a pace that waits by it."""
        return Pace(most_items, 3600.0, bytes_per_day, clock=lambda: self.now, sleep=self._sleep)

    async def _sleep(self, wait_s: float) -> None:
        self.waits.append(wait_s)
        self.now += wait_s


def user() -> str:
    """Return a user that has nothing yet."""
    return f"user{next(_USERS)}"


def context(folder: Path) -> Context:
    """Return what a connector is given."""
    return Context(
        hostname="gw.kit.example",
        state_dir=folder,
        base_dir=folder,
        log=logging.getLogger("test"),
        clock=time.time,
        stop_s=5.0,
        count=lambda *_: None,
    )


def imap(port: int, folder: Path, **options: Any) -> Imap:
    """Return the connector of a server on this machine."""
    config = ImapConfig.model_validate(
        {"host": "127.0.0.1", "port": port, "tls": "none", "password": PASSWORD, **options}
    )
    return Imap("peer", config, context(folder))


@dataclass(frozen=True)
class At:
    """A mailbox of a connector of any kind, by its options."""

    kind: type[Connector]
    options: dict[str, Any]
    mailbox: str


Where = tuple[int, str] | At | Memory
"""A mailbox: port and user at an IMAP server, or of a connector, or one that holds what no real server lets in."""


@asynccontextmanager
async def opened(where: Where, folder: Path, **options: Any) -> AsyncIterator[OpenMailbox]:
    """Open a mailbox."""
    if isinstance(where, Memory):
        held: Any = where
        yield held
        return
    connector: Any
    if isinstance(where, At):
        name = where.mailbox
        connector = where.kind(NAME, where.kind.Config.model_validate(where.options), context(folder))
    else:
        name = where[1]
        connector = imap(where[0], folder, **options)
    await connector.start()
    try:
        async with connector.open(name) as mailbox:
            yield mailbox
    finally:
        await connector.stop()


def bring_in_step(
    left: Where,
    right: Where,
    folder: Path,
    policy: Policy = Policy(),  # noqa: B008  # frozen
    *,
    waits: Waits | None = None,
    retry: bool = False,
    progress: Callable[[Report], None] | None = None,
) -> Result:
    """Do one pass between two mailboxes, with the state in `folder` opened anew."""

    async def body() -> Result:
        state = State(folder / "sync.sqlite")
        clock = waits or Waits()
        paces = clock.pace(policy.batch_items), clock.pace(policy.batch_items, policy.bytes_per_day)
        try:
            async with opened(left, folder) as here, opened(right, folder) as there:
                return await run_pass(NAME, here, there, state, policy, paces=paces, retry=retry, progress=progress)
        finally:
            state.close()

    return asyncio.run(body())


def look(left: Where, right: Where, folder: Path, policy: Policy = Policy()) -> Preview:  # noqa: B008  # frozen
    """Tell what a pass would do."""

    async def body() -> Preview:
        state = State(folder / "sync.sqlite")
        try:
            async with opened(left, folder) as here, opened(right, folder) as there:
                return await plan_pass(NAME, here, there, state, policy)
        finally:
            state.close()

    return asyncio.run(body())


def problems(folder: Path) -> list[Problem]:
    """Return what did not get across."""
    state = State(folder / "sync.sqlite")
    try:
        return asyncio.run(state.problems(NAME))
    finally:
        state.close()


def notes(folder: Path) -> list[str]:
    """Return what was changed of what got across."""
    state = State(folder / "sync.sqlite")
    try:
        return [each.text for each in asyncio.run(state.notes(NAME))]
    finally:
        state.close()


@dataclass
class Two:
    """Two mailboxes of one user's at two servers, and the passes between them."""

    left: Box
    right: Box
    path: Path
    ports: tuple[int, int] = (0, 0)
    """Where the servers are reached, if not by themselves."""

    def step(self, policy: Policy = Policy(), **options: Any) -> Result:  # noqa: B008  # frozen
        """Do one pass."""
        return bring_in_step(*self._ends(), self.path, policy, **options)

    def look(self, policy: Policy = Policy()) -> Preview:  # noqa: B008  # frozen
        """Tell what a pass would do."""
        return look(*self._ends(), self.path, policy)

    def _ends(self) -> tuple[Where, Where]:
        one, two = self.ports[0] or self.left.server.port, self.ports[1] or self.right.server.port
        return (one, self.left.user), (two, self.right.user)

    def forget(self) -> None:
        """Lose the state."""
        for file in self.path.glob("sync.sqlite*"):
            file.unlink()
