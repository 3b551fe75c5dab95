"""Filters of octets in pieces: what they make does not depend on where the pieces part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.formats import lines
from gateway.formats.lines import Filter


def apply(one: Filter, *pieces: bytes) -> bytes:
    return b"".join(one(iter(pieces)))


def escaped(octets: bytes) -> bytes:
    return re.sub(rb"(?:(?<=\n)|\A)\x01{4}(?=\r?\n|\Z)", b"\x01\x01\x01\x01 ", octets)


WHOLE: list[tuple[Filter, Callable[[bytes], bytes]]] = [
    (lines.to_crlf, lambda o: re.sub(rb"(?<!\r)\n", b"\r\n", o)),
    (lines.to_lf, lambda o: o.replace(b"\r\n", b"\n")),
    (lines.cr_to_crlf, lambda o: o.replace(b"\r", b"\r\n")),
    (lines.ended, lambda o: o if not o or o.endswith(b"\n") else o + b"\n"),
    (lines.quote_from, lambda o: re.sub(rb"(?m)^From ", b">From ", o)),
    (lines.quote_any_from, lambda o: re.sub(rb"(?m)^(>*From )", rb">\1", o)),
    (lines.unquote_any_from, lambda o: re.sub(rb"(?m)^>(>*From )", rb"\1", o)),
    (lines.escape_rules, escaped),
]
BITS = st.sampled_from(
    [b"\n", b"\r\n", b"\r", b">", b">>>", b"From ", b"Fro", b"m ", b"F", b"x", b"\x01\x01", b"\x01", b"", b" "]
)


@pytest.mark.parametrize(("one", "whole"), WHOLE, ids=lambda f: getattr(f, "__name__", ""))
@given(pieces=st.lists(BITS, max_size=14))
def test_pieces_make_what_the_whole_makes(one: Filter, whole: Callable[[bytes], bytes], pieces: list[bytes]) -> None:
    assert apply(one, *pieces) == whole(b"".join(pieces))


@given(st.lists(BITS, max_size=14))
def test_what_is_quoted_is_unquoted(pieces: list[bytes]) -> None:
    octets = b"".join(pieces)
    assert apply(lines.chain(lines.quote_any_from, lines.unquote_any_from), *pieces) == octets


def test_a_run_of_any_length_is_not_held_in_memory() -> None:
    longest = 0

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b">" * 10_000
        yield b"From x"

    found = b""
    for piece in lines.unquote_any_from(pieces()):
        longest = max(longest, len(piece))
        found += piece
    assert found == b">" * 999_999 + b"From x"
    assert longest <= 10_001
