"""Line ends as internet mail has them: what programs of this machine write ends its lines with LF."""

from __future__ import annotations

import re
from typing import Final

_BARE: Final = re.compile(rb"(?<!\r)\n")


_FROM_LINE: Final = re.compile(rb"\A(?:>?From [^\n]{0,1000}\n){1,10}(?=[!-9;-~]{1,200}[ \t]*:)")


def without_from_line(octets: bytearray) -> None:
    """Take the From_ line of a mailbox away where a header begins behind it, as sendmail does: it is no field, and
    others take it for the header's end. A text without a header that begins so is a body."""
    found = _FROM_LINE.match(octets)
    end = 0 if found is None else found.end()
    del found  # it holds the octets fast
    if end:
        del octets[:end]
    elif octets.startswith(b"From "):
        octets[:0] = b"\r\n"


class ToCrlf:
    """Makes every LF a CR LF, in pieces; a CR of its own stays."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def add(self, piece: bytes) -> bytes:
        octets = self._held + piece
        self._held = b"\r" if octets.endswith(b"\r") else b""
        if self._held:
            octets = octets[:-1]
        return _BARE.sub(b"\r\n", octets)

    def end(self) -> bytes:
        """Return what was held back."""
        held, self._held = self._held, b""
        return held
