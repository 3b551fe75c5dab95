"""A DKIM signature verifies after the message has crossed, where no signed header needed rewriting."""

from __future__ import annotations

import base64
from pathlib import Path

import dkim  # type: ignore[import-untyped]  # dkimpy ships no types
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.peers.gateway import Gateway
from tests.peers.raw import send
from tests.peers.sink import Sink

DATA = Path(__file__).parents[1] / "data" / "dkimpy"
HEAD = (
    b"From: Ann Lee <ann@source.example>\r\nTo: Bob <bob@target.example>,\r\n\tCarl <carl@elsewhere.example>\r\n"
    b"Subject:  two  spaces and =?utf-8?q?caf=C3=A9?= \r\nDate: Fri, 11 Jul 2025 21:00:37 -0700\r\n"
    b"Message-ID: <signed@source.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\n"
)
BODIES = {
    "plain": b"hello\r\n",
    "8-bit and trailing blanks": "caf\u00e9  \r\n\t \r\n\r\n\r\n".encode(),
    "dots": b".\r\n..\r\n.x\r\n",
    "empty": b"",
    "long line": b"x" * 998 + b"\r\n",
}


def verifies(octets: bytes, key: bytes) -> bool:
    return bool(dkim.verify(octets, dnsfunc=lambda name, timeout=5: key))


@pytest.fixture(scope="module")
def key() -> tuple[bytes, bytes]:
    """A private key in PEM, and the TXT record of its public half."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem, b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)


@pytest.mark.parametrize("how", [(b"simple", b"simple"), (b"relaxed", b"relaxed")], ids=["simple", "relaxed"])
def test_a_fresh_signature_survives(
    how: tuple[bytes, bytes], key: tuple[bytes, bytes], gateway: Gateway, sink: Sink
) -> None:
    for body in BODIES.values():
        message = HEAD + body
        signed = dkim.sign(message, b"s1", b"source.example", key[0], canonicalize=how) + message
        assert verifies(signed, key[1]), "before the way"
        assert send(gateway.port, "ann@source.example", ["bob@target.example"], signed).code == 250
    sink.wait_for(len(BODIES))
    for taken in sink.taken():
        assert taken.octets is not None
        assert taken.octets.startswith(b"Received: ")
        assert verifies(taken.octets, key[1]), taken.octets[-300:]


def test_a_signature_of_others_survives(gateway: Gateway, sink: Sink) -> None:
    """A published test message with its published key (tests/data/dkimpy/SOURCE.txt)."""
    signed = (DATA / "rfc6376.signed.rsa.msg").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    public = (DATA / "test.txt").read_bytes()
    assert verifies(signed, public), "before the way"
    assert send(gateway.port, "joe@football.example.com", ["suzie@shopping.example.net"], signed).code == 250
    sink.wait_for(1)
    octets = sink.taken()[0].octets
    assert octets is not None
    assert verifies(octets, public)
