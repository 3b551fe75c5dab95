"""A note of which file is looked at, written by the process that reads and found by the gateway after its end.

It is in memory that both have open: whatever ends the process, between two instructions, the last word stays.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import Final

_LENGTH: Final = 64


def new_note() -> int:
    """Return the descriptor of an empty note. Raises: OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gatepost-note")
    handle, path = tempfile.mkstemp()
    os.unlink(path)
    return handle


def write_note(handle: int, token: str) -> None:
    """Write a token, or nothing with an empty one. A note that cannot be written is done without."""
    with suppress(OSError):
        os.pwrite(handle, token.encode().ljust(_LENGTH, b"\0"), 0)


def read_note(handle: int) -> str | None:
    """Return the token that was written last, None where none stands there. Raises: OSError."""
    return os.pread(handle, _LENGTH, 0).rstrip(b"\0").decode(errors="replace") or None
