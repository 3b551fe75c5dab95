"""Flags and keywords: the contract's names to IMAP's and back. Pure.

Keywords beyond ASCII are in modified UTF-7, as Thunderbird and Dovecot have them.
Source: RFC 9051 §2.3.2; RFC 3503 ($MDNSent), RFC 5550 ($Forwarded), IANA's registry of IMAP keywords ($Junk).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from connectors.imap.session import Selected
from connectors.imap.wire.names import from_wire, to_wire
from gateway.mailbox import Fate, Flag, Note

NAMES: Final[Mapping[Flag, bytes]] = {
    "seen": b"\\Seen",
    "answered": b"\\Answered",
    "flagged": b"\\Flagged",
    "draft": b"\\Draft",
    "deleted": b"\\Deleted",
    "forwarded": b"$Forwarded",
    "mdn_sent": b"$MDNSent",
    "junk": b"$Junk",
}
SYSTEM: Final = frozenset(name for name in NAMES.values() if name.startswith(b"\\"))
_FLAGS: Final[Mapping[bytes, Flag]] = {name.lower(): flag for flag, name in NAMES.items()}
_RECENT: Final = b"\\recent"
_NO_ATOM: Final = re.compile(r"[\x00-\x20\x7f(){%*\"\\\[\]]")
FORBIDDEN: Final = "".join(chr(code) for code in range(0x80) if _NO_ATOM.match(chr(code)))
"""Characters that no keyword can hold. Those beyond ASCII are written in modified UTF-7, as folders' names are."""


@lru_cache(maxsize=256)  # most of a mailbox's items have the same few
def read(flags: frozenset[bytes]) -> tuple[frozenset[Flag], frozenset[str]]:
    """Return flags and keywords of an item; \\Recent, which no client sets, is neither."""
    found: set[Flag] = set()
    words: set[str] = set()
    for each in flags:
        flag = _FLAGS.get(each.lower())
        if flag is not None:
            found.add(flag)
        elif each.lower() != _RECENT:
            words.add(_word(each))
    return frozenset(found), frozenset(words)


def _word(octets: bytes) -> str:
    """Return a keyword as it is read: decoded, where it would be written so."""
    word = from_wire(octets)
    return word if octets == keyword(word) else octets.decode("utf-8", "replace")


def keyword(word: str) -> bytes:
    """Return a keyword as IMAP can have it: what no atom can hold becomes a `_`, what is beyond ASCII is encoded."""
    word = _NO_ATOM.sub("_", word.encode("utf-8", "replace").decode()) or "_"
    return word.encode("ascii") if word.isascii() and from_wire(word.encode()) == word else to_wire(word)


def write(
    flags: Iterable[str], keywords: Iterable[str], folder: Selected | None
) -> tuple[frozenset[bytes], tuple[Note, ...]]:
    """Return what to set of flags and keywords in a folder, and notes of what it does not keep as it is."""
    wanted: set[bytes] = set()
    notes: list[Note] = []
    for each in sorted(flags):
        wanted.add(NAMES[each])  # type: ignore[index]
    for word in sorted(keywords):
        written = keyword(word)
        if _NO_ATOM.search(word):
            why = "IMAP has no such characters in keywords"
            notes.append(Note(Fate.MAPPED, f"keyword {word} as {_word(written)}", why))
        wanted.add(written)
    if folder is None or folder.permanent is None:
        kept = frozenset(wanted)
    else:
        known = {each.lower() for each in folder.permanent}
        kept = frozenset(
            each for each in wanted if each.lower() in known or (folder.takes_keywords and each not in SYSTEM)
        )
        lost = sorted(wanted - kept)
        notes += [Note(Fate.DROPPED, f"flag {told(name)}", "the folder keeps no such flag") for name in lost]
    return kept, tuple(notes)


def told(name: bytes) -> str:
    """Return a flag or keyword by the contract's name for it."""
    return _FLAGS.get(name.lower()) or _word(name)
