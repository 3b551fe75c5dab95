"""Stores made for a test, passes from them into a Dovecot, and what an independent client finds there."""

from __future__ import annotations

import asyncio
import imaplib
import logging
import re
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from connectors.imap import Imap
from gateway.contract import Connector, Context, Flag
from gateway.sync.engine import Result, run_pass
from gateway.sync.state import State
from gateway.sync.values import Policy
from tests.peers.dovecot import PASSWORD, Dovecot

T = TypeVar("T", bound=Connector)
_LISTED = re.compile(rb'\([^)]*\) (?:"."|NIL) (?:"(.*)"|(\S+))')
FLAGS: dict[str, Flag] = {"\\Seen": "seen", "\\Answered": "answered", "\\Flagged": "flagged", "\\Draft": "draft"}


@dataclass(frozen=True, slots=True, order=True)
class Shown:
    """A message as the client reads it: its folder's name as listed, octets, flags and date."""

    folder: str
    octets: bytes
    flags: tuple[str, ...]
    at: float


def made(kind: type[T], config: dict[str, Any], folder: Path) -> T:
    """Return a connector with this configuration and its state in a folder."""
    context = Context(
        hostname="gw.kit.example",
        state_dir=folder,
        base_dir=folder,
        log=logging.getLogger("test"),
        clock=time.time,
        stop_s=5.0,
        count=lambda *_: None,
    )
    return kind("kit", kind.Config.model_validate(config), context)


def imap(server: Dovecot, folder: Path) -> Imap:
    """Return the store of a Dovecot."""
    return made(Imap, {"host": "127.0.0.1", "port": server.port, "tls": "none", "password": PASSWORD}, folder)


def copied(source: Any, mailbox: str, target: Any, user: str, folder: Path, policy: Policy | None = None) -> Result:
    """Bring a mailbox in step with another by one pass, with the state in a folder."""

    async def body() -> Result:
        await source.start()
        await target.start()
        state = State(folder / "sync.sqlite")
        try:
            async with AsyncExitStack() as stack:
                left = await stack.enter_async_context(source.open(mailbox))
                right = await stack.enter_async_context(target.open(user))
                return await run_pass(mailbox, left, right, state, policy or Policy())
        finally:
            state.close()

    return asyncio.run(body())


def client(server: Dovecot, user: str) -> imaplib.IMAP4:
    """Return an independent client, logged in."""
    found = imaplib.IMAP4("127.0.0.1", server.port, timeout=60)
    found.login(user, PASSWORD)
    return found


def fill(server: Dovecot, user: str, mails: list[bytes], folder: str = "INBOX", flags: str = "") -> None:
    """Append messages, one after the other, a minute apart."""
    session = client(server, user)
    session.create(f'"{folder}"')
    for number, octets in enumerate(mails):
        date = imaplib.Time2Internaldate(1_500_000_000 + number * 60)
        told, answer = session.append(f'"{folder}"', flags, date, octets)
        assert told == "OK", answer
    session.logout()


def shown(server: Dovecot, user: str) -> list[Shown]:
    """Return all messages of a mailbox."""
    session = client(server, user)
    found: list[Shown] = []
    for line in session.list()[1]:
        assert isinstance(line, bytes)
        match = _LISTED.fullmatch(line)
        assert match is not None, line
        name = (match[1] or match[2]).decode()
        told, count = session.select(f'"{name}"', readonly=True)
        if told != "OK" or count == [b"0"]:
            continue
        for part in session.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]:
            if isinstance(part, tuple):
                flags = sorted(each.decode() for each in imaplib.ParseFlags(part[0]) if each != b"\\Recent")
                date = imaplib.Internaldate2tuple(part[0])
                assert date is not None
                found.append(Shown(name, part[1], tuple(flags), time.mktime(date)))
    session.logout()
    return sorted(found)
