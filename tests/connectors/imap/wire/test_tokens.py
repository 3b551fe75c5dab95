"""Cutting what a server sends into responses and values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.imap.wire.tokens import Cutter, Limits, Part, Spilled, Value, WireError, values

LINES: list[tuple[bytes, list[Value]]] = [
    (b"SEARCH 2 84 882", [b"SEARCH", b"2", b"84", b"882"]),
    (b'LIST (\\Noselect) "/" "a \\"b\\" \\\\c"', [b"LIST", [b"\\Noselect"], b"/", b'a "b" \\c']),
    (b"LIST () NIL [Gmail]/Sent", [b"LIST", [], None, b"[Gmail]/Sent"]),
    (b'X "NIL" nil', [b"X", b"NIL", None]),
    (b"(((a) b) c)", [[[[b"a"], b"b"], b"c"]]),
    (b'BODY[HEADER.FIELDS (FROM "A b")]<0> x', [b'BODY[HEADER.FIELDS (FROM "A b")]<0>', b"x"]),
    (b"BINARY[1.2]<3> BODY[] RFC822.SIZE", [b"BINARY[1.2]<3>", b"BODY[]", b"RFC822.SIZE"]),
    (b"  a   b\t c ", [b"a", b"b", b"c"]),
    (b'()()""', [[], [], b""]),
    (b"(a (b", [[b"a", [b"b"]]]),
    (b"\\* \\Seen $Forwarded caf\xc3\xa9", [b"\\*", b"\\Seen", b"$Forwarded", b"caf\xc3\xa9"]),
    (b"[ALERT] [a b] c[d e]f", [b"[ALERT]", b"[a b]", b"c[d e]f"]),
    (b"a[b", [b"a[b"]),
    (b"", []),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_values(line: bytes, expected: list[Value]) -> None:
    assert values([line]) == expected


@pytest.mark.parametrize("line", [b")", b"a ) b", b'"open', b'a "b\\"', b"(" * 100])
def test_what_is_no_value_is_named(line: bytes) -> None:
    with pytest.raises(WireError):
        values([line])


def cut(octets: bytes, *, by: int, limits: Limits | None = None) -> list[list[Part]]:
    cutter = Cutter(limits)
    return [each for at in range(0, len(octets), by) for each in cutter.feed(octets[at : at + by])]


DIALOGUE = b"".join(
    (
        b"* OK ready\r\n",
        b"* 1 FETCH (BODY[] {7}\r\n\r\n{9}\r\n UID 3)\r\n",
        b"g1 OK done\n",
        b"* LIST () {1+}\r\n/ ~{3}\r\n\0\0\n\r\n",
        b"* X {0}\r\n\r\n",
    )
)
RESPONSES: list[list[Part]] = [
    [b"* OK ready"],
    [b"* 1 FETCH (BODY[] ", b"\r\n{9}\r\n", b" UID 3)"],
    [b"g1 OK done"],
    [b"* LIST () ", b"/", b" ", b"\0\0\n", b""],
    [b"* X ", b"", b""],
]


@pytest.mark.parametrize("by", [1, 2, 3, 7, 1000])
def test_responses_however_they_arrive(by: int) -> None:
    assert cut(DIALOGUE, by=by) == RESPONSES


def test_literals_are_values_between_those_of_the_lines() -> None:
    assert values(RESPONSES[1], 2) == [b"1", b"FETCH", [b"BODY[]", b"\r\n{9}\r\n", b"UID", b"3"]]
    assert values(RESPONSES[3], 2) == [b"LIST", [], b"/", b"\0\0\n"]


class Kept:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.is_closed = False

    def write(self, octets: bytes) -> None:
        self.pieces.append(octets)

    def close(self) -> None:
        self.is_closed = True


def test_a_large_literal_is_not_kept_in_memory() -> None:
    kept, asked = Kept(), []

    def spill(before: bytes, size: int) -> Kept:
        asked.append((before, size))
        return kept

    cutter = Cutter(Limits(kept=10), spill)
    octets = b"* 1 FETCH (BODY[] {30}\r\n" + b"x" * 30 + b" BODY[1] {4}\r\nabcd)\r\n"
    found = [each for at in range(0, len(octets), 8) for each in cutter.feed(octets[at : at + 8])]
    assert found == [[b"* 1 FETCH (BODY[] ", Spilled(30, kept), b" BODY[1] ", b"abcd", b")"]]
    assert asked == [(b"* 1 FETCH (BODY[] ", 30)]
    assert (b"".join(kept.pieces), kept.is_closed) == (b"x" * 30, True)
    assert max(map(len, kept.pieces)) <= 8


@pytest.mark.parametrize(
    ("octets", "limits"),
    [
        (b"x" * 101, Limits(line=100)),
        (b"* {101}\r\n", Limits(literal=100)),
        (b"* {60}\r\n" + b"x" * 60 + b" {60}\r\n", Limits(response=100)),
        (b"* {0}\r\n" + b"{0}\r\n" * 1000, Limits(response=10_000)),
    ],
)
def test_bounds(octets: bytes, limits: Limits) -> None:
    with pytest.raises(WireError):
        cut(octets, by=7, limits=limits)


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50))
def test_literals_hold_anything(texts: list[bytes], by: int) -> None:
    octets = b"* X" + b"".join(b" {%d}\r\n%s" % (len(text), text) for text in texts) + b"\r\n"
    (found,) = cut(octets, by=by)
    assert values(found, 1) == [b"X", *texts]


@given(st.binary(max_size=200), st.integers(1, 50))
def test_octets_raise_nothing_but_wire_error(octets: bytes, by: int) -> None:
    try:
        for parts in cut(octets + b"\r\n", by=by, limits=Limits(literal=1000)):
            values(parts)
    except WireError:
        pass
