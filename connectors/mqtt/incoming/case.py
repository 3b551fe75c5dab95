"""One message on its way to be a mail: what all kinds of payload are read with."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from connectors.mqtt.bad import BadPayload, at_octet
from connectors.mqtt.incoming.opening import Fields, Opening
from connectors.mqtt.incoming.values import Incoming
from connectors.mqtt.json_text import not_utf8
from connectors.mqtt.properties import NO_ENVELOPE, GivenEnvelope, Told
from connectors.mqtt.rules import SubscribeRule
from connectors.mqtt.wire.values import Arrived
from gateway.contract import Address, Recipient, compose

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
Encoded = tuple[str, str, bytes]
"""A file: name, media type, lines of base64."""


@dataclass(slots=True)
class Case:
    """`own_id` is the identifier that the mail has to have, empty where it may have its own; `made_id` is one for a
    mail that has none. `thread` is the identifier of the mail that it belongs behind. `now` is the Date of this moment,
    `at`."""

    rule: SubscribeRule
    hostname: str
    at: float
    now: str
    arrived: Arrived
    opening: Opening
    told: Told
    envelope: GivenEnvelope
    own_id: str
    made_id: str
    thread: str | None

    @property
    def date(self) -> str:
        """Return the Date field's value: what a property says, or now."""
        return self.told.date or self.now

    def people(self) -> Fields:
        """Return From and To of a payload that names nobody. Raises: BadPayload."""
        return [("From", self.opening.author), ("To", self.opening.people)]

    def subject(self, said: str = "") -> str:
        """Return the subject: the payload's, a property's, the rule's, or the topic."""
        return said or self.told.subject or self.opening.subject

    def others(self) -> Fields:
        """Return the fields that properties have made, behind all others."""
        return [*self.told.fields, ("X-MQTT-Topic", self.opening.topic), *self.told.more]

    def content(
        self, fields: Fields, text: str, files: Sequence[Encoded] = (), *,
        subtype: Literal["plain", "html"] = "plain", html: str | None = None,
        pictures: Sequence[tuple[str, str, bytes, str]] = (),
    ) -> list[bytes]:  # fmt: skip
        """Return the mail of fields, a text and files."""
        made: list[bytes] = compose(
            [], text, files, hostname=self.hostname, subtype=subtype, html=html, pictures=pictures
        )
        made[0] = self.opening.head(fields, self.hostname) + made[0]
        return made

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
        self,
        sender: Address,
        named: Sequence[Address],
        content: Sequence[bytes],
        message_id: str,
        *,
        names_author: bool = False,
    ) -> Incoming:
        """Return the mail from `sender`, to those whom the rule names, or else the payload. Raises: BadPayload.

        Where the payload `names_author`, that is the publisher's word alone: nothing may be signed for it.
        """
        envelope = self.envelope
        recipients = self.opening.recipients
        if envelope is not NO_ENVELOPE or not recipients:
            recipients = self._recipients(named)
        if not recipients:
            raise BadPayload(
                "payload.no-recipient", "neither the rule nor the payload names a recipient", "the whole payload",
                "name recipients in the rule, or in the payload",
            )  # fmt: skip
        path = sender if envelope.path is None else envelope.reverse_path
        has_own = bool(self.opening.recipients)
        is_trusted = self.rule.trusted or (has_own and not names_author)
        expiry = self.arrived.properties.message_expiry_s
        return Incoming(
            path,
            recipients,
            tuple(content),
            message_id,
            is_trusted,
            None if expiry is None else self.at + expiry,
            envelope.priority,
            envelope.ret,
            envelope.envid,
            returning=has_own and not is_trusted,
        )

    def _recipients(self, named: Sequence[Address]) -> tuple[Recipient, ...]:
        envelope = self.envelope
        given = (envelope.recipient,) if envelope.recipient is not None else named
        addresses = dict.fromkeys(self.opening.addresses or given)
        return tuple(Recipient(one, envelope.notify, envelope.orcpt) for one in addresses)


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
