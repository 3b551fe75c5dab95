"""The header firewall: named fields go whole, nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fidelity import Fate
from gateway.header_firewall import ORGANIZATION, check, strip
from gateway.message import Content

BODY = b"\r\nX-MS-Exchange-Organization-SCL: 9\r\nis text here\r\n"
MAIL = (
    b"Received: from a by b;\r\n Tue, 24 Nov 2026 01:02:03 +0000\r\n"
    b"X-MS-Exchange-Organization-SCL: -1\r\n"
    b"x-ms-exchange-forest-rulesexecuted: one,\r\n\ttwo\r\n"
    b"X-MS-Exchange-CrossTenant-Id: 7\r\n"
    b"From: Ann <ann@acme.example>\r\n"
    b"X-MS-Exchange-Organization-SCL : 5\r\n"
    b"Subject: X-MS-Exchange-Organization-SCL: 1\r\n"
)
LEFT = (
    b"Received: from a by b;\r\n Tue, 24 Nov 2026 01:02:03 +0000\r\n"
    b"X-MS-Exchange-CrossTenant-Id: 7\r\n"
    b"From: Ann <ann@acme.example>\r\n"
    b"Subject: X-MS-Exchange-Organization-SCL: 1\r\n"
)


def test_fields_of_an_organisation_go_and_nothing_else() -> None:
    content, notes = strip(Content(MAIL + BODY))
    assert content.octets() == LEFT + BODY
    assert [(note.fate, note.what) for note in notes] == [
        (Fate.DROPPED, "field X-Ms-Exchange-Organization-Scl (2 of them)"),
        (Fate.DROPPED, "field X-Ms-Exchange-Forest-Rulesexecuted"),
    ]


def test_what_needs_no_change_is_the_same_object() -> None:
    content = Content(LEFT + BODY)
    assert strip(content) == (content, ())
    assert strip(content)[0] is content
    assert strip(Content(MAIL + BODY), ())[1] == ()


@pytest.mark.parametrize(
    ("patterns", "gone"),
    [
        (("received",), b"Received"),
        (("X-MS-Exchange-CrossTenant-*",), b"X-MS-Exchange-CrossTenant-Id"),
        (("SUBJECT",), b"Subject"),
        (("X-MS-Exchange-Cross",), b""),
        (("Frog",), b""),
    ],
)
def test_patterns_are_names_in_any_case(patterns: tuple[str, ...], gone: bytes) -> None:
    content, notes = strip(Content(LEFT + BODY), patterns)
    names = [name for name, _ in content.named]
    assert [name for name, _ in Content(LEFT + BODY).named if name not in names] == ([gone] if gone else [])
    assert bool(notes) == bool(gone)


@pytest.mark.parametrize("bad", ["", "*", "X-*-Y", "X Y", "X:", "Fr\xf6m", "X\r\nY", "x" * 201])
def test_what_is_no_name_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="no name of a header field"):
        check([bad])
    check(ORGANIZATION)


def test_a_signature_over_what_goes_is_noted() -> None:
    signed = b"DKIM-Signature: v=1; d=acme.example; h=From:X-MS-Exchange-Organization-SCL; b=a\r\n"
    _, notes = strip(Content(signed + MAIL + BODY))
    assert notes[-1].what == "signature broken: DKIM of acme.example"
    _, notes = strip(Content(signed.replace(b":X-MS-Exchange-Organization-SCL", b"") + MAIL + BODY))
    assert not any("DKIM" in note.what for note in notes)


def test_a_header_full_of_them_gives_few_notes() -> None:
    many = b"".join(b"X-MS-Exchange-Organization-%d: 1\r\n" % n for n in range(5000))
    content, notes = strip(Content(many + b"From: a@b.example\r\n\r\nx"))
    assert content.octets() == b"From: a@b.example\r\n\r\nx"
    assert len(notes) == 21
    assert notes[-1].what == "4980 more fields"


@pytest.mark.parametrize(
    "odd",
    [
        b"no header at all\r\n\r\nX-MS-Exchange-Organization-A: 1\r\n",
        b"\r\nX-MS-Exchange-Organization-A: 1\r\n",
        b"",
        b"From: a\r\n X-MS-Exchange-Organization-A: folded into From\r\n\r\nx",
    ],
)
def test_only_a_header_has_fields(odd: bytes) -> None:
    assert strip(Content(odd))[0].octets() == odd


def test_a_header_without_a_body_and_bare_newlines() -> None:
    assert strip(Content(b"A: 1\nX-MS-Exchange-Forest-B: 2\nC: 3\n"))[0].octets() == b"A: 1\nC: 3\n\r\n"
    assert strip(Content(b"A: 1\nX-MS-Exchange-Forest-B: 2\n\nbody\n"))[0].octets() == b"A: 1\n\nbody\n"


@given(st.lists(st.sampled_from([line + b"\r\n" for line in MAIL.split(b"\r\n") if line]), max_size=12), st.binary())
def test_no_such_field_is_left_and_the_body_stays(lines: list[bytes], body: bytes) -> None:
    octets = b"".join(lines) + b"\r\n" + body
    before = Content(octets)
    after, _ = strip(before)
    assert after.body() == before.body()
    left = [f.name for f in after.fields]
    assert not any(name.startswith((b"x-ms-exchange-organization-", b"x-ms-exchange-forest-")) for name in left)
    assert left == [
        f.name
        for f in before.fields
        if not f.name.startswith((b"x-ms-exchange-organization-", b"x-ms-exchange-forest-"))
    ]
