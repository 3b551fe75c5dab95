"""What Exchange changes is named before, found afterwards, and the one is never less than the other."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange.losses import (
    BCC,
    BEYOND_ASCII,
    BROKEN,
    HEADER_REMADE,
    LINE_ENDS,
    NAMES,
    NO_FIELDS,
    NUL,
    OUTSIDE,
    OWN,
    PEOPLE,
    REMADE,
    REPEATED,
    TEXT,
    differences,
    predict,
)
from connectors.exchange.soundness import is_sound
from gateway.contract import Content, Note
from gateway.testing.samples import names, sample
from tests.peers.ews.honest import remade

HEAD = (
    b"From: Ann <ann@acme.example>\r\nTo: bob@acme.example\r\nSubject: hi\r\nDate: Tue, 24 Nov 2026 01:02:03 +0000\r\n"
)
MIXED = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
TWO = (
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhi\r\n--b\r\nContent-Type: image/png\r\n"
    b'Content-Disposition: attachment; filename="a.png"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n'
)


def mixed(parts: bytes) -> bytes:
    return HEAD + MIXED + parts


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        (HEAD + b"\r\nhi\r\n", []),
        (HEAD + b"\r\nhi\nho\r\n", [LINE_ENDS]),
        (HEAD + b"\r\nh\0i\r\n", [NUL]),
        (HEAD + b"X-A: \xc3\xa4\r\n\r\nhi\r\n", [BEYOND_ASCII]),
        (HEAD + b"X-A: =?utf-8?q?=C3=A4?=\r\n\r\nhi\r\n", [BEYOND_ASCII]),
        (HEAD + b"subject: ho\r\n\r\nhi\r\n", [REPEATED]),
        (HEAD + b"Received: a\r\nReceived: b\r\n\r\nhi\r\n", []),
        (HEAD + b"X-MS-Has-Attach: yes\r\n\r\nhi\r\n", [OWN]),
        (HEAD + b"Bcc: eve@acme.example\r\n\r\nhi\r\n", [BCC]),
        (HEAD + b"Cc: eve@acme.example (Eve)\r\n\r\nhi\r\n", [PEOPLE]),
        (HEAD + b'Cc: "E, V" <eve@acme.example>, o@x.example\r\n\r\nhi\r\n', []),
        (HEAD + b"Cc: all: eve@acme.example;\r\n\r\nhi\r\n", [PEOPLE]),
        (HEAD + b"no field\r\n\r\nhi\r\n", [NO_FIELDS, BROKEN]),
        (b"no header at all\r\n", [NO_FIELDS, BROKEN]),
        (mixed(TWO), []),
        (mixed(b"before\r\n" + TWO), [OUTSIDE]),
        (mixed(TWO + b"after\r\n"), [OUTSIDE]),
        (mixed(TWO.replace(b"a.png", b"=?utf-8?q?=C3=A4?=.png")), [NAMES]),
        (mixed(TWO.replace(b'filename="a.png"', b"filename*=utf-8''%C3%A4.png")), [NAMES]),
        (mixed(TWO.replace(b"--b--", b"")), [BROKEN]),
        (mixed(TWO.replace(b"AAAA", b"AAA")), [BROKEN]),
        (mixed(TWO.replace(b"AAAA", b"A!AA")), [BROKEN]),
        (mixed(TWO.replace(b"base64", b"uue")), [BROKEN]),
        (HEAD + b"Content-Type: text/plain; charset=frog\r\n\r\nhi\r\n", [BROKEN]),
        (HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xe4\r\n", [BROKEN]),
        (HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa4\r\n", []),
        (HEAD + b"Content-Type: text/plain\r\n\r\n\xc3\xa4\r\n", [BROKEN]),
        (HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4=\r\n\r\n", []),
        (HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=XY\r\n", [BROKEN]),
    ],
)
def test_what_is_told_before(octets: bytes, told: list[Note]) -> None:
    assert list(predict(Content(octets))) == [REMADE, *told]


@pytest.mark.parametrize("kind", [b"multipart/signed; boundary=b", b"application/pkcs7-mime; smime-type=signed-data"])
def test_what_is_signed_whole_keeps_its_body(kind: bytes) -> None:
    octets = HEAD + b"Content-Type: " + kind + b"\r\n\r\n" + b"before\r\n" + TWO
    assert predict(Content(octets)) == (HEADER_REMADE,)
    back = remade(octets)
    assert differences(Content(octets), Content(back)) == (HEADER_REMADE,)
    assert back.partition(b"\r\n\r\n")[2] == octets.partition(b"\r\n\r\n")[2]


def test_signatures_are_told() -> None:
    signed = b"DKIM-Signature: v=1; a=rsa-sha256; d=acme.example; h=From; b=x\r\nDKIM-Signature: b=x\r\n" + HEAD
    told = [note.what for note in predict(Content(signed + b"\r\nhi\r\n"))]
    assert told[1:] == ["signature broken: DKIM of acme.example", "signature broken: DKIM of an unknown domain"]


def test_what_is_the_same_has_no_difference() -> None:
    assert differences(Content(mixed(TWO)), Content(mixed(TWO))) == ()


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (b"hi\r\n--b\r\nC", b"ho\r\n--b\r\nC", [TEXT.what]),
        (b"AAAA", b"AAAB", ["file a.png (image/png)"]),
        (b"a.png", b"b.png", ["file a.png (image/png)"]),
        (b"Date: Tue", b"Date: Wed", ["field Date"]),
        (b"Subject: hi", b"Subject: ", ["field Subject"]),
        (b"Ann", b"Eve", [PEOPLE.what]),
    ],
)
def test_what_is_lost_is_found(before: bytes, after: bytes, found: list[str]) -> None:
    """These no server should do, so that nothing tells them before: they are found all the same."""
    octets = mixed(TWO)
    assert before in octets
    told = differences(Content(octets), Content(octets.replace(before, after, 1)))
    assert [note.what for note in told] == [REMADE.what, *found]


@pytest.mark.parametrize("name", names())
def test_what_is_found_was_told(name: str) -> None:
    octets = sample(name)
    told = {note.what for note in predict(Content(octets))}
    assert {note.what for note in differences(Content(octets), Content(remade(octets)))} <= told


PIECES = [
    *HEAD.splitlines(keepends=True), *MIXED.splitlines(keepends=True), *TWO.splitlines(keepends=True),
    b"\r\n", b"\n", b"\r", b"\0", b"\xc3\xa4", b"\xff", b"--b\r\n", b"--b--\r\n", b"Bcc: a@b.example\r\n",
    b"Content-Type: message/rfc822\r\n", b"Content-Type: multipart/alternative; boundary=c\r\n", b"--c\r\n",
    b"--c--\r\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join))
def test_any_octets_are_taken(octets: bytes) -> None:
    content = Content(octets)
    told = {note.what for note in predict(content)}
    assert is_sound(content) is (BROKEN.what not in told) or HEADER_REMADE.what in told
    assert told == {note.what for note in predict(content)}


@pytest.mark.parametrize(
    "piece",
    [
        b"name=",
        b"\r\n",
        b"--b\r\n",
        b"a@b.example, ",
        b"(",
        b'"',
        b"a <",
        b"; boundary=",
        b"x: y\r\n",
        b"=",
        b" \t",
        b";",
    ],
)
@pytest.mark.parametrize("place", ["header", "address", "body", "part"])
def test_it_takes_no_longer_than_the_octets_are_many(piece: bytes, place: str) -> None:
    many = piece * (400_000 // len(piece))
    octets = {
        "header": b"X: " + many + b"\r\n" + HEAD + b"\r\nhi\r\n",
        "address": HEAD + b"Cc: " + many + b"\r\n\r\nhi\r\n",
        "body": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + many + b"!",
        "part": mixed(b"--b\r\n\r\n" + many + b"\r\n--b--\r\n"),
    }[place]
    began = time.process_time()
    predict(Content(octets))
    assert time.process_time() - began < 2.0
