"""The codec: packets and stored messages read and written, netmail as status reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final, Literal

from connectors.filedrop.formats.ftn.attributes import IN_PACKETS, Attribute
from connectors.filedrop.formats.ftn.charsets import chrs_of, encode
from connectors.filedrop.formats.ftn.dates import usual_zone, write_date
from connectors.filedrop.formats.ftn.inward import Found, Inward
from connectors.filedrop.formats.ftn.msgid import crc
from connectors.filedrop.formats.ftn.node import Node
from connectors.filedrop.formats.ftn.outward import PROGRAM, Outward, named_node
from connectors.filedrop.formats.ftn.packets import (
    DATE_OCTETS,
    END,
    HEADER_OCTETS,
    MESSAGE_OCTETS,
    SUBJECT_OCTETS,
    Fault,
    PackedMessage,
    PacketHeader,
    read_header,
    read_messages,
    write_header,
    write_message,
)
from connectors.filedrop.formats.ftn.settings import FtnSettings
from connectors.filedrop.formats.ftn.stored import HEADER_OCTETS as STORED_OCTETS
from connectors.filedrop.formats.ftn.stored import StoredMessage, read_stored, write_stored
from connectors.filedrop.formats.ftn.text import Kludge, join_text
from connectors.filedrop.formats.ftn.told import told
from connectors.filedrop.formats.values import Bad, Encoded, FormatSettings, Options, Part, Span, Stamp
from connectors.filedrop.layouts import Layout
from gateway.contract import Action, Blob, Capabilities, Item, Parcel, RecipientReport, Report
from gateway.mailbox_files import REAL, Operations

Flavour = Literal["normal", "crash", "direct", "hold"]

_STORED: Final = ".msg"
_PACKETS: Final = (".pkt", ".out", ".cut", ".dut", ".hut", ".iut")
_WORDS: Final = {
    Action.DELIVERED: "delivered",
    Action.RELAYED: "passed on to a system that tells no more",
    Action.DELAYED: "not delivered yet; it is being tried again",
    Action.FAILED: "not delivered",
    Action.DISPLAYED: "read",
}


@dataclass(frozen=True, slots=True)
class Netmail(Encoded):
    """Messages for one node, a piece of octets each: packed, or stored. `node` is `hop` as a value.

    `at` is when they came, in seconds since 1970.
    """

    node: Node = field(default=Node(0, 0, 0))
    flavour: Flavour = "normal"
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Ftn:
    """FidoNet technology: a file is a packet of any number of messages, or one stored message."""

    name: str
    options: Options
    settings: FtnSettings
    Settings: ClassVar[type[FormatSettings]] = FtnSettings
    extension: ClassVar[str] = ".pkt"
    status_is_message: ClassVar[bool] = True
    status_extension: ClassVar[str] = ".pkt"
    one_a_recipient: ClassVar[bool] = True
    many_a_file: ClassVar[bool] = True

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            header_networks=("ftn",),
            mime=False,
            html=False,
            attachments=True,
            charset=self.settings.codec,
            max_subject_chars=SUBJECT_OCTETS,
        )

    @staticmethod
    def is_message(name: str) -> bool:
        """Say whether a file's name is one of a packet or of a stored message, in any case."""
        return not name.startswith(".") and name.lower().endswith((*_PACKETS, _STORED))

    @staticmethod
    def file_stem(stem: str) -> str:
        """Return a packet's name without its extension: eight hexadecimal digits, always the same for a stem."""
        return crc(stem)

    def layout(self, folder: Path, ops: Operations = REAL) -> Layout | None:
        """Return how messages stand in a mailer's outbound, or in a netmail folder; None where packets are files like
        any other format's."""
        if self.settings.layout == "packets":
            return None
        if self.settings.layout == "messages":
            from connectors.filedrop.netmail_layout import NetmailLayout

            return NetmailLayout(folder, ops)
        from connectors.filedrop.bso import BsoLayout  # it writes what this module makes

        return BsoLayout(folder, self, ops)

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the messages of a packet, or of a stored message. Raises: OSError."""
        inward = Inward(self.settings, self.options)
        start = file.read(0, HEADER_OCTETS)
        lower = stamp.name.lower()
        if lower.endswith(_STORED) or (start[18:20] != b"\x02\x00" and not lower.endswith(_PACKETS)):
            yield self._stored(file, stamp, inward)
        else:
            yield from self._packet(file, start, stamp, inward)

    def _stored(self, file: Blob, stamp: Stamp, inward: Inward) -> Part | Bad:
        limit = self.options.max_text_bytes + STORED_OCTETS
        if file.size > limit:
            text = f"the message has more than {limit} octets"
            return Bad("ftn.text-too-long", limit, 0, text, "have it sent in parts, or raise max_file_bytes")
        octets = file.read(0, file.size)
        stored = read_stored(octets)
        if stored is None:
            text = f"a stored message has at least {STORED_OCTETS} octets"
            return Bad("ftn.cut-off", len(octets), 0, text, "have it written again", octets[:32])
        message = stored.message
        origin = Node(stored.zones[0], *message.origin, stored.points[0])
        destination = Node(stored.zones[1], *message.destination, stored.points[1])
        return inward.gate(Found(message, origin, destination), stamp)

    def _packet(self, file: Blob, start: bytes, stamp: Stamp, inward: Inward) -> Iterator[Part | Bad]:
        header = read_header(start)
        if isinstance(header, Fault):
            yield _bad(header)
            return
        refusal = self._refusal(header)
        if refusal is not None:
            yield _bad(refusal)
            return
        for found in read_messages(file, self.options.max_text_bytes):
            head = Span(0, HEADER_OCTETS)
            if isinstance(found, Fault):
                yield _bad(found, (head, Span(found.start, found.end)))
            else:
                alone = (head, *_whole(found), END)
                yield inward.gate(Found(found, header.origin, header.destination, alone), stamp)

    def _refusal(self, header: PacketHeader) -> Fault | None:
        """Return why nothing of a packet is taken: a password that is not the one agreed on."""
        origin = header.origin
        if not origin.zone:
            origin = Node(self.settings.own.zone, origin.net, origin.node, origin.point)
        expected = self.settings.password_of(origin)
        if expected is None and self.settings.known_only:
            text = f"the packet is from {origin.bare}, with which no password is agreed on"
            return Fault(
                "unknown-link", 0, 0, HEADER_OCTETS, text, "set a password for this node, or known_only = false"
            )
        if expected is not None and header.password.upper() != expected.encode("ascii").upper():
            text = f"the packet from {origin.bare} has another password than is agreed on"
            return Fault("password", 26, 0, HEADER_OCTETS, text, "set the same password at both ends")
        return None

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return the netmail for one recipient. Raises: OSError where the content cannot be read; Refused."""
        made = Outward(self.settings, self.options).gate(parcel, items[0], stem)
        notes = (*made.notes, *told(parcel, items[0], self.settings, crash=made.crash))
        flavour: Flavour = "crash" if made.crash else self.settings.flavour
        messages = tuple(self._octets(message, made.origin, made.destination) for message in made.messages)
        return Netmail(
            lambda: iter(messages),
            made.enclosures,
            notes,
            hop=str(made.hop),
            node=made.hop,
            flavour=flavour,
            at=parcel.arrived_at,
        )

    def _octets(self, message: PackedMessage, origin: Node, destination: Node) -> bytes:
        """Return a message as a packet holds it, or as a netmail folder does: there as one written on its system."""
        if self.settings.layout != "messages":
            return write_message(message)
        attributes = message.attributes | Attribute.LOC | (Attribute.KFS if self.settings.kill_sent else 0)
        if self.settings.flavour == "hold" and not attributes & Attribute.CRS:
            attributes |= Attribute.HLD
        local = replace(message, attributes=int(attributes))
        return write_stored(StoredMessage(local, (origin.zone, destination.zone), (origin.point, destination.point)))

    def opening(self, encoded: Encoded) -> bytes:
        """Return the packet's header."""
        if not isinstance(encoded, Netmail):
            raise TypeError("a packet is made of what this codec encodes")
        at = datetime.fromtimestamp(encoded.at, UTC).astimezone(usual_zone(self.settings.timezone))
        own, node = self.settings.own, encoded.node
        header = PacketHeader(
            self.settings.in_network(own),
            self.settings.in_network(node),
            self.settings.packet_type,
            (at.year, at.month, at.day, at.hour, at.minute, at.second),
            (self.settings.password_of(node) or "").encode("ascii"),
            self.settings.product,
        )
        return write_header(header, self.settings.point_style)

    def closing(self) -> bytes:
        return END

    def status(self, report: Report, key: str, stem: str) -> Encoded | None:
        """Return netmail to the sender that tells what became of a message: a return receipt, or that it failed."""
        if report.reverse_path.network != "ftn":
            return None
        name, node = named_node(report.reverse_path)
        own, codec = self.settings.own, self.settings.codec
        good = all(each.action in (Action.DELIVERED, Action.RELAYED, Action.DISPLAYED) for each in report.recipients)
        at = datetime.fromtimestamp(int(report.arrived_at), UTC)
        kludges = [Kludge("INTL", f"{node.boss_text} {own.boss_text}", colon=False)]
        kludges += [Kludge("FMPT", str(own.point), colon=False)] if own.point else []
        kludges += [Kludge("TOPT", str(node.point), colon=False)] if node.point else []
        kludges.append(Kludge("MSGID", f"{own} {crc(f'{stem}{report.message_id}')}"))
        kludges += [Kludge("REPLY", key)] if key else []
        kludges += [Kludge("CHRS", chrs_of(codec)), Kludge("TZUTC", "0000"), Kludge("PID", PROGRAM)]
        lines = [line for each in report.recipients for line in _about(each)]
        text, _ = encode(join_text(kludges, lines, []), codec)
        message = PackedMessage(
            (own.net, own.node),
            (node.net, node.node),
            int(Attribute.PVT | Attribute.RRC) & IN_PACKETS,
            0,
            write_date(at),
            encode(name, codec)[0],
            b"Postmaster" if good else b"Mail Delivery",
            b"Return receipt" if good else b"Undelivered mail",
            text,
        )
        octets = self._octets(message, own, node)
        hop = self.settings.link_of(node)
        flavour = self.settings.flavour
        return Netmail(lambda: (octets,), hop=str(hop), node=hop, flavour=flavour, at=report.arrived_at)


def _about(report: RecipientReport) -> Iterable[str]:
    """Return the lines about one recipient."""
    yield f"{report.original}: {_WORDS[report.action]}"
    yield f"    {report.status}"
    yield ""


def _whole(message: PackedMessage) -> tuple[bytes | Span, ...]:
    """Return a message's place in its file, with a short date filled up: what follows one tells that it is short."""
    if message.names - message.start == MESSAGE_OCTETS:
        return (Span(message.start, message.end),)
    numbers = Span(message.start, message.start + MESSAGE_OCTETS - DATE_OCTETS)
    return numbers, message.date.ljust(DATE_OCTETS, b"\0"), Span(message.names, message.end)


def _bad(fault: Fault, item: tuple[bytes | Span, ...] | None = None) -> Bad:
    return Bad(f"ftn.{fault.rule}", fault.offset, 0, fault.text, fault.mend, fault.found, item)
