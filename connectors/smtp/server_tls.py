"""TLS of the receiving side."""

from __future__ import annotations

import ssl
from pathlib import Path


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
