"""MH's sequences as flags and keywords of messages. Pure.

Sources: mh-sequence(5) of nmh; `flagged` and `replied` are mutt's words.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from connectors.folders import words
from gateway.contract import FLAGS, Flag
from gateway.formats.mh import UNSEEN, Range, merged

_SEQUENCES: Final[dict[str, Flag]] = {
    "replied": "answered",
    "flagged": "flagged",
    "deleted": "deleted",
    "drafts": "draft",
    "forwarded": "forwarded",
    "mdnsent": "mdn_sent",
    "junk": "junk",
}
_NAMES: Final = {flag: name for name, flag in _SEQUENCES.items()}
_OWN: Final = frozenset(("cur", "pseq", "new"))
"""Sequences that are nmh's: the message that was read last, the last one asked for."""
FORBIDDEN: Final = words.FORBIDDEN + "!#$&'+,/:;<=>?@[^`|}~"
"""What no sequence's name has, of ASCII."""
_SEQUENCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")


def within(ranges: Sequence[Range], each: int) -> bool:
    """Tell whether a number is in ranges, which are in order."""
    at = bisect_right(ranges, each, key=lambda pair: pair[0]) - 1
    return at >= 0 and each <= ranges[at][1]


def told(sequences: dict[str, list[Range]], each: int) -> tuple[frozenset[Flag], frozenset[str]]:
    """Return the flags and keywords of a message."""
    names = {name for name, ranges in sequences.items() if within(ranges, each)}
    flags: set[Flag] = {_SEQUENCES[name] for name in names if name in _SEQUENCES}
    if UNSEEN not in names:
        flags.add("seen")
    return frozenset(flags), frozenset(names - _SEQUENCES.keys() - _OWN - {UNSEEN})


def put(sequences: dict[str, list[Range]], each: int, said: frozenset[str]) -> None:
    """Let a message be in the sequences of these words, and in no other."""
    wanted = {_NAMES[word] for word in FLAGS & said if word in _NAMES}
    wanted |= {clean(word) for word in said - FLAGS - unheld(said)}
    if "seen" not in said:
        wanted.add(UNSEEN)
    for name in wanted | (sequences.keys() - _OWN):
        ranges = sequences.get(name, [])
        if name in wanted:
            sequences[name] = merged([*ranges, (each, each)])
        elif within(ranges, each):
            cut = [part for start, end in ranges for part in ((start, min(end, each - 1)), (max(start, each + 1), end))]
            sequences[name] = [(start, end) for start, end in cut if start <= end]


def unheld(said: frozenset[str]) -> frozenset[str]:
    """Return the keywords that can be no sequence: its name begins with a letter, and is of ASCII."""
    own = _SEQUENCES.keys() | _OWN | {UNSEEN}
    cleaned = {word: clean(word) for word in said - FLAGS}
    return frozenset(word for word, name in cleaned.items() if _SEQUENCE.fullmatch(name) is None or name in own)


def clean(word: str) -> str:
    """Return a keyword with `_` for what no sequence's name has."""
    return "".join("_" if char in FORBIDDEN else char for char in word)
