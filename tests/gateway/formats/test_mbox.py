"""mbox files as places of messages, and messages as what is appended: each dialect both ways."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.formats.from_line import write
from gateway.formats.mbox import Dialect, Entry, Junk, joint, scan, written
from gateway.formats.window import Window
from gateway.message import Content

DATA = Path(__file__).parents[2] / "data"
FROM = write("ann@a.example", 1_795_482_123.0)
CORPUS = os.environ.get("GATEPOST_CORPUS")


class Octets:
    """A Blob that counts what is read of it."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.size = len(octets)
        self.read_octets = 0

    def read(self, offset: int, length: int) -> bytes:
        self.read_octets += length
        return self.octets[offset : offset + length]


def entries(octets: bytes, dialect: Dialect = Dialect.MBOXRD) -> list[Entry]:
    return [entry for entry in scan(Octets(octets), dialect) if isinstance(entry, Entry)]


def content(octets: bytes, entry: Entry) -> bytes:
    return b"".join(entry.filter(iter((octets[entry.head : entry.end],))))


def contents(octets: bytes, dialect: Dialect = Dialect.MBOXRD) -> list[bytes]:
    return [content(octets, entry) for entry in entries(octets, dialect)]


def mailbox(messages: list[bytes], dialect: Dialect = Dialect.MBOXRD) -> bytes:
    return b"".join(b"".join(written(Content(message), FROM, dialect)()) for message in messages)


BOXES = [
    ("libemail-folder/t/mboxes/testmbox", Dialect.MBOXO, 10),
    ("libemail-folder/t/mboxes/testmbox.dos", Dialect.MBOXO, 10),
    ("libemail-folder/t/mboxes/testmbox.mac", Dialect.MBOXO, 10),
    ("libemail-folder/t/mboxes/testmbox.empty", Dialect.MBOXO, 0),
    ("libemail-folder/t/mboxes/mboxcl2", Dialect.MBOXCL2, 3),
    ("libemail-folder/t/mboxes/mboxcl2", Dialect.MBOXRD, 3),
    ("libemail-folder/t/mboxes/mboxcl2.lies", Dialect.MBOXCL2, 3),
    ("libemail-folder/t/mboxes/mboxcl3", Dialect.MBOXCL2, 2),
    ("filedrop/mbox/mboxrd.mbox", Dialect.MBOXRD, 2),
    ("filedrop/mbox/mboxcl2.mbox", Dialect.MBOXCL2, 2),
    ("filedrop/mbox/mboxcl2.mbox", Dialect.MBOXRD, 3),
]


@pytest.mark.parametrize(("name", "dialect", "count"), BOXES)
def test_mailboxes_of_others_have_as_many_messages_as_they_say(name: str, dialect: Dialect, count: int) -> None:
    found = contents((DATA / name).read_bytes(), dialect)
    assert len(found) == count
    assert all(b"\n" not in octets.replace(b"\r\n", b"") for octets in found)


def test_line_ends_make_no_difference() -> None:
    folder = DATA / "libemail-folder/t/mboxes"
    unix, dos = (contents((folder / name).read_bytes()) for name in ("testmbox", "testmbox.dos"))
    assert unix[1:] == dos[1:]  # the first message of the two files is not the same


def test_places_are_told() -> None:
    octets = (DATA / "filedrop/mbox/mboxrd.mbox").read_bytes()
    one, two = entries(octets)
    assert (one.start, one.line, one.loose, one.next) == (0, 1, 1, two.start)
    assert octets[one.head :].startswith(b"Return-Path: ")
    assert octets[one.body :].startswith(b">From a\n")
    assert (two.line, two.next, two.from_line.is_null) == (16, len(octets), True)
    assert content(octets, one).endswith(b"\r\n\r\nFrom a\r\n>From b\r\nFrom the middle of a paragraph"
        b" this line is not the start of a message,\r\n\r\nFrom here it would be without its date: behind an empty"
        b" line.\r\n")  # fmt: skip


JUNK = [
    (b"", 0, []),
    (b"\n\r\n\n", 0, []),
    (b"text\n", 0, [(0, 5, 1)]),
    (b"\n\ntext\n\n" + FROM + b"A: b\n", 1, [(2, 8, 3)]),
    (b"text\n" + FROM, 0, [(0, 5 + len(FROM), 1)]),
    (b"\n" + FROM + b"\n", 1, []),
    (b"From me without a date\nA: b\n\nc\n", 1, []),
]


@pytest.mark.parametrize(("octets", "count", "junk"), JUNK)
def test_what_stands_before_the_first_line(octets: bytes, count: int, junk: list[tuple[int, int, int]]) -> None:
    found = list(scan(Octets(octets)))
    assert [(j.start, j.end, j.line) for j in found if isinstance(j, Junk)] == junk
    assert sum(isinstance(entry, Entry) for entry in found) == count


ENDS = [b"", b"\n", b"A: b\n", b"A: b", b"A: b\n\n", b"A: b\n\nc\n", b"A: b\n\nc\n\n", b"\nc\n", b"A: b\n\n\n\n"]


@pytest.mark.parametrize("message", ENDS)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_one_empty_line_ends_a_message_and_no_more(message: bytes, newline: bytes) -> None:
    whole = message if message.endswith(b"\n") or not message else message + b"\n"
    octets = (FROM + whole + b"\n" + FROM + whole + b"\n").replace(b"\n", newline)
    assert contents(octets) == [whole.replace(b"\n", b"\r\n")] * 2
    if message:
        assert contents((FROM + message).replace(b"\n", newline))[0].strip() == message.strip().replace(b"\n", b"\r\n")


LENGTHS = [
    # it lands on the next line, on the end, is too long, too short, no number; two of them
    (b"Content-Length: 3\n\nab\n\n" + FROM + b"A: b\n\nc\n\n", 2),
    (b"Content-Length: 0\n\n\n" + FROM + b"A: b\n\nc\n\n", 2),
    (b"Content-Length: %d\n\nab\n\n" % (len(FROM) + 12) + FROM + b"A: b\n\nc\n\n", 1),
    (b"Content-Length: 99999\n\nab\n\n" + FROM + b"A: b\n\nc\n\n", 2),
    (b"Content-Length: 1\n\nab\n\n" + FROM + b"A: b\n\nc\n\n", 2),
    (b"Content-Length: 4\n\nab\n\n" + FROM + b"A: b\n\nc\n\n", 2),
    (b"Content-Length: x\n\nab\n\n" + FROM + b"A: b\n\nc\n\n", 2),
    (b"Content-Length: 999999999999999999999999\n\nab\n\n" + FROM + b"A: b\n\nc\n\n", 2),
]


@pytest.mark.parametrize(("octets", "count"), LENGTHS)
def test_a_length_is_believed_where_it_lands_right(octets: bytes, count: int) -> None:
    for dialect in (Dialect.MBOXCL, Dialect.MBOXCL2):
        assert len(entries(FROM + octets, dialect)) == count
    assert len(entries(FROM + octets, Dialect.MBOXRD)) == 2


def test_a_length_that_lands_on_a_line_of_text_is_not_believed() -> None:
    text = b"From here it is text\n\n"
    octets = FROM + b"Content-Length: 6\n\nHello\n" + text + FROM + b"A: b\n\nc\n\n"
    assert len(entries(octets, Dialect.MBOXCL2)) == 2


PLAIN = st.lists(
    st.sampled_from(
        [b"From ann@a.example Tue Nov 24 01:02:03 2026", b"From ", b">From x", b">>From ", b"", b"", b"text", b"A: b",
         b"Content-Lengthy: 3", b"\x01\x01\x01\x01", b"\xff\0", b"x" * 50]
    ),
    max_size=10,
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))  # fmt: skip


@pytest.mark.parametrize("dialect", [Dialect.MBOXRD, Dialect.MBOXCL2])
@given(bodies=st.lists(PLAIN, max_size=4))
def test_what_is_written_is_read_back(dialect: Dialect, bodies: list[bytes]) -> None:
    messages = [b"Subject: s\r\n\r\n" + body for body in bodies]
    back = contents(mailbox(messages, dialect), dialect)
    if dialect is Dialect.MBOXCL2:
        assert all(b"\r\nContent-Length: " in octets for octets in back)
        back = [b"Subject: s\r\n\r\n" + octets.partition(b"\r\n\r\n")[2] for octets in back]
    assert back == messages


@pytest.mark.parametrize("dialect", [Dialect.MBOXO, Dialect.MBOXCL, Dialect.RFC4155])
@given(bodies=st.lists(PLAIN, max_size=4))
@settings(max_examples=50)
def test_what_other_dialects_quote_stays_quoted(dialect: Dialect, bodies: list[bytes]) -> None:
    messages = [b"Subject: s\r\n\r\n" + body for body in bodies]
    found = [octets.partition(b"\r\n\r\n")[2] for octets in contents(mailbox(messages, dialect), dialect)]
    assert found == [body.replace(b"\nFrom ", b"\n>From ") if not body.startswith(b"From ") else
                     b">" + body.replace(b"\nFrom ", b"\n>From ") for body in bodies]  # fmt: skip


@given(st.lists(PLAIN | st.binary(max_size=30), max_size=6), st.sampled_from(list(Dialect)))
def test_any_octets_are_entries_and_junk_that_leave_no_gap(pieces: list[bytes], dialect: Dialect) -> None:
    octets = FROM.join(pieces)
    at = None
    for found in scan(Octets(octets), dialect):
        assert at is None or found.start == at
        if isinstance(found, Entry):
            assert found.start <= found.head <= found.body <= found.end <= found.next or found.end == found.head
            assert octets[found.start :].startswith(b"From ")
            assert found.line == octets.count(found.newline, 0, found.start) + 1
        at = found.next if isinstance(found, Entry) else found.end
    assert at == len(octets) or (at is None and not octets.strip(b"\r\n"))


@given(st.integers(64, 200), st.lists(PLAIN, min_size=1, max_size=6), st.sampled_from(list(Dialect)))
def test_the_size_of_the_window_makes_no_difference(size: int, pieces: list[bytes], dialect: Dialect) -> None:
    octets = mailbox([b"A: b\r\n\r\n" + piece for piece in pieces], dialect)
    whole = list(scan(Octets(octets), dialect))
    defaults = Window.__init__.__defaults__
    try:
        Window.__init__.__defaults__ = (size,)
        assert [(e.start, e.next, e.line) for e in scan(Octets(octets), dialect) if isinstance(e, Entry)] == [
            (e.start, e.next, e.line) for e in whole if isinstance(e, Entry)
        ]
    finally:
        Window.__init__.__defaults__ = defaults


def test_a_mailbox_is_read_about_once_however_its_lengths_lie() -> None:
    lie = b"Content-Length: %d\n\nab\n\n"
    box = b"".join(FROM + lie % (2_000_000 - 1000 * number) for number in range(20_000))
    for octets, dialect in ((mailbox([b"A: b\r\n\r\n" + b"text\r\n" * 500] * 1000), Dialect.MBOXRD),
                            (box, Dialect.MBOXCL2), (FROM + b"\n\nFrom x" * 200_000, Dialect.MBOXRD)):  # fmt: skip
        blob = Octets(octets)
        start = time.thread_time()
        found = sum(1 for _ in scan(blob, dialect))
        assert found
        assert time.thread_time() - start < 4
        # at most two looks of a line's length for each message or line that is none, besides the one reading
        assert blob.read_octets < 2 * len(octets) + 20_000 * 6_000


def test_joints() -> None:
    assert [joint(t) for t in (b"", b"\n", b"a\n\n", b"a\r\n\r\n"[-3:], b"a\n", b"a")] == [
        b"", b"", b"", b"", b"\n", b"\n\n"]  # fmt: skip


def test_mailboxes_of_the_corpus_are_read_and_written_back() -> None:
    if CORPUS is None:
        print("GATEPOST_CORPUS is not set: the mailboxes of others were not read")
        return
    counts = {"apache-james-mime4j/mbox/src/test/resources/test-1/mbox.rlug": 5,
              "mailbits/test/data/mboxes/sample.mbox": 1, "mailbits/test/data/mboxes/rfc822.mbox": 1,
              "nmh/test/inc/deb359167.mbox": 1, "nmh/test/inc/fromline.txt": 1}  # fmt: skip
    for name, count in counts.items():
        found = contents((Path(CORPUS) / name).read_bytes())
        assert len(found) == count, name
        assert contents(mailbox(found)) == found
    parts = sorted((Path(CORPUS) / "apache-james-mime4j/mbox/src/test/resources/test-1").glob("mbox.rlug-*"))
    box = (Path(CORPUS) / "apache-james-mime4j/mbox/src/test/resources/test-1/mbox.rlug").read_bytes()
    expected = [path.read_bytes().replace(b"\n", b"\r\n").rstrip() for path in parts]
    assert [octets.rstrip() for octets in contents(box)] == expected
