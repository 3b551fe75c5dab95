"""TLS of the receiving side: the context, and TLS as a layer without I/O between transport and dialogue.

The event loop's own layer is not used: it cannot begin on a connection just accepted without losing what the client
sends first, unless the connection is hidden from us until its handshake is over, so from every limit too. This one
begins at any octet, costs no task, and its time is measured like any other command's.
"""

from __future__ import annotations

import contextlib
import ssl
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
    def description(self) -> str:
        """Version and cipher, as `TLSv1.3 TLS_AES_256_GCM_SHA384`."""
        cipher = self._object.cipher()
        return f"{cipher[1]} {cipher[0]}" if cipher else "TLS"
