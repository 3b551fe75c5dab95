"""ldif: entries of a directory server in the LDAP Data Interchange Format.

What is taken of an entry is told in `mappings.formats.ldap_entry`. A value by URL (`attr:< file:///…`) is refused: a
file that is imported has no business to name another. Records of changes are a problem each, unless the option
`changes = add` says that those with `changetype: add` are to be read as entries.

Written are entries as Active Directory has them, with proxyAddresses for all networks; the option `base` is what their
names end in. Members of a group are written by the names of their entries where these are in the file, else as
rfc822MailMember. Not carried: former addresses (they become aliases), times, homes and stages.
Source: RFC 2849; the entries of [MS-ADA1] to [MS-ADA3].
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mappings.address import Address
from mappings.formats import Format, OptionError, Options, Reading, Written, ldap_entry, proxy
from mappings.formats.people import (
    ENCODING,
    PHONES,
    Losses,
    People,
    check_options,
    encoding_of,
    unreadable,
    yes_or_no,
)
from mappings.identity import Identity, Kind, Role
from mappings.network import Registry
from mappings.rule import Rule
from mappings.tabular import MAX_FIELD, MAX_OCTETS, MAX_ROWS, Problems, quoted

_CHANGES: Final = {"changes": "add reads records with `changetype: add` as entries"}
_BASE: Final = {"base": "the name that the written entries' names end in, such as ou=people,dc=acme,dc=example"}
_ATTRIBUTE: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9.-]*(?:;[A-Za-z0-9-]+)*")
_SAFE: Final = re.compile(rb"(?![ :<])[\x01-\x09\x0b\x0c\x0e-\x7f]*(?<! )|")
_WIDTH: Final = 76
_MAX_VALUES: Final = 1_000_000
"""Of one record: a group of a million members."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record: the line it begins on, its name, and the values in order."""

    line: int
    dn: str
    values: list[tuple[str, bytes]]


class _BadRecord(Exception):
    """What is wrong with a record, and the line."""

    def __init__(self, line: int, column: str, message: str) -> None:
        self.place = (line, column, message)
        super().__init__(message)


class Ldif:
    """LDIF."""

    name = "ldif"
    suffixes = (".ldif", ".ldf")
    options: Mapping[str, str] = ENCODING | PHONES | _CHANGES | _BASE

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        changes = options.get("changes")
        if changes not in (None, "add"):
            raise OptionError(f"the option changes is add or nothing, not {changes!r}")
        encoding = encoding_of(options)
        people = People(networks, phones=yes_or_no(options, "phones", True))
        if len(octets) > MAX_OCTETS:
            return unreadable(f"the file has {len(octets)} octets, at most {MAX_OCTETS} are read; split it")
        try:
            octets = _as_utf8(octets)
        except UnicodeDecodeError as e:
            return unreadable(f"the file says it is UTF-16 and is not (octet {e.start}); save it as UTF-8")
        for record in records(octets, people.problems, changes=changes == "add", encoding=encoding):
            ldap_entry.take(people, record.line, record.dn, ldap_entry.simplified(record.values), encoding)
        return people.reading()

    def write(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        check_options(options, self.options, self.name)
        made = _Writer(list(identities), options.get("base", ""), networks)
        made.losses.of_rules(rules)
        return Written(made.octets(), made.losses.problems())


def records(octets: bytes, problems: Problems, *, changes: bool, encoding: str | None = None) -> Iterator[Record]:
    """Yield the records of LDIF in UTF-8; add a problem for each that is none, and go on with the next."""
    found = 0
    for lines in _blocks(octets):
        try:
            record = _record(lines, changes, encoding)
        except _BadRecord as e:
            problems.add(*e.place)
            continue
        if record is None:
            continue
        found += 1
        if found > MAX_ROWS:
            problems.add(record.line, "", f"more than {MAX_ROWS} records; split the file")
            return
        yield record


def _as_utf8(octets: bytes) -> bytes:
    if octets.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return octets.decode("utf-16").encode("utf-8", "replace")
    return octets.removeprefix(BOM_UTF8)


def _blocks(octets: bytes) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the (line, text) of each record, its folded lines joined and its comments left out."""
    block: list[tuple[int, bytes]] = []
    parts: list[bytes] = []
    start = at = 0
    number = 0
    while at < len(octets):
        end = octets.find(b"\n", at)
        end = len(octets) if end < 0 else end
        raw = octets[at:end].removesuffix(b"\r")
        at = end + 1
        number += 1
        if raw.startswith(b" "):
            if parts:
                parts.append(raw[1:])
            else:  # nothing to go on with: an indented line of its own, which is no attribute either
                block.append((number, raw))
            continue
        if parts:
            _finish(block, start, parts)
        parts = []
        if raw:
            start, parts = number, [raw]
        elif block:
            yield block
            block = []
    if parts:
        _finish(block, start, parts)
    if block:
        yield block


def _finish(block: list[tuple[int, bytes]], start: int, parts: list[bytes]) -> None:
    text = b"".join(parts)
    if not text.startswith(b"#"):
        block.append((start, text))


def _record(lines: list[tuple[int, bytes]], changes: bool, encoding: str | None) -> Record | None:
    """Return a record, None for a block that is only the version. Raises: _BadRecord."""
    first = lines[0][0]
    if lines[0][1].lower().startswith(b"version:"):
        if lines[0][1][8:].strip() != b"1":
            raise _BadRecord(first, "version", "this version of LDIF is not known; there is 1")
        lines = lines[1:]
        if not lines:
            return None
    if len(lines) > _MAX_VALUES:
        raise _BadRecord(first, "", f"the record has {len(lines)} values, at most {_MAX_VALUES} are read")
    line, name, value = _line(*lines[0])
    if name.lower() != "dn":
        raise _BadRecord(line, name, "a record begins with its name, dn: …")
    try:
        dn = value.decode()
    except UnicodeDecodeError:
        try:
            dn = value.decode(encoding or "ascii")
        except UnicodeError:
            raise _BadRecord(line, "dn", "the name is not UTF-8") from None
    values: list[tuple[str, bytes]] = []
    for number, text in lines[1:]:
        line, name, value = _line(number, text)
        if name.lower() == "changetype":
            if not changes:
                raise _BadRecord(line, "changetype", "a record of a change; export entries, or set changes=add")
            if value.strip().lower() != b"add":
                raise _BadRecord(
                    line, "changetype", f"{quoted(value)} says no whole entry; of changes add alone is read"
                )
            continue
        if name.lower() == "control" and changes:
            continue
        values.append((name, value))
    return Record(first, dn, values)


def _line(number: int, text: bytes) -> tuple[int, str, bytes]:
    """Return (line, attribute, value). Raises: _BadRecord."""
    raw, colon, rest = text.partition(b":")
    if not colon or not _ATTRIBUTE.fullmatch(raw):
        raise _BadRecord(number, "", f"{quoted(text)} is no line of LDIF; write attribute: value")
    name = raw.decode("ascii")
    if len(rest) > 2 * MAX_FIELD:
        raise _BadRecord(number, name, f"the value has {len(rest)} octets, at most {2 * MAX_FIELD} are read")
    if rest.startswith(b"<"):
        raise _BadRecord(number, name, "a value by URL is not fetched; write the value itself, after :: in base64")
    if not rest.startswith(b":"):
        return number, name, rest.lstrip(b" ")
    try:
        return number, name, b64decode(rest[1:].strip(b" "), validate=True)
    except (Base64Error, ValueError) as e:
        raise _BadRecord(number, name, f"the value is not base64: {e}") from None


# -- writing

_CLASSES: Final = {
    Kind.PERSON: ("top", "person", "organizationalPerson", "user"),
    Kind.ROOM: ("top", "person", "organizationalPerson", "user"),
    Kind.DEVICE: ("top", "person", "organizationalPerson", "user"),
    Kind.GROUP: ("top", "group"),
    Kind.CONTACT: ("top", "person", "organizationalPerson", "contact"),
}
_SHOWN_AS: Final = {Kind.ROOM: "7", Kind.DEVICE: "8"}
_WRITTEN: Final = (
    ("first", "givenName"),
    ("last", "sn"),
    ("company", "company"),
    ("department", "department"),
    ("title", "title"),
    ("uid", "uid"),
    ("alias", "mailNickname"),
    ("upn", "userPrincipalName"),
)
_CARRIED: Final = {attribute for attribute, _ in _WRITTEN} | {
    *("dn", "proxy", "forward", "members", "owner", "tel", "fax", "member"),
}
_NUMBERS: Final = (("tel", "telephoneNumber"), ("fax", "facsimileTelephoneNumber"))
_IN_DN: Final = re.compile(r'[\\,+"<>;=]|^[ #]| $')


class _Writer:
    """Writes entries; knows the names of all, so that groups name their members."""

    def __init__(self, identities: Sequence[Identity], base: str, networks: Registry) -> None:
        self.losses = Losses()
        self._networks = networks
        self._base = base
        self._identities = identities
        self._out: list[bytes] = [b"version: 1\n"]
        self._lines = 1
        self._names: list[str] = []
        self._name_of: dict[Address, str] = {}
        seen: set[str] = set()
        for identity in identities:
            name = self._name(identity, seen)
            seen.add(name.casefold())
            self._names.append(name)
            shown = _shown(identity)
            if shown is not None:
                self._name_of[shown] = name

    def octets(self) -> bytes:
        for identity, name in zip(self._identities, self._names, strict=True):
            self._out.append(b"\n")
            self._lines += 1
            self._entry(identity, name)
        return b"".join(self._out)

    def _name(self, identity: Identity, seen: set[str]) -> str:
        known = identity.attribute("dn")
        if known is not None and known.casefold() not in seen:
            return known
        tail = f",{self._base}" if self._base else ""
        name = f"cn={_for_dn(identity.name)}{tail}"
        shown = _shown(identity)
        if shown is not None and name.casefold() in seen:
            name = f"cn={_for_dn(f'{identity.name} ({shown})')}{tail}"
        number = 2
        while name.casefold() in seen:
            name = f"cn={_for_dn(f'{identity.name} {number}')}{tail}"
            number += 1
        return name

    def _entry(self, identity: Identity, name: str) -> None:
        line = self._lines + 1
        self.losses.of(identity, line, _CARRIED)
        self._value("dn", name)
        for each in _CLASSES[identity.kind]:
            self._value("objectClass", each)
        self._value("cn", identity.name)
        self._value("displayName", identity.name)
        if identity.kind in _SHOWN_AS:
            self._value("msExchRecipientDisplayType", _SHOWN_AS[identity.kind])
        for attribute, written in _WRITTEN:
            values = [value for each, value in identity.attributes if each == attribute]
            if len(values) > 1:
                self.losses.add(line, attribute, "has several values, of which one is written")
            if values:
                self._value(written, values[0])
        self._addresses(identity, line)
        if identity.kind is Kind.GROUP:
            self._members(identity)

    def _addresses(self, identity: Identity, line: int) -> None:
        smtp, x500 = identity.primary("smtp"), identity.primary("x500")
        if smtp is not None:
            self._value("mail", smtp.value)
        rest, numbers = proxy.without_numbers(identity, self._networks)
        for text in proxy.write(rest, self._networks, line, "proxyAddresses", self.losses):
            if x500 is None or text != f"X500:{x500.value}":
                self._value("proxyAddresses", text)
        if x500 is not None:
            self._value("legacyExchangeDN", x500.value)
        target = identity.attribute("forward")
        if target is not None:
            self._value("targetAddress", proxy.prefixed(target, self._networks))
        for network, written in _NUMBERS:
            for value in numbers[network]:
                self._value(written, value)

    def _members(self, identity: Identity) -> None:
        for name, value in identity.attributes:
            if name in ("member", "owner"):
                self._value("member" if name == "member" else "managedBy", value)
        for member in identity.members:
            dn = self._name_of.get(member)
            if dn is not None:
                self._value("member", dn)
            else:
                self._value("rfc822MailMember", proxy.text_of(member, self._networks))
        if identity.owner is not None:
            self._value("mgrpErrorsTo", f"mailto:{proxy.text_of(identity.owner, self._networks)}")

    def _value(self, attribute: str, text: str) -> None:
        value = text.encode("utf-8", "replace")
        if _SAFE.fullmatch(value):
            line = f"{attribute}: ".encode() + value
        else:
            line = f"{attribute}:: ".encode() + b64encode(value)
        parts = [line[:_WIDTH]]
        parts += [b" " + line[at : at + _WIDTH - 1] for at in range(_WIDTH, len(line), _WIDTH - 1)]
        self._out += [part + b"\n" for part in parts]
        self._lines += len(parts)


def _shown(identity: Identity) -> Address | None:
    """Return the address by which a reader of the entry refers to it for certain, whatever order it reads in."""
    primaries = {h.address.network: h.address for h in identity.addresses if h.role is Role.PRIMARY}
    return next(iter(primaries.values())) if len(primaries) == 1 else primaries.get("smtp")


def _for_dn(text: str) -> str:
    """Return a text as a value inside a distinguished name (RFC 4514 §2.4)."""
    return _IN_DN.sub(lambda found: f"\\{found[0]}", text)


FORMATS: Final[tuple[Format, ...]] = (Ldif(),)
