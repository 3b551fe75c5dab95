"""TLS of the sending side: a private authority, wrong certificates, refusals, and what each policy does then."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.smtp.destination import SmtpDestination
from tests.connectors.smtp.client_kit import FakeDns, RecordingBatch, config, context, deliver, parcel
from tests.peers.bad_smtp import OFFERS, BadSmtp

TLS_OFFERS = (*OFFERS, "STARTTLS")


@dataclass
class Authority:
    """A certificate authority of the test's own: `file` is what a client is told to trust."""

    folder: Path

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.file = self.folder / "ca.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        signs_only = [position in (5, 6) for position in range(9)]  # keyCertSign and cRLSign, of nine flags
        usage = x509.KeyUsage(*signs_only)
        made = (
            self._builder(self._name, self._key)
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        )
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    def server(self, *names: str) -> ssl.SSLContext:
        """Return a server's context with a certificate for these DNS names and IP addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        general: list[x509.GeneralName] = []
        for name in names:
            try:
                general.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                general.append(x509.DNSName(name))
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = (
            self._builder(x509.Name([]), key)
            .add_extension(x509.SubjectAlternativeName(general), critical=True)
            .add_extension(authority, critical=False)
        )
        chain = self.folder / "server.pem"
        chain.write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(chain)
        return server


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


GOOD, WRONG_NAME = "127.0.0.1", "other.test"

# (policy, the certificate's name, the client knows the authority) -> outcome, over TLS
POLICIES: list[tuple[str, str, bool, str, bool]] = [
    ("none", GOOD, True, "delivered 2.0.0", False),
    ("opportunistic", GOOD, True, "delivered 2.0.0", True),
    ("opportunistic", WRONG_NAME, False, "delivered 2.0.0", True),
    ("require", WRONG_NAME, False, "delivered 2.0.0", True),
    ("verify", GOOD, True, "delivered 2.0.0", True),
    ("verify", WRONG_NAME, True, "deferred 4.7.5 hop", False),
    ("verify", GOOD, False, "deferred 4.7.5 hop", False),
]


@pytest.mark.parametrize(("policy", "name", "known", "expected", "over_tls"), POLICIES)
async def test_starttls(ca: Authority, policy: str, name: str, known: bool, expected: str, over_tls: bool) -> None:
    batch = RecordingBatch([parcel(1), parcel(2)])
    options: dict[str, Any] = {"tls": policy} | ({"ca_file": str(ca.file)} if known else {})
    async with BadSmtp(offers=TLS_OFFERS, tls=ca.server(name)) as peer:
        await deliver(batch, config(peer.port, **options))
        taken = [session for session in peer.sessions if session.messages]
    assert batch.codes() == [expected] * 2
    assert [bool(session.tls) for session in taken] == ([over_tls] if expected.startswith("delivered") else [])
    for session in taken:
        # RFC 3207 §4.2: EHLO again, since nothing said in the clear counts.
        assert [line.split()[0] for line in session.commands].count("EHLO") == (2 if over_tls else 1)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [(GOOD, True, "delivered 2.0.0"), (WRONG_NAME, True, "deferred 4.7.5 hop"), (GOOD, False, "deferred 4.7.5 hop")],
)
async def test_implicit_tls_is_verified(ca: Authority, name: str, known: bool, expected: str) -> None:
    batch = RecordingBatch([parcel(1)])
    options: dict[str, Any] = {"tls": "implicit"} | ({"ca_file": str(ca.file)} if known else {})
    async with BadSmtp(tls=ca.server(name), implicit_tls=True) as peer:
        await deliver(batch, config(peer.port, **options))
    assert batch.codes() == [expected]


async def test_the_mx_hosts_name_is_verified(ca: Authority) -> None:
    batch = RecordingBatch([parcel(1)])
    async with BadSmtp(offers=TLS_OFFERS, tls=ca.server("mx.test")) as peer:
        resolver = FakeDns({"y.example": [(10, "mx.test")]}, {"mx.test": ["127.0.0.1"]})
        await deliver(batch, config(port=peer.port, tls="verify", ca_file=str(ca.file)), resolver=resolver)
        assert peer.sessions[0].tls
    assert batch.codes() == ["delivered 2.0.0"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("opportunistic", "delivered 2.0.0"), ("require", "deferred 4.7.4 hop"), ("verify", "deferred 4.7.4 hop")],
)
async def test_no_tls_offered(policy: str, expected: str) -> None:
    batch = RecordingBatch([parcel(1)])
    async with BadSmtp() as peer:
        await deliver(batch, config(peer.port, tls=policy))
        assert (len(peer.messages) == 1) is (policy == "opportunistic")
    assert batch.codes() == [expected]


@pytest.mark.parametrize(
    ("policy", "expected"), [("opportunistic", "delivered 2.0.0"), ("require", "deferred 4.7.0 hop")]
)
async def test_starttls_refused(policy: str, expected: str) -> None:
    batch = RecordingBatch([parcel(1)])
    async with BadSmtp({"STARTTLS": "454 4.7.0 not now"}, offers=TLS_OFFERS) as peer:
        await deliver(batch, config(peer.port, tls=policy))
    assert batch.codes() == [expected]


@pytest.mark.parametrize(
    ("policy", "expected"), [("opportunistic", "delivered 2.0.0"), ("require", "deferred 4.7.5 hop")]
)
async def test_a_broken_handshake(policy: str, expected: str) -> None:
    """A peer that offers STARTTLS and talks no TLS: in the clear over a fresh connection, where that is allowed."""
    batch = RecordingBatch([parcel(1)])
    async with BadSmtp({"STARTTLS": b"220 2.0.0 ready\r\n"}, offers=TLS_OFFERS) as peer:
        async with asyncio.timeout(10):
            await deliver(batch, config(peer.port, tls=policy, connect_timeout_s=1.0))
        clear = [session for session in peer.sessions if session.messages]
    assert batch.codes() == [expected]
    assert len(clear) == (policy == "opportunistic")


async def test_octets_in_the_clear_behind_the_220_are_not_believed(ca: Authority) -> None:
    """RFC 3207 §6: another could have put an answer to our EHLO there."""
    batch = RecordingBatch([parcel(1)])
    injected = b"220 2.0.0 ready\r\n250-evil.test\r\n250 AUTH PLAIN\r\n"
    async with BadSmtp({"STARTTLS": injected}, offers=TLS_OFFERS, tls=ca.server(GOOD)) as peer:
        await deliver(batch, config(peer.port, tls="require", ca_file=str(ca.file)))
        assert not peer.messages
    assert [code.split()[0] for code in batch.codes()] == ["deferred"]


async def test_auth_is_given_over_tls_alone(ca: Authority) -> None:
    batch = RecordingBatch([parcel(1)])
    settings: dict[str, Any] = {"tls": "verify", "ca_file": str(ca.file), "auth_user": "u", "auth_password": "p"}
    async with BadSmtp(offers=(*TLS_OFFERS, "AUTH PLAIN"), tls=ca.server(GOOD)) as peer:
        await deliver(batch, config(peer.port, **settings))
        verbs = [line.split()[0] for line in peer.sessions[0].commands]
    assert batch.codes() == ["delivered 2.0.0"]
    assert verbs[:5] == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"]


async def test_a_ca_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    destination = SmtpDestination("out", config(25, tls="verify", ca_file="ca.pem"), context(base=tmp_path))
    with pytest.raises(ValueError, match=r"ca\.pem.*PEM"):
        await destination.start()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"protocol_out": "lmtp"}, "needs a smart_host"),
        ({"auth_user": "u"}, "belong together"),
        ({"auth_user": "u", "auth_password": "p"}, "needs a smart_host"),
        ({"smart_host": "x:25", "auth_user": "u", "auth_password": "p", "tls": "none"}, "in the clear"),
        ({"smart_host": "x:y"}, "host:port"),
        ({"own_addresses": ("x",)}, "not appear to be"),
        ({"smarthost": "x"}, "Extra inputs"),
    ],
)
def test_options_that_contradict_one_another(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(**options)
