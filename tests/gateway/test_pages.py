"""A text with a page of HTML beside it and pictures within: composed, and taken apart again."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract import AddressError, Content, compose, memo
from gateway.octets import encode_base64

HOST = "gw.merged.example"
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\u2028\u2029"), max_size=200)
PNG = b"\x89PNG\r\n\x1a\n"


def composed(text: str, html: str | None, *, files: int = 0, pictures: int = 0, subtype: str = "plain") -> bytes:
    made: list[bytes] = compose(
        [("Subject", "x")],
        text,
        [(f"f{n}.bin", "application/x-own", encode_base64(b"%d" % n)) for n in range(files)],
        hostname=HOST,
        subtype=subtype,  # type: ignore[arg-type]  # one of the two
        html=html,
        pictures=[(f"p{n}.png", "image/png", encode_base64(PNG), f"p{n}@x") for n in range(pictures)],
    )
    return b"".join(made)


def shape(octets: bytes) -> object:
    """Return the types of the parts as Python's own parser sees them."""

    def of(part: EmailMessage) -> object:
        if part.is_multipart():
            return part.get_content_type(), [of(child) for child in part.iter_parts()]
        return part.get_content_type()

    found = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return of(found)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (composed("t\n", None), "text/plain"),
        (composed("t\n", "<p>h"), ("multipart/alternative", ["text/plain", "text/html"])),
        (
            composed("t\n", "<p>h", files=1),
            ("multipart/mixed", [("multipart/alternative", ["text/plain", "text/html"]), "application/x-own"]),
        ),
        (
            composed("t\n", "<p>h", pictures=1),
            ("multipart/alternative", ["text/plain", ("multipart/related", ["text/html", "image/png"])]),
        ),
        (composed("<p>h", None, pictures=1, subtype="html"), ("multipart/related", ["text/html", "image/png"])),
        (
            composed("<p>h", None, pictures=2, files=1, subtype="html"),
            ("multipart/mixed", [("multipart/related", ["text/html", "image/png", "image/png"]), "application/x-own"]),
        ),
    ],
)
def test_the_parts_are_where_mail_programs_look(octets: bytes, expected: object) -> None:
    assert shape(octets) == expected


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.integers(0, 2), st.integers(0, 2))
def test_text_and_page_come_back(text: str, html: str, files: int, pictures: int) -> None:
    found = memo(Content(composed(text, html, files=files, pictures=pictures)))
    assert (found.text, found.html) == (text, html)
    assert found.page is not None
    others = [a for a in found.attachments if a is not found.page]
    assert [a.content_id for a in others] == [*(f"p{n}@x" for n in range(pictures)), *[""] * files]
    assert all(b"".join(a.octets()) == PNG for a in others[:pictures])


def test_a_page_alone_is_both() -> None:
    found = memo(Content(composed("<p>one <b>two</b></p>\n", None, subtype="html")))
    assert (found.text, found.html) == ("one two\n", "<p>one <b>two</b></p>\n")


def test_a_page_that_is_a_file_is_no_text() -> None:
    found = memo(Content(composed("t\n", None, files=1).replace(b"application/x-own", b"text/html")))
    assert (found.page, found.html) == (None, "")


def test_no_content_id_leaves_its_line() -> None:
    made: list[bytes] = compose(
        [], "t", hostname=HOST, html="", pictures=[("a", "b/c", b"", "x>\r\nBcc: eve@b.example")]
    )
    assert b"Bcc" not in [line.partition(b":")[0] for line in b"".join(made).split(b"\r\n")]


def test_addresses_that_nobody_reads() -> None:
    found = memo(Content(b"To: ann@acme.example, bob@-.example\r\n\r\n"))
    assert [str(box.address) for box in found.mailboxes(b"to", ("smtp",))] == ["smtp:ann@acme.example"]
    with pytest.raises(AddressError, match="bob@-"):
        found.mailboxes(b"to", ("smtp",), strict=True)


def test_all_fields_of_a_name() -> None:
    found = memo(Content(b"X-A: =?utf-8?q?gr=C3=BCn?=\r\nX-B: 1\r\nx-a: a\r\n b\r\n\r\n"))
    assert found.get_all(b"x-a") == ("grün", "a b")
    assert found.get_all(b"x-c") == ()
