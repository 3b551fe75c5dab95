"""What is written to take long takes no longer than its size."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.folders import eudora_mime, notes
from connectors.folders.headers import message_id

MANY = 200_000


def _message_id(octets: bytes, folder: Path) -> None:
    (folder / "mail").write_bytes(octets)
    message_id(folder / "mail")


def _fields(octets: bytes, folder: Path) -> None:
    notes.read(octets)


def _apart(octets: bytes, folder: Path) -> None:
    if eudora_mime.is_apart(b"Subject: s\r\n", octets):
        eudora_mime.whole(b"Subject: s\r\n", octets, lambda name: None)


@pytest.mark.parametrize(
    ("read", "octets"),
    [
        (_message_id, b"Message-ID:" + b" \n " * MANY),
        (_message_id, b"Message-ID:" + b"\t" * MANY + b"x"),
        (_message_id, b"Message-ID" * MANY),
        (_fields, b"a" * (10 * MANY)),
        (_fields, b"a b\n" * MANY),
        (_fields, b" \n" * MANY),
        (_fields, b"Subject:" + b"\n " * MANY),
        (_fields, b"X-Gmail-Labels: " + b"=?utf-8?q?a?= " * MANY),
        (_fields, b"X-Kept-" * MANY + b"Status: RO\n"),
        (_apart, b"Attachment Converted:" + b" " * MANY + b"x\r\n"),
        (_apart, (b"Attachment Converted: " + b" " * 1000 + b"x\r\n") * 200),
        (_apart, b"<x-html>" * MANY),
        (_apart, b"Attachment Converted: a\r\n" * (MANY // 10)),
    ],
)
def test_it_takes_no_longer_than_its_size(read: Callable[[bytes, Path], None], octets: bytes, tmp_path: Path) -> None:
    began = time.process_time()
    read(octets, tmp_path)
    assert time.process_time() - began < 5
