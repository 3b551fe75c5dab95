"""What digests tell apart, and what they do not; and names of folders on their way across."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mailbox import Folder
from gateway.sync.fingerprint import Digest, digest_of_octets
from gateway.sync.folders import escaped, pair_folders, unescaped
from gateway.sync.values import FolderPair, Policy
from tests.gateway.sync.memory import HOLDS


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (b"a\r\nb\r\n", b"a\nb\n", True),
        (b"a\r\nb\r\n", b"a\r\nb", True),
        (b"a\rb\r\n", b"ab\r\n", True),
        (b"a\0b", b"a\x80b", True),
        (b"a\r\n\r\nb", b"a\r\nb", False),
        (b"a b", b"a  b", False),
        (b"quota 80% full", b"quota 90% full", False),
    ],
)
def test_what_is_the_same(one: bytes, two: bytes, same: bool) -> None:
    assert (digest_of_octets(one) == digest_of_octets(two)) is same


@given(st.lists(st.binary(max_size=6) | st.sampled_from([b"\r", b"\n", b"\r\n"])))
def test_pieces_make_no_difference(pieces: list[bytes]) -> None:
    digest = Digest()
    for piece in pieces:
        digest.update(piece)
    assert digest.value() == digest_of_octets(b"".join(pieces))


@given(st.text(alphabet="ab/.%2F ü", max_size=8))
def test_a_name_comes_back(name: str) -> None:
    slash = replace(HOLDS, forbidden_in_names="/")
    made = escaped(name, slash)
    assert "/" not in made
    if "%2F" not in name:
        assert unescaped(made, slash) == name


def test_folders_are_paired_by_role_and_by_path() -> None:
    left = [
        Folder("1", ("INBOX",), role="inbox"),
        Folder("2", ("INBOX", "a.b")),
        Folder("3", ("Gesendet",), role="sent"),
        Folder("4", ("New",)),
        Folder("5", ("NEW",)),
        Folder("6", ("Days",), kind="calendar"),
    ]
    right = [Folder("A", ("Inbox",), role="inbox"), Folder("B", ("Sent",), role="sent"), Folder("C", ("Other",))]
    holds = HOLDS, replace(HOLDS, forbidden_in_names=".")
    made = pair_folders(left, right, [], holds, Policy(), "copy")
    found = {(pair.left, pair.right, made.paths[at]["right"]) for at, pair in enumerate(made.pairs)}
    assert found == {
        ("1", "A", ("Inbox",)),
        ("2", None, ("Inbox", "a%2Eb")),
        ("3", "B", ("Sent",)),
        ("4", None, ("New",)),
        ("5", None, ("NEW",)),
    }
    assert made.collisions == ["New and NEW differ in case alone"]
    assert made.left_out == ["Days: calendar"]
    two_way = pair_folders(left, right, [], holds, Policy(), "two-way")
    assert FolderPair(0, None, "C", ("Other",)) in two_way.pairs
    some = pair_folders(left, right, [], holds, Policy(folders=("INBOX*", "!*a.b")), "copy")
    assert [pair.left for pair in some.pairs] == ["1"]


def test_a_name_like_that_of_a_folder_that_was_renamed_is_told() -> None:
    left = [Folder("1", ("NEW",)), Folder("2", ("New",))]
    known = [FolderPair(7, "1", "A", ("Old",))]
    made = pair_folders(left, [Folder("A", ("Old",))], known, (HOLDS, HOLDS), Policy(), "copy")
    assert made.renamed == [(0, ("NEW",))]
    assert made.collisions == ["New and NEW differ in case alone"]


def test_many_folders_take_no_time() -> None:
    many = [Folder(str(n), ("Projects", f"p{n}")) for n in range(8000)]
    began = time.process_time()
    made = pair_folders(many, [*many[:4000]], [], (HOLDS, HOLDS), Policy(), "copy")
    assert len([pair for pair in made.pairs if pair.right is not None]) == 4000
    assert time.process_time() - began < 5  # a look at all of them for each takes a minute
