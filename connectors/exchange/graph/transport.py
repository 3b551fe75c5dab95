"""HTTP as this connector speaks it: TLS by the operator's authorities, nothing from the environment, short logs.

httpx would take proxies, `SSL_CERT_FILE` and `.netrc` from the environment; who runs the gateway decides by its
configuration alone. Each client has a TLS context of its own, so that two connectors can trust different authorities.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Final

import httpx

from connectors.exchange.graph.config import GraphConfig
from gateway.client_tls import client_tls

_TALKATIVE: Final = ("httpx", "httpcore", "msal")
"""httpx writes every URL at INFO, httpcore every header at DEBUG, the token among them."""


def tls_context(config: GraphConfig, base: Path) -> ssl.SSLContext:
    """Return the TLS context. Blocks on the disk.

    Raises: ValueError that names the file and its fault.
    """
    context = client_tls(config.ca_file, base)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    return context


def timeouts(config: GraphConfig) -> httpx.Timeout:
    """Return the bounds of one request; the pool's is met only where a slot was given without a connection to it."""
    return httpx.Timeout(config.timeout_s, connect=config.connect_timeout_s, pool=config.timeout_s)


def open_client(
    config: GraphConfig, tls: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """Return a client with as many connections as there may be requests."""
    quieten()
    limits = httpx.Limits(
        max_connections=config.max_connections, max_keepalive_connections=config.max_connections, keepalive_expiry=60.0
    )
    return httpx.AsyncClient(
        verify=tls,
        trust_env=False,
        follow_redirects=False,
        timeout=timeouts(config),
        limits=limits,
        transport=transport,
        headers={"User-Agent": "Gatepost", "Accept-Encoding": "identity"},
    )


def open_blocking_client(
    config: GraphConfig, tls: ssl.SSLContext, transport: httpx.BaseTransport | None = None
) -> httpx.Client:
    """Return a client for msal, which is called in a thread."""
    quieten()
    return httpx.Client(
        verify=tls, trust_env=False, follow_redirects=False, timeout=timeouts(config), transport=transport
    )


def quieten() -> None:
    """Let the libraries' loggers tell nothing below a warning, whatever the process's own level is."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
