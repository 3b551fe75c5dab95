"""Where content ends, and what of it comes out, whatever the pieces."""

from __future__ import annotations

import pytest

from connectors.smtp.data_reader import ChunkReader, DotReader, Gatherer, Problem, TraitScan
from gateway.contract import Content
from gateway.testing.feed import feed


def read_dots(pieces: list[bytes]) -> tuple[bytes, bytes | None]:
    """Return (content, octets after its end); the second is None where no end came."""
    reader = DotReader()
    content = b""
    for i, piece in enumerate(pieces):
        octets, left = reader.read(piece)
        content += octets
        if left >= 0:
            return content, piece[len(piece) - left :] + b"".join(pieces[i + 1 :])
    return content, None


ENDED = [
    # RFC 5321 §4.1.1.4: the end, and nothing else
    (b".\r\n", b"", b""),
    (b"\r\n.\r\n", b"\r\n", b""),
    (b"a\r\n.\r\n", b"a\r\n", b""),
    (b"a\r\n\r\n.\r\n", b"a\r\n\r\n", b""),
    # what follows is not content
    (b"a\r\n.\r\nb\r\n.\r\nc\r\n.\r\n", b"a\r\n", b"b\r\n.\r\nc\r\n.\r\n"),
    (b"\r\n.\r\n.\r\n.\r\n", b"\r\n", b".\r\n.\r\n"),
    (b".\r\nQUIT\r\n", b"", b"QUIT\r\n"),
    (b"a\r\n.\r\n.\r\n", b"a\r\n", b".\r\n"),
    (b"a\r\n.\r\nMAIL FROM:<>\r\n", b"a\r\n", b"MAIL FROM:<>\r\n"),
    # RFC 5321 §4.5.2: stuffed dots
    (b"..\r\n.\r\n", b".\r\n", b""),
    (b"...\r\n.\r\n", b"..\r\n", b""),
    (b".a\r\n.\r\n", b"a\r\n", b""),
    (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n", b""),
    (b"a\r\n..b\r\n..\r\n...\r\n.\r\n", b"a\r\n.b\r\n.\r\n..\r\n", b""),
    (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n", b""),
    (b"a.\r\n.\r\n", b"a.\r\n", b""),
    (b"a\r\n. \r\n.\r\n", b"a\r\n \r\n", b""),
    # what looks like an end, and is none
    (b"a\n.\n\r\n.\r\n", b"a\n.\n\r\n", b""),
    (b"a\n.\r\n\r\n.\r\n", b"a\n.\r\n\r\n", b""),
    (b"a\r\n.\n\r\n.\r\n", b"a\r\n\n\r\n", b""),
    (b"a\r\n.\r\r\n.\r\n", b"a\r\n\r\r\n", b""),
    (b"a\r.\r\r\n.\r\n", b"a\r.\r\r\n", b""),
    (b"a\r\r\n.\r\r\n\r\n.\r\n", b"a\r\r\n\r\r\n\r\n", b""),
    (b"a\r\n\0.\r\n\r\n.\r\n", b"a\r\n\0.\r\n\r\n", b""),
    (b".\r\r\n.\r\n", b"\r\r\n", b""),
    (b".\n\r\n.\r\n", b"\n\r\n", b""),
    (b"\n.\r\n\r\n.\r\n", b"\n.\r\n\r\n", b""),
    # any octet
    (bytes(range(256)).replace(b"\r", b"").replace(b"\n", b"") + b"\r\n.\r\n",
     bytes(range(256)).replace(b"\r", b"").replace(b"\n", b"") + b"\r\n", b""),
]  # fmt: skip

UNENDED = [b"", b".", b".\r", b"a", b"a\r\n", b"a\r\n.", b"a\r\n.\r", b"a\n.\n", b"a\r\n..\r\n", b"..\r\n", b"\r\n\r\n"]


@pytest.mark.parametrize(("octets", "content", "after"), ENDED)
def test_content_ends_at_crlf_dot_crlf_alone(octets: bytes, content: bytes, after: bytes) -> None:
    assert feed(read_dots, octets) == (content, after)


@pytest.mark.parametrize("octets", UNENDED)
def test_without_its_end_content_goes_on(octets: bytes) -> None:
    assert feed(lambda pieces: read_dots(pieces)[1], octets) is None
    # and once the end comes, the same is read as if all had come at once
    assert feed(read_dots, octets + b"\r\nz\r\n.\r\n") == read_dots([octets + b"\r\nz\r\n.\r\n"])


def test_a_whole_content_is_handed_on_without_changes() -> None:
    line = b"x" * 70 + b"\r\n"
    content, after = read_dots([line * 50_000 + b".\r\n"])
    assert content == line * 50_000
    assert after == b""


def test_a_line_of_a_mebibyte_is_a_line() -> None:
    content, _ = read_dots([b"Subject: " + b"x" * 524_288, b"x" * 524_288 + b"\r\n", b".\r", b"\n"])
    assert len(content) == 9 + 1_048_576 + 2


def test_a_chunk_ends_by_its_size() -> None:
    def read(pieces: list[bytes]) -> tuple[bytes, int]:
        reader = ChunkReader(8)
        content, after, done = b"", 0, False
        for piece in pieces:
            if done:
                after += len(piece)
                continue
            octets, left = reader.read(piece)
            content += octets
            done = left >= 0
            after += max(left, 0)
        return content, after

    assert feed(read, b"a\r\n.\r\n\n.QUIT\r\n") == (b"a\r\n.\r\n\n.", 6)


@pytest.mark.parametrize(
    "octets",
    [b"", b"a", b"a\r\n", b"\r", b"\n", b"a\rb\r\n", b"a\nb\r\n", b"\r\r\n", b"\r\n\n", b"\xff\r\n", b"\0", b"a\r\n\r"],
)
def test_traits_are_those_of_the_whole(octets: bytes) -> None:
    def scan(pieces: list[bytes]) -> tuple[bool, bool, bool]:
        made = TraitScan()
        for piece in pieces:
            made.add(piece)
        made.end()
        return made.crlf_only, made.eight_bit, made.nul

    whole = Content(octets).traits
    assert feed(scan, octets) == (whole.crlf_only, whole.eight_bit, whole.nul)


def gather(pieces: list[bytes], **options: bool) -> tuple[bytes, Problem | None]:
    made = Gatherer(100, 10, strict=options.get("strict", True), fix=options.get("fix", False))
    reader = DotReader()
    content = b""
    for piece in pieces:
        octets, _ = reader.read(piece)
        onward = made.add(octets)
        content += onward
    return content + made.rest(), made.problem


def test_what_is_over_the_inline_limit_is_handed_on() -> None:
    made = Gatherer(100, 10, strict=True, fix=False)
    assert made.add(b"12345") == b""
    assert made.add(b"67890") == b""
    assert not made.spilled
    assert made.add(b"x") == b"1234567890x"
    assert made.spilled
    assert made.add(b"y") == b"y"
    assert made.rest() == b""
    assert made.size == 12


def test_nothing_is_kept_of_what_is_too_big() -> None:
    made = Gatherer(100, 10, strict=True, fix=False)
    for _ in range(101):
        made.add(b"x")
    assert made.problem is Problem.SIZE
    assert made.add(b"x" * 1000) == b""
    assert made.rest() == b""


def test_a_bare_newline_is_found_wherever_it_is_cut() -> None:
    for octets in (b"a\nb\r\n.\r\n", b"a\rb\r\n.\r\n", b"a\r\r\n.\r\n", b"\n.\r\n\r\n.\r\n"):
        assert feed(lambda pieces: gather(pieces)[1], octets) is Problem.BARE
        assert gather([octets], strict=False)[1] is None


def test_a_bare_lf_is_mended_for_those_who_may() -> None:
    assert feed(lambda pieces: gather(pieces, fix=True), b"a\nb\r\nc\n\r\n.\r\n") == (b"a\r\nb\r\nc\r\n\r\n", None)
