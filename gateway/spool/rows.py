"""Values to rows and back: how a Stored message, its deliveries and trace events lie in the tables. Pure.

A row is a tuple in the order of its column list below. What is only ever read whole (the envelope, a trace
event's detail) is JSON text; what the database searches or changes has a column.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, Final

import orjson

from gateway.message import Blob, Content, Envelope, Notify, Origin, Recipient, Traits
from gateway.spool.api import Again, Delivery, DeliveryId, LaneKey, State, Stored, TraceEvent
from mappings.address import Address

Row = tuple[Any, ...]

MESSAGE_COLUMNS: Final = (
    "id", "arrived_at", "size", "recipients", "is_report", "traits", "edited", "content_offset", "content_ref",
    "attributes", "envelope", "prefix", "content",
)  # fmt: skip
DELIVERY_COLUMNS: Final = (
    "message_id", "n", "lane", "sender", "priority", "next_attempt_at", "expires_at", "state", "attempts",
    "delay_reported", "notify", "address", "address_key", "original", "original_key", "orcpt", "reason", "lease",
)  # fmt: skip
DEDUPE_COLUMNS: Final = ("key", "message_id", "at")
TRACE_COLUMNS: Final = ("message_id", "seq", "at", "n", "kind", "detail")

_QUEUED: Final = State.QUEUED.value
_state: Final = {state.value: state for state in State}.__getitem__
_notify: Final = lru_cache(maxsize=64)(Notify)
_ORIGIN_FIELDS: Final = frozenset(f.name for f in fields(Origin))
_encode_ascii = json.JSONEncoder(separators=(",", ":"), default=str).encode
_encode = orjson.dumps
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS


def dump(value: object) -> str:
    """Return JSON text that any database takes: non-ASCII letters stay readable, lone surrogates are escaped."""
    try:
        return _encode(value, str, _OPTIONS).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, a number over 64 bits
        return _encode_ascii(value)


def plain(words: str) -> str:
    """Return a free text without what a text column refuses (NUL, lone surrogates)."""
    if words.isascii() and "\0" not in words:
        return words
    return words.replace("\0", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


class Sequence63:
    """Numbers that grow, across restarts too unless the clock was set back: a trace event's place."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        now = time.time_ns()
        self._last = now if now > self._last else self._last + 1
        return self._last


def lane_text(lane: LaneKey) -> str:
    """Return a lane as one text, so that it is one column to seek in; a connector's name holds no tab."""
    return f"{lane[0]}\t{lane[1]}"


@lru_cache(maxsize=1024)
def lane_key(text: str) -> LaneKey:
    connector, _, next_hop = text.partition("\t")
    return connector, next_hop


@lru_cache(maxsize=4096)
def _address(text: str, key: str | None) -> Address:
    """Read an address; most stand in a message's envelope and its delivery, or in many messages."""
    network, _, value = text.partition(":")
    return Address(network, value, value if key is None else key)


def _address_json(address: Address) -> list[str]:
    text = f"{address.network}:{address.value}"
    return [text] if address.key == address.value else [text, address.key]


def _address_from(parts: Sequence[str]) -> Address:
    return _address(parts[0], parts[1] if len(parts) > 1 else None)


def _name_peer(named: dict[str, object], origin: Origin) -> None:
    """Add what is known of the peer. Field by field, not by a list of names: this is done twice for every message."""
    if origin.peer:
        named["peer"] = origin.peer
    if origin.helo:
        named["helo"] = origin.helo
    if origin.protocol:
        named["protocol"] = origin.protocol
    if origin.user:
        named["user"] = origin.user
    if origin.tls:
        named["tls"] = origin.tls


def _origin_json(origin: Origin) -> dict[str, object]:
    """Return an origin as JSON; what has its default value is left out."""
    named: dict[str, object] = {"connector": origin.connector}
    _name_peer(named, origin)
    if origin.trusted:
        named["trusted"] = True
    return named


class _Known:
    """What was written of an envelope, for a source that brings many messages in one: its JSON; and what is the same
    each time of its arrival and its delivery, for as long as it goes to the same place for the same reason."""

    __slots__ = ("after_times", "arrival", "before_times", "envelope", "last", "text", "why")

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self.text = ""
        self.arrival = ""
        self.before_times: Row = ()
        """A delivery's columns from `lane` to `priority`, and below those from `attempts` to `orcpt`."""
        self.after_times: Row = ()
        self.last: Delivery | None = None
        """That of which it was learnt."""
        self.why: tuple[str, ...] = ()

    def is_like(self, message: Stored) -> bool:
        """Whether a message with one fresh delivery goes where the last one went."""
        (only,), last = message.deliveries, self.last
        # Addresses that are equal may be written differently.
        return (
            last is not None
            and only.address is last.address
            and only.original is last.original
            and only.notify is last.notify
            and only.orcpt is last.orcpt
            and only.sender == last.sender
            and only.priority == last.priority
            and only.lane == last.lane
            and self.why == message.why
        )

    def learn(self, message: Stored) -> None:
        """Take over what is the same each time."""
        (only,) = message.deliveries
        self.arrival = _arrival_text(message)
        row = delivery_row(only)
        self.before_times, self.after_times = row[2:5], row[8:16]
        self.last, self.why = only, message.why

    def delivery_row(self, only: Delivery) -> Row:
        """Return what `delivery_row` would."""
        is_queued = only.state is State.QUEUED
        return (
            *only.id,
            *self.before_times,
            only.next_attempt_at,
            only.expires_at,
            _QUEUED if is_queued else only.state.value,
            *self.after_times,
            plain(only.reason) if only.reason else "",
            1 if is_queued and only.at_once else None,
        )


_known: Final[dict[int, _Known]] = {}
"""By identity: to compare envelopes would cost what is saved."""
_MOST_KNOWN: Final = 1024


def _recalled(envelope: Envelope) -> _Known | None:
    """Return what is known of an envelope that may come again; None of one that is of one message."""
    known = _known.get(id(envelope))
    if known is not None and known.envelope is envelope:
        return known
    if not envelope.may_recur:
        return None
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    known = _known[id(envelope)] = _Known(envelope)
    return known


def envelope_text(envelope: Envelope) -> str:
    """Return an envelope as JSON; what has its default value is left out."""
    return _text_of(envelope, _recalled(envelope))


def _text_of(envelope: Envelope, known: _Known | None) -> str:
    if known is None:
        return _envelope_text(envelope)
    if not known.text:
        known.text = _envelope_text(envelope)
    return known.text


def _envelope_text(envelope: Envelope) -> str:
    named: dict[str, object] = {
        "from": None if envelope.reverse_path is None else _address_json(envelope.reverse_path),
        "to": [[_address_json(r.address), int(r.notify), r.orcpt] for r in envelope.recipients],
        "origin": _origin_json(envelope.origin),
    }
    if envelope.priority:
        named["priority"] = envelope.priority
    if envelope.expires_at is not None:
        named["expires_at"] = envelope.expires_at
    if envelope.ret is not None:
        named["ret"] = envelope.ret
    if envelope.envid is not None:
        named["envid"] = envelope.envid
    if envelope.smtputf8:
        named["smtputf8"] = True
    if envelope.dedupe_key is not None:
        named["dedupe_key"] = envelope.dedupe_key
    if envelope.to_members:
        named["to_members"] = True
    return dump(named)


def _load(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # a lone surrogate, as an escape
        return json.loads(text)


def envelope_from(text: str) -> Envelope:
    named = _load(text)
    origin = named["origin"]
    if not _ORIGIN_FIELDS.issuperset(origin):  # a node of the next release may have written a field more
        origin = {name: value for name, value in origin.items() if name in _ORIGIN_FIELDS}
    return Envelope(
        reverse_path=None if named["from"] is None else _address_from(named["from"]),
        recipients=tuple([Recipient(_address_from(a), _notify(notify), orcpt) for a, notify, orcpt in named["to"]]),
        origin=Origin(**origin),
        priority=named.get("priority", 0),
        expires_at=named.get("expires_at"),
        ret=named.get("ret"),
        envid=named.get("envid"),
        smtputf8=named.get("smtputf8", False),
        dedupe_key=named.get("dedupe_key"),
        to_members=named.get("to_members", False),
    )


def _traits_bits(content: Content) -> int | None:
    traits: Traits | None = content.__dict__.get("traits")
    if traits is None:
        return None
    return traits.crlf_only | traits.eight_bit << 1 | traits.nul << 2


def fresh_rows(message: Stored, content_ref: str | None, seq: int) -> tuple[Row, list[Row], Row]:
    """Return the rows of a message that comes in: its own, those of its deliveries, and the trace row of its arrival,
    which tells who, whom, whence, and the Message-ID, so that a search finds it.

    `content_ref` names where its Blob is kept, None for an inline content; `seq` is the trace row's place.
    """
    known = _recalled(message.envelope)
    row = _message_row(message, content_ref, known)
    if known is None or len(message.deliveries) != 1 or message.is_report:
        rows = [delivery_row(d) for d in message.deliveries]
        return row, rows, _accepted_row(message, seq, _arrival_text(message))
    if not known.is_like(message):
        known.learn(message)
    return row, [known.delivery_row(message.deliveries[0])], _accepted_row(message, seq, known.arrival)


def _message_row(message: Stored, content_ref: str | None, known: _Known | None) -> Row:
    content = message.content
    inline = content_ref is None
    return (
        message.id,
        message.arrived_at,
        content.size,
        len(message.deliveries),
        int(message.is_report),
        _traits_bits(content),
        0 if inline else int(content.edited),
        0 if inline else content.offset,
        content_ref,
        dump(dict(content.attributes)) if content.attributes else None,
        _text_of(message.envelope, known),
        message.prefix,
        content.octets() if inline else content.front,
    )


def delivery_row(delivery: Delivery) -> Row:
    """Return the row of a fresh delivery. Its lease is 1 for "this node": the SQLite node's own number, and a
    mark that PostgreSQL's statement replaces; only a queued delivery that is sent at once is leased."""
    address, original = delivery.address, delivery.original
    is_queued = delivery.state is State.QUEUED
    text = f"{address.network}:{address.value}"
    if original is address:
        original_text = original_key = None
    else:
        original_text = f"{original.network}:{original.value}"
        original_key = None if original.key == original.value else original.key
    return (
        *delivery.id,
        f"{delivery.lane[0]}\t{delivery.lane[1]}",
        plain(delivery.sender),
        delivery.priority,
        delivery.next_attempt_at,
        delivery.expires_at,
        _QUEUED if is_queued else delivery.state.value,
        delivery.attempts,
        int(delivery.delay_reported),
        int(delivery.notify),
        text,
        None if address.key == address.value else address.key,
        original_text,
        original_key,
        delivery.orcpt,
        plain(delivery.reason) if delivery.reason else "",
        1 if is_queued and delivery.at_once else None,
    )


def address_columns(address: Address) -> tuple[str, str | None]:
    """Return how an address stands in a delivery's row: with its network, and its key where that is another text."""
    return f"{address.network}:{address.value}", None if address.key == address.value else address.key


def trace_row(event: TraceEvent, seq: int) -> Row:
    return event.message_id, seq, event.at, event.n, event.kind, dump(event.detail) if event.detail else "{}"


def late(row: Row) -> Row:
    """Return the trace row of an outcome that came too late to end its delivery."""
    detail = row[-1]
    return *row[:-1], '{"late":true}' if detail == "{}" else f'{detail[:-1]},"late":true}}'


def trace_event(row: Sequence[Any]) -> TraceEvent:
    message_id, _, at, n, kind, detail = row
    return TraceEvent(message_id=message_id, at=at, kind=kind, n=n, detail=json.loads(detail))


def _accepted_row(message: Stored, seq: int, arrival: str) -> Row:
    content = message.content
    named = content.message_id
    shown = "" if named is None else f',"message_id":{dump(named)}'
    detail = f'{arrival[:-1]},"size":{content.size}{shown}}}'
    return message.id, seq, message.arrived_at, None, "accepted", detail


def _arrival_text(message: Stored) -> str:
    """Return as JSON what an accept tells of a message but its size and its Message-ID."""
    envelope = message.envelope
    origin, sender, why = envelope.origin, envelope.reverse_path, message.why
    detail: dict[str, object] = {
        "from": "" if sender is None else f"{sender.network}:{sender.value}",
        "to": [
            [
                f"{d.original.network}:{d.original.value}", f"{d.address.network}:{d.address.value}", *d.lane,
                why[i] if why else "",
            ]
            for i, d in enumerate(message.deliveries)
        ],
        "connector": origin.connector,
    }  # fmt: skip
    _name_peer(detail, origin)
    if message.is_report:
        detail["report"] = True
    return dump(detail)


def delivery_from(row: Sequence[Any]) -> Delivery:
    """Read a delivery's row in the order of DELIVERY_COLUMNS."""
    (
        message_id, n, lane, sender, priority, next_attempt_at, expires_at, state, attempts,
        delay_reported, notify, address, address_key, original, original_key, orcpt, reason, _lease,
    ) = row  # fmt: skip
    to = _address(address, address_key)
    return Delivery(
        id=(message_id, n),
        lane=lane_key(lane),
        address=to,
        original=to if original is None else _address(original, original_key),
        notify=_notify(notify),
        orcpt=orcpt,
        sender=sender,
        priority=priority,
        next_attempt_at=next_attempt_at,
        expires_at=expires_at,
        state=_state(state),
        attempts=attempts,
        reason=reason,
        delay_reported=bool(delay_reported),
    )


def stored_from(row: Sequence[Any], deliveries: Sequence[Delivery], blob: Blob | None) -> Stored:
    """Read a message's row in the order of MESSAGE_COLUMNS; `blob` is what its content_ref names."""
    (
        message_id, arrived_at, _size, _recipients, is_report, bits, edited, offset, _ref,
        attributes, envelope, prefix, content,
    ) = row  # fmt: skip
    traits = None if bits is None else Traits(bool(bits & 1), bool(bits & 2), bool(bits & 4))
    named: Mapping[str, str] | None = None if attributes is None else _load(attributes)
    if blob is None:
        octets = Content(bytes(content), traits=traits, attributes=named)
    else:
        octets = Content(
            blob, front=bytes(content), offset=offset, edited=bool(edited), traits=traits, attributes=named
        )
    return Stored(
        id=message_id,
        envelope=envelope_from(envelope),
        prefix=bytes(prefix),
        content=octets,
        arrived_at=arrived_at,
        deliveries=tuple(deliveries),
        is_report=bool(is_report),
    )


def again_json(settlements: Sequence[Again]) -> str:
    """Return deferrals as the one JSON parameter of their statement."""
    return dump(
        [
            {
                "m": a.id[0],
                "n": a.id[1],
                "t": a.next_attempt_at,
                "w": a.was,
                "a": a.attempts,
                "r": plain(a.reason),
                "s": a.state.value,
                "d": int(a.delay_reported),
                "k": int(a.keep_lease and a.state is State.QUEUED),
            }
            for a in settlements
        ]
    )


def as_ids(rows: Sequence[Sequence[Any]]) -> list[DeliveryId]:
    return [(row[0], row[1]) for row in rows]
