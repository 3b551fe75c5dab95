"""x400: O/R addresses of X.400, `C=us;ADMD=att;PRMD=acme;O=Acme;OU1=Sales;S=Lee;G=Ann`.

Promises: every spelling of RFC 2156 is read, whatever sign parts the attributes and from whichever end they run; the
normalised text has its attributes from the top down, each value within the bounds of X.411, and is ASCII, since what
is no PrintableString is written as Teletex, `*M{252}ller`. Compares without case, and an ADMD of one blank as none.
People of the internet know an address as `/G=Ann/S=Lee/O=Acme/ADMD=att/C=us/` at a gateway. An internet address is
reached as the attribute DD.RFC-822 of a gateway's own address, continued in DD.RFC822C1 to DD.RFC822C3.
Not read: the form `Ann.Lee@domain` that RFC 2156 makes of a table of domains, since this gateway has rules for that.
Source: RFC 2156 §3.3, §3.4, §4.1 and §4.3; upper bounds of X.411 as RFC 5280 §A.1 repeats them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from itertools import count
from typing import Final, NamedTuple

from mappings.network import MAX_OCTETS, Address, AddressError, Network, clean
from mappings.networks.smtp import Smtp, quote, unquote


@unique
class _Kind(Enum):
    """What a value may hold (RFC 2156 §4.1.1)."""

    COUNTRY = "two letters or three digits"
    NUMERIC = "digits and blanks"
    PRINTABLE = "letters, digits, blanks and ' ( ) + , - . / : = ?"
    TELETEX = "PrintableString, or * and what the Teletex of X.400 has, which is Latin-1 here"
    LINES = "up to six lines of PrintableString with | between them, or * and Teletex"


class _Attribute(NamedTuple):
    kind: _Kind
    bound: int


_T: Final = _Kind.TELETEX
_ATTRIBUTES: Final = {
    # From the top of the address down to what is furthest from it; this is the order in which they are written.
    "C": _Attribute(_Kind.COUNTRY, 3),
    "ADMD": _Attribute(_Kind.PRINTABLE, 16),
    "PRMD": _Attribute(_Kind.PRINTABLE, 16),
    "O": _Attribute(_T, 64),
    "OU": _Attribute(_T, 32),
    "S": _Attribute(_T, 40),
    "G": _Attribute(_T, 16),
    "I": _Attribute(_T, 5),
    "GQ": _Attribute(_T, 3),
    "CN": _Attribute(_T, 64),
    "UA-ID": _Attribute(_Kind.NUMERIC, 32),
    "X121": _Attribute(_Kind.NUMERIC, 16),
    "T-ID": _Attribute(_Kind.PRINTABLE, 24),
    "T-TY": _Attribute(_Kind.PRINTABLE, 16),
    "NET-NUM": _Attribute(_Kind.NUMERIC, 15),
    "NET-SUB": _Attribute(_Kind.NUMERIC, 40),
    "NET-PSAP": _Attribute(_Kind.PRINTABLE, 180),
    "PD-SERVICE": _Attribute(_Kind.PRINTABLE, 16),
    "PD-C": _Attribute(_Kind.COUNTRY, 3),
    "PD-CODE": _Attribute(_Kind.PRINTABLE, 16),
    "PD-OFFICE": _Attribute(_T, 30),
    "PD-OFFICE-NUM": _Attribute(_T, 30),
    "PD-PN": _Attribute(_T, 30),
    "PD-O": _Attribute(_T, 30),
    "PD-EXT-ADDRESS": _Attribute(_T, 30),
    "PD-EXT-DELIVERY": _Attribute(_T, 30),
    "PD-ADDRESS": _Attribute(_Kind.LINES, 180),
    "PD-STREET": _Attribute(_T, 30),
    "PD-BOX": _Attribute(_T, 30),
    "PD-RESTANTE": _Attribute(_T, 30),
    "PD-UNIQUE": _Attribute(_T, 30),
    "PD-LOCAL": _Attribute(_T, 30),
    "DD": _Attribute(_T, 128),
}
_ALTERNATIVES: Final = {
    "A": "ADMD",
    "P": "PRMD",
    "Q": "GQ",
    "X.121": "X121",
    "N-ID": "UA-ID",
    "E.164": "NET-NUM",
    "ISDN": "NET-NUM",
    "PSAP": "NET-PSAP",
    "PD-OFFICE NUMBER": "PD-OFFICE-NUM",
    "PD-OFN": "PD-OFFICE-NUM",
    "PD-EA": "PD-EXT-ADDRESS",
    "PD-ED": "PD-EXT-DELIVERY",
    "PD-OF": "PD-OFFICE",
    "PD-S": "PD-STREET",
    "PD-U": "PD-UNIQUE",
    "PD-L": "PD-LOCAL",
    "PD-R": "PD-RESTANTE",
    "PD-B": "PD-BOX",
    "PD-PC": "PD-CODE",
    "PD-SN": "PD-SERVICE",
    "PD-A": "PD-ADDRESS",
}
_FROM_THE_PERSON_UP: Final = (
    *reversed([a for a in _ATTRIBUTES if a not in ("C", "ADMD", "PRMD", "O", "OU", "S", "G", "I", "GQ")]),
    *("G", "I", "S", "GQ", "OU", "O", "PRMD", "ADMD", "C"),
)
# One of these an address needs; what else there is only says more of them.
_NAMING: Final = frozenset(
    {"S", "CN", "OU", "O", "UA-ID", "X121", "NET-NUM", "NET-PSAP", "PD-PN", "PD-O", "PD-ADDRESS", "PD-UNIQUE", "DD"}
)
_MANY: Final = {"OU": 4, "DD": 4, "PD-ADDRESS": 6}
_NUMBERED: Final = {"OU": "OU", "DD": "DD", "PD-A": "PD-ADDRESS"}
_TYPE_LENGTH: Final = 8
_LINE_LENGTH: Final = 30

_TOKEN: Final = re.compile(r"\$(?P<quoted>.)|(?P<sign>[/;])|(?P<equals>=)|(?P<text>[^$/;=]+)|(?P<open>\$)")
_ORDERED: Final = re.compile(r"(OU|DD|PD-A)([0-9]{1,3})")
_PERSONAL_NAME: Final = re.compile(r"(?:(?P<G>[^.]{2,})\.)?(?P<I>(?:[A-Za-z]\.)*)(?P<S>[^.]|[^.]{2}.*)")
_DD: Final = re.compile(r"(DDA?|DD[0-9]{1,3}) *[.:](.*)", re.IGNORECASE)
_TYPE: Final = re.compile(r"[A-Za-z0-9 '()+,\-.:?]+")
_PRINTABLE: Final = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]+")
_NUMERIC: Final = re.compile("[0-9 ]+")
_COUNTRY: Final = re.compile("[A-Za-z]{2}|[0-9]{3}")
_NOT_PRINTABLE: Final = re.compile(r"[^A-Za-z0-9 '()+,\-./:=?]+")
_TELETEX_TOKEN: Final = re.compile(r"\{[0-9]+\}|.", re.DOTALL)
_TELETEX: Final = re.compile(r"(?:\{(?:[0-9]{3})+\}|[^{}])*")
_TELETEX_GROUP: Final = re.compile(r"\{([0-9]+)\}")
_THREE: Final = re.compile("[0-9]{3}")
_ESCAPE_SEQUENCE: Final = "027"
# A slash that would otherwise be read as the sign between two attributes.
_MISTAKABLE: Final = re.compile(r"/(?=.*=| ?(?:/|\Z))")
_TO_QUOTE: Final = re.compile("[/=]")
# RFC 2156 §4.3.4 stage I: with other characters in it, the local part is a mailbox's name and nothing more.
_AT_GATEWAY: Final = re.compile(r"[/;][A-Za-z0-9 '()+,\-./:=?{}*$;|]*")

_NAMES: Final = {"(a)": "@", "(p)": "%", "(b)": "!", "(q)": '"', "(u)": "_", "(l)": "(", "(r)": ")"}
_WRITTEN: Final = {c: name for name, c in _NAMES.items()}
_NAMED: Final = re.compile(r"\((?:[apbqulr]|[0-9]{3})\)", re.IGNORECASE)
_RFC822: Final = ("RFC-822", "RFC822C1", "RFC822C2", "RFC822C3")
_SMTP: Final = Smtp()


class X400(Network):
    """X.400."""

    name = "x400"
    imcea_type = "X400"

    def parse(self, text: str) -> Address:
        found = _attributes(clean(text))
        made = clean(_written(found))
        return Address("x400", made, _key(found))

    def at_gateway(self, address: Address, domain: str) -> str | None:
        attributes = _attributes(address.value)
        # RFC 2156 §4.3.3: of several, the most significant stands at the right, next to the domain
        found = [a for name in _FROM_THE_PERSON_UP for a in reversed(attributes) if a.name == name]
        pairs = [f"{a.label}={_TO_QUOTE.sub(_quoted, a.value)}/" for a in found]
        made = f"{quote('/' + ''.join(pairs))}@{domain}"
        return made if len(made) <= MAX_OCTETS else None

    def from_gateway(self, local: str, below: str) -> Address | None:
        text = unquote(local)
        if below or not _AT_GATEWAY.fullmatch(text) or text != " ".join(text.split()):
            return None
        try:
            return self.parse(text)
        except AddressError:
            return None

    def through(self, gate: Address, inner: Address) -> Address | None:
        """Return the gate's own address with `inner` in its DD.RFC-822, which may have been somebody else's there.

        So a gate that is known by its management domain alone is configured with any internet address of its own,
        as in `C=gb;ADMD=gold;PRMD=gw;DD.RFC-822=postmaster(a)gw.example`.
        """
        if inner.network != "smtp" or gate.network != "x400":
            return None
        try:
            # A value loses the blanks at its ends, and of several only one is sure to arrive.
            text = encode_printable(_SMTP.format(inner, "ascii")).replace(" ", "(032)")
            bound = _ATTRIBUTES["DD"].bound
            pieces = [text[at : at + bound] for at in range(0, len(text), bound)]
            if len(pieces) > len(_RFC822):
                return None
            named = [_Found("DD", piece, kind) for kind, piece in zip(_RFC822, pieces, strict=False)]
            return self.parse(_written([*_split(_attributes(gate.value))[0], *named]))
        except AddressError:
            return None

    def behind(self, gate: Address, address: Address) -> Address | None:
        if gate.network != "x400" or "dd.rfc-822=" not in address.key:
            return None
        ours, _ = _split(_attributes(gate.value))
        others, named = _split(_attributes(address.value))
        # RFC 2156 §4.3.5 lets any gateway read these; ours reads them where it is the one that is meant.
        named.sort(key=lambda a: _RFC822.index(a.type))
        if _key(others) != _key(ours) or tuple(a.type for a in named) != _RFC822[: len(named)]:
            return None
        try:
            return _SMTP.parse(decode_printable("".join(a.value for a in named)))
        except AddressError:
            return None

    def warnings(self, address: Address) -> tuple[str, ...]:
        names = {a.name for a in _attributes(address.value)}
        if "S" not in names and names & {"G", "I", "GQ"}:
            return ("a given name, initials or a generation without a surname; X.400 systems refuse it",)
        return ()


def encode_printable(text: str) -> str:
    """Write ASCII with the characters of a PrintableString, `@` as `(a)` (RFC 2156 §3.4).

    Raises: AddressError (`x400.not-ascii`).
    """
    if not text.isascii():
        at = next(i for i, c in enumerate(text) if not c.isascii())
        raise AddressError("x400.not-ascii", text, at, "only ASCII can be written as a PrintableString")
    return "".join(c if c not in "()" and _PRINTABLE.fullmatch(c) else _named(c) for c in text)


def decode_printable(text: str) -> str:
    """Read what `encode_printable` wrote; a parenthesis that encodes nothing stays.

    Raises: AddressError (`x400.not-ascii`).
    """

    def decoded(found: re.Match[str]) -> str:
        name = found[0].lower()
        if name in _NAMES:
            return _NAMES[name]
        code = int(name[1:-1])
        if code > 0x7F:
            raise AddressError("x400.not-ascii", text, found.start(), "the number of an ASCII character is 0 to 127")
        return chr(code)

    return _NAMED.sub(decoded, text)


def _quoted(found: re.Match[str]) -> str:
    return f"${found[0]}"


def _named(c: str) -> str:
    return _WRITTEN.get(c) or f"({ord(c):03})"


@dataclass(frozen=True, slots=True)
class _Found:
    """One attribute: `name` as it is written, `type` that of a domain defined one."""

    name: str
    value: str
    type: str = ""

    @property
    def label(self) -> str:
        return f"DD.{self.type}" if self.name == "DD" else self.name


class _Piece(NamedTuple):
    """`label=value` as it stands in the text at `at`, without quoting."""

    label: str | None
    value: str
    at: int


@dataclass(frozen=True, slots=True)
class _Read:
    """One attribute as it is read, with the number that orders it among its like and its place in the text."""

    name: str
    value: str
    type: str = ""
    number: int | None = None
    at: int = 0


def _written(found: Sequence[_Found]) -> str:
    """Return the normalised text of attributes that stand in order."""
    units = count(1)
    labels = (f"OU{next(units)}" if a.name == "OU" else a.label for a in found)
    return ";".join(f"{label}={_MISTAKABLE.sub('$/', a.value)}" for label, a in zip(labels, found, strict=True))


def _key(found: Sequence[_Found]) -> str:
    """Return what attributes compare by."""
    return _TELETEX_GROUP.sub(_lower_group, _written([a for a in found if a.value != " "]).lower())


def _lower_group(found: re.Match[str]) -> str:
    octets = _THREE.findall(found[1])
    if _ESCAPE_SEQUENCE in octets:  # in another character set, where a letter's case is not known here
        return found[0]
    return "{" + "".join(f"{ord(chr(int(octet)).lower()):03}" for octet in octets) + "}"


def _split(found: Sequence[_Found]) -> tuple[list[_Found], list[_Found]]:
    """Part attributes into those that say where the gateway is, and those that say who lies behind it."""
    named = [a for a in found if a.type in _RFC822]
    return [a for a in found if a.type not in _RFC822], named


def _segments(text: str) -> Iterator[tuple[str, _Piece]]:
    """Part a text at unquoted `/` and `;`, and each piece at its first unquoted `=`; yield (sign before, piece)."""
    sign, at = "", 0
    label: str | None = None
    buffer: list[str] = []
    for token in _TOKEN.finditer(text):
        if token["sign"]:
            yield sign, _Piece(label, "".join(buffer), at)
            sign, at, label, buffer = token[0], token.end(), None, []
        elif token["equals"] and label is None:
            label, buffer = " ".join("".join(buffer).split()), []
        elif token["open"]:
            raise AddressError("x400.open-escape", text, token.start(), "nothing follows the last $")
        else:
            buffer.append(token["quoted"] or token[0])
    yield sign, _Piece(label, "".join(buffer), at)


def _pieces(text: str) -> list[_Piece]:
    """Return the attributes as they stand in a text.

    Without a sign in front, `/` parts only where an attribute follows, so that `CN=R/D desk` means what it says.
    """
    is_plain = text[0] not in "/;"
    found: list[_Piece] = []
    empty_at: int | None = None
    for sign, piece in _segments(text):
        if piece.label is None and not piece.value.strip():
            empty_at = piece.at
            continue
        if found and empty_at is not None:
            message = "there is nothing between two signs; write $/ for a / in a value"
            raise AddressError("x400.empty-attribute", text, empty_at, message)
        empty_at = None
        if piece.label is not None:
            found.append(piece)
        elif is_plain and found and sign == "/":
            found[-1] = found[-1]._replace(value=f"{found[-1].value}/{piece.value}")
        else:
            raise AddressError("x400.no-equals", text, piece.at, "write attribute=value, as in S=Lee")
    return found


def _attributes(text: str) -> list[_Found]:
    """Read an address; return its attributes, checked, in the order in which they are written."""
    groups: dict[str, list[_Read]] = {}
    for piece in _pieces(text):
        for read in _read(piece, text):
            groups.setdefault(read.name, []).append(read)
    if "C" not in groups:
        raise AddressError("x400.no-country", text, 0, "write the country too, as in C=us")
    if not _NAMING & groups.keys():
        message = "this names a management domain only; write also O=, OU=, S=, CN= or a number of somebody there"
        raise AddressError("x400.incomplete", text, len(text), message)
    # RFC 2156 §4.1.3: a country without an ADMD means the ADMD of one blank
    groups.setdefault("ADMD", [_Read("ADMD", " ")])
    top = {"OU": groups.get("O", groups["C"])[0].at, "DD": groups["C"][0].at}
    made: list[_Found] = []
    for name in _ATTRIBUTES:
        group = groups.get(name, [])
        if len(group) > 1 or (group and group[0].number is not None):
            group = _ordered(group, text, top.get(name))
        if name == "PD-ADDRESS" and group and group[0].number is not None:
            lines = _value(name, "|".join(read.value for read in group), text, group[0].at)
            made.append(_Found(name, lines))
        else:
            made += [_Found(name, read.value, read.type) for read in group]
    return made


def _ordered(group: list[_Read], text: str, top: int | None) -> list[_Read]:
    """Return the values of one attribute from the top down; `top` is where what is above them stands in the text."""
    name, last = group[0].name, group[-1]
    if name not in _MANY:
        raise AddressError("x400.twice", text, last.at, f"an address has one {name}")
    numbers = [read.number for read in group if read.number is not None]
    if numbers and len(numbers) < len(group):
        raise AddressError(f"x400.{name.lower()}-mixed", text, last.at, f"number each {name}, or none of them")
    if len(set(numbers)) < len(numbers) or (name == "PD-ADDRESS" and not numbers):
        raise AddressError("x400.twice", text, last.at, f"an address has each {name} once")
    if len(group) > _MANY[name]:
        message = f"an address has at most {_MANY[name]} {name}"
        raise AddressError(f"x400.too-many-{name.lower()}", text, last.at, message)
    if numbers:
        return sorted(group, key=lambda read: read.number or 0)
    # RFC 2156 §4.3.3, §4.3.4.1: the top is at the right, unless the whole runs the other way
    return group if top is not None and top < group[0].at else group[::-1]


def _read(piece: _Piece, text: str) -> Iterator[_Read]:
    """Read one piece; a personal name is several attributes."""
    label, value, at = piece
    label = label or ""
    name = _ALTERNATIVES.get(label.upper(), label.upper())
    if name == "PN":
        yield from _personal_name(value, text, at)
        return
    defined = _DD.fullmatch("DD.RFC-822" if name == "RFC-822" else label)
    ordered = _ORDERED.fullmatch(name if defined is None else defined[1].upper())
    number = None if ordered is None else int(ordered[2])
    if ordered is not None:
        name = _NUMBERED[ordered[1]]
        if not 1 <= int(ordered[2]) <= _MANY[name]:
            message = f"an address has at most {_MANY[name]} {name}, from {ordered[1]}1 on"
            raise AddressError(f"x400.too-many-{name.lower()}", text, at, message)
    if defined is not None:
        yield _Read("DD", *_domain_defined(defined[2], value, text, at), number=number, at=at)
        return
    if name not in _ATTRIBUTES or name == "DD":
        raise AddressError("x400.unknown-attribute", text, at, f"{label[:32]!r} is no attribute of an O/R address")
    if name == "PD-ADDRESS" and number is not None:
        yield _Read(name, value, number=number, at=at)  # checked when its lines are together
        return
    yield _Read(name, _value(name, value, text, at), number=number, at=at)


def _domain_defined(kind: str, value: str, text: str, at: int) -> tuple[str, str]:
    """Return (value, type) of a domain defined attribute."""
    kind = kind.strip()
    if not _TYPE.fullmatch(kind):
        message = "write the type after a dot, as in DD.FAX=; it has letters, digits, blanks and ' ( ) + , - . : ?"
        raise AddressError("x400.bad-type", text, at, message)
    if len(kind) > _TYPE_LENGTH:
        raise AddressError("x400.too-long:DD", text, at, f"a type has at most {_TYPE_LENGTH} characters")
    if kind.upper() in _RFC822:
        kind = kind.upper()
        value = "".join(c if not c.isascii() or _PRINTABLE.fullmatch(c) else _named(c) for c in value)
        if not value.isascii():
            message = "an internet address with other letters than ASCII's has no form here"
            raise AddressError("x400.bad-char", text, at, message)
    return _value("DD", value, text, at), kind


def _personal_name(value: str, text: str, at: int) -> Iterator[_Read]:
    """Read `given.initials.surname` (RFC 2156 §4.1.2)."""
    value = " ".join(value.split())
    found = _PERSONAL_NAME.fullmatch(value)
    if not _PRINTABLE.fullmatch(value) or found is None or ("." in found["S"] and not (found["G"] or found["I"])):
        message = "write given.initials.surname, as in Ann.M.T.Lee, or G=, I= and S="
        raise AddressError("x400.bad-name", text, at, message)
    for name, part in (("G", found["G"]), ("I", found["I"].replace(".", "")), ("S", found["S"])):
        if part:
            yield _Read(name, _value(name, part, text, at), at=at)


def _value(name: str, text: str, whole: str, at: int) -> str:
    """Return a value, normalised and checked against its kind and its bound."""
    kind, bound = _ATTRIBUTES[name]
    value = " ".join(text.split())
    if not value and name == "ADMD":
        return " "
    if kind is _Kind.TELETEX and "*" not in value and not _PRINTABLE.fullmatch(value) and not {"{", "}"} & set(value):
        value = f"*{value}"
    if not value.strip("* "):
        raise AddressError("x400.no-value", whole, at, f"write the value of {name}, or leave it out")
    if kind is _Kind.TELETEX or kind is _Kind.LINES:
        value, length = _printable_or_teletex(name, value, whole, at)
    else:
        pattern = {_Kind.COUNTRY: _COUNTRY, _Kind.NUMERIC: _NUMERIC}.get(kind, _PRINTABLE)
        if not pattern.fullmatch(value):
            raise _bad_char(name, whole, at)
        length = len(value)
    if length > bound:
        raise AddressError(f"x400.too-long:{name}", whole, at, f"{name} has at most {bound} characters")
    return value


def _printable_or_teletex(name: str, text: str, whole: str, at: int) -> tuple[str, int]:
    """Return a value that may have both forms, and the length of the longer one."""
    printable, _, teletex = text.partition("*")
    has_lines = _ATTRIBUTES[name].kind is _Kind.LINES
    lines = [line.strip() for line in printable.split("|")] if has_lines else [printable.strip()]
    printable = "|".join(lines)
    if printable and not all(map(_PRINTABLE.fullmatch, lines)):
        raise _bad_char(name, whole, at)
    if has_lines and (len(lines) > _MANY[name] or max(map(len, lines)) > _LINE_LENGTH):
        message = f"{name} has at most {_MANY[name]} lines of {_LINE_LENGTH} characters"
        raise AddressError(f"x400.too-long:{name}", whole, at, message)
    teletex, octets = _teletex(name, teletex, whole, at)
    length = max(len(printable), octets)
    if not printable and not teletex:
        raise AddressError("x400.no-value", whole, at, f"write the value of {name}, or leave it out")
    if not teletex:
        return printable, length
    # RFC 2156 §4.1.1: what both forms say alike, or Teletex says without a need, is written as printable
    if not has_lines and (not printable or printable.lower() == teletex.lower()) and _PRINTABLE.fullmatch(teletex):
        return printable or teletex, length
    return f"{printable}*{teletex}", length


def _teletex(name: str, text: str, whole: str, at: int) -> tuple[str, int]:
    """Return a teletex-string in its one form (RFC 2156 §3.3.4), and how many octets it stands for."""
    if not _TELETEX.fullmatch(text):
        raise _bad_char(name, whole, at)
    made = ""
    run = ""
    octets = 0
    for token in _TELETEX_TOKEN.finditer(text):
        codes = _THREE.findall(token[0]) if token[0].startswith("{") else [str(ord(token[0]))]
        octets += len(codes)
        if any(int(code) > 0xFF for code in codes):
            raise _bad_char(name, whole, at)
        if _ESCAPE_SEQUENCE in codes:  # its braces bound the character set that it chooses
            made += _teletex_run(run) + token[0]
            run = ""
        else:
            run += "".join(chr(int(code)) for code in codes)
    return " ".join((made + _teletex_run(run)).split()), octets


def _teletex_run(run: str) -> str:
    return _NOT_PRINTABLE.sub(lambda found: "{" + "".join(f"{ord(c):03}" for c in found[0]) + "}", run)


def _bad_char(name: str, whole: str, at: int) -> AddressError:
    return AddressError("x400.bad-char", whole, at, f"{name} has {_ATTRIBUTES[name].kind.value}")
