"""What a session wants done: it does no input or output, and waits for nothing.

Whoever drives it takes these after each call: writes the octets, hands over what arrived, tells what is settled, and
has the records made durable in their order, each told back by `Session.recorded` or `Session.unrecorded`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from connectors.mqtt.wire.packets import V5
from connectors.mqtt.wire.values import Arrived, Refused, Subscription
from gateway.contract import quickly_made


class Step(Enum):
    """What is to be recorded; each is a call of `Journal`."""

    OPEN_INWARD = auto()
    CLOSE_INWARD = auto()
    SENT = auto()
    RELEASED = auto()
    DONE = auto()
    REFUSED = auto()
    FORGET = auto()


@quickly_made
@dataclass(frozen=True, slots=True)
class Record:
    step: Step
    packet_id: int = 0
    key: str = ""
    broker: str = ""


class Settled(NamedTuple):
    """The end of one publishing: a reason code below 0x80, or why not."""

    key: str
    end: int | Refused


@dataclass(frozen=True, slots=True)
class Subscribed:
    """What the broker said to one subscription."""

    subscription: Subscription
    code: int
    text: str


@dataclass(slots=True)
class Effects:
    """Collects them; `version` is that of the connection they are for."""

    version: int = V5
    octets: list[bytes] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    arrived: list[Arrived] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    subscribed: list[Subscribed] = field(default_factory=list)
    unsubscribed: list[str] = field(default_factory=list)

    @property
    def is_wanting(self) -> bool:
        """Whether there is anything but octets."""
        return bool(self.records or self.arrived or self.settled or self.subscribed or self.unsubscribed)

    def take_octets(self) -> bytes:
        """Return all octets to be written, in one piece, and forget them."""
        octets = b"".join(self.octets)
        self.octets.clear()
        return octets
