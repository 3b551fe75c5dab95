"""The keys of an identity provider, fetched from an address."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connectors.smtp.login import oauth
from connectors.smtp.login.accounts import Unready
from connectors.smtp.login.config import OAuthTokens
from connectors.smtp.login.oauth import Tokens
from gateway.log import get_log
from tests.connectors.smtp.login.test_oauth import jwks, token
from tests.peers.certificates import authority


class Provider:
    """Answers each request with `answer`; `asked` counts them."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + jwks()
        self.asked = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def provider(tmp: Path) -> AsyncIterator[Provider]:
    made, ca = Provider(), authority()
    cert, key = ca.issue("localhost")
    (tmp / "ca.pem").write_bytes(ca.certificate)
    (tmp / "server.pem").write_bytes(cert + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp / "server.pem")
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def tokens(tmp: Path, port: int, ca: str | None = "ca.pem") -> Tokens:
    keys = f"https://localhost:{port}/keys"
    config = OAuthTokens(issuer="https://login.example", audience="smtp", keys=keys, ca_file=ca)
    import time

    return Tokens(config, tmp, time.time, get_log("test"))


async def test_keys_are_fetched_when_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider(tmp_path) as served:
        checked = tokens(tmp_path, served.port)
        await checked.start()
        assert served.asked == 0
        assert await checked.check(token()) == "ann"
        assert await checked.check(token("ES256", "e")) == "ann"
        for _ in range(5):
            assert await checked.check(token(kid="unknown")) is None
        assert served.asked == 1, "tokens of anybody's do not make it ask again and again"
        monkeypatch.setattr(oauth, "AGAIN_S", 0.0)
        assert await checked.check(token(kid="unknown")) is None
        assert served.asked == 2, "but a new key is looked for after a while"
        served.answer = b"HTTP/1.1 500 no\r\nConnection: close\r\n\r\n"
        assert await checked.check(token()) == "ann", "the keys that were known hold while the provider is down"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 none\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 302 elsewhere\r\nLocation: https://evil.example/keys\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nno JSON",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"[" * 3_000_000,
        b"\xff\xfe",
        b"",
    ],
)
async def test_keys_that_cannot_be_had(tmp_path: Path, answer: bytes) -> None:
    async with provider(tmp_path) as served:
        served.answer = answer
        checked = tokens(tmp_path, served.port)
        await checked.start()
        with pytest.raises(Unready):
            await checked.check(token())


async def test_a_provider_that_is_not_who_it_says(tmp_path: Path) -> None:
    async with provider(tmp_path) as served:
        checked = tokens(tmp_path, served.port, ca=None)
        await checked.start()
        with pytest.raises(Unready, match="certificate"):
            await checked.check(token())
