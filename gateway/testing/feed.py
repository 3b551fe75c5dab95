"""One helper for every codec's tests: whatever is read whole must read the same in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

R = TypeVar("R")

PLACES: Final = 200
"""The most places tried for a cut in two; in longer octets they are spread evenly."""


def cuts(octets: bytes) -> Iterator[list[bytes]]:
    """Yield ways to cut octets into pieces: whole, one by one, in threes, in two at every place."""
    yield [octets]
    for size in (1, 3):
        yield [octets[i : i + size] for i in range(0, len(octets), size)]
    for i in range(1, len(octets), max(1, len(octets) // PLACES)):
        yield [octets[:i], octets[i:]]


def feed(decode: Callable[[list[bytes]], R], octets: bytes) -> R:
    """Call `decode` with the octets cut in every way of `cuts`; return its result, the same for all.

    Raises: AssertionError that names the cut with another result.
    """
    whole = decode([octets])
    for pieces in cuts(octets):
        result = decode(pieces)
        if result != whole:
            shown = [len(piece) for piece in pieces[:4]]
            raise AssertionError(f"read whole it is {whole!r}, but in pieces of {shown}… octets it is {result!r}")
    return whole
