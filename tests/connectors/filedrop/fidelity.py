"""How a message fares through a format: adapted, encoded, decoded again, and compared value by value.

The way is the connector's: the adapter with the codec's capabilities, a file for each letter with what opens and closes
it, enclosures beside it. A value that comes back equal is kept, one that comes back in another form is mapped, and
any other is dropped; of what is not kept a note of the adapter's or of the codec's has to tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from connectors.filedrop.destination import letters
from connectors.filedrop.extras import extras_of
from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Codec, FormatName, Options, Part, Stamp, codec_class
from gateway.adapt import Adapter
from gateway.contract import (
    Address,
    Content,
    Envelope,
    Fate,
    Item,
    Memo,
    Note,
    Notify,
    Origin,
    Parcel,
    Recipient,
    memo,
)
from gateway.memo import file_name, is_text, text_of
from gateway.mime import InMemory as Octets
from gateway.mime import Part as Entity
from gateway.mime import parse as parse_mime
from gateway.spool.api import Delivery, Stored
from gateway.transfer import decoded_pieces
from mappings.identity import Identity, addresses
from mappings.network import parse
from mappings.table import compile_table
from tests.connectors.filedrop.codec_kit import content_of

HOSTNAME: Final = "gw.example"
ARRIVED: Final = 1_795_482_123.0
TRACE: Final = (
    b"Received: from mx.acme.example by gw.example with ESMTP id 0000000000007; Tue, 24 Nov 2026 01:02:03 +0000\r\n"
)
EXAMPLES: Final = Path(__file__).parents[3] / "examples/legacy-formats"

# Everybody who gets mail here has an address on each of the networks: what addresses become is the mapping's affair.
_PEOPLE: Final = {
    "ann": ("smtp:ann@far.example", "mhs:ann@sales", "ftn:Ann Lee@2:280/464", "mqtt:mail/ann"),
    "carl": ("smtp:carl@far.example", "mhs:carl@sales", "ftn:Carl Moe@2:280/464", "mqtt:mail/carl"),
    "dora": ("smtp:dora@far.example", "mhs:dora@hq", "ftn:Dora Fox@2:280/464.7", "mqtt:mail/dora"),
    "zoe": ("smtp:zoe@far.example", "mhs:zoe@hq", "ftn:Zoe Poe@2:280/464", "mqtt:mail/zoe"),
    "suzie": ("smtp:suzie@shopping.example.net", "mhs:suzie@shop", "ftn:Suzie Q@2:280/464", "mqtt:mail/suzie"),
}
_ADDRESSES: Final = {name: tuple(parse(text) for text in texts) for name, texts in _PEOPLE.items()}
_INTERNET: Final = {address: all_of_them[0] for all_of_them in _ADDRESSES.values() for address in all_of_them}
TABLE: Final = compile_table(
    [Identity(name.title(), addresses(*found)) for name, found in _ADDRESSES.items()],
    [], domains=["far.example"], homes={}, encapsulation=None, version=1,
)  # fmt: skip


def internet(address: Address) -> Address:
    """Return an address as the internet knows it."""
    return _INTERNET.get(address, address)


@dataclass(frozen=True, eq=False)
class Format:
    """A format as it is shown: with these settings, for people on this network."""

    title: str
    name: FormatName
    settings: Mapping[str, Any] = field(default_factory=dict)
    network: str = "smtp"

    @cached_property
    def codec(self) -> Codec:
        made = codec_class(self.name)
        options = Options(network=self.network, hostname=HOSTNAME, base_dir=EXAMPLES, counter=lambda row: 7)
        return made(self.name, options, made.Settings.model_validate(self.settings))

    @property
    def mime(self) -> bool:
        return self.codec.capabilities.mime


_DELIVERED: Final = {"recipient_field": "Delivered-To"}
FORMATS: Final = (
    Format("pickup", "pickup"),
    Format("pickup, iis", "pickup", {"dialect": "iis"}),
    Format("pickup, exchange", "pickup", {"dialect": "exchange"}),
    Format("replay", "replay"),
    Format("foreign", "foreign"),
    Format("bsmtp", "bsmtp"),
    Format("bsmtp, rfc2442", "bsmtp", {"dialect": "rfc2442"}),
    Format("uucp", "uucp"),
    Format("mbox", "mbox", _DELIVERED),
    Format("mbox, mboxo", "mbox", {"dialect": "mboxo", **_DELIVERED}),
    Format("mmdf", "mmdf", _DELIVERED),
    Format("maildir", "maildir", _DELIVERED),
    Format("mh", "mh", _DELIVERED),
    Format("smf70", "smf70", network="mhs"),
    Format("smf71", "smf71", network="mhs"),
    Format("ftn", "ftn", {"aka": "2:280/999"}, network="ftn"),
    Format("records, tickets", "records", {"describe": "tickets.toml"}),
    Format("records, bank", "records", {"describe": "bank.toml"}),
    Format("records, idoc", "records", {"describe": "idoc.toml"}),
    Format("records, ledger", "records", {"describe": "ledger.toml"}),
)


@dataclass(frozen=True)
class Letter:
    """A message before it goes, and who it goes to."""

    octets: bytes
    recipients: tuple[str, ...] = ("ann",)
    reverse_path: str | None = "smtp:bob@acme.example"
    notify: Notify = Notify.UNSET
    orcpt: str | None = None
    envelope: Mapping[str, Any] = field(default_factory=dict)

    def seen(self, *, mime: bool) -> Seen:
        """Return the values as they are before anything is done."""
        path = None if self.reverse_path is None else parse(self.reverse_path)
        recipients = {_ADDRESSES[name][0]: (self.notify, self.orcpt) for name in self.recipients}
        made = Seen(path, recipients, Content(self.octets), mime)
        return replace(made, **{k: v for k, v in self.envelope.items() if k in ("ret", "envid", "priority")})

    def stored(self, network: str) -> Stored:
        """Return the message as the spool has it, with a delivery for each recipient."""
        own = [_on(name, network) for name in self.recipients]
        deliveries = tuple(
            Delivery((7, n), ("out", "hop"), address, internet(address), self.notify, self.orcpt, "s", 0, 0.0, 9e9)
            for n, address in enumerate(own)
        )
        path = None if self.reverse_path is None else parse(self.reverse_path)
        given = tuple(Recipient(internet(address), self.notify, self.orcpt) for address in own)
        envelope = Envelope(path, given, Origin("in"), **self.envelope)
        return Stored(7, envelope, TRACE, Content(self.octets), ARRIVED, deliveries)


def _on(name: str, network: str) -> Address:
    return next((a for a in _ADDRESSES[name] if a.network == network), _ADDRESSES[name][0])


@dataclass(frozen=True)
class Seen:
    """What can be seen of a message, before or behind a format; a recipient has NOTIFY and ORCPT."""

    reverse_path: Address | None
    recipients: Mapping[Address, tuple[Notify, str | None]]
    content: Content
    mime: bool
    ret: str | None = None
    envid: str | None = None
    priority: int = 0
    more: tuple[Content, ...] = ()
    """Further messages that the same file became, such as those that carry files in FidoNet."""

    @cached_property
    def memo(self) -> Memo:
        return memo(self.content)

    @cached_property
    def entities(self) -> list[Entity]:
        """The parts that are no multipart; an enclosed message is one."""
        return list(_leaves(parse_mime(Octets(self.content.octets()))))

    def payload(self, entity: Entity) -> bytes:
        source = Octets(self.content.octets())
        return b"".join(decoded_pieces(source, entity.body, entity.end, entity.encoding))

    @property
    def text(self) -> str:
        """The text; where it is lines of a format without MIME, the last one has an end."""
        text = self.memo.text
        return text if self.mime or not text or text.endswith("\n") else text + "\n"

    @property
    def files(self) -> list[tuple[str, str, bytes]]:
        """Name, media type and octets of what is neither the text nor another form of it."""
        found = [self, *(replace(self, content=content, more=()) for content in self.more)]
        return [(file_name(one, n), one.type, seen.payload(one)) for seen in found for n, one in seen._files]

    @property
    def _files(self) -> list[tuple[int, Entity]]:
        texts = ("text/plain", "text/html")
        found = [one for one in self.entities if one.type not in texts or one.get(b"content-disposition")]
        return list(enumerate(found, 1))

    @property
    def body(self) -> bytes | str:
        """The text's octets without their transfer encoding; the text itself where there is no MIME."""
        return self.payload(self.entities[0]) if self.mime and self.entities else self.text

    @property
    def html(self) -> str:
        source = Octets(self.content.octets())
        return next((text_of(source, one) for one in self.entities if is_text(one, "text/html")), "")

    def field(self, name: bytes) -> bytes | None:
        return self.content.get(name)

    def people(self, name: bytes) -> list[tuple[str, Address]]:
        networks = ("smtp",) if self.mime else ("ftn", "mhs", "smtp")
        return [(box.name, internet(box.address)) for box in self.memo.mailboxes(name, networks)]


def _leaves(entity: Entity) -> list[Entity]:
    if entity.type.startswith("multipart/"):
        return [leaf for child in entity.children for leaf in _leaves(child)]
    return [entity]


@dataclass(frozen=True)
class Carried:
    """What came back, and every note on the way."""

    seen: Seen
    notes: tuple[Note, ...]


def carry(format: Format, letter: Letter) -> Carried:
    """Send a message through a format, and read it back. Fails where it is refused, or cannot be read."""
    codec, stored = format.codec, letter.stored(format.network)
    extras = extras_of(codec)
    adapter = Adapter({"in": ("smtp",)}, hostname=HOSTNAME)
    fitted = adapter.adapt(stored, stored.deliveries, codec.capabilities, TABLE)
    assert not fitted.refused, fitted.refused
    items = tuple(
        Item(d.id, fitted.addresses.get(d.id, d.address), d.original, d.notify, d.orcpt) for d in stored.deliveries
    )
    parcel = Parcel(stored.id, fitted.envelope, fitted.content, items, ARRIVED)
    notes = list(fitted.fidelity.notes)
    parts: list[tuple[Part, Content]] = []
    made = 0
    most = 1 if codec.one_a_recipient else extras.max_recipients_a_file
    for each in letters(parcel, most=most, own=extras.file_stem):
        encoded = codec.encode(each.parcel, each.items, each.stem)
        notes += encoded.notes
        octets = b"".join(encoded.octets())
        if codec.many_a_file:
            octets = codec.opening(encoded) + octets + codec.closing()
        files = {one.name: b"".join(one.octets()) for one in encoded.enclosures}
        parts += _read(codec, octets, each.stem + codec.extension, files)
        made = made or len(parts)
    first, content = parts[0]
    others = tuple(other for _, other in parts[1:made])
    recipients = {internet(r.address): (r.notify, r.orcpt) for part, _ in parts for r in part.recipients}
    path = None if first.reverse_path is None else internet(first.reverse_path)
    seen = Seen(path, recipients, content, format.mime, first.ret, first.envid, first.priority, others)
    return Carried(seen, tuple(dict.fromkeys(notes)))


def _read(codec: Codec, octets: bytes, name: str, files: Mapping[str, bytes]) -> list[tuple[Part, Content]]:
    def beside(name: str) -> InMemory:
        if name not in files:
            raise FileNotFoundError(name)
        return InMemory(files[name])

    found = []
    for part in codec.decode(InMemory(octets), Stamp("0123456789abcdef", ARRIVED, name, beside)):
        assert isinstance(part, Part), part
        found.append((part, Content(content_of(part, octets, files), attributes=part.attributes)))
    assert found
    return found


def is_something(value: object) -> bool:
    """Say whether anything of a value is left."""
    if isinstance(value, tuple | list | set):
        return any(is_something(one) for one in value)
    return bool(value)


@dataclass(frozen=True, eq=False)
class Feature:
    """One thing that a message has. `told` is what a note says of its loss, matched with `what: why`."""

    name: str
    letter: Letter
    see: Callable[[Seen], object]
    told: str
    form: Callable[[Any, Any], bool] = lambda before, after: is_something(after)
    """Whether what came back, though another value, is the thing in another form."""


@dataclass(frozen=True)
class Cell:
    """What became of a feature in a format, and the notes that tell it."""

    fate: Fate
    notes: tuple[Note, ...]
    before: object
    after: object

    @property
    def is_told(self) -> bool:
        """Tell whether somebody learns of the loss: of what is gone, that it is."""
        if self.fate is Fate.KEPT:
            return True
        fates = (Fate.DROPPED,) if self.fate is Fate.DROPPED else (Fate.DROPPED, Fate.MAPPED)
        return any(note.fate in fates for note in self.notes)


def cell(format: Format, feature: Feature) -> Cell:
    """Return what becomes of a feature."""
    before = feature.see(feature.letter.seen(mime=format.mime))
    carried = carry(format, feature.letter)
    after = feature.see(carried.seen)
    if after == before:
        return Cell(Fate.KEPT, (), before, after)
    pattern = re.compile(feature.told, re.IGNORECASE)
    notes = tuple(note for note in carried.notes if pattern.search(f"{note.what}: {note.why}"))
    fate = Fate.MAPPED if feature.form(before, after) else Fate.DROPPED
    return Cell(fate, notes, before, after)
