"""Opening: what all mails of one topic begin with, by one rule; made once, for topics say the same again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.utils import format_datetime
from typing import Final

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.document import ID
from connectors.mqtt.incoming.people import topic_address
from connectors.mqtt.properties import now_utc
from connectors.mqtt.topics import Filled
from gateway.contract import Address, Mailbox, Recipient, compose

Value = str | Sequence[Mailbox]
Fields = list[tuple[str, Value]]

_KEPT: Final = frozenset({"From", "To", "Subject", "X-MQTT-Topic"})
_IDS: Final = frozenset({"Message-ID", "In-Reply-To"})
_LINE: Final = 78
_MIME: Final = b"MIME-Version: 1.0\r\n"


class Opening:
    """A topic and a rule together. `sender` and `recipients` are the rule's, None and none where it names none."""

    __slots__ = (
        *("_author", "_fault", "_lines", "addresses", "people", "plain", "recipients", "sender", "subject", "topic"),
        "values",
    )

    def __init__(
        self, topic: str, values: Mapping[str, str], sender: Address | None, recipients: tuple[Address, ...],
        subject: Filled,
    ) -> None:  # fmt: skip
        self.topic = topic
        self.values = values
        self.sender = sender
        self.addresses = recipients
        self.recipients = tuple(Recipient(one) for one in recipients)
        self.people = [Mailbox("", one) for one in recipients]
        self.subject = subject.fill(values) or topic
        self.plain: tuple[bytes, bytes] | None = None
        """What `make_plain` has made."""
        self._fault: BadPayload | None = None
        self._author: list[Mailbox] = []
        self._lines: dict[str, tuple[Value, bytes]] = {}
        try:
            self._author = [Mailbox("", sender) if sender is not None else Mailbox(topic, topic_address(topic))]
        except BadPayload as bad:
            self._fault = bad

    @property
    def author(self) -> list[Mailbox]:
        """Return the rule's sender, or else the topic under its own name; one. Raises: BadPayload."""
        if self._fault is not None:
            raise self._fault.with_traceback(None)
        return self._author

    def head(self, fields: Fields, hostname: str) -> bytes:
        """Return the octets of fields, as `compose` makes them; those that a topic's mails share are made once.

        A value is known again by being the same object, so that two that compare equal are never mistaken.
        """
        made: list[bytes] = []
        others: Fields = []
        for name, value in fields:
            if not value:
                continue
            kept = self._lines.get(name)
            if kept is not None and kept[0] is value:
                octets = kept[1]
            elif name == "Date" and isinstance(value, Date):
                octets = value.line
            elif name in _IDS and isinstance(value, str) and ID.fullmatch(value):
                octets = f"{name}{between(value, name)}{value}\r\n".encode("ascii")
            elif name in _KEPT:
                octets = _composed([(name, value)], hostname)
                self._lines[name] = (value, octets)
            else:
                others.append((name, value))
                continue
            if others:
                made.append(_composed(others, hostname))
                others = []
            made.append(octets)
        if others:
            made.append(_composed(others, hostname))
        return b"".join(made)

    def make_plain(self, hostname: str) -> tuple[bytes, bytes]:
        """Return what stands before the Date of a mail of plain ASCII, and between its Message-ID and its text."""
        before = self.head([("From", self.author), ("To", self.people), ("Subject", self.subject)], hostname)
        [rest] = compose([("X-MQTT-Topic", self.topic)], "", hostname=hostname)
        self.plain = before, bytes(rest)
        return self.plain


def between(value: str, name: str = "Message-ID") -> str:
    """Return what stands between a field's name and its one word: folded where `compose` folds it (RFC 5322 §2.1.1)."""
    return ": " if len(name) + 2 + len(value) <= _LINE else ":\r\n "


def _composed(fields: Fields, hostname: str) -> bytes:
    [octets] = compose(fields, "", hostname=hostname)
    return bytes(octets).rpartition(_MIME)[0]


class Date(str):
    """A Date field's value, with the line that it makes."""

    __slots__ = ("line",)
    line: bytes


class Clock:
    """The Date of a moment; made once for all messages of a second."""

    __slots__ = ("_date", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._date = Date()

    def date(self, at: float) -> Date:
        second = int(at)
        if second != self._second:
            made = Date(format_datetime(now_utc(second)))
            made.line = f"Date: {made}\r\n".encode("ascii")
            self._date, self._second = made, second
        return self._date
