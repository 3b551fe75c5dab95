"""The filters of Debian behind the gateway: rspamd, ClamAV by clamav-milter, and OpenDKIM."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connectors.smtp.authentication.canonical import Bodies, BodyHash, Fields
from connectors.smtp.authentication.dkim import Verifier, sign, signed_names
from connectors.smtp.authentication.keys import KeyCache
from gateway.contract import Content
from tests.peers import raw
from tests.peers.milters import EICAR, GTUBE, Clamav, Opendkim, Rspamd
from tests.peers.postfix import Postfix
from tests.peers.sink import Sink

from .authentication.dns_double import Zone
from .server_kit import Served, serving
from .test_milter import sent

HEAD = (
    b"From: Ann <ann@other.example>\r\nTo: bob@acme.example\r\nSubject: %s\r\n"
    b"Date: Mon, 30 Nov 2026 04:00:00 +0000\r\nMessage-ID: <a@other.example>\r\n\r\n"
)
PLAIN = HEAD % b"hello" + b"how are you?\r\n"
BIG = HEAD % b"big" + (b"x" * 98 + b"\r\n") * 5000


def behind(*places: str, **table: object) -> AbstractAsyncContextManager[Served]:
    milters = [
        {"name": f"m{n}", "at": place, "client_names": False, "timeout_s": 60.0, **table}
        for n, place in enumerate(places)
    ]
    return serving(milters=milters)


@pytest.fixture(scope="module")
def rspamd() -> Iterator[Rspamd]:
    with Rspamd() as peer:
        yield peer


@pytest.fixture(scope="module")
def clamav() -> Iterator[Clamav]:
    with Clamav() as peer:
        yield peer


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def published(key: rsa.RSAPrivateKey) -> str:
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


@pytest.mark.parametrize("keeps", [0, 2])
async def test_rspamd(rspamd: Rspamd, keeps: int) -> None:
    async with behind(rspamd.place, max_idle_connections=keeps) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client, HEAD % b"hello" + GTUBE + b"\r\n") == 554
        assert await sent(client, HEAD % b"later pills" + b"x\r\n") == 451
        assert served.intake.messages == []
        assert await sent(client, HEAD % b"cheap pills" + b"x\r\n") == 250
        assert b"X-Spam-Status: Yes, score=7" in served.intake.bodies[0]
        assert await sent(client, PLAIN) == 250
        assert b"X-Spam-Status: No" in served.intake.bodies[1]
        assert await sent(client, BIG) == 250
        assert served.intake.bodies[2].endswith(BIG.partition(b"\r\n\r\n")[2])
        await client.say("QUIT")
        await client.close()
        again = await (await served.dial()).greeted()
        assert await sent(again, PLAIN) == 250
        assert served.counts["milter_connections"] == (1 if keeps else 2)
        await again.say("QUIT")
        await again.close()


async def test_clamav(clamav: Clamav) -> None:
    async with behind(clamav.place) as served:
        client = await (await served.dial()).greeted()
        await client.say("MAIL FROM:<ann@other.example>", "RCPT TO:<bob@acme.example>", "DATA")
        await client.send(HEAD % b"a file" + EICAR + b"\r\n.\r\n")
        assert await client.reply() == ["554 5.7.1 infected by Eicar-Test-Signature.UNOFFICIAL"]
        assert served.intake.messages == []
        assert await sent(client, PLAIN) == 250
        assert await sent(client, BIG) == 250
        for body in served.intake.bodies:
            assert b"X-Virus-Status: Clean\r\n" in body.partition(b"\r\n\r\n")[0]
        await client.say("QUIT")
        await client.close()


async def test_several_in_order(rspamd: Rspamd, clamav: Clamav) -> None:
    async with behind(clamav.place, rspamd.place) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client, HEAD % b"x" + EICAR + GTUBE + b"\r\n") == 554
        assert await sent(client, PLAIN) == 250
        head = served.intake.bodies[0].partition(b"\r\n\r\n")[0]
        assert b"X-Virus-Status: Clean" in head
        assert b"X-Spam-Status: No" in head
        await client.say("QUIT")
        await client.close()


async def test_what_opendkim_signs_we_verify(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    pem = tmp_path / "key.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    pem.chmod(0o600)
    with Opendkim(signs="other.example", key_file=pem) as peer:
        async with behind(peer.place) as served:
            client = await (await served.dial()).greeted()
            assert await sent(client, PLAIN) == 250
            assert await sent(client, BIG) == 250
            await client.say("QUIT")
            await client.close()
    zone = Zone({("s._domainkey.other.example", "TXT"): [published(key).encode()]})
    for octets in served.intake.bodies:
        assert octets.startswith(b"DKIM-Signature: ")
        head, _, body = octets.partition(b"\r\n\r\n")
        bodies = Bodies()
        verifier = Verifier(Fields(head + b"\r\n"), bodies)
        bodies.update(body)
        assert [each.verdict for each in await verifier.verify(zone, KeyCache(), 1_796_000_000)] == ["pass"]


@pytest.mark.parametrize("broken", [False, True])
async def test_what_we_sign_opendkim_verifies(key: rsa.RSAPrivateKey, broken: bool) -> None:
    head, _, body = PLAIN.partition(b"\r\n\r\n")
    fields = Fields(head + b"\r\n")
    hashed = BodyHash("relaxed", "sha256")
    hashed.update(body)
    names = signed_names(fields, (b"from", b"to", b"subject"))
    signature = sign(fields, hashed.digest(), key=key, domain="other.example", selector="s", names=names)
    with Opendkim(keys={"s._domainkey.other.example": published(key)}) as peer:
        async with behind(peer.place) as served:
            client = await (await served.dial()).greeted()
            assert await sent(client, signature + PLAIN.replace(b"how", b"who" if broken else b"how")) == 250
            await client.say("QUIT")
            await client.close()
    said = served.intake.bodies[0].partition(b"\r\n\r\n")[0]
    assert said.startswith(b"Authentication-Results: filter.example;")
    assert (b"dkim=fail" if broken else b"dkim=pass") in said


async def test_postfix_and_we_have_the_same_of_the_same_filters(rspamd: Rspamd, clamav: Clamav, tmp_path: Path) -> None:
    """What Postfix makes of three filters' answers, we make of them too."""
    messages = [
        PLAIN,
        HEAD % b"cheap pills" + b"x\r\n",
        HEAD % b"later pills" + b"x\r\n",
        HEAD % b"spam" + GTUBE + b"\r\n",
        HEAD % b"virus" + EICAR + b"\r\n",
        b"Authentication-Results: filter.example; dkim=pass (forged)\r\nX-Virus-Status: forged\r\n" + PLAIN,
        BIG,
    ]
    with Opendkim(keys={}) as opendkim, Sink(tmp_path, keep=True) as sink:
        places = (clamav.place, rspamd.place, opendkim.place)
        milters = " ".join(f"inet:{place}" for place in places)
        with Postfix(next_hop=sink.port, settings={"smtpd_milters": milters, "header_checks": ""}) as postfix:
            theirs = [
                (await asyncio.to_thread(raw.send, postfix.port, "ann@other.example", ["bob@acme.example"], each)).code
                for each in messages
            ]
            await asyncio.to_thread(sink.wait_for, sum(code == 250 for code in theirs))
            there = sorted(filters_fields(one.octets or b"") for one in sink.taken())
        async with behind(*places) as served:
            client = await (await served.dial()).greeted()
            ours = [await sent(client, each) for each in messages]
            await client.say("QUIT")
            await client.close()
    assert ours == [code if code // 100 != 5 else 554 for code in theirs]
    assert ours == [250, 250, 451, 554, 554, 250, 250]
    assert sorted(filters_fields(octets) for octets in served.intake.bodies) == there


def filters_fields(octets: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields of a message that the filters wrote, in their order, and those they found."""
    wanted = {b"x-spam-status", b"x-virus-status", b"authentication-results", b"subject"}
    return [(f.name, Content(octets).head[f.value_start : f.end]) for f in Content(octets).fields if f.name in wanted]
