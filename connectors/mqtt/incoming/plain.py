"""The short way of the most frequent message: a text without properties. What is the same for a topic is made once.

Promises: the same mail as by the long way, octet for octet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Final

from connectors.mqtt.incoming.case import Case, Fields, text_of
from connectors.mqtt.incoming.values import Incoming
from connectors.mqtt.properties import now_utc
from connectors.mqtt.wire.values import Arrived
from gateway.contract import Address, Recipient, compose

REMEMBERED: Final = 4096
_MIME: Final = b"MIME-Version:"
_UNFOLDED: Final = 78 - len("Message-ID: ")


def is_plain(arrived: Arrived) -> bool:
    """Say whether a message has nothing but topic and payload."""
    if arrived.retain or arrived.oversized:
        return False
    given = arrived.properties
    return not (
        given.user
        or given.content_type
        or given.response_topic
        or given.correlation_data
        or given.payload_format
        or given.message_expiry_s is not None
    )


@dataclass(frozen=True, slots=True)
class _Same:
    """What is the same for each message of a topic: the envelope, the fields up to Date, and those behind."""

    front: bytes
    behind: bytes
    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    trusted: bool


class Plain:
    """Reads plain messages of one rule. `case` is how the long way begins."""

    def __init__(self, hostname: str, clock: Callable[[], float], case: Callable[[Arrived], Case]) -> None:
        self._hostname = hostname
        self._clock = clock
        self._case = case
        self._topics: dict[str, _Same] = {}
        self._date = (0, b"")

    def read(self, arrived: Arrived, message_id: str) -> Incoming:
        """Return the mail; `message_id` is one of ours. Raises: BadPayload."""
        same = self._topics.get(arrived.topic)
        if same is None:
            same = self._same(arrived)
        body: list[bytes] = compose([], text_of(arrived.payload), hostname=self._hostname)
        name = (
            b"Message-ID: " if len(message_id) <= _UNFOLDED else b"Message-ID:\r\n "
        )  # RFC 5322 §2.1.1, as compose does
        octets = b"".join((same.front, self._dated(), name, message_id.encode("ascii"), b"\r\n", body[0]))
        return Incoming(same.reverse_path, same.recipients, (octets,), message_id, same.trusted)

    def _same(self, arrived: Arrived) -> _Same:
        case = self._case(arrived)
        front = self._fields([*case.people(), ("Subject", case.subject())])
        behind = self._fields(case.others())
        sample = case.incoming(case.author().address, (), (), "")
        made = _Same(front, behind, sample.reverse_path, sample.recipients, sample.trusted)
        if len(self._topics) >= REMEMBERED:
            self._topics.clear()
        self._topics[arrived.topic] = made
        return made

    def _fields(self, fields: Fields) -> bytes:
        octets: bytes = compose(fields, "", hostname=self._hostname)[0]
        return octets[: octets.rindex(_MIME)]

    def _dated(self) -> bytes:
        now = self._clock()
        second, line = self._date
        if int(now) != second:
            line = f"Date: {format_datetime(now_utc(now))}\r\n".encode("ascii")
            self._date = (int(now), line)
        return line
