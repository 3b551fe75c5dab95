"""ItemIds, FolderIds, change keys and sync states: opaque to a client, as long as real ones, never a number."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import Final, Literal

from tests.peers.ews.soap import ItemError

Kind = Literal["item", "folder", "attachment", "persona"]

_MARKS: Final[dict[Kind, bytes]] = {
    "item": b"\x00\x00\x49",
    "folder": b"\x00\x00\x46",
    "attachment": b"\x00\x00\x41",
    "persona": b"\x00\x00\x50",
}
_PAD: Final = hashlib.sha512(b"store").digest()[:57]


def identifier(kind: Kind, number: int, part: int = 0) -> str:
    """Return the id of an item, a folder, or an item's attachment."""
    return base64.b64encode(_MARKS[kind] + struct.pack(">QI", number, part) + _PAD).decode()


def entry_id(kind: Kind, number: int) -> bytes:
    """Return the MAPI entry id that belongs to an id (`HexEntryId`, PidTagEntryId)."""
    return _MARKS[kind] + struct.pack(">QI", number, 0) + _PAD[:31]


def of_entry_id(octets: bytes) -> tuple[Kind, int]:
    """Return what `entry_id` was made from. Raises: ValueError."""
    kind = next((each for each, mark in _MARKS.items() if octets.startswith(mark)), None)
    if kind is None or octets[15:] != _PAD[:31]:
        raise ValueError(octets)
    return kind, int.from_bytes(octets[3:11], "big")


def number_of(kind: Kind, text: str | None) -> tuple[int, int]:
    """Return what `identifier` was made from. Raises: ItemError ErrorInvalidIdMalformed."""
    try:
        octets = base64.b64decode(text or "", validate=True)
        if octets[:3] != _MARKS[kind] or octets[15:] != _PAD:
            raise ValueError
        number, part = struct.unpack(">QI", octets[3:15])
    except (ValueError, binascii.Error, struct.error):
        raise ItemError("ErrorInvalidIdMalformed", "Id is malformed.") from None
    return number, part


def change_key(version: int) -> str:
    return base64.b64encode(b"CQ\x00\x00" + struct.pack(">Q", version) + _PAD[:8]).decode()


def version_of(text: str) -> int:
    """Return the version in a change key. Raises: ItemError ErrorInvalidChangeKey."""
    try:
        octets = base64.b64decode(text, validate=True)
        (version,) = struct.unpack(">Q", octets[4:12])
    except (ValueError, binascii.Error, struct.error):
        raise ItemError("ErrorInvalidChangeKey", "The change key is invalid.") from None
    return int(version)


def sync_state(folder: int, generation: int, after: int, until: int = 0) -> str:
    """Return the token of how far a folder is known.

    `until`: the first synchronisation is under way, and lists what there is by item numbers up to `after`; then the
    changes from `until` on come.
    """
    return base64.b64encode(f"H4s:{folder}:{generation}:{after}:{until}".encode()).decode()


def of_sync_state(text: str, folder: int, generation: int) -> tuple[int, int]:
    """Return (`after`, `until`) of a token. Raises: ItemError ErrorInvalidSyncStateData."""
    try:
        mark, of, made_in, after, until = base64.b64decode(text, validate=True).decode().split(":")
        if mark != "H4s" or int(of) != folder or int(made_in) != generation:
            raise ValueError
        return int(after), int(until)
    except (ValueError, binascii.Error, UnicodeDecodeError):
        raise ItemError(
            "ErrorInvalidSyncStateData", "Synchronization state data is corrupt or otherwise invalid."
        ) from None
