"""TLS of the receiving side: the context, and TLS as a layer without I/O between transport and dialogue.

The event loop's own layer is not used: it cannot begin on a connection just accepted without losing what the client
sends first, unless the connection is hidden from us until its handshake is over, so from every limit too. This one
begins at any octet, costs no task, and its time is measured like any other command's.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_READ: Final = 256 * 1024


def server_context(cert: Path, key: Path | None) -> ssl.SSLContext:
    """Read certificate and key into a context. Blocks on the disk: call it at start.

    Raises: ValueError that names the file and its fault.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996, RFC 8997
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as fault:
        where = f"tls_cert {cert}" + (f", tls_key {key}" if key else "")
        raise ValueError(f"{where}: {fault}; they must be PEM files of a certificate and of its key") from fault
    return context


def end_point(cert: Path) -> Mapping[str, bytes]:
    """Return what a channel is bound by on account of our certificate: `tls-server-end-point`, where it has one.

    Blocks on the disk. Source: RFC 5929 §4.1.
    """
    from cryptography import x509  # only where clients log in
    from cryptography.hazmat.primitives import hashes

    made = x509.load_pem_x509_certificate(cert.read_bytes())
    try:
        digest = made.signature_hash_algorithm
    except ValueError:
        digest = None
    if digest is None:  # as of Ed25519, for which nothing is defined
        return {}
    if isinstance(digest, hashes.MD5 | hashes.SHA1):
        digest = hashes.SHA256()
    return {"tls-server-end-point": made.fingerprint(digest)}


class TlsLayer:
    """One connection's TLS: octets from the peer in, what they stand for out, and back.

    After each call `output` has what must be sent to the peer.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "is_ready")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.is_ready = False
        """The handshake is over."""

    def receive(self, octets: bytes) -> bytes:
        """Take octets from the peer and return what they stand for, often nothing.

        Raises: ssl.SSLError where this is no TLS or not ours; `output` may still have an alert for the peer.
        """
        self._incoming.write(octets)
        clear = bytearray()
        try:
            if not self.is_ready:
                self._object.do_handshake()
                self.is_ready = True
            while piece := self._object.read(_READ):
                clear += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass  # more is to come; or the peer has said that nothing more will
        return bytes(clear)

    def send(self, octets: bytes) -> None:
        """Protect octets for the peer. Assumes: the handshake is over."""
        view = memoryview(octets)
        while view:
            view = view[self._object.write(view) :]

    def close(self) -> None:
        """Say that nothing more will be sent (RFC 8446 §6.1); the peer's answer is not waited for."""
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()

    def output(self) -> bytes:
        return self._outgoing.read()

    @property
    def bindings(self) -> Mapping[str, bytes]:
        """What this very channel is bound by: `tls-unique` up to TLS 1.2 (RFC 5929 §3); later nothing that Python
        gives."""
        unique = self._object.get_channel_binding("tls-unique") if self._object.version() == "TLSv1.2" else None
        return {} if unique is None else {"tls-unique": unique}

    @property
    def description(self) -> str:
        """Version and cipher, as `TLSv1.3 TLS_AES_256_GCM_SHA384`."""
        cipher = self._object.cipher()
        return f"{cipher[1]} {cipher[0]}" if cipher else "TLS"
