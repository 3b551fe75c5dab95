"""Memo and compose: what one writes the other reads, whatever is in it; and mail as it is found."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract import Attachment, Content, Mailbox, Memo, compose, memo
from gateway.octets import encode_base64, encode_quoted_printable, no_controls
from gateway.transfer import from_base64, from_quoted_printable
from mappings.network import parse

HOST = "gw.merged.example"
NAMES = st.text(max_size=60).map(no_controls)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\u2028\u2029"), max_size=400)
ADDRESSES = st.sampled_from(
    [
        "smtp:ann@acme.example",
        'smtp:"a b"@acme.example',
        "smtp:jö@bücher.example",
        "ftn:Ann Lee@2:280/464.1",
        "ftn:J. R. Lee@2:280/464",
        "x500:/o=Acme/ou=HQ/cn=Recipients/cn=ann",
        "mhs:ann@sales",
        "mhs:gate@sales {SMTP:bob@far.example}",
        "notes:CN=Ann Lee/O=Acme",
        "uucp:alpha!Beta!ann",
        f"x500:/o={'Acme' * 200}/cn=ann",
    ]
).map(parse)
BOXES = st.lists(st.builds(Mailbox, NAMES, ADDRESSES), max_size=5)
FILES = st.lists(st.tuples(NAMES.filter(lambda name: 0 < len(name) <= 255), st.binary(max_size=300)), max_size=3)


def octets_of(made: Sequence[bytes]) -> bytes:
    return b"".join(made)


def made(subject: str, text: str, files: Sequence[tuple[str, bytes]] = (), **fields: list[Mailbox]) -> Content:
    places = [(name, "application/octet-stream", encode_base64(octets)) for name, octets in files]
    head: list[tuple[str, str | Sequence[Mailbox]]] = [
        (name.replace("_", "-"), boxes) for name, boxes in fields.items()
    ]
    return Content(octets_of(compose([*head, ("Subject", subject)], text, places, hostname=HOST)))


def whole(attachment: Attachment) -> bytes:
    return b"".join(attachment.octets())


@given(NAMES, TEXTS, FILES, BOXES)
def test_what_is_composed_comes_back(
    subject: str, text: str, files: list[tuple[str, bytes]], boxes: list[Mailbox]
) -> None:
    content = made(subject, text, files, To=boxes)
    octets = content.octets()
    found = memo(content)
    assert found.subject == subject
    assert found.text == text
    assert [(a.name, whole(a)) for a in found.attachments] == files
    networks = ("ftn", "x500", "mhs", "notes", "uucp", "smtp")
    assert list(found.mailboxes(b"to", networks)) == boxes
    assert octets.count(b"\r\n") == octets.count(b"\n") == octets.count(b"\r")
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert b"\0" not in octets
    theirs = email.message_from_bytes(octets, policy=email.policy.default)
    assert not theirs.defects
    if files:
        assert [part.get_payload(decode=True) for part in theirs.iter_attachments()] == [o for _, o in files]


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=200))
def test_no_value_makes_a_field(name: str, value: str, text: str) -> None:
    evil = value + "\r\nBcc: evil@far.example\n\n" + value
    box = Mailbox(evil, parse("smtp:ann@acme.example"))
    octets = octets_of(
        compose(
            [("Subject", evil), ("To", [box]), ("Message-ID", evil), (name, evil)],
            text,
            [(evil, evil, b"QQ==\r\n")],
            hostname=HOST,
        )
    )
    head = octets.partition(b"\r\n\r\n")[0]
    assert not re.search(rb"(?im)^bcc", head)
    content = Content(octets)
    assert len(content.fields) <= 6
    assert all(field.name for field in content.fields)
    assert len(memo(content).attachments) == 1


@given(st.binary(max_size=600))
def test_any_octets_are_taken(octets: bytes) -> None:
    head = b"From: " + octets[:50] + b"\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
    for content in (Content(octets), Content(head + octets)):
        found = memo(content)
        found.text.encode()
        found.mailboxes(b"from", ("mhs", "smtp"))
        for attachment in found.attachments:
            attachment.name.encode()
            whole(attachment)


class Slow:
    """A blob that gives what is asked for."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.size = len(octets)

    def read(self, offset: int, length: int) -> bytes:
        return self.octets[offset : offset + length]


def shown(found: Memo) -> tuple[str, str, list[tuple[str, str, bytes]]]:
    return found.subject, found.text, [(a.name, a.type, whole(a)) for a in found.attachments]


def test_a_blob_reads_like_memory() -> None:
    body = encode_base64(bytes(range(256)) * 4000)
    octets = octets_of(compose([("Subject", "grün")], "grün\n" * 9, [("ä.bin", "image/png", body)], hostname=HOST))
    assert shown(memo(Content(Slow(octets)))) == shown(memo(Content(octets)))
    prefixed = Content(Slow(octets)).with_prefix(b"Received: by us\r\n")
    assert shown(memo(prefixed)) == shown(memo(Content(octets)))


FIELD_LINES = st.sampled_from(
    [
        b"Subject: =?utf-8?q?gr=C3=BCn?=\r\n",
        b"Date: Sun, 29 Nov 2026 16:33:11 +0000\r\n",
        b"MIME-Version: 1.0\n",
        b"content-type: TEXT/plain\r\n",
        b"Content-Type: text/plain;\r\n charset=iso-8859-1\r\n",
        b'Content-Type: text/plain; charset="utf-16"; format=flowed\r\n',
        b"Content-Type: text/plain; charset=utf-16\r\n",
        b"Content-Type: text/plain; charset=us-ascii; name=a.txt\r\n",
        b"Content-Type: text\r\n",
        b"Content-Type:\r\n",
        b"Content-Type: text/html\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n",
        b"Content-Type: application/octet-stream\r\n",
        b"Content-Transfer-Encoding: 8BIT\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"Content-Disposition: attachment\r\n",
        b"Content-Language: de\r\n",
        b"no field\r\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(FIELD_LINES, max_size=5),
    st.sampled_from([b"\r\n", b"\n", b""]),
    st.sampled_from([b"", b"a=3D\rb\r\nc\n", "grün €".encode(), b"\xff\x80\0", b"--x\r\n\r\nin\r\n--x--\r\n"]),
)
def test_what_is_seen_to_be_plain_is_read_as_by_the_search_for_parts(
    lines: list[bytes], between: bytes, body: bytes
) -> None:
    octets = b"".join(lines) + between + body
    # Of a blob the parts are always searched for.
    for quick, thorough in (
        (Content(octets), Content(Slow(octets))),
        (
            Content(octets).with_prefix(b"Received: by us\r\n"),
            Content(Slow(octets)).with_prefix(b"Received: by us\r\n"),
        ),
    ):
        assert shown(memo(quick)) == shown(memo(thorough))
        assert (memo(quick).html, memo(quick).date) == (memo(thorough).html, memo(thorough).date)


def mail(head: str, body: bytes = b"hi\r\n") -> Memo:
    return memo(Content(head.encode("latin-1").replace(b"\n", b"\r\n") + b"\r\n" + body))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("=?utf-8?q?gr=C3=BCn?=", "grün"),
        ("=?utf-8?b?Z3LD?= =?utf-8?b?vG4=?=", "grün"),  # a character parted between two words
        ("=?iso-8859-1?q?gr=FCn?= =?utf-8?q?_=E2=82=AC?=", "grün €"),
        ("=?utf-8?q?a?=\n =?utf-8?q?b?= c", "ab c"),
        ("gr\xfcn", "grün"),
        ("gr\xc3\xbcn", "grün"),
        ("=?x-nobody?q?gr=FCn?=", "grün"),
        ("=?rot13?q?abc?=", "abc"),
        ("=?utf-8?q?a=0D=0ABcc:_x?=", "a Bcc: x"),
        ("=?utf-7?q?+2AA-?=", "\ufffd"),
        ("=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
        ("=?utf-8?b?Z3I?=", "gr"),  # without its padding
        ("=?utf-8?b?%%?=", ""),
        ("=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
    ],
)
def test_a_subject_as_mail_has_it(value: str, wanted: str) -> None:
    assert mail(f"Subject: {value}\n").subject == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("Ann Lee <ann@acme.example>", [("Ann Lee", "smtp:ann@acme.example")]),
        (r'"Lee, \"A\"" <a@x.example>, b@x.example', [('Lee, "A"', "smtp:a@x.example"), ("", "smtp:b@x.example")]),
        ("ann@acme.example (Ann \\(Lee\\))", [("Ann (Lee)", "smtp:ann@acme.example")]),
        ("=?utf-8?q?J=C3=B6?=\n =?utf-8?q?_Lee?= <jo@acme.example>", [("Jö Lee", "smtp:jo@acme.example")]),
        ('"=?utf-8?q?J=C3=B6?=" <jo@acme.example>', [("Jö", "smtp:jo@acme.example")]),
        ("friends: ann@a.example, Bob <bob@a.example>;", [("", "smtp:ann@a.example"), ("Bob", "smtp:bob@a.example")]),
        ("undisclosed-recipients:;", []),
        ("Ann <ann@sales>", [("Ann", "mhs:ann@sales")]),
        ("Ann", []),
    ],
)  # fmt: skip
def test_mailboxes_as_mail_has_them(value: str, wanted: list[tuple[str, str]]) -> None:
    found = mail(f"To: {value}\n").mailboxes(b"to", ("mhs", "smtp"))
    assert [(box.name, str(box.address)) for box in found] == wanted


def test_an_unsigned_form_is_read_where_the_gateway_wrote_it() -> None:
    content = made("x", "hi", From=[Mailbox("Ann", parse("ftn:J. R. Lee@2:280/464"))])
    assert b"IMCEAFTN-J+2E+20R+2E+20Lee" in content.octets()
    foreign = Content(content.octets(), attributes={"gateway": "another.example"})
    assert [str(box.address) for box in memo(content).mailboxes(b"from", ("ftn",))] == ["ftn:J. R. Lee@2:280/464"]
    assert memo(foreign).mailboxes(b"from", ("ftn",)) == ()
    assert memo(content).mailboxes(b"from", ("mhs",)) == ()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ('attachment; filename="a b.doc"', "a b.doc"),
        ("attachment; filename*=utf-8''gr%C3%BCn.doc; filename=gr_n.doc", "grün.doc"),
        ("attachment; filename*0*=iso-8859-1''gr%FC; filename*1=n.doc", "grün.doc"),
        ('attachment; filename="=?utf-8?q?gr=C3=BCn.doc?="', "grün.doc"),
        ('attachment; filename="gr\xfcn.doc"', "grün.doc"),
        ('attachment; filename="..\\\\..\\\\x\n y"', "..\\..\\x y"),
        ("attachment", "attachment-1.pdf"),
    ],
)
def test_a_file_name_as_mail_has_it(value: str, wanted: str) -> None:
    found = mail(f"Content-Type: application/pdf\nContent-Disposition: {value}\n")
    assert [a.name for a in found.attachments] == [wanted]
    assert found.text == ""


@pytest.mark.parametrize(
    ("encoding", "body", "wanted"),
    [
        ("base64", b"aGk=\r\naGk=\r\n", b"hihi"),
        ("base64", b"aG k*=", b"hi"),
        ("base64", b"aGkx\r\na", b"hi1"),
        ("quoted-printable", b"a=3D=\r\nb\r\n=ZZ", b"a=b\r\n=ZZ"),
        ("x-uuencode", b"begin 644 x\n#:&D*\n`\nend\n", b"hi\n"),
        ("8bit", b"a\xff\r\n", b"a\xff\r\n"),
        ("nonsense", b"a=3D", b"a=3D"),
    ],
)
def test_transfer_encodings(encoding: str, body: bytes, wanted: bytes) -> None:
    head = f"Content-Type: image/png\nContent-Transfer-Encoding: {encoding}\n"
    (attachment,) = mail(head, body).attachments
    assert whole(attachment) == wanted
    octets = head.replace("\n", "\r\n").encode() + b"\r\n" + body
    assert whole(memo(Content(Slow(octets))).attachments[0]) == wanted


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 50))
def test_encodings_in_pieces(octets: bytes, size: int) -> None:
    def parted(raw: bytes) -> Iterator[bytes]:
        yield from (raw[i : i + size] for i in range(0, len(raw), size))

    assert b"".join(from_base64(parted(encode_base64(octets)))) == octets
    text = octets.replace(b"\r", b"").replace(b"\n", b"")
    assert b"".join(from_quoted_printable(parted(encode_quoted_printable(text)))) == text


def test_the_date() -> None:
    assert mail("Date: Thu, 01 Jan 1970 00:01:00 +0000\n").date == 60.0
    for wrong in ("", "yesterday", "Thu, 99 Jan 1970 00:01:00 +0000", "1 Jan 99999999 00:00:00 +0000"):
        assert mail(f"Date: {wrong}\n").date is None


def test_a_name_as_long_as_a_line_stays_one_field() -> None:
    octets = b"".join(compose([("X-" + "n" * 2000, "v"), ("Subject", "s")], "", hostname="gw.example"))
    assert [len(field.name) for field in Content(octets).fields][:2] == [76, 7]


def test_a_text_may_be_html() -> None:
    page: list[bytes] = compose([("Subject", "x")], "<p>hï</p>", hostname=HOST, subtype="html")
    content = Content(b"".join(page))
    assert content.get(b"content-type") == b"text/html; charset=utf-8"
    assert memo(content).text == "hï\n"
    assert [(a.type, whole(a)) for a in memo(content).attachments] == [("text/html", "<p>hï</p>".encode())]
