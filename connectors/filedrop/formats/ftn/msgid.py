"""Message identifiers on both sides of a gateway, so that replies thread across it.

FidoNet's `MSGID: <address> <serial>` becomes `<MSGID_address_serial@domain>`, with what an id cannot hold as `=XX`;
an internet id becomes `MSGID: <id@dom> <CRC-32 of it>`. Each turns back into what it came from, at any gateway of the
same domain. Source: "Gateway standard for message identifiers" of the GATEBAU gateways (Junius, 1997), FTS-0009.
"""

from __future__ import annotations

import re
import zlib
from datetime import datetime
from typing import Final

from connectors.filedrop.formats.ftn.text import read_msgid

_QUOTED: Final = frozenset(b'()<>@,;:\\"[]/=_')
_SIGNS: Final = tuple(
    "_" if o == 0x20 else chr(o) if 0x20 < o < 0x7F and o not in _QUOTED else f"={o:02X}" for o in range(256)
)
_ESCAPED: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
_OURS: Final = re.compile(r"<MSGID_([^<>@\s]*)_([0-9A-Fa-f]{1,8})@([^<>@\s]+)>")
_INTERNET: Final = re.compile(r"<[!-;=?-~]+@[!-;=?-~]+>")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MAX_ID: Final = 900
"""The longest id that is carried over: a header line has 998 octets."""


def to_message_id(msgid: str, domain: str, *, verbatim: bool = False) -> str | None:
    """Return the Message-ID for the value of a MSGID or REPLY line; None where it cannot be one.

    With `verbatim` an internet id in it is quoted too, so that its serial number counts.
    """
    parts = read_msgid(msgid)
    if parts is None:
        return None
    origin, serial = parts
    if not verbatim and _INTERNET.fullmatch(origin.strip('"')):
        made = origin.strip('"')
    else:
        made = f"<MSGID_{_quote(origin)}_{serial}@{domain}>"
    return made if len(made) <= MAX_ID else None


def to_msgid(message_id: str, domain: str, area: str = "") -> str | None:
    """Return the value of the MSGID or REPLY line for a Message-ID; None where it is none.

    In echomail the area's name is part of the checksum, so that a cross-posting is no duplicate.
    """
    ours = _OURS.fullmatch(message_id)
    if ours is not None and ours[3].lower() == domain.lower():
        octets = ours[1].replace("_", " ").encode("utf-8", "replace")
        origin = _ESCAPED.sub(lambda m: bytes((int(m[1], 16),)), octets).decode("utf-8", "replace")
        if origin.strip() and not _CONTROL.search(origin):
            return f"{_enclose(origin)} {ours[2]}"
    if len(message_id) > MAX_ID or not _INTERNET.fullmatch(message_id):
        return None
    return f"{message_id} {crc(message_id + area.upper())}"


def without_msgid(node: str, at: datetime, names: bytes, domain: str) -> str:
    """Return the Message-ID of a message without MSGID. `names` are From, To and Subject, joined."""
    return f"<NOMSGID_{_quote(node)}_{at:%y%m%d_%H%M%S}_{zlib.crc32(names):08x}@{domain}>"


def crc(text: str) -> str:
    """Return the CRC-32 of a text as eight lower-case hexadecimal digits."""
    return f"{zlib.crc32(text.encode('utf-8', 'surrogateescape')):08x}"


def next_serial(msgid: str, count: int) -> str:
    """Return a MSGID's value with its serial number raised, for the further parts of a message that was split."""
    origin, _, serial = msgid.rpartition(" ")
    return f"{origin} {(int(serial, 16) + count) & 0xFFFFFFFF:08x}"


def _quote(text: str) -> str:
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(
        "_" if o == 0x20 else chr(o) if 0x20 < o < 0x7F and o not in _QUOTED else f"={o:02X}" for o in octets
    )


def _enclose(origin: str) -> str:
    """Put an address with blanks into quotes, where its writer has not (FTS-0009)."""
    if " " not in origin or origin.startswith('"'):
        return origin
    return '"' + origin.replace('"', '""') + '"'
