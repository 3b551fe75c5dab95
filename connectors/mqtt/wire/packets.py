"""The control packets of MQTT (5.0 §3), as values. Properties have their meaning where absent as default.

In MQTT 3.1.1 there are no properties, no AUTH, no DISCONNECT of a server, and reason codes are those that its return
codes stand for; PUBACK, PUBREC, PUBREL, PUBCOMP and UNSUBACK always say success.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from connectors.mqtt.wire.values import NO_PROPERTIES, Properties, Subscription
from gateway.contract import quickly_made

V5: Final = 5
V311: Final = 4
"""The protocol levels as they stand in CONNECT."""

Pairs: TypeAlias = tuple[tuple[str, str], ...]


class Kind(IntEnum):
    """§2.1.2. WILL is no packet: the properties of a CONNECT's will are told apart by it."""

    WILL = 0
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


@dataclass(frozen=True, slots=True)
class Will:
    """What the server publishes where the connection ends without a DISCONNECT (§3.1.2.5)."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    delay_s: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Connect:
    version: int
    client_id: str
    clean_start: bool = True
    keep_alive_s: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    session_expiry_s: int = 0
    receive_maximum: int = 65535
    maximum_packet: int | None = None
    topic_alias_maximum: int = 0
    request_response: bool = False
    request_problem: bool = True
    auth_method: str | None = None
    auth_data: bytes | None = None
    user: Pairs = ()


@dataclass(frozen=True, slots=True)
class Connack:
    code: int = 0
    session_present: bool = False
    session_expiry_s: int | None = None
    receive_maximum: int = 65535
    maximum_qos: int = 2
    retain_available: bool = True
    maximum_packet: int | None = None
    assigned_client_id: str | None = None
    topic_alias_maximum: int = 0
    reason: str = ""
    wildcards_available: bool = True
    subscription_ids_available: bool = True
    shared_available: bool = True
    server_keep_alive_s: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    auth_method: str | None = None
    auth_data: bytes | None = None
    user: Pairs = ()


@quickly_made
@dataclass(frozen=True, slots=True)
class Publish:
    """`topic` may be empty where `topic_alias` stands for it. `oversized`: see `Arrived`."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = NO_PROPERTIES
    topic_alias: int | None = None
    oversized: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What PUBACK, PUBREC, PUBREL and PUBCOMP have in common."""

    packet_id: int
    code: int = 0
    reason: str = ""
    user: Pairs = ()


class Puback(Reply):
    __slots__ = ()


class Pubrec(Reply):
    __slots__ = ()


class Pubrel(Reply):
    __slots__ = ()


class Pubcomp(Reply):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Subscribe:
    """`identifier` is that of all its subscriptions; read from octets, each has it as well."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    identifier: int | None = None
    user: Pairs = ()


@dataclass(frozen=True, slots=True)
class Suback:
    packet_id: int
    codes: tuple[int, ...]
    reason: str = ""
    user: Pairs = ()


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    packet_id: int
    filters: tuple[str, ...]
    user: Pairs = ()


@dataclass(frozen=True, slots=True)
class Unsuback:
    packet_id: int
    codes: tuple[int, ...] = ()
    reason: str = ""
    user: Pairs = ()


@dataclass(frozen=True, slots=True)
class Pingreq:
    pass


@dataclass(frozen=True, slots=True)
class Pingresp:
    pass


@dataclass(frozen=True, slots=True)
class Disconnect:
    code: int = 0
    session_expiry_s: int | None = None
    reason: str = ""
    server_reference: str | None = None
    user: Pairs = ()


@dataclass(frozen=True, slots=True)
class Auth:
    code: int = 0
    auth_method: str | None = None
    auth_data: bytes | None = None
    reason: str = ""
    user: Pairs = ()


Packet: TypeAlias = (
    Connect
    | Connack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)

KINDS: Final[dict[type[object], Kind]] = {
    each: Kind[each.__name__.upper()]
    for each in (
        Will, Connect, Connack, Publish, Puback, Pubrec, Pubrel, Pubcomp, Subscribe, Suback, Unsubscribe, Unsuback,
        Pingreq, Pingresp, Disconnect, Auth,
    )
}  # fmt: skip
