"""Canonical forms of header and body, which signatures are made over. Source: RFC 6376 §3.4.

A body goes by in pieces of any size and is never held: what must wait for the next piece (blanks that may turn out to
end a line, empty lines that may turn out to end the body) is a count and two octets. The cost is linear, and in C.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from mappings.fields import unfold

Form = Literal["simple", "relaxed"]

_CRLF: Final = b"\r\n"
_FIELD: Final = re.compile(rb"(?m)^(([!-9;-~]++)[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+\n?)")
_SIGNATURES: Final = (b"dkim-signature", b"arc-message-signature")
_RUN: Final = 16 * 1024
_MANY_CRLF: Final = _CRLF * _RUN

HASHES: Final = {"sha256": hashlib.sha256, "sha1": hashlib.sha1}


class Fields:
    """The fields of one header block, to be chosen from by name, from the last one upwards (RFC 6376 §5.4.2)."""

    __slots__ = ("_by_name",)

    def __init__(self, head: bytes) -> None:
        self._by_name: dict[bytes, list[bytes]] = {}
        by_name = self._by_name
        if not head.endswith(b"\n"):
            head += _CRLF
        for field, name in _FIELD.findall(head):
            name = name.lower()
            if name in by_name:
                by_name[name].append(field)
            else:
                by_name[name] = [field]

    def all(self, name: bytes) -> Sequence[bytes]:
        """Return the fields of a (lower-case) name in order, each whole with its line end."""
        return self._by_name.get(name, ())

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of the fields of a (lower-case) name, unfolded."""
        return [unfold(field.partition(b":")[2]) for field in self._by_name.get(name, ())]

    def count(self, name: bytes) -> int:
        return len(self._by_name.get(name, ()))

    def chosen(self, names: Iterable[bytes], own: bytes | None = None) -> list[bytes]:
        """Return the fields that a list of (lower-case) names signs; a name without a field left adds none.

        The signature's `own` field, one of these very objects, is never one of them (RFC 6376 §3.7).
        """
        taken: dict[bytes, int] = {}
        found = []
        for name in names:
            fields = self._by_name.get(name)
            if fields is not None:
                if own is not None and name in _SIGNATURES:
                    fields = [field for field in fields if field is not own]
                number = taken[name] = taken.get(name, 0) + 1
                if number <= len(fields):
                    found.append(fields[-number])
        return found


def relaxed_field(field: bytes) -> bytes:
    """Return a field, name in lower case and blanks reduced, ended by CRLF (RFC 6376 §3.4.2)."""
    name, _, value = field.partition(b":")
    value = value.replace(_CRLF, b"")
    if b"\t" in value:
        value = value.replace(b"\t", b" ")
    while b"  " in value:
        value = value.replace(b"  ", b" ")
    return name.rstrip(b" \t").lower() + b":" + value.strip(b" \n") + _CRLF


def canonical_fields(fields: Sequence[bytes], form: Form) -> bytes:
    """Return fields (each whole, with its line end) as they are hashed."""
    octets = b"".join(fields)
    if form == "simple":
        return octets
    if octets.count(b"\n") != octets.count(_CRLF):
        return b"".join([relaxed_field(field) for field in fields])
    # All at once, in C: half of what it costs field by field.
    if b"\t" in octets:
        octets = octets.replace(b"\t", b" ")
    octets = octets.replace(b"\r\n ", b" ")
    while b"  " in octets:  # each pass halves the longest run
        octets = octets.replace(b"  ", b" ")
    lines = []
    for line in octets.replace(b" \r\n", _CRLF).split(_CRLF):
        name, colon, value = line.partition(b":")
        if colon:
            lines.append(name.rstrip(b" ").lower() + b":" + value.lstrip(b" "))
    lines.append(b"")
    return _CRLF.join(lines)


class BodyHash:
    """Hashes a body that goes by: `form` as in c=, `algorithm` a name of HASHES, `limit` as in l=."""

    __slots__ = ("_crlfs", "_hash", "_held", "_left", "_relaxed", "_some", "size")

    def __init__(self, form: Form, algorithm: str = "sha256", limit: int | None = None) -> None:
        self._relaxed = form == "relaxed"
        self._hash = HASHES[algorithm]()
        self._left = limit
        self._held = b""
        self._crlfs = 0
        """Line ends that are hashed only if something follows."""
        self._some = False
        self.size = 0
        """Octets of the canonical body so far, those over the limit too."""

    def update(self, piece: bytes) -> None:
        """Take the next octets of the body, as they are on the wire without dot-stuffing."""
        data = self._held + piece if self._held else piece
        self._held = b""
        if self._relaxed:
            data = self._reduced(data)
        elif data.endswith(b"\r"):
            self._held, data = b"\r", data[:-1]
        self._take(data)

    def _reduced(self, data: bytes) -> bytes:
        """Reduce blanks (RFC 6376 §3.4.4), and hold those at the end, with a CR that may begin a line end."""
        if data.endswith((b" ", b"\t", b"\r")):
            cr = b"\r" if data.endswith(b"\r") else b""
            rest = data[:-1] if cr else data
            kept = rest.rstrip(b" \t")
            self._held = b" " + cr if len(kept) < len(rest) else cr
            data = kept
        if b"\t" in data:
            data = data.replace(b"\t", b" ")
        while b"  " in data:  # each pass halves the longest run
            data = data.replace(b"  ", b" ")
        return data.replace(b" \r\n", _CRLF)

    def _take(self, data: bytes) -> None:
        kept = data.rstrip(_CRLF)
        tail = data[len(kept) :]
        if tail == _CRLF:
            lines = 1
        elif tail:
            # Only whole line ends at the very end count; a bare CR or LF among them is content.
            marked = tail.replace(_CRLF, b"\0")
            lines = len(marked) - len(marked.rstrip(b"\0"))
            kept = data[: len(data) - 2 * lines]
        else:
            lines = 0
        if kept:
            self._fill()
            self._add(kept)
            self._some = True
        self._crlfs += lines

    def _fill(self) -> None:
        while self._crlfs:
            now = min(self._crlfs, _RUN)
            self._add(_MANY_CRLF[: 2 * now])
            self._crlfs -= now
        self._some = True

    def _add(self, octets: bytes) -> None:
        self.size += len(octets)
        if self._left is None:
            self._hash.update(octets)
        elif self._left:
            octets = octets[: self._left]
            self._left -= len(octets)
            self._hash.update(octets)

    def digest(self) -> bytes:
        """End the body and return its hash. To be called once."""
        held, self._held = self._held, b""
        if held:  # What got no line end is content; so do others read blanks at the end of a body without one.
            self._fill()
            self._add(held)
        if self._some or not self._relaxed:
            self._add(_CRLF)
        return self._hash.digest()


class Bodies:
    """Every hash of one body that its signatures ask for, each made once."""

    __slots__ = ("_digests", "_hashes")

    def __init__(self) -> None:
        self._hashes: dict[tuple[Form, str, int | None], BodyHash] = {}
        self._digests: dict[tuple[Form, str, int | None], tuple[bytes, int]] = {}

    def want(self, form: Form, algorithm: str, limit: int | None = None) -> None:
        """Ask for a hash, before the first `update`."""
        key = (form, algorithm, limit)
        if key not in self._hashes:
            self._hashes[key] = BodyHash(form, algorithm, limit)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def update(self, piece: bytes) -> None:
        for each in self._hashes.values():
            each.update(piece)

    def get(self, form: Form, algorithm: str, limit: int | None = None) -> tuple[bytes, int]:
        """Return a digest that was asked for, and how many octets the canonical body has."""
        key = (form, algorithm, limit)
        found = self._digests.get(key)
        if found is None:
            made = self._hashes[key]
            found = self._digests[key] = (made.digest(), made.size)
        return found
