"""Line ends as internet mail has them: what programs of this machine write ends its lines with LF."""

from __future__ import annotations

import re
from typing import Final

_BARE: Final = re.compile(rb"(?<!\r)\n")


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
