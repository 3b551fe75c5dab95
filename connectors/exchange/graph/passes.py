"""Passes: the way a mail has come, kept through a mailbox of which Graph shows no Received field again. Pure.

Promises: a mail that goes round by such a mailbox is known for one by its own trace (RFC 5321 §6.3), however often it
passes: the newest trace fields are kept under a name of ours, which Exchange keeps as it keeps all X- fields, and those
that were kept before come after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.contract import Content

PASS: Final = b"x-gatepost-pass-"
"""Begins the names of these fields. The core, too, knows it, and counts its own passes in them."""
MOST: Final = 20
"""Of the newest: more than the passes after which a mail is refused."""
_CHARS: Final = 1000
_DIGITS: Final = 3
_NAME: Final = b"X-Gatepost-Pass-"


def is_kept(name: bytes) -> bool:
    """Say whether a field, by its lower-case name, is one that these functions write."""
    return name.startswith(PASS) and len(name) <= len(PASS) + _DIGITS and name[len(PASS) :].isdigit()


def kept(content: Content) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and value of the fields that keep a mail's trace, the newest first."""
    before = sorted(
        (int(name[len(PASS) :]), value) for written, value in content.named if is_kept(name := written.lower())
    )
    ways = [*content.get_all(b"received"), *(value for _, value in before)]
    for number, value in enumerate(ways[:MOST], 1):
        yield b"%s%d" % (_NAME, number), b" ".join(value.split())[:_CHARS]
