"""winmail.dat taken apart: everything in it is a part of its own, and the rest of the message keeps its octets."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapt import Adapter
from gateway.adapt.tnef_step import pack_tnef, unpack_tnef
from gateway.contract import Capabilities
from gateway.fidelity import Note
from gateway.message import Content
from gateway.tnef import names, unpack
from gateway.tnef.properties import OBJECT, Property, binary, number, text
from gateway.tnef.stream import DATA, TITLE, Held, Stream, write
from tests.gateway.adapt.builders import TABLE, message
from tests.gateway.tnef.test_calendar import meeting
from tests.gateway.tnef.test_reader import streams

HEAD = b"From: ann@a.example\r\nTo: bob@b.example\r\nSubject: s\r\nMIME-Version: 1.0\r\n"
SHOWN = b"\0" * 14
PLAIN = b"Content-Type: text/plain; charset=utf-8\r\nX-Kept: yes\r\n\r\nHello\r\n"
FILE = Held(SHOWN, ((TITLE, b"a.doc\0"), (DATA, b"doc octets")))


class Mapped:
    """A Blob over octets."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.size = len(octets)

    def read(self, offset: int, length: int) -> bytes:
        return self.octets[offset : offset + length]


def packed(stream: bytes, name: bytes = b"winmail.dat") -> bytes:
    octets = base64.encodebytes(stream).replace(b"\n", b"\r\n")
    return (
        b"Content-Type: application/ms-tnef; name=" + name + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + octets
    )


def mixed(*parts: bytes, kind: bytes = b"mixed", head: bytes = HEAD) -> bytes:
    octets = b"".join(b"--b\r\n" + part + (b"" if part.endswith(b"\r\n") else b"\r\n") for part in parts)
    return head + b"Content-Type: multipart/" + kind + b"; boundary=b\r\n\r\n" + octets + b"--b--\r\n"


def done(octets: bytes) -> tuple[EmailMessage, bytes, list[Note]]:
    """Return the result as another parser reads it; from a Blob it is the same octets."""
    content, notes = unpack_tnef(Content(octets), "gw.example")
    blob, again = unpack_tnef(Content(Mapped(octets)), "gw.example")
    assert b"".join(blob.chunks()) == content.octets()
    assert again == notes
    read = message_from_bytes(content.octets(), policy=policy.default)
    assert isinstance(read, EmailMessage)
    assert not any(part.defects for part in read.walk())
    return read, content.octets(), notes


def tree(message: EmailMessage) -> list[str]:
    return [part.get_content_type() for part in message.walk()]


def test_text_and_page_and_files() -> None:
    stream = Stream(properties={names.HTML: binary(b"<p>Hello</p>")}, attachments=(FILE,))
    read, octets, notes = done(mixed(PLAIN, packed(write(stream))))
    assert tree(read) == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/octet-stream",
    ]
    assert PLAIN.rstrip() in octets  # the text itself is the same octets
    assert octets.startswith(HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n")
    files = [(part.get_filename(), part.get_payload(decode=True)) for part in read.iter_attachments()]
    assert ("a.doc", b"doc octets") in files
    assert [note.what for note in notes] == ["winmail.dat: unpacked"]


def test_a_page_that_stands_outside_is_not_doubled() -> None:
    page = b"Content-Type: text/html\r\n\r\n<p>Hello</p>\r\n"
    stream = write(Stream(properties={names.HTML: binary(b"<p>Hello</p>")}, attachments=(FILE,)))
    read, octets, _ = done(mixed(PLAIN, page, packed(stream)))
    assert tree(read) == ["multipart/mixed", "text/plain", "text/html", "application/octet-stream"]
    assert octets.startswith(mixed(PLAIN, page)[:-10])


def test_a_stream_of_nothing_leaves_the_message_as_it_is_without_it() -> None:
    nothing = packed(write(Stream()))
    assert done(mixed(PLAIN, nothing))[1] == mixed(PLAIN)
    assert done(mixed(nothing, PLAIN))[1] == mixed(PLAIN)


def test_the_stream_as_the_whole_message() -> None:
    stream = Stream(properties={names.BODY: text("only here"), names.SUBJECT: text("x")}, attachments=(FILE,))
    read, _, _ = done(HEAD + b"X-Other: 1\r\n" + packed(write(stream)))
    assert tree(read) == ["multipart/mixed", "text/plain", "application/octet-stream"]
    assert read["X-Other"] == "1"
    assert read["Subject"] == "s"
    assert [field for field in read if field.startswith("Content-")] == ["Content-Type"]
    body = read.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == "only here"


def test_a_meeting_is_a_meeting() -> None:
    read, octets, _ = done(mixed(PLAIN, packed(write(meeting()))))
    assert tree(read) == ["multipart/mixed", "multipart/alternative", "text/plain", "text/calendar"]
    part = next(part for part in read.walk() if part.get_content_type() == "text/calendar")
    assert part["Content-Type"].params["method"] == "REQUEST"
    assert "DTSTART:20260302T090000Z\n" in part.get_content().replace("\r\n", "\n")
    without = Stream(properties=meeting().properties)
    unfolded = done(mixed(PLAIN, packed(write(without))))[1].replace(b"\r\n ", b"")
    assert b"mailto:bob@b.example" in unfolded  # from the header
    assert b"BEGIN:VCALENDAR" in octets


def test_a_message_in_it_is_a_message() -> None:
    inner = Stream(
        properties={names.SUBJECT: text("inner ä"), names.BODY: text("in it"), 0x0C1A: text("Ann"),
                    0x0C1E: text("EX"), 0x0C1F: text("/o=Acme/ou=x/cn=Recipients/cn=ann")},
        attachments=(FILE,),
    )  # fmt: skip
    value = Property(OBJECT, (names.MESSAGE_OBJECT.bytes_le + write(inner),))
    outer = Stream(attachments=(Held(SHOWN, ((TITLE, b"inner\0"),), {names.FILE_DATA: value}),))
    read, octets, _ = done(mixed(PLAIN, packed(write(outer))))
    assert tree(read) == [
        "multipart/mixed",
        "text/plain",
        "message/rfc822",
        "multipart/mixed",
        "text/plain",
        "application/octet-stream",
    ]
    (message,) = (part for part in read.walk() if part.get_content_type() == "message/rfc822")
    payload = message.get_payload(0)
    assert isinstance(payload, EmailMessage)
    assert payload["Subject"] == "inner ä"
    assert b"From: Ann <IMCEAEX-_o=3DAcme_ou=3Dx_cn=3DRecipients_cn=3Dann@gw.example>" in octets or b"Ann <" in octets


def test_pictures_that_the_page_shows_stay_with_it() -> None:
    picture = Held(
        SHOWN,
        ((TITLE, b"p.png\0"), (DATA, b"png")),
        {names.CONTENT_ID: text("p@x"), names.MIME_TAG: text("image/png")},
    )
    stream = Stream(properties={names.HTML: text('<img src="cid:p@x">')}, attachments=(picture, FILE))
    read, _, _ = done(mixed(PLAIN, packed(write(stream))))
    assert tree(read)[1:] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/octet-stream",
    ]
    assert next(part for part in read.walk() if part["Content-ID"])["Content-ID"] == "<p@x>"


def test_what_was_signed_in_the_clear_is_so_again() -> None:
    """MS-OXOSMIME §2.1.2: the one file is the signed entity, and its octets count."""
    body = b"--s\r\nContent-Type: text/plain\r\n\r\nsigned \xe4\r\n"
    body += b"--s\r\nContent-Type: application/pkcs7-signature\r\n\r\nMII=\r\n"
    whole = b'Content-Type: multipart/signed; boundary="s";\r\n protocol="application/pkcs7-signature"\r\n\r\n' + body
    whole += b"--s--\r\n"
    held = Held(SHOWN, ((TITLE, b"smime.p7m\0"), (DATA, whole)))
    stream = Stream(properties={names.MESSAGE_CLASS: text("IPM.Note.SMIME.MultipartSigned")}, attachments=(held,))
    read, octets, _ = done(HEAD + packed(write(stream)))
    assert tree(read) == ["multipart/signed", "text/plain", "application/pkcs7-signature"]
    assert octets.endswith(whole.partition(b"\r\n\r\n")[2])
    read, _, _ = done(mixed(PLAIN, packed(write(stream))))
    assert tree(read)[:3] == ["multipart/mixed", "text/plain", "multipart/signed"]
    other = replace(stream, attachments=(replace(held, attributes=((TITLE, b"smime.p7m\0"), (DATA, b"opaque"))),))
    read, _, _ = done(HEAD + packed(write(other)))
    assert [part.get_payload(decode=True) for part in read.iter_attachments()] == [b"opaque"]


def test_in_a_message_that_is_enclosed() -> None:
    stream = write(Stream(properties={names.BODY: text("inner text")}, attachments=(FILE,)))
    enclosed = b"Content-Type: message/rfc822\r\n\r\n" + HEAD + packed(stream)
    read, octets, _ = done(mixed(PLAIN, enclosed))
    assert tree(read)[2:] == ["message/rfc822", "multipart/mixed", "text/plain", "application/octet-stream"]
    assert octets.count(HEAD) == 2


def test_what_is_signed_or_is_no_stream_stays() -> None:
    inside = mixed(PLAIN, packed(write(Stream(attachments=(FILE,)))), head=b"").replace(b"--b", b"--a")
    signed = mixed(inside.replace(b"=b\r\n", b"=a\r\n"), kind=b"signed")
    _, octets, notes = done(signed)
    assert octets == signed
    assert [(note.fate.value, note.why) for note in notes] == [("kept", "it is signed")]
    broken = mixed(PLAIN, packed(b"no stream"))
    _, octets, notes = done(broken)
    assert octets == broken
    assert [note.what for note in notes] == ["winmail.dat"]


def test_nothing_is_done_without_a_stream() -> None:
    content = Content(mixed(PLAIN))
    assert unpack_tnef(content) == (content, [])
    talked_about = Content(mixed(PLAIN, b"\r\nwhat is winmail.dat?\r\n"))
    assert unpack_tnef(talked_about) == (talked_about, [])


@pytest.mark.parametrize("path", streams(), ids=lambda path: path.stem)
def test_real_streams_come_out_whole(path: Path) -> None:
    """Each file by its digest, each meeting as a calendar part, and the text in one form at least."""
    stream = path.read_bytes()
    found = unpack(stream)
    assert found is not None
    read, _, _ = done(mixed(PLAIN, packed(stream)))
    digests = {
        hashlib.sha256(part.get_payload(decode=True)).hexdigest()  # type: ignore[arg-type]  # a leaf's is octets
        for part in read.walk()
        if not part.is_multipart() and part["Content-Disposition"]
    }
    assert {hashlib.sha256(file.octets).hexdigest() for file in found.files} <= digests
    has_calendar = any(part.get_content_type() == "text/calendar" for part in read.walk())
    assert has_calendar == (found.message_class == "IPM.Appointment")
    alone, _, _ = done(HEAD + packed(stream))
    if found.text.strip() or found.html.strip():
        assert alone.get_body(("plain", "html")) is not None


@given(st.binary(max_size=80), st.binary(max_size=30))
def test_any_stream_leaves_a_sound_message(octets: bytes, boundary: bytes) -> None:
    stream = Stream(
        properties={names.HTML: binary(octets), names.BODY: text(octets.decode("latin-1")), names.CODE_PAGE: number(1)},
        attachments=(Held(SHOWN, ((TITLE, boundary), (DATA, b"--b\r\n" + octets))),),
    )
    content, _ = unpack_tnef(Content(mixed(PLAIN, packed(write(stream)))), "gw.example")
    read = message_from_bytes(content.octets(), policy=policy.default)
    assert read.get_content_type() == "multipart/mixed"
    assert not any(part.defects for part in read.walk())


WHOLE = mixed(
    PLAIN,
    b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nnot quite a pdf\r\n",
    head=HEAD + b"Message-ID: <1@a.example>\r\nX-Other: 1\r\n",
)


def test_a_message_is_packed_and_comes_apart_again() -> None:
    content, notes = pack_tnef(Content(WHOLE))
    assert [(note.fate.value, note.what) for note in notes] == [("mapped", "the message: packed as TNEF")]
    packed_head = content.octets().partition(b"MIME-Version")[0]
    assert packed_head == (
        HEAD.replace(b"MIME-Version: 1.0\r\n", b"") + b"Message-ID: <1@a.example>\r\nX-Other: 1\r\n"
        b"X-MS-TNEF-Correlator: <1@a.example>\r\n"
    )
    read = message_from_bytes(content.octets(), policy=policy.default)
    assert tree(read) == ["multipart/mixed", "text/plain", "application/ms-tnef"]
    apart, _, _ = done(content.octets())
    assert tree(apart) == ["multipart/mixed", "text/plain", "application/pdf"]
    (file,) = apart.iter_attachments()
    assert (file.get_filename(), file.get_payload(decode=True)) == ("a.pdf", b"not quite a pdf")
    body = apart.get_body()
    assert body is not None
    assert body.get_content().strip() == "Hello"


@pytest.mark.parametrize(
    "octets",
    [
        mixed(PLAIN, packed(write(Stream()))),
        mixed(PLAIN, b"Content-Type: application/pgp-signature\r\n\r\nx\r\n", kind=b"signed"),
        HEAD + b"Content-Type: application/pkcs7-mime\r\n\r\nx\r\n",
        mixed(PLAIN, b"Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\n"),
        mixed(PLAIN, b"Content-Type: message/delivery-status\r\n\r\nx\r\n", kind=b"report"),
    ],
    ids=["packed", "signed", "encrypted", "meeting", "report"],
)
def test_what_would_be_less_is_not_packed(octets: bytes) -> None:
    content = Content(octets)
    assert pack_tnef(content) == (content, [])


@pytest.mark.parametrize(
    ("capabilities", "kinds"),
    [
        (Capabilities(), ["multipart/mixed", "text/plain", "application/ms-tnef"]),
        (Capabilities(tnef=False), ["multipart/mixed", "text/plain", "application/octet-stream"]),
        (Capabilities(wants_tnef=True), ["multipart/mixed", "text/plain", "application/ms-tnef"]),
    ],
)
def test_a_destination_gets_what_it_asks_for(capabilities: Capabilities, kinds: list[str]) -> None:
    signature = b"DKIM-Signature: v=1; d=a.example; h=from; bh=x; b=y\r\n"
    octets = signature + mixed(PLAIN, packed(write(Stream(attachments=(FILE,)))))
    stored = message(octets)
    fitted = Adapter(hostname="gw.example").adapt(stored, stored.deliveries, capabilities, TABLE)
    assert tree(message_from_bytes(fitted.content.octets(), policy=policy.default)) == kinds
    told = [note.what for note in fitted.fidelity.notes]
    if capabilities.tnef:
        assert (fitted.content.octets(), told) == (octets, [])
    else:
        assert told == ["winmail.dat: unpacked", "signature broken: DKIM of a.example"]


def test_all_mail_is_packed_where_it_is_asked_for() -> None:
    stored = message(WHOLE)
    fitted = Adapter(hostname="gw.example").adapt(stored, stored.deliveries, Capabilities(wants_tnef=True), TABLE)
    assert [note.what for note in fitted.fidelity.notes] == ["the message: packed as TNEF"]
    read = message_from_bytes(fitted.content.octets(), policy=policy.default)
    assert tree(read) == ["multipart/mixed", "text/plain", "application/ms-tnef"]
