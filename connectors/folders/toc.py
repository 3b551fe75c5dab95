"""Eudora's table of contents: which messages of a mailbox file are there, and what became of each. Pure.

A message that is removed stays in the mailbox file until that is compacted, and goes from the table at once. The table
is believed where it fits the file, and its states of messages where their places do.
Little-endian: a header of 104 octets, the type of mailbox at 40, and entries of 218: place, length, seconds since 1970,
state, two octets of switches, priority. Sources: http://users.starpower.net/ksimler/eudora/toc.html;
https://github.com/LenShustek/Eudora_fix_mbx.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from gateway.contract import Flag

HEADER: Final = 104
ENTRY: Final = 218
_ENTRY: Final = struct.Struct("<iiihBBh")
_STATES: Final[dict[int, tuple[Flag, ...]]] = {
    0: (),
    1: ("seen",),
    2: ("seen", "answered"),
    3: ("seen", "forwarded"),
    4: ("seen", "forwarded"),  # redirected
    5: ("seen",),  # as it is after a table was made anew, which forgets
    6: ("draft",),  # may be sent
    7: ("draft",),  # queued
    8: ("seen",),  # sent
    9: ("draft",),  # not sent
    10: ("draft",),  # queued for later
}
READ: Final[frozenset[Flag]] = frozenset(("seen",))
"""What is said of a message that no table tells of: an archive's have been read."""


@dataclass(frozen=True, slots=True)
class Line:
    """One message's entry. `at` is in seconds since 1970, None where it has no date."""

    place: int
    length: int
    at: float | None
    flags: frozenset[Flag]


def read(octets: bytes) -> dict[int, Line]:
    """Return the entries by the places they name; entries that can be none are left out, and so is half of one."""
    found: dict[int, Line] = {}
    for start in range(HEADER, len(octets) - ENTRY + 1, ENTRY):
        place, length, seconds, state, _, _, _ = _ENTRY.unpack_from(octets, start)
        if place < 0 or length <= 0:
            continue
        flags = frozenset(_STATES.get(state, ("seen",)))
        found[place] = Line(place, length, float(seconds) if seconds > 0 else None, flags)
    return found


def fits(table: dict[int, Line], places: set[int]) -> bool:
    """Tell whether a table is the one of a file whose messages begin at these places."""
    return bool(table) and table.keys() <= places
