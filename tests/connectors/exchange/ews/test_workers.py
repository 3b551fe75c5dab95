"""Threads: never more than the limit, and never one that cannot be ended."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.ews.workers import Stopped, Workers
from tests.connectors.exchange.ews.canned import Asked, a_folder, canned
from tests.connectors.exchange.ews.kit import fault_of, organisation

BASIC: dict[str, Any] = {"auth": "basic", "username": "u", "password": "p"}
BOUND_S = 20.0


def ours() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("ews")]


async def test_never_more_requests_at_once_than_connections(tmp_path: Path) -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def reply(asked: Asked) -> bytes:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1
        return a_folder(asked)

    with canned(reply) as server:
        async with organisation(tmp_path, **BASIC, url=server.url, max_connections=3) as exchange:
            boxes = [f"u{n}@acme.example" for n in range(60)]
            found = await asyncio.gather(*(exchange.folder(each, "inbox") for each in boxes))
            assert len(ours()) == 3
    assert found == ["F1"] * 60
    assert most == 3
    assert server.connections == 3, "each connection serves many requests"
    assert ours() == []


async def test_threads_begin_as_they_are_needed(tmp_path: Path) -> None:
    with canned(a_folder) as server:
        async with organisation(tmp_path, **BASIC, url=server.url, max_connections=8) as exchange:
            assert ours() == []
            for n in range(10):
                await exchange.folder(f"u{n}@acme.example", "inbox")
            assert len(ours()) == 1


async def test_stopping_ends_requests_that_are_never_answered(tmp_path: Path) -> None:
    def reply(asked: Asked) -> None:
        asked.state["gate"].wait()

    with canned(reply) as server:
        async with organisation(tmp_path, **BASIC, url=server.url, max_connections=2) as exchange:
            asking = [asyncio.ensure_future(fault_of(exchange.folder(f"u{n}@x.example", "inbox"))) for n in range(5)]
            async with asyncio.timeout(BOUND_S):
                while len(server.asked) < 2:  # noqa: ASYNC110 - what a thread counts
                    await asyncio.sleep(0.01)
            began = time.monotonic()
            await exchange.stop()
            took = time.monotonic() - began
            faults = await asyncio.gather(*asking)
            after = await fault_of(exchange.folder("u@x.example", "inbox"))
    assert took < 5
    assert sorted(each.why for each in faults) == ["unknown"] * 2 + ["unreachable"] * 3
    assert after.why == "unreachable"
    assert ours() == []


async def test_stopping_ends_a_stream_that_says_nothing(tmp_path: Path) -> None:
    def reply(asked: Asked) -> bytes | None:
        if asked.operation == "GetStreamingEvents":
            asked.state["gate"].wait()
            return None
        from tests.connectors.exchange.ews.canned import answer, http, message

        return http(200, answer("Subscribe", message("Subscribe", "<m:SubscriptionId>S1</m:SubscriptionId>")))

    with canned(reply) as server:
        async with organisation(tmp_path, **BASIC, url=server.url) as exchange:

            async def collect() -> None:
                async for _ in exchange.watch([("ann@acme.example", "F1")]):
                    pass

            watching = asyncio.ensure_future(collect())
            async with asyncio.timeout(BOUND_S):
                while len(server.asked) < 2:  # noqa: ASYNC110 - what a thread counts
                    await asyncio.sleep(0.01)
            began = time.monotonic()
            await exchange.stop()
            took = time.monotonic() - began
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert took < 5
    assert ours() == []


async def test_a_server_that_trickles_is_not_waited_for(tmp_path: Path) -> None:
    """Each octet comes within the time to say something, the answer never ends."""

    def reply(asked: Asked) -> None:
        gate = asked.state["gate"]
        asked.handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nX-Slow: ")
        while not gate.wait(0.05):
            asked.handler.wfile.write(b"x")

    with canned(reply) as server:
        options: dict[str, Any] = {**BASIC, "timeout_s": 0.5, "connect_timeout_s": 0.5}
        async with organisation(tmp_path, **options, url=server.url) as exchange:
            exchange._reach._workers._longest_s = 1.5  # ten seconds of slack else
            began = time.monotonic()
            told = await fault_of(exchange.folder("ann@acme.example", "inbox"))
    assert told.why == "unknown"
    assert 1.0 < time.monotonic() - began < BOUND_S


async def test_an_answer_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    def reply(asked: Asked) -> None:
        asked.handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 9999999999\r\n\r\n<a>")
        while True:
            asked.handler.wfile.write(b"x" * 65_536)

    with canned(reply) as server:
        async with organisation(tmp_path, **BASIC, url=server.url, max_message_bytes=1024) as exchange:
            told = await fault_of(exchange.folder("ann@acme.example", "inbox"))
    assert told.why == "unknown"
    assert "longer than" in told.text


async def test_who_does_not_wait_any_more_costs_nothing() -> None:
    begun: list[int] = []
    at_work, gate = threading.Event(), threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        at_work.set()
        gate.wait(BOUND_S)
        return number

    workers = Workers(1, 60.0, lambda _: None)
    first, second, third = (asyncio.ensure_future(workers.call(work, n)) for n in range(3))
    assert await asyncio.to_thread(at_work.wait, BOUND_S)
    second.cancel()
    first.cancel()
    gate.set()
    assert await third == 2
    assert begun == [0, 2]
    assert await workers.stop(BOUND_S)
    with pytest.raises(Stopped):
        await workers.call(work, 3)


async def test_what_a_call_raises_is_raised_to_who_waits() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    workers = Workers(2, 60.0, lambda _: None)
    with pytest.raises(ZeroDivisionError):
        await workers.call(fail)
    assert await workers.call(lambda: 7) == 7
    assert workers.threads == 1
    assert await workers.stop(BOUND_S)
