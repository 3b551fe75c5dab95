"""Journal reports: the lines of Microsoft's own examples, and what somebody may try with them."""

from __future__ import annotations

import pytest

from connectors.exchange.journal_report import Journaled, is_marked, read, read_lines
from gateway.contract import Content

INNER = b"From: tony@contoso.example\r\nSubject: =?utf-8?q?x?=\r\n\r\nthe message\r\nwithin\r\n"


def report(text: str, inner: bytes = INNER) -> Content:
    head = (
        b"From: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@contoso.example>\r\n"
        b"To: journal@archive.example\r\nX-MS-Journal-Report:\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    )
    lines = text.replace("\n", "\r\n").encode()
    first = b'--b\r\nContent-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n' + lines
    second = b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner
    return Content(head + first + second + b"\r\n--b--\r\n")


@pytest.mark.parametrize(
    ("text", "sender", "recipients"),
    [
        (
            "Sender: tony@contoso.example\nSubject: Hello\nMessage-Id: <1@contoso.example>\n"
            "To: kim@contoso.example\nCc: max@contoso.example\nBcc: eve@contoso.example\n",
            "tony@contoso.example",
            [("kim@contoso.example", "to"), ("max@contoso.example", "cc"), ("eve@contoso.example", "bcc")],
        ),
        ("Sender: a@x.example\nRecipient: b@y.example\n", "a@x.example", [("b@y.example", "recipient")]),
        ("sender: <>\nto: b@y.example\n", "", [("b@y.example", "to")]),
        ('Sender: "Tony, T." <a@x.example>\nTo: Kim <b@y.example>\n', "a@x.example", [("b@y.example", "to")]),
        ("Sender: a@x.example\nTo: b@y.example\nTo: B@y.example\n", "a@x.example", [("b@y.example", "to")]),
        ("Sender: a@x.example\nSender: z@x.example\nTo: b@y.example\n", "a@x.example", [("b@y.example", "to")]),
        ("Sender: a@x.example\nTo: /o=Org/cn=Recipients/cn=b\n", "a@x.example", [("/o=Org/cn=Recipients/cn=b", "to")]),
        # The subject is the writer's: nothing but a line feed ends a line, and no line is continued.
        (
            "Sender: a@x.example\nSubject: x\x0bBcc: e1@z\u2028Bcc: e2@z\x85Bcc: e3@z\x0cTo: e4@z\nTo: b@y.example\n",
            "a@x.example",
            [("b@y.example", "to")],
        ),
        ("Sender: a@x.example\nSubject: To: e@z.example\nTo: b@y.example\n", "a@x.example", [("b@y.example", "to")]),
    ],
)
def test_the_lines_tell_the_envelope(text: str, sender: str, recipients: list[tuple[str, str]]) -> None:
    read = read_lines(text)
    assert read is not None
    assert read[0] == sender
    assert [(each.address, each.kind) for each in read[2]] == recipients


def test_groups_and_forwarding_keep_their_origin() -> None:
    read = read_lines(
        "Sender: a@x.example\nTo: b@x.example, Expanded: all@x.example\nBcc: c@y.example, Forwarded: c@x.example\n"
    )
    assert read is not None
    assert read[2] == (
        Journaled("b@x.example", "to", group="all@x.example"),
        Journaled("c@y.example", "bcc", original="c@x.example"),
    )


@pytest.mark.parametrize("text", ["", "hello", "Sender: a@x.example\n", "To: b@y.example\n", "Sender a@x\nTo b@y\n"])
def test_without_sender_or_recipient_it_is_none(text: str) -> None:
    assert read_lines(text) is None


def test_the_message_within_comes_octet_for_octet() -> None:
    content = report("Sender: a@x.example\nMessage-ID: <1@x>\nTo: b@y.example\n")
    found = read(content)
    assert found is not None
    assert b"".join(found.octets()) == INNER
    assert found.message_id == "<1@x>"
    assert is_marked(content)


def test_what_has_no_message_within_is_no_report() -> None:
    assert read(Content(b"Subject: x\r\n\r\nSender: a@x.example\r\nTo: b@y.example\r\n")) is None
