"""The admin port: what it serves, to whom, and how little it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from gateway import admin
from gateway.admin import AdminServer, host_name, parse_head
from gateway.exchanges import MAX_CONNECTIONS


class Inside:
    """What stands behind the port, with a field for each fault."""

    well = True
    fault: Exception | None = None

    async def health(self) -> tuple[bool, Mapping[str, Any]]:
        if self.fault:
            raise self.fault
        return self.well, {"workers": 1}

    async def metrics(self) -> bytes:
        return b"gatepost_workers 1.0\n"


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture
async def server(inside: Inside) -> AsyncIterator[AdminServer]:
    made = AdminServer(
        "127.0.0.1", 0, name="gw.example", health=inside.health, metrics=inside.metrics, on_fault=lambda *_: None
    )
    await made.start()
    yield made
    await made.stop()


async def send(server: AdminServer, octets: bytes) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(octets)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return int(status.split(" ")[1]), dict(f.split(": ", 1) for f in fields), body


async def get(server: AdminServer, path: str, host: str = "localhost") -> tuple[int, dict[str, str], bytes]:
    return await send(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


async def test_health(server: AdminServer, inside: Inside) -> None:
    status, fields, body = await get(server, "/healthz")
    assert (status, fields["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"ok": True, "workers": 1}
    inside.well = False
    status, _, body = await get(server, "/healthz?probe=1")
    assert (status, json.loads(body)["ok"]) == (503, False)


async def test_metrics(server: AdminServer) -> None:
    status, fields, body = await get(server, "/metrics")
    assert (status, body) == (200, b"gatepost_workers 1.0\n")
    assert fields["Content-Type"].startswith("text/plain; version=0.0.4")
    assert fields["Connection"] == "close"


async def test_head_has_no_body(server: AdminServer) -> None:
    status, fields, body = await send(server, b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (status, fields["Content-Length"], body) == (200, "21", b"")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8025", "127.0.0.1:8025", "[::1]:8025", "gw.example", "10.0.0.1"]
)
async def test_names_of_this_host(server: AdminServer, host: str) -> None:
    assert (await get(server, "/healthz", host))[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "gw.example.evil.example:8025", ""])
async def test_a_name_that_points_here_by_others_doing(server: AdminServer, host: str) -> None:
    assert (await get(server, "/healthz", host))[0] == 403


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /metrics HTTP/2\r\nHost: localhost\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 3000 + b"\r\n", 431),
    ],
)
async def test_what_is_no_proper_request(server: AdminServer, octets: bytes, status: int) -> None:
    assert (await send(server, octets))[0] == status


async def test_a_fault_inside_is_an_answer(server: AdminServer, inside: Inside) -> None:
    inside.fault = RuntimeError("secret detail")
    status, _, body = await get(server, "/healthz")
    assert status == 500
    assert b"secret detail" not in body


async def test_a_silent_client_is_answered_and_left(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "REQUEST_TIMEOUT_S", 0.1)
    assert (await send(server, b"GET /hea"))[0] == 408


async def test_connections_are_bounded(server: AdminServer) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(MAX_CONNECTIONS)]
    await asyncio.sleep(0.1)
    assert (await get(server, "/healthz"))[0] == 503
    for _, writer in idle:
        writer.close()
    await asyncio.sleep(0.1)
    assert (await get(server, "/healthz"))[0] == 200


async def test_stop_waits_for_nobody(inside: Inside) -> None:
    made = AdminServer("127.0.0.1", 0, name="x", health=inside.health, metrics=inside.metrics, on_fault=lambda *_: None)
    await made.start()
    _, writer = await asyncio.open_connection("127.0.0.1", made.port)
    await asyncio.sleep(0.05)
    await asyncio.wait_for(made.stop(), 2)
    await made.stop()
    writer.close()


def test_host_name() -> None:
    assert [host_name(h) for h in (" Gw.Example.:80", "[::1]:80", "a")] == ["gw.example", "::1", "a"]


def test_parse_head() -> None:
    assert parse_head(b"GET /x HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n") == ("GET", "/x", [" a", " b"])
    assert parse_head(b"GET /x HTTP/1.1\r\n Host: folded\r\n\r\n") is None
