"""What decoders of dropped files promise of any file, checked: the targets are in `filedrop`.

A file may have another beside it: an input of both is the file, `MARK`, and the other, which stands for each name that
is asked for. Without one no file is there.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Bad, Beside, Codec, Part, Span, Stamp
from connectors.filedrop.names import is_safe
from gateway.message import Blob, Content
from tests.fuzz.target import REFUSED

MARK: Final = b"\n%beside%\n"
PLENTY: Final = 4_000_000
CPU_S: Final = 1.0
"""Decoding a file of the size that is fed here takes no more, even on a slow machine."""

_RULE: Final = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)+")
_PLACE_OCTETS: Final = 200
_ITEMS: Final = 4
_ONCE: Final = (b"from", b"to", b"cc", b"bcc", b"subject", b"date", b"message-id", b"mime-version", b"content-type")
_COMPOSED: Final = frozenset(
    (
        *(b"from", b"to", b"cc", b"reply-to", b"subject", b"date", b"message-id", b"in-reply-to", b"references"),
        *(b"priority", b"importance", b"sensitivity", b"mime-version", b"content-type", b"content-transfer-encoding"),
    )
)
_ADDED: Final = frozenset((b"to", b"date", b"message-id"))

Kind = Literal["composed", "header", "delivered", "verbatim"]
"""How a format's contents come about: made anew of fields; the file's own header, completed; the same, with the
envelope taken off; or as they stand in the file."""


@dataclass(frozen=True)
class Way:
    """One codec as it is set up, with what its contents may have in their headers."""

    codec: Codec
    kind: Kind
    fields: frozenset[bytes] = frozenset()
    prefixes: tuple[bytes, ...] = ()
    name: str = "a\r\nBcc: eve@evil.example\r\n\r\nfile"
    """What the file's writer called it."""

    def stamp(self, beside: bytes | None) -> Stamp:
        def opened(name: str) -> Blob:
            assert is_safe(name), f"opens {name!r}"
            if beside is None:
                raise FileNotFoundError(name)
            return InMemory(beside)

        return Stamp("0123456789abcdef", 1_795_482_123.0, self.name, opened)


class Counted(InMemory):
    """Octets that count how many of them were read, so that a decoder that goes over them again and again is seen."""

    def __init__(self, octets: bytes) -> None:
        super().__init__(octets)
        self.taken = 0

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0, f"read at {offset}"
        assert length >= 0, f"read of {length}"
        found = super().read(offset, length)
        self.taken += len(found)
        return found


@dataclass(frozen=True)
class Drop:
    """An input: the file, and the one beside it."""

    file: bytes
    beside: bytes | None = None

    def octets(self, piece: bytes | Span) -> bytes:
        if isinstance(piece, bytes):
            return piece
        source = (self.beside or b"") if piece.file else self.file
        assert 0 <= piece.start <= piece.end <= len(source), piece
        stretch = source[piece.start : piece.end]
        return stretch if piece.filter is None else b"".join(piece.filter(_cut(stretch)))

    def content(self, part: Part) -> bytes:
        """Return a part's content, with one line in the place of each file beside it."""
        made = []
        for piece in part.content:
            if isinstance(piece, Beside):
                assert is_safe(piece.name), piece
                assert not piece.folder or is_safe(piece.folder), piece
                made.append(b"QQ==\r\n")
            else:
                made.append(self.octets(piece))
        return b"".join(made)

    def item(self, found: Part | Bad) -> bytes | None:
        return None if found.item is None else b"".join(map(self.octets, found.item))


def _cut(octets: bytes) -> Iterator[bytes]:
    """Cut octets in pieces, an empty one among them: what a filter gives must not hang on that."""
    third = len(octets) // 3
    return iter((octets[:1], b"", octets[1:third], octets[max(third, 1) :]))


def parted(octets: bytes) -> Drop:
    file, mark, beside = octets.partition(MARK)
    return Drop(file, beside if mark else None)


def check_decoder(way: Way, octets: bytes) -> str:
    """Decode a file; raise where a promise is broken. Returns: the outcome in short."""
    drop = parted(octets)
    counted = Counted(drop.file)
    started = time.thread_time()
    try:
        found = _decoded(way, counted, drop, len(octets) + 2)
    except FileNotFoundError:
        assert drop.beside is None, "a file that is there was not found"
        return REFUSED + "not there"
    took = time.thread_time() - started
    assert took < CPU_S, f"{took:.2f} s for {len(octets)} octets"
    assert counted.taken <= 200 * len(octets) + PLENTY, f"{counted.taken} octets read of {len(octets)}"
    contents = [drop.content(one) if isinstance(one, Part) else b"" for one in found]
    # A name or a subject may take more octets as an encoded word; nothing may grow without a bound.
    assert sum(map(len, contents)) <= 400 * len(octets) + PLENTY
    for one, content in zip(found, contents, strict=True):
        if isinstance(one, Part):
            _check_part(way, drop, one, content)
        else:
            _check_bad(one, max(len(drop.file), len(drop.beside or b"")))
    _check_same(drop, found, contents, _decoded(way, InMemory(drop.file), drop, len(octets) + 2))
    _check_items(way, drop, found, contents)
    told = " ".join(_told(one) for one in found[:12])
    return told if any(isinstance(one, Part) for one in found) else REFUSED + told


def _decoded(way: Way, file: Blob, drop: Drop, most: int) -> list[Part | Bad]:
    found: list[Part | Bad] = []
    for one in way.codec.decode(file, way.stamp(drop.beside)):
        assert isinstance(one, Part | Bad), one
        found.append(one)
        assert len(found) <= most, "more found than the file has octets"
    return found


def _told(one: Part | Bad) -> str:
    if isinstance(one, Bad):
        return one.rule
    return f"{min(len(one.recipients), 3)}{one.ret or ''}{min(len(one.content), 5)}{one.priority or ''}"


def _check_part(way: Way, drop: Drop, part: Part, content: bytes) -> None:
    assert part.recipients, "a message for nobody"
    assert len({each.address for each in part.recipients}) == len(part.recipients), "a recipient twice"
    whole = Content(content)
    names = [field.name for field in whole.fields]
    if way.kind == "composed":
        _check_head(whole.head)
        allowed = _COMPOSED | way.fields
        odd = [name for name in names if name not in allowed and not name.startswith(way.prefixes or (b"\0",))]
        assert not odd, f"fields that nobody wrote: {odd}"
        twice = [name for name in _ONCE if names.count(name) > 1]
        assert not twice, f"fields that are there twice: {twice}"
        assert content[len(whole.head) :].startswith(b"\r\n"), "no empty line ends the header"
    elif way.kind != "verbatim":
        assert b"bcc" not in names
        assert way.kind == "header" or b"return-path" not in names
    if way.kind == "header":
        own = Content(drop.file)
        assert set(names) <= {field.name for field in own.fields} | _ADDED
        assert b"".join(whole.body_chunks()) == b"".join(own.body_chunks())


def _check_head(head: bytes) -> None:
    """Check a header that was made anew: fields in lines of CRLF, and nothing that could end one."""
    assert b"\0" not in head
    assert head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r"), "a bare CR or LF in the header"
    for line in head.split(b"\r\n")[:-1]:
        assert re.match(rb"[!-9;-~]+:|[ \t]+[^ \t]", line), f"no field: {line[:80]!r}"
        assert len(line) <= 998, f"a line of {len(line)} octets"


def _check_bad(bad: Bad, size: int) -> None:
    assert _RULE.fullmatch(bad.rule), bad
    assert bad.text.strip(), bad
    assert bad.mend.strip(), bad
    assert 0 <= bad.offset <= size, bad
    assert bad.line >= 0, bad
    assert len(bad.found) <= _PLACE_OCTETS, bad


def _check_same(drop: Drop, found: list[Part | Bad], contents: list[bytes], again: list[Part | Bad]) -> None:
    """Check that reading the same file once more gives the same."""
    assert len(again) == len(found), "read again, another number is found"
    for one, other, content in zip(found, again, contents, strict=True):
        assert _key(one) == _key(other), "read again, something else is found"
        if isinstance(other, Part):
            assert drop.content(other) == content, "read again, the content is another"


def _key(one: Part | Bad) -> object:
    if isinstance(one, Bad):
        return one.rule, one.offset, one.line, one.text, one.found
    return one.reverse_path, one.recipients, one.ret, one.envid, one.priority, one.key, one.attributes


def _check_items(way: Way, drop: Drop, found: list[Part | Bad], contents: list[bytes]) -> None:
    """Check what is kept of single messages, read as files: a good one alone gives that message, a bad one none of
    those that were accepted."""
    if len(found) == 1 and found[0].item is None:
        return
    taken = [(one, content) for one, content in zip(found, contents, strict=True) if isinstance(one, Part)]
    accepted = Counter(_same(one, content) for one, content in taken)
    bad = [one for one in found if isinstance(one, Bad)]
    mixed = (
        way.kind in ("verbatim", "delivered")
        and len(set(re.findall(rb"\r\n|\r|\n|\x85|\x15|\x25", drop.file + (drop.beside or b"")))) > 1
    )
    for one, content in taken[:_ITEMS]:
        kept = drop.item(one)
        if kept is not None:
            alone = [_same(*each) for each in _reread(way, drop, kept)]
            assert len(alone) <= 1, "a message alone is several"
            # How lines end is told by the first one, which in a file that mixes them is another one in each piece.
            assert alone == [_same(one, content)] or mixed, "a message alone is another, or none"
    shared = Counter((s.start, s.end, s.file) for one in found for s in one.item or () if isinstance(s, Span))
    for each in bad[:_ITEMS]:
        kept = drop.item(each)
        if kept is None:
            continue
        for part, content in _reread(way, drop, kept):
            if not accepted[_same(part, content)]:
                continue
            # What stands in the file twice may be accepted once, and be bad once; not the very same place.
            own = _own(each, shared)
            both = [other for other, _ in taken if _overlap(own, _own(other, shared))]
            assert not both, f"{each.rule} keeps a message that was accepted"


def _reread(way: Way, drop: Drop, kept: bytes) -> list[tuple[Part, bytes]]:
    whole = Drop(kept, drop.beside)
    try:
        found = _decoded(way, InMemory(kept), whole, len(kept) + 2)
    except FileNotFoundError:
        return []  # what is no message of this file may read as a job, whose data nobody gave
    return [(one, whole.content(one)) for one in found if isinstance(one, Part)]


def _same(part: Part, content: bytes) -> tuple[object, ...]:
    """Return what tells a message, but for fields that are made of its place in a file."""
    whole = Content(content)
    body = b"".join(whole.body_chunks())
    boundary = re.search(rb'boundary="([^"]+)"', whole.get(b"content-type") or b"")
    if boundary is not None:
        body = body.replace(boundary[1], b"")
    return part.reverse_path, part.recipients, whole.get(b"subject"), whole.get(b"from"), body


def _own(one: Part | Bad, shared: Counter[tuple[int, int, str]]) -> list[Span]:
    """Return the places in the file that are this one's: not those of a header that several share."""
    mine = [span for span in one.item or () if isinstance(span, Span)]
    alone = [span for span in mine if shared[(span.start, span.end, span.file)] == 1]
    return [span for span in alone if span.filter is None]


def _overlap(some: list[Span], others: list[Span]) -> bool:
    return any(a.file == b.file and a.start < b.end and b.start < a.end for a in some for b in others)
