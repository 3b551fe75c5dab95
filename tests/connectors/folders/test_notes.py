"""What mailbox files say of a message in its header, as programs write it, and a message's own fields beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.folders import notes

READ = [
    (b"Subject: s\nStatus: RO\n\n", {"seen"}, set(), b"Subject: s\n\n"),
    (b"Status: O\nX-Status: AF\nSubject: s\n\n", {"answered", "flagged"}, set(), b"Subject: s\n\n"),
    (b"Status: RO\r\nX-Status: DT\r\nSubject: s\r\n\r\n", {"seen", "deleted", "draft"}, set(), b"Subject: s\r\n\r\n"),
    # Dovecot pads its keywords so that they can be altered in place.
    (b"X-Keywords: $Forwarded word $Junk      \nX-UID: 12\n\n", {"forwarded", "junk"}, {"word"}, b"\n"),
    (b"X-IMAPbase: 1500000000 0000000012 word\nStatus: O\nSubject: s\n\n", set(), set(), b"Subject: s\n\n"),
    (b"X-Mozilla-Status: 1003\nX-Mozilla-Status2: 00800000\nX-Mozilla-Keys: $label1   \n\n",
     {"seen", "answered", "forwarded", "mdn_sent"}, {"$label1"}, b"\n"),
    (b"X-GM-THRID: 17\nX-Gmail-Labels: Inbox,Opened,Starred,My label\nSubject: s\n\n",
     {"seen", "flagged"}, {"My_label"},
     b"X-GM-THRID: 17\nX-Gmail-Labels: Inbox,Opened,Starred,My label\nSubject: s\n\n"),
    (b"X-Gmail-Labels: =?UTF-8?Q?Unread,=C3=9Cber?=\n\n", set(), {"Über"},
     b"X-Gmail-Labels: =?UTF-8?Q?Unread,=C3=9Cber?=\n\n"),
    (b"X-Kept-Status: RO\nX-Kept-X-Kept-Status: O\nX-Kept-Other: stays\n\n", set(), set(),
     b"Status: RO\nX-Kept-Status: O\nX-Kept-Other: stays\n\n"),
    (b"X-Kept-Headerless: yes\nStatus: RO\n\n", {"seen"}, set(), b""),
    (b"a line that is no field\nStatus: RO\nSubject: s\n\n", {"seen"}, set(),
     b"a line that is no field\nSubject: s\n\n"),
    (b"Subject: s\n folded\n\tagain\nStatus: R\n\n", {"seen"}, set(), b"Subject: s\n folded\n\tagain\n\n"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "flags", "keywords", "own"), READ)
def test_it_is_read(header: bytes, flags: set[str], keywords: set[str], own: bytes) -> None:
    note, rest = notes.read(header)
    assert (set(note.flags), set(note.keywords), rest) == (flags, keywords, own)


@pytest.mark.parametrize(
    ("header", "gone", "internal"),
    [
        (b"X-Mozilla-Status: 0009\n\n", True, False),
        (b"X-Mozilla-Status: nonsense\n\n", False, False),
        (b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\nStatus: RO\n\n", False, True),
        (b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n\n", False, False),
    ],
)
def test_what_is_no_message_is_known(header: bytes, gone: bool, internal: bool) -> None:
    note, _ = notes.read(header)
    assert (note.is_gone, note.is_internal) == (gone, internal)


_LINES = st.sampled_from(
    [
        b"Subject: s\n",
        b"Status: RO\n",
        b"x-status: A\n",
        b"X-Keywords: a\n b\n",
        b"X-Kept-Status: O\n",
        b"X-Kept-X-Kept-X-UID: 1\n",
        b"X-Kept-Headerless: yes\n",
        b"X-Kept-Note: n\n",
        b"Content-Length: 5\n",
        b"X-Mozilla-Status: 0008\n",
        b"no field\n",
        b" folded from nothing\n",
        b"X-IMAP: 1 2\n",
    ]
)
_WORDS = st.sets(
    st.sampled_from(["seen", "answered", "flagged", "draft", "deleted", "forwarded", "junk", "mdn_sent", "w"])
)


@given(st.lists(_LINES, max_size=6).map(b"".join), _WORDS)
def test_what_is_written_is_read_again_and_the_messages_own_header_comes_back(own: bytes, words: set[str]) -> None:
    written = notes.write(own, frozenset(words), headerless=not own) + b"\n"
    note, rest = notes.read(written)
    assert set(note.flags) | set(note.keywords) == words
    assert rest == (own + b"\n" if own else b"")
