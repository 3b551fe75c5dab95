"""Where the parts of a MIME message stand: a scan of octets, with nothing decoded, copied or re-serialised.

Promises: any octets are taken; what is broken is a leaf. Bounded: `MAX_DEPTH` levels, `MAX_PARTS` parts, header blocks
up to `MAX_HEAD` octets; a source that is not in memory is read in chunks. Sources: RFC 2045 §5, RFC 2046 §5.1, §5.2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from mappings.fields import Field, header_end, scan, unfold

MAX_DEPTH: Final = 30
MAX_PARTS: Final = 2000
MAX_HEAD: Final = 256 * 1024
_CHUNK: Final = 256 * 1024
_MAX_PARAMETERS: Final = 50

_TYPE: Final = re.compile(rb"[ \t]*([!#-'*+.0-9A-Z^-~-]+)(?:/([!#-'*+.0-9A-Z^-~-]+))?")
_PARAMETER: Final = re.compile(
    rb";[ \t\r\n]*([!#-'*+.0-9A-Z^-~-]+)[ \t\r\n]*=[ \t\r\n]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]+))", re.DOTALL
)
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)


class Octets(Protocol):
    """Octets that can be read anywhere."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes: ...


class InMemory:
    """A bytes object as Octets."""

    __slots__ = ("octets", "size")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.size = len(octets)

    def read(self, offset: int, length: int) -> bytes:
        return self.octets[offset : offset + length]


@dataclass(slots=True)
class Part:
    """One entity: its header is [start, body), its body [body, end). `fields` are places in `head`."""

    start: int
    body: int
    end: int
    head: bytes
    fields: tuple[Field, ...]
    type: str = "text/plain"
    parameters: Mapping[str, bytes] = field(default_factory=dict)
    encoding: str = "7bit"
    children: list[Part] = field(default_factory=list)

    @property
    def is_leaf(self) -> bool:
        return not self.children

    def get(self, name: bytes) -> bytes | None:
        """Return the unfolded value of the first field of this lower-case name."""
        for f in self.fields:
            if f.name == name:
                return unfold(self.head[f.value_start : f.end])
        return None

    def walk(self) -> Iterator[Part]:
        """Yield this part and all inside it, outer ones first."""
        yield self
        for child in self.children:
            yield from child.walk()


def content_type(value: bytes) -> tuple[str, dict[str, bytes]]:
    """Return (type/subtype in lower case, parameters by lower-case name) of a Content-Type or similar value."""
    match = _TYPE.match(value)
    if match is None:
        return "text/plain", {}
    name = match[1].decode("latin-1").lower()
    if match[2] is not None:
        name += "/" + match[2].decode("latin-1").lower()
    parameters: dict[str, bytes] = {}
    at = match.end()
    while len(parameters) < _MAX_PARAMETERS and (found := _PARAMETER.search(value, at)) is not None:
        at = found.end()
        text = found[3] if found[3] is not None else _ESCAPE.sub(rb"\1", found[2])
        parameters.setdefault(found[1].decode("latin-1").lower(), text)
    return name, parameters


def parse(source: Octets, start: int = 0, *, levels: int = MAX_DEPTH) -> Part:
    """Return the structure of a message that begins at `start`, down to `levels` below it.

    Blocks where the source does, and raises what it raises.
    """
    budget = [MAX_PARTS]
    return _entity(source, start, source.size, MAX_DEPTH - min(levels, MAX_DEPTH), budget)


def _entity(source: Octets, start: int, end: int, depth: int, budget: list[int]) -> Part:
    budget[0] -= 1
    octets = source.read(start, min(end - start, MAX_HEAD))
    head_end, body = header_end(octets)
    head = octets[:head_end]
    fields = tuple(scan(head))
    part = Part(start, start + body, end, head, fields)
    kind = part.get(b"content-type")
    if kind is not None:
        part.type, part.parameters = content_type(kind)
    encoding = part.get(b"content-transfer-encoding")
    if encoding is not None:
        part.encoding = encoding.decode("latin-1").strip().lower()
    if depth >= MAX_DEPTH or part.encoding not in ("7bit", "8bit", "binary", ""):
        return part
    if part.type.startswith("multipart/"):
        boundary = part.parameters.get("boundary", b"")
        # RFC 2046 §5.1.1: up to 70 characters; a little more is met
        if 0 < len(boundary) <= 250:
            for child_start, child_end in _between(source, part.body, end, b"--" + boundary, budget):
                part.children.append(_entity(source, child_start, child_end, depth + 1, budget))
    elif part.type in ("message/rfc822", "message/global") and part.body < end and budget[0] > 0:
        part.children.append(_entity(source, part.body, end, depth + 1, budget))
    return part


def _between(source: Octets, start: int, end: int, delimiter: bytes, budget: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the spans between delimiter lines; the line end before a delimiter belongs to the delimiter."""
    opened = -1
    for at, after, closes in _delimiters(source, start, end, delimiter):
        if opened >= 0:
            if budget[0] <= 0:
                return
            before = source.read(max(opened, at - 2), at - max(opened, at - 2))
            cut = 2 if before.endswith(b"\r\n") else 1 if before.endswith(b"\n") else 0
            yield opened, max(opened, at - cut)
        if closes:
            return
        opened = after
    if opened >= 0 and budget[0] > 0:
        yield opened, end  # cut off, or never closed: what is there is its last part


def _delimiters(source: Octets, start: int, end: int, delimiter: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield (start of the line, start of the next line, whether it closes) for each delimiter line."""
    at = start
    while (at := find(source, delimiter, at, end)) >= 0:
        if at > start and source.read(at - 1, 1) != b"\n":
            at += 1
            continue
        rest = source.read(at + len(delimiter), min(1000, end - at - len(delimiter)))
        line, newline, _ = rest.partition(b"\n")
        tail = line.rstrip(b"\r \t")
        # RFC 2046 §5.1.1: nothing but blanks may follow, or `--`; else it is another, longer boundary
        if tail in (b"", b"--"):
            after = at + len(delimiter) + len(line) + len(newline)
            yield at, after, tail == b"--"
            at = after
        else:
            at += 1


def find(source: Octets, needle: bytes, start: int, end: int) -> int:
    """Return where `needle` first stands in [start, end), -1 where it does not."""
    if isinstance(source, InMemory):
        return source.octets.find(needle, start, end)
    at = start
    while at < end:
        chunk = source.read(at, min(_CHUNK, end - at))
        if not chunk:
            return -1
        found = chunk.find(needle)
        if found >= 0:
            return at + found
        if at + len(chunk) >= end:
            return -1
        at += max(1, len(chunk) - len(needle) + 1)
    return -1
