"""A note of which file is looked at, written by the process that reads and found by the gateway after its end.

It is in memory that both have open: whatever ends the process, between two instructions, the last word stays.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

_LENGTH: Final = 64
_EMPTY: Final = bytes(_LENGTH)


def new_note() -> int:
    """Return the descriptor of an empty note. Raises: OSError."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("gatepost-note")
    else:
        handle, path = tempfile.mkstemp()
        os.unlink(path)
    os.ftruncate(handle, _LENGTH)
    return handle


class Note:
    """An open note to write on: no call of the system, for it is written once a file. Raises: OSError."""

    def __init__(self, handle: int) -> None:
        self._memory = mmap.mmap(handle, _LENGTH)

    def write(self, token: str) -> None:
        """Write a token, or nothing with an empty one."""
        self._memory[:] = token.encode().ljust(_LENGTH, b"\0") if token else _EMPTY


def read_note(handle: int) -> str | None:
    """Return the token that was written last, None where none stands there. Raises: OSError."""
    return os.pread(handle, _LENGTH, 0).rstrip(b"\0").decode(errors="replace") or None
