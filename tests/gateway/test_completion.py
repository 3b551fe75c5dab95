"""What is added to a message that a person or program hands in, and what is read of its address fields."""

from __future__ import annotations

import time

import pytest

from gateway.completion import Author, addr_specs, authors, complete, recipients
from gateway.message import Content

NOW = 1_700_000_000.0
ANN = Author("ann@acme.example", "Änn, Lee")

WHOLE = b"From: a@b.example\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1@b>\r\nTo: x\r\n\r\nhi\r\n"


def test_a_whole_message_stays_the_very_same() -> None:
    content = Content(WHOLE)
    assert complete(content, hostname="gw.example", now=NOW, author=ANN) is content


def test_what_is_missing_is_put_in_front_and_the_rest_stays_octet_for_octet() -> None:
    came = b"to:  x\r\nSubject: \xff\r\n folded\r\n\r\nbody\xff\r\n"
    made = complete(Content(came), hostname="gw.example", now=NOW, author=ANN).octets()
    added, kept = made[: -len(came)], made[-len(came) :]
    assert kept == came
    lines = added.split(b"\r\n")
    assert lines[0] == b"From: =?utf-8?b?w4RubiwgTGVl?= <ann@acme.example>"
    assert lines[1].startswith(b"Date: ")
    assert lines[2].startswith(b"Message-ID: <18bcfe56800.")
    assert lines[2].endswith(b"@gw.example>")
    assert lines[3:] == [b""]


def test_message_ids_are_never_the_same() -> None:
    made = {complete(Content(b"To: x\r\n\r\n"), hostname="gw", now=NOW).get(b"message-id") for _ in range(100)}
    assert len(made) == 100


def test_blind_recipients_are_taken_out_whole() -> None:
    came = b"Bcc: a,\r\n b\r\n" + WHOLE.replace(b"To: x\r\n", b"To: x\r\nbcc : c\r\nResent-Bcc: d\r\n")
    assert complete(Content(came), hostname="gw.example", now=NOW).octets() == WHOLE


def test_a_text_without_a_header_becomes_a_body() -> None:
    made = complete(Content(b"hello\r\nyou\r\n"), hostname="gw.example", now=NOW, author=Author("a@b.example"))
    assert made.octets().endswith(b"@gw.example>\r\n\r\nhello\r\nyou\r\n")
    assert made.get(b"from") == b"a@b.example"


def test_no_author_adds_no_from() -> None:
    assert complete(Content(b"To: x\r\n\r\n"), hostname="gw.example", now=NOW).get(b"from") is None


def test_a_name_cannot_leave_its_field() -> None:
    author = Author("a@b.example", 'A"\r\nBcc: evil@b.example\r\n\r\n<x>')
    made = complete(Content(b"To: x\r\n\r\nhi\r\n"), hostname="gw.example", now=NOW, author=author)
    assert {f.name for f in made.fields} == {b"from", b"date", b"message-id", b"to"}
    assert authors(made) == ["a@b.example"]


ADDRESSES: list[tuple[bytes, list[str]]] = [
    (b"ann", ["ann"]),
    (b"ann, bob@x.example", ["ann", "bob@x.example"]),
    (b"Ann Lee <ann>, <bob>", ["ann", "bob"]),
    (b'"Lee, Ann" <ann@x.example>, "odd\\"" <b@x.example>', ["ann@x.example", "b@x.example"]),
    (b"ann (Ann (of Acme) Lee), bob", ["ann", "bob"]),
    (b'ann (5" disk), bob (3" disk)', ["ann", "bob"]),
    (b"ann (a \\) b), bob", ["ann", "bob"]),
    (b"friends: a@x.example, <b@x.example>;, c@x.example", ["a@x.example", "b@x.example", "c@x.example"]),
    (b"undisclosed-recipients:;", []),
    (b"<@a.example,@b.example:c@d.example>, e", ["c@d.example", "e"]),
    (b"root@[192.0.2.1]", ["root@[192.0.2.1]"]),
    (b'"a b"@x.example', ['"a b"@x.example']),
    (b"a . b @ c . example", ["a.b@c.example"]),
    (b"<a (x) b>, c", ["ab", "c"]),
    (b"ann lee", ["ann lee"]),  # no address; whoever reads it says so
    ("Jörg <jörg@ü.example>".encode(), ["jörg@ü.example"]),
    (b"<a", ["a"]),
    (b"(((((", []),
    (b",,;;", []),
    (b"", []),
]


@pytest.mark.parametrize(("value", "expected"), ADDRESSES)
def test_addresses(value: bytes, expected: list[str]) -> None:
    assert addr_specs(value) == expected


@pytest.mark.parametrize("piece", [b'"', b"(", b'("', b"<,", b'\\"', b"[", b"<", b":", b"a@", b"(a", b'"x('])
def test_reading_is_linear(piece: bytes) -> None:
    began = time.process_time()
    addr_specs(piece * 50_000)
    assert time.process_time() - began < 5


def test_recipients_are_those_of_all_fields_each_once() -> None:
    content = Content(b"To: a, b@x.example\r\nCC: c\r\nBcc: d,\r\n a\r\nTo: e\r\nFrom: f\r\n\r\n")
    assert recipients(content) == ["a", "b@x.example", "c", "d", "e"]


def test_what_is_resent_goes_to_whom_it_is_resent() -> None:
    assert recipients(Content(b"Resent-To: z\r\nResent-Bcc: y\r\nTo: a\r\n\r\n")) == ["z", "y"]


def test_all_from_fields_are_read() -> None:
    assert authors(Content(b"From: a@x.example, b@x.example\r\nfrom: c@x.example\r\n\r\n")) == [
        "a@x.example", "b@x.example", "c@x.example",
    ]  # fmt: skip
