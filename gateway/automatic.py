"""Automatic: which messages no program may answer, and which addresses none may answer to. Pure.

What answers people without a person behind it, a notice that somebody is away or has moved, asks here first; or two
such programs write to each other for ever, and a list's members hear who is on holiday.
Sources: RFC 3834 §2; RFC 5230 §4.6; RFC 2919 and RFC 2369 (fields of lists); MS-OXCMAIL §2.1.3.2.20.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.message import Content
from gateway.suppression import wants_no_answer

_MACHINES: Final = re.compile(
    r"(?:owner-.*|.*-(?:owner|request|bounces?)|(?:mailer-daemon|postmaster|listserv|majordomo|no-?reply)"
    r"|bounces?[+=-].*)(?:\+.*)?",
    re.I,
)
_LIST_FIELDS: Final = frozenset(
    f"list-{each}".encode() for each in ("id", "help", "subscribe", "unsubscribe", "post", "owner", "archive")
)
_NO_PERSON: Final = frozenset((b"bulk", b"junk", b"list"))


def is_automatic(content: Content) -> bool:
    """Tell whether a message is one that nobody is to answer by machine."""
    submitted = (content.get(b"auto-submitted") or b"no").split(b";")[0].strip().lower()
    precedence = (content.get(b"precedence") or b"").strip().lower()
    lists = any(name.lower() in _LIST_FIELDS for name, _ in content.named)
    return submitted != b"no" or precedence in _NO_PERSON or lists or wants_no_answer(content)


def is_machine(address: str) -> bool:
    """Tell whether a program is behind an smtp address, as its local part says."""
    return _MACHINES.fullmatch(address.rpartition("@")[0]) is not None
