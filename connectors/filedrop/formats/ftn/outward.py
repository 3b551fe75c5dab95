"""From a message of this gateway to netmail: one message, or several where its text is long or files go with it.

Who wrote it stands in From as far as 35 octets allow, and whole in REPLYADDR; REPLYTO tells where an answer is to be
sent (FSC-0035). Message identifiers are carried over so that replies thread (GATEBAU). Control lines that came with a
FidoNet message go out again. Everything made here is the same at each attempt, so that a retry finds what it had put.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from itertools import islice
from typing import Final

from connectors.filedrop.formats.ftn.attributes import Attribute
from connectors.filedrop.formats.ftn.charsets import chrs_of, encode
from connectors.filedrop.formats.ftn.dates import sent_at, write_date, zone_of
from connectors.filedrop.formats.ftn.files import attached_name
from connectors.filedrop.formats.ftn.msgid import crc, next_serial, to_msgid
from connectors.filedrop.formats.ftn.node import Node, read_node
from connectors.filedrop.formats.ftn.packets import NAME_OCTETS, SUBJECT_OCTETS, PackedMessage
from connectors.filedrop.formats.ftn.settings import FtnSettings
from connectors.filedrop.formats.ftn.text import Kludge
from connectors.filedrop.formats.ftn.uuencoding import uuencode
from connectors.filedrop.formats.values import Enclosure, Options, Refused
from connectors.filedrop.names import safe_name
from gateway.contract import Address, Attachment, Fate, Item, Mailbox, Memo, Note, Notify, Parcel, Status, memo

PROGRAM: Final = "Gatepost"
URGENT: Final = 4
"""From this priority on (RFC 6710) netmail gets the crash flag."""

_NETWORKS: Final = ("ftn", "smtp")
_ID: Final = re.compile(r"<[^<>\s]+>")
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BLANKS: Final = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_KLUDGE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_AREA: Final = re.compile(r"AREA:", re.IGNORECASE)
_URGENT_FIELDS: Final = ((b"priority", "urgent"), (b"importance", "high"), (b"x-priority", "1"))
_LONGEST_CHARACTER: Final = 4
_LONGEST_KLUDGE: Final = 900
_MOST_KEPT: Final = 100
_MADE_HERE: Final = frozenset((
    "INTL", "FMPT", "TOPT", "MSGID", "REPLY", "REPLYADDR", "REPLYTO", "CHRS", "CHARSET", "CODEPAGE", "TZUTC",
    "TZUTCINFO", "REALNAME", "SPLIT", "PATH", "AREA", "SEEN-BY", "RFC-TO", "RFC-CC", "RFC-SUBJECT",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Netmails:
    """What carries one message to one recipient: packed messages for `hop`, in order, and the files that go along."""

    messages: tuple[PackedMessage, ...]
    enclosures: tuple[Enclosure, ...]
    notes: tuple[Note, ...]
    hop: Node
    crash: bool
    origin: Node
    destination: Node


class Outward:
    """Gates messages out; immutable, and safe to use from several threads at once."""

    def __init__(self, settings: FtnSettings, options: Options) -> None:
        self._settings = settings
        self._options = options

    def gate(self, parcel: Parcel, item: Item, stem: str) -> Netmails:
        """Return a message as netmail. Raises: OSError where the content cannot be read; Refused."""
        return _Writing(self._settings, self._options, parcel, item, stem).netmails()


def named_node(address: Address) -> tuple[str, Node]:
    """Return the name and the node of an FTN address. Raises: Refused where it is of another network."""
    name, _, place = address.value.rpartition("@")
    node = read_node(place)
    if node is None:
        name, _, middle = name.rpartition("@")
        node = read_node(f"{middle}@{place}")
    if address.network != "ftn" or node is None or not name:
        raise Refused(Status("5.1.2", f"{address} is no address of a FidoNet technology network"))
    return name, node


class _Writing:
    """The making of one message's netmail."""

    def __init__(self, settings: FtnSettings, options: Options, parcel: Parcel, item: Item, stem: str) -> None:
        self._settings = settings
        self._options = options
        self._parcel = parcel
        self._item = item
        self._stem = stem
        self._codec = settings.codec
        self._memo: Memo = memo(parcel.content)
        self._notes: list[Note] = []
        self._top: list[str] = []
        self._at = sent_at(
            self._memo.get(b"date"), self._memo.date if self._memo.date is not None else parcel.arrived_at
        )
        self._to, self._destination = self._recipient()
        self._sender = self._first((b"from",)) or self._first((b"sender",))
        self._origin = self._origin_node()

    def netmails(self) -> Netmails:
        crash = self._settings.crash and self._is_urgent()
        attributes = Attribute.PVT | (Attribute.CRS if crash else 0) | (Attribute.RRQ if self._wants_receipt() else 0)
        subject, subject_kludge = self._subject()
        sender, name_kludges = self._sender_name()
        kept, via = self._kept_kludges()
        msgid = self._msgid()
        kludges = [*self._reply(), *self._reply_to(), *self._charset(), *name_kludges, *subject_kludge]
        kludges += [*self._other_recipients(), *kept]
        first = PackedMessage(
            (self._origin.net, self._origin.node),
            (self._destination.net, self._destination.node),
            int(attributes),
            0,
            write_date(self._at),
            self._octets(self._to),
            sender,
            subject,
            b"",
        )
        enclosures: list[Enclosure] = []
        lines = [*self._first_lines(), *self._lines()]
        if self._settings.attachments == "uuencode":
            lines += self._uuencoded()
        messages = list(self._parts(first, msgid, kludges, lines, via))
        if self._settings.attachments == "file":
            for number, attachment in enumerate(self._memo.attachments, 1):
                made, enclosure = self._file(first, next_serial(msgid, len(messages)), msgid, attachment, number, via)
                messages.append(made)
                enclosures.append(enclosure)
        hop = self._settings.link_of(self._destination)
        ends = self._origin, self._destination
        return Netmails(tuple(messages), tuple(enclosures), tuple(self._notes), hop, crash, *ends)

    # Who it goes to, and who it is from.

    def _recipient(self) -> tuple[str, Node]:
        address = self._item.address
        gate = self._settings.internet_gate
        if address.network == "smtp" and gate is not None:
            name, _, place = gate.rpartition("@")
            self._top.append(f"To: {address.value}")
            return name.strip(), self._settings.node_of(place)
        name, node = named_node(address)
        if self._settings.is_own(node):  # a packet for ourselves would only come back
            raise Refused(Status("5.1.1", f"nobody at this gateway's own node {node.bare} has the name {name}"))
        octets, lost = encode(name, self._codec)
        if lost or len(octets) > NAME_OCTETS:
            raise Refused(Status("5.1.3", f"the name cannot be written in {self._settings.charset}: {name}"))
        return name, node

    def _first(self, names: Sequence[bytes]) -> Mailbox | None:
        for name in names:
            found = self._memo.mailboxes(name, _NETWORKS)
            if found:
                return found[0]
        return None

    def _origin_node(self) -> Node:
        """Return where the netmail comes from: the sender's own node where it has one, else this gateway."""
        if self._sender is not None and self._sender.address.network == "ftn":
            return named_node(self._sender.address)[1]
        return self._settings.own

    def _sender_name(self) -> tuple[bytes, list[Kludge]]:
        """Return the From of the netmail, and its whole in a control line where that is longer."""
        box = self._sender
        if box is None:
            return b"Postmaster", []
        if box.address.network == "ftn":
            name = named_node(box.address)[0]
        else:
            written = box.address.value
            short = len(self._octets(written)) <= NAME_OCTETS
            if self._settings.from_line:
                self._top.append(f"From: {box.name} <{written}>" if box.name else f"From: {written}")
            own_address = self._settings.sender == "address" and short
            name = written if own_address else _one_line(box.name) or written.rpartition("@")[0] or written
        octets = self._octets(name)
        if len(octets) <= NAME_OCTETS:
            return octets, []
        self._notes.append(Note(Fate.MAPPED, "From", f"a name has {NAME_OCTETS} octets here; the whole is in RealName"))
        return self._cut(name, NAME_OCTETS), [Kludge("RealName", name[:_LONGEST_KLUDGE])]

    def _subject(self) -> tuple[bytes, list[Kludge]]:
        subject = _CONTROLS.sub(" ", self._memo.subject).strip()
        octets = self._octets(subject)
        if len(octets) <= SUBJECT_OCTETS:
            return octets, []
        self._notes.append(
            Note(Fate.MAPPED, "Subject", f"it has {SUBJECT_OCTETS} octets here; the whole is in RFC-Subject")
        )
        return self._cut(subject, SUBJECT_OCTETS), [Kludge("RFC-Subject", subject[:_LONGEST_KLUDGE])]

    def _other_recipients(self) -> Iterator[Kludge]:
        """Yield To and Cc, where they name others: netmail has one recipient."""
        found = [(title, self._memo.mailboxes(name, _NETWORKS)) for name, title in ((b"to", "To"), (b"cc", "Cc"))]
        if sum(len(boxes) for _, boxes in found) > 1:
            for title, boxes in found:
                value = ", ".join(map(_shown, boxes))
                if value:
                    self._notes.append(Note(Fate.MAPPED, title, "netmail has one recipient; all are in a control line"))
                    yield Kludge(f"RFC-{title}", value[:_LONGEST_KLUDGE])
                if len(value) > _LONGEST_KLUDGE:
                    left_out = value.count(", ", _LONGEST_KLUDGE) + 1
                    self._notes.append(Note(Fate.DROPPED, f"{title}: {left_out} of many", "the control line is full"))

    # The control lines.

    def _addressing(self) -> Iterator[Kludge]:
        yield Kludge("INTL", f"{self._destination.boss_text} {self._origin.boss_text}", colon=False)
        if self._origin.point:
            yield Kludge("FMPT", str(self._origin.point), colon=False)
        if self._destination.point:
            yield Kludge("TOPT", str(self._destination.point), colon=False)

    def _msgid(self) -> str:
        message_id = self._memo.get(b"message-id").strip()
        made = to_msgid(message_id, self._settings.msgid_domain)
        return made if made is not None else f"{self._origin.bare} {crc(message_id + self._stem)}"

    def _reply(self) -> Iterator[Kludge]:
        ids = _ID.findall(self._memo.get(b"in-reply-to")) or _ID.findall(self._memo.get(b"references"))[-1:]
        made = to_msgid(ids[0], self._settings.msgid_domain) if ids else None
        if made is not None:
            yield Kludge("REPLY", made)

    def _reply_to(self) -> Iterator[Kludge]:
        """Yield where an answer goes, for a sender who is not of this network."""
        box = self._first((b"reply-to",)) or self._sender
        if box is None or box.address.network == "ftn":
            return
        address = box.address
        yield Kludge("REPLYADDR", address.value if address.network == "smtp" else str(address), colon=False)
        yield Kludge("REPLYTO", f"{self._settings.own.without_domain} {self._settings.gateway_names[0]}", colon=False)

    def _charset(self) -> Iterator[Kludge]:
        yield Kludge("CHRS", chrs_of(self._codec))
        yield Kludge("TZUTC", zone_of(self._at))

    def _kept_kludges(self) -> tuple[list[Kludge], list[Kludge]]:
        """Return the control lines that came with the message, and the Via lines, ours behind them."""
        kept: list[Kludge] = []
        via: list[Kludge] = []
        for value in self._values(b"x-ftn-kludge"):
            word, colon, rest = _kludge_parts(value)
            if word and word.upper() not in _MADE_HERE:
                kept.append(Kludge(word, rest, colon))
        kept += [Kludge("TID", value) for value in self._values(b"x-ftn-tid")]
        via += [Kludge("Via", value, colon=False) for value in self._values(b"x-ftn-via")]
        pid = self._values(b"x-ftn-pid")
        at = datetime.fromtimestamp(int(self._parcel.arrived_at), UTC)
        number = self._stem.partition("-")[2] or self._stem
        via.append(Kludge("Via", f"{self._settings.own} @{at:%Y%m%d.%H%M%S}.UTC {PROGRAM} {number}", colon=False))
        return [Kludge("PID", pid[0] if pid else PROGRAM), *kept], via

    def _values(self, name: bytes) -> list[str]:
        """Return what fields of this name hold, decoded; they came from FidoNet, or somebody wrote them."""
        found = islice(self._parcel.content.get_all(name), _MOST_KEPT)
        return [_CONTROLS.sub(" ", _words(value)).strip()[:_LONGEST_KLUDGE] for value in found]

    # What people read.

    def _first_lines(self) -> list[str]:
        return [*self._top, ""] if self._top else []

    def _lines(self) -> list[str]:
        text = self._memo.text.removesuffix("\n")
        lines = [_CONTROL.sub("", line) for line in text.split("\n")] if text else []
        if lines and not self._top and _AREA.match(lines[0]):
            lines[0] = f" {lines[0]}"  # else a tosser might take it for echomail
        return lines

    def _uuencoded(self) -> Iterator[str]:
        left = self._options.max_text_bytes
        for attachment in self._memo.attachments:
            yield ""
            for line in uuencode(safe_name(attachment.name), attachment.octets()):
                left -= len(line)
                if left < 0:
                    text = "the attachments are too large for the text of a message"
                    raise Refused(Status("5.3.4", text))
                yield line
            self._notes.append(Note(Fate.MAPPED, f"attachment {attachment.name}", "uuencoded in the text"))

    def _parts(
        self, first: PackedMessage, msgid: str, kludges: list[Kludge], lines: list[str], via: list[Kludge]
    ) -> Iterator[PackedMessage]:
        parts = _split(map(self._octets, lines), self._settings.max_text_bytes, self._codec)
        if len(parts) > 1:
            self._notes.append(Note(Fate.MAPPED, "text", f"sent as {len(parts)} messages, for its length"))
        for number, octets in enumerate(parts, 1):
            own = [*self._addressing(), Kludge("MSGID", next_serial(msgid, number - 1)), *kludges]
            made = first
            if len(parts) > 1:
                own.append(Kludge("SPLIT", self._split_value(number, len(parts))))
            if number > 1:
                made = replace(first, subject=(f"{number:02}: ".encode() + first.subject)[:SUBJECT_OCTETS])
            yield replace(made, text=self._kludge_lines(own) + octets + self._kludge_lines(via))

    def _split_value(self, number: int, count: int) -> str:
        """Return what FSC-0047 says of a part: when and where the whole was made, its number there, which part."""
        at = write_date(datetime.fromtimestamp(int(self._parcel.arrived_at), UTC)).decode("ascii").replace("  ", " ")
        node = f"@{self._settings.own.net}/{self._settings.own.node}"
        whole = self._parcel.message_id % 100_000
        return f"{at} {node:<11} {whole:<5} {number:02}/{count:02} +++++++++++"

    def _file(
        self, first: PackedMessage, msgid: str, whole: str, attachment: Attachment, number: int, via: list[Kludge]
    ) -> tuple[PackedMessage, Enclosure]:
        """Return the netmail that announces a file, and the file."""
        name = attached_name(attachment.name, self._stem, number, dos=self._settings.file_names == "dos")
        self._notes.append(Note(Fate.MAPPED, f"attachment {attachment.name}", f"sent as the file {name}"))
        own = [*self._addressing(), Kludge("MSGID", msgid), Kludge("REPLY", whole), *self._charset()]
        lines = [f"File: {_one_line(attachment.name)}", f"Of the message: {_one_line(self._memo.subject)}"]
        text = self._kludge_lines(own) + b"".join(self._line(line) for line in lines) + self._kludge_lines(via)
        attributes = (first.attributes | Attribute.ATT) & ~Attribute.RRQ
        # In a packet the name alone: there the file lies beside it, wherever that is.
        shown = self._settings.path_of(name) if self._settings.layout == "messages" else None
        subject = (shown or name).encode("ascii", "replace")
        made = replace(first, attributes=int(attributes), subject=subject, text=text)
        return made, Enclosure(name, attachment.octets)

    # Wishes.

    def _is_urgent(self) -> bool:
        if self._parcel.envelope.priority >= URGENT:
            return True
        return any(self._memo.get(name).strip().lower().split(" ")[0] == word for name, word in _URGENT_FIELDS)

    def _wants_receipt(self) -> bool:
        return bool(self._item.notify & Notify.SUCCESS) or bool(self._memo.get(b"disposition-notification-to"))

    # Octets.

    def _octets(self, text: str) -> bytes:
        octets, lost = encode(text, self._codec)
        if lost:
            note = Note(Fate.MAPPED, "characters", f"some have no place in {self._settings.charset}")
            if note not in self._notes:
                self._notes.append(note)
        return octets

    def _cut(self, text: str, most: int) -> bytes:
        while len(octets := self._octets(text)) > most:
            text = text[: max(0, min(len(text) - 1, most))]
        return octets

    def _line(self, line: str) -> bytes:
        return self._octets(line) + b"\r"

    def _kludge_lines(self, kludges: Iterable[Kludge]) -> bytes:
        return b"".join(b"\x01" + self._line(_CONTROLS.sub(" ", str(kludge))) for kludge in kludges)


def _split(lines: Iterable[bytes], most: int, codec: str) -> list[bytes]:
    """Join lines, without their ends, to texts of at most `most` octets each; a line that is longer is broken."""
    parts: list[list[bytes]] = [[]]
    size = 0
    for line in lines:
        for piece in _broken(line, most - 1, codec):
            if size + len(piece) + 1 > most and parts[-1]:
                parts.append([])
                size = 0
            parts[-1].append(piece + b"\r")
            size += len(piece) + 1
    return [b"".join(part) for part in parts]


def _broken(line: bytes, most: int, codec: str) -> Iterator[bytes]:
    """Yield a line in pieces of at most `most` octets; no character of UTF-8 is parted."""
    while len(line) > most:
        at = most
        while codec == "utf-8" and at > most - _LONGEST_CHARACTER and line[at] & 0xC0 == 0x80:
            at -= 1
        yield line[:at]
        line = line[at:]
    yield line


def _kludge_parts(value: str) -> tuple[str, bool, str]:
    """Return the name, whether a colon follows it, and the value, of a control line as a field holds it."""
    word, _, rest = value.partition(" ")
    name = word.removesuffix(":")
    return (
        (name, word.endswith(":"), rest.strip()) if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) else ("", False, "")
    )


def _words(value: bytes) -> str:
    """Return a field's value with its encoded words as text (RFC 2047)."""
    text = value.decode("utf-8", "replace")
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):
        return text


def _shown(box: Mailbox) -> str:
    """Return a mailbox as people write it: those of this network as name and node."""
    address, name = box.address.value, _one_line(box.name)
    if box.address.network == "ftn":
        return address
    return f"{name} <{address}>" if name else address


def _one_line(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()
