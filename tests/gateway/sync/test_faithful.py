"""What is changed of a message where it can't go as it is, and nothing else."""

from __future__ import annotations

import binascii

import pytest

from gateway.contract import Content
from gateway.sync.faithful import Mend, asks_for_receipt, date_of, mended, mends_for, replyable, tries_of

HEAD = b"Subject: caf\xe9\r\nTo: a@example.org\r\n\r\n"


@pytest.mark.parametrize(
    ("octets", "mend", "made"),
    [
        (b"Subject: a\0b\r\n\r\nbody\r\n", "nul", b"Subject: a b\r\n\r\nbody\r\n"),
        (b"Subject: x\r\n\r\na\nb\rc\r\n", "newlines", b"Subject: x\r\n\r\na\r\nb\r\nc\r\n"),
        (b"no header at all\r\n", "fields", b"\r\nno header at all\r\n"),
        (b"", "fields", b"\r\n"),
        (b"Subject : x\r\nTo: y\r\n\r\nb \0\r\n", "fields", b"Subject: x\r\nTo: y\r\n\r\nb \0\r\n"),
        (
            b"To: y\r\nbroken line\r\nDate: z\r\n\r\nbroken line\r\n",
            "fields",
            b"To: y\r\n broken line\r\nDate: z\r\n\r\nbroken line\r\n",
        ),
        (
            b"Subject: caf\xe9\r\nX-A: b\r\n\r\nbody \xff\r\n",
            "head",
            b"Subject: =?unknown-8bit?b?Y2Fm6Q==?=\r\nX-A: b\r\n\r\nbody \xff\r\n",
        ),
    ],
)
def test_one_thing_is_mended(octets: bytes, mend: Mend, made: bytes) -> None:
    content, notes = mended(Content(octets), [mend])
    assert content.octets() == made
    assert notes


def test_a_nul_in_a_body_is_encoded_and_not_lost() -> None:
    content, notes = mended(Content(b"Subject: x\r\n\r\na\0b\r\n"), ["nul"])
    head, _, body = content.octets().partition(b"\r\n\r\n")
    assert b"Content-Transfer-Encoding: base64" in head
    assert binascii.a2b_base64(body) == b"a\0b\r\n"
    assert notes


def test_long_lines_are_encoded_and_the_header_stays() -> None:
    head = b"Subject: long\r\nX-Odd:  kept  as it is\r\n"
    content, notes = mended(Content(head + b"\r\n" + b"x" * 5000 + b"\r\n"), ["lines"])
    assert content.octets().startswith(head)
    assert max(map(len, content.octets().split(b"\r\n"))) <= 998
    assert notes


def test_what_may_help_is_tried_first_and_alone() -> None:
    content = Content(b"Subject: caf\xe9\r\n\r\na\0b\nc\r\n")
    assert mends_for(content, "")[:3] == ["nul", "newlines", "head"]
    assert mends_for(content, "Message contains invalid header")[0] == "head"
    assert mends_for(Content(b"Subject : caf\xe9\r\n\r\n"), "contains invalid header")[:2] == ["fields", "head"]
    assert mends_for(content, "Message contains NUL characters")[0] == "nul"
    assert mends_for(content, "Message contains bare newlines")[0] == "newlines"
    assert mends_for(Content(b"Subject: fine\r\n\r\nfine\r\n"), "contains a virus") == []
    assert tries_of(["head", "nul"]) == [("head",), ("nul",), ("nul", "head")]


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"Received: from a by b;\r\n Mon, 1 Jan 2001 00:00:00 +0000\r\nDate: Tue, 2 Jan 2001 00:00:00 +0000\r\n",
         (978307200.0, "Received")),
        (b"Received: from a by b\r\nDate: Tue, 2 Jan 2001 00:00:00 +0000\r\n", (978393600.0, "Date")),
        (b"Date: Sat, 30 Dec 1899 00:00:00 +0000\r\n", None),
        (b"Date: yesterday\r\n", None),
        (b"Subject: none\r\n", None),
    ],
)  # fmt: skip
def test_the_date_of_receipt_is_found_in_the_header(head: bytes, found: object) -> None:
    assert date_of(Content(head + b"\r\n")) == found


def test_who_asks_for_a_receipt() -> None:
    assert asks_for_receipt(Content(b"Disposition-Notification-To: <a@example.org>\r\n\r\n"))
    assert not asks_for_receipt(Content(b"Subject: x\r\n\r\nDisposition-Notification-To: <a@example.org>\r\n"))


PEOPLE = {"/o=acme/ou=hq/cn=recipients/cn=ann": "ann@acme.example"}


def address_of(name: str) -> str | None:
    return PEOPLE.get(name.lower())


@pytest.mark.parametrize(
    ("field", "made"),
    [
        (b"From: Ann <IMCEAEX-_O=ACME_OU=HQ_CN=RECIPIENTS_CN=ANN@acme.local>", b"From: Ann <ann@acme.example>"),
        (b"From: Ann </O=ACME/OU=HQ/CN=RECIPIENTS/CN=ANN>", b"From: Ann <ann@acme.example>"),
        (b'From: Ann <"/O=ACME/OU=HQ/CN=RECIPIENTS/CN=ANN">', b"From: Ann <ann@acme.example>"),
        (b"From: Ann\r\n <IMCEAEX-_O=ACME_OU=HQ_CN=RECIPIENTS_CN=ANN@acme.local>",
         b"From: Ann\r\n <ann@acme.example>"),
        (b"Cc: b@x.example, Ann </O=ACME/OU=HQ/CN=RECIPIENTS/CN=ANN>, c@x.example",
         b"Cc: b@x.example, Ann <ann@acme.example>, c@x.example"),
        (b"From: Bob </O=ACME/OU=HQ/CN=RECIPIENTS/CN=BOB>", None),
        (b"Subject: </O=ACME/OU=HQ/CN=RECIPIENTS/CN=ANN>", None),
        (b"From: ann@acme.example", None),
    ],
)  # fmt: skip
def test_exchange_originators_are_made_replyable(field: bytes, made: bytes | None) -> None:
    octets = b"X-First: \xe9 kept\r\n%s\r\nX-Last: kept\r\n\r\nbody </O=ACME/OU=HQ/CN=RECIPIENTS/CN=ANN>\r\n"
    content, notes = replyable(Content(octets % field), address_of)
    assert content.octets() == octets % (made or field)
    assert bool(notes) is (made is not None)
