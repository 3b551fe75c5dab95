"""What the server's dialogue tells its owner, and what the owner tells it at the start."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, Literal

from connectors.smtp.commands import Mail, Rcpt
from connectors.smtp.data_reader import INLINE_LIMIT
from gateway.contract import Traits, quickly_made


@unique
class Idle(Enum):
    """Why there is no event."""

    NEED_DATA = "more octets are needed"
    WAIT = "the owner has not answered the last event"
    CLOSED = "the dialogue is over: send what is left and close"


NEED_DATA: Final = Idle.NEED_DATA
WAIT: Final = Idle.WAIT
CLOSED: Final = Idle.CLOSED


@dataclass(frozen=True, slots=True)
class Piece:
    """Octets of a content that is over the inline limit, in order."""

    octets: bytes


@quickly_made
@dataclass(frozen=True, slots=True)
class End:
    """The content is complete: `octets` is all of it, or where Pieces came before, the rest (perhaps none)."""

    octets: bytes
    traits: Traits


@dataclass(frozen=True, slots=True)
class Dropped:
    """The content of which Pieces came before is not wanted: refused, or given up by the client."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """The client may begin TLS once the output has been sent; what it sent after the command is forgotten."""


@dataclass(frozen=True, slots=True)
class Auth:
    """The client begins to log in; `initial` is its initial response, decoded, None where it gave none."""

    mechanism: str
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class AuthLine:
    """The client's answer to a challenge, decoded."""

    octets: bytes


Event = Mail | Rcpt | Piece | End | Dropped | StartTls | Auth | AuthLine | Idle


@dataclass(frozen=True, slots=True)
class WireSettings:
    """What all dialogues of one listener share. `starttls` is None where no certificate is at hand.

    `auth` are the SASL mechanisms offered under TLS, `auth_in_clear` those without; `needs_auth` has MAIL refused of
    who has not logged in.
    """

    hostname: str
    lmtp: bool = False
    max_message_bytes: int = 100 * 1024 * 1024
    max_recipients: int = 1000
    max_errors: int = 20
    inline_limit: int = INLINE_LIMIT
    starttls: Literal["offer", "require"] | None = None
    auth: tuple[str, ...] = ()
    auth_in_clear: tuple[str, ...] = ()
    needs_auth: bool = False
