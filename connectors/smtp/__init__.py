"""Internet mail, in and out: SMTP and LMTP.

Promises: a peer is told 250 only once its message is in the spool, and a recipient counts as delivered only once the
peer has said so; a message ends where the standard says and nowhere else, in both directions; no peer can make the
connector hold more than a bounded amount of memory, or wait without an end.

Source: RFC 5321, 2033 (LMTP), 1870 (SIZE), 2034 and 3463 (enhanced codes), 2920 (PIPELINING), 3030 (CHUNKING),
3207 (STARTTLS), 3461 (DSN), 4954 (AUTH), 6152 (8BITMIME), 6376 (DKIM), 6531 (SMTPUTF8), 6710 (MT-PRIORITY), 7505
(null MX), 7672 (DANE), 8314 (implicit TLS), 8460 (TLS reports), 8461 (MTA-STS), 8617 (ARC).
Limits: BINARYMIME is not offered; a client that ends its lines with LF alone is refused unless its network is named.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.smtp.connector import Smtp

__all__ = ["Smtp"]


def __getattr__(name: str) -> Any:
    """Import the connector where it is asked for: `gatepost --help` loads this package for its commands alone."""
    if name != "Smtp":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from connectors.smtp.connector import Smtp

    return Smtp
