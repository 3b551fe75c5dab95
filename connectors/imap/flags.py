"""Flags and keywords: the contract's names to IMAP's and back. Pure.

Source: RFC 9051 §2.3.2; RFC 3503 ($MDNSent), RFC 5550 ($Forwarded), IANA's registry of IMAP keywords ($Junk).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from connectors.imap.session import Selected
from gateway.contract import Fate, Flag, Note

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
_FLAGS: Final[Mapping[bytes, Flag]] = {name.lower(): flag for flag, name in NAMES.items()}
_RECENT: Final = b"\\recent"
_NO_ATOM: Final = re.compile(r"[^!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|}~]")


def read(flags: Iterable[bytes]) -> tuple[frozenset[Flag], frozenset[str]]:
    """Return flags and keywords of an item; \\Recent, which no client sets, is neither."""
    found: set[Flag] = set()
    words: set[str] = set()
    for each in flags:
        flag = _FLAGS.get(each.lower())
        if flag is not None:
            found.add(flag)
        elif each.lower() != _RECENT:
            words.add(each.decode("utf-8", "replace"))
    return frozenset(found), frozenset(words)


def keyword(word: str) -> str:
    """Return a keyword as IMAP can have it: what no atom can hold becomes a `_`."""
    return _NO_ATOM.sub("_", word) or "_"


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
        if written != word:
            notes.append(Note(Fate.MAPPED, f"keyword {word} as {written}", "IMAP has no such characters in keywords"))
        wanted.add(written.encode("ascii"))
    if folder is None or folder.permanent is None or folder.takes_keywords:
        kept = frozenset(wanted)
    else:
        known = {each.lower() for each in folder.permanent}
        kept = frozenset(each for each in wanted if each.lower() in known)
        lost = sorted(wanted - kept)
        notes += [Note(Fate.DROPPED, f"flag {name.decode()}", "the folder keeps no such flag") for name in lost]
    return kept, tuple(notes)
