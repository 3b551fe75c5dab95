"""Each rule by which the peer makes MIME anew, with the octets that come out; and that nothing else is lost."""

from __future__ import annotations

import email
import os
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from tests.peers.ews.asking import letter
from tests.peers.ews.honest import remade
from tests.peers.ews.process import EwsPeer

CORPUS = os.environ.get("GATEPOST_CORPUS")


def _head(octets: bytes) -> list[str]:
    return octets.split(b"\r\n\r\n")[0].decode("ascii").split("\r\n")


def test_the_header_has_an_order_of_its_own() -> None:
    made = remade(
        b"X-First: 1\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nSubject: S\r\nTo: b@x.example\r\nFrom: a@x.example\r\n"
        b"Received: from a\r\nCc: c@x.example\r\nX-Second: 2\r\n\r\nx\r\n"
    )
    names = [each.partition(":")[0] for each in _head(made)]
    assert names == [
        "Received", "From", "To", "CC", "Subject", "Date", "Thread-Topic", "X-First", "X-Second", "Content-Type",
        "Content-Transfer-Encoding", "MIME-Version",
    ]  # fmt: skip


def test_fields_are_folded_anew() -> None:
    made = remade(b"Subject: " + b"word " * 30 + b"end\r\nX-Long: a\r\n  b\r\n\tc\r\n\r\n")
    assert all(len(each) <= 76 for each in _head(made))
    assert "X-Long: a b c" in _head(made)


@pytest.mark.parametrize(
    ("subject", "comes"),
    [
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "=?iso-8859-1?q?Gr=FC=DFe?="),
        ("Grüße".encode(), "=?iso-8859-1?q?Gr=FC=DFe?="),
        ("日本".encode(), "=?utf-8?b?5pel5pys?="),
        (b"=?us-ascii?q?plain?=", "plain"),
    ],
)
def test_words_are_encoded_anew(subject: bytes, comes: str) -> None:
    assert f"Subject: {comes}" in _head(remade(b"Subject: " + subject + b"\r\n\r\n"))


def test_addresses_are_written_from_their_parts() -> None:
    made = remade(b'From: a@x.example (Ann)\r\nTo: "Bob, B." <b@x.example>, Group: c@x.example;\r\n\r\n')
    assert _head(made)[:2] == ["From: Ann <a@x.example>", 'To: "Bob, B." <b@x.example>, c@x.example']


def test_unknown_fields_stay() -> None:
    made = remade(b"List-Id: <x.example>\r\nX-Mine: one\r\nX-Mine: two\r\nDKIM-Signature: v=1; d=x.example\r\n\r\n")
    assert [each for each in _head(made) if each.startswith(("List-Id", "X-Mine", "DKIM"))] == [
        "List-Id: <x.example>",
        "X-Mine: one",
        "X-Mine: two",
        "DKIM-Signature: v=1; d=x.example",
    ]


def test_bcc_is_seen_in_drafts_and_in_what_was_sent_alone(ews_peer: EwsPeer) -> None:
    here = ews_peer.organisation("ann")
    octets = b"Bcc: hidden@x.example\r\n" + letter()
    for folder in ("inbox", "sentitems", "drafts"):
        here.put("ann", octets, folder=folder)
    shown = {
        each: b"BCC: hidden@x.example" in here.items("ann", each)[0].shown for each in ("inbox", "sentitems", "drafts")
    }
    assert shown == {"inbox": False, "sentitems": True, "drafts": True}


def test_fields_of_the_organisation_are_added(ews_peer: EwsPeer) -> None:
    here = ews_peer.organisation("ann")
    here.put("ann", letter())
    head = _head(here.items("ann")[0].shown)
    assert "X-MS-Exchange-Organization-AuthAs: Internal" in head
    assert f"X-MS-Exchange-Organization-AuthSource: mbx1.{here.domain}" in head
    assert "X-MS-Has-Attach: " in head


def test_boundaries_are_new_and_what_is_around_the_parts_goes() -> None:
    octets = (
        b'Content-Type: multipart/mixed; boundary="old"\r\n\r\npreamble\r\n--old\r\n\r\ntext\r\n--old\r\n'
        b'Content-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n'
        b"--old--\r\nepilogue\r\n"
    )
    made = remade(octets)
    assert b"old" not in made
    assert b"preamble" not in made
    assert b"epilogue" not in made
    parts = [each for each in email.message_from_bytes(made).walk() if not each.is_multipart()]
    assert [each.get_payload(decode=True) for each in parts] == [b"text", b"\0\1\2"]
    assert parts[1].get_filename() == "a.pdf"
    assert remade(octets) == made, "the same each time"


@pytest.mark.parametrize(
    ("head", "body", "encoding", "comes"),
    [
        (
            b"Content-Type: text/plain; charset=utf-8",
            "Grüße und mehr".encode(),
            "quoted-printable",
            "Grüße und mehr".encode(),
        ),
        (b"Content-Type: text/plain; charset=utf-8", "日本".encode(), "base64", "日本".encode()),
        (b"Content-Type: text/plain", b"a\nb\rc", "quoted-printable", b"a\r\nb\r\nc"),
        (b"Content-Type: image/png", b"\x89PNG", "base64", b"\x89PNG"),
    ],
)
def test_bodies_are_encoded_anew(head: bytes, body: bytes, encoding: str, comes: bytes) -> None:
    made = email.message_from_bytes(remade(head + b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body))
    assert made["Content-Transfer-Encoding"] == encoding
    payload = made.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.replace(b"\r\n", b"\n") == comes.replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    "kind",
    [b'multipart/signed; boundary="sig"; micalg=sha-256', b"application/pkcs7-mime; smime-type=enveloped-data"],
)
def test_what_is_signed_or_encrypted_as_a_whole_stays(kind: bytes) -> None:
    body = b"--sig\r\nContent-Type: text/plain\r\n\r\n  odd   text \t\r\n--sig--\r\nafter\r\n"
    made = remade(b"Subject: s\r\nContent-Type: " + kind + b"\r\n\r\n" + body)
    assert made.endswith(b"\r\n\r\n" + body)
    assert b"Content-Type: " + kind in made


def test_a_signed_part_stays_too() -> None:
    signed = (
        b'Content-Type: multipart/signed; boundary="in"\r\n\r\n--in\r\n\r\n  odd  \r\n--in\r\n\r\nsig\r\n--in--\r\n'
    )
    made = remade(b'Content-Type: multipart/mixed; boundary="out"\r\n\r\n--out\r\n' + signed + b"--out--\r\n")
    assert b"--in\r\n\r\n  odd  \r\n--in\r\n\r\nsig\r\n--in--" in made


def test_lines_end_with_crlf_and_nul_goes() -> None:
    made = remade(b"Subject: a\nX-B: c\0d\n\none\ntwo\0\n")
    assert b"\0" not in made
    assert made.replace(b"\r\n", b"").count(b"\n") == 0
    assert made.endswith(b"\r\n\r\none\r\ntwo\r\n")


def test_an_embedded_message_is_made_anew_too() -> None:
    inner = b"X-Z: 1\r\nSubject: inner\r\nFrom: a@x.example\r\n\r\nGr\xfc\xdfe\r\n"
    made = remade(b"Content-Type: message/rfc822\r\n\r\n" + inner)
    head = [each.partition(b":")[0] for each in made.split(b"\r\n\r\n")[1].split(b"\r\n")]
    assert head[:2] == [b"From", b"Subject"]


def test_faithful_mode_gives_what_came(ews_peer: EwsPeer) -> None:
    here = ews_peer.organisation("ann", honest=False)
    here.put("ann", letter())
    assert here.items("ann")[0].shown == letter()


def _leaves(message: Message) -> Iterator[bytes]:
    for part in message.walk():
        if part.is_multipart():
            continue
        payload = part.get_payload(decode=True)
        octets = payload if isinstance(payload, bytes) else b""
        if part.get_content_maintype() in ("text", "message"):
            octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip()
        if octets:
            yield octets


@pytest.mark.skipif(CORPUS is None, reason="GATEPOST_CORPUS is not set")
def test_nothing_of_the_bodies_of_the_corpus_is_lost() -> None:
    seen = 0
    for path in sorted(Path(CORPUS or "").rglob("*.eml")):
        octets = path.read_bytes().replace(b"\0", b"")
        if len(octets) > 200_000:
            continue
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        made = remade(octets)
        assert made.split(b"\r\n\r\n")[0].isascii(), path
        assert list(_leaves(email.message_from_bytes(made))) == list(_leaves(email.message_from_bytes(octets))), path
        seen += 1
    assert seen > 50


@pytest.mark.parametrize(
    ("item_class", "folder", "octets"),
    [
        ("IPM.Appointment", "calendar", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"),
        ("IPM.Contact", "contacts", b"BEGIN:VCARD\r\nEND:VCARD\r\n"),
    ],
)
def test_objects_are_given_as_they_were_put_in(ews_peer: EwsPeer, item_class: str, folder: str, octets: bytes) -> None:
    company = ews_peer.organisation("ann")
    company.put("ann", octets, folder=folder, item_class=item_class)
    assert [each.shown for each in company.items("ann", folder)] == [octets]


@pytest.mark.parametrize("word", [b"=?utf-8?B?0Y\x96QuSD?=", b"=?nothing?q?=ZZ?=", b"=?utf-8?q?=01?="])
def test_a_broken_word_is_no_reason_to_fail(word: bytes) -> None:
    head = _head(remade(b"Subject: " + word + b"\r\nFrom: " + word + b" <a@x.example>\r\n\r\nx"))
    assert any(each.startswith("From: ") and each.endswith("<a@x.example>") for each in head)
    assert any(each.startswith("Subject: ") for each in head)
