"""The scan of MIME structure: the standard's own shapes, broken ones, and no difference between memory and pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import mime
from gateway.mime import InMemory, Part, content_type, parse


class Slow:
    """Octets that are not in memory, read in odd chunks."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.size = len(octets)

    def read(self, offset: int, length: int) -> bytes:
        return self.octets[offset : offset + length]


def shape(part: Part) -> object:
    return (part.type, [shape(c) for c in part.children]) if part.children else part.type


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"text/plain", ("text/plain", {})),
        (b" Text/HTML ; Charset=UTF-8", ("text/html", {"charset": b"UTF-8"})),
        (b'multipart/mixed; boundary="a \\"b"', ("multipart/mixed", {"boundary": b'a "b'})),
        (b"multipart/mixed;boundary=x;boundary=y", ("multipart/mixed", {"boundary": b"x"})),
        (b"multipart/mixed; charset", ("multipart/mixed", {})),
        (b"text", ("text", {})),
        (b"", ("text/plain", {})),
        (b"\xff\xfe", ("text/plain", {})),
    ],
)
def test_content_type(value: bytes, wanted: tuple[str, dict[str, bytes]]) -> None:
    assert content_type(value) == wanted


MULTI = (
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\nfirst\r\n--b  \r\n"
    b"Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/alternative; boundary=bb\r\n\r\n--bb\r\n"
    b"Content-Type: text/html\r\n\r\n<p>\r\n--bbb\r\nstill\r\n--bb--\r\n--b--\r\nepilogue --b\r\n"
)


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_nesting(newline: bytes) -> None:
    octets = MULTI.replace(b"\r\n", newline)
    part = parse(InMemory(octets))
    html = ("multipart/alternative", ["text/html"])
    assert shape(part) == ("multipart/mixed", ["text/plain", ("message/rfc822", [html])])
    first = part.children[0]
    assert octets[first.body : first.end] == b"first"
    leaf = part.children[1].children[0].children[0]
    assert octets[leaf.body : leaf.end] == newline.join([b"<p>", b"--bbb", b"still"])


@pytest.mark.parametrize(
    ("octets", "wanted"),
    [
        (b"", "text/plain"),
        (b"no header\r\n", "text/plain"),
        (b"Content-Type: multipart/mixed\r\n\r\n--b\r\n", "multipart/mixed"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing of it\r\n", "multipart/mixed"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nno end", ("multipart/mixed", ["text/plain"])),
        (
            b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            b"--b\r\n\r\nx\r\n--b--\r\n",
            "multipart/mixed",
        ),
        (b"Content-Type: message/rfc822\r\n\r\n", "message/rfc822"),
    ],
)
def test_broken(octets: bytes, wanted: object) -> None:
    assert shape(parse(InMemory(octets))) == wanted


def test_depth_and_number_are_bounded() -> None:
    deep = b"".join(b"Content-Type: message/rfc822\r\n\r\n" for _ in range(1000))
    assert len(list(parse(InMemory(deep)).walk())) == mime.MAX_DEPTH + 1
    many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 10_000 + b"--b--\r\n"
    assert len(list(parse(InMemory(many)).walk())) <= mime.MAX_PARTS + 1


@given(
    st.lists(
        st.sampled_from(
            [b"--b\r\n", b"--b--\r\n", b"--c\n", b"--c--", b"\r\n", b"\n", b"text", b"Content-Type: message/rfc822\r\n",
             b"Content-Type: multipart/x; boundary=c\r\n", b"Content-Type: multipart/x; boundary=\"b\"\r\n", b"\xff\0"]
        ),
        max_size=40,
    ).map(b"".join)
)  # fmt: skip
def test_memory_and_pieces_give_the_same_and_parts_lie_inside_each_other(octets: bytes) -> None:
    whole = parse(InMemory(octets))
    assert whole == parse(Slow(octets))
    for part in whole.walk():
        assert 0 <= part.start <= part.body <= max(part.body, part.end) <= len(octets)
        for child in part.children:
            assert part.body <= child.start <= child.end <= part.end


def test_a_needle_on_the_edge_of_two_chunks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mime, "_CHUNK", 7)
    octets = b"0123456789--b45678"
    for end in range(13, len(octets) + 1):
        assert mime.find(Slow(octets), b"--b", 0, end) == 10
    assert mime.find(Slow(octets), b"--c", 0, len(octets)) == -1
