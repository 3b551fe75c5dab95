"""What a message that is written has, by the names that [write] uses."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import PurePath
from typing import Final

from connectors.filedrop.formats.addresses import write_one
from connectors.filedrop.formats.records.charset import charset
from connectors.filedrop.formats.records.description import Description
from connectors.filedrop.formats.records.expression import Values, iso
from connectors.filedrop.formats.records.mapping import Wish, prefix_of
from connectors.filedrop.formats.values import Enclosure, Options, Refused
from connectors.filedrop.names import safe_name
from gateway.contract import Address, Attachment, Fate, Item, Mailbox, Memo, Note, Notify, Parcel, Status, id_text, memo
from mappings.network import network, registry

NAME_CHARS: Final = 80
_IMPORTANCE: Final = {
    "high": "urgent",
    "low": "low",
    "urgent": "urgent",
    "non-urgent": "low",
    "1": "urgent",
    "5": "low",
}


@dataclass
class Attributes:
    """A message and those of its recipients that a file is for. `notes` are what was found not to fit."""

    d: Description
    options: Options
    parcel: Parcel
    items: tuple[Item, ...]
    stem: str
    notes: list[Note] = field(default_factory=list)

    @cached_property
    def memo(self) -> Memo:
        return memo(self.parcel.content)

    def lookup(self, name: str) -> Values:
        """Return the values of a name."""
        if name.startswith("header."):
            value = self.memo.get(name[7:].encode("ascii", "replace"))
            return [value] if value else []
        made = _ATTRIBUTES.get(name)
        values = [] if made is None else made(self)
        return [values] if isinstance(values, str) else values

    def note(self, fate: Fate, what: str, why: str) -> None:
        note = Note(fate, what, why)
        if note not in self.notes:
            self.notes.append(note)

    @property
    def networks(self) -> tuple[str, ...]:
        return networks_of(self.d, self.options)

    def written(self, address: Address, wish: Wish, *, is_recipient: bool) -> str:
        """Return an address as the field that [map] reads it from has it. Raises: Refused, for a recipient alone."""
        prefix = prefix_of(wish)
        if not prefix:
            return write_one(address, self.options.network)
        own = canonical(prefix)
        if address.network == own:
            return network(address.network).format(address)
        if is_recipient:
            text = f"{address.network}:{address.value} has no place in a field of {own} addresses"
            raise Refused(Status("5.1.3", text))
        why = f"the field holds {own} addresses alone, so that nobody can answer to this one"
        self.note(Fate.MAPPED, f"the address {address.value}", why)
        return write_one(address, self.options.network)

    def boxes(self, name: bytes) -> tuple[Mailbox, ...]:
        return self.memo.mailboxes(name, (*self.networks, "smtp"))

    @cached_property
    def people(self) -> Mapping[str, Sequence[Mailbox]]:
        """Return who stands in to and cc.

        Where the file tells no recipients apart from them, they are recipients to its reader, so that only those
        whom this file is for may be named.
        """
        to, cc = self.boxes(b"to"), self.boxes(b"cc")
        if self.d.map.recipients is not None:
            return {"to": to, "cc": cc}
        ours = {item.address: item for item in self.items}
        named = {box.address for box in (*to, *cc)}
        left_out = [box.address.value for box in (*to, *cc) if box.address not in ours]
        if left_out:
            why = "the format has no envelope: whoever is named in a file gets it"
            self.note(Fate.DROPPED, f"{len(left_out)} other recipients in To and Cc", why)
        in_cc = [box for box in cc if box.address in ours and self.d.map.cc is not None]
        copied = {box.address for box in in_cc}
        names = {box.address: box.name for box in (*to, *cc)}
        hidden = [address for address in ours if address not in named]
        if hidden and len(ours) > 1:
            why = "the format has no envelope, and one_a_recipient is off: the others read of them"
            self.note(Fate.MAPPED, f"{len(hidden)} recipients of blind copies", why)
        return {"to": [Mailbox(names.get(a, ""), a) for a in ours if a not in copied], "cc": in_cc}

    def addresses(self, target: str) -> list[str]:
        is_envelope = self.d.map.recipients is None
        wish = getattr(self.d.map, target)
        return [self.written(box.address, wish, is_recipient=is_envelope) for box in self.people[target]]

    def names(self, target: str) -> list[str]:
        return [box.name for box in self.people[target]]

    def recipients(self) -> list[str]:
        wish = self.d.map.recipients if self.d.map.recipients is not None else self.d.map.to
        return [self.written(item.address, wish, is_recipient=True) for item in self.items]

    @cached_property
    def author(self) -> Mailbox | None:
        return next(iter(self.boxes(b"from")), None)

    def from_(self) -> str:
        author = self.author.address if self.author is not None else self.parcel.envelope.reverse_path
        return "" if author is None else self.written(author, self.d.map.from_, is_recipient=False)

    def sender(self) -> str:
        path = self.parcel.envelope.reverse_path
        wish = self.d.map.sender or self.d.map.from_
        return "" if path is None else self.written(path, wish, is_recipient=False)

    def message_id(self, name: bytes) -> str:
        return self.memo.get(name).split(" ")[0].strip("<> ")

    def priority(self) -> str:
        for name in (b"priority", b"importance", b"x-priority"):
            if (found := _IMPORTANCE.get(self.memo.get(name).lower()[:10].split(" ")[0])) is not None:
                return found
        given = self.parcel.envelope.priority
        return "urgent" if given > 0 else "low" if given < 0 else "normal"

    def receipt(self) -> str:
        if any(Notify.SUCCESS in item.notify for item in self.items):
            return "yes"
        return "never" if all(Notify.NEVER in item.notify for item in self.items) else ""

    @cached_property
    def number(self) -> str:
        """Return the next number of the connector's row; the message's own, where none is kept."""
        counter = self.options.counter
        return str(counter("records")) if counter is not None else str(self.parcel.message_id)

    @cached_property
    def body_file(self) -> Enclosure:
        """Return the file of the text, where the description has one: in the records' own charset."""
        used = charset(self.d.format.charset)
        end = used.decode(used.line_end(self.d.format.line_end if used.is_ebcdic else "any"))
        octets = used.encode("".join(line + end for line in self.body().split("\n")), "replace")
        return Enclosure(safe_name(f"{self.stem}.txt", NAME_CHARS), lambda: (octets,))

    @cached_property
    def enclosures(self) -> tuple[Enclosure, ...]:
        folder = next((one.folder for one in self.d.map.attachment if one.file is not None), "")
        return tuple(
            Enclosure(self.file_name(n, each), each.octets, folder) for n, each in enumerate(self.memo.attachments, 1)
        )

    def file_name(self, n: int, attachment: Attachment) -> str:
        """Return the name of an attachment's file: unique in the folder, and with its extension."""
        suffix = PurePath(safe_name(attachment.name)).suffix
        return safe_name(f"{self.stem}-{n}{suffix}", NAME_CHARS)

    def data(self) -> list[str]:
        """Return the attachments in base64. Raises: Refused where they are too large to be made anew; OSError."""
        made, room = [], self.options.max_text_bytes
        for attachment in self.memo.attachments:
            octets = b"".join(_within(attachment.octets(), room))
            room -= len(octets)
            made.append(base64.b64encode(octets).decode("ascii"))
        return made

    def whole(self) -> str:
        """Return the message's own octets as text. Raises: Refused, OSError."""
        octets = b"".join(_within(self.parcel.content.chunks(), self.options.max_text_bytes))
        return octets.replace(b"\r\n", b"\n").decode("utf-8", "replace")

    def body(self) -> str:
        return self.memo.text.rstrip("\n")


def _within(pieces: Iterator[bytes], room: int) -> Iterator[bytes]:
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            raise Refused(Status("5.3.4", "the message is too large to stand in one field"))
        yield piece


def networks_of(d: Description, options: Options) -> tuple[str, ...]:
    """Return the networks whose addresses the fields of a description hold."""
    wishes: tuple[Wish, ...] = (d.map.from_, d.map.recipients, d.map.to, d.map.cc)
    prefixes = (prefix_of(wish) for wish in wishes)
    return tuple(dict.fromkeys(canonical(prefix) for prefix in prefixes if prefix)) or (options.network,)


def canonical(prefix: str) -> str:
    """Return the name of the network that a prefix with its colon means."""
    name = prefix[:-1]
    return registry().canonical_name(name) if registry().is_installed(name) else name


_ATTRIBUTES: Final[Mapping[str, Callable[[Attributes], str | list[str]]]] = {
    "from": Attributes.from_,
    "from_name": lambda a: a.author.name if a.author is not None else "",
    "sender": Attributes.sender,
    "to": partial(Attributes.addresses, target="to"),
    "to_name": partial(Attributes.names, target="to"),
    "cc": partial(Attributes.addresses, target="cc"),
    "cc_name": partial(Attributes.names, target="cc"),
    "recipients": Attributes.recipients,
    "recipient": lambda a: a.recipients()[:1],
    "subject": lambda a: a.memo.subject,
    "body": Attributes.body,
    "body_file": lambda a: a.body_file.name,
    "date": lambda a: iso(a.memo.date if a.memo.date is not None else a.parcel.arrived_at),
    "now": lambda a: iso(a.parcel.arrived_at),
    "message_id": partial(Attributes.message_id, name=b"message-id"),
    "in_reply_to": partial(Attributes.message_id, name=b"in-reply-to"),
    "priority": Attributes.priority,
    "receipt": Attributes.receipt,
    "message": lambda a: a.whole() if a.d.map.message is not None else id_text(a.parcel.message_id),
    "stem": lambda a: a.stem,
    "number": lambda a: a.number,
    "attachment": lambda a: [each.name for each in a.enclosures],
    "attachment_name": lambda a: [each.name for each in a.memo.attachments],
    "attachment_type": lambda a: [each.type for each in a.memo.attachments],
    "attachment_data": Attributes.data,
}
