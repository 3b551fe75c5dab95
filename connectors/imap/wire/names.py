"""Names of folders on the wire: modified UTF-7, or UTF-8 where that is enabled. Pure.

Source: RFC 3501 §5.1.3, RFC 9051 §5.1 and §A, RFC 6855 §3.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, b2a_base64
from typing import Final

_OTHER: Final = re.compile(r"[^\x20-\x7e]+|&")
_SHIFTED: Final = re.compile(rb"&([^-&]*)(-?)")


def to_wire(name: str, *, utf8: bool = False) -> bytes:
    """Return a folder's name as octets. Raises: ValueError for a name with half a surrogate pair."""
    if utf8:
        return name.encode("utf-8")
    return _OTHER.sub(_shift, name).encode("ascii")


def _shift(found: re.Match[str]) -> str:
    text = found[0]
    if text == "&":
        return "&-"
    octets = b2a_base64(text.encode("utf-16-be"), newline=False).rstrip(b"=")
    return f"&{octets.replace(b'/', b',').decode()}-"


def from_wire(octets: bytes, *, utf8: bool = False) -> str:
    """Return a folder's name.

    Octets that are no modified UTF-7 are taken as they stand, as UTF-8 or Latin-1: such folders exist, and have to be
    asked for by the octets that they were listed with.
    """
    if utf8 or not octets.isascii():
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            return octets.decode("latin-1")
    try:
        return _SHIFTED.sub(_unshift, octets).decode("utf-8")
    except (ValueError, Error):
        return octets.decode("ascii")


def _unshift(found: re.Match[bytes]) -> bytes:
    inner, end = found.groups()
    if not inner:
        if not end:
            raise ValueError("a lone &")
        return b"&"
    octets = a2b_base64(inner.replace(b",", b"/") + b"=" * (-len(inner) % 4))
    return octets.decode("utf-16-be").encode("utf-8")
