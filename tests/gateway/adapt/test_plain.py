"""Messages brought to one text and files: what is kept, what is told, and that nothing is too odd for it."""

from __future__ import annotations

import base64
import email.headerregistry
import email.message
import email.policy
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapt import Adapter, Fitted, Note, plain_step
from gateway.adapt.plain_step import fit_plain
from gateway.adapt.transliterate import transliterate
from gateway.contract import (
    Action,
    Capabilities,
    Content,
    Mailbox,
    Memo,
    Origin,
    RecipientReport,
    Report,
    Status,
    compose,
    memo,
)
from gateway.dsn import build
from gateway.octets import no_controls
from gateway.tnef import names
from gateway.tnef.properties import OBJECT, Property
from gateway.tnef.properties import text as words
from gateway.tnef.stream import TITLE, Held, Stream, write
from mappings.encapsulation import Encapsulation, Key
from mappings.identity import Identity, addresses
from mappings.table import Table, compile_table
from tests.gateway.tnef.test_calendar import meeting

from .builders import PARSE, TABLE, FileBlob, message

PLAIN = Capabilities(mime=False, html=False, bare_newlines=True)
CHARSETS = ("cp437", "cp850", "cp866", "cp037", "ascii", "latin-1")
HEAD = "From: Bob <bob@acme.example>\nTo: Ann <ann@far.example>\nSubject: x\nMIME-Version: 1.0\n"


def fitted(octets: bytes | Content, capabilities: Capabilities = PLAIN) -> tuple[Memo, tuple[Note, ...]]:
    stored = message(octets)
    made = Adapter(hostname="gw.example").adapt(stored, stored.deliveries, capabilities, TABLE)
    assert not made.refused
    return memo(made.content), made.fidelity.notes


def mail(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def multipart(kind: str, *parts: str) -> str:
    inside = "".join(f"--b-{kind}\n{part}\n" for part in parts)
    return f'Content-Type: multipart/{kind}; boundary="b-{kind}"\n\n{inside}--b-{kind}--\n'


def files(found: Memo) -> list[tuple[str, str, bytes]]:
    return [(a.name, a.type, b"".join(a.octets())) for a in found.attachments]


def told(notes: tuple[Note, ...]) -> list[tuple[str, str]]:
    return [(note.fate.value, note.what) for note in notes]


TEXT = "Content-Type: text/plain; charset=utf-8\n\nhällo\n"
HTML = "Content-Type: text/html; charset=utf-8\n\n<p>hällo <b>you</b>\n"
PNG = (
    "Content-Type: image/png\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=a.png\n\n"
    "iVBO\n"
)
SIGNATURE = "Content-Type: application/pgp-signature\n\n-----BEGIN\n"


@pytest.mark.parametrize(
    ("part", "text", "names", "notes"),
    [
        (TEXT, "hällo\n", [], []),
        ("\nhi\n", "hi\n", [], []),
        ("", "", [], []),
        (HTML, "hällo you\n", [], [("mapped", "HTML: brought to text")]),
        (multipart("alternative", TEXT, HTML), "hällo\n", [], [("dropped", "HTML")]),
        (
            multipart("alternative", "\n \n", HTML),
            "hällo you\n",
            [],
            [("mapped", "HTML: brought to text")],
        ),
        (multipart("mixed", TEXT, PNG), "hällo\n", ["a.png"], []),
        (multipart("mixed", PNG), "", ["a.png"], []),
        (PNG, "", ["a.png"], []),
        (
            multipart("mixed", TEXT, PNG, TEXT),
            "hällo\n\nhällo\n",
            ["a.png"],
            [("mapped", "2 parts of text: joined")],
        ),
        (
            multipart("alternative", TEXT, multipart("related", HTML, PNG)),
            "hällo\n",
            ["a.png"],
            [("dropped", "HTML")],
        ),
        (multipart("signed", TEXT, SIGNATURE), "hällo\n", [], [("dropped", "signature: of an unknown kind")]),
        (
            multipart("encrypted", "Content-Type: application/pgp-encrypted\n\nVersion: 1\n", PNG),
            "",
            ["attachment-1.asc", "a.png"],
            [("kept", "the message as a file")],
        ),
        (
            multipart("mixed", TEXT, "Content-Type: message/rfc822\n\nSubject: inner\n\nin\n"),
            "hällo\n",
            ["attachment-1.eml"],
            [("mapped", "the message attachment-1.eml: a file")],
        ),
        (multipart("mixed", TEXT, TEXT.replace("utf-8", 'utf-8; name="a.txt"')), "hällo\n", ["a.txt"], []),
        ("Content-Type: multipart/mixed\n\nno boundary\n", "no boundary\n", [], []),
        (
            "Content-Type: text/plain; charset=utf-8; format=flowed\n\none \ntwo\n> three \n> four\n",
            "one two\n> three four\n",
            [],
            [("mapped", "flowed text: joined to paragraphs")],
        ),
        ("Content-Type: text/plain; charset=nobody\n\nhällo\n", "hällo\n", [], []),
    ],
)
def test_shapes(part: str, text: str, names: list[str], notes: list[tuple[str, str]]) -> None:
    found, got = fitted(mail(HEAD + part))
    assert found.text.rstrip("\n") == text.rstrip("\n")
    assert [a.name for a in found.attachments] == names
    assert told(got) == notes
    assert found.content.get(b"mime-version") == b"1.0"
    assert [str(box.address) for box in found.mailboxes(b"to", ("smtp",))] == ["smtp:ann@far.example"]


def test_what_a_file_holds_is_not_touched() -> None:
    found, _ = fitted(mail(HEAD + multipart("mixed", TEXT, PNG)))
    assert files(found) == [("a.png", "image/png", b"\x89PN")]
    assert b"\r\niVBO\r\n" in found.content.octets()
    enclosed = "Content-Type: message/rfc822\n\nSubject: inner\nDKIM-Signature: x\n\nin\n"
    found, _ = fitted(mail(HEAD + multipart("mixed", TEXT, enclosed)))
    assert files(found)[0][2] == b"Subject: inner\r\nDKIM-Signature: x\r\n\r\nin\r\n"


def test_html_goes_along_as_a_file_where_it_is_taken() -> None:
    found, notes = fitted(mail(HEAD + multipart("alternative", TEXT, HTML)), replace(PLAIN, html=True))
    assert found.text == "hällo\n"
    assert [(a.name, a.type) for a in found.attachments] == [("attachment-1.html", "text/html")]
    assert not notes


def test_attachments_that_are_not_taken_are_named_in_the_text() -> None:
    found, notes = fitted(mail(HEAD + multipart("mixed", TEXT, PNG)), replace(PLAIN, attachments=False))
    assert found.text == "hällo\n\n[Left out: a.png, image/png, 4 octets]\n"
    assert not found.attachments
    assert told(notes) == [("dropped", "attachment a.png, image/png, 4 octets")]


def test_a_long_subject_is_cut_and_stands_whole_in_the_text() -> None:
    subject = "=?utf-8?q?Gr=C3=BC=C3=9Fe_and_a_few_words_more?="
    octets = mail(HEAD.replace("Subject: x", f"Subject: {subject}") + "\nhi\n")
    found, notes = fitted(octets, replace(PLAIN, max_subject_chars=20, charset="ascii"))
    assert found.subject == "Gruesse and a few..."
    assert found.text == "Subject: Gruesse and a few words more\n\nhi\n"
    assert told(notes) == [("mapped", "Subject: 2 characters"), ("mapped", "Subject: cut to 20 characters")]
    found, notes = fitted(octets, replace(PLAIN, max_subject_chars=28))
    assert (found.subject, found.text, notes) == ("Grüße and a few words more", "hi\n", ())


def test_names_fields_and_file_names_get_the_charset_too() -> None:
    octets = mail(
        "From: =?utf-8?q?J=C3=B6?= Lee <jo@far.example>\nTo: ann@far.example (J\u00f6)\nCc: plain <x@far.example>\n"
        "Organization: =?utf-8?q?K=C3=B6?=\nReferences: <ö@x>\n"
        + multipart("mixed", "\nhi\n", PNG.replace("a.png", "\"=?utf-8?q?=E2=82=AC?=.png\""))
    )  # fmt: skip
    found, notes = fitted(octets, replace(PLAIN, charset="ascii"))
    assert [(b.name, str(b.address)) for b in found.mailboxes(b"from", ("smtp",))] == [
        ("Joe Lee", "smtp:jo@far.example")
    ]
    assert [b.name for b in found.mailboxes(b"to", ("smtp",))] == ["Joe"]
    assert found.get(b"organization") == "Koe"
    assert [a.name for a in found.attachments] == ["EUR.png"]
    assert b"Cc: plain <x@far.example>\r\n" in found.content.octets()
    assert [what for _, what in told(notes)] == [
        "From: 1 character", "To: 1 character", "Organization: 1 character", "file name: 1 character",
    ]  # fmt: skip


def test_counts_of_characters() -> None:
    found, notes = fitted(mail(HEAD + TEXT.replace("hällo", "„ä“ 日本 e\u0301")), replace(PLAIN, charset="cp437"))
    assert found.text == '"ä" ?? é\n'
    assert told(notes) == [("mapped", "text: 2 characters"), ("dropped", "text: 2 characters")]


def test_lines_are_wrapped() -> None:
    found, notes = fitted(
        mail(HEAD + "\n> " + "word " * 19 + "word\n" + "x" * 50 + "\n"), replace(PLAIN, wrap_columns=40)
    )
    lines = found.text.split("\n")
    assert max(map(len, lines)) <= 40
    assert lines[:3] == [
        "> word word word word word word word",
        "> word word word word word word word",
        "> word word word word word word",
    ]
    assert told(notes) == [("mapped", "text: 2 lines broken")]


def test_with_mime_only_what_is_not_taken_is_altered() -> None:
    text_alone = Capabilities(html=False)
    no_files = Capabilities(attachments=False)
    both = multipart("alternative", TEXT, HTML)
    for octets, capabilities in (
        (mail(HEAD + TEXT), text_alone),
        (mail(HEAD + multipart("mixed", TEXT, PNG)), text_alone),
        (mail(HEAD + both), no_files),
    ):
        stored = message(octets)
        assert Adapter().adapt(stored, stored.deliveries, capabilities, TABLE).content is stored.content
    found, notes = fitted(mail(HEAD + both), text_alone)
    assert found.content.get(b"content-type") == b"text/plain; charset=utf-8"
    assert told(notes) == [("dropped", "HTML")]
    found, notes = fitted(mail(HEAD + multipart("mixed", both, PNG)), no_files)
    assert (found.content.get(b"content-type") or b"").startswith(b"multipart/alternative")
    assert [a.type for a in found.attachments] == ["text/html"]
    assert "[Left out: a.png" in found.text
    assert told(notes) == [("dropped", "attachment a.png, image/png, 4 octets")]


def test_a_large_message_stays_on_the_disk(tmp_path: Path) -> None:
    body = "QUJD" * 19 + "\r\n"
    octets = mail(
        HEAD
        + multipart("mixed", TEXT, "Content-Type: image/png; name=big.png\nContent-Transfer-Encoding: base64\n\nXXX")
    )
    octets = octets.replace(b"XXX", body.encode() * 200_000)
    path = tmp_path / "content"
    path.write_bytes(octets)
    blob = FileBlob(path)
    large, notes = fitted(Content(blob), replace(PLAIN, charset="ascii", attachments=True))
    small, same = fitted(octets, replace(PLAIN, charset="ascii", attachments=True))
    assert not isinstance(large.content.source, bytes)
    assert b"".join(large.content.chunks()) == small.content.octets()
    assert (large.text, large.subject, notes) == (small.text, small.subject, same)
    assert sum(map(len, large.attachments[0].octets())) == 200_000 * 57
    assert blob.largest <= 4 * 1024 * 1024


def test_a_text_without_bounds_is_a_file() -> None:
    found, _ = fitted(mail(HEAD + "\n") + b"x" * 70 * 1024 + b"\r\n" + b"line\r\n" * 3_000_000)
    assert found.text == ""
    assert [(a.name, a.type) for a in found.attachments] == [("attachment-1.txt", "text/plain")]


def test_the_size_that_counts_is_that_of_what_goes_out() -> None:
    octets = mail(HEAD + multipart("mixed", TEXT, PNG.replace("iVBO", "iVBO" * 1000)))
    small = replace(PLAIN, attachments=False, max_size_bytes=1000)
    fitted(octets, small)
    stored = message(octets)
    made = Adapter().adapt(stored, stored.deliveries, replace(small, attachments=True), TABLE)
    assert [f.status.code for _, f in made.refused] == ["5.3.4"]


LINES = st.sampled_from(
    [
        b"From: Ann <ann@acme.example>\r\n",
        b"Subject: a\r\n\tlong one\r\n",
        b"Subject: =?utf-8?q?gr=C3=BCn?=\r\n",
        b"Subject: gr\xc3\xbcn\n",
        b"X-Odd: a\rb\0\r\n",
        b"Received: by us\n",
        b"no field\r\n",
        b"MIME-Version: 1.0\r\n",
        b"Content-Type: text/plain\r\n",
        b"Content-Type: text/plain; charset=us-ascii\r\n",
        b"Content-Type: text/plain; charset=utf-8; format=flowed\r\n",
        b"Content-Type: text/plain; charset=utf-7\r\n",
        b"Content-Type: text/html\r\n",
        b"Content-Transfer-Encoding: 7bit\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"Content-Disposition: attachment; filename=a\r\n",
        b"Content-Language: en\r\n",
    ]
)
BODIES = st.sampled_from(
    [
        b"",
        b"hi\r\n",
        b"one\r\n\r\ntwo",
        b"one\ntwo\n",
        b"a\rb\r\n",
        b"a\0b",
        b"gr\xc3\xbcn \r\n",
        b"x" * 2000,
        b"=3D +AGE-\r\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=5), BODIES, st.sampled_from(["utf-8", "iso-8859-1", "cp437"]), st.booleans())
def test_what_is_seen_at_first_sight_is_what_all_steps_make(
    lines: list[bytes], body: bytes, charset: str, mime: bool
) -> None:
    octets = b"".join(lines) + b"\r\n" + body
    capabilities = Capabilities(mime=mime, html=False, attachments=False, charset=charset)
    quick, quick_notes = fit_plain(Content(octets), capabilities, "gw.example")
    with mock.patch.object(plain_step, "plain_body", return_value=None):
        thorough, notes = fit_plain(Content(octets), capabilities, "gw.example")
    assert quick.octets() == thorough.octets()
    assert (quick_notes, quick.attributes) == (notes, thorough.attributes)
    prefixed = quick.with_prefix(b"Received: by us\r\n")
    read = Content(prefixed.octets(), attributes=prefixed.attributes)
    assert (memo(prefixed).text, prefixed.traits) == (memo(read).text, read.traits)


def tnef(*attributes: tuple[int, int, bytes]) -> bytes:
    made = b"\x78\x9f\x3e\x22\x01\x00"
    for level, attribute, data in attributes:
        made += bytes((level,)) + attribute.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data + b"\0\0"
    return made


def test_what_outlook_packs_is_unpacked() -> None:
    stream = tnef(
        (1, 0x0002800C, b"packed text\r\n\0"), (2, 0x00069002, b"\0" * 14), (2, 0x00018010, b"a.doc\0"),
        (2, 0x0006800F, b"doc"),
    )  # fmt: skip
    packed = "Content-Type: application/ms-tnef; name=winmail.dat\nContent-Transfer-Encoding: base64\n\n"
    packed += base64.b64encode(stream).decode() + "\n"
    found, notes = fitted(mail(HEAD + multipart("mixed", TEXT, packed)))
    assert found.text == "hällo\n"
    assert files(found) == [("a.doc", "application/octet-stream", b"doc")]
    assert told(notes) == [("mapped", "winmail.dat: unpacked")]
    found, _ = fitted(mail(HEAD + packed))
    assert (found.text, files(found)) == ("packed text\n", [("a.doc", "application/octet-stream", b"doc")])
    found, notes = fitted(mail(HEAD + packed.replace("eJ8+", "AAAA")))
    assert [(a.name, a.type) for a in found.attachments] == [("winmail.dat", "application/ms-tnef")]
    assert not notes


def test_a_meeting_and_a_message_that_outlook_packs_are_files_that_anybody_opens() -> None:
    inner = Stream(properties={names.SUBJECT: words("inner"), names.BODY: words("in it")})
    enclosed = Property(OBJECT, (names.MESSAGE_OBJECT.bytes_le + write(inner),))
    held = Held(b"\0" * 14, ((TITLE, b"inner\0"),), {names.FILE_DATA: enclosed})
    stream = write(replace(meeting(), attachments=(held,)))
    packed = "Content-Type: application/ms-tnef; name=winmail.dat\nContent-Transfer-Encoding: base64\n\n"
    found, _ = fitted(mail(HEAD + packed + base64.b64encode(stream).decode() + "\n"))
    assert found.text == "One\nTwo"
    (ics, event), (eml, inside) = [(name, octets) for name, _, octets in files(found)]
    assert (ics, eml) == ("meeting.ics", "inner.eml")
    assert b"DTSTART:20260302T090000Z\r\n" in event
    assert b"Subject: inner\r\n" in inside
    assert inside.endswith(b"\r\n\r\nin it\r\n")


# -- addresses without an addr-spec of their own


def table(*people: Identity) -> Table:
    encapsulation = Encapsulation(["gw.example"], [Key("a", b"secret")])
    gates = {"mhs": PARSE("mhs:gate@sales")}
    return compile_table(
        people, [], domains=["gw.example"], homes={}, encapsulation=encapsulation, version=1, gates=gates
    )


@pytest.mark.parametrize(
    "address", ["ftn:J. R. Lee@2:280/464.1", "x500:/o=Acme/ou=HQ/cn=Recipients/cn=ann", "mhs:x@far {MSG:odd@place}"]
)
def test_an_address_of_any_network_can_be_answered(address: str) -> None:
    writer = PARSE(address)
    network = writer.network
    ours = table()
    adapter = Adapter({"old": (network,)}, hostname="gw.example")
    octets = b"".join(
        compose([("From", [Mailbox("Ann Lee", writer)]), ("Subject", "x")], "hi\n", hostname="gw.example")
    )

    def sent(content: bytes, source: str, to: str, capabilities: Capabilities) -> Fitted:
        stored = message(content, to=to, sender=None)
        stored = replace(stored, envelope=replace(stored.envelope, origin=Origin(source)))
        return adapter.adapt(stored, stored.deliveries, capabilities, ours)

    # To the internet: signed, and mail to it goes back to the writer.
    out = memo(sent(octets, "old", "smtp:bob@far.example", Capabilities()).content)
    (shown,) = out.mailboxes(b"from", ("smtp",))
    assert shown.name == "Ann Lee"
    assert shown.address.value.startswith("GPa")
    assert ours.resolve(shown.address).address == writer
    # The answer, with the address in its header, is shown as the network's own.
    answer = f"From: bob@far.example\r\nTo: <{shown.address.value}>\r\n\r\nre\r\n".encode()
    back = memo(sent(answer, "internet", address, Capabilities(mime=False, header_networks=(network,))).content)
    assert [box.address for box in back.mailboxes(b"to", (network,))] == [writer]
    # Within the network it stays what it is, with and without MIME.
    for mime in (False, True):
        same = memo(sent(octets, "old", address, Capabilities(mime=mime, header_networks=(network,))).content)
        assert [box.address for box in same.mailboxes(b"from", (network,))] == [writer]


@pytest.mark.parametrize("address", ["mhs:ann@sales", "ftn:J. R. Lee@2:280/464.1"])
@pytest.mark.parametrize("mime", [True, False])
def test_a_report_names_its_recipient_as_their_network_does(address: str, mime: bool) -> None:
    to = PARSE(address)
    bob = PARSE("smtp:bob@far.example")
    failed = RecipientReport(Action.FAILED, bob, bob, Status("5.1.1"))
    about = message(b"Subject: x\r\n\r\nhi\r\n", sender=address)
    content = build(Report(1, to, 0.0, (failed,)), about, hostname="gw.example", now=1.0)
    told = replace(message(content, to=address, sender=None), is_report=True)
    told = replace(told, envelope=replace(told.envelope, origin=Origin("!reports")))
    capabilities = Capabilities(mime=mime, header_networks=(to.network,))
    made = Adapter({"in": (to.network,)}, hostname="gw.example").adapt(told, told.deliveries, capabilities, table())
    assert [box.address for box in memo(made.content).mailboxes(b"to", (to.network, "smtp"))] == [to]
    out = Adapter(hostname="gw.example").adapt(told, told.deliveries, Capabilities(), table())
    (shown,) = memo(out.content).mailboxes(b"to", ("smtp",))
    assert table().resolve(shown.address).address == to


def test_a_stranger_gets_nothing_signed_by_the_unsigned_form() -> None:
    octets = b"From: IMCEAFTN-Ann+20Lee+402+3A280_464@gw.example\r\n\r\nhi\r\n"
    stored = message(octets)
    made = Adapter({"in": ("smtp",)}, hostname="gw.example").adapt(stored, stored.deliveries, Capabilities(), table())
    assert made.content is stored.content


def test_an_internet_address_is_shown_behind_the_gate() -> None:
    stored = message(b"From: Bob <bob@far.example>\r\n\r\nhi\r\n", to="mhs:ann@sales")
    capabilities = Capabilities(mime=False, header_networks=("mhs",))
    made = Adapter(hostname="gw.example").adapt(stored, stored.deliveries, capabilities, table())
    found = memo(made.content).mailboxes(b"from", ("mhs", "smtp"))
    assert [str(box.address) for box in found] == ["mhs:gate@sales {SMTP:bob@far.example}"]


def test_a_person_is_shown_by_the_address_on_that_network() -> None:
    bob = Identity("Bob", addresses(PARSE("smtp:bob@gw.example"), PARSE("ftn:Bob Lee@2:280/1")))
    stored = message(b"From: Bob <bob@gw.example>\r\n\r\nhi\r\n", to="ftn:Ann@2:280/2")
    capabilities = Capabilities(mime=False, header_networks=("ftn",))
    made = Adapter(hostname="gw.example").adapt(stored, stored.deliveries, capabilities, table(bob))
    assert [str(box.address) for box in memo(made.content).mailboxes(b"from", ("ftn", "smtp"))] == [
        "ftn:Bob Lee@2:280/1"
    ]
    # The trace tells it as the reader knows it, not as it stands in the header between adapter and codec.
    assert "From: bob@gw.example as ftn:Bob Lee@2:280/1" in [note.what for note in made.fidelity.notes]


# -- anything at all


def is_plain(found: Memo, charset: str) -> None:
    found.text.encode(charset)
    found.subject.encode(charset)
    for attachment in found.attachments:
        attachment.name.encode(charset)
    for field in (b"from", b"to", b"cc", b"reply-to"):
        for box in found.mailboxes(field, ("smtp",)):
            box.name.encode(charset)


LETTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(
    LETTERS.map(no_controls), LETTERS.map(no_controls), LETTERS.map(lambda t: t.replace("\r", "")), LETTERS,
    st.sampled_from(CHARSETS), st.sampled_from([None, 12, 30]), st.sampled_from([None, 30, 72]), st.booleans(),
)  # fmt: skip
def test_every_character_is_in_the_charset(
    subject: str, name: str, text: str, html: str, charset: str, most: int | None, columns: int | None, files: bool
) -> None:
    made = email.message.EmailMessage(policy=email.policy.SMTP.clone(utf8=True))
    made["Subject"] = subject
    made["From"] = email.headerregistry.Address(name, "bob", "far.example")
    made.set_content(text)
    made.add_attachment(html, subtype="html", filename="ä€.html")
    made.add_attachment(b"\x00\xff", maintype="image", subtype="png", filename="日.png")
    capabilities = replace(PLAIN, charset=charset, max_subject_chars=most, wrap_columns=columns, attachments=files)
    found, _ = fitted(made.as_bytes(), capabilities)
    is_plain(found, charset)
    assert len(found.attachments) == (2 if files else 0)
    if most is not None:
        assert len(found.subject) <= most
    if columns is not None:
        assert max(map(len, found.text.split("\n"))) <= columns


@given(LETTERS, st.sampled_from(CHARSETS))
def test_each_character_that_is_missing_is_counted_once(text: str, charset: str) -> None:
    def fits(c: str) -> bool:
        try:
            c.encode(charset)
        except UnicodeEncodeError:
            return False
        return True

    made = transliterate(text, charset)
    made.text.encode(charset)
    missing = [c for c in unicodedata.normalize("NFC", text) if not fits(c)]
    assert made.otherwise + made.lost == (0 if fits(text) else len(missing))
    assert made.text.count("?") >= made.lost


CORPUS = os.environ.get("GATEPOST_CORPUS")


def _messages(place: Path) -> Iterator[bytes]:
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.suffix in (".eml", ".msg", ".txt", ".mbox") and path.stat().st_size <= 250_000:
            yield path.read_bytes()


def test_every_message_of_the_corpus_becomes_text() -> None:
    if CORPUS is None:
        print("GATEPOST_CORPUS is not set: the corpus was not read")
        return
    seen = 0
    for i, octets in enumerate(_messages(Path(CORPUS))):
        charset = CHARSETS[i % len(CHARSETS)]
        found, _ = fitted(octets, replace(PLAIN, charset=charset, wrap_columns=72, max_subject_chars=60))
        is_plain(found, charset)
        assert len(found.subject) <= 60
        assert max(map(len, found.text.split("\n"))) <= 72
        for attachment in found.attachments:
            for _ in attachment.octets():
                pass
        seen += 1
    assert seen > 500
