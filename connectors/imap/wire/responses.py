"""Responses: what an IMAP server said, by kind. Pure.

Source: RFC 9051 §7, RFC 3501 §7 (SEARCH, RECENT), RFC 7162 (MODSEQ, VANISHED), RFC 4315 (APPENDUID), RFC 5530 (codes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from connectors.imap.wire.dates import seconds
from connectors.imap.wire.tokens import Part, Spilled, Value, WireError, values
from gateway.frozen import quickly_made

OK, NO, BAD, BYE, PREAUTH = "OK", "NO", "BAD", "BYE", "PREAUTH"
_STATUS: Final = frozenset((b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"))
_FLAGS_ALONE: Final = re.compile(
    rb"\* ([0-9]+) FETCH \((?:UID ([0-9]+) )?FLAGS \(([^()]*)\)(?: UID ([0-9]+))?(?: MODSEQ \(([0-9]+)\))?\)\Z"
)
"""What nearly all lines of a listing look like."""
_BEFORE_TEXT: Final = re.compile(
    rb"""
    \*[ ]([0-9]{1,20})[ ]FETCH[ ]\(
    (?: UID[ ]([0-9]{1,20})[ ] )?
    (?: FLAGS[ ]\(([^()"]*)\)[ ] )?
    (?: INTERNALDATE[ ]"([^"\\]*)"[ ] )?
    (?: RFC822\.SIZE[ ]([0-9]{1,20})[ ] )?
    (?: MODSEQ[ ]\(([0-9]{1,20})\)[ ] )?
    ([A-Z0-9.]+\[[^]"]*\])[ ]?\Z""",
    re.VERBOSE,
)
"""What nearly all of a message, or of a listing with a field of the header, looks like before the literal."""
_CODED: Final = re.compile(rb"([!-~]+) OK \[([A-Z]+) ([0-9]{1,20})(?: ([0-9:,]+))?\] *(.*)\Z", re.DOTALL)
"""What is said of an append, and of the folder beside it."""
_COUNTED: Final = re.compile(rb"\* ([0-9]{1,20}) (EXISTS|RECENT|EXPUNGE)\Z")
"""What is told beside each append."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Code:
    """A response code: its name in capitals, and its values."""

    name: str
    values: tuple[Value, ...] = ()

    def number(self, at: int = 0) -> int | None:
        """Return a value as a number; None where it is none."""
        return as_number(self.values[at]) if at < len(self.values) else None


@quickly_made
@dataclass(frozen=True, slots=True)
class Said:
    """A status: OK, NO, BAD, BYE or PREAUTH. `tag` is empty where it answers no command."""

    tag: str
    word: str
    code: Code | None
    text: str

    def __str__(self) -> str:
        code = f"[{self.code.name}] " if self.code else ""
        return f"{self.word} {code}{self.text}"


@quickly_made
@dataclass(frozen=True, slots=True)
class Go:
    """The server waits for more: `+ text`."""

    text: bytes


@quickly_made
@dataclass(frozen=True, slots=True)
class Fetched:
    """What a FETCH response tells of one message; what it does not tell is None.

    `more` has all else by its name in capitals, the sections of the message too: `BODY[]`, `BINARY[]`.
    """

    number: int
    uid: int | None = None
    flags: frozenset[bytes] | None = None
    modseq: int | None = None
    size: int | None = None
    received_at: float | None = None
    more: dict[str, Value] = field(default_factory=dict)


@quickly_made
@dataclass(frozen=True, slots=True)
class Data:
    """Any other untagged response: its name in capitals, what stands behind it, and a number that stands before it."""

    name: str
    number: int | None
    values: tuple[Value, ...]


Response: TypeAlias = Said | Go | Fetched | Data


def response(parts: Sequence[Part]) -> Response:
    """Return what a response says. Raises: WireError."""
    line = parts[0]
    assert isinstance(line, bytes)
    if len(parts) == 1 and (found := _FLAGS_ALONE.match(line)) is not None:
        number, uid, flags, later, modseq = found.groups()
        uid = uid or later
        return Fetched(
            int(number),
            int(uid) if uid else None,
            frozenset(flags.split()),
            int(modseq) if modseq else None,
        )
    if len(parts) == 3 and parts[2] == b")" and (found := _BEFORE_TEXT.match(line)) is not None:
        number, uid, flags, received_at, size, modseq, name = found.groups()
        return Fetched(
            int(number),
            int(uid) if uid else None,
            frozenset(flags.split()) if flags is not None else None,
            int(modseq) if modseq else None,
            int(size) if size else None,
            seconds(received_at) if received_at else None,
            {name.decode("ascii", "replace"): parts[1]},
        )
    if (counted := _COUNTED.match(line)) is not None:
        return Data(counted[2].decode(), int(counted[1]), ())
    if line.startswith(b"+"):
        return Go(line[1:].strip())
    if (coded := _CODED.match(line)) is not None and len(parts) == 1:
        tag, name, number, uids, text = coded.groups()
        told = (number,) if uids is None else (number, uids)
        return Said(
            "" if tag == b"*" else tag.decode(), OK, Code(name.decode(), told), text.strip().decode("utf-8", "replace")
        )
    first, _, rest = line.partition(b" ")
    word, _, after = rest.lstrip().partition(b" ")
    upper = word.upper()
    if upper in _STATUS:
        code, text = _code(after, parts)
        return Said("" if first == b"*" else first.decode("ascii", "replace"), upper.decode(), code, text)
    if first != b"*":
        raise WireError(f"{line[:60]!r} is no response")
    found_values = values(parts, len(first))
    if not found_values or not isinstance(found_values[0], bytes):
        raise WireError(f"{line[:60]!r} is no response")
    more = found_values[1:]
    number = as_number(found_values[0])
    name = found_values[0]
    if number is not None and more and isinstance(more[0], bytes):
        name, more = more[0], more[1:]
        if name.upper() == b"FETCH" and more and isinstance(more[0], list):
            return _fetched(number, more[0])
    return Data(name.upper().decode("ascii", "replace"), number, tuple(more))


def _code(after: bytes, parts: Sequence[Part]) -> tuple[Code | None, str]:
    """Take a response code off a status' text. One that is no code is left in the text."""
    text = after
    code = None
    if after.startswith(b"[") and (end := _bracket(after)) > 0:
        inner = after[1:end]
        name, _, arguments = inner.partition(b" ")
        try:
            got = values([arguments]) if arguments else []
        except WireError:
            got = [arguments]
        code = Code(name.upper().decode("ascii", "replace"), tuple(got))
        text = after[end + 1 :]
    return code, text.strip().decode("utf-8", "replace")


def _bracket(text: bytes) -> int:
    """Return where a code's bracket closes, not within a quoted string; -1 where it does not."""
    end = text.find(b"]")
    if text.find(b'"', 0, end) < 0:
        return end
    quoted = False
    at = 1
    while at < len(text):
        octet = text[at]
        if quoted and octet == 0x5C:
            at += 1
        elif octet == 0x22:
            quoted = not quoted
        elif octet == 0x5D and not quoted:
            return at
        at += 1
    return end


def _fetched(number: int, items: list[Value]) -> Fetched:
    uid = modseq = size = None
    received_at: float | None = None
    flags: frozenset[bytes] | None = None
    more: dict[str, Value] = {}
    for name, value in _pairs(items):
        if name == "UID":
            uid = as_number(value)
        elif name == "FLAGS" and isinstance(value, list):
            flags = frozenset(each for each in value if isinstance(each, bytes))
        elif name == "MODSEQ" and isinstance(value, list):
            modseq = as_number(value[0]) if value else None
        elif name == "RFC822.SIZE":
            size = as_number(value)  # some servers tell none: what is fetched counts
        elif name == "INTERNALDATE" and isinstance(value, bytes):
            received_at = seconds(value)
        else:
            more[name] = value
    return Fetched(number, uid, flags, modseq, size, received_at, more)


def _pairs(items: list[Value]) -> Iterator[tuple[str, Value]]:
    for at in range(0, len(items) - 1, 2):
        name = items[at]
        if not isinstance(name, bytes):
            raise WireError(f"{name!r:.60} is no item of a FETCH response")
        yield name.upper().decode("ascii", "replace"), items[at + 1]


def as_number(value: Value) -> int | None:
    """Return a value that is a number of up to 20 digits; None for anything else."""
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) <= 20 else None


def as_text(value: Value) -> bytes:
    """Return a value's octets. An unquoted `NIL` where a text has to be is that text."""
    if value is None:
        return b"NIL"
    if isinstance(value, bytes):
        return value
    raise WireError(f"{'a list' if isinstance(value, list) else 'a large literal'} where a text was expected")


def body(fetched: Fetched) -> bytes | Spilled | None:
    """Return the message of a FETCH response, under whichever name it came; None where it has none."""
    for name in ("BODY[]", "BINARY[]", "RFC822"):
        value = fetched.more.get(name)
        if isinstance(value, (bytes, Spilled)):
            return value
    return None
