"""A mailbox of a server, open, for tests that are about one thing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connectors.imap import Imap
from connectors.imap.config import ImapConfig
from connectors.imap.mailbox import ImapMailbox
from gateway.contract import Content, Context, NewItem
from gateway.testing.peers import KitLog


def connector(folder: Path, port: int, **config: Any) -> Imap:
    """Return a connector to a server on this machine, without TLS and with the password `secret` by default."""
    (folder / "state").mkdir(exist_ok=True)
    context = Context(
        hostname="gw.kit.example", state_dir=folder / "state", base_dir=folder, log=KitLog(), clock=time.time
    )
    told: dict[str, Any] = {"host": "127.0.0.1", "port": port, "tls": "none", "password": "secret"} | config
    return Imap("kit", ImapConfig.model_validate(told), context)


@asynccontextmanager
async def opened(folder: Path, port: int, mailbox: str = "ann", **config: Any) -> AsyncIterator[ImapMailbox]:
    """Open a mailbox."""
    made = connector(folder, port, **config)
    await made.start()
    try:
        async with made.open(mailbox) as found:
            yield found
    finally:
        await made.stop()


def message(number: int, text: str = "text") -> bytes:
    """Return a small message."""
    return f"From: a@x.example\r\nMessage-ID: <{number}@x.example>\r\nSubject: {number}\r\n\r\n{text}\r\n".encode()


def new(number: int, text: str = "text", **more: Any) -> NewItem:
    """Return a small item to be appended."""
    return NewItem(f"k.{number}", Content(message(number, text)), **more)
