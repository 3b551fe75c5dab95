"""Flags and keywords: there and back, and what a folder does not keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.imap.flags import FORBIDDEN, keyword, read, write
from connectors.imap.session import Selected
from connectors.imap.wire.commands import flag_list
from gateway.contract import FLAGS, Fate


@pytest.mark.parametrize(
    ("word", "octets"),
    [
        ("NonJunk", b"NonJunk"),
        ("$Label1", b"$Label1"),
        ("R&D", b"R&D"),
        ("Grün", b"Gr&APw-n"),
        ("Rot & Blau", b"Rot_&_Blau"),
        ("a&-b", b"a&--b"),
        ("(x)*%{]", b"_x_____"),
        ("", b"_"),
        ("\ud800", b"?"),
    ],
)
def test_a_keyword(word: str, octets: bytes) -> None:
    assert keyword(word) == octets


@given(st.text(max_size=20))
def test_any_word_comes_back_as_it_can_be_held(word: str) -> None:
    held = "".join("_" if each in FORBIDDEN else each for each in word.encode("utf-8", "replace").decode()) or "_"
    octets = keyword(word)
    flag_list([octets])
    flags, words = read(frozenset((octets,)))
    assert words == {held} or flags  # a word that is a flag's name is that flag


@given(st.binary(min_size=1, max_size=20).filter(lambda octets: not set(octets) & set(b'(){%*"\\[] ]\r\n\0')))
def test_a_word_of_a_server_is_written_as_it_was(octets: bytes) -> None:
    for word in read(frozenset((octets,)))[1]:
        if octets.isascii() and octets.decode().isprintable():
            assert keyword(word) == octets


def test_all_flags() -> None:
    wanted, notes = write(FLAGS, (), None)
    assert not notes
    assert read(frozenset((*wanted, b"\\Recent"))) == (FLAGS, frozenset())
    flags, words = read(frozenset((b"\\SEEN", b"$mdnsent")))
    assert flags == {"seen", "mdn_sent"}
    assert not words


def test_what_a_folder_does_not_keep() -> None:
    folder = Selected(b"INBOX", False, permanent=frozenset((b"\\Seen", b"Known")))
    kept, notes = write(("seen", "flagged", "junk"), ("Known", "Other", "Grün"), folder)
    assert kept == {b"\\Seen", b"Known"}
    assert [(note.fate, note.what) for note in notes] == [
        (Fate.DROPPED, f"flag {name}") for name in ("junk", "Grün", "Other", "flagged")
    ]
    folder.permanent = frozenset((b"\\Seen", b"\\*"))
    kept, notes = write(("seen", "flagged", "junk"), ("Other",), folder)
    assert kept == {b"\\Seen", b"$Junk", b"Other"}
    assert [note.what for note in notes] == ["flag flagged"]
