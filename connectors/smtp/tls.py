"""TLS of the sending side: contexts built once from the configuration, and what each policy asks for."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gateway.client_tls import client_tls

Policy = Literal["opportunistic", "require", "verify", "none", "implicit"]


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """`context` is None for policy `none`."""

    policy: Policy
    context: ssl.SSLContext | None
    check: Callable[[Any], None] | None = None
    """Asked about the SSLObject after the handshake; raises ssl.SSLError where the host is not who it is to be."""
    server_name: str = ""
    """The name given in the handshake (SNI) where it is another than the host's."""

    @property
    def is_needed(self) -> bool:
        """Whether nothing may be sent without TLS."""
        return self.policy in ("require", "verify", "implicit")

    @property
    def from_the_start(self) -> bool:
        return self.policy == "implicit"


def build(policy: Policy, ca_file: Path | None) -> TlsOptions:
    """Read the authorities and return the options. Blocks on the disk: call it at start.

    Raises: ValueError that names the file and its fault.
    """
    if policy == "none":
        return TlsOptions(policy, None)
    if policy in ("opportunistic", "require"):
        return TlsOptions(policy, unverified())
    return TlsOptions(policy, client_tls(ca_file, Path()))


def unverified() -> ssl.SSLContext:
    """Return a context for encryption against listeners, without a promise of who is at the other end (RFC 7435)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
