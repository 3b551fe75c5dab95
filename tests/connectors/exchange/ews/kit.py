"""What the tests share: an organisation over a configuration, and words for its log."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.ews.organisation import EwsOrganisation
from connectors.exchange.organisation import Fault, New
from gateway.contract import Content, Context


class Log:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def _say(self, text: str, **values: Any) -> None:
        self.said.append((text, values))

    debug = info = warning = error = _say

    def bind(self, **_: Any) -> Log:
        return self


def context(folder: Path, log: Log | None = None) -> Context:
    return Context("gw.example", folder, folder, log or Log(), time.time)


@asynccontextmanager
async def organisation(folder: Path, **options: Any) -> AsyncIterator[EwsOrganisation]:
    """An organisation, started; it is stopped at the end. `log`: what takes its words."""
    log = options.pop("log", None)
    made = EwsOrganisation("ews", EwsConfig(**options), context(folder, log))
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


def mail(subject: str, to: str = "ann@acme.example", body: bytes = b"hi\r\n", sender: str = "x@y.example") -> bytes:
    """A small message."""
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n".encode() + body


def new(key: str, octets: bytes, **more: Any) -> New:
    return New(key, Content(octets), **more)


async def fault_of(call: Any) -> Fault:
    """Return the fault that an awaitable ends with."""
    try:
        result = await call
    except Fault as e:
        return e
    raise AssertionError(f"no fault, but {result!r}")
