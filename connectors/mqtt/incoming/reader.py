"""Reader: one rule, and what it makes of the messages of its topics."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.document import ID
from connectors.mqtt.incoming import json_mail, rfc822, text
from connectors.mqtt.incoming.case import Case
from connectors.mqtt.incoming.opening import Clock, Opening
from connectors.mqtt.incoming.people import Addresses
from connectors.mqtt.incoming.templated import Templates
from connectors.mqtt.incoming.values import Glance, Incoming
from connectors.mqtt.json_text import pointed, read_json
from connectors.mqtt.properties import NO_ENVELOPE, check, check_characters, read_envelope, says_nothing, told
from connectors.mqtt.rules import SubscribeRule
from connectors.mqtt.topics import UNFIT, Filled, Pattern
from connectors.mqtt.wire.values import Arrived

MAX_LINE: Final = 200
"""Characters of a message that stand in a digest."""
MAX_VALUE: Final = 1000
"""Characters by which values are told apart; longer ones have a digest behind them."""
MAX_OPENINGS: Final = 4096
"""Topics whose openings are kept, each some 2 KiB."""


class Reader:
    """Makes mails of the messages of one rule.

    `hostname` is the gateway's own name; `clock` gives seconds since 1970. Raises: TopicError, TemplateMistake.
    """

    def __init__(self, rule: SubscribeRule, hostname: str, clock: Callable[[], float]) -> None:
        self.rule = rule
        self._hostname = hostname
        self._clock = clock
        self._pattern = Pattern(rule.topic)
        self._recipients = Addresses(tuple(rule.recipients))
        self._sender = Addresses((rule.sender,) if rule.sender else ())
        self._subject = Filled(rule.subject)
        self._openings: dict[str, Opening] = {}
        self._dates = Clock()
        kinds: dict[str, Callable[[Case], Incoming]] = {
            "rfc822": rfc822.read, "json": json_mail.read, "text": text.read,
        }  # fmt: skip
        # An own name that can stand in an identifier leaves nothing to look at in it.
        self._is_plain = rule.payload == "text" and ID.fullmatch(f"<{0:032}.mqtt@{hostname}>") is not None
        self._read = kinds[rule.payload] if rule.template is None else Templates(rule.template).read

    def values(self, topic: str) -> Mapping[str, str] | None:
        """Return what the named levels are in a topic, None where the rule is not for it."""
        return self._pattern.values(topic)

    def message_id(self, arrived: Arrived) -> str:
        """Return an identifier for the mail of a message, without brackets: the same for the same hand-over.

        A message that comes at QoS 0 gets a new one at each call.
        """
        # Half the time of what OpenSSL has, and nobody is to be kept from guessing it.
        token = blake2b(arrived.key.encode(), digest_size=16).hexdigest() if arrived.key else secrets.token_hex(16)
        return f"{token}.mqtt@{self._hostname}"

    def read(self, arrived: Arrived, *, message_id: str = "", thread: str | None = None) -> Incoming:
        """Return the mail that a message becomes.

        `message_id` is the identifier that it has to have; none: its own, or that of `message_id()`. It stands behind
        the mail whose identifier `thread` is. Both may be in brackets or not. A whole message (rfc822) keeps its own,
        whatever is given. Raises: BadPayload.
        """
        if arrived.oversized:
            why = f"{arrived.oversized} octets; the limit is {self.rule.max_payload_bytes}"
            mend = "publish less, or raise max_payload_bytes"
            raise BadPayload("payload.too-large", why, "the whole payload", mend)
        opening = self._openings.get(arrived.topic) or self._open(arrived.topic)
        at = self._clock()
        if self._is_plain and opening.recipients and not message_id and thread is None and says_nothing(arrived):
            date, own = self._dates.date(at), f"<{self.message_id(arrived)}>"
            plain = text.read_plain(opening, arrived, self._hostname, date.line, own)
            if plain is not None:
                return plain
        check(arrived)
        user = arrived.properties.user
        case = Case(
            self.rule,
            self._hostname,
            at,
            self._dates.date(at),
            arrived,
            opening,
            told(arrived, envelope=self.rule.envelope),
            read_envelope(user) if self.rule.envelope and user else NO_ENVELOPE,
            _bracketed(message_id),
            "" if message_id else _bracketed(self.message_id(arrived)),
            _bracketed(thread or "") or None,
        )
        return self._read(case)

    def _open(self, topic: str) -> Opening:
        check_characters("the topic", topic)
        values = self._pattern.values(topic) or {}
        sender = self._sender.of(values)[0] if self._sender else None
        made = Opening(topic, values, sender, self._recipients.of(values), self._subject)
        if len(self._openings) >= MAX_OPENINGS:
            self._openings.clear()
        self._openings[topic] = made
        return made

    def glance(self, arrived: Arrived) -> Glance:
        """Return what a message says at first sight, at a small part of the cost of a mail.

        Raises: BadPayload where the rule's value is in JSON, and the payload is none.
        """
        shown = arrived.payload[: 4 * MAX_LINE].decode("utf-8", "replace")
        line = " ".join(shown.split())
        if not line.isprintable():
            line = " ".join(UNFIT.sub(" ", line).split())
        if len(line) > MAX_LINE:
            line = line[: MAX_LINE - 1] + "…"
        calm = self.rule.calm
        if calm is not None and calm.value:
            return Glance(_short(_pointed(arrived.payload, calm.value)), line)
        return Glance(_short(arrived.payload.decode("utf-8", "backslashreplace").strip()), line)


def _bracketed(identifier: str) -> str:
    return f"<{identifier.strip('<>')}>" if identifier else ""


def _pointed(payload: bytes, pointer: str) -> str:
    """Return a value of a payload as text; empty where there is none."""
    try:
        value: Any = pointed(read_json(payload), pointer)
    except LookupError:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _short(value: str) -> str:
    if len(value) <= MAX_VALUE:
        return value
    return value[:MAX_VALUE] + "…" + hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:16]
