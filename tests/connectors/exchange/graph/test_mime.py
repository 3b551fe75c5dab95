"""Mails as Graph takes them: what goes where, what is told, and that nothing is lost in silence."""

from __future__ import annotations

import base64
import email
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.graph import Graph
from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.graph.mime import (
    CAME_IN,
    DRAFT_OCTETS,
    FIELDS,
    KEY,
    KEY_FIELD,
    KEY_OF_DRAFT,
    RECIPIENTS,
    Built,
    build,
    draft,
)
from connectors.exchange.graph.told import TRACE
from connectors.exchange.organisation import Made, New
from gateway.contract import Content, Fate
from tests.connectors.exchange.graph.conftest import Opened
from tests.connectors.exchange.graph.kit import context
from tests.peers.graph.process import GraphCompany

HEAD = (
    b"Received: from a by b; Sun, 29 Nov 2026 21:00:00 +0000\r\nReturn-Path: <bounce@a.example>\r\n"
    b"From: =?utf-8?q?J=C3=B6rg?= <joerg@a.example>\r\nSender: list@a.example\r\n"
    b'To: "Ann, A." <ann@x.example>, bob@x.example\r\nCc: c@x.example\r\nReply-To: r@a.example\r\n'
    b"Subject: =?utf-8?b?w5xiZXI=?= all\r\nDate: Sun, 29 Nov 2026 21:47:00 +0000\r\nMessage-ID: <m@a.example>\r\n"
    b"In-Reply-To: <p@a.example>\r\nReferences: <o@a.example>\r\n <p@a.example>\r\nX-Colour: green\r\n"
    b"List-Id: <l.a.example>\r\nDKIM-Signature: v=1; b=xxx\r\nImportance: High\r\nSensitivity: Private\r\n"
    b"Disposition-Notification-To: joerg@a.example\r\nMIME-Version: 1.0\r\n"
)
PLAIN = HEAD + b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfc\xdfe\r\n"


def made(octets: bytes, **changed: Any) -> Built:
    return build(New("7.0", Content(octets), 1_795_988_820.4, **changed))


def properties(built: Built) -> dict[str, str]:
    return {each["id"]: each["value"] for each in built.json()["singleValueExtendedProperties"]}


def mixed(*parts: bytes, kind: bytes = b"mixed") -> bytes:
    inner = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return HEAD + b'Content-Type: multipart/%s; boundary="b"\r\n\r\n' % kind + inner + b"--b--\r\n"


TEXT = b"Content-Type: text/plain; charset=utf-8\r\n\r\nthe text"
PAGE = b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>the page <img src='cid:pic@a'></p>"
PICTURE = (
    b"Content-Type: image/png; name=p.png\r\nContent-ID: <pic@a>\r\nContent-Transfer-Encoding: base64\r\n"
    b"Content-Disposition: inline; filename=p.png\r\n\r\n" + base64.b64encode(b"\x89PNG")
)
FILE = (
    b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="a.pdf"\r\n\r\n' + base64.b64encode(b"%PDF")
)
SIGNATURE = b"Content-Type: application/pkcs7-signature\r\n\r\nsig"
RELATED = (
    b'Content-Type: multipart/related; boundary="c"\r\n\r\n--c\r\n' + PAGE + b"\r\n--c\r\n" + PICTURE + b"\r\n--c--"
)


def test_what_has_a_name_in_graph() -> None:
    built = made(PLAIN, is_read=True, flagged=True, categories=("Blue",))
    body = built.json()
    assert body["subject"] == "Über all"
    assert body["body"] == {"contentType": "text", "content": "Grüße\r\n"}
    assert body["from"] == {"emailAddress": {"name": "Jörg", "address": "joerg@a.example"}}
    assert body["sender"] == {"emailAddress": {"name": "list@a.example", "address": "list@a.example"}}
    assert [each["emailAddress"] for each in body["toRecipients"]] == [
        {"name": "Ann, A.", "address": "ann@x.example"},
        {"name": "bob@x.example", "address": "bob@x.example"},
    ]
    assert [each["emailAddress"]["address"] for each in body["ccRecipients"]] == ["c@x.example"]
    assert body["bccRecipients"] == []
    assert [each["emailAddress"]["address"] for each in body["replyTo"]] == ["r@a.example"]
    assert (body["internetMessageId"], body["importance"]) == ("<m@a.example>", "high")
    assert (body["isReadReceiptRequested"], body["isRead"], body["categories"]) == (True, True, ["Blue"])
    assert body["flag"] == {"flagStatus": "flagged"}
    assert "attachments" not in body


def test_what_has_none_goes_into_properties() -> None:
    found = properties(made(PLAIN))
    assert found[KEY] == "7.0"
    assert found["Integer 0x0E07"] == CAME_IN
    assert found["SystemTime 0x0E06"] == "2026-11-29T21:47:00Z"
    assert found["SystemTime 0x0039"] == "2026-11-29T21:47:00Z"
    assert found["String 0x1042"] == "<p@a.example>"
    assert found["String 0x1039"] == "<o@a.example> <p@a.example>"
    assert found["Integer 0x0036"] == "2"
    assert found["String 0x007D"].startswith("Received: from a by b;")
    assert "DKIM-Signature: v=1" in found["String 0x007D"]
    fields = {name.rsplit(" ", 1)[1]: value for name, value in found.items() if "00020386" in name}
    assert fields == {
        "Return-Path": "<bounce@a.example>",
        "X-Colour": "green",
        "List-Id": "<l.a.example>",
        "X-Gatepost-Pass-1": "from a by b; Sun, 29 Nov 2026 21:00:00 +0000",
    }


def test_the_trace_is_kept_by_fields_of_ours() -> None:
    """Newest first, what was kept before behind it, and of a long way the newest alone."""
    marked = "X-Gatepost-Pass-"
    way = [f"from a by gw{n}.example with ESMTP id {n};\r\n\tSun, 29 Nov 2026 21:00:{n:02} +0000" for n in range(30)]
    head = "".join(f"Received: {each}\r\n" for each in way[:2])
    head += f"x-gatepost-pass-2: {way[3]}\r\nX-Gatepost-Pass-1: {way[2]}\r\nX-Gatepost-Passage: 1\r\n"
    head += f"X-Gatepost-Pass-{'9' * 5000}: x\r\n"
    built = made(head.encode() + PLAIN)
    field = {name.rpartition(" ")[2]: value for name, value in properties(built).items()}
    plain = [" ".join(each.split()) for each in way]
    received = "from a by b; Sun, 29 Nov 2026 21:00:00 +0000"  # that of PLAIN
    assert [field[f"{marked}{n}"] for n in range(1, 6)] == [*plain[:2], received, *plain[2:4]]
    assert f"{marked}6" not in field
    assert field["X-Gatepost-Passage"] == "1"
    octets = base64.b64decode(draft(New("7.0", Content(head.encode() + PLAIN), draft=True)) or b"")
    found = email.message_from_bytes(octets)
    assert [found[f"{marked}{n}"] for n in range(1, 6)] == [*plain[:2], received, *plain[2:4]]
    assert len(found.get_all(f"{marked}2")) == 1
    long = made("".join(f"Received: {each}\r\n" for each in way).encode() + PLAIN)
    kept = [value for name, value in properties(long).items() if marked in name]
    assert kept == plain[:20]


def test_a_draft_of_properties_has_no_flags_of_what_came_in() -> None:
    found = properties(build(New("", Content(PLAIN), 1.0, draft=True)))
    assert set(found) == {
        "String 0x1042",
        "String 0x1039",
        "Integer 0x0036",
        *(name for name in found if "00020386" in name),
    }


@pytest.mark.parametrize(
    ("octets", "kind", "text", "files", "told"),
    [
        (mixed(TEXT, FILE), "text", "the text", ["a.pdf"], []),
        (mixed(TEXT, PAGE, kind=b"alternative"), "html", "the page", [], ["the text beside the HTML"]),
        (mixed(PAGE, PICTURE, kind=b"related"), "html", "the page", ["p.png"], []),
        # A page that is no other form of the text is a file: as the text's replacement it would lose the text.
        (mixed(TEXT, PAGE), "text", "the text", ["attachment-1.html"], []),
        (HEAD + b"\r\n", "text", "", [], ["an empty text"]),
        (HEAD + b"Content-Type: image/png\r\n\r\nxx", "text", "", ["attachment-1.png"], []),
    ],
)
def test_text_and_files(octets: bytes, kind: str, text: str, files: list[str], told: list[str]) -> None:
    built = made(octets)
    body = built.json()
    assert body["body"]["contentType"] == kind
    assert text in body["body"]["content"]
    assert [each["name"] for each in body.get("attachments", [])] == files
    lost = [note.what for note in built.notes if note.fate is Fate.DROPPED and note != TRACE]
    assert lost == told


def test_a_picture_of_the_page_is_inline_and_a_file_is_not() -> None:
    built = made(
        mixed(
            RELATED,
            FILE,
        )
    )
    picture, file = built.json()["attachments"]
    assert (picture["contentId"], picture["isInline"], picture["contentType"]) == ("pic@a", True, "image/png")
    assert base64.b64decode(picture["contentBytes"]) == b"\x89PNG"
    assert (file["name"], file["isInline"]) == ("a.pdf", False)
    assert "contentId" not in file
    assert file["@odata.type"] == "#microsoft.graph.fileAttachment"


def test_what_is_signed_keeps_its_octets() -> None:
    signed = mixed(b"Content-Type: text/plain\r\n\r\nsigned  \r\n\xff", SIGNATURE, kind=b"signed")
    built = made(signed)
    (file,) = built.inside
    assert properties(built)["String 0x001A"] == "IPM.Note.SMIME.MultipartSigned"
    assert file.content_type == "multipart/signed"
    kind, _, body = file.octets.partition(b"\r\n\r\n")
    assert kind == b'Content-Type: multipart/signed; boundary="b"'
    assert signed.endswith(b"\r\n\r\n" + body)
    assert [note.fate for note in built.notes if "signed" in note.what] == [Fate.KEPT]


def test_repeated_fields_and_too_many_recipients_are_told() -> None:
    many = b", ".join(b"r%d@x.example" % n for n in range(RECIPIENTS + 3))
    built = made(b"To: %s\r\nCc: c@x.example\r\nX-A: 1\r\nX-A: 2\r\nFrom: a@b.example\r\n\r\nx" % many)
    assert len(built.body["toRecipients"]) == RECIPIENTS
    assert built.body["ccRecipients"] == []
    told = [note.what for note in built.notes if note.fate is Fate.DROPPED]
    assert told == ["3 recipients of the header", "1 recipients of the header", "repeated fields: X-A"]


def test_an_address_that_graph_may_refuse_costs_no_mail() -> None:
    odd = "From: a@b.example\r\nTo: jürgen@b.example, ann@x.example, %s@b.example\r\n\r\nx" % ("a" * 400)
    built = made(odd.encode())
    assert [each["emailAddress"]["address"] for each in built.body["toRecipients"]] == ["ann@x.example"]
    assert "addresses beyond ASCII" in [note.what for note in built.notes if note.fate is Fate.DROPPED]


@pytest.mark.parametrize(("kind", "name"), [(b"plain", "text.txt"), (b"html", "text.html")])
def test_a_text_too_long_for_a_request_stands_whole_in_a_file(kind: bytes, name: str) -> None:
    text = "Grüße\r\n".encode() * 300_000
    built = made(HEAD + b"Content-Type: text/%s; charset=utf-8\r\n\r\n" % kind + text)
    (file,) = (*built.inside, *built.later)
    assert (file.name, file.octets) == (name, text)
    assert len(built.json()["body"]["content"]) < 100_000
    assert name in built.json()["body"]["content"]
    assert "the text" in [note.what for note in built.notes]


def test_a_request_is_never_over_what_graph_takes() -> None:
    import orjson

    hard = '\x01é☃"\\' * 90_000 + "\r\n"
    octets = b"".join(b"X-%d: %s\r\n" % (n, "é".encode() * 4000) for n in range(80)) + HEAD
    octets += b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + hard.encode()
    assert len(orjson.dumps(made(octets).json())) < 4_000_000


def test_fields_are_bounded() -> None:
    built = made(b"".join(b"X-%d: %s\r\n" % (n, b"v" * 20_000) for n in range(200)) + b"\r\nx")
    found = properties(built)
    assert sum("00020386" in name for name in found) == FIELDS
    assert sum(len(value) for value in found.values()) < 700_000


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\0\0\0",
        b"x" * 100,
        b"\xff\xfe: \xff\r\n\r\n\0",
        b"Content-Type: multipart/mixed\r\n\r\n--\r\n",
        b"\r\n\r\n",
    ]
    + [b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n' % n for n in range(3)]
    + [b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(2000))],
)
def test_any_octets_become_something_json_can_hold(octets: bytes) -> None:
    import orjson

    found = orjson.loads(orjson.dumps(made(octets).json()))
    assert "\0" not in orjson.dumps(found).decode()
    assert "\\u0000" not in orjson.dumps(found).decode()


def test_a_draft_goes_as_its_octets_with_its_key_and_its_trace_before_them() -> None:
    octets = draft(New("7.0", Content(PLAIN), draft=True))
    assert octets is not None
    way = b"X-Gatepost-Pass-1: from a by b; Sun, 29 Nov 2026 21:00:00 +0000\r\n"
    assert base64.b64decode(octets) == b"%s: 7.0\r\n" % KEY_FIELD.encode() + way + PLAIN
    assert base64.b64decode(draft(New("", Content(PLAIN), draft=True)) or b"") == PLAIN
    assert draft(New("7.0", Content(PLAIN + b"x" * 3_000_000), draft=True)) is None


# -- against the peer


async def test_what_is_read_back_says_the_same(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    octets = mixed(
        RELATED,
        FILE,
    )
    (result,) = await organisation.create(ann, inbox, [New("k1", Content(octets), 1_795_988_820.0)])
    assert isinstance(result, Made)
    (seen,) = (await organisation.page(ann, inbox, None)).seen
    ((_, content),) = [each async for each in organisation.mime([seen])]
    back = email.message_from_bytes(content.octets())  # type: ignore[union-attr]
    assert back["Message-ID"] == "<m@a.example>"
    assert str(email.header.make_header(email.header.decode_header(back["Subject"]))) == "Über all"
    assert back["X-Colour"] == "green"
    assert back["In-Reply-To"] == "<p@a.example>"
    parts = {part.get_content_type(): part.get_payload(decode=True) for part in back.walk() if not part.is_multipart()}
    assert b"the page" in parts["text/html"]
    assert parts["image/png"] == b"\x89PNG"
    assert parts["application/pdf"] == b"%PDF"


async def test_a_signature_survives_the_mailbox(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    octets = mixed(TEXT, b"Content-Type: application/pkcs7-signature\r\n\r\nsig", kind=b"signed")
    await organisation.create(ann, inbox, [New("k1", Content(octets))])
    (seen,) = (await organisation.page(ann, inbox, None)).seen
    ((_, content),) = [each async for each in organisation.mime([seen])]
    body = octets.partition(b"\r\n\r\n")[2]
    assert content.octets().endswith(b"\r\n\r\n" + body)  # type: ignore[union-attr]


async def test_a_large_draft_is_found_once_it_is_whole(company: GraphCompany, opened: Opened) -> None:
    from tests.connectors.exchange.graph.test_organisation import large

    organisation, ann = await opened(), company.address("ann")
    drafts = await organisation.folder(ann, "drafts")
    company.fault("CreateUploadSession", "code", code="ErrorQuotaExceeded", status=507)
    (refused,) = await organisation.create(ann, drafts, [New("k1", Content(large()), draft=True)])
    assert not isinstance(refused, Made)
    company.calm()
    assert await organisation.find(ann, ["drafts"], ["k1"]) == {}
    assert company.items("ann", "drafts") == []
    (result,) = await organisation.create(ann, drafts, [New("k1", Content(large()), draft=True)])
    assert isinstance(result, Made)
    (item,) = company.items("ann", "drafts")
    assert item.is_draft
    assert b"half.bin" in item.shown
    assert "k1" in await organisation.find(ann, ["drafts"], ["k1"])


def test_what_does_not_fit_into_one_request_is_declared(tmp_path: Path) -> None:
    options = {"tenant": "t.example", "client_id": "c", "client_secret": "s"}
    for large, size in (("upload", 35 * 1024 * 1024), ("fail", DRAFT_OCTETS)):
        config = GraphConfig.model_validate({**options, "large": large})
        assert Graph("graph", config, context(tmp_path)).capabilities.max_size_bytes == size


def test_the_two_properties_of_a_key_are_two() -> None:
    assert KEY != KEY_OF_DRAFT
