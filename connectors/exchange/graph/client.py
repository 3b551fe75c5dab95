"""Client: one request to Graph, sent once, with its token, in its turn, its answer bounded.

Promises: what changes something is never sent twice by this module, but where Graph said 401, which it says before it
does anything. A fault says which of these is true: refused, put off, certainly not sent, or perhaps done. A token goes
to the configured server alone, whatever a link of an answer says. An answer over its limit is not read to its end.
Every request ends within a bound, and at once where the connector stops.

Source: learn.microsoft.com "Microsoft Graph throttling guidance", "Obtain immutable identifiers for Outlook resources".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from connectors.exchange.graph.answers import TOO_LARGE, Answer, Malformed, fault, unread
from connectors.exchange.graph.pacing import Pacing
from connectors.exchange.graph.token import TokenSource, plain
from connectors.exchange.organisation import Fault
from gateway.contract import Scope

MIB: Final = 1024 * 1024
ANSWER_OCTETS: Final = 16 * MIB
LARGE_OCTETS: Final = 4 * MIB
IMMUTABLE: Final = 'IdType="ImmutableId"'
"""Asked for with every request: an id that a move does not change is half of what makes a finish safe to repeat."""
LONGEST: Final = 10
"""A request may take so many times the timeout altogether, if octets come all the while."""
_FRAMED: Final = ("content-length", "transfer-encoding")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. `path` is under the configured URL, or a link that Graph gave; `mailbox` "" where it concerns
    none. `octets` go as they are, `json` as JSON. `alone`: it takes all slots of its mailbox."""

    method: str
    path: str
    mailbox: str = ""
    params: Mapping[str, str] | None = None
    json: Any = None
    octets: bytes | None = None
    content_type: str = "application/json"
    prefer: tuple[str, ...] = ()
    alone: bool = False
    limit: int = ANSWER_OCTETS
    fields: Mapping[str, str] | None = None
    large: asyncio.Semaphore | None = None
    """Passed by answers over LARGE_OCTETS, so that not many of them are in memory at once."""
    tokenless: bool = False
    """The link itself is the permission (an upload session's), and Graph refuses a token beside it."""

    @property
    def is_safe(self) -> bool:
        """It changes nothing. RFC 9110 §9.2.1."""
        return self.method == "GET"


class Client:
    """Requests of one connector."""

    def __init__(
        self,
        url: str,
        http: httpx.AsyncClient,
        tokens: TokenSource,
        pacing: Pacing,
        clock: Callable[[], float],
        timeout_s: float = 120.0,
    ) -> None:
        self._url = url
        self._origin = origin(url)
        self._http = http
        self._tokens = tokens
        self._pacing = pacing
        self._clock = clock
        self._longest_s = LONGEST * timeout_s
        self._scopes: set[asyncio.Timeout] = set()
        self._is_stopping = False
        self.trouble: str | None = None
        """Why the last request did not reach Graph, or was not permitted, for an operator."""

    async def stop(self) -> None:
        """End every request; those who wait for one get a Fault. Safe to call twice."""
        self._is_stopping = True
        now = asyncio.get_running_loop().time()
        for scope in tuple(self._scopes):
            if not scope.expired():
                scope.reschedule(now)
        await self._http.aclose()

    async def ask(self, request: Request) -> dict[str, Any]:
        """Return the JSON object of an answer of status 2xx. Raises: Fault."""
        answer = await self.send(request)
        try:
            return answer.json()
        except Malformed as e:
            raise unread(e, is_safe=request.is_safe) from e

    async def send(self, request: Request) -> Answer:
        """Return an answer of status 2xx. Raises: Fault."""
        if self._is_stopping:
            raise Fault("stopping", "the connector stops", "unreachable", scope=Scope.HOP)
        try:
            async with asyncio.timeout(self._longest_s) as scope:
                self._scopes.add(scope)
                try:
                    async with self._pacing.slot(request.mailbox, alone=request.alone):
                        answer = await self._with_token(request)
                        return self._judged(request, answer)
                finally:
                    self._scopes.discard(scope)
        except TimeoutError:
            raise lost_answer(request, "no answer", "the request took too long, or the connector stops") from None
        except Fault as e:
            if e.why == "refused":
                self.trouble = None  # it answers
            elif e.why != "busy":
                self.trouble = f"{self._origin}: {e}"
            raise

    def _judged(self, request: Request, answer: Answer) -> Answer:
        if answer.is_good:
            self.trouble = None
            return answer
        found = fault(answer, is_safe=request.is_safe, now=self._clock())
        if found.why == "busy" and found.retry_after_s is not None:
            self._pacing.hold(request.mailbox, found.retry_after_s)
        raise found

    async def _with_token(self, request: Request) -> Answer:
        if request.tokenless:
            return await self._sent(request, request.path, None)
        url = self.resolve(request.path)
        token = await self._tokens.get()
        answer = await self._sent(request, url, token)
        if answer.status != 401:
            return answer
        # The token may have been withdrawn before its end (learn.microsoft.com "Continuous access evaluation").
        return await self._sent(request, url, await self._tokens.refused(token))

    def resolve(self, path: str) -> str:
        """Return the URL of a path or a link. Raises: Fault where a link leads to another server."""
        if path.startswith("/"):
            return self._url + path
        if origin(path) != self._origin:
            raise Fault("foreign link", "Graph's answer links to another server", scope=Scope.HOP)
        return path

    async def _sent(self, request: Request, url: str, token: str | None) -> Answer:
        if not request.is_safe:
            return await self._sent_once(request, url, token)
        try:
            return await self._sent_once(request, url, token)
        except Fault as e:
            # A connection that was kept open, and that the server has just closed, tells nothing of the server.
            if not isinstance(e.__cause__, httpx.RemoteProtocolError | httpx.ReadError):
                raise
            return await self._sent_once(request, url, token)

    async def _sent_once(self, request: Request, url: str, token: str | None) -> Answer:
        fields = dict(request.fields or {})
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
            fields["Prefer"] = ", ".join((IMMUTABLE, *request.prefer))
        octets = request.octets
        if request.json is not None:
            octets = orjson.dumps(request.json)
        if octets is not None:
            fields["Content-Type"] = request.content_type
        built = self._http.build_request(
            request.method, url, params=request.params, content=octets if octets is not None else b"", headers=fields
        )
        try:
            response = await self._http.send(built, stream=True)
            try:
                return await _read(response, request)
            finally:
                await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as e:
            # Nothing of the request has left: no connection was made (TLS included), or none was free.
            text = f"{type(e).__name__}: {plain(str(e))}"
            raise Fault("no connection", text, "unreachable", scope=Scope.HOP, everywhere=True) from e
        except httpx.HTTPError as e:
            raise lost_answer(request, "no answer", f"{type(e).__name__}: {plain(str(e))}") from e


def lost_answer(request: Request, code: str, text: str) -> Fault:
    """Return the fault of a request that may have been done, for all that is known."""
    return Fault(code, text, "unreachable" if request.is_safe else "unknown", scope=Scope.HOP)


async def _read(response: httpx.Response, request: Request) -> Answer:
    """Read an answer up to the request's limit. Raises: Fault, httpx.HTTPError."""
    fields = response.headers
    limit = request.limit if response.is_success else min(request.limit, ANSWER_OCTETS)
    pieces: list[bytes] = []
    size = 0
    async with contextlib.AsyncExitStack() as held:
        is_large = False
        async for piece in response.aiter_raw():
            size += len(piece)
            if size > limit:
                if not request.is_safe:
                    raise Fault("too long an answer", f"over {limit} octets", "unknown", scope=Scope.HOP)
                raise Fault(TOO_LARGE, f"over {limit} octets", scope=Scope.RECIPIENT)
            if size > LARGE_OCTETS and request.large is not None and not is_large:
                is_large = True
                await held.enter_async_context(request.large)
            pieces.append(piece)
    framed = response.status_code == 204 or any(name in fields for name in _FRAMED)
    if response.is_success and not framed and (size or request.is_safe):
        # What ends with the connection can be cut anywhere and look whole (RFC 9112 §8).
        raise lost_answer(request, "unframed answer", "the answer does not say how long it is")
    return Answer(response.status_code, fields, b"".join(pieces))


def origin(url: str) -> str:
    """Return scheme, host and port of a URL, in one form."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return ""
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"
