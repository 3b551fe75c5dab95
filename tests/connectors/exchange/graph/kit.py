"""What the tests of the Graph connector share: a context, a Graph that is a function, and its tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from connectors.exchange.graph.client import Client
from connectors.exchange.graph.pacing import Pacing
from connectors.exchange.graph.token import TokenSource
from gateway.contract import Context

URL = "https://graph.test/v1.0"
Answering = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


class Log:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, _: str) -> Callable[..., Any]:
        return lambda event="", **values: self.told.append((event, values))

    def bind(self, **_: Any) -> Log:
        return self


def context(folder: Path, **changed: Any) -> Context:
    """Return what a node lends."""
    told: dict[str, Any] = {
        "hostname": "gw.example",
        "state_dir": folder,
        "base_dir": folder,
        "log": Log(),
        "clock": time.time,
        "stop_s": 10.0,
        **changed,
    }
    return Context(**told)


class Tokens:
    """An authority that is a function: gives `t1`, `t2` and so on."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.asked: list[bool] = []
        self.answers = list(answers)

    def __call__(self, anew: bool) -> dict[str, Any]:
        self.asked.append(anew)
        answer: Any = {"access_token": f"t{len(self.asked)}", "expires_in": 3600}
        if self.answers:
            answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


def graph(answering: Answering, *, per_mailbox: int = 3, in_all: int = 16, timeout_s: float = 60.0) -> SimpleNamespace:
    """Return a client of a Graph that answers by a function, with all that belongs to it. Needs a running loop."""
    seen: list[httpx.Request] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        await request.aread()
        seen.append(request)
        answer = answering(request)
        return _unread(await answer if isinstance(answer, Awaitable) else answer)

    asked = Tokens()
    http = httpx.AsyncClient(transport=httpx.MockTransport(handle), trust_env=False)
    pacing = Pacing(per_mailbox, in_all, asyncio.get_running_loop().time)
    client = Client(URL, http, TokenSource(asked, time.time), pacing, time.time, timeout_s)
    return SimpleNamespace(client=client, pacing=pacing, seen=seen, tokens=asked)


class _Octets(httpx.AsyncByteStream):
    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._octets


def _unread(answer: httpx.Response) -> httpx.Response:
    """Return an answer as a network would bring it: what was built with its octets has them still to come."""
    if not answer.is_stream_consumed:
        return answer
    return httpx.Response(answer.status_code, headers=answer.headers, stream=_Octets(answer.content))


def told(status: int, code: str = "", **fields: str) -> httpx.Response:
    """Return an answer with an error object."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    body = {"error": {"code": code, "message": f"it is {code}"}} if code else {}
    return httpx.Response(status, json=body, headers=headers)
