"""The content of a message in a batch: its leading dots, doubled while it is there, and its line ends.

Promises: pieces of any size give the same octets; nothing but dots and line ends changes; written content holds no
line of a dot alone, whichever line ends a reader goes by.
Source: RFC 5321 §4.5.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_ANY_END: Final = re.compile(rb"\r\n|\r|\n")


def unstuffed_crlf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Take the first dot from each line that begins with one; CRLF alone ends a line, whatever else is in it."""
    return _unstuffed(pieces, b"\r\n")


def unstuffed_lf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Do the same where LF ends a line, and make it CRLF; a CRLF that is there stays one."""
    held = b""
    for piece in _unstuffed(pieces, b"\n"):
        text = held + piece
        held = b"\r" if text.endswith(b"\r") else b""
        yield _BARE_LF.sub(b"\r\n", text[: len(text) - len(held)])
    if held:
        yield held


def _unstuffed(pieces: Iterator[bytes], newline: bytes) -> Iterator[bytes]:
    held, before = newline, len(newline)  # the content begins a line: the end of the one before it is put in front
    for piece in pieces:
        text = held + piece
        keep = len(newline) if text.endswith(newline) else int(newline == b"\r\n" and text.endswith(b"\r"))
        held = text[len(text) - keep :]
        whole = text[: len(text) - keep].replace(newline + b".", newline)
        if whole:
            yield whole[before:]
            before = 0
    yield held[before:]


def stuffed(pieces: Iterator[bytes], newline: bytes) -> Iterator[bytes]:
    """Double the first dot of each line, give every line the end that is wanted, the last one too."""
    held, begins = b"", True
    for piece in pieces:
        text = held + piece
        held = b"\r" if text.endswith(b"\r") else b""
        text = _ANY_END.sub(newline, text[: len(text) - len(held)])
        if not text:
            continue
        dot = b"." if begins and text.startswith(b".") else b""
        begins = text.endswith(newline)
        yield dot + text.replace(newline + b".", newline + b"..")
    if held or not begins:
        yield newline
