"""How a mail fares through a topic: adapted, published, read by a rule, and compared value by value; and how a message
fares that becomes a mail. What is compared, and what a note of its loss reads like, is what the formats of the file
drop are compared by."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from connectors.mqtt.connector import NETWORKS
from connectors.mqtt.destination import _NO_PROPERTIES as NO_PROPERTIES_NOTE
from connectors.mqtt.incoming import Incoming, Reader
from connectors.mqtt.outgoing import capabilities, publications
from connectors.mqtt.rules import PublishRule, SubscribeRule
from connectors.mqtt.wire.values import NO_PROPERTIES, Arrived, Outgoing, Properties
from gateway.adapt import Adapter
from gateway.contract import Content, Fate, Item, Memo, Parcel, memo
from tests.connectors.filedrop.fidelity import ARRIVED, HOSTNAME, TABLE, Carried, Cell, Feature, Letter, Seen, internet

_FILE: Final = {
    "topic": "mail/{user}/attachments/{n}",
    "payload": "template",
    "recipients": ["mqtt:mail/{user}"],
    "template": {"text": "", "attachments": [{"name": "{{ properties.user.name|default('file') }}"}]},
}


@dataclass(frozen=True, eq=False)
class Kind:
    """A payload as it is shown: published by a rule with these options, and read by one of the same kind."""

    title: str
    payload: str
    options: Mapping[str, Any] = field(default_factory=dict)
    mime: bool = True
    has_properties: bool = True

    @property
    def out(self) -> PublishRule:
        return PublishRule.model_validate({"topic": "mail/{user}", "payload": self.payload, **self.options})

    @property
    def back(self) -> SubscribeRule:
        """The topic is the recipient, as it was on the way out; but an envelope that goes along says more."""
        names = [] if self.options.get("envelope") and self.payload != "text" else ["mqtt:mail/{user}"]
        given = {"topic": "mail/{user}", "payload": self.payload, "recipients": names}
        return SubscribeRule.model_validate({**given, "envelope": bool(self.options.get("envelope"))})


_TOPICS: Final = {"attachments": "topics"}
KINDS: Final = (
    Kind("rfc822", "rfc822"),
    Kind("rfc822, envelope", "rfc822", {"envelope": True}),
    Kind("json", "json"),
    Kind("json, envelope", "json", {"envelope": True}),
    Kind("text", "text", mime=False),
    Kind("text, files under topics", "text", _TOPICS, mime=False),
    Kind("rfc822, 3.1.1", "rfc822", has_properties=False),
    Kind("json, 3.1.1", "json", has_properties=False),
    Kind("text, 3.1.1", "text", mime=False, has_properties=False),
)


def carry(kind: Kind, letter: Letter) -> Carried:
    """Publish a mail, and read it back. Fails where it is refused, or cannot be read."""
    stored = letter.stored("mqtt")
    rule = kind.out
    carried = replace(capabilities(rule), header_networks=NETWORKS)
    fitted = Adapter({"in": ("smtp",)}, hostname=HOSTNAME).adapt(stored, stored.deliveries, carried, TABLE)
    assert not fitted.refused, fitted.refused
    notes = list(fitted.fidelity.notes)
    found: list[Incoming] = []
    files: list[Content] = []
    for delivery in stored.deliveries:
        address = fitted.addresses.get(delivery.id, delivery.address)
        item = Item(delivery.id, address, delivery.original, delivery.notify, delivery.orcpt)
        parcel = Parcel(stored.id, fitted.envelope, fitted.content, (item,), ARRIVED)
        outs, more = publications(parcel, item, rule, HOSTNAME, ARRIVED)
        notes += more
        if not kind.has_properties and any(out.properties.user for out in outs):
            notes.append(NO_PROPERTIES_NOTE)
        *beside, main = [_received(kind, out) for out in outs]
        found.append(_reader(kind.back).read(main))
        files += [_content(_reader(SubscribeRule.model_validate(_FILE)).read(one)) for one in beside]
    first = found[0]
    recipients = {internet(r.address): (r.notify, r.orcpt) for one in found for r in one.recipients}
    path = None if first.reverse_path is None else internet(first.reverse_path)
    seen = Seen(path, recipients, _content(first), kind.mime, first.ret, first.envid, first.priority, tuple(files))
    return Carried(seen, tuple(dict.fromkeys(notes)))


def _reader(rule: SubscribeRule) -> Reader:
    return Reader(rule, HOSTNAME, lambda: ARRIVED)


def _received(kind: Kind, out: Outgoing) -> Arrived:
    properties = out.properties if kind.has_properties else NO_PROPERTIES
    return Arrived(out.topic, out.payload, out.qos, False, False, properties, 7, "s:1:7:1", 1)


def _content(incoming: Incoming) -> Content:
    return Content(b"".join(incoming.content))


def cell(kind: Kind, feature: Feature) -> Cell:
    """Return what becomes of a feature."""
    before = feature.see(feature.letter.seen(mime=kind.mime))
    carried = carry(kind, feature.letter)
    after = feature.see(carried.seen)
    if after == before:
        return Cell(Fate.KEPT, (), before, after)
    pattern = re.compile(feature.told, re.IGNORECASE)
    notes = tuple(
        note for note in carried.notes if note == NO_PROPERTIES_NOTE or pattern.search(f"{note.what}: {note.why}")
    )
    fate = Fate.MAPPED if feature.form(before, after) else Fate.DROPPED
    return Cell(fate, notes, before, after)


@dataclass(frozen=True, eq=False)
class Thing:
    """One thing of a message that came: how it is given, and what of the mail it has become, where it has."""

    name: str
    given: Callable[[Kind], Arrived]
    seen: Callable[[Incoming, Memo], object]
    kept: object = True
    """What `seen` gives where it is kept as it was; anything else that is true is another form of it."""


def _message(payload: bytes | None = None, topic: str = "mail/ann", **given: Any) -> Callable[[Kind], Arrived]:
    def make(kind: Kind) -> Arrived:
        octets = _PAYLOADS[kind.payload] if payload is None else payload
        properties = Properties(**{k: v for k, v in given.items() if k != "retain"})
        return Arrived(topic, octets, 1, "retain" in given, False, properties, 7, "s:1:7:1", 1)

    return make


_PAYLOADS: Final = {
    "rfc822": b"From: bob@acme.example\r\nTo: ann@far.example\r\nDate: Tue, 24 Nov 2026 01:02:03 +0000\r\n"
    b"Message-ID: <m@acme.example>\r\n\r\nHello.\r\n",
    "json": b'{"from": "bob@acme.example", "text": "Hello.\\n"}',
    "text": b"Hello.\n",
}


def _user(name: str, value: str) -> Callable[[Kind], Arrived]:
    return _message(user=((name, value),))


def _field(name: str) -> Callable[[Incoming, Memo], object]:
    return lambda incoming, found: found.get(name.encode())


THINGS: Final = (
    Thing("payload", _message(), lambda incoming, found: (
        b"".join(incoming.content) == _PAYLOADS["rfc822"] or (found.text == "Hello.\n" and "text"))),
    Thing("topic", _message(), _field("x-mqtt-topic"), "mail/ann"),
    Thing("topic as the originator", _message(), lambda incoming, found: str(incoming.reverse_path), "mqtt:mail/ann"),
    Thing("Message Expiry Interval", _message(message_expiry_s=60), lambda incoming, found: incoming.expires_at,
          ARRIVED + 60),
    Thing("Correlation Data", _message(correlation_data=b"\0\1"), _field("x-mqtt-correlation-data"), "AAE="),
    Thing("Response Topic", _message(response_topic="r/1"), _field("x-mqtt-response-topic"), "r/1"),
    Thing("Content Type", _message(content_type="text/plain"), _field("x-mqtt-content-type"), "text/plain"),
    Thing("Retain", _message(retain=True), _field("x-mqtt-retained"), "yes"),
    Thing("user property subject", _user("subject", "Dry"), _field("subject"), "Dry"),
    Thing("user property date", _user("date", "2026-11-20T10:00:00Z"), _field("date"),
          "Fri, 20 Nov 2026 10:00:00 +0000"),
    Thing("user property message-id", _user("message-id", "<a@b>"), _field("message-id"), "<a@b>"),
    Thing("user property in-reply-to", _user("in-reply-to", "<a@b>"), _field("in-reply-to"), "<a@b>"),
    Thing("user property x-plant", _user("x-plant", "7"), _field("x-plant"), "7"),
    Thing("another user property", _user("unit", "mm/s"), _field("x-mqtt-property"), "unit=mm/s"),
)  # fmt: skip


def thing_fate(kind: Kind, thing: Thing) -> Fate:
    """Return what becomes of a thing of a message, by a rule that reads no envelope of properties."""
    names = {"recipients": ["mqtt:mail/ann"]}
    rule = SubscribeRule.model_validate({"topic": "mail/{user}", "payload": kind.payload, **names})
    incoming = _reader(rule).read(thing.given(kind))
    seen = thing.seen(incoming, memo(_content(incoming)))
    if seen == thing.kept:
        return Fate.KEPT
    return Fate.MAPPED if seen else Fate.DROPPED
