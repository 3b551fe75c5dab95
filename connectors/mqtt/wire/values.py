"""What a client takes from a broker and gives to it, and the durable record its exactness rests on.

Sources: OASIS MQTT 5.0 §3.3.2.3 (properties of PUBLISH), §3.8.3.1 (options of a subscription), §4.3 (qualities of
service), §4.4 (what is sent again).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from gateway.contract import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True)
class Properties:
    """The properties of a PUBLISH; all empty in MQTT 3.1.1. `payload_format` 1: the payload is UTF-8 text."""

    payload_format: int | None = None
    message_expiry_s: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    user: tuple[tuple[str, str], ...] = ()
    subscription_ids: tuple[int, ...] = ()


NO_PROPERTIES: Final = Properties()


@quickly_made
@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """One PUBLISH that came. Whoever is handed one at QoS 1 or 2 acknowledges it in the end, in whatever order.

    `key` tells hand-overs of one message: equal keys are the same message, also after a restart at QoS 2. It is
    opaque, and empty at QoS 0, where a message never comes twice. `oversized` is the real size of a payload of which
    only the beginning is here; else 0.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    properties: Properties
    packet_id: int
    key: str
    connection: int
    oversized: int = 0


@quickly_made
@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic filter that is asked for. `retain_handling`: 0 retained messages come at each subscribing, 1 only where
    the subscription is new, 2 never. `identifier` comes back in `Properties.subscription_ids`. MQTT 3.1.1 knows the
    filter and `qos` alone."""

    topic_filter: str
    qos: int = 1
    no_local: bool = False
    retain_as_published: bool = True
    retain_handling: int = 1
    identifier: int | None = None


class Refused(Exception):
    """The broker said no: `code` is its reason code, 0x80 or more, and `text` says it in words."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f"{text} (reason code 0x{code:02x})")


class Lost(Exception):
    """The connection ended before the broker's answer, or there is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)


class Phase(Enum):
    """How far an outward QoS 2 message is: PUBLISH may be out, PUBREL may be out, PUBCOMP has come."""

    SENT = "sent"
    RELEASED = "released"
    DONE = "done"


class Journal(Protocol):
    """What a session has to know after a kill, for one client identifier.

    Promises: calls take effect in their order, in memory at once and on disk together with their neighbours; each
    future is done once its step is durable, or holds the fault. A generation is never given twice, not after `forget`
    and not by a journal that was removed and made anew (its count starts at the clock): a used one would make a new
    message look like one that is known.
    """

    def inward(self) -> Mapping[int, int]:
        """Packet identifiers of QoS 2 messages that came and were not yet released, to their generation."""
        ...

    def open_inward(self, packet_id: int) -> tuple[int, asyncio.Future[None]]:
        """The generation of what comes under this identifier: a new one, or that of an identifier still open."""
        ...

    def close_inward(self, packet_id: int) -> asyncio.Future[None]:
        """The identifier may be used for another message from now on; no error where it is not open."""
        ...

    def outward(self) -> Mapping[str, tuple[int, Phase]]:
        """Delivery key -> packet identifier and phase. Rows in DONE stay for some minutes and then go by themselves."""
        ...

    def sent(self, key: str, packet_id: int) -> asyncio.Future[None]:
        """PUBLISH is about to be written. A key known already gets this identifier and starts again."""
        ...

    def released(self, key: str) -> asyncio.Future[None]:
        """PUBREC has come, and PUBREL is about to be written."""
        ...

    def done(self, key: str) -> asyncio.Future[None]:
        """PUBCOMP has come."""
        ...

    def refused(self, key: str) -> asyncio.Future[None]:
        """The broker refused it: the row goes, and the same key may be sent anew later."""
        ...

    def broker(self) -> str:
        """Of which broker's session the rows tell, as `forget` was told; empty where it never was."""
        ...

    def forget(self, broker: str = "") -> asyncio.Future[None]:
        """The broker, now this one, has no session of ours: inward rows go, outward rows go except those in DONE, and
        what `subscribed` says goes."""
        ...

    def subscribed(self) -> Sequence[str]:
        """What `subscribe` was last told; lines that only the client understands."""
        ...

    def subscribe(self, lines: Sequence[str]) -> asyncio.Future[None]:
        """Remember what is subscribed, in place of what was."""
        ...
