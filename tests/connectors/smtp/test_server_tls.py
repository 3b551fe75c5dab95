"""TLS at the receiving side: STARTTLS, implicit TLS, what must not cross from clear to protected."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from pathlib import Path

import pytest

from connectors.smtp.config import SmtpConfig
from connectors.smtp.source import SmtpSource

from .server_kit import Dial, certificate, context, serving, settled


async def upgraded(c: Dial, trust: ssl.SSLContext) -> None:
    await c.writer.start_tls(trust, server_hostname="gw.example")


async def sent(c: Dial, body: bytes = b"x\r\n") -> None:
    assert await c.say("MAIL FROM:<>", "RCPT TO:<a@acme.example>", "DATA") == [250, 250, 354]
    await c.send(body + b".\r\n")
    assert await c.code() == 250


async def test_starttls(tmp_path: Path) -> None:
    cert, key, trust = certificate(tmp_path)
    async with serving(tmp_path, tls_cert=cert.name, tls_key=key.name) as served:
        c = await served.dial()
        await c.code()
        await c.send(b"EHLO x\r\n")
        assert "250-STARTTLS" in await c.reply()
        assert await c.say("STARTTLS") == [220]
        await upgraded(c, trust)
        assert await c.say("MAIL FROM:<>") == [503]  # RFC 3207 §4.2: what was said before does not count
        await c.send(b"EHLO y\r\n")
        assert "250-STARTTLS" not in await c.reply()
        assert await c.say("STARTTLS") == [503]
        await sent(c)
        await sent(c, b"y" * 70_000 + b"\r\n")
        assert await c.say("QUIT") == [221]
        assert await c.is_closed()
        origin = served.intake.messages[0].envelope.origin
        assert (origin.protocol, origin.helo) == ("ESMTPS", "y")
        assert origin.tls.startswith("TLSv1.3 TLS_")


async def test_what_is_put_behind_starttls_is_thrown_away(tmp_path: Path) -> None:
    cert, key, trust = certificate(tmp_path)
    async with serving(tmp_path, tls_cert=str(cert), tls_key=str(key)) as served:
        c = await (await served.dial()).greeted()
        await c.send(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<a@acme.example>\r\nDATA\r\n")
        assert await c.code() == 220
        await upgraded(c, trust)
        assert await c.say("RSET") == [250]  # one reply: to this command, and to none of those
        assert await c.say("EHLO x") == [250]
        await sent(c)
        assert served.intake.paths == [("", ["a@acme.example"])]


async def test_what_began_before_starttls_leaves_nothing_stored(tmp_path: Path) -> None:
    """Else a stranger fills the disk, a chunk a connection."""
    cert, key, trust = certificate(tmp_path)
    async with serving(tmp_path, tls_cert=cert.name, tls_key=key.name) as served:
        c = await (await served.dial()).greeted()
        assert await c.say("MAIL FROM:<>", "RCPT TO:<a@acme.example>") == [250, 250]
        await c.send(b"BDAT 300000\r\n" + b"x" * 300_000)
        assert await c.code() == 250
        assert await c.say("STARTTLS") == [220]
        await upgraded(c, trust)
        assert await c.say("EHLO x") == [250]
        await sent(c, b"y" * 300_000 + b"\r\n")
        await settled(lambda: [writer.abandoned for writer in served.intake.writers] == [True, False])


async def test_implicit_tls(tmp_path: Path) -> None:
    cert, key, trust = certificate(tmp_path)
    async with serving(tmp_path, tls_cert=cert.name, tls_key=key.name, tls_listen=("127.0.0.1:0",)) as served:
        clear, protected = served.ports
        c = await (await served.dial(port=protected, tls=trust)).greeted()
        await sent(c)
        d = await (await served.dial(port=clear)).greeted()
        await sent(d)
        assert [m.envelope.origin.protocol for m in served.intake.messages] == ["ESMTPS", "ESMTP"]
        assert await c.say("QUIT") == [221]
        assert await c.is_closed()


async def test_tls_can_be_demanded_or_off(tmp_path: Path) -> None:
    cert, key, trust = certificate(tmp_path)
    async with serving(tmp_path, tls_cert=cert.name, tls_key=key.name, starttls="require") as served:
        c = await (await served.dial()).greeted()
        assert await c.say("MAIL FROM:<>", "STARTTLS") == [530, 220]
        await upgraded(c, trust)
        await c.say("EHLO x")
        await sent(c)
    async with serving(tmp_path, tls_cert=cert.name, tls_key=key.name, starttls="off") as served:
        c = await (await served.dial()).greeted()
        assert await c.say("STARTTLS") == [502]


async def test_a_handshake_that_fails_ends_that_connection_alone(tmp_path: Path) -> None:
    cert, key, trust = certificate(tmp_path)
    async with serving(tmp_path, tls_cert=cert.name, tls_key=key.name, tls_listen=("127.0.0.1:0",)) as served:
        clear, protected = served.ports
        c = await (await served.dial(port=clear)).greeted()
        assert await c.say("STARTTLS") == [220]
        await c.send(b"EHLO in clear\r\n" * 5)
        with contextlib.suppress(ConnectionError):
            await c.reader.read()
        d = await served.dial(port=protected)
        await d.send(b"EHLO in clear\r\n")
        with contextlib.suppress(ConnectionError):
            await d.reader.read()
        gone = await served.dial(port=protected)
        await gone.close()
        await settled(lambda: served.source.health().text == "0 connections")
        assert served.counts["client_tls_faults"] >= 2
        await sent(await (await served.dial(port=protected, tls=trust)).greeted())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_tls_is_refused(tmp_path: Path) -> None:
    cert, key, trust = certificate(tmp_path)
    trust.minimum_version = ssl.TLSVersion.TLSv1
    trust.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(tmp_path, tls_cert=cert.name, tls_key=key.name, tls_listen=("127.0.0.1:0",)) as served:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await served.dial(port=served.ports[1], tls=trust)


async def test_a_stop_reaches_protected_connections(tmp_path: Path) -> None:
    cert, key, trust = certificate(tmp_path)
    async with serving(tmp_path, tls_cert=cert.name, tls_key=key.name, tls_listen=("127.0.0.1:0",)) as served:
        c = await (await served.dial(port=served.ports[1], tls=trust)).greeted()
        stalled = await served.dial(port=served.ports[1])
        served.task.cancel()
        assert await c.code() == 421
        assert await c.is_closed()
        await asyncio.wait_for(served.stopped(), 5.5)
        await stalled.close()


async def test_a_wrong_key_is_named_at_the_start(tmp_path: Path) -> None:
    cert, key, _ = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other, _ = certificate(tmp_path / "other")
    for wrong in (other, tmp_path / "none.pem", tmp_path / "cert.pem"):
        config = SmtpConfig(listen=("127.0.0.1:0",), tls_cert=str(cert), tls_key=str(wrong))
        with pytest.raises(ValueError, match=r"tls_cert .*cert\.pem, tls_key .*they must be PEM files"):
            await SmtpSource("internet", config, context(tmp_path, Counter())).start()
    del key
