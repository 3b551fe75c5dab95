"""Rules, messages and mails for the tests of payloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from connectors.mqtt.incoming import Incoming, Reader
from connectors.mqtt.rules import PublishRule, SubscribeRule
from connectors.mqtt.wire.values import Arrived, Outgoing, Properties
from gateway.contract import Address, Attachment, Content, Envelope, Item, Memo, Notify, Origin, Parcel, Recipient, memo
from mappings.network import parse

HOST: Final = "gw.merged.example"
AT: Final = 1_795_482_123.0  # Tue, 24 Nov 2026 01:02:03 +0000
OPS: Final = ["smtp:ops@merged.example"]
MAIL: Final = (
    b"From: Bob Berg <bob@acme.example>\r\nTo: ann@far.example\r\nSubject: x\r\n"
    b"Date: Tue, 24 Nov 2026 09:12:04 +0200\r\nMessage-ID: <m1@acme.example>\r\n\r\nHello.\r\n"
)


def subscribe(payload: str = "text", **options: Any) -> SubscribeRule:
    given = {"topic": "alerts/{plant}/{unit}", "payload": payload, **options}
    if payload in ("text", "template"):
        given.setdefault("recipients", OPS)
    return SubscribeRule.model_validate(given)


def publish(payload: str = "text", **options: Any) -> PublishRule:
    return PublishRule.model_validate({"topic": "#", "payload": payload, **options})


def arrived(
    payload: bytes | str,
    topic: str = "alerts/plant7/pump",
    user: Sequence[tuple[str, str]] = (),
    *,
    retain: bool = False,
    key: str = "s:1:2:3",
    oversized: int = 0,
    **properties: Any,
) -> Arrived:
    octets = payload.encode() if isinstance(payload, str) else payload
    given = Properties(user=tuple(user), **properties)
    return Arrived(topic, octets, 1, retain, False, given, 7, key, 1, oversized)


def received(out: Outgoing) -> Arrived:
    """Return what a subscriber gets of what was published."""
    return Arrived(out.topic, out.payload, out.qos, False, False, out.properties, 7, "s:1:2:3", 1)


def reader(rule: SubscribeRule) -> Reader:
    return Reader(rule, HOST, lambda: AT)


def read(rule: SubscribeRule, message: Arrived, **given: Any) -> Incoming:
    return reader(rule).read(message, **given)


def mail(incoming: Incoming) -> Memo:
    return memo(Content(b"".join(incoming.content)))


def field(found: Memo, name: str) -> str | None:
    value = found.content.get(name.lower().encode())
    return None if value is None else found.get(name.lower().encode())


def whole(attachment: Attachment) -> bytes:
    return b"".join(attachment.octets())


def names(found: Memo) -> list[str]:
    head = found.content.head
    return [head[one.start : one.value_start].rstrip(b": ").decode() for one in found.content.fields]


def parcel(
    octets: bytes,
    to: str = "mqtt:mail/ann",
    *,
    original: str = "smtp:ann@far.example",
    reverse_path: str | None = "smtp:bob@acme.example",
    notify: Notify = Notify.UNSET,
    orcpt: str | None = None,
    **envelope: Any,
) -> tuple[Parcel, Item]:
    item = Item((7, 0), parse(to), parse(original), notify, orcpt)
    path: Address | None = None if reverse_path is None else parse(reverse_path)
    given = Envelope(path, (Recipient(parse(original), notify, orcpt),), Origin("in"), **envelope)
    return Parcel(7, given, Content(octets), (item,), AT), item
