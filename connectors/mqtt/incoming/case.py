"""One message on its way to be a mail: what all kinds of payload are read with."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Final

from connectors.mqtt.bad import BadPayload, at_octet
from connectors.mqtt.incoming.people import topic_address
from connectors.mqtt.incoming.values import Incoming
from connectors.mqtt.json_text import not_utf8
from connectors.mqtt.properties import GivenEnvelope, Told, now_utc
from connectors.mqtt.rules import SubscribeRule
from connectors.mqtt.topics import Filled
from connectors.mqtt.wire.values import Arrived
from gateway.contract import Address, Mailbox, Recipient

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
Fields = list[tuple[str, str | Sequence[Mailbox]]]
Encoded = tuple[str, str, bytes]
"""A file: name, media type, lines of base64."""


@dataclass(frozen=True, slots=True)
class Case:
    """`own_id` is the identifier that the mail has to have, empty where it may have its own; `made_id` is one for a
    mail that has none. `thread` is the identifier of the mail that it belongs behind. `sender` and `recipients` are the
    rule's, None and none where it names none."""

    rule: SubscribeRule
    hostname: str
    at: float
    arrived: Arrived
    values: Mapping[str, str]
    told: Told
    envelope: GivenEnvelope
    sender: Address | None
    recipients: tuple[Address, ...]
    own_id: str
    made_id: str
    thread: str | None

    @property
    def date(self) -> str:
        """Return the Date field's value: what a property says, or now."""
        return self.told.date or format_datetime(now_utc(self.at))

    def author(self) -> Mailbox:
        """Return the rule's sender, or else the topic, under its own name. Raises: BadPayload."""
        if self.sender is not None:
            return Mailbox("", self.sender)
        return Mailbox(self.arrived.topic, topic_address(self.arrived.topic))

    def people(self) -> Fields:
        """Return From and To of a payload that names nobody. Raises: BadPayload."""
        return [("From", [self.author()]), ("To", [Mailbox("", one) for one in self.recipients])]

    def subject(self, said: str = "") -> str:
        """Return the subject: the payload's, a property's, the rule's, or the topic."""
        return said or self.told.subject or Filled(self.rule.subject).fill(self.values) or self.arrived.topic

    def others(self) -> Fields:
        """Return the fields that properties have made, behind all others."""
        return [*self.told.fields, *self.told.more]

    def identifiers(self, own: str, answers: str = "", references: str = "") -> tuple[str, Fields]:
        """Return the mail's identifier, and the fields of its thread; `own` and the others are the payload's."""
        said = own or self.told.message_id
        chosen = self.own_id or said or self.made_id
        answers, references = answers or self.told.in_reply_to, references or self.told.references
        if self.thread is not None:
            answers = answers or self.thread
            references = " ".join([*references.split(), self.thread])
        fields: Fields = [("Message-ID", chosen), ("In-Reply-To", answers), ("References", references)]
        if said and said != chosen:
            fields.append(("X-MQTT-Message-ID", said))
        return chosen, fields

    def incoming(
        self, sender: Address, named: Sequence[Address], content: Sequence[bytes], message_id: str
    ) -> Incoming:
        """Return the mail from `sender`, to those whom the rule names, or else the payload. Raises: BadPayload."""
        envelope = self.envelope
        recipients = self.recipients or ((envelope.recipient,) if envelope.recipient is not None else tuple(named))
        if not recipients:
            raise BadPayload(
                "payload.no-recipient", "neither the rule nor the payload names a recipient", "the whole payload",
                "name recipients in the rule, or in the payload",
            )  # fmt: skip
        path = sender if envelope.path is None else envelope.reverse_path
        expiry = self.arrived.properties.message_expiry_s
        return Incoming(
            path,
            tuple(Recipient(one, envelope.notify, envelope.orcpt) for one in dict.fromkeys(recipients)),
            tuple(content),
            message_id,
            bool(self.recipients) or self.rule.trusted,
            None if expiry is None else self.at + expiry,
            envelope.priority,
            envelope.ret,
            envelope.envid,
        )


def text_of(payload: bytes) -> str:
    """Return a payload as text. Raises: BadPayload."""
    try:
        text = payload.decode()
    except UnicodeDecodeError as e:
        raise not_utf8(payload, e.start) from None
    return without_nul(text, payload)


def without_nul(text: str, payload: bytes) -> str:
    """Return a text that holds no NUL. Raises: BadPayload."""
    if "\0" in text:
        mend = "leave it out, or publish the octets as a file of a template"
        place = at_octet(payload, max(0, payload.find(b"\0")))
        raise BadPayload("payload.nul", "NUL is no character of a text", place, mend, b"\0")
    return text


def one_line(text: str, place: str) -> str:
    """Return a value of one line. Raises: BadPayload where it has control characters, line ends among them."""
    text = text.strip()
    found = _CONTROL.search(text)
    if found is not None:
        what = f"a control character, U+{ord(found[0]):04X}, in what is one line"
        raise BadPayload("field.control", what, place, "leave it out", text[:200].encode("utf-8", "replace"))
    return text


def base64_lines(octets: bytes) -> bytes:
    """Return octets as lines of base64, each with its CRLF."""
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")
