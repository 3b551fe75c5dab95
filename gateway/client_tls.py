"""Whom a client of TLS trusts."""

from __future__ import annotations

import ssl
from pathlib import Path


def client_tls(ca_file: str | Path | None, base: Path) -> ssl.SSLContext:
    """Return a context that verifies the server by `ca_file`, relative to `base`, or by the system's authorities.

    Raises: ValueError that names the file, its fault, and the mend.
    """
    try:
        return ssl.create_default_context(cafile=str(base / ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as fault:
        raise ValueError(f"ca_file {ca_file}: {fault}; it must be a PEM file of certificates") from fault
