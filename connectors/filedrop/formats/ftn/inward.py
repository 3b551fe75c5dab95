"""From a FidoNet message to a message of this gateway.

A netmail goes to the address it names; one to a gateway's name (`UUCP`) goes to the internet addresses on its first
lines (FSC-0035). An echomail goes to the address that its area has here. Message identifiers are carried over so that
replies thread (GATEBAU); control lines that mean nothing to internet mail are kept as X-FTN fields.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from connectors.filedrop.formats.addresses import ListError, in_network, read_list, read_one
from connectors.filedrop.formats.ftn.attributes import Attribute, names
from connectors.filedrop.formats.ftn.charsets import decode
from connectors.filedrop.formats.ftn.dates import in_zone, read_date, usual_zone
from connectors.filedrop.formats.ftn.msgid import to_message_id, without_msgid
from connectors.filedrop.formats.ftn.node import Node, read_node
from connectors.filedrop.formats.ftn.packets import NAME_OCTETS, PackedMessage
from connectors.filedrop.formats.ftn.settings import FtnSettings
from connectors.filedrop.formats.ftn.text import MessageText, read_text, read_zone
from connectors.filedrop.formats.ftn.uuencoding import find_blocks
from connectors.filedrop.formats.values import Bad, Beside, Options, Part, Piece, Span, Stamp
from connectors.filedrop.names import is_safe, safe_name
from gateway.contract import Address, AddressError, Mailbox, Notify, Recipient, compose
from mappings.network import registry

URGENT: Final = 4
"""The priority of netmail with the crash flag (RFC 6710 has -9 to 9)."""
MAX_ROUNDS: Final = 5
"""How often a message may have left by this gateway before it is taken for one that goes in circles."""

_UNDERSTOOD: Final = frozenset((
    "INTL", "FMPT", "TOPT", "MSGID", "REPLY", "REPLYADDR", "REPLYTO", "CHRS", "CHARSET", "CODEPAGE", "TZUTC",
    "TZUTCINFO", "PATH", "REALNAME",
))  # fmt: skip
_OWN_FIELDS: Final = {"PID": "X-FTN-PID", "TID": "X-FTN-TID", "VIA": "X-FTN-Via"}
_LINE: Final = re.compile(r"(To|Cc|Bcc|From|Reply-To|Subject)[ \t]*:[ \t]*(.*)", re.IGNORECASE)
_BLANKS_BEFORE: Final = 3
_FILE_NAMES: Final = re.compile(r"[ ,]+")
_SPLIT_PART: Final = re.compile(r"\b([0-9]{1,3})/[0-9]{1,3}[ \t]*\+*[ \t]*\Z")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Found:
    """A message as it was found: in a packet of these two, or in a file of its own; `item` is it alone as a file."""

    message: PackedMessage
    origin: Node
    destination: Node
    """The packet's own, or what a stored message's header says: they tell zones and points where the text does not."""
    item: tuple[bytes | Span, ...] | None = None


class Mistake(Exception):
    """Carries a Bad up to whoever knows the message's place in the file."""

    def __init__(self, rule: str, text: str, mend: str, found: str = "") -> None:
        self.rule, self.text, self.mend, self.found = rule, text, mend, found
        super().__init__(text)


@dataclass(slots=True)
class _Reading:
    """What is known of a message so far."""

    found: Found
    text: MessageText
    sender: str
    to: str
    subject: str
    origin: Node
    destination: Node
    lines: list[str]
    recipients: list[Address] = field(default_factory=list)
    to_field: list[Mailbox] = field(default_factory=list)
    cc: list[Mailbox] = field(default_factory=list)
    reply_to: list[Mailbox] = field(default_factory=list)


class Inward:
    """Gates messages in; immutable, and safe to use from several threads at once."""

    def __init__(self, settings: FtnSettings, options: Options) -> None:
        self._settings = settings
        self._options = options
        self._default = settings.codec
        self._own = settings.own_nodes
        self._usual_zone = usual_zone(settings.timezone)
        self._gateway_names = frozenset(name.casefold() for name in settings.gateway_names)

    def gate(self, found: Found, stamp: Stamp) -> Part | Bad:
        """Return what a message is here, or what is wrong with it. Raises: OSError of `stamp.beside`."""
        try:
            return self._part(self._read(found), stamp)
        except Mistake as m:
            offset = found.message.start
            shown = m.found.encode("utf-8", "replace")[:_SHOWN]
            return Bad(f"ftn.{m.rule}", offset, 0, m.text, m.mend, shown, found.item)

    def _read(self, found: Found) -> _Reading:
        message = found.message
        text = read_text(message.text, self._default)
        sender, to = (_clean(decode(octets, text.charset, self._default)) for octets in (message.sender, message.to))
        subject = _CONTROL.sub(" ", decode(message.subject, text.charset, self._default)).strip()
        origin, destination = self._nodes(found, text)
        reading = _Reading(found, text, sender, to, subject, origin, destination, list(text.lines))
        self._refuse_circles(reading)
        if text.area:
            self._to_area(reading)
        elif destination.bare in self._own and to.casefold() in self._gateway_names:
            self._to_first_lines(reading)
        else:
            self._to_name(reading)
        return reading

    def _nodes(self, found: Found, text: MessageText) -> tuple[Node, Node]:
        """Return the effective addresses (FTS-4001): zones from INTL, points from FMPT and TOPT, else the packet's."""
        message = found.message
        zone = self._settings.own.zone
        intl = [read_node(word) for word in text.get("INTL").split()]
        origin = Node(found.origin.zone or zone, *message.origin)
        destination = Node(found.destination.zone or zone, *message.destination)
        if len(intl) == 2 and intl[0] is not None and intl[1] is not None:
            destination, origin = intl[0].bare.boss, intl[1].bare.boss
        if text.area:
            return text.origin_node or _node_of_msgid(text) or origin, destination
        return (
            _with_point(origin, text.get("FMPT"), found.origin),
            _with_point(destination, text.get("TOPT"), found.destination),
        )

    def _refuse_circles(self, reading: _Reading) -> None:
        nodes = (
            read_node(word) for k in reading.text.kludges if k.name.upper() == "VIA" for word in k.value.split()[:2]
        )
        if sum(node is not None and node.bare in self._own for node in nodes) > MAX_ROUNDS:
            text = f"the message has left by this gateway more than {MAX_ROUNDS} times; it goes in circles"
            raise Mistake("loop", text, "find who sends it back, then hand it in again without its Via lines")

    def _address(self, name: str, node: Node) -> Address:
        domain = self._settings.domain_of(node)
        text = f"{name or 'Sysop'}@{node.bare}{'@' if domain else ''}{domain}"
        try:
            return registry().parse_in("ftn", text)
        except AddressError as e:
            raise Mistake("bad-address", f"{e.message} ({e.rule})", "have it addressed anew", text) from None

    def _to_area(self, reading: _Reading) -> None:
        area = reading.text.area
        target = self._settings.areas.get(area.upper())
        if target is None:
            mend = "name the area and an address for it in the option areas, or have the link stopped"
            raise Mistake("unknown-area", "the echomail area has no address here", mend, area)
        address = read_one(target, "smtp")
        reading.recipients.append(address)
        reading.to_field.append(Mailbox(area, address))

    def _to_name(self, reading: _Reading) -> None:
        address: Address | None = None
        if "@" in reading.to and reading.destination.bare in self._own:
            try:
                address = read_one(reading.to, self._options.network)
            except AddressError:
                address = None
        if address is None:
            address = self._address(reading.to[:NAME_OCTETS], reading.destination)
        reading.recipients.append(address)
        reading.to_field.append(Mailbox(reading.to if address.network == "ftn" else "", address))

    def _to_first_lines(self, reading: _Reading) -> None:
        """Read the lines on top of a netmail to the gateway, and take them off the text."""
        fields, count = _first_lines(reading.lines)
        for name, value in fields:
            if name == "subject":
                reading.subject = _clean(value)
            elif name != "from":
                mailboxes = self._mailboxes(value)
                if name == "reply-to":
                    reading.reply_to += mailboxes
                else:
                    reading.recipients += [mailbox.address for mailbox in mailboxes]
                    reading.to_field += mailboxes if name == "to" else []
                    reading.cc += mailboxes if name == "cc" else []
        if not reading.recipients:
            text = f"netmail to {reading.to} does not begin with a line To: user@host"
            mend = "write To: and the internet address as the first line of the text"
            raise Mistake("no-to-line", text, mend, reading.lines[0] if reading.lines else "")
        if len(reading.recipients) > self._options.max_recipients:
            text = f"{len(reading.recipients)} recipients, the limit is {self._options.max_recipients}"
            raise Mistake("too-many-recipients", text, "write several messages, or raise max_recipients")
        del reading.lines[:count]

    def _mailboxes(self, value: str) -> list[Mailbox]:
        try:
            return [Mailbox("", in_network(spec, self._options.network)) for spec in read_list(value)]
        except ListError as e:
            try:
                return [Mailbox("", read_one(value.strip(), self._options.network))]
            except AddressError:
                raise Mistake("bad-to-line", str(e), "write To: user@host", value) from None
        except AddressError as e:
            raise Mistake("bad-to-line", f"{e.message} ({e.rule})", "write To: user@host", value) from None

    def _part(self, reading: _Reading, stamp: Stamp) -> Part:
        message, text = reading.found.message, reading.text
        attributes = message.attributes
        origin = self._address(reading.sender[:NAME_OCTETS], reading.origin)
        attachments: list[tuple[str, str, Piece]] = []
        if attributes & Attribute.ATT and not text.area:
            attachments += self._attached(reading, stamp)
        attachments += _from_text(reading)
        fields: list[tuple[str, str | Sequence[Mailbox]]] = [
            ("From", [Mailbox(_clean(text.get("REALNAME")) or reading.sender, origin)]),
            ("To", reading.to_field),
            ("Cc", reading.cc),
            ("Reply-To", reading.reply_to or self._reply_to(reading)),
            ("Subject", reading.subject),
            ("Date", format_datetime(self._date(reading, stamp))),
            *self._identifiers(reading, stamp),
            ("Priority", "urgent" if attributes & Attribute.CRS else ""),
            *_ftn_fields(reading),
        ]
        body = "".join(f"{line}\n" for line in reading.lines)
        content = compose(fields, body, attachments, hostname=self._options.hostname)
        notify = Notify.SUCCESS | Notify.FAILURE if attributes & Attribute.RRQ else Notify.UNSET
        recipients = dict.fromkeys(reading.recipients)
        return Part(
            None if attributes & Attribute.RRC else origin,
            tuple(Recipient(address, notify) for address in recipients),
            tuple(content),
            priority=URGENT if attributes & Attribute.CRS else 0,
            key=text.get("MSGID")[:_SHOWN],
            item=reading.found.item,
        )

    def _reply_to(self, reading: _Reading) -> list[Mailbox]:
        """Return where a gateway says that its sender is (FSC-0035)."""
        value = reading.text.get("REPLYADDR")
        if not value:
            return []
        try:
            return self._mailboxes(value)[:1]
        except Mistake:
            return []

    def _date(self, reading: _Reading, stamp: Stamp) -> datetime:
        local = read_date(reading.found.message.date)
        if local is None:
            return datetime.fromtimestamp(int(stamp.at), UTC)
        return in_zone(local, read_zone(reading.text.get("TZUTC", "TZUTCINFO")), self._usual_zone)

    def _identifiers(self, reading: _Reading, stamp: Stamp) -> Iterator[tuple[str, str]]:
        text, message = reading.text, reading.found.message
        domain = self._settings.msgid_domain
        own = to_message_id(text.get("MSGID"), domain)
        refers = to_message_id(text.get("REPLY"), domain)
        part = _SPLIT_PART.search(text.get("SPLIT"))
        if own is not None and part is not None and int(part[1]) > 1:
            # All parts have the id of the whole; a further part is made one of its own, that answers the first.
            whole, own = own, to_message_id(text.get("MSGID"), domain, verbatim=True)
            refers = whole if whole != own else refers
        if own is None:
            at = read_date(message.date) or datetime.fromtimestamp(int(stamp.at), UTC)
            names_of_it = message.sender + message.to + message.subject
            own = without_msgid(str(reading.origin.bare), at, names_of_it, domain)
        yield "Message-ID", own
        yield "In-Reply-To", refers or ""
        yield "References", refers or ""

    def _attached(self, reading: _Reading, stamp: Stamp) -> list[tuple[str, str, Piece]]:
        """Return the files that the subject lists; which folder they lay in is their sender's affair."""
        found: list[tuple[str, str, Piece]] = []
        for word in _FILE_NAMES.split(reading.subject.strip()):
            name = re.split(r"[/\\:]", word.lstrip("^#~"))[-1]
            if not name:
                continue
            if not is_safe(name):
                raise Mistake("unsafe-name", "the subject names a file that may not be opened", "rename it", word)
            found.append((name, "application/octet-stream", Beside(_as_it_stands(name, stamp))))
        return found


def _as_it_stands(name: str, stamp: Stamp) -> str:
    """Return a file's name as it is in the folder: DOS makes no difference of capitals, and says all in capitals."""
    if stamp.beside is not None:
        for each in dict.fromkeys((name, name.lower(), name.upper())):
            try:
                stamp.beside(each)
            except FileNotFoundError:
                continue
            return each
    return name


def _from_text(reading: _Reading) -> list[tuple[str, str, Piece]]:
    """Take the uuencoded files out of a text."""
    found: list[tuple[str, str, Piece]] = []
    blocks = find_blocks(reading.lines)
    for block in blocks:
        octets = base64.encodebytes(block.octets).replace(b"\n", b"\r\n")
        found.append((safe_name(block.name), "application/octet-stream", octets))
    for block in reversed(blocks):
        del reading.lines[block.start : block.end]
    return found


def _first_lines(lines: list[str]) -> tuple[list[tuple[str, str]], int]:
    """Return the address lines on top of a text, and how many lines they are with the empty ones around them."""
    at = 0
    while at < len(lines) and at < _BLANKS_BEFORE and not lines[at].strip():
        at += 1
    fields: list[tuple[str, str]] = []
    while at < len(lines):
        line = _LINE.fullmatch(lines[at].rstrip())
        if line is not None:
            fields.append((line[1].lower(), line[2]))
        elif fields and lines[at][:1] in (" ", "\t") and lines[at].strip():
            fields[-1] = (fields[-1][0], f"{fields[-1][1]} {lines[at].strip()}")
        else:
            break
        at += 1
    if fields and at < len(lines) and not lines[at].strip():
        at += 1
    return fields, at


def _with_point(node: Node, told: str, packet: Node) -> Node:
    if told.isascii() and told.isdigit() and len(told) <= 5:
        return replace(node, point=int(told))
    if packet.point and (packet.net, packet.node) == (node.net, node.node):
        return replace(node, point=packet.point)
    return node


def _node_of_msgid(text: MessageText) -> Node | None:
    return read_node(text.get("MSGID").partition(" ")[0])


def _ftn_fields(reading: _Reading) -> Iterator[tuple[str, str]]:
    """Yield what internet mail has no field of its own for."""
    text = reading.text
    yield "X-FTN-From", f"{reading.sender} @ {reading.origin}"
    yield "X-FTN-To", f"{reading.to} @ {reading.destination}" if not text.area else reading.to
    yield "X-FTN-Attributes", names(reading.found.message.attributes)
    yield "X-FTN-Area", text.area
    yield "X-FTN-Origin", text.origin
    for seen in text.seen_by:
        yield "X-FTN-Seen-By", seen
    for kludge in text.kludges:
        name = kludge.name.upper()
        if name == "PATH":
            yield "X-FTN-Path", kludge.value
        elif name in _OWN_FIELDS:
            yield _OWN_FIELDS[name], kludge.value
        elif name not in _UNDERSTOOD:
            yield "X-FTN-Kludge", str(kludge)


def _clean(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())
