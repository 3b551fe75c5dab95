"""Message ids: 63-bit, ordered by time, unique between the nodes of a gateway.

41 bits of milliseconds since 2020, 10 bits of node, 12 bits of counter; shown as 13 characters of
Crockford's base 32 in lower case, which survive being read aloud, typed and grepped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

EPOCH_MS: Final = 1_577_836_800_000
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
_VALUE: Final = {c: i for i, c in enumerate(_ALPHABET)} | {"o": 0, "i": 1, "l": 1}


class IdSource:
    """Gives ids that grow, even where the clock steps back.

    `node` is 0..1023 and differs between nodes that run at the same time; `clock` gives seconds since 1970.
    """

    def __init__(self, node: int, clock: Callable[[], float]) -> None:
        self._node = (node & 0x3FF) << 12
        self._clock = clock
        self._last_ms = 0
        self._counter = 0

    def next(self) -> int:
        now_ms = int(self._clock() * 1000) - EPOCH_MS
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            self._counter = 0
        else:
            self._counter += 1
            if self._counter == 4096:  # borrow the next millisecond instead of waiting for it
                self._last_ms += 1
                self._counter = 0
        return (self._last_ms << 22) | self._node | self._counter


def text(message_id: int) -> str:
    """Return the shown form of an id, 13 characters."""
    return _beginning(message_id >> 10) + _PAIRS[message_id & 1023]  # this is asked several times per message


@lru_cache(maxsize=1024)
def _beginning(upper: int) -> str:
    """Return the first eleven characters of an id, which are mostly the same for a millisecond."""
    pairs = _PAIRS  # ten bits a step
    return _second(upper >> 20) + pairs[(upper >> 10) & 1023] + pairs[upper & 1023]


@lru_cache(maxsize=64)
def _second(upper: int) -> str:
    """Return the first seven characters of an id, which are the same for a quarter of a second."""
    pairs = _PAIRS
    return (
        _ALPHABET[(upper >> 30) & 31] + pairs[(upper >> 20) & 1023] + pairs[(upper >> 10) & 1023] + pairs[upper & 1023]
    )


def parse(shown: str) -> int:
    """Read a shown id back.

    Raises: ValueError where it is not 13 characters of the alphabet.
    """
    if len(shown) != 13:
        raise ValueError(f"{shown!r} is not a message id: it has 13 characters, such as 01k9rw3m8c000")
    value = 0
    for c in shown.lower():
        if c not in _VALUE:
            raise ValueError(f"{shown!r} is not a message id: {c!r} is not in its alphabet")
        value = value << 5 | _VALUE[c]
    return value


def seconds(message_id: int) -> float:
    """Return when the id was given, in seconds since 1970."""
    return ((message_id >> 22) + EPOCH_MS) / 1000
