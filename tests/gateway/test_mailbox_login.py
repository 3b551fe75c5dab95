"""The table of passwords, as it may come: what is wrong in it is told with its place, and without a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.mailbox_login import read_passwords


def test_names_are_taken_without_blanks_and_passwords_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text("mailbox,password\nann , se cret \n", encoding="utf-8-sig")
    assert read_passwords(tmp_path / "who.csv") == {"ann": " se cret "}


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"name,password\nann,secret\n", "its first line must name the columns mailbox,password"),
        (b"mailbox,password\nann,secret\xff\n", "it must be text in UTF-8"),
        (b'mailbox,password\nann,"secret\nbob,secret\n', "a quotation mark may be without another one"),
        (b'mailbox,password\nann,"' + b"secret\n" * 20_000, "a quotation mark may be without another one"),
    ],
)
def test_what_is_wrong_is_told_without_a_password(tmp_path: Path, octets: bytes, said: str) -> None:
    (tmp_path / "who.csv").write_bytes(octets)
    with pytest.raises(ValueError, match=said) as caught:
        read_passwords(tmp_path / "who.csv")
    assert str(tmp_path / "who.csv") in str(caught.value)
    assert "secret" not in str(caught.value)
