"""Content keeps its octets, whatever they are, and an edit touches nothing but the header."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.message import Content, Traits

ODD = st.lists(
    st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b"A: 1", b" fold", b"\xff\xe4", b"body", b":", b".", b"From x"]),
    max_size=30,
).map(b"".join)


@dataclass(frozen=True)
class Octets:
    """A Blob over bytes."""

    octets: bytes

    @property
    def size(self) -> int:
        return len(self.octets)

    def read(self, offset: int, length: int) -> bytes:
        return self.octets[offset : offset + length]


def both(octets: bytes) -> tuple[Content, Content]:
    return Content(octets), Content(Octets(octets))


@given(ODD)
def test_octets_come_out_as_they_came(octets: bytes) -> None:
    for content in both(octets):
        assert b"".join(content.chunks(3)) == octets
        assert content.size == len(octets)


@given(ODD)
def test_head_and_body_are_the_whole(octets: bytes) -> None:
    for content in both(octets):
        body = b"".join(content.body_chunks(5))
        assert octets.startswith(content.head)
        assert octets.endswith(body)
        assert octets[len(content.head) : len(octets) - len(body)] in (b"", b"\r\n", b"\n")


@given(ODD)
def test_another_head_leaves_the_body_alone(octets: bytes) -> None:
    for content in both(octets):
        edited = content.with_head(b"Subject: x\r\n")
        assert edited.head == b"Subject: x\r\n"
        assert b"".join(edited.body_chunks()) == b"".join(content.body_chunks())
        assert edited.size == len(b"".join(edited.chunks()))


@given(ODD)
def test_a_prefix_becomes_header_and_hides_nothing(octets: bytes) -> None:
    field = b"Received: by us\r\n"
    for content in both(octets):
        marked = content.with_prefix(field)
        whole = b"".join(marked.chunks())
        assert whole.startswith(field)
        assert whole.endswith(octets)
        assert next(marked.get_all(b"received")) == b"by us"
        assert b"".join(marked.body_chunks()) == b"".join(content.body_chunks())


@given(ODD, st.integers(1, 3))
def test_a_prefix_keeps_what_is_known_of_the_header(octets: bytes, times: int) -> None:
    for asked, fresh in zip(both(octets), both(octets), strict=True):
        for _ in range(times):
            assert octets.startswith(asked.head[len(asked.front) :])
            asked, fresh = asked.with_prefix(b"R: 1\r\n"), fresh.with_prefix(b"R: 1\r\n")
        assert asked.head == Content(b"".join(fresh.chunks())).head == fresh.head
        assert b"".join(asked.body_chunks()) == b"".join(fresh.body_chunks())


@given(ODD)
def test_traits_tell_the_truth_by_any_pieces(octets: bytes) -> None:
    bare = octets.replace(b"\r\n", b"")
    expected = Traits(b"\r" not in bare and b"\n" not in bare, not octets.isascii(), b"\0" in octets)
    for content in both(octets):
        assert content.traits == expected


def test_a_blob_is_never_brought_into_memory_whole() -> None:
    with pytest.raises(TypeError, match="chunks"):
        Content(Octets(b"x" * 10)).octets()


def test_a_header_line_of_a_mebibyte_is_one_field() -> None:
    value = b"x" * (1024 * 1024)
    content = Content(b"A: 1\r\nLong: " + value + b"\r\nB: 2\r\n\r\nbody")
    assert content.get(b"long") == value
    assert content.get(b"b") == b"2"


async def test_streams_a_blob_in_pieces() -> None:
    content = Content(Octets(b"A: 1\r\n\r\n" + b"y" * 1000)).with_prefix(b"R: 2\r\n")
    pieces = [piece async for piece in content.stream(100)]
    assert b"".join(pieces) == b"".join(content.chunks())
    assert max(map(len, pieces)) <= 100
