"""The text of a FidoNet message: control lines, which begin with 0x01, and the lines that people read.

CR ends a line, LF means nothing. Control lines may stand anywhere; those that this gateway understands are named, the
others are kept as they are. Sources: FTS-0001, FTS-0004 (echomail), FTS-0009 (MSGID), FTS-4001 (INTL, FMPT, TOPT),
FSC-0035 (REPLYADDR, REPLYTO), FSC-0043 (the text), FSC-0046 (PID, TID), FSC-0054 (CHRS), FTS-4008 (TZUTC).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from connectors.filedrop.formats.ftn.charsets import decode, has_soft_cr
from connectors.filedrop.formats.ftn.node import Node, read_node

MAX_KLUDGES: Final = 1000
"""Control lines that are kept of one message; a text of nothing else must not fill a header."""

_NAME: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)(?:(:)|(?=[ \t])|\Z)(.*)", re.DOTALL)
_ORIGIN: Final = re.compile(r"^ \* Origin:(.*)$")
_ORIGIN_NODE: Final = re.compile(r"\(([^()]*)\)[ \t]*$")
_MSGID: Final = re.compile(r'[ \t]*("(?:[^"]|"")*"|.*?)[ \t]+([0-9A-Fa-f]{1,8})[ \t]*')
_ZONE: Final = re.compile(r"([+-]?)([0-9]{2}):?([0-9]{2})")
_AREA: Final = re.compile(rb"\AAREA:[ \t]*([^\r\n\x00]{1,120})", re.IGNORECASE)
_AFTER_ORIGIN: Final = re.compile(r"SEEN-BY:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Kludge:
    """One control line: `name` as written, without the colon that some have."""

    name: str
    value: str
    colon: bool = True

    def __str__(self) -> str:
        value = f" {self.value}" if self.value else ""
        return f"{self.name}{':' if self.colon else ''}{value}"


@dataclass(frozen=True, slots=True)
class MessageText:
    """A message's text, taken apart and decoded. `lines` are what people read; `area` is empty in netmail."""

    charset: str
    lines: tuple[str, ...]
    kludges: tuple[Kludge, ...]
    area: str = ""
    origin: str = ""
    """What stands behind `* Origin:` in echomail."""
    seen_by: tuple[str, ...] = ()
    lost_kludges: int = 0
    _index: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def get(self, *names: str) -> str:
        """Return the value of the first control line of one of these (upper-case) names; empty where none is."""
        return next((self._index[name] for name in names if name in self._index), "")

    @property
    def origin_node(self) -> Node | None:
        """Return the node that an Origin line names in brackets."""
        match = _ORIGIN_NODE.search(self.origin)
        return None if match is None else read_node(match[1])


def read_text(octets: bytes, default: str) -> MessageText:
    """Take a text apart. `default` is the codec of one that names no character set."""
    octets = octets.replace(b"\n", b"")
    area = _AREA.match(octets)
    if area is not None:
        octets = octets[area.end() :].removeprefix(b"\r")
    charset = _charset(octets)
    if has_soft_cr(charset, default):
        octets = octets.replace(b"\x8d", b"")
    raw = octets.split(b"\r")
    if raw and not raw[-1]:
        raw.pop()
    lines: list[str] = []
    kludges: list[Kludge] = []
    lost = 0
    for line in raw:
        text = decode(line, charset, default)
        if not line.startswith(b"\x01"):
            lines.append(text)
        elif len(kludges) < MAX_KLUDGES:
            kludges.append(_kludge(text[1:]))
        else:
            lost += 1
    origin = ""
    seen_by: list[str] = []
    if area is not None:
        lines, origin, seen_by = _without_trailer(lines)
    index: dict[str, str] = {}
    for kludge in kludges:
        index.setdefault(kludge.name.upper(), kludge.value)
    name = "" if area is None else decode(area[1], charset, default).strip()
    return MessageText(charset, tuple(lines), tuple(kludges), name, origin, tuple(seen_by), lost, index)


def _kludge(text: str) -> Kludge:
    match = _NAME.fullmatch(text)
    if match is None:
        return Kludge("", text.strip(), colon=False)
    return Kludge(match[1], match[3].strip(), bool(match[2]))


def _charset(octets: bytes) -> str:
    """Return the set that CHRS or its older names give, without its level."""
    found = re.search(rb"(?:\A|\r)\x01(?:CHRS|CHARSET):?[ \t]*([!-~]+)", octets, re.IGNORECASE)
    name = "" if found is None else found[1].decode("ascii")
    if name.upper() in ("IBMPC", "PC-8"):  # which of IBM's, an older line says
        page = re.search(rb"(?:\A|\r)\x01CODEPAGE:?[ \t]*([0-9]{3,4})", octets, re.IGNORECASE)
        if page is not None:
            return f"CP{page[1].decode('ascii')}"
    return name


def _without_trailer(lines: list[str]) -> tuple[list[str], str, list[str]]:
    """Part what echomail has behind its text: the last Origin line, and the SEEN-BY lines after it."""
    end = len(lines)
    seen_by: list[str] = []
    while end and (not lines[end - 1].strip() or _AFTER_ORIGIN.match(lines[end - 1])):
        end -= 1
        if lines[end].strip():
            seen_by.append(lines[end].partition(":")[2].strip())
    seen_by.reverse()
    origin = _ORIGIN.match(lines[end - 1]) if end else None
    if origin is None:
        return lines[:end], "", seen_by
    return lines[: end - 1], origin[1].strip(), seen_by


def read_msgid(value: str) -> tuple[str, str] | None:
    """Return (origin address, serial number) of a MSGID or REPLY line as written; None without a serial number."""
    match = _MSGID.fullmatch(value)
    return None if match is None else (match[1], match[2])


def read_zone(value: str) -> int | None:
    """Return the minutes east of UTC that a TZUTC line tells; None where it tells none."""
    match = _ZONE.fullmatch(value.strip())
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    if minutes >= 24 * 60 or int(match[3]) >= 60:
        return None
    return -minutes if match[1] == "-" else minutes


def write_zone(minutes: int) -> str:
    """Return a TZUTC line's value: no plus sign (FTS-4008)."""
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else ''}{hours:02}{rest:02}"


def join_text(kludges: list[Kludge], lines: list[str], trailing: list[Kludge]) -> str:
    """Return a text whose control lines stand in front of its lines, and `trailing` ones behind them."""
    rows = [f"\x01{kludge}" for kludge in kludges] + lines + [f"\x01{kludge}" for kludge in trailing]
    return "".join(f"{row}\r" for row in rows)
