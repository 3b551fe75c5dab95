"""A certificate authority and a certificate for 127.0.0.1, made for one run of the peer."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.peers.certificates import authority

_DAY: Final = timedelta(days=1)


def server_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context and the file with the authority that clients have to trust."""
    signer, key = authority(), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")])
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _DAY)
        .not_valid_after(datetime.now(UTC) + _DAY)
        .add_extension(names, critical=False)
        .add_extension(by, critical=False)
        .sign(signer.key, hashes.SHA256())
    )
    own, ca = folder / "server.pem", folder / "ca.pem"
    own.write_bytes(_private(key) + made.public_bytes(serialization.Encoding.PEM))
    ca.write_bytes(signer.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    return context, ca


def application_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate that signs itself, as one makes for an application, and its key; return both files."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gatepost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _DAY)
        .not_valid_after(datetime.now(UTC) + _DAY)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "application.pem", folder / "application.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(_private(key))
    return certificate, secret


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
