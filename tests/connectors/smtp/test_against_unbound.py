"""DANE by a real validating resolver: a signed zone, an unsigned one, and one that somebody has changed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connectors.smtp.destination import SmtpDestination
from connectors.smtp.dns_resolver import DnsResolver
from connectors.smtp.mx import LookupFault
from tests.connectors.smtp.client_kit import RecordingBatch, config, context, parcel
from tests.connectors.smtp.test_client_tls import TLS_OFFERS, Authority
from tests.peers.bad_smtp import BadSmtp
from tests.peers.postfix import Postfix
from tests.peers.process import free_port, wait_until
from tests.peers.unbound import Unbound


@dataclass
class World:
    unbound: Unbound
    ca: Authority
    tls: object
    port: int

    def resolver(self) -> DnsResolver:
        return DnsResolver(["127.0.0.1"], self.unbound.port, timeout_s=20.0, validated=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("unbound")
    ca = Authority(folder)
    tls = ca.server("nobody.test")
    made = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    digest = hashlib.sha256(made.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    port = free_port()
    lines = (
        "@ 300 IN MX 10 mx.{zone}.\nmx 300 IN A 127.0.0.1\n"
        f'_{port}._tcp.mx 300 IN TLSA 3 1 1 {{digest}}\n_smtp._tls 300 IN TXT "v=TLSRPTv1; rua=mailto:a@b.example"\n'
    )
    zones = {
        "good.test": lines.format(zone="good.test", digest=digest),
        "wrong.test": lines.format(zone="wrong.test", digest="00" * 32),
        "plain.test": lines.format(zone="plain.test", digest="00" * 32),
        "forged.test": lines.format(zone="forged.test", digest="ab" * 32),
    }
    forged = {"forged.test": ("ab" * 32, digest)}
    with Unbound(folder, zones, unsigned=("plain.test",), forged=forged) as unbound:
        yield World(unbound, ca, tls, port)


async def test_what_the_resolver_has_proved(world: World) -> None:
    resolver = world.resolver()
    assert await resolver.is_secure("good.test", "MX")
    assert await resolver.is_secure("mx.good.test", "A")
    records, proved = await resolver.tlsa(f"_{world.port}._tcp.mx.good.test")
    assert proved
    assert [(r.usage, r.selector, r.matching, len(r.data)) for r in records] == [(3, 1, 1, 32)]
    assert await resolver.txt("_smtp._tls.good.test") == [b"v=TLSRPTv1; rua=mailto:a@b.example"]
    assert not await resolver.is_secure("plain.test", "MX")
    _, proved = await resolver.tlsa(f"_{world.port}._tcp.mx.plain.test")
    assert not proved
    with pytest.raises(LookupFault):
        await resolver.tlsa(f"_{world.port}._tcp.mx.forged.test")


async def test_mail_by_what_it_has_proved(world: World) -> None:
    """The right record: delivered over TLS. A wrong one, or one that was changed on the way: kept."""
    settings = config(
        port=world.port, dane=True, nameservers=("127.0.0.1",), nameserver_port=world.unbound.port, prefer="ipv4"
    )
    destination = SmtpDestination("out", settings, context())
    await destination.start()
    found: dict[str, list[str]] = {}
    async with BadSmtp(offers=TLS_OFFERS, tls=world.tls, port=world.port) as peer:  # type: ignore[arg-type]
        try:
            for n, name in enumerate(("good.test", "wrong.test", "forged.test", "plain.test"), 1):
                batch = RecordingBatch([parcel(n, f"b@{name}")], next_hop=name)
                await destination.deliver(batch)
                found[name] = batch.codes()
        finally:
            await destination.stop()
        over = [bool(session.tls) for session in peer.sessions if session.messages]
    assert found == {
        "good.test": ["delivered 2.0.0"],
        "wrong.test": ["deferred 4.7.5 hop"],
        "forged.test": ["deferred 4.7.5 hop"],
        "plain.test": ["delivered 2.0.0"],
    }
    assert over == [True, True]


async def test_postfix_gets_it_by_the_certificate_in_dns(tmp_path: Path) -> None:
    """Its certificate is nobody's but its own; with another record it gets nothing, and no plain text either."""
    ca = Authority(tmp_path)
    ca.server("mail.peer.example")
    pem = tmp_path / "server.pem"
    made = x509.load_pem_x509_certificate(pem.read_bytes())
    digest = hashlib.sha256(made.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    tls = {"smtpd_tls_cert_file": str(pem), "smtpd_tls_key_file": str(pem), "smtpd_tls_security_level": "may"}
    tls |= {"smtpd_tls_received_header": "yes"}
    boxes = ("b@right.test", "b@wrong.test")
    postfix = Postfix(mailboxes=boxes, settings=tls)
    lines = "@ 300 IN MX 10 mx\nmx 300 IN A 127.0.0.1\n_{port}._tcp.mx 300 IN TLSA 3 1 1 {digest}\n"
    zones = {
        "right.test": lines.format(port=postfix.port, digest=digest),
        "wrong.test": lines.format(port=postfix.port, digest="00" * 32),
    }
    with Unbound(tmp_path, zones) as unbound, postfix:
        settings = config(
            port=postfix.port, dane=True, nameservers=("127.0.0.1",), nameserver_port=unbound.port, prefer="ipv4",
            connect_timeout_s=60.0, greeting_timeout_s=60.0, command_timeout_s=60.0, dot_timeout_s=60.0,
        )  # fmt: skip
        destination = SmtpDestination("out", settings, context())
        await destination.start()
        found = []
        try:
            for n, box in enumerate(boxes):
                batch = RecordingBatch([parcel(n, box)], next_hop=box.partition("@")[2])
                await destination.deliver(batch)
                found += batch.codes()
        finally:
            await destination.stop()
        assert found == ["delivered 2.0.0", "deferred 4.7.5 hop"]
        await asyncio.to_thread(wait_until, lambda: postfix.mailbox(boxes[0]), 60, "Postfix has it in the mailbox")
        assert b"using TLSv1" in postfix.mailbox(boxes[0])[0].read_bytes()
        assert not postfix.mailbox(boxes[1])
