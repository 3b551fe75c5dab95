"""A private OpenLDAP server: configuration and data in a folder of its own, on free loopback ports, gone afterwards.

Its certificate is for `localhost`, by an authority made for it. Besides OpenLDAP's own schemas it has the attributes
of Active Directory that hold addresses; `active_directory` lets it also pass for a domain controller.
"""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import ldap3  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.peers.process import Process, answers, free_port, wait_until
from tests.scratch import SCRATCH

SUFFIX: Final = "dc=acme,dc=example"
ADMIN: Final = f"cn=admin,{SUFFIX}"
PASSWORD: Final = "secret-of-the-test"

_SCHEMAS: Final = ("core", "cosine", "inetorgperson", "misc")
_TEXT: Final = "EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15"
_NUMBER: Final = "EQUALITY integerMatch ORDERING integerOrderingMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE"
_OCTETS: Final = "EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 SINGLE-VALUE"
_ARC: Final = "1.3.6.1.4.1.99999"
_TYPES: Final = {
    "proxyAddresses": _TEXT,
    "legacyExchangeDN": _TEXT,
    "targetAddress": _TEXT,
    "mhsAddress": _TEXT,
    "oldMail": _TEXT,
    "supportedCapabilities": "SYNTAX 1.3.6.1.4.1.1466.115.121.1.38",
    "dsServiceName": _TEXT,
    "objectGUID": _OCTETS,
    "uSNChanged": _NUMBER,
    "highestCommittedUSN": _NUMBER,
}
CONTROLLER: Final = "CN=NTDS Settings,CN=DC1,CN=Servers,CN=Default,CN=Sites,CN=Configuration,DC=acme,DC=example"


class Slapd:
    """A server; `with` starts it. `sync` are settings of the overlay by which readers ask for changes with a cookie.

    Without any there is no such overlay. `committed` is the highest sequence number that a domain controller says it
    has, None where it is none.
    """

    def __init__(
        self, *, sync: str = "syncprov-sessionlog 1000", committed: int | None = None, settings: str = ""
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-slapd-", dir=SCRATCH))
        self.port = free_port()
        self.tls_port = free_port()
        self.ca_file = self.folder / "ca.pem"
        _certificates(self.folder)
        (self.folder / "data").mkdir()
        self._sync = sync
        self._settings = settings
        self._process: Process | None = None
        self.set_committed(committed)

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"ldaps://localhost:{self.tls_port}"

    def set_committed(self, committed: int | None) -> None:
        """Say what the server tells of itself when it starts next."""
        root = ""
        if committed is not None:
            root = textwrap.dedent(f"""\
                dn:
                supportedCapabilities: 1.2.840.113556.1.4.800
                dsServiceName: {CONTROLLER}
                highestCommittedUSN: {committed}
                """)
        (self.folder / "root.ldif").write_text(root)
        (self.folder / "slapd.conf").write_text(self._configuration(has_root=bool(root)))

    def start(self) -> Slapd:
        """Start it and wait until it answers."""
        if shutil.which("slapd", path=f"{_path()}:/usr/sbin") is None:
            raise RuntimeError("no OpenLDAP server is installed (Debian: apt-get install slapd)")
        self._process = Process(
            [
                shutil.which("slapd", path=f"{_path()}:/usr/sbin") or "slapd",
                "-h", f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port}",
                "-f", self.folder / "slapd.conf", "-d", "0",
            ],
            self.folder / "log",
        )  # fmt: skip
        process = self._process
        try:
            wait_until(lambda: answers(self.port) or not process.is_alive, 60, "slapd answers")
        except TimeoutError:
            self.stop()
            raise
        if not process.is_alive:
            raise RuntimeError(f"slapd does not start: {process.said()[-2000:]}")
        return self

    def stop(self) -> None:
        """Stop it; its data stays."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def __enter__(self) -> Slapd:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def connection(self) -> Any:
        """Return a connection of the administrator, who may do anything."""
        server = ldap3.Server("127.0.0.1", self.port, get_info=ldap3.NONE)
        return ldap3.Connection(server, ADMIN, PASSWORD, auto_bind=True, raise_exceptions=True, check_names=False)

    def add(self, dn: str, classes: Sequence[str], **values: object) -> None:
        with self.connection() as connection:
            connection.add(dn, list(classes), values)

    def modify(self, dn: str, **values: Sequence[object]) -> None:
        """Replace attributes' values; none removes the attribute."""
        changes: Mapping[str, object] = {name: [(ldap3.MODIFY_REPLACE, list(each))] for name, each in values.items()}
        with self.connection() as connection:
            connection.modify(dn, changes)

    def delete(self, dn: str) -> None:
        with self.connection() as connection:
            connection.delete(dn)

    def _configuration(self, *, has_root: bool) -> str:
        types = "\n".join(
            f"attributetype ( {_ARC}.1.{number} NAME '{name}' {syntax} )"
            for number, (name, syntax) in enumerate(_TYPES.items(), 1)
        )
        addressed = "proxyAddresses $ legacyExchangeDN $ targetAddress $ mhsAddress $ oldMail $ objectGUID $ uSNChanged"
        includes = "\n".join(f"include /etc/ldap/schema/{name}.schema" for name in _SCHEMAS)
        sync = f"overlay syncprov\n{self._sync}\n" if self._sync else ""
        return (
            textwrap.dedent(f"""\
            {{includes}}
            {{types}}
            objectclass ( {_ARC}.2.1 NAME 'addressed' AUXILIARY MAY ( {addressed} $ mail $ displayName $ member ) )
            objectclass ( {_ARC}.2.2 NAME 'group' STRUCTURAL MUST cn MAY ( description $ owner ) )
            pidfile {self.folder}/pid
            modulepath /usr/lib/ldap
            moduleload back_mdb
            {"moduleload syncprov" if self._sync else ""}
            {f"rootDSE {self.folder}/root.ldif" if has_root else ""}
            TLSCACertificateFile {self.ca_file}
            TLSCertificateFile {self.folder}/cert.pem
            TLSCertificateKeyFile {self.folder}/key.pem
            {{settings}}
            database mdb
            suffix "{SUFFIX}"
            rootdn "{ADMIN}"
            rootpw {PASSWORD}
            directory {self.folder}/data
            maxsize 268435456
            dbnosync
            index objectClass,entryUUID,entryCSN eq
            index mail pres
            """).format(includes=includes, types=types, settings=self._settings)
            + sync
        )


def _path() -> str:
    return "/usr/local/bin:/usr/bin:/bin:/sbin"


def _certificates(folder: Path) -> None:
    """Make an authority (ca.pem), and a certificate by it for localhost (cert.pem, key.pem)."""
    now = datetime.now(UTC)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of a test")])

    def made(
        subject: x509.Name, public: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(authority_key, hashes.SHA256())

    signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    names = [x509.DNSName("localhost")]
    known = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    for path, certificate in (
        ("ca.pem", made(authority, authority_key.public_key(), x509.BasicConstraints(True, None), signs, known)),
        (
            "cert.pem",
            made(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
                key.public_key(),
                x509.SubjectAlternativeName(names),
                by,
            ),
        ),
    ):
        (folder / path).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
