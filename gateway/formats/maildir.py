"""Maildir: the names of its files and folders, and its quota file.

A message is a file `new/NAME`, and `cur/NAME:2,FLAGS` once a program has seen it. NAME is unique; `,S=` and `,W=` in it
tell the file's octets, and those it has with CRLF line ends. Programs change flags by renaming: a message is known by
what stands before the info alone. Folders of a Maildir++ are folders `.Name.Sub` beside `cur`.
Sources: https://cr.yp.to/proto/maildir.html; Courier's README.maildirquota.html and maildir(5); modified UTF-7 is
RFC 3501 §5.1.3.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gateway.formats.flags import Mark, from_info, to_info

MARK: Final = ":"
"""Stands before the info; on file systems that forbid it programs use another, such as ; or !."""

FOLDERS: Final = ("tmp", "new", "cur")
_SIZE: Final = re.compile(r",([SW])=(\d{1,18})(?=[,]|$)")


@dataclass(frozen=True, slots=True)
class Name:
    """`unique` is what stands before the first comma; `extra` what follows of the base, from its comma on.

    `flags` are the letters of the info, None where there is none of the kind `2,`.
    """

    unique: str
    extra: str = ""
    flags: str | None = None

    @property
    def base(self) -> str:
        """The name without its info: what stays when flags change."""
        return self.unique + self.extra

    @property
    def size(self) -> int | None:
        """The file's octets, as the name tells."""
        return self._size("S")

    @property
    def crlf_size(self) -> int | None:
        """The message's octets where each line ends in CRLF, as the name tells."""
        return self._size("W")

    @property
    def marks(self) -> Mark:
        return from_info(self.flags or "")

    def _size(self, kind: str) -> int | None:
        return next((int(value) for key, value in _SIZE.findall(self.extra) if key == kind), None)

    def with_marks(self, marks: Mark) -> Name:
        """Return the name with these marks; letters that are no mark of ours, such as keywords, stay."""
        kept = "".join(letter for letter in self.flags or "" if not from_info(letter))
        return replace(self, flags="".join(sorted(to_info(marks) + kept)))

    def text(self, mark: str = MARK) -> str:
        """Return the file's name."""
        return self.base if self.flags is None else f"{self.base}{mark}2,{self.flags}"


def read_name(text: str, mark: str = MARK) -> Name:
    """Read a file's name. Any text is one; an info of another kind than `2,` tells no flags."""
    base, found, info = text.partition(mark)
    unique, comma, extra = base.partition(",")
    return Name(unique, comma + extra, info[2:] if found and info.startswith("2,") else None)


def unique_name(seconds: int, unique: str, host: str) -> str:
    """Return what a new message is called before its sizes: seconds, a part that is unique on the host, the host."""
    safe = host.replace("/", r"\057").replace(":", r"\072").replace(",", r"\054")
    return f"{seconds}.{unique}.{safe}"


def sized(unique: str, octets: int, crlf_octets: int) -> Name:
    """Return a name that tells its sizes."""
    return Name(unique, f",S={octets},W={crlf_octets}")


def folder_name(path: Iterable[str]) -> str:
    """Return the folder `.A.B` of a Maildir++ for a path of names, empty for the inbox itself.

    Raises: ValueError where a name is empty, or has a dot or a slash, which stand for levels.
    """
    names = list(path)
    for name in names:
        if not name or "." in name or "/" in name or "\0" in name:
            raise ValueError(f"{name!r} is no name of a folder: it is empty, or has a dot or a slash")
    return "".join("." + to_utf7(name) for name in names)


def folder_path(name: str) -> tuple[str, ...]:
    """Return the path that a folder's name tells; a name that is no modified UTF-7 stands for itself."""
    return tuple(from_utf7(part) for part in name.split(".")[1:])


_ENCODED: Final = re.compile(r"&([A-Za-z0-9+,]*)-")
_TO_ENCODE: Final = re.compile(r"&|[^\x20-\x7e]+")


def to_utf7(text: str) -> str:
    """Write a name in modified UTF-7."""

    def encoded(match: re.Match[str]) -> str:
        if match[0] == "&":
            return "&-"
        octets = base64.b64encode(match[0].encode("utf-16-be", "surrogatepass"))
        return "&" + octets.rstrip(b"=").replace(b"/", b",").decode("ascii") + "-"

    return _TO_ENCODE.sub(encoded, text)


def from_utf7(text: str) -> str:
    """Read a name in modified UTF-7; what is none stays as it is."""

    def decoded(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        try:
            octets = base64.b64decode(match[1].replace(",", "/") + "=" * (-len(match[1]) % 4))
            return octets.decode("utf-16-be")
        except ValueError:
            return match[0]

    return _ENCODED.sub(decoded, text)


@dataclass(frozen=True, slots=True)
class Quota:
    """What a `maildirsize` file tells: the limits, None where there is none, and what is used."""

    max_octets: int | None
    max_messages: int | None
    octets: int
    messages: int

    def has_room(self, octets: int, messages: int = 1) -> bool:
        return (self.max_octets is None or self.octets + octets <= self.max_octets) and (
            self.max_messages is None or self.messages + messages <= self.max_messages
        )


def read_quota(text: bytes) -> Quota | None:
    """Read a `maildirsize` file: limits in its first line, then what was added and taken. None where it is none."""
    lines = text.decode("ascii", "replace").split("\n")
    limits: dict[str, int] = {}
    for word in lines[0].strip().split(","):
        match = re.fullmatch(r"(\d{1,18})([SC])", word.strip())
        if match is None:
            return None
        limits[match[2]] = int(match[1])
    octets = messages = 0
    for line in lines[1:]:
        change = re.fullmatch(r"\s*(-?\d{1,18})\s+(-?\d{1,18})\s*", line)
        if change is not None:
            octets, messages = octets + int(change[1]), messages + int(change[2])
    # A limit of 0 is none.
    return Quota(limits.get("S") or None, limits.get("C") or None, octets, messages)


def quota_line(octets: int, messages: int) -> bytes:
    """Return the line that tells a change; appended by one short write."""
    return b"%d %d\n" % (octets, messages)
