"""The messages that every suite sends: files in `messages/`, and a few that are made since they are large."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from gateway.contract import Content

MARK: Final = b"x-kit"
"""A field, in lower case, by which a numbered message is known again."""

_LARGE: Final = {"header-line-1mib": 1024 * 1024, "body-3mib": 3 * 1024 * 1024}


@cache
def _folder() -> dict[str, bytes]:
    found = files("gateway.testing") / "messages"
    return {entry.name.removesuffix(".eml"): entry.read_bytes() for entry in found.iterdir()}


def names() -> list[str]:
    """Return the names of all sample messages."""
    return sorted([*_folder(), *_LARGE])


def sample(name: str) -> bytes:
    """Return a sample message's octets."""
    if name not in _LARGE:
        return _folder()[name]
    head, _, body = _folder()["plain"].partition(b"\r\n\r\n")
    if name == "header-line-1mib":
        return head + b"\r\nX-Long: " + b"a" * _LARGE[name] + b"\r\n\r\n" + body
    line = b"0123456789abcdef" * 4 + b"\r\n"
    return head + b"\r\n\r\n" + line * (_LARGE[name] // len(line))


def numbered(number: int) -> bytes:
    """Return a small plain message that carries its number in the field `X-Kit`, and in its subject: `kit 7`."""
    plain = sample("plain").replace(b"Message-ID: <plain@origin.example>\r\n", b"")
    plain = plain.replace(b"Subject: plain\r\n", b"Subject: kit %d\r\n" % number)
    return b"X-Kit: %d\r\nMessage-ID: <kit-%d@origin.example>\r\n" % (number, number) + plain


def number_in(octets: bytes, mark: bytes = MARK) -> int | None:
    """Return the number that a message carries in the field `mark` (lower case); None where it has none."""
    value = Content(octets).get(mark)
    return int(value) if value is not None and value.isdigit() else None


def body_of(octets: bytes) -> bytes:
    """Return what comes after the header's empty line."""
    return octets[2:] if octets.startswith(b"\r\n") else octets.partition(b"\r\n\r\n")[2]
