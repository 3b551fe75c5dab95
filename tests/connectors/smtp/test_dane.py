"""DANE: what TLSA records ask for, and which certificates they allow."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from connectors.smtp.dane import Dane, Level, Mismatch, covers, domain_is_secure, look_up, verify
from connectors.smtp.dns_resolver import Tlsa
from connectors.smtp.mx import LookupFault
from tests.connectors.smtp.secure_dns import SecureDns

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def make(
    subject: str, by: Made | None = None, *, ca: bool = False, names: Sequence[str] = (), days: int = 30,
    depth: int | None = None,
) -> Made:  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by.certificate.subject if by else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 60 * DAY)
        .not_valid_after(NOW + days * DAY)
    )
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(True, depth), critical=True)
    if names:
        san = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(san, critical=False)
    return Made(builder.sign(by.key if by else key, hashes.SHA256()), key)


ROOT = make("root", ca=True)
MIDDLE = make("middle", ROOT, ca=True, depth=0)
LEAF = make("leaf", MIDDLE, names=["mx.y.example"])
STAR = make("star", MIDDLE, names=["*.y.example"])
OLD = make("old", MIDDLE, names=["mx.y.example"], days=-1)
COMMON = make("mx.y.example", MIDDLE)
OTHER = make("other", ROOT, names=["elsewhere.example"])
SELF = make("self", names=["nobody.example"], days=-1)
UNDER_LEAF = make("under", LEAF, names=["mx.y.example"])
DEEP = make("deep", MIDDLE, ca=True)
TOO_DEEP = make("too deep", DEEP, names=["mx.y.example"])


def sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def sha512(octets: bytes) -> bytes:
    return hashlib.sha512(octets).digest()


# (case, records, chain, result type or "" where it is right)
CASES: list[tuple[str, list[Tlsa], list[Made], str]] = [
    ("3 1 1", [Tlsa(3, 1, 1, sha256(LEAF.spki))], [LEAF, MIDDLE], ""),
    ("3 1 2", [Tlsa(3, 1, 2, sha512(LEAF.spki))], [LEAF], ""),
    ("3 0 1", [Tlsa(3, 0, 1, sha256(LEAF.der))], [LEAF], ""),
    ("3 0 0", [Tlsa(3, 0, 0, LEAF.der)], [LEAF], ""),
    ("3 1 0", [Tlsa(3, 1, 0, LEAF.spki)], [LEAF], ""),
    ("3 1 1, neither date nor name count", [Tlsa(3, 1, 1, sha256(SELF.spki))], [SELF], ""),
    ("3 1 1, another key", [Tlsa(3, 1, 1, sha256(OTHER.spki))], [LEAF, MIDDLE], "validation-failure"),
    ("3 1 1 of the authority", [Tlsa(3, 1, 1, sha256(MIDDLE.spki))], [LEAF, MIDDLE], "validation-failure"),
    ("one of two", [Tlsa(3, 1, 1, sha256(OTHER.spki)), Tlsa(3, 1, 1, sha256(LEAF.spki))], [LEAF], ""),
    ("2 1 1", [Tlsa(2, 1, 1, sha256(MIDDLE.spki))], [LEAF, MIDDLE], ""),
    ("2 0 1, root in the chain", [Tlsa(2, 0, 1, sha256(ROOT.der))], [LEAF, MIDDLE, ROOT], ""),
    ("2 0 1, chain in disorder", [Tlsa(2, 0, 1, sha256(ROOT.der))], [LEAF, ROOT, MIDDLE], ""),
    ("2 0 1, root not shown", [Tlsa(2, 0, 1, sha256(ROOT.der))], [LEAF, MIDDLE], "certificate-not-trusted"),
    ("2 0 0, root in DNS", [Tlsa(2, 0, 0, ROOT.der)], [LEAF, MIDDLE], ""),
    ("2 0 0, not a certificate", [Tlsa(2, 0, 0, b"nothing")], [LEAF, MIDDLE], "certificate-not-trusted"),
    ("2 1 1, star", [Tlsa(2, 1, 1, sha256(MIDDLE.spki))], [STAR, MIDDLE], ""),
    ("2 1 1, common name", [Tlsa(2, 1, 1, sha256(MIDDLE.spki))], [COMMON, MIDDLE], ""),
    ("2 1 1, out of date", [Tlsa(2, 1, 1, sha256(MIDDLE.spki))], [OLD, MIDDLE], "certificate-expired"),
    ("2 1 1, another's name", [Tlsa(2, 1, 1, sha256(ROOT.spki))], [OTHER, ROOT], "certificate-host-mismatch"),
    ("2 1 1, no authority", [Tlsa(2, 1, 1, sha256(LEAF.spki))], [UNDER_LEAF, LEAF], "certificate-not-trusted"),
    ("2 1 1, path length", [Tlsa(2, 0, 1, sha256(ROOT.der))], [TOO_DEEP, DEEP, MIDDLE, ROOT],
     "certificate-not-trusted"),
    ("2 1 1, merely shown beside", [Tlsa(2, 1, 1, sha256(ROOT.spki))], [SELF, ROOT], "certificate-expired"),
    ("nothing shown", [Tlsa(3, 1, 1, sha256(LEAF.spki))], [], "validation-failure"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "records", "chain", "result"), CASES, ids=[row[0] for row in CASES])
def test_certificates(case: str, records: list[Tlsa], chain: list[Made], result: str) -> None:
    asked = Dane(Level.MATCH, tuple(records), "mx.y.example", ("mx.y.example", "y.example"))
    if not result:
        verify(asked, [each.der for each in chain], NOW)
        return
    with pytest.raises(Mismatch) as refused:
        verify(asked, [each.der for each in chain], NOW)
    assert refused.value.result == result


def test_octets_that_are_no_certificate() -> None:
    asked = Dane(Level.MATCH, (Tlsa(3, 1, 1, bytes(32)),), "mx.y.example", ())
    with pytest.raises(Mismatch, match="cannot be read"):
        verify(asked, [b"\x30\x03\x02\x01\x01"])


@pytest.mark.parametrize(
    ("pattern", "name", "yes"),
    [
        ("mx.example", "MX.example", True),
        ("*.example", "mx.example", True),
        ("*.example", "a.mx.example", False),
        ("*.example", "example", False),
        ("m*.example", "mx.example", False),
        ("*", "mx", False),
    ],
)
def test_names(pattern: str, name: str, yes: bool) -> None:
    assert covers(pattern, name) is yes


GOOD = Tlsa(3, 1, 1, bytes(32))
AT = "_25._tcp.mx.test"
ALIAS = "_25._tcp.real.test"

# (case, TLSA records, secure names, aliases, expected level and base)
LOOKUPS: list[tuple[str, dict[str, Sequence[Tlsa] | None], list[str], dict[str, str], tuple[Level, str]]] = [
    ("there", {AT: [GOOD]}, ["mx.test"], {}, (Level.MATCH, "mx.test")),
    ("none", {}, ["mx.test"], {}, (Level.NONE, "")),
    ("host not signed", {AT: [GOOD]}, [], {}, (Level.NONE, "")),
    ("host not signed, and no answer for TLSA", {AT: None}, [], {}, (Level.NONE, "")),
    ("usages of public authorities alone", {AT: [Tlsa(0, 1, 1, bytes(32)), Tlsa(1, 1, 1, bytes(32))]},
     ["mx.test"], {}, (Level.ENCRYPT, "mx.test")),
    ("a digest of the wrong length", {AT: [Tlsa(3, 1, 1, bytes(31))]}, ["mx.test"], {}, (Level.ENCRYPT, "mx.test")),
    ("unknown matching", {AT: [Tlsa(3, 1, 9, b"x")]}, ["mx.test"], {}, (Level.ENCRYPT, "mx.test")),
    ("an alias has its own", {ALIAS: [GOOD], AT: []}, ["mx.test", "real.test"], {"mx.test": "real.test"},
     (Level.MATCH, "real.test")),
    ("an alias without any", {AT: [GOOD]}, ["mx.test", "real.test"], {"mx.test": "real.test"},
     (Level.MATCH, "mx.test")),
    ("an alias that is not signed", {ALIAS: [GOOD]}, ["mx.test"], {"mx.test": "real.test"}, (Level.NONE, "")),
]  # fmt: skip


@pytest.mark.parametrize(("case", "tlsa", "secure", "aliases", "expected"), LOOKUPS, ids=[row[0] for row in LOOKUPS])
async def test_look_up(
    case: str,
    tlsa: dict[str, Sequence[Tlsa] | None],
    secure: list[str],
    aliases: dict[str, str],
    expected: tuple[Level, str],
) -> None:
    resolver = SecureDns(hosts={"mx.test": ["192.0.2.1"]}, tlsa=tlsa, secure=secure, aliases=aliases)
    found = await look_up(resolver, "mx.test", 25, ["y.example"])
    assert (found.level, found.base) == expected
    if found.level is Level.MATCH:
        assert set(found.names) == {expected[1], "mx.test", "y.example"}


async def test_records_that_cannot_be_had_are_not_none() -> None:
    resolver = SecureDns(hosts={"mx.test": ["192.0.2.1"]}, tlsa={AT: None}, secure=["mx.test"])
    with pytest.raises(LookupFault):
        await look_up(resolver, "mx.test", 25, [])


async def test_an_unproved_mx_leads_to_nothing() -> None:
    resolver = SecureDns(
        {"y.example": [(1, "mx.test")], "z.example": None}, {"implicit.test": []}, secure=["y.example"]
    )
    assert await domain_is_secure(resolver, "y.example")
    assert await domain_is_secure(resolver, "implicit.test")
    with pytest.raises(LookupFault):
        await domain_is_secure(resolver, "z.example")
    resolver.secure.clear()
    assert not await domain_is_secure(resolver, "y.example")
