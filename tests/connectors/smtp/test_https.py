"""The HTTPS client that fetches policies: what it believes of a web server, and how much of it it takes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connectors.smtp.https import HttpFault, Https
from connectors.smtp.mta_sts import PolicyError
from tests.connectors.smtp.client_kit import FakeDns
from tests.connectors.smtp.test_client_tls import Authority

POLICY = b"version: STSv1\r\nmode: none\r\nmax_age: 60\r\n"
TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"


@asynccontextmanager
async def web(ca: Authority, name: str, answer: bytes) -> AsyncIterator[tuple[Https, list[bytes]]]:
    """Serve one answer for every request; yield a client that finds `mta-sts.y.example` there, and the requests."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ca.server(name))
    context = ssl.create_default_context(cafile=str(ca.file))
    dns = FakeDns(hosts={"mta-sts.y.example": ["127.0.0.1"], "mta-sts.none.example": []})
    try:
        yield Https(dns, context, server.sockets[0].getsockname()[1]), asked
    finally:
        server.close()


def answer(status: bytes = b"200 OK", headers: bytes = TEXT, body: bytes = POLICY) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_a_policy_is_got_by_the_name_of_its_domain(ca: Authority) -> None:
    async with web(ca, "mta-sts.y.example", answer()) as (https, asked):
        assert await https.policy("y.example") == POLICY
    assert asked[0].startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.y.example\r\n")


async def test_a_policy_in_pieces(ca: Authority) -> None:
    pieces = b"HTTP/1.1 200 OK\r\n" + TEXT + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(POLICY) + POLICY
    async with web(ca, "mta-sts.y.example", pieces + b"\r\n0\r\n\r\n") as (https, _):
        assert await https.policy("y.example") == POLICY


@pytest.mark.parametrize(
    ("name", "said", "result"),
    [
        ("other.example", answer(), "sts-webpki-invalid"),
        ("mta-sts.y.example", answer(b"301 Moved", TEXT + b"Location: https://e.test/\r\n"), "sts-policy-fetch-error"),
        ("mta-sts.y.example", answer(b"404 Not Found"), "sts-policy-fetch-error"),
        ("mta-sts.y.example", answer(headers=b"Content-Type: text/html\r\n"), "sts-policy-invalid"),
        ("mta-sts.y.example", b"SSH-2.0-x\r\n", "sts-policy-fetch-error"),
        ("mta-sts.y.example", b"", "sts-policy-fetch-error"),
        ("mta-sts.y.example", answer(body=b"x" * 300_000), "sts-policy-fetch-error"),
    ],
    ids=["certificate", "redirect", "not found", "type", "no HTTP", "nothing", "too much"],
)  # fmt: skip
async def test_what_is_not_believed(ca: Authority, name: str, said: bytes, result: str) -> None:
    async with web(ca, name, said) as (https, _):
        with pytest.raises(PolicyError) as refused:
            await https.policy("y.example")
    assert refused.value.result == result


async def test_a_name_without_an_address(ca: Authority) -> None:
    async with web(ca, "x", answer()) as (https, _):
        with pytest.raises(PolicyError, match="no address"):
            await https.policy("none.example")


async def test_a_report_is_posted(ca: Authority) -> None:
    async with web(ca, "mta-sts.y.example", answer(b"202 Accepted")) as (https, asked):
        got = await https.request("POST", "mta-sts.y.example", "/tls?a=1", b"octets", {"Content-Type": "x/y"})
        assert got.status == 202
        with pytest.raises(HttpFault):
            await https.request("GET", "mta-sts.y.example", "/\u00fc")
    assert b"POST /tls?a=1" in asked[0]
    assert b"Content-Length: 6\r\n" in asked[0]
