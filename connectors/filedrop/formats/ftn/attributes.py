"""The attribute word of a FidoNet message. Source: FTS-0001; the three-letter names are those of FidoNet programs."""

from __future__ import annotations

from enum import IntFlag
from typing import Final


class Attribute(IntFlag):
    """One bit each, from the lowest."""

    PVT = 1 << 0
    CRS = 1 << 1
    RCV = 1 << 2
    SNT = 1 << 3
    ATT = 1 << 4
    TRN = 1 << 5
    ORP = 1 << 6
    KFS = 1 << 7
    LOC = 1 << 8
    HLD = 1 << 9
    FRQ = 1 << 11
    RRQ = 1 << 12
    RRC = 1 << 13
    ARQ = 1 << 14
    URQ = 1 << 15


IN_PACKETS: Final = 0b0111_0100_0001_0011
"""The bits that a packet may hold; the others are a system's own affair."""


def names(word: int) -> str:
    """Return the names of the bits that are set, with blanks between."""
    return " ".join(bit.name or "" for bit in Attribute if word & bit)
