"""Change notifications: Graph posts to an address of ours that something has changed, which is a hint and no more.

The address is public, and anyone may post to it: what counts is a subscription of ours with its secret (clientState),
and what it leads to is that a folder is looked at. Connections, their number, time and octets are bounded. Each place
is told once after every new subscription, since nothing was told of what came before. Subscriptions are short, renewed
at half of their time, and made anew where Graph has forgotten them; those of a gateway that is gone end by themselves.

Source: learn.microsoft.com "Receive change notifications through webhooks", "subscription resource type".
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

import orjson

from connectors.exchange.graph.client import Client, Request
from connectors.exchange.graph.delta import time
from connectors.exchange.organisation import Fault
from gateway.contract import Context

LIFETIME_S: Final = 6 * 3600.0
RETRY_S: Final = 60.0
AT_ONCE: Final = 4
"""Subscriptions that are made or renewed at once: for each Graph posts to us and waits for the answer."""
LANE: Final = "subscriptions"
"""What the requests for them are paced as: being throttled here must hold up no mail."""

HEAD_OCTETS: Final = 16 * 1024
BODY_OCTETS: Final = 1024 * 1024
TOKEN_CHARS: Final = 4096
CONNECTIONS: Final = 32
PATIENCE_S: Final = 10.0
_REQUEST: Final = re.compile(rb"([A-Z]{3,7}) (/[!-~]{0,8000}) HTTP/1\.[01]")
_LENGTH: Final = re.compile(rb"[0-9]{1,7}")

Place = tuple[str, str]


class Unfit(Exception):
    """A request that is none; its text is the status line to answer with."""


@dataclass(slots=True)
class Subscription:
    """One folder's. `due`: when it is to be renewed, or tried again, by the loop's clock."""

    place: Place
    state: str
    id: str = ""
    due: float = 0.0
    failures: int = 0


class Notices:
    """Subscriptions of one connector, and the server that Graph posts to."""

    def __init__(self, url: str, listen: str, client: Client, context: Context) -> None:
        self._url = url
        self._path = urlsplit(url).path or "/"
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._client = client
        self._clock = context.clock
        self._log = context.log
        self._subscriptions: list[Subscription] = []
        self._hinted: dict[Place, None] = {}
        self._wake = asyncio.Event()
        self._connections = 0
        self.trouble: str | None = None

    async def watch(self, watched: Sequence[Place]) -> AsyncGenerator[Place, None]:
        """Yield places where something may have changed, until the generator is closed."""
        self._subscriptions = [Subscription(place, secrets.token_urlsafe(24)) for place in watched]
        keeping = asyncio.ensure_future(self._keep())
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                hinted, self._hinted = self._hinted, {}
                for place in hinted:
                    yield place
        finally:
            keeping.cancel()
            await asyncio.wait((keeping,))

    def _hint(self, place: Place) -> None:
        self._hinted[place] = None
        self._wake.set()

    # -- subscriptions

    async def _keep(self) -> None:
        """Listen, and keep every subscription alive; what fails is tried again."""
        server: asyncio.Server | None = None
        try:
            while server is None:
                try:
                    server = await asyncio.start_server(self._serve, self._host, self._port, limit=HEAD_OCTETS)
                    self.trouble = None
                except OSError as e:
                    self.trouble = f"notifications cannot be listened for at {self._host}:{self._port}: {e}"
                    self._log.warning("notifications cannot be listened for", cause=str(e))
                    await asyncio.sleep(RETRY_S)
            while True:
                await self._look_after()
        finally:
            if server is not None:
                server.close()

    async def _look_after(self) -> None:
        """Do what is due, and sleep until something is."""
        loop = asyncio.get_running_loop()
        due = [each for each in self._subscriptions if each.due <= loop.time()]
        for at in range(0, len(due), AT_ONCE):
            await asyncio.gather(*(self._renew(each) for each in due[at : at + AT_ONCE]))
        if not due:
            next_at = min((each.due for each in self._subscriptions), default=loop.time() + LIFETIME_S)
            await asyncio.sleep(max(0.0, next_at - loop.time()))

    async def _renew(self, each: Subscription) -> None:
        loop = asyncio.get_running_loop()
        try:
            if each.id:
                await self._extend(each)
            if not each.id:
                await self._subscribe(each)
        except Fault as e:
            each.failures += 1
            each.due = loop.time() + max(e.retry_after_s or 0.0, RETRY_S * min(each.failures, 10))
            if each.failures == 1:
                self._log.warning("no notifications of a folder for now", mailbox=each.place[0], cause=str(e))
        except Exception as e:  # noqa: BLE001 - without notifications a folder is still looked at from time to time
            each.due = loop.time() + RETRY_S
            self._log.error("a fault in a subscription", cause=repr(e), exc_info=e)
        else:
            each.failures = 0
            each.due = loop.time() + LIFETIME_S / 2

    async def _extend(self, each: Subscription) -> None:
        """Renew a subscription; one that Graph does not know any more loses its id."""
        path = f"/subscriptions/{quote(each.id, safe='')}"
        try:
            await self._client.ask(Request("PATCH", path, LANE, json={"expirationDateTime": self._end()}))
        except Fault as e:
            if e.why != "refused":
                raise
            each.id = ""

    async def _subscribe(self, each: Subscription) -> None:
        mailbox, folder = each.place
        told = {
            "changeType": "created",
            "notificationUrl": self._url,
            "resource": f"users/{mailbox}/mailFolders('{folder}')/messages",
            "expirationDateTime": self._end(),
            "clientState": each.state,
        }
        answer = await self._client.ask(Request("POST", "/subscriptions", LANE, json=told))
        each.id = str(answer.get("id") or "")
        self._hint(each.place)  # what came before it is told by nobody

    def _end(self) -> str:
        return time(self._clock() + LIFETIME_S)

    # -- what is posted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        self._connections += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                if self._connections > CONNECTIONS:
                    answer = response("503 Service Unavailable")
                else:
                    answer = await self._answered(reader)
                writer.write(answer)
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._connections -= 1
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader) -> bytes:
        try:
            method, target, length = head(await reader.readuntil(b"\r\n\r\n"))
            parts = urlsplit(target)
            if parts.path != self._path:
                raise Unfit("404 Not Found")
            if method != "POST":
                raise Unfit("405 Method Not Allowed")
            body = await reader.readexactly(length)
            token = parse_qs(parts.query, max_num_fields=20).get("validationToken")
            if token:
                return response("200 OK", token[0][:TOKEN_CHARS].encode())
            self._take(body)
        except Unfit as e:
            return response(str(e))
        except (ValueError, orjson.JSONDecodeError):
            return response("400 Bad Request")
        return response("202 Accepted")

    def _take(self, body: bytes) -> None:
        """Take what is posted for what it may be. Raises: ValueError."""
        told = orjson.loads(body)
        values = told.get("value") if isinstance(told, dict) else None
        if not isinstance(values, list):
            raise ValueError("no notifications")
        known = {each.id: each for each in self._subscriptions if each.id}
        for value in values[:1000]:
            each = known.get(str(value.get("subscriptionId"))) if isinstance(value, dict) else None
            if each is not None and _is_secret(value, each.state):
                self._hint(each.place)


def _is_secret(value: dict[str, Any], state: str) -> bool:
    return hmac.compare_digest(str(value.get("clientState")).encode(), state.encode())


def head(octets: bytes) -> tuple[str, str, int]:
    """Return method, target and length of a request's head (RFC 9112 §3). Raises: Unfit."""
    lines = octets.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = _REQUEST.fullmatch(lines[0])
    if match is None:
        raise Unfit("400 Bad Request")
    length = 0
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"content-length":
            if not _LENGTH.fullmatch(value.strip()):
                raise Unfit("400 Bad Request")
            length = int(value)
        elif name == b"transfer-encoding":
            raise Unfit("411 Length Required")
    if length > BODY_OCTETS:
        raise Unfit("413 Content Too Large")
    return match[1].decode(), match[2].decode(), length


def response(status: str, body: bytes = b"") -> bytes:
    """Return an answer; whatever is in it, nobody takes it for a page."""
    fields = (
        f"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}"
    )
    return f"HTTP/1.1 {status}\r\n{fields}\r\nConnection: close\r\n\r\n".encode("ascii") + body
