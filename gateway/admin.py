"""The administrator's HTTP port: /healthz and /metrics, and nothing else.

Promises: a request is bounded in size, time and number; only names of this host are taken in `Host`, so that a web
page cannot read it through a visitor's browser by a name of its own (DNS rebinding); nothing can be changed here.
Source: RFC 9112 for the forms. One request per connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from gateway.exchanges import Exchanges

MAX_HEAD_OCTETS: Final = 8 * 1024
REQUEST_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 15.0
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class AdminServer:
    """Serves what `health` and `metrics` give.

    `health` returns (whether all is well, plain JSON values); `metrics` the text that Prometheus reads.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        name: str,
        health: Callable[[], Awaitable[tuple[bool, Mapping[str, Any]]]],
        metrics: Callable[[], Awaitable[bytes]],
        on_fault: Callable[[str, Exception], None],
    ) -> None:
        self.host = host
        self.port = port
        self._hosts = {"localhost", name.lower()}
        self._health = health
        self._metrics = metrics
        self._on_fault = on_fault
        refusal = _octets("", Answer(503, b"too many requests at once\n"))
        self._exchanges = Exchanges(self._exchange, refusal, write_timeout_s=ANSWER_TIMEOUT_S)

    async def start(self) -> None:
        """Listen; `port` is the real one afterwards. Raises: OSError."""
        server = await self._exchanges.start(
            lambda serve: asyncio.start_server(serve, self.host, self.port, limit=MAX_HEAD_OCTETS)
        )
        self.port = server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop at once. Safe to call twice."""
        await self._exchanges.stop()

    async def _exchange(self, reader: asyncio.StreamReader) -> bytes:
        return _octets(*await self._request(reader))

    async def _request(self, reader: asyncio.StreamReader) -> tuple[str, Answer]:
        try:
            octets = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_TIMEOUT_S)
        except TimeoutError:
            return "", Answer(408, b"no request came\n")
        except asyncio.LimitOverrunError:
            return "", Answer(431, b"the request is too long\n")
        except asyncio.IncompleteReadError:
            return "", Answer(400, b"the request is cut short\n")
        parsed = parse_head(octets)
        if parsed is None:
            return "", Answer(400, b"not an HTTP/1 request\n")
        method, target, hosts = parsed
        # RFC 9112 §3.2: exactly one Host; a server answers 400 to any other number.
        if len(hosts) != 1:
            return method, Answer(400, b"one Host header is needed\n")
        if not self._is_ours(hosts[0]):
            return method, Answer(403, b"this host name is not served here\n")
        if method not in ("GET", "HEAD"):
            return method, Answer(405, b"only GET and HEAD\n")
        try:
            return method, await asyncio.wait_for(self._answer(target.partition("?")[0]), ANSWER_TIMEOUT_S)
        except Exception as e:  # noqa: BLE001  whatever fails inside, the prober gets an answer
            self._on_fault(target, e)
            return method, Answer(500, b"the gateway failed at this request\n")

    async def _answer(self, path: str) -> Answer:
        if path == "/healthz":
            ok, details = await self._health()
            body = json.dumps({"ok": ok, **details}, ensure_ascii=False, default=str).encode() + b"\n"
            return Answer(200 if ok else 503, body, "application/json")
        if path == "/metrics":
            return Answer(200, await self._metrics(), METRICS_TYPE)
        return Answer(404, b"there are /healthz and /metrics\n")

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        if name in self._hosts:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True  # a number cannot be made to point elsewhere


def host_name(host: str) -> str:
    """Return a Host header's name without its port, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


def parse_head(octets: bytes) -> tuple[str, str, list[str]] | None:
    """Return (method, target, values of Host) of a request's head, None where it is none."""
    line, *fields = octets.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        return None
    hosts = []
    for field in fields:
        name, colon, value = field.partition(":")
        if not colon or name != name.strip():
            return None
        if name.lower() == "host":
            hosts.append(value)
    return parts[0], parts[1], hosts


def _octets(method: str, answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    ).encode("latin-1")
    return head if method == "HEAD" else head + answer.body
