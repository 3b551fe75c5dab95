"""The ids of the peer: opaque and case-sensitive to clients, of either form for the same item.

A default id changes when its item moves to another folder, an immutable one (`Prefer: IdType="ImmutableId"`) does not.
Source: learn.microsoft.com "Obtain immutable identifiers for Outlook resources".
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from typing import Final, Literal

DEFAULT: Final = "AAMkAG"
IMMUTABLE: Final = "AAkALgAA"
FOLDER: Final = "AAMkAF"
ATTACHMENT: Final = "AAMkAA"
Form = Literal["default", "immutable"]
_SALT: Final = b"gatepost graph peer"


@dataclass(frozen=True, slots=True)
class ItemId:
    """An item's number, and how often it had moved when the id was given; None in an immutable one."""

    number: int
    moves: int | None


def item(number: int, moves: int, form: Form) -> str:
    """Return an item's id as a client gets it."""
    return IMMUTABLE + _sealed(number, 0) if form == "immutable" else DEFAULT + _sealed(number, moves)


def folder(number: int) -> str:
    """Return a folder's id, which is constant and of one form."""
    return FOLDER + _sealed(number, 0)


def attachment(number: int) -> str:
    """Return an attachment's id."""
    return ATTACHMENT + _sealed(number, 0)


def parse_item(text: str) -> ItemId | None:
    """Read an item's id of either form; None: none of this peer's, or damaged."""
    for prefix in (IMMUTABLE, DEFAULT):
        if text.startswith(prefix):
            found = _opened(text.removeprefix(prefix))
            return found and ItemId(found[0], found[1] if prefix is DEFAULT else None)
    return None


def parse(text: str, prefix: str) -> int | None:
    """Read a folder's or an attachment's id."""
    found = _opened(text.removeprefix(prefix)) if text.startswith(prefix) else None
    return found[0] if found else None


def _sealed(number: int, moves: int) -> str:
    plain = struct.pack(">QI", number, moves)
    return base64.urlsafe_b64encode(plain + hashlib.sha256(_SALT + plain).digest()[:18]).decode()


def _opened(text: str) -> tuple[int, int] | None:
    try:
        octets = base64.urlsafe_b64decode(text)
    except ValueError:
        return None
    if len(octets) != 30 or base64.urlsafe_b64encode(octets).decode() != text:
        return None
    if octets[12:] != hashlib.sha256(_SALT + octets[:12]).digest()[:18]:
        return None
    return struct.unpack(">QI", octets[:12])
