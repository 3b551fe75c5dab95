"""What leaves a gateway for the world: signed, sealed, by a reverse-path of its own; and the bounce that comes back."""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dkim  # type: ignore[import-untyped]  # dkimpy ships no types
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connectors.smtp.signing_keys import KeyStore
from gateway.mapping import MappingDatabase
from gateway.message import Content
from mappings import store
from mappings.identity import Held, Identity, Role
from mappings.network import parse
from tests.peers import opendkim
from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.sink import Sink
from tests.peers.zone_dns import ZoneDns

LINES = """\
tls = "none"
nameservers = ["127.0.0.1"]
nameserver_port = {dns}
unsigned_from = "auto"
wrap_address = "forwarded@acme.example"
[connector.internet.authentication]
[connector.internet.dkim]
[connector.internet.arc]
domain = "acme.example"
[connector.internet.srs]
domain = "srs.acme.example"
secrets = ["file:srs.secret"]
"""
MAPPING = '[mapping]\ndomains = ["acme.example", "srs.acme.example"]\n'
MESSAGE = b"From: Ann Lee <%s>\r\nTo: bob@acme.example\r\nSubject: %s\r\nMessage-ID: <%s>\r\n\r\nhello\r\n"


@dataclass
class World:
    """A gateway of acme.example that bob's mail is forwarded by; `else.example` signs, and wants the rest rejected."""

    gateway: Gateway
    sink: Sink
    keys: KeyStore
    records: dict[str, str]

    def send(self, octets: bytes, sender: str, *to: str, stranger: bool = True) -> dict[str, tuple[int, bytes]]:
        """Send from a stranger's address, or from one of the site's; return who was refused."""
        source = ("127.0.0.2" if stranger else "127.0.0.1", 0)
        with smtplib.SMTP("127.0.0.1", self.gateway.port, "peer.example", timeout=60, source_address=source) as client:
            try:
                return client.sendmail(sender, to, octets)
            except smtplib.SMTPRecipientsRefused as refused:
                return refused.recipients

    def crossed(self, octets: bytes, sender: str, *to: str, stranger: bool = True) -> tuple[str, list[str], Content]:
        """Send, and return reverse-path, recipients and content as the next hop got them."""
        self.sink.reset()
        assert not self.send(octets, sender, *to, stranger=stranger)
        self.sink.wait_for(1)
        (taken,) = self.sink.taken()
        assert taken.octets is not None
        return taken.sender, taken.recipients, Content(taken.octets)

    def key(self, name: bytes, timeout: int = 5) -> bytes:
        return self.records.get(name.decode().rstrip("."), "").encode()


def signed_by_author(keys: KeyStore, octets: bytes) -> bytes:
    pem = keys.key("else.example", "a").private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return bytes(dkim.sign(octets, b"a", b"else.example", pem, canonicalize=(b"relaxed", b"relaxed"))) + octets


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("leaving")
    (folder / "srs.secret").write_text("once upon a time")
    for name in ("dkim", "theirs"):
        (folder / name).mkdir()
    ours, theirs = KeyStore(folder / "dkim"), KeyStore(folder / "theirs")
    now = time.time()
    ours.make("acme.example", "rsa", now - 60, now - 60, selector="r")
    ours.make("acme.example", "ed25519", now - 60, now - 60, selector="e")
    theirs.make("else.example", "rsa", now - 60, now - 60, selector="a")
    records = {
        f"{entry.selector}._domainkey.{domain}": keys.record(domain, entry.selector)
        for keys in (ours, theirs)
        for domain in keys.domains()
        for entry in keys.entries(domain)
    }
    zone = {(name, "TXT"): [record] for name, record in records.items()}
    zone |= {("_dmarc.else.example", "TXT"): ["v=DMARC1; p=reject"]}
    with ZoneDns(zone) as dns, Sink(folder, keep=True) as sink:
        gateway = Gateway(folder, sink.port, connector=LINES.format(dns=dns.port), more=MAPPING)
        gateway.config.write_text(gateway.config.read_text().replace('["127.0.0.0/8"]', '["127.0.0.1"]'))
        bob = Identity(
            "Bob",
            (Held(parse("smtp:bob@acme.example"), Role.PRIMARY),),
            home="internet",
            attributes=(("mail.forward", "carl@far.example"),),
        )
        database = MappingDatabase("sqlite:///spool", folder)
        try:
            with database.connect() as connection:
                store.apply(connection, [store.Put(bob)], who="test", why="test", at=now)
        finally:
            database.close()
        with gateway:
            yield World(gateway, sink, theirs, records)


def test_what_our_people_send_is_signed(world: World, tmp_path: Path) -> None:
    octets = MESSAGE % (b"ann@acme.example", b"out", b"1@acme.example")
    path, to, content = world.crossed(octets, "ann@acme.example", "carl@far.example", stranger=False)
    assert (path, to) == ("ann@acme.example", ["carl@far.example"])
    assert len(list(content.get_all(b"dkim-signature"))) == 2
    assert content.get(b"arc-seal") is None
    whole = content.octets()
    for idx in (0, 1):
        assert dkim.DKIM(whole).verify(idx, world.key)
    changed = whole.replace(b"hello", b"HELLO")
    found = opendkim.verdicts(tmp_path, {"whole": whole, "changed": changed}, world.records)
    assert found == {"whole": True, "changed": False}


def test_a_stranger_is_not_signed_for(world: World) -> None:
    octets = MESSAGE % (b"ann@acme.example", b"forged", b"2@evil.example")
    _, _, content = world.crossed(octets, "eve@evil.example", "bob@acme.example")
    assert content.get(b"dkim-signature") is None


def test_a_signature_of_the_author_keeps_from_as_it_is(world: World) -> None:
    octets = signed_by_author(world.keys, MESSAGE % (b"ann@else.example", b"signed", b"3@else.example"))
    path, to, content = world.crossed(octets, "ann@else.example", "bob@acme.example")
    assert to == ["carl@far.example"]
    assert re.fullmatch(r"SRS0=\S{8}=\S\S=else\.example=ann@srs\.acme\.example", path)
    assert content.get(b"from") == b"Ann Lee <ann@else.example>"
    whole = content.octets()
    assert dkim.verify(whole, dnsfunc=world.key)
    assert b"dkim=pass" in (content.get(b"arc-authentication-results") or b"")
    cv, _, _ = dkim.arc_verify(whole, dnsfunc=world.key)
    assert cv == b"pass"


def test_what_dmarc_would_reject_is_wrapped(world: World) -> None:
    """And a reply still finds the author; the trace tells what was done, and why."""
    octets = MESSAGE % (b"ann@else.example", b"unsigned", b"4@else.example")
    _, _, content = world.crossed(octets, "ann@else.example", "bob@acme.example")
    assert content.get(b"from") == b'"Ann Lee via acme.example" <forwarded@acme.example>'
    assert content.get(b"reply-to") == b"Ann Lee <ann@else.example>"
    assert dkim.verify(content.octets(), dnsfunc=world.key)

    def told() -> bool:
        shown = str(world.gateway.cli("trace", "4@else.example"))
        return (
            "ann@else.example as forwarded@acme.example" in shown and "reverse-path ann@else.example as SRS0=" in shown
        )

    wait_until(told, 60, "the trace tells what was done")


def test_a_bounce_finds_the_sender_and_nobody_else(world: World) -> None:
    octets = MESSAGE % (b"ann@else.example", b"bounced", b"5@else.example")
    path, _, _ = world.crossed(octets, "ann@else.example", "bob@acme.example")
    bounce = b"From: mailer-daemon@far.example\r\nSubject: returned\r\nMessage-ID: <6@far.example>\r\n\r\nno\r\n"
    sender, to, content = world.crossed(bounce, "", path)
    assert (sender, to) == ("", ["ann@else.example"])
    assert content.get(b"dkim-signature") is None
    forged = path.replace("=ann@", "=eve@")
    for wrong in (forged, "SRS0=x=y=z=eve@srs.acme.example", "eve@far.example", "nobody@srs.acme.example"):
        refused = world.send(bounce, "", wrong)
        assert refused[wrong][0] // 100 == 5
    # Beside a right one, a stranger is no better off.
    refused = world.send(bounce, "", path, "eve@far.example")
    assert list(refused) == ["eve@far.example"]


def test_keys_are_listed_by_the_connectors_name(world: World) -> None:
    rows = world.gateway.cli("dkim", "list", "--connector", "internet")
    assert [(row["domain"], row["selector"], row["state"]) for row in rows] == [
        ("acme.example", "r", "signing"),
        ("acme.example", "e", "signing"),
    ]
    assert "PRIVATE" not in str(rows) + world.gateway.said()
    assert "once upon a time" not in world.gateway.said()
