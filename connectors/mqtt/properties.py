"""What a PUBLISH says beside its payload, and what a mail says beside its text: how one becomes the other.

`MAPPING` is that for people. Promises: no value leaves its line, whatever stands in it; a property that no field is for
stands whole in X-MQTT-Property, and comes back from there; nothing that a stranger's mail says becomes a Response Topic
or Correlation Data. Pure. Sources: MQTT 5.0 §3.3.2.3 (the properties), §1.5.4 (what may stand in a string); RFC 5322
§3.6; RFC 3461 (the envelope's wishes).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final, Literal, cast

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.document import DATE, FIELD_NAME, ID
from connectors.mqtt.topics import UNFIT, unfit_in
from connectors.mqtt.wire.values import NO_PROPERTIES, Arrived, Properties
from gateway.contract import Address, AddressError, Envelope, Item, Notify
from mappings.network import parse

MAX_VALUE: Final = 8 * 1024
MAX_USER: Final = 100
MAX_USER_OCTETS: Final = 32 * 1024
"""Octets of user properties that are written: brokers bound a packet's properties, some at 64 KiB."""

NULL_PATH: Final = "<>"
_ENVELOPE: Final = "envelope-"
_PLAIN: Final = frozenset(
    ("subject", "date", "message-id", "in-reply-to", "references", "keywords", "comments", "priority", "importance")
) | frozenset(("sensitivity", "auto-submitted", "precedence", "language"))
_BEGINNINGS: Final = ("x-", "list-")
_OWN: Final = ("x-mqtt-", "x-gatepost-")
_IDS: Final = re.compile(r"(?:<[!-;=?-~]{1,900}>)(?:[ \t]*<[!-;=?-~]{1,900}>){0,199}")
_PROPERTY: Final = "X-MQTT-Property"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table that people read."""

    mqtt: str
    inward: str
    outward: str


MAPPING: Final = (
    Row("topic", "the originator's address, `X-MQTT-Topic`", "the recipient's address"),
    Row("Message Expiry Interval", "the mail expires, `X-MQTT-Message-Expiry`",
        "what is left until the mail expires, at most `expiry_s`"),
    Row("Correlation Data", "`X-MQTT-Correlation-Data` (base64); answers have it again", "of an answer alone"),
    Row("Response Topic", "`X-MQTT-Response-Topic`; answers go there", "not written"),
    Row("Content Type", "`X-MQTT-Content-Type`; charset and kind of a text",
        "`message/rfc822`, `application/json`, `text/plain; charset=utf-8`, or the template's"),
    Row("Payload Format Indicator", "1: a payload that is no UTF-8 is refused", "1 where the payload is UTF-8"),
    Row("Retain", "`X-MQTT-Retained: yes`", "as `retain` says"),
    Row("user property `subject`", "`Subject`", "`Subject`"),
    Row("user property `date`", "`Date` (RFC 5322 or RFC 3339)", "`Date`"),
    Row("user property `message-id`", "`Message-ID`, or `X-MQTT-Message-ID` where answers need one of ours",
        "`Message-ID`"),
    Row("user property `in-reply-to`", "`In-Reply-To`", "`In-Reply-To`"),
    Row("user property `references`", "`References`", "`References`"),
    Row("user property `from`", "`X-MQTT-Property: from=...`", "`From`"),
    Row("user properties `x-...`, `list-...`, `priority`, `importance`, `sensitivity`, `auto-submitted`, `precedence`, "
        "`keywords`, `comments`, `language`", "the field of that name", "the field of that name"),
    Row("any other user property", "`X-MQTT-Property: name=value`", "from `X-MQTT-Property: name=value`"),
    Row("user properties `envelope-from`, `envelope-to`, `envelope-notify`, `envelope-orcpt`, `envelope-ret`, "
        "`envelope-id`, `envelope-priority`", "the envelope, with `envelope = true`; else as any other",
        "the envelope, with `envelope = true`"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """What the properties of a message that came say of the mail.

    `fields` are header fields by lower-case name, each a line; `more` are fields for what has none of its own.
    `date` is the Date field's value, `message_id` and the like are identifiers in brackets.
    """

    subject: str = ""
    date: str = ""
    message_id: str = ""
    in_reply_to: str = ""
    references: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    more: tuple[tuple[str, str], ...] = ()


NOTHING_TOLD: Final = Told()


def says_nothing(arrived: Arrived) -> bool:
    """Say whether a message of ASCII has nothing to tell beside it; subscription identifiers are for us alone."""
    said = arrived.properties
    return not arrived.retain and (
        said is NO_PROPERTIES
        or (
            not said.user
            and said.content_type is None
            and said.message_expiry_s is None
            and said.response_topic is None
            and said.correlation_data is None
        )
    )


def check(arrived: Arrived) -> None:
    """Refuse properties that could not stand in a field, nor be published again. Raises: BadPayload."""
    properties = arrived.properties
    if properties == NO_PROPERTIES:
        return
    said = [("Content Type", properties.content_type or ""), ("Response Topic", properties.response_topic or "")]
    for name, value in properties.user:
        said += [("a user property's name", name), (f"user property {name[:60]!r}", value)]
    for place, text in said:
        check_characters(place, text)
    if properties.payload_format == 1:
        try:
            arrived.payload.decode()
        except UnicodeDecodeError as e:
            raise BadPayload(
                "property.payload-format", "the Payload Format Indicator says UTF-8, and it is none",
                f"octet {e.start}", "write UTF-8, or leave the indicator out", arrived.payload[e.start : e.start + 16],
            ) from None  # fmt: skip


def check_characters(place: str, text: str) -> None:
    """Refuse a text that could not stand on one line. Raises: BadPayload."""
    found = unfit_in(text)
    if found is not None:
        at = max(0, found.start() - 20)
        raise BadPayload(
            "property.character", f"U+{ord(found[0]):04X} is not taken", f"{place}, character {found.start()}",
            "leave control characters, line ends among them, out of topics and properties",
            text[at : at + 60].encode("utf-8", "backslashreplace"),
        )  # fmt: skip


def told(arrived: Arrived, *, envelope: bool) -> Told:
    """Return what the properties say; those of the envelope are left out where they are read as that."""
    properties = arrived.properties
    if properties == NO_PROPERTIES and not arrived.retain:
        return NOTHING_TOLD
    plain: dict[str, str] = {}
    fields: list[tuple[str, str]] = []
    more: list[tuple[str, str]] = []
    if properties.response_topic:
        more.append(("X-MQTT-Response-Topic", properties.response_topic))
    if properties.correlation_data:
        more.append(("X-MQTT-Correlation-Data", base64.b64encode(properties.correlation_data).decode("ascii")))
    if properties.content_type:
        more.append(("X-MQTT-Content-Type", properties.content_type))
    if properties.message_expiry_s is not None:
        more.append(("X-MQTT-Message-Expiry", str(properties.message_expiry_s)))
    if arrived.retain:
        more.append(("X-MQTT-Retained", "yes"))
    for name, value in properties.user:
        lower = name.lower()
        read = _read(lower, value)
        if lower in _READERS and read and lower not in plain:
            plain[lower] = read
        elif _is_field(lower) and value:
            fields.append((name, value))
        elif not (envelope and lower.startswith(_ENVELOPE)):
            more.append((_PROPERTY, f"{name}={value}"))
    return Told(
        plain.get("subject", ""), plain.get("date", ""), plain.get("message-id", ""), plain.get("in-reply-to", ""),
        plain.get("references", ""), tuple(fields), tuple(more),
    )  # fmt: skip


def _is_field(lower: str) -> bool:
    if lower.startswith(_OWN) or lower in _READERS:
        return False
    return (lower in _PLAIN or lower.startswith(_BEGINNINGS)) and FIELD_NAME.fullmatch(lower) is not None


def _read(lower: str, value: str) -> str:
    reader = _READERS.get(lower)
    return "" if reader is None else reader(value)


def _ids(value: str) -> str:
    return value if _IDS.fullmatch(value) else ""


_READERS: Final = {
    "subject": lambda value: value,
    "date": lambda value: date_field(value),
    "message-id": lambda value: value if ID.fullmatch(value) else "",
    "in-reply-to": _ids,
    "references": _ids,
}


def date_field(value: str) -> str:
    """Return a Date field's value for a date of RFC 3339 or RFC 5322, empty where it is none."""
    try:
        if DATE.fullmatch(value):
            return format_datetime(datetime.fromisoformat(value))
        return format_datetime(parsedate_to_datetime(value[:100]))
    except (ValueError, TypeError, OverflowError, IndexError):
        return ""


@dataclass(frozen=True, slots=True)
class GivenEnvelope:
    """What properties say of an envelope; `path` is None where they say nothing, and NULL_PATH for the null one."""

    path: str | None = None
    recipient: Address | None = None
    notify: Notify = Notify.UNSET
    orcpt: str | None = None
    ret: Literal["full", "hdrs"] | None = None
    envid: str | None = None
    priority: int = 0

    @property
    def reverse_path(self) -> Address | None:
        return None if self.path is None or self.path == NULL_PATH else parse(self.path)


NO_ENVELOPE: Final = GivenEnvelope()
_NOTIFY: Final = {"NEVER": Notify.NEVER, "SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}


def read_envelope(user: Iterable[tuple[str, str]]) -> GivenEnvelope:
    """Return the envelope. Raises: BadPayload."""
    said: dict[str, str] = {}
    for name, value in user:
        lower = name.lower()
        if lower.startswith(_ENVELOPE) and said.setdefault(lower[len(_ENVELOPE) :], value) != value:
            raise _bad_envelope(lower, value, "it stands there twice, with other values")
    path = said.get("from")
    recipient = _address("to", said["to"]) if "to" in said else None
    if path is not None and path != NULL_PATH:
        _address("from", path)
    ret = said.get("ret", "").lower()
    if ret not in ("", "full", "hdrs"):
        raise _bad_envelope("envelope-ret", ret, "neither full nor hdrs")
    return GivenEnvelope(
        path, recipient, _notify(said.get("notify", "")), said.get("orcpt"),
        cast(Literal["full", "hdrs"] | None, ret or None), said.get("id"), _priority(said.get("priority", "0")),
    )  # fmt: skip


def _address(name: str, value: str) -> Address:
    try:
        return parse(value)
    except AddressError as e:
        raise _bad_envelope(f"envelope-{name}", value, str(e)) from None


def _notify(value: str) -> Notify:
    made = Notify.UNSET
    for word in value.upper().split(",") if value else ():
        if word not in _NOTIFY or (Notify.NEVER in made | _NOTIFY[word] and made):
            raise _bad_envelope("envelope-notify", value, "not NEVER, nor some of SUCCESS,FAILURE,DELAY")
        made |= _NOTIFY[word]
    return made


def _priority(value: str) -> int:
    if not re.fullmatch("-?[0-9]", value):
        raise _bad_envelope("envelope-priority", value, "not a number from -9 to 9")
    return int(value)


def _bad_envelope(name: str, value: str, text: str) -> BadPayload:
    return BadPayload("property.envelope", text, f"user property {name}", "mend it, or leave it out", value.encode())


def envelope_properties(envelope: Envelope, item: Item) -> Iterator[tuple[str, str]]:
    """Yield the user properties that say who gets a mail, from whom, and which reports are wanted."""
    yield "envelope-from", NULL_PATH if envelope.reverse_path is None else str(envelope.reverse_path)
    yield "envelope-to", str(item.original)
    if item.notify is not Notify.UNSET:
        yield "envelope-notify", ",".join(name for name, flag in _NOTIFY.items() if item.notify & flag)
    given = (("orcpt", item.orcpt), ("ret", envelope.ret), ("id", envelope.envid))
    yield from ((f"envelope-{name}", value) for name, value in given if value)
    if envelope.priority:
        yield "envelope-priority", str(envelope.priority)


def clean(text: str) -> str:
    """Return text on one line, with nothing in it that may end a connection; bounded."""
    if text.isascii() and text.isprintable() and len(text) <= MAX_VALUE:
        return text
    return UNFIT.sub(" ", text)[:MAX_VALUE].encode("utf-8", "replace").decode()


@dataclass(slots=True)
class User:
    """The user properties of a message that goes out; `left_out` names what had no room."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _octets: int = 0

    def add(self, name: str, value: str) -> None:
        if name.isascii() and value.isascii() and name.isprintable() and value.isprintable():
            octets, pair = len(name) + len(value), (name, value)
        else:
            octets = len(name.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace"))
            pair = clean(name), clean(value)
        too_many = len(self.pairs) >= MAX_USER or self._octets + octets > MAX_USER_OCTETS
        if too_many or len(value) > MAX_VALUE:
            self.left_out.append(name)
            return
        self._octets += octets
        self.pairs.append(pair)


def field_names(names: Iterable[bytes]) -> tuple[str, ...]:
    """Return those names of fields that become user properties, as written, each once."""
    found: dict[str, str] = {}
    for name in names:
        lower = name.lower().decode("latin-1")
        if _is_field(lower):
            found.setdefault(lower, name.decode("latin-1"))
    return tuple(found.values())


def from_property_fields(values: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the user properties that X-MQTT-Property fields hold; none that says more than a name may."""
    for value in values:
        name, equals, rest = value.partition("=")
        lower = name.strip().lower()
        if equals and lower and not lower.startswith(_ENVELOPE) and lower not in _READERS and not _is_field(lower):
            yield name.strip(), rest


def expiry(envelope: Envelope, most: int | None, now: float) -> int | None:
    """Return the Message Expiry Interval; at least a second, since what has expired is not sent at all."""
    if envelope.expires_at is None:
        return most
    left = max(1, min(int(envelope.expires_at - now), 0xFFFFFFFF))
    return left if most is None else min(left, most)


def now_utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def shown(properties: Properties) -> Mapping[str, object]:
    """Return the properties as templates know them."""
    return {
        "content_type": properties.content_type or "",
        "response_topic": properties.response_topic or "",
        "correlation_data": base64.b64encode(properties.correlation_data or b"").decode("ascii"),
        "message_expiry_s": properties.message_expiry_s,
        "user": dict(properties.user),
    }
