"""MMDF mailboxes: frames, what stands outside of them, and what is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.formats.lines import to_crlf
from gateway.formats.mmdf import RULE, Frame, Junk, joint, scan, written
from gateway.message import Content
from tests.gateway.formats.test_mbox import PLAIN, Octets

DATA = Path(__file__).parents[2] / "data" / "filedrop" / "mmdf"


def frames(octets: bytes) -> list[Frame | Junk]:
    return list(scan(Octets(octets)))


def contents(octets: bytes) -> list[bytes]:
    return [
        b"".join(to_crlf(iter((octets[f.head : f.end],))))
        for f in frames(octets)
        if isinstance(f, Frame) and f.is_whole
    ]


def mailbox(messages: list[bytes]) -> bytes:
    return b"".join(b"".join(written(Content(message))()) for message in messages)


def test_frames_are_found() -> None:
    octets = (DATA / "two.mmdf").read_bytes()
    one, two = frames(octets)
    assert isinstance(one, Frame)
    assert isinstance(two, Frame)
    assert (one.start, one.line, one.from_line) == (0, 1, None)
    assert octets[one.head : one.end].endswith(b"\n\nFrom here is fine\n\n")
    assert two.from_line is not None
    assert (two.start, two.from_line.sender, two.next) == (one.next, "root", len(octets))
    assert octets[two.head :].startswith(b"Message-ID: <2@a.example>\n")


def test_what_is_cut_off_and_what_is_outside() -> None:
    octets = (DATA / "cut-off.mmdf").read_bytes()
    junk, good, cut = frames(octets)
    assert (junk.start, junk.line) == (0, 1)
    assert isinstance(junk, Junk)
    assert isinstance(good, Frame)
    assert good.is_whole
    assert isinstance(cut, Frame)
    assert not cut.is_whole
    assert (cut.start, cut.next) == (good.next, len(octets))


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"", []),
        (b"\n\r\n", []),
        (RULE * 2, [b""]),
        (RULE + b"a\n" + RULE[:-1], [b"a\r\n"]),
        (RULE.replace(b"\n", b"\r\n") + b"a\r\n" + RULE.replace(b"\n", b"\r\n") + b"\r\n", [b"a\r\n"]),
        (RULE + b"a\n\x01\x01\x01\n \x01\x01\x01\x01\n\x01\x01\x01\x01\x01\n" + RULE,
         [b"a\r\n\x01\x01\x01\r\n \x01\x01\x01\x01\r\n\x01\x01\x01\x01\x01\r\n"]),
    ],
)  # fmt: skip
def test_rules_are_lines_of_four_alone(octets: bytes, found: list[bytes]) -> None:
    assert contents(octets) == found


@given(st.lists(PLAIN, max_size=5))
def test_what_is_written_is_read_back_but_for_rules(bodies: list[bytes]) -> None:
    messages = [b"A: b\r\n\r\n" + body for body in bodies]
    rule = b"\r\n\x01\x01\x01\x01\r\n"
    expected = []
    for message in messages:
        while rule in message:
            message = message.replace(rule, rule[:-2] + b" \r\n")
        expected.append(message)
    assert contents(mailbox(messages)) == expected


@given(st.lists(PLAIN | st.binary(max_size=9), max_size=6))
def test_any_octets_are_frames_and_junk(pieces: list[bytes]) -> None:
    octets = RULE.join(pieces)
    at = 0
    for found in frames(octets):
        end = found.next if isinstance(found, Frame) else found.end
        assert not octets[at : found.start].strip(b"\r\n")
        assert found.line == octets.count(b"\n", 0, found.start) + 1
        assert end > found.start
        at = end
    assert not octets[at:].strip(b"\r\n")


def test_joints() -> None:
    assert [joint(tail) for tail in (b"", b"a\n", b"a")] == [b"", b"", b"\n"]
