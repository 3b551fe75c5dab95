"""What a POP3 server's refusals mean, as faults of a store. Pure.

Source: RFC 2449 §8.1 (IN-USE, LOGIN-DELAY), RFC 3206 (SYS/TEMP, SYS/PERM, AUTH), RFC 3463 (statuses).
"""

from __future__ import annotations

import ssl
from typing import Final

from connectors.pop.wire import Reply, WireError
from gateway.contract import Scope, Status, StoreFault

_CODES: Final[dict[str, tuple[str, float | None]]] = {
    "IN-USE": ("4.2.1", 30.0),
    "LOGIN-DELAY": ("4.7.28", 60.0),
    "SYS/TEMP": ("4.3.0", 30.0),
    "SYS/PERM": ("5.3.0", None),
    "AUTH": ("4.7.8", None),
}


class Refused(Exception):
    """The server said -ERR."""

    def __init__(self, reply: Reply, *, login: bool = False) -> None:
        self.reply = reply
        self.login = login
        super().__init__(reply.text)


class Closed(Exception):
    """The connection is over."""


def fault_of(fault: Exception) -> StoreFault:
    """Return what a fault is to whoever called the store."""
    if isinstance(fault, Refused):
        # A wrong password may be mended while the others go on: it is no failure for good.
        code, after = _CODES.get(fault.reply.code, ("4.7.8" if fault.login else "4.2.0", None))
        return StoreFault(Status(code, fault.reply.text[:300]), Scope.RECIPIENT, after)
    if isinstance(fault, ssl.SSLError):
        return StoreFault(Status("4.7.5", "TLS with the server fails", str(fault)), Scope.HOP)
    if isinstance(fault, WireError):
        return StoreFault(Status("4.5.0", str(fault)), Scope.HOP)
    if isinstance(fault, Closed):
        return StoreFault(Status("4.4.2", "the connection was lost", str(fault)), Scope.RECIPIENT)
    if isinstance(fault, TimeoutError):
        return StoreFault(Status("4.4.2", "the server is silent"), Scope.HOP)
    return StoreFault(Status("4.4.1", "the server does not answer", str(fault)), Scope.HOP)
