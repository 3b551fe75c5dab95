"""The flags that a mailbox's file has no letter of its own for, as the keywords that programs know them by."""

from __future__ import annotations

from typing import Final

from gateway.contract import FLAGS, Flag
from gateway.formats.flags import Mark
from gateway.formats.maildir import from_utf7, to_utf7

_MARKS: Final[dict[Mark, Flag]] = {
    Mark.SEEN: "seen",
    Mark.ANSWERED: "answered",
    Mark.FLAGGED: "flagged",
    Mark.DELETED: "deleted",
    Mark.DRAFT: "draft",
    Mark.PASSED: "forwarded",
}
_KEYWORDS: Final[dict[str, Flag]] = {
    "$forwarded": "forwarded",
    "forwarded": "forwarded",
    "$mdnsent": "mdn_sent",
    "mdnsent": "mdn_sent",
    "$junk": "junk",
    "junk": "junk",
}
_WRITTEN: Final[dict[str, str]] = {"forwarded": "$Forwarded", "mdn_sent": "$MDNSent", "junk": "$Junk"}

FORBIDDEN: Final = ' (){%*"\\]' + "".join(map(chr, [*range(32), 127]))
"""What no keyword has, so that an IMAP server that shows the mailbox can show it."""


def flags_of(marks: Mark) -> frozenset[Flag]:
    """Return what a file's letters say."""
    return frozenset(flag for mark, flag in _MARKS.items() if mark in marks)


def marks_of(words: frozenset[str]) -> Mark:
    """Return the letters of flags; those without one are left out."""
    marks = Mark.NONE
    for mark, flag in _MARKS.items():
        if flag in words:
            marks |= mark
    return marks


def told(marks: Mark, keywords: frozenset[str]) -> tuple[frozenset[Flag], frozenset[str]]:
    """Return flags and keywords of what a file has."""
    keywords = frozenset(map(_read, keywords))
    flags = {_KEYWORDS[word.lower()] for word in keywords if word.lower() in _KEYWORDS}
    return flags_of(marks) | flags, frozenset(word for word in keywords if word.lower() not in _KEYWORDS)


def keywords_of(words: frozenset[str], *, letters: Mark) -> frozenset[str]:
    """Return the keywords that flags and keywords are written as, for a file whose letters can say `letters`."""
    lettered = flags_of(letters)
    flags = {_WRITTEN[word] for word in words if word in _WRITTEN and word not in lettered}
    return frozenset(flags) | frozenset(clean(word) for word in words if word not in FLAGS)


def plain(word: str) -> str:
    """Return a keyword with `_` for what it can't have."""
    return "".join("_" if char in FORBIDDEN else char for char in word)


def clean(word: str) -> str:
    """Return a keyword as it is written: in modified UTF-7, where it is of more than ASCII."""
    word = plain(word)
    return word if word.isascii() else to_utf7(word)


def _read(word: str) -> str:
    text = from_utf7(word)
    return word if text.isascii() else text
