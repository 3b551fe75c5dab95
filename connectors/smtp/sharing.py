"""What the sessions of one source share."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connectors.smtp.abreast import Abreast
from connectors.smtp.check_chain import CheckSet
from connectors.smtp.clients import Clients
from connectors.smtp.server_wire import ServerWire
from gateway.contract import Context, Intake

if TYPE_CHECKING:
    from connectors.smtp.login.desk import LoginDesk
    from connectors.smtp.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What the sessions of one source share."""

    name: str
    intake: Intake
    context: Context
    clients: Clients
    sessions: set[Session]
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    tls: ssl.SSLContext | None
    client_timeout_s: float
    receive_timeout_s: float
    greet_delay_s: float
    is_trusted: Callable[[str], bool]
    new_wire: Callable[[str], ServerWire]
    checks: CheckSet | None
    """What sessions ask before they say yes; where there is something, they are CheckedSessions."""
    find_name: Callable[[str], Coroutine[Any, Any, str]]
    """The name of an address, forward-confirmed, for the checks that ask for it."""
    abreast: Abreast
    """Where checks judge contents that came together."""
    login: LoginDesk | None = None
    """Where clients log in; where there is one, sessions are LoginSessions."""
    bindings: Mapping[str, bytes] = field(default_factory=dict)
    """What channels are bound by on account of the certificate; see `server_tls.end_point`."""
