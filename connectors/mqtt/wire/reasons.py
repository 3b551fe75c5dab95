"""Reason codes of MQTT 5.0 (§2.4) with their names, and the return codes of MQTT 3.1.1's CONNACK (§3.2.2.3)."""

from __future__ import annotations

from typing import Final

SUCCESS: Final = 0x00
GRANTED_QOS_2: Final = 0x02
DISCONNECT_WITH_WILL: Final = 0x04
NO_MATCHING_SUBSCRIBERS: Final = 0x10
NO_SUBSCRIPTION_EXISTED: Final = 0x11
CONTINUE_AUTHENTICATION: Final = 0x18
REAUTHENTICATE: Final = 0x19
UNSPECIFIED: Final = 0x80
MALFORMED: Final = 0x81
PROTOCOL_ERROR: Final = 0x82
IMPLEMENTATION_SPECIFIC: Final = 0x83
UNSUPPORTED_VERSION: Final = 0x84
CLIENT_ID_NOT_VALID: Final = 0x85
BAD_USER_OR_PASSWORD: Final = 0x86
NOT_AUTHORIZED: Final = 0x87
SERVER_UNAVAILABLE: Final = 0x88
SERVER_BUSY: Final = 0x89
BANNED: Final = 0x8A
SERVER_SHUTTING_DOWN: Final = 0x8B
BAD_AUTHENTICATION_METHOD: Final = 0x8C
KEEP_ALIVE_TIMEOUT: Final = 0x8D
SESSION_TAKEN_OVER: Final = 0x8E
TOPIC_FILTER_INVALID: Final = 0x8F
TOPIC_NAME_INVALID: Final = 0x90
PACKET_ID_IN_USE: Final = 0x91
PACKET_ID_NOT_FOUND: Final = 0x92
RECEIVE_MAXIMUM_EXCEEDED: Final = 0x93
TOPIC_ALIAS_INVALID: Final = 0x94
PACKET_TOO_LARGE: Final = 0x95
MESSAGE_RATE_TOO_HIGH: Final = 0x96
QUOTA_EXCEEDED: Final = 0x97
ADMINISTRATIVE_ACTION: Final = 0x98
PAYLOAD_FORMAT_INVALID: Final = 0x99
RETAIN_NOT_SUPPORTED: Final = 0x9A
QOS_NOT_SUPPORTED: Final = 0x9B
USE_ANOTHER_SERVER: Final = 0x9C
SERVER_MOVED: Final = 0x9D
NO_SHARED_SUBSCRIPTIONS: Final = 0x9E
CONNECTION_RATE_EXCEEDED: Final = 0x9F
MAXIMUM_CONNECT_TIME: Final = 0xA0
NO_SUBSCRIPTION_IDENTIFIERS: Final = 0xA1
NO_WILDCARD_SUBSCRIPTIONS: Final = 0xA2

FIRST_ERROR: Final = 0x80
"""Codes from here on say that it failed."""

_NAMES: Final = {
    SUCCESS: "success",
    NO_MATCHING_SUBSCRIBERS: "no matching subscribers",
    UNSPECIFIED: "unspecified error",
    MALFORMED: "malformed packet",
    PROTOCOL_ERROR: "protocol error",
    IMPLEMENTATION_SPECIFIC: "implementation specific error",
    UNSUPPORTED_VERSION: "unsupported protocol version",
    CLIENT_ID_NOT_VALID: "client identifier not valid",
    BAD_USER_OR_PASSWORD: "bad user name or password",
    NOT_AUTHORIZED: "not authorized",
    SERVER_UNAVAILABLE: "server unavailable",
    SERVER_BUSY: "server busy",
    BANNED: "banned",
    SERVER_SHUTTING_DOWN: "server shutting down",
    BAD_AUTHENTICATION_METHOD: "bad authentication method",
    KEEP_ALIVE_TIMEOUT: "keep alive timeout",
    SESSION_TAKEN_OVER: "session taken over",
    TOPIC_FILTER_INVALID: "topic filter invalid",
    TOPIC_NAME_INVALID: "topic name invalid",
    PACKET_ID_IN_USE: "packet identifier in use",
    PACKET_ID_NOT_FOUND: "packet identifier not found",
    RECEIVE_MAXIMUM_EXCEEDED: "receive maximum exceeded",
    TOPIC_ALIAS_INVALID: "topic alias invalid",
    PACKET_TOO_LARGE: "packet too large",
    MESSAGE_RATE_TOO_HIGH: "message rate too high",
    QUOTA_EXCEEDED: "quota exceeded",
    ADMINISTRATIVE_ACTION: "administrative action",
    PAYLOAD_FORMAT_INVALID: "payload format invalid",
    RETAIN_NOT_SUPPORTED: "retain not supported",
    QOS_NOT_SUPPORTED: "QoS not supported",
    USE_ANOTHER_SERVER: "use another server",
    SERVER_MOVED: "server moved",
    NO_SHARED_SUBSCRIPTIONS: "shared subscriptions not supported",
    CONNECTION_RATE_EXCEEDED: "connection rate exceeded",
    MAXIMUM_CONNECT_TIME: "maximum connect time",
    NO_SUBSCRIPTION_IDENTIFIERS: "subscription identifiers not supported",
    NO_WILDCARD_SUBSCRIPTIONS: "wildcard subscriptions not supported",
}

RETURN_CODES: Final = (
    SUCCESS, UNSUPPORTED_VERSION, CLIENT_ID_NOT_VALID, SERVER_UNAVAILABLE, BAD_USER_OR_PASSWORD, NOT_AUTHORIZED,
)  # fmt: skip
"""What the return codes 0 to 5 of MQTT 3.1.1 mean, as reason codes."""


def text(code: int, said: str = "") -> str:
    """Return a reason code in words, with what the peer `said` in its Reason String."""
    name = _NAMES.get(code, f"reason code 0x{code:02x}")
    return f"{name}: {said}" if said else name
