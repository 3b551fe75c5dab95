"""The administrator's HTTP port: /healthz and /metrics, and nothing else.

Promises: a request is bounded in size, time and number; only names of this host are taken in `Host`, so that a web
page cannot read it through a visitor's browser by a name of its own (DNS rebinding); nothing can be changed here.
Source: RFC 9112 for the forms. One request per connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

MAX_HEAD_OCTETS: Final = 8 * 1024
MAX_CONNECTIONS: Final = 32
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
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen; `port` is the real one afterwards. Raises: OSError."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=MAX_HEAD_OCTETS)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop at once. Safe to call twice."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._open.add(task)
        try:
            method, answer = await self._exchange(reader)
            writer.write(_head(answer) + (b"" if method == "HEAD" else answer.body))
            await asyncio.wait_for(writer.drain(), ANSWER_TIMEOUT_S)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the asking side is gone, does not read, or the gateway stops
        finally:
            self._open.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader) -> tuple[str, Answer]:
        if len(self._open) > MAX_CONNECTIONS:
            return "", Answer(503, b"too many requests at once\n")
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


def _head(answer: Answer) -> bytes:
    return (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    ).encode("latin-1")
