"""From the records of a message to the message: what [map] says of its fields.

Promises: what has been read becomes the Part of an envelope and a content, or a Mistake with its place; no value of a
record leaves its header field.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import PurePath
from typing import Final, Literal

from connectors.filedrop.formats.addresses import ListError, Spec, in_network, read_list, read_one
from connectors.filedrop.formats.header_envelope import FileEnvelope, completed, envelope_of_header, read_header
from connectors.filedrop.formats.header_envelope import Mistake as HeaderMistake
from connectors.filedrop.formats.records.charset import charset
from connectors.filedrop.formats.records.dates import read_date, zone
from connectors.filedrop.formats.records.description import (
    AddressTable,
    AttachmentTable,
    Description,
)
from connectors.filedrop.formats.records.expression import Expression, Tables, Values
from connectors.filedrop.formats.records.reading import Group
from connectors.filedrop.formats.records.record import SHOWN, BadRecord, Cell, Mistake
from connectors.filedrop.formats.values import Beside, Options, Part, Piece, Stamp
from connectors.filedrop.names import is_safe
from gateway.contract import Address, AddressError, Mailbox, Notify, Recipient, compose
from mappings.network import parse

Wish = Expression | tuple[AddressTable, ...] | None
"""What [map] says of addresses."""
MAX_ATTACHMENTS: Final = 256
PRIORITIES: Final = {"urgent": 4, "normal": 0, "low": -4}
"""RFC 6710 gives these numbers to urgent, normal and non-urgent."""
_PREFIX: Final = re.compile(r"[a-z][a-z0-9]{0,31}:")
_IN_ID: Final = re.compile(r"[^!#-'*+\-./0-9=?A-Z^-~]")
"""What may not stand in a Message-ID as it is (RFC 5322 §3.6.4), nor the @ that parts its halves."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """One thing that a message has: what it is called in [map], and what was found for it."""

    target: str
    value: str


@dataclass(frozen=True, slots=True)
class _Person:
    address: Address
    name: str


def cell_of(group: Group, names: frozenset[str]) -> Cell | None:
    """Return the place of a field that one of these names means."""
    return next((c for record in group.records for c in record.cells if c.name in names and c.value), None)


class Mapper:
    """Makes one message of one group of records."""

    def __init__(self, d: Description, tables: Tables, options: Options, stamp: Stamp, group: Group) -> None:
        self.d, self.tables, self.options, self.stamp, self.group = d, tables, options, stamp, group
        self.mapped: list[Mapped] = []
        self._own = {
            "file.name": stamp.name,
            "file.stem": PurePath(stamp.name.replace("\\", "/")).stem,
            "record.number": str(group.records[0].number),
            "record.line": str(group.records[0].line),
        }

    def part(self) -> Part:
        """Raises: BadRecord; OSError where a file beside the message's cannot be read."""
        key = self._one("key", self.d.map.key)
        made = self._whole() if self.d.map.message is not None else self._composed()
        return Part(
            made.reverse_path,
            made.recipients,
            made.content,
            ret=made.ret,
            envid=made.envid,
            priority=made.priority,
            key=key,
            attributes=made.attributes,
            item=self.group.item,
        )

    def _lookup(self, name: str) -> Values:
        own = self._own.get(name)
        return self.group.values.get(name, ()) if own is None else (own,)

    def _one(self, target: str, expression: Expression | None) -> str:
        value = "" if expression is None else expression.one(self._lookup, self.tables)
        return self._note(target, value)

    def _note(self, target: str, value: str) -> str:
        if value:
            self.mapped.append(Mapped(target, value))
        return value

    def _bad(self, rule: str, text: str, mend: str, *expressions: Expression | None) -> BadRecord:
        """Return a mistake at the first field that the expressions name, or else at the record."""
        names = frozenset(name for e in expressions if e is not None for name in e.names)
        cell, first = cell_of(self.group, names), self.group.records[0]
        record = next((r for r in self.group.records if cell is not None and cell in r.cells), first)
        offset = cell.offset if cell is not None and cell.offset >= 0 else record.start
        return BadRecord(Mistake(rule, offset, record.line, text, mend, cell.raw[:SHOWN] if cell else b""))

    def _whole(self) -> Part:
        """Return the message that one field holds, with its own envelope unless [map] names another."""
        m, expression = self.d.map, self.d.map.message
        text = "" if expression is None else expression.one(self._lookup, self.tables)
        octets = text.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "replace")
        try:
            header = read_header(octets[: self.options.max_header_bytes + 4], self.options)
            envelope = FileEnvelope(None, ())
            if (m.sender is None and m.from_ is None) or m.recipients is None:
                envelope = envelope_of_header(header.lines, self.options)
        except HeaderMistake as e:
            raise self._bad(e.rule, e.text, e.mend, expression) from None
        kept = [line for line in header.lines if line.name != b"bcc"]
        head = completed(header, kept, self._stamp(), self.options)
        content = octets if head is None else head + octets[len(header.head) :]
        sender = m.sender or m.from_
        path = envelope.reverse_path if sender is None else self._address("sender", sender)
        people = None if m.recipients is None else self._people("recipients", m.recipients)
        recipients = envelope.recipients if people is None else self._recipients([p.address for p in people])
        self._note("message", text)
        return Part(path, recipients, (content,))

    def _stamp(self) -> Stamp:
        """Return the stamp of this message alone, among those of its file."""
        return Stamp(f"{self.stamp.token}.{self.group.number}", self.stamp.at, self.stamp.name)

    def _composed(self) -> Part:
        m = self.d.map
        sender = self._address("from", m.from_) if m.from_ is not None else None
        name = self._one("from_name", m.from_name)
        path = self._address("sender", m.sender) if m.sender is not None else sender
        author = sender or path
        to, cc, bcc = (self._people(key, getattr(m, key)) for key in ("to", "cc", "bcc"))
        if m.recipients is not None:
            asked = [p.address for p in self._people("recipients", m.recipients)]
        else:
            asked = list(self.options.recipients) or [p.address for p in (*to, *cc, *bcc)]
        recipients = self._recipients(asked)
        subject = self._one("subject", m.subject)
        id_, answers = self._message_id("message_id", m.message_id), self._message_id("in_reply_to", m.in_reply_to)
        priority = self._priority()
        fields: list[tuple[str, str | list[Mailbox]]] = [
            ("From", [Mailbox(name, author)] if author is not None else "undisclosed-sender:;"),
            ("To", [Mailbox(p.name, p.address) for p in to] or ("" if cc else "undisclosed-recipients:;")),
            ("Cc", [Mailbox(p.name, p.address) for p in cc]),
            ("Subject", subject),
            ("Date", formatdate(self._date())),
            ("Message-ID", id_ or f"<{self._stamp().token}@{self.options.hostname}>"),
            ("In-Reply-To", answers),
            ("References", answers),
            *self._importance(priority),
            *self._headers(),
        ]
        pieces = self._pieces(fields, list(self._attachments()))
        return Part(path, recipients, pieces, priority=PRIORITIES[priority])

    def _pieces(
        self, fields: list[tuple[str, str | list[Mailbox]]], files: list[tuple[str, str, Piece]]
    ) -> tuple[Piece, ...]:
        body = self.d.map.body
        subtype: Literal["plain", "html"] = "html" if body is not None and body.kind == "html" else "plain"
        return tuple(compose(fields, self._body(), files, hostname=self.options.hostname, subtype=subtype))

    def _recipients(self, addresses: list[Address]) -> tuple[Recipient, ...]:
        m = self.d.map
        found = tuple(dict.fromkeys(addresses))
        wishes = [e for e in (m.to, m.cc, m.bcc, m.recipients) if e is not None]
        named = [e for wish in wishes for e in (table.value for table in tables_of(wish))]
        if not found:
            mend = "name at least one in the record, or set the connector's recipients"
            raise self._bad("no-recipient", "the record names no recipient", mend, *named)
        if len(found) > self.options.max_recipients:
            raise self._too_many(len(found), *named)
        notify = {"yes": Notify.SUCCESS | Notify.FAILURE, "never": Notify.NEVER}.get(
            self._one("receipt", m.receipt).strip().lower(), Notify.UNSET
        )
        return tuple(Recipient(address, notify) for address in found)

    def _too_many(self, count: int, *expressions: Expression) -> BadRecord:
        text = f"{count} recipients or more, the limit is {self.options.max_recipients}"
        return self._bad("too-many-recipients", text, "write several records, or raise max_recipients", *expressions)

    def _address(self, target: str, expression: Expression) -> Address:
        found = self._people(target, expression)
        if not found:
            names = ", ".join(sorted(expression.names)) or "the expression"
            text = f"{target} is empty: nothing stands in {names}"
            raise self._bad("no-sender", text, "fill the field in, or give a default in [map]", expression)
        return found[0].address

    def _people(self, target: str, wish: Wish) -> list[_Person]:
        found: dict[Address, _Person] = {}
        given = 0
        for table in tables_of(wish):
            names = table.name.each(self._lookup, self.tables) if table.name is not None else []
            texts = table.value.each(self._lookup, self.tables)
            known: set[str] = set()
            for n, text in enumerate(texts):
                if text in known:  # the records of one message may each name all its recipients
                    continue
                known.add(text)
                prefix = prefix_of((table,))
                for person in self._read(target, text, prefix, table):
                    name = names[n] if n < len(names) else ""
                    found.setdefault(person.address, _Person(person.address, person.name or name))
                    given += 1
                    if given > self.options.max_recipients:
                        raise self._too_many(given, table.value)
        for person in found.values():
            self._note(target, f"{person.address}" + (f" ({person.name})" if person.name else ""))
        return list(found.values())

    def _read(self, target: str, text: str, prefix: str, table: AddressTable) -> Iterator[_Person]:
        """Yield the addresses in one value."""
        split = table.split
        inner = text[len(prefix) :] if prefix else text
        if split == "mailboxes":
            try:
                for spec, name in _named(inner, read_list(inner)):
                    yield _Person(in_network(spec, prefix[:-1] or self.options.network), name)
            except ListError as e:
                raise self._bad_address(target, inner, str(e), table) from None
            except AddressError as e:
                raise self._bad_address(target, inner, e.message, table) from None
            return
        for one in inner.split(split) if split else [inner]:
            if one.strip():
                try:
                    address = parse(prefix + one.strip()) if prefix else read_one(one.strip(), self.options.network)
                except AddressError as e:
                    raise self._bad_address(target, one.strip(), e.message, table) from None
                yield _Person(address, "")

    def _bad_address(self, target: str, text: str, why: str, table: AddressTable) -> BadRecord:
        said = f"{target}: {text[:80]!r} is no address: {why}"
        mend = "mend the address, or name its network in [map] (network:{field}), or split several"
        return self._bad("address", said, mend, table.value)

    def _message_id(self, target: str, expression: Expression | None) -> str:
        text = self._one(target, expression).strip().strip("<>").strip()
        if not text:
            return ""
        left, at, right = text.rpartition("@")
        left, right = (left, right) if at and left and right else (text, self.options.hostname)
        return f"<{_escaped(left)}@{_escaped(right)}>"

    def _priority(self) -> str:
        found = self._one("priority", self.d.map.priority).strip().lower()
        return found if found in PRIORITIES else "normal"

    def _importance(self, priority: str) -> list[tuple[str, str]]:
        if priority == "normal":
            return []
        urgent = priority == "urgent"
        return [("Importance", "high" if urgent else "low"), ("Priority", "urgent" if urgent else "non-urgent")]

    def _headers(self) -> Iterator[tuple[str, str]]:
        for name, expression in self.d.map.headers.items():
            value = expression.one(self._lookup, self.tables)
            # A text around fields of which none is there says nothing.
            if not expression.names or any(self._lookup(field) for field in expression.names):
                yield name, self._note(name, value)

    def _date(self) -> float:
        wish = self.d.map.date
        if wish is None:
            return self.stamp.at
        text = wish.value.one(self._lookup, self.tables).strip()
        if not text:
            return self.stamp.at
        found = read_date(text, wish.formats, zone(wish.zone), wish.pivot)
        if found is None:
            said = f"date: {text[:80]!r} is in none of the forms {', '.join(wish.formats)}"
            raise self._bad("date", said, "mend the date, or add its form to formats", wish.value)
        self._note("date", formatdate(found))
        return found

    def _body(self) -> str:
        wish = self.d.map.body
        if wish is None:
            return ""
        if wish.file is not None:
            text = self._text_beside(wish.file)
        else:
            text = wish.join.join(wish.value.each(self._lookup, self.tables) if wish.value is not None else ())
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
        if wish.unwrap:
            text = unwrapped(text, wish.unwrap)
        self._note("body", text)
        return text if not text or text.endswith("\n") else text + "\n"

    def _text_beside(self, expression: Expression) -> str:
        """Return the text of a file that the record names. Raises: BadRecord, OSError."""
        name = expression.one(self._lookup, self.tables).strip()
        if not name:
            return ""
        if not is_safe(name) or self.stamp.beside is None:
            text = f"the text's file {name[:80]!r} is not the name of a file beside the message's"
            raise self._bad("body-file", text, "write the name without any folder", expression)
        file = self.stamp.beside(name)  # where it is not there yet, the message's file waits for it
        if file.size > self.options.max_text_bytes:
            text = f"the text's file has {file.size} octets, the limit is {self.options.max_text_bytes}"
            raise self._bad("body-file", text, "send it as an attachment, or raise max_text_bytes", expression)
        used = charset(self.d.format.charset)
        return used.decode(file.read(0, file.size), "replace").removeprefix("\ufeff").rstrip("\x1a")

    def _attachments(self) -> Iterator[tuple[str, str, Piece]]:
        given = 0
        for table in self.d.map.attachment:
            for file in self._files(table):
                given += 1
                if given > MAX_ATTACHMENTS:
                    text = f"more than {MAX_ATTACHMENTS} attachments"
                    raise self._bad("too-many-attachments", text, "send them in several messages", table.file)
                yield file

    def _files(self, table: AttachmentTable) -> Iterator[tuple[str, str, Piece]]:
        def each(expression: Expression | None) -> list[str]:
            values = [] if expression is None else expression.each(self._lookup, self.tables)
            return [one for value in values for one in value.split(table.split)] if table.split else values

        names, kinds = each(table.name), each(table.media_type)
        wanted = each(table.file or table.data)
        for n, value in enumerate(value.strip() for value in wanted):
            if not value:
                continue
            piece = self._beside(value, table) if table.file is not None else self._inline(value, table)
            fallback = value if table.file is not None else f"attachment-{n + 1}"
            name = names[n].strip() if n < len(names) and names[n].strip() else fallback
            kind = kinds[n].strip() if n < len(kinds) else ""
            self._note("attachment", name)
            yield name, kind or mimetypes.guess_type(name)[0] or "application/octet-stream", piece

    def _beside(self, name: str, table: AttachmentTable) -> Beside:
        if not is_safe(name):
            text = f"the attachment's name {name[:80]!r} is not the name of a file alone"
            raise self._bad(
                "attachment", text, "write the name without any folder; the folder is set in [map]", table.file
            )
        return Beside(name, table.folder, table.keep)

    def _inline(self, value: str, table: AttachmentTable) -> bytes:
        try:
            octets = base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            raise self._bad("base64", "the attachment is no base64", "encode it as RFC 4648 says", table.data) from None
        return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def _escaped(text: str) -> str:
    return _IN_ID.sub(lambda m: "".join(f"%{octet:02X}" for octet in m[0].encode("utf-8", "replace")), text)


def _named(text: str, specs: list[Spec]) -> Iterator[tuple[Spec, str]]:
    """Yield the addresses of a list with the names that stand before their angle brackets."""
    behind = 0
    for spec in specs:
        before = text[behind : spec.offset].rstrip()
        if behind:
            before = before.partition(",")[2]
        name = before[:-1].strip() if before.endswith("<") else ""
        yield spec, name[1:-1].replace('\\"', '"') if len(name) > 1 and name[0] == name[-1] == '"' else name
        behind = spec.offset + len(spec.local) + len(spec.domain) + 1


def prefix_of(wish: Wish) -> str:
    """Return the network that [map] puts before the addresses of a field, with its colon; empty where it names none."""
    found = (_PREFIX.match(table.value.leading) for table in tables_of(wish))
    return next((match[0] for match in found if match is not None), "")


def tables_of(wish: Wish) -> tuple[AddressTable, ...]:
    """Return the address fields of one target, each as a table."""
    if isinstance(wish, Expression):
        return (AddressTable.model_validate({"value": wish}),)
    return wish or ()


def unwrapped(text: str, columns: int) -> str:
    """Join lines again that were broken because the next word had no room in so many columns."""
    made: list[str] = []
    last = ""
    for line in text.split("\n"):
        word = line.split(" ", 1)[0]
        if made and last and word and not line.startswith((" ", "\t", ">")) and len(last) + 1 + len(word) > columns:
            made[-1] += " " + line
        else:
            made.append(line)
        last = line
    return "\n".join(made)
