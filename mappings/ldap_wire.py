"""LDAP wire: the messages by which a directory server answers a search, and the controls of synchronization.

Octets in, values out. Promises: any octets give values or WireError; nothing is read beyond the octets given; time is
linear in their number. What asks the server is not here: requests are `ldap3`'s.
Source: RFC 4511 §4.1, §4.5.2 and §4.13; RFC 2696 (paged results); RFC 4533 §2 (content synchronization).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from uuid import UUID

PAGED: Final = "1.2.840.113556.1.4.319"
SYNC_REQUEST: Final = "1.3.6.1.4.1.4203.1.9.1.1"
SYNC_STATE: Final = "1.3.6.1.4.1.4203.1.9.1.2"
SYNC_DONE: Final = "1.3.6.1.4.1.4203.1.9.1.3"
SYNC_INFO: Final = "1.3.6.1.4.1.4203.1.9.1.4"

_BOOLEAN: Final = 0x01
_INTEGER: Final = 0x02
_OCTETS: Final = 0x04
_ENUMERATED: Final = 0x0A
_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_ENTRY: Final = 0x64
_DONE: Final = 0x65
_REFERENCE: Final = 0x73
_EXTENDED: Final = 0x78
_INTERMEDIATE: Final = 0x79
_CONTROLS: Final = 0xA0
_MAX_LENGTH_OCTETS: Final = 4


class WireError(ValueError):
    """Octets that are no answer to a search."""


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of the result."""

    dn: str
    values: list[tuple[str, list[bytes]]]
    controls: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """An intermediate answer, of which there are those of synchronization."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Referred:
    """A part of the result that another server has."""


@dataclass(frozen=True, slots=True)
class Done:
    """The end of the result: `code` is 0 for success; `text` is what the server says besides."""

    code: int
    matched: str
    text: str
    controls: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Other:
    """A message that belongs to no search, such as a notice that the server disconnects."""

    text: str


Answer = Found | Told | Referred | Done | Other


class State(Enum):
    """What an entry of a synchronized result is."""

    PRESENT = 0
    ADD = 1
    MODIFY = 2
    DELETE = 3


@dataclass(frozen=True, slots=True)
class Ids:
    """Numbers of entries that were deleted, or are there and unchanged."""

    deleted: bool
    uuids: frozenset[str]


def size_of(octets: bytes | bytearray) -> int | None:
    """Return how many octets the first message has, None while too few are there to tell. Raises: WireError."""
    if len(octets) < 2:
        return None
    if octets[0] != _SEQUENCE:
        raise WireError(f"a message begins with the octet {_SEQUENCE:#x}, not {octets[0]:#x}")
    first = octets[1]
    if first < 0x80:
        return first + 2
    count = first & 0x7F
    if not 0 < count <= _MAX_LENGTH_OCTETS:
        raise WireError("the length of a message takes more octets than any needs")
    if len(octets) < 2 + count:
        return None
    return int.from_bytes(octets[2 : 2 + count], "big") + 2 + count


def read(octets: bytes) -> tuple[int, Answer]:
    """Return (number of the request, answer) of one whole message. Raises: WireError."""
    [(_, body)] = _exactly(octets, _SEQUENCE)
    parts = list(_elements(body))
    if len(parts) < 2 or parts[0][0] != _INTEGER:
        raise WireError("a message has no number")
    controls = _controls(parts[2][1]) if len(parts) > 2 and parts[2][0] == _CONTROLS else {}
    return int.from_bytes(parts[0][1], "big"), _answer(parts[1][0], parts[1][1], controls)


def paged_cookie(done: Done) -> bytes:
    """Return the cookie that asks for the next page, empty after the last. Raises: WireError."""
    value = done.controls.get(PAGED)
    if value is None:
        return b""
    [(_, body)] = _exactly(value, _SEQUENCE)
    parts = list(_elements(body))
    if len(parts) != 2 or parts[1][0] != _OCTETS:
        raise WireError("the answer about pages is none")
    return parts[1][1]


def sync_request(cookie: bytes | None) -> bytes:
    """Return the value of the control that asks for a synchronized result: all that changed since the cookie."""
    body = _element(_ENUMERATED, b"\x01")  # refreshOnly
    if cookie is not None:
        body += _element(_OCTETS, cookie)
    return _element(_SEQUENCE, body)


def sync_state(found: Found) -> tuple[State, str] | None:
    """Return what an entry of a synchronized result is, and its number; None where it says nothing of it.

    Raises: WireError.
    """
    value = found.controls.get(SYNC_STATE)
    if value is None:
        return None
    [(_, body)] = _exactly(value, _SEQUENCE)
    parts = list(_elements(body))
    if len(parts) < 2 or parts[0][0] != _ENUMERATED:
        raise WireError("the state of an entry is none")
    try:
        return State(int.from_bytes(parts[0][1], "big")), _uuid(parts[1][1])
    except ValueError as e:
        raise WireError(f"the state of an entry is none: {e}") from None


def sync_done(done: Done) -> tuple[bytes | None, bool]:
    """Return (cookie, whether what was deleted has been named, so that all else is still there). Raises: WireError."""
    value = done.controls.get(SYNC_DONE)
    cookie, deletes = None, False
    if value is not None:
        [(_, body)] = _exactly(value, _SEQUENCE)
        for tag, content in _elements(body):
            if tag == _OCTETS:
                cookie = content
            elif tag == _BOOLEAN:
                deletes = content != b"\x00"
    return cookie, deletes


def sync_ids(told: Told) -> Ids | None:
    """Return the numbers that an intermediate answer lists, None for one that lists none. Raises: WireError."""
    if told.name != SYNC_INFO:
        return None
    [(tag, body)] = list(_elements(told.value))[:1] or [(0, b"")]
    if tag != 0xA3:  # syncIdSet; the others tell of a phase's end, which the last message tells too
        return None
    deleted, uuids = False, frozenset[str]()
    for inner, content in _elements(body):
        if inner == _BOOLEAN:
            deleted = content != b"\x00"
        elif inner == _SET:
            uuids = frozenset(_uuid(value) for _, value in _elements(content))
    return Ids(deleted, uuids)


def ends_presence(told: Told) -> bool:
    """Tell whether an answer ends the phase that named all that is still there. Raises: WireError."""
    return told.name == SYNC_INFO and any(tag == 0xA2 for tag, _ in _elements(told.value))


def _answer(tag: int, body: bytes, controls: dict[str, bytes]) -> Answer:
    if tag == _ENTRY:
        parts = list(_elements(body))
        if len(parts) != 2:
            raise WireError("an entry is not a name and attributes")
        return Found(_text(parts[0][1]), [_attribute(each) for _, each in _elements(parts[1][1])], controls)
    if tag == _DONE:
        parts = list(_elements(body))
        if len(parts) < 3 or parts[0][0] != _ENUMERATED:
            raise WireError("the end of a result has no code")
        return Done(int.from_bytes(parts[0][1], "big"), _text(parts[1][1]), _text(parts[2][1]), controls)
    if tag == _REFERENCE:
        return Referred()
    if tag == _INTERMEDIATE:
        name, value = "", b""
        for inner, content in _elements(body):
            if inner == 0x80:
                name = _text(content)
            elif inner == 0x81:
                value = content
        return Told(name, value)
    if tag == _EXTENDED:
        texts = [_text(content) for inner, content in _elements(body) if inner == _OCTETS]
        return Other(" ".join(text for text in texts if text))
    return Other(f"a message of kind {tag:#x}")


def _attribute(octets: bytes) -> tuple[str, list[bytes]]:
    parts = list(_elements(octets))
    if len(parts) != 2 or parts[1][0] != _SET:
        raise WireError("an attribute is not a name and values")
    return _text(parts[0][1]), [value for _, value in _elements(parts[1][1])]


def _controls(octets: bytes) -> dict[str, bytes]:
    found = {}
    for _, control in _elements(octets):
        parts = list(_elements(control))
        if parts:
            found[_text(parts[0][1])] = parts[-1][1] if len(parts) > 1 and parts[-1][0] == _OCTETS else b""
    return found


def _elements(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (identifier, content) of each element of BER. Raises: WireError."""
    at, end = 0, len(octets)
    while at < end:
        if at + 2 > end:
            raise WireError("an element ends before its length")
        tag, length = octets[at], octets[at + 1]
        at += 2
        if length >= 0x80:
            count = length & 0x7F
            if not 0 < count <= _MAX_LENGTH_OCTETS or at + count > end:
                raise WireError("the length of an element takes more octets than any needs, or than there are")
            length = int.from_bytes(octets[at : at + count], "big")
            at += count
        if at + length > end:
            raise WireError("an element is longer than what holds it")
        yield tag, octets[at : at + length]
        at += length


def _exactly(octets: bytes, tag: int) -> list[tuple[int, bytes]]:
    found = list(_elements(octets))
    if len(found) != 1 or found[0][0] != tag:
        raise WireError(f"what should be one element {tag:#x} is not")
    return found


def _element(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


def _uuid(octets: bytes) -> str:
    if len(octets) != 16:
        raise WireError(f"the number of an entry has 16 octets, not {len(octets)}")
    return str(UUID(bytes=octets))
