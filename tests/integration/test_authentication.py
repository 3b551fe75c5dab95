"""Who a message is from, through the whole gateway: judged at the border, told to the next hop, refused, and held."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import dkim  # type: ignore[import-untyped]  # dkimpy ships no types
import pytest

from connectors.mqtt import authentication as mqtt
from connectors.smtp.authentication.keys import load_private_key, public_record
from gateway.mapping import MappingDatabase
from mappings import store
from mappings.identity import Held, Identity, Role
from mappings.network import registry
from tests.peers.gateway import Gateway
from tests.peers.raw import send
from tests.peers.sink import Sink
from tests.peers.zone_dns import ZoneDns

PEM = (Path(__file__).parents[1] / "data" / "dkimpy" / "test.private").read_bytes()
RECORD = public_record(load_private_key(PEM))
FORGED = b"Authentication-Results: gw.example; dmarc=pass header.from=strict.example\r\n"
TO = ["bob@acme.example"]


def message(domain: bytes) -> bytes:
    return (
        b"From: Ann <ann@%s>\r\nTo: bob@acme.example\r\nSubject: hello\r\nDate: Mon, 30 Nov 2026 04:00:00 +0000\r\n"
        b"Message-ID: <1@%s>\r\n\r\nHello\r\n"
    ) % (domain, domain)


@pytest.fixture
def border(tmp_path: Path, sink: Sink) -> Iterator[Gateway]:
    """A gateway to which this machine is a stranger, and whose own domain has one person."""
    records = {
        ("_dmarc.strict.example", "TXT"): ["v=DMARC1; p=reject"],
        ("_dmarc.soft.example", "TXT"): ["v=DMARC1; p=quarantine"],
        ("s1._domainkey.strict.example", "TXT"): [RECORD],
    }
    home = tmp_path / "border"
    home.mkdir()
    with ZoneDns(records) as zone:
        lines = (
            f'nameservers = ["127.0.0.1"]\nnameserver_port = {zone.port}\n'
            '[connector.internet.authentication]\ndmarc = "honour"\nquarantine = "hold"\n'
        )
        gateway = Gateway(home, sink.port, connector=lines, more='[mapping]\ndomains = ["acme.example"]\n')
        gateway.config.write_text(gateway.config.read_text().replace('["127.0.0.0/8"]', '["192.0.2.0/24"]'))
        bob = Identity("Bob", (Held(registry().parse("smtp:bob@acme.example"), Role.PRIMARY),), home="internet")
        database = MappingDatabase("sqlite:///spool", home)
        with database.connect() as connection:
            store.apply(connection, [store.Put(bob)], who="test", why="a person", at=time.time())
        database.close()
        with gateway:
            yield gateway


def test_a_stranger_is_judged(border: Gateway, sink: Sink) -> None:
    octets = message(b"strict.example")
    signed = dkim.sign(octets, b"s1", b"strict.example", PEM, canonicalize=(b"relaxed", b"simple")) + octets
    assert send(border.port, "ann@strict.example", TO, FORGED + signed).code == 250
    sink.wait_for(1)
    taken = sink.taken()[0].octets
    assert taken is not None
    assert FORGED not in taken
    (field,) = [line for line in taken.replace(b"\r\n\t", b" ").split(b"\r\n") if line.startswith(b"Authentication")]
    value = field.partition(b":")[2]
    assert b"dkim=pass header.d=strict.example" in value
    assert value.endswith(b"dmarc=pass header.from=strict.example")
    assert dkim.verify(taken, dnsfunc=lambda name, timeout=5: RECORD.encode())
    # What an MQTT connector with auth_servers = ["gw.example"] makes of it:
    ann = registry().parse("smtp:ann@strict.example")
    assert mqtt.proves(mqtt.results([value], frozenset({"gw.example"})), ann, ann)

    refused = send(border.port, "ann@strict.example", TO, octets)
    assert (refused.code, "5.7.26" in refused.text) == (554, True)

    assert send(border.port, "ann@soft.example", TO, message(b"soft.example")).code == 250
    held = border.cli("queue", "list")
    assert "DMARC of soft.example asks for quarantine" in json.dumps(held)
    border.cli("queue", "release", "--all")
    sink.wait_for(2)
    told = b" ".join((sink.taken()[1].octets or b"").split())
    assert b"dmarc=fail (p=quarantine dis=hold) header.from=soft.example" in told
