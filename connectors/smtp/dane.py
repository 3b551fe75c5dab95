"""DANE for SMTP: which certificates a host's own signed DNS says it has, and whether the one it shows is among them.

Source: RFC 7672 (SMTP), RFC 6698 (TLSA), RFC 7671 §5 (what the usages mean in practice).
Assumes: a resolver that validates DNSSEC, reached by a path that nobody else writes to.
Limits: a DANE-TA record that holds only a public key, or a digest, needs the authority's certificate in the host's
chain, as RFC 7672 §3.1.2 asks of hosts.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, unique
from typing import Any, Final, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connectors.smtp.dns_resolver import Tlsa
from connectors.smtp.mx import Absent

TA: Final = 2
EE: Final = 3
_MAX_CHAIN: Final = 10
_MAX_RECORDS: Final = 40


class SecureResolver(Protocol):
    """What DANE asks of DNS; each raises Absent or LookupFault."""

    async def tlsa(self, name: str) -> tuple[Sequence[Tlsa], bool]: ...

    async def is_secure(self, name: str, kind: str) -> bool: ...

    async def canonical(self, name: str, kind: str) -> str: ...


class Mismatch(ssl.SSLError):
    """The host's certificate is none that its DNS names. `result` is a result type of RFC 8460 §4.3.2."""

    def __init__(self, text: str, result: str) -> None:
        self.result = result
        super().__init__(text)

    def __str__(self) -> str:
        return str(self.args[0])


@unique
class Level(Enum):
    """What DNS asks of a connection to a host."""

    NONE = "none"
    ENCRYPT = "encrypt"
    """There are records, and none that can be used: TLS without a check of who it is (RFC 7672 §2.2)."""
    MATCH = "match"


@dataclass(frozen=True, slots=True)
class Dane:
    """What a host's records ask for. `base` is the name that they were found under, which TLS is to name (SNI)."""

    level: Level
    records: tuple[Tlsa, ...] = ()
    base: str = ""
    names: tuple[str, ...] = ()
    """Names, one of which a certificate under a DANE-TA authority must have."""


NO_DANE: Final = Dane(Level.NONE)


async def domain_is_secure(resolver: SecureResolver, domain: str) -> bool:
    """Say whether the MX records of a domain, or that it has none, are proved: only then its hosts' are asked for.

    Raises: LookupFault where that cannot be had: no host is known to be without DANE then (RFC 7672 §2.1.2).
    """
    try:
        return await resolver.is_secure(domain, "MX")
    except Absent:
        # An implicit MX: its address is what has to be proved, and is asked about with the host.
        return True


async def look_up(resolver: SecureResolver, host: str, port: int, names: Sequence[str]) -> Dane:
    """Return what DANE asks of a host.

    `names` are what a certificate may name beside the host: the recipient's domain (RFC 7672 §3.2.2).
    Raises: LookupFault where the records may be there and cannot be had: the host must not be used then (§2.1.2).
    """
    secure, bases = False, [host]
    for kind in ("A", "AAAA"):
        try:
            if await resolver.is_secure(host, kind):
                secure = True
                alias = await resolver.canonical(host, kind)
                # §2.2.2: the name at the end of a chain of aliases first, where all of the chain is proved.
                bases = list(dict.fromkeys((alias, host)))
        except Absent:
            continue
    if not secure:
        # §2.1.2: servers without DNSSEC often fail to answer questions after records that they do not know.
        return NO_DANE
    for base in bases:
        try:
            records, proved = await resolver.tlsa(f"_{port}._tcp.{base}")
        except Absent:
            continue
        if not proved:
            continue
        usable = tuple(r for r in records[:_MAX_RECORDS] if _is_usable(r))
        if not usable:
            return Dane(Level.ENCRYPT, base=base)
        return Dane(Level.MATCH, usable, base, tuple(dict.fromkeys((base, host, *names))))
    return NO_DANE


def _is_usable(record: Tlsa) -> bool:
    # RFC 7672 §3.1.3: the usages that lean on public authorities mean nothing here.
    length = {0: None, 1: 32, 2: 64}.get(record.matching, -1)
    return record.usage in (TA, EE) and record.selector in (0, 1) and length in (None, len(record.data))


def verify(dane: Dane, chain: Sequence[bytes], now: datetime | None = None) -> None:
    """Check the certificates (DER, the host's own first) that a host showed.

    Raises: Mismatch.
    """
    if dane.level is not Level.MATCH:
        return
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in chain[:_MAX_CHAIN]]
    except ValueError as fault:
        raise Mismatch(f"a certificate that cannot be read: {fault}", "validation-failure") from fault
    if not certificates:
        raise Mismatch("the host showed no certificate", "validation-failure")
    leaf = certificates[0]
    # RFC 7671 §5.1: of the host's own certificate neither dates nor names count.
    if any(_matches(record, leaf) for record in dane.records if record.usage == EE):
        return
    authorities = [record for record in dane.records if record.usage == TA]
    if not authorities:
        raise Mismatch("the host's certificate is none that its DNS names", "validation-failure")
    _verify_path(certificates + _carried(authorities), authorities, now or datetime.now(UTC))
    if not any(_names(leaf, name) for name in dane.names):
        raise Mismatch(f"the certificate is not for {' or '.join(dane.names)}", "certificate-host-mismatch")


def _verify_path(certificates: list[x509.Certificate], records: Sequence[Tlsa], now: datetime) -> None:
    """Go up from the host's certificate to one that is named as an authority."""
    at = certificates[0]
    rest = certificates[1:]
    for depth in range(_MAX_CHAIN):
        if not at.not_valid_before_utc <= now <= at.not_valid_after_utc:
            raise Mismatch(f"a certificate out of date: {at.subject.rfc4514_string()}", "certificate-expired")
        if depth and any(_matches(record, at) for record in records):
            return
        above = next((each for each in rest if _may_sign(each, depth) and _issued(each, at)), None)
        if above is None:
            break
        rest = [each for each in rest if each is not above]
        at = above
    raise Mismatch("no authority that its DNS names has signed the host's certificate", "certificate-not-trusted")


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _may_sign(certificate: x509.Certificate, below: int) -> bool:
    """Say whether a certificate is an authority's with at most so many authorities below it (RFC 5280 §4.2.1.9)."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    if not constraints.ca or (constraints.path_length is not None and constraints.path_length < below):
        return False
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _carried(records: Iterable[Tlsa]) -> list[x509.Certificate]:
    """Return the authorities whose whole certificate stands in DNS."""
    found = []
    for record in records:
        if (record.selector, record.matching) == (0, 0):
            try:
                found.append(x509.load_der_x509_certificate(record.data))
            except ValueError:
                continue
    return found


def _matches(record: Tlsa, certificate: x509.Certificate) -> bool:
    if record.selector == 0:
        octets = certificate.public_bytes(Encoding.DER)
    else:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if record.matching:
        octets = (hashlib.sha256 if record.matching == 1 else hashlib.sha512)(octets).digest()
    return hmac.compare_digest(octets, record.data)


def _names(certificate: x509.Certificate, name: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        # RFC 7672 §3.2.2 takes over RFC 6125: a common name counts where there are no others.
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return any(covers(str(each.value), name) for each in common)
    return any(covers(each, name) for each in names.get_values_for_type(x509.DNSName))


def covers(pattern: str, name: str) -> bool:
    """Say whether a name of a certificate, or of a policy, is that of a host; `*.` stands for one label."""
    pattern, name = pattern.rstrip(".").lower(), name.rstrip(".").lower()
    if pattern.startswith("*."):
        first, _, rest = name.partition(".")
        return bool(first) and rest == pattern[2:]
    return pattern == name


def chain_of(tls: ssl.SSLObject | Any) -> list[bytes]:
    """Return the certificates (DER) that a peer showed, its own first."""
    whole = getattr(tls, "get_unverified_chain", None)  # since Python 3.13
    if whole is not None:
        return list(whole())
    inner = getattr(tls, "_sslobj", None)
    if inner is not None and hasattr(inner, "get_unverified_chain"):
        return [certificate.public_bytes(ENCODING_DER) for certificate in inner.get_unverified_chain() or ()]
    own = tls.getpeercert(binary_form=True)
    return [] if own is None else [own]


ENCODING_DER: Final = 2
"""`_ssl.ENCODING_DER`."""
