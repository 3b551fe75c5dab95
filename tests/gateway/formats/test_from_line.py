"""The From_ line, as many programs wrote it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.formats.from_line import LINE_OCTETS, FromLine, read, write

AT = 1_795_482_123.0  # 2026-11-24 01:02:03 UTC

LINES = [
    (b"From ann@a.example Tue Nov 24 01:02:03 2026", "ann@a.example", AT),
    (b"From ann@a.example  Tue Nov 24 01:02:03 2026", "ann@a.example", AT),
    (b"From ann Tue Nov 24 01:02 2026", "ann", AT - 3),
    (b"From ann Mon Nov  2 01:02:03 2026", "ann", AT - 22 * 86400),
    (b"From ann Tue Nov 24 01:02:03 UTC 2026", "ann", AT),
    (b"From ann Tue Nov 24 02:02:03 +0100 2026", "ann", AT),
    (b"From ann Tue Nov 24 02:02:03 2026 +0100", "ann", AT),
    (b"From ann Tue Nov 24 01:02:03 CET DST 2026", "ann", AT),
    (b"From ann Tue Nov 24 01:02:03 26", "ann", AT),
    (b"From ann Fri Nov 24 01:02:03 72", "ann", 91_414_923.0),
    (b"From a!b!ann Tue Nov 24 01:02:03 2026 remote from host", "a!b!ann", AT),
    (b"From daemon@o.example Tue, 24 Nov 2026 03:02:03 +0200", "daemon@o.example", AT),
    (b"From ann  24 Nov 2026 01:02:03", "ann", AT),
    (b'From "ann b"@a.example Tue Nov 24 01:02:03 2026', '"ann b"@a.example', AT),
    (b"From - Tue Nov 24 01:02:03 2026", "-", AT),
    (b"From Tue Nov 24 Tue Nov 24 01:02:03 2026", "Tue Nov 24", AT),
    (b"From ann Tue Nov 31 01:02:03 2026", "ann", None),
    (b"From ann Tue Nov 24 25:02:03 2026", "ann", None),
    (b"From \xffnn Tue Nov 24 01:02:03 2026", "\udcffnn", AT),
]


@pytest.mark.parametrize(("line", "sender", "at"), LINES)
def test_lines_are_read(line: bytes, sender: str, at: float | None) -> None:
    assert read(line) == FromLine(sender, at)


@pytest.mark.parametrize(
    "line",
    [
        b"From here on it is text",
        b"From ann",
        b"From Tue Nov 24 01:02:03 2026",
        b"From ann Tue Nov 24 2026",
        b"From: ann Tue Nov 24 01:02:03 2026",
        b">From ann Tue Nov 24 01:02:03 2026",
        b"From perl5-porters:",
        b"From " + b"a" * LINE_OCTETS + b" Tue Nov 24 01:02:03 2026",
    ],
)
def test_other_lines_are_none(line: bytes) -> None:
    assert read(line) is None


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        (b"From ann@a.example Tue Nov 24 01:02:03 2026", True),
        (b"From ann@a.example Mon Nov  2 01:02:03 2026", True),
        (b"From ann@a.example  Tue Nov 24 01:02:03 2026", False),
        (b"From ann Tue Nov 24 01:02:03 2026", False),
        (b"From ann@a.example Tue Nov 24 01:02 2026", False),
        (b"From ann@a.example Tue Nov 24 01:02:03 UTC 2026", False),
    ],
)
def test_strict_lines(line: bytes, is_one: bool) -> None:
    assert (read(line, strict=True) is not None) is is_one


@pytest.mark.parametrize("name", ["MAILER-DAEMON", "mailer-daemon", "MAILER-DAEMON@gw.example"])
def test_the_null_sender(name: str) -> None:
    assert FromLine(name).is_null
    assert not FromLine("ann@a.example").is_null


def test_lines_are_written() -> None:
    assert write("ann@a.example", AT) == b"From ann@a.example Tue Nov 24 01:02:03 2026\n"
    assert write(None, 0) == b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n"
    assert write("a\nFrom b", AT).count(b"\n") == 1


@given(st.text(min_size=1, max_size=40), st.integers(0, 4_000_000_000))
def test_what_is_written_is_read(sender: str, at: int) -> None:
    found = read(write(sender, at)[:-1])
    assert found is not None
    assert found.at == at


@given(st.binary(max_size=200))
def test_any_line_is_read_or_none(octets: bytes) -> None:
    read(b"From " + octets)


def test_long_lines_take_no_longer_for_their_blanks() -> None:
    start = time.thread_time()
    for line in (b" ", b" Tue", b" Tue Nov 24 01:02:03", b" Tue Nov 24 01:02:03 2026 x:"):
        for _ in range(20):
            read(b"From a" + (line * LINE_OCTETS)[: LINE_OCTETS - 8])
    assert time.thread_time() - start < 2
