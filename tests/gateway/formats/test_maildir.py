"""Names and the quota file of a Maildir."""

from __future__ import annotations

import mailbox
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.formats.flags import Mark, from_status, to_status
from gateway.formats.maildir import (
    Name,
    Quota,
    folder_name,
    folder_path,
    from_utf7,
    quota_line,
    read_name,
    read_quota,
    sized,
    to_utf7,
    unique_name,
)

NAMES = [
    ("1050314226.9981_1.penfold", None, None, None, Mark.NONE),
    ("1529425589.M615261P21663.len:2,S", "S", None, None, Mark.SEEN),
    ("1.M2P3.h,S=10,W=12:2,FRS", "FRS", 10, 12, Mark.FLAGGED | Mark.ANSWERED | Mark.SEEN),
    ("1.M2P3.h,S=10:2,", "", 10, None, Mark.NONE),
    ("1.M2P3.h:2,DTPaz", "DTPaz", None, None, Mark.DRAFT | Mark.DELETED | Mark.PASSED),
    ("1.M2P3.h:1,experimental", None, None, None, Mark.NONE),
    ("1.M2P3.h,S=x,W=9", None, None, 9, Mark.NONE),
    ("3", None, None, None, Mark.NONE),
]


@pytest.mark.parametrize(("text", "flags", "size", "crlf_size", "marks"), NAMES)
def test_names_are_read(text: str, flags: str | None, size: int | None, crlf_size: int | None, marks: Mark) -> None:
    name = read_name(text)
    assert (name.flags, name.size, name.crlf_size, name.marks) == (flags, size, crlf_size, marks)
    assert name.unique == re.split("[,:]", text)[0]


def test_marks_are_set_and_keywords_stay() -> None:
    name = read_name("1.a.h,S=1:2,Sb")
    assert name.with_marks(Mark.ANSWERED | Mark.FLAGGED).text() == "1.a.h,S=1:2,FRb"
    assert Name("1.a.h").with_marks(Mark.SEEN).text(";") == "1.a.h;2,S"
    assert read_name("1.a.h;2,S", ";").marks == Mark.SEEN


def test_names_are_made() -> None:
    unique = unique_name(1, "M2Q3", "h/o:st,1")
    assert unique == r"1.M2Q3.h\057o\072st\0541"
    assert read_name(sized(unique, 5, 6).text()) == Name(unique, ",S=5,W=6")


@given(st.text(alphabet="abc.,:;2SRFT=W", max_size=30))
def test_a_name_that_tells_flags_is_written_as_it_was(text: str) -> None:
    name = read_name(text)
    if name.flags is not None or ":" not in text:
        assert name.text() == text


FOLDERS = [((), ""), (("Archive",), ".Archive"), (("Archive", "2026"), ".Archive.2026"),
           (("Entwürfe",), ".Entw&APw-rfe"), (("A&B",), ".A&-B"), (("台北",), ".&U,BTFw-")]  # fmt: skip


@pytest.mark.parametrize(("path", "name"), FOLDERS)
def test_folders(path: tuple[str, ...], name: str) -> None:
    assert folder_name(path) == name
    assert folder_path(name) == path


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "..", "\0"])
def test_a_folder_is_no_path(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a folder"):
        folder_name([name])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_utf7_is_undone(text: str) -> None:
    assert from_utf7(to_utf7(text)) == text
    assert all(" " <= c <= "~" for c in to_utf7(text))


@given(st.text(max_size=20))
def test_any_text_is_read_as_utf7(text: str) -> None:
    from_utf7(text)
    from_utf7("&" + text + "-")


QUOTAS = [
    (b"10000S,100C\n200 2\n-50 -1\n", Quota(10000, 100, 150, 1)),
    (b"10000S\n200 2\n", Quota(10000, None, 200, 2)),
    (b"100C,0S\n   200   2\nrubbish\n7", Quota(None, 100, 200, 2)),
    (b"", None),
    (b"hello\n1 1\n", None),
    (b"\xff\n", None),
]


@pytest.mark.parametrize(("text", "quota"), QUOTAS)
def test_quotas_are_read(text: bytes, quota: Quota | None) -> None:
    assert read_quota(text) == quota


def test_room() -> None:
    quota = Quota(100, 3, 90, 2)
    assert [quota.has_room(10), quota.has_room(11), quota.has_room(1, 2)] == [True, False, False]
    assert Quota(None, None, 90, 2).has_room(10**9)
    assert read_quota(b"100S\n" + quota_line(5, 1) + quota_line(-2, -1)) == Quota(100, None, 3, 0)


STATUSES = [("RO", "", Mark.SEEN | Mark.OLD), ("O", "AFDT", Mark.OLD | Mark.ANSWERED | Mark.FLAGGED | Mark.DELETED |
             Mark.DRAFT), ("", "", Mark.NONE), ("xR", "?", Mark.SEEN)]  # fmt: skip


@pytest.mark.parametrize(("status", "x_status", "marks"), STATUSES)
def test_status_fields(status: str, x_status: str, marks: Mark) -> None:
    assert from_status(status, x_status) == marks
    assert from_status(*to_status(marks)) == marks


def test_letters_are_those_of_the_standard_library() -> None:
    message = mailbox.MaildirMessage()
    message.set_flags("SRTDFP")
    assert read_name(f"x:{message.get_info()}").marks == Mark(63) & ~Mark.OLD | Mark.PASSED
