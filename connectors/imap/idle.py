"""IDLE: waiting until the server tells of something in a folder. Source: RFC 9051 §6.3.13 (RFC 2177)."""

from __future__ import annotations

import asyncio

from connectors.imap.session import Session
from connectors.imap.wire.commands import command
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.responses import Data, Fetched


async def idle(session: Session, name: bytes, for_s: float) -> bool:
    """Wait until something happens in a folder, or for `for_s`; say whether it did.

    A server without IDLE is asked by NOOP at the end. Raises: Refused, Closed.
    """
    happened = asyncio.Event()

    def takes(what: Untagged) -> bool:
        if isinstance(what, Fetched) or (isinstance(what, Data) and what.name in ("EXISTS", "EXPUNGE", "VANISHED")):
            happened.set()
        return False

    await session.select(name, readonly=True, anew=True)
    if not session.has("IDLE"):
        await asyncio.sleep(for_s)
        await session.connection.ask(command(b"NOOP"), takes)
        return happened.is_set()
    asked = session.connection.ask(command(b"IDLE"), takes, goes=lambda text: None, alone=True)
    idling = asyncio.ensure_future(asked)
    waiting = asyncio.ensure_future(happened.wait())
    try:
        await asyncio.wait((idling, waiting), timeout=for_s, return_when=asyncio.FIRST_COMPLETED)
        if not idling.done():
            session.connection.interject(b"DONE\r\n")
        await idling
    finally:
        waiting.cancel()
        idling.cancel()
    return happened.is_set()
