"""The milter protocol, version 6, from the mail server's side and without I/O: packets to octets and back.

A packet is its length (4 octets, big-endian), a letter and data; texts in it end with NUL. The server says a command
for each step of a dialogue, with macros before it; the filter answers each with one reply, or with none where both
agreed so at the start, and at the end of a message with any number of changes before its reply.

Promises: `Replies` holds at most one packet, of at most MAX_PACKET octets; what is no reply of the protocol raises
MilterError and nothing else; a text from elsewhere cannot end early what stands in a packet, since NUL is taken out.
Source: libmilter's `mfdef.h`, `mfapi.h` and the description of the calls in sendmail's documentation; no RFC.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntFlag, unique
from typing import Final

VERSION: Final = 6
OLDEST_VERSION: Final = 2
CHUNK: Final = 65535
"""Octets of one piece of a body."""
MAX_PACKET: Final = 1024 * 1024 + 16
"""A filter may send a new body in pieces of up to 1 MiB; everything else is far shorter."""

_HEAD: Final = struct.Struct(">I")
_OPTIONS: Final = struct.Struct(">III")
_INDEX: Final = struct.Struct(">I")
_PORT: Final = struct.Struct(">H")


class MilterError(Exception):
    """The filter said what the protocol does not know, or not there."""


class Actions(IntFlag):
    """What a filter may change."""

    ADD_HEADERS = 0x01
    CHANGE_BODY = 0x02
    ADD_RCPT = 0x04
    DELETE_RCPT = 0x08
    CHANGE_HEADERS = 0x10
    QUARANTINE = 0x20
    CHANGE_FROM = 0x40
    ADD_RCPT_PARAMETERS = 0x80
    SET_MACROS = 0x100


class Wishes(IntFlag):
    """Steps that a filter does not want to hear of (NO_…), or does not answer (NR_…), and other agreements."""

    NO_CONNECT = 0x01
    NO_HELO = 0x02
    NO_MAIL = 0x04
    NO_RCPT = 0x08
    NO_BODY = 0x10
    NO_HEADERS = 0x20
    NO_EOH = 0x40
    NR_HEADER = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    SKIP = 0x400
    REFUSED_RCPT = 0x800
    NR_CONNECT = 0x1000
    NR_HELO = 0x2000
    NR_MAIL = 0x4000
    NR_RCPT = 0x8000
    NR_DATA = 0x10000
    NR_UNKNOWN = 0x20000
    NR_EOH = 0x40000
    NR_BODY = 0x80000
    LEADING_SPACE = 0x100000


ALL_ACTIONS: Final = Actions(0x1FF)
OFFERED: Final = Wishes(0x1FFFFF) & ~Wishes.REFUSED_RCPT
"""All but to be told of refused recipients."""


@unique
class Stage(Enum):
    """When macros are sent: the letter of the command they precede, and its number in the filter's list of wishes."""

    CONNECT = (b"C", 0)
    HELO = (b"H", 1)
    MAIL = (b"M", 2)
    RCPT = (b"R", 3)
    DATA = (b"T", 4)
    END = (b"E", 5)
    END_OF_HEADER = (b"N", 6)


@dataclass(frozen=True, slots=True)
class Options:
    """What the filter agreed to; `macros` are those it wants at a stage, where it named any."""

    version: int
    actions: Actions
    wishes: Wishes
    macros: dict[Stage, tuple[str, ...]]


@unique
class Answer(Enum):
    """A reply that ends a step."""

    CONTINUE = b"c"
    ACCEPT = b"a"
    REJECT = b"r"
    TEMPFAIL = b"t"
    DISCARD = b"d"
    SKIP = b"s"
    SHUTDOWN = b"4"
    FAIL = b"f"


@dataclass(frozen=True, slots=True)
class ReplyCode:
    """The very text of an SMTP reply that ends a step."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """The filter is at work still."""


@dataclass(frozen=True, slots=True)
class AddHeader:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class InsertHeader:
    """`index` 0 is above the server's own trace field, 1 below it."""

    index: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ChangeHeader:
    """The `index`th field of that name, from 1; an empty value takes it away."""

    index: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    """A piece of the new body."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class AddRecipient:
    address: str
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class DeleteRecipient:
    address: str


@dataclass(frozen=True, slots=True)
class ChangeFrom:
    address: str
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class Quarantine:
    reason: str


HeaderChange = AddHeader | InsertHeader | ChangeHeader
EnvelopeChange = AddRecipient | DeleteRecipient | ChangeFrom | Quarantine
Change = HeaderChange | EnvelopeChange | ReplaceBody
Reply = Options | Answer | ReplyCode | Progress | Change

NEEDS: Final[dict[type, Actions]] = {
    AddHeader: Actions.ADD_HEADERS,
    InsertHeader: Actions.ADD_HEADERS,
    ChangeHeader: Actions.CHANGE_HEADERS,
    ReplaceBody: Actions.CHANGE_BODY,
    AddRecipient: Actions.ADD_RCPT | Actions.ADD_RCPT_PARAMETERS,
    DeleteRecipient: Actions.DELETE_RCPT,
    ChangeFrom: Actions.CHANGE_FROM,
    Quarantine: Actions.QUARANTINE,
}
"""What a filter must have agreed to before it may ask for a change: one of these."""


# What the server says


def packet(letter: bytes, data: bytes = b"") -> bytes:
    """Return one packet."""
    return _HEAD.pack(len(data) + 1) + letter + data


def texts(*values: str | bytes) -> bytes:
    """Return texts as they stand in a packet, each ended by NUL."""
    return b"".join(octets_of(value).replace(b"\0", b"") + b"\0" for value in values)


def octets_of(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def negotiate(actions: Actions = ALL_ACTIONS, offered: Wishes = OFFERED) -> bytes:
    return packet(b"O", _OPTIONS.pack(VERSION, actions, offered))


def macros(stage: Stage, values: Iterable[tuple[str, str]]) -> bytes:
    """Return the packet of macros for the next command; nothing where there are none."""
    listed = b"".join(texts(name, value) for name, value in values)
    return packet(b"D", stage.value[0] + listed) if listed else b""


def connect(host: str, address: str, port: int) -> bytes:
    """Return the packet that tells of a client; an empty address is an unknown one."""
    if not address:
        return packet(b"C", texts(host) + b"U")
    family = b"6" if ":" in address else b"4"
    # sendmail's own form of an IPv6 address in this place
    shown = f"IPv6:{address}" if family == b"6" else address
    return packet(b"C", texts(host) + family + _PORT.pack(port & 0xFFFF) + texts(shown))


def helo(name: str) -> bytes:
    return packet(b"H", texts(name))


def mail(path: str, parameters: Sequence[str] = ()) -> bytes:
    return packet(b"M", texts(f"<{path}>", *parameters))


def rcpt(path: str, parameters: Sequence[str] = ()) -> bytes:
    return packet(b"R", texts(f"<{path}>", *parameters))


def header(name: bytes, value: bytes) -> bytes:
    return packet(b"L", texts(name, value))


def body(octets: bytes) -> bytes:
    return packet(b"B", octets)


DATA: Final = packet(b"T")
END_OF_HEADER: Final = packet(b"N")
END: Final = packet(b"E")
ABORT: Final = packet(b"A")
QUIT: Final = packet(b"Q")
QUIT_NEXT: Final = packet(b"K")
"""The client is gone, and another one follows on this connection."""


# What the filter says


class Replies:
    """Takes octets of any size, and gives replies."""

    __slots__ = ("_octets",)

    def __init__(self) -> None:
        self._octets = b""

    def receive(self, octets: bytes) -> Iterator[Reply]:
        """Yield the replies that are complete. Raises: MilterError."""
        self._octets += octets
        while len(self._octets) >= 5:
            (length,) = _HEAD.unpack_from(self._octets)
            if not 1 <= length <= MAX_PACKET:
                raise MilterError(f"a packet of {length} octets")
            if len(self._octets) < 4 + length:
                return
            letter, data = self._octets[4:5], self._octets[5 : 4 + length]
            self._octets = self._octets[4 + length :]
            yield read(letter, data)

    @property
    def is_between(self) -> bool:
        """Nothing of a packet has come."""
        return not self._octets


def read(letter: bytes, data: bytes) -> Reply:
    """Return the reply that a packet holds. Raises: MilterError."""
    reader = _READERS.get(letter)
    if reader is not None:
        return reader(data)
    try:
        return Answer(letter)
    except ValueError:
        raise MilterError(f"a reply {letter!r}") from None


def _texts(data: bytes, least: int, most: int | None = None) -> list[str]:
    if not data.endswith(b"\0"):
        raise MilterError("a text without its end")
    found = [each.decode("utf-8", "surrogateescape") for each in data[:-1].split(b"\0")]
    if not least <= len(found) <= (most or least):
        raise MilterError(f"{len(found)} texts, where there are {least}")
    return found


def _indexed(data: bytes) -> tuple[int, str, str]:
    if len(data) < 4:
        raise MilterError("a header change without its index")
    name, value = _texts(data[4:], 2)
    return _INDEX.unpack_from(data)[0], name, value


def _insert(data: bytes) -> Reply:
    return InsertHeader(*_indexed(data))


def _change(data: bytes) -> Reply:
    return ChangeHeader(*_indexed(data))


def _add(data: bytes) -> Reply:
    return AddHeader(*_texts(data, 2))


def _options(data: bytes) -> Reply:
    if len(data) < _OPTIONS.size:
        raise MilterError("a short negotiation")
    version, actions, wishes = _OPTIONS.unpack_from(data)
    wanted: dict[Stage, tuple[str, ...]] = {}
    rest = data[_OPTIONS.size :]
    stages = {stage.value[1]: stage for stage in Stage}
    while len(rest) >= 4:
        (number,) = _INDEX.unpack_from(rest)
        listed, separator, rest = rest[4:].partition(b"\0")
        if not separator or number not in stages:
            raise MilterError("a list of macros that is none")
        wanted[stages[number]] = tuple(listed.decode("ascii", "replace").replace(",", " ").split())
    return Options(version, Actions(actions & 0x1FF), Wishes(wishes & 0x1FFFFF), wanted)


_READERS: Final[dict[bytes, Callable[[bytes], Reply]]] = {
    b"O": _options,
    b"y": lambda data: ReplyCode(_texts(data, 1)[0]),
    b"p": lambda data: Progress(),
    b"h": _add,
    b"i": _insert,
    b"m": _change,
    b"b": lambda data: ReplaceBody(data),
    b"+": lambda data: AddRecipient(_texts(data, 1)[0]),
    b"2": lambda data: AddRecipient(*_texts(data, 1, 2)),
    b"-": lambda data: DeleteRecipient(_texts(data, 1)[0]),
    b"e": lambda data: ChangeFrom(*_texts(data, 1, 2)),
    b"q": lambda data: Quarantine(_texts(data, 1)[0]),
}
