"""The form of a hand-over, the same over the socket and in a file: lines of words and values, an empty line, content.

Pure, and without imports, since the command has it too. Values are UTF-8, undecodable octets as they came. `size` is
how many octets the content has: a caller that is killed, or gives up, ends its stream in the middle as any other does.

    gatepost-sendmail 1
    do mail
    id 0123456789abcdef0123456789abcdef
    size 20
    sender ann@acme.example
    to bob@far.example

    Subject: hello
    …
"""

from __future__ import annotations

FIRST = b"gatepost-sendmail 1"
MOST_HEAD = 4 * 1024 * 1024
"""Octets before the empty line."""
MOST_LINE = 8192


class Malformed(Exception):
    """It is no hand-over; the text says why."""


def write(words: list[tuple[str, str]]) -> bytes:
    """Return what stands before the content."""
    lines = [FIRST, *(f"{word} {value}".encode("utf-8", "surrogateescape") for word, value in words), b"", b""]
    return b"\n".join(lines)


def read(head: bytes) -> list[tuple[str, str]]:
    """Return the words and values of what stands before the empty line. Raises: Malformed."""
    first, *lines = head.split(b"\n")
    if first != FIRST:
        raise Malformed("it does not begin as a hand-over does")
    found = []
    for line in lines:
        if len(line) > MOST_LINE:
            raise Malformed("a line is too long")
        word, _, value = line.decode("utf-8", "replace").partition(" ")
        found.append((word, value))
    return found
