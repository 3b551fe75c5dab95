"""The destination side: one signed POST for each delivery.

Promises: a delivery is Delivered only by a status of 2xx; each attempt has the same `Idempotency-Key`, so that an
application that keeps them takes none twice; a redirect is not followed, since mail is for the configured address.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from gatepost_webhook import document
from gatepost_webhook.config import WebhookConfig, secret_octets
from gatepost_webhook.outcomes import outcome_of
from gatepost_webhook.signature import sign
from gateway.contract import Batch, Context, Deferred, Item, Outcome, Parcel, Scope, Status

_ANSWER_OCTETS: Final = 2048
_THREAD_OCTETS: Final = 64 * 1024
"""A larger content is made into JSON in a thread."""


class Sender:
    """Posts to one application. Opened at first use, in the node's event loop."""

    def __init__(self, config: WebhookConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._keys = [secret_octets(each) for each in (config.secret, *config.former_secrets) if each is not None]
        parts = urlsplit(config.url or "")
        self.hop = parts.netloc.lower()
        self._tls: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None
        self.trouble = ""

    def prepare(self) -> None:
        """Read the authorities. Raises: OSError or ValueError that names the file."""
        if self._config.ca_file is None:
            return
        path = Path(self._context.base_dir, self._config.ca_file)
        try:
            self._tls = ssl.create_default_context(cafile=str(path))
        except (OSError, ssl.SSLError) as e:
            raise ValueError(f"ca_file = {self._config.ca_file!r} cannot be used: {e}") from None

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def deliver(self, batch: Batch) -> None:
        """Post what a batch holds, several deliveries at once; after a fault of the whole hop the rest waits."""
        down: list[Deferred] = []
        work = self._work(batch)

        async def post_on() -> None:
            for parcel, item, told in work:
                if down:
                    batch.settle(item.id, down[0])
                    continue
                outcome = await self._post(parcel, item, told)
                batch.settle(item.id, outcome)
                if isinstance(outcome, Deferred) and outcome.scope is Scope.HOP:
                    down.append(outcome)

        count = min(self._config.connections, sum(len(parcel.items) for parcel in batch.parcels))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(post_on())

    def _work(self, batch: Batch) -> Iterator[tuple[Parcel, Item, list[dict[str, Any]]]]:
        """Yield each delivery with a place for what is the same in all of its message's."""
        parcels = list(batch.parcels)
        while parcels:
            for parcel in parcels:
                told: list[dict[str, Any]] = []
                for item in parcel.items:
                    yield parcel, item, told
            parcels = list(batch.more())

    async def _post(self, parcel: Parcel, item: Item, told: list[dict[str, Any]]) -> Outcome:
        try:
            if not told:
                told.append(await self._common(parcel))
            octets = document.body(told[0], item)
        except (OSError, ValueError) as e:
            return Deferred(Status("4.3.0", "the message cannot be read now", cause=repr(e)), Scope.MESSAGE)
        try:
            return await self._ask(item, octets)
        except TimeoutError:
            return self._down("4.4.1", "the application does not answer", f"nothing for {self._config.timeout_s} s")
        except aiohttp.ClientSSLError as e:
            return self._down("4.7.5", "the application's certificate is not believed", str(e))
        except (aiohttp.ClientError, OSError) as e:
            return self._down("4.4.1", "the application cannot be reached", str(e) or repr(e))
        except Exception as e:  # an unknown fault is a deferral
            self._context.log.error("post_fault", exc_info=e)
            return Deferred(Status("4.3.5", "a fault in the connector", cause=repr(e)), Scope.MESSAGE)

    async def _common(self, parcel: Parcel) -> dict[str, Any]:
        content = parcel.content
        if content.is_inline and content.size <= _THREAD_OCTETS:
            return document.common(parcel, parts=self._config.parts)
        return await asyncio.to_thread(document.common, parcel, parts=self._config.parts)

    async def _ask(self, item: Item, octets: bytes) -> Outcome:
        id = document.delivery_id(item)
        for attempt in (1, 2):
            try:
                async with self._opened().post(
                    self._config.url or "", data=octets, headers=self._headers(id, octets), allow_redirects=False
                ) as answer:
                    said = await answer.content.read(_ANSWER_OCTETS)
                    outcome = outcome_of(
                        answer.status, answer.headers.get("Retry-After"), _one_line(said), self._context.clock()
                    )
                    is_down = isinstance(outcome, Deferred) and outcome.scope is Scope.HOP
                    self.trouble = outcome.status.text if is_down else ""
                    return outcome
            except aiohttp.ServerDisconnectedError:
                # A kept connection that the application had closed meanwhile; by its key the request can be repeated.
                if attempt == 2:
                    raise
        raise AssertionError("the second attempt returns or raises")

    def _headers(self, id: str, octets: bytes) -> dict[str, str]:
        at = int(self._context.clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "gatepost-webhook/1",
            "Idempotency-Key": id,
            "webhook-id": id,
            "webhook-timestamp": str(at),
        }
        if self._keys:
            headers["webhook-signature"] = sign(self._keys, id, at, octets)
        if self._config.bearer is not None:
            headers["Authorization"] = f"Bearer {self._config.bearer.get_secret_value()}"
        return headers

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            verified: ssl.SSLContext | bool = True if self._tls is None else self._tls
            limits = aiohttp.TCPConnector(limit=self._config.connections, keepalive_timeout=10.0, ssl=verified)
            timeout = aiohttp.ClientTimeout(total=self._config.timeout_s)
            self._session = aiohttp.ClientSession(
                connector=limits, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._session

    def _down(self, code: str, text: str, cause: str) -> Deferred:
        self.trouble = text
        return Deferred(Status(code, text, cause=cause[:500]), Scope.HOP)


def _one_line(octets: bytes) -> str:
    text = octets[:300].decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
