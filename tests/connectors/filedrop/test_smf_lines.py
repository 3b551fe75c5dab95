"""What stands in SMF files: lines, files of several messages, people, dates and identifiers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Options
from connectors.filedrop.formats.header_envelope import Mistake
from connectors.filedrop.formats.smf import batch, grammar
from connectors.filedrop.formats.smf.dates import read_date
from connectors.filedrop.formats.smf.ids import references, to_internet, to_smf
from connectors.filedrop.formats.smf.people import is_renamed, read_people, written
from gateway.contract import Mailbox
from mappings.network import parse

OPTIONS = Options(network="mhs", hostname="gw.example")
VALUE = st.text(st.characters(codec="cp437", exclude_categories=["C"]), max_size=400).map(
    lambda text: " ".join(text.split())
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bob@sales", [("mhs:bob@sales", "")]),
        ("bob@sales (Bob Ray), ann@hq", [("mhs:bob@sales", "Bob Ray"), ("mhs:ann@hq", "")]),
        (
            "Fax @ MHSNTFAX (Bob, Ray) {FAX: 5551234; TO: Ray, Bob}",
            [("mhs:Fax@MHSNTFAX {FAX: 5551234; TO: Ray, Bob}", "Bob, Ray")],
        ),
        ("ann@acme.example,", [("smtp:ann@acme.example", "")]),
        ("Ann Lee <ann@acme.example>", [("smtp:ann@acme.example", "Ann Lee")]),
        ('"Lee, Ann" <ann@hq>', [("mhs:ann@hq", "Lee, Ann")]),
        ("IMCEAFAX-+2B3585551234@gw.example", [("fax:+3585551234", "")]),
        ("ann lee@hq", [("mhs:ann lee@hq", "")]),
        ("", []),
    ],
)
def test_people_are_read(value: str, expected: list[tuple[str, str]]) -> None:
    found = read_people(grammar.Field("To", value, 0), OPTIONS)
    assert [(str(box.address), box.name) for box in found] == expected


@pytest.mark.parametrize("value", ["bob", "bob@sales {x", "bob@", "u@g { N/P }", "<a@b", "a@b c@d (x)"])
def test_what_is_no_address_is_told(value: str) -> None:
    with pytest.raises(Mistake) as caught:
        read_people(grammar.Field("To", value, 17), OPTIONS)
    assert (caught.value.rule, caught.value.offset) == ("bad-address", 17)


ADDRESSES = st.sampled_from(
    [
        "mhs:bob@sales",
        "mhs:ann lee@hq",
        "mhs:gate@hub {SMTP:a,b@acme.example}",
        "smtp:ann@acme.example",
        'smtp:"a, b"@acme.example',
        "fax:+3585551234",
        "ccmail:Lee, Ann at HQ",
        "notes:CN=Ann Lee/O=Acme",
        "x400:G=Ann;S=Lee;O=Acme;A= ;C=FI",
    ]
).map(parse)


@given(st.lists(st.tuples(ADDRESSES, st.text(max_size=60)), min_size=1, max_size=4))
def test_people_come_back(people: list[tuple[object, str]]) -> None:
    boxes = [Mailbox(name, address) for address, name in people]  # type: ignore[arg-type]  # addresses
    read = read_people(
        grammar.Field("To", ", ".join(written(box, OPTIONS, "cp437") or "" for box in boxes), 0), OPTIONS
    )
    assert [box.address for box in read] == [box.address for box in boxes]
    for was, now in zip(boxes, read, strict=True):
        if not is_renamed(was):
            assert " ".join(now.name.split()) == " ".join(grammar.clean(was.name).split())


def test_an_own_address_that_looks_like_internet_mail_is_written_as_the_other_system_knows_it() -> None:
    assert written(Mailbox("", parse("mhs:ann@dotted.example")), OPTIONS, "cp437") == "ann@dotted.example"


@pytest.mark.parametrize(
    ("address", "charset", "expected"),
    [
        ("smtp:ann@peωr.example", "cp437", "ann@xn--per-g0c.example"),
        ("smtp:ann@bücher.example", "cp437", "ann@bücher.example"),
        ("smtp:анна@acme.example", "cp866", "анна@acme.example"),
        ("smtp:анна@acme.example", "cp437", None),
        ("mhs:анна@hq", "cp437", "IMCEAMHS-+D0+B0+D0+BD+D0+BD+D0+B0+40hq@gw.example"),
        ("nonesuch:a, b (c", "cp437", None),
    ],
)
def test_an_address_beyond_the_code_page_is_never_written_otherwise(
    address: str, charset: str, expected: str | None
) -> None:
    found = written(Mailbox("Name", parse(address)), OPTIONS, charset)
    assert found == (None if expected is None else f"{expected} (Name)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24-Nov-26 01:02:03 +0000", "Tue, 24 Nov 2026 01:02:03 +0000"),
        ("24-nov-2026 1:02", "Tue, 24 Nov 2026 01:02:00 -0000"),
        ("Tue, 24-Nov-95 01:02:03 -0530", "Fri, 24 Nov 1995 01:02:03 -0530"),
        ("24-Nov-26 01:02:03 GMT", "Tue, 24 Nov 2026 01:02:03 -0000"),
        ("Tue, 24 Nov 2026 01:02:03 +0200", "Tue, 24 Nov 2026 01:02:03 +0200"),
        ("31-Feb-26 01:02:03", ""),
        ("24-Foo-26 01:02:03", ""),
        ("24-Nov-26 01:02:03 +9900", ""),
        ("yesterday", ""),
        ("", ""),
        ("1" * 5000, ""),
    ],
)
def test_dates_are_read(text: str, expected: str) -> None:
    assert read_date(text) == expected


@given(st.text())
def test_any_text_is_a_date_or_none(text: str) -> None:
    assert isinstance(read_date(text), str)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("1AB2C3D4", "<1AB2C3D4@smf.gw.example>"),
        ("<1@acme.example>", "<1@acme.example>"),
        ("a b", "<a=20b@smf.gw.example>"),
        ("x@smf.gw.example", "<x=40smf=2Egw=2Eexample@smf.gw.example>"),
        ("a..b", "<a=2E=2Eb@smf.gw.example>"),
        ("ü>", "<=C3=BC=3E@smf.gw.example>"),
    ],
)
def test_identifiers_are_read(word: str, expected: str) -> None:
    assert to_internet(word, "gw.example") == expected


@given(st.text(min_size=1).map(str.strip).filter(lambda t: t and "<" not in t and ">" not in t and t.isprintable()))
def test_identifiers_come_back(word: str) -> None:
    made = to_internet(word, "gw.example")
    assert made.isascii()
    assert " " not in made
    assert to_smf(made, "gw.example") == word


def test_prose_is_no_reference() -> None:
    assert references("Your message of Tuesday") == []
    assert references("<a@b> <c@d>") == ["<a@b>", "<c@d>"]
    assert references(" 1AB2 ") == ["1AB2"]


@given(VALUE, st.integers(60, 300))
def test_a_folded_line_comes_back(value: str, limit: int) -> None:
    lines = grammar.line("Subject", value, limit)
    octets = "\r\n".join(["SMF-70", *lines, "", ""]).encode("cp437")
    [field] = grammar.parse(octets, "cp437", 10_000).fields
    assert field.value == grammar.clean(value)
    longest = max(map(len, value.split(" ")), default=0)
    assert all(len(line) <= max(limit, longest + len("Subject: ")) for line in lines)


@given(st.lists(st.from_regex(r"[a-z]{1,30}@[a-z]{1,30}", fullmatch=True), min_size=1, max_size=15))
def test_a_list_takes_several_lines(entries: list[str]) -> None:
    lines = grammar.list_lines("To", entries, 100)
    assert all(len(line) <= 100 and line.startswith("To: ") for line in lines)
    assert ", ".join(line.removeprefix("To: ") for line in lines).split(", ") == entries


@pytest.mark.parametrize(
    ("octets", "rule", "offset"),
    [
        (b"", "empty", 0),
        (b"\r\n\x1a", "empty", 0),
        (b"From: a@b\r\n", "magic", 0),
        (b"SMF-72\r\nTo: a@b\r\n", "magic", 0),
        (b"SMF-64\r\n", "v64", 0),
        (b"\x00\x01\x40" + b" " * 125 + b"SMF-64\r\n", "v64", 0),
        (b"SMF-70\r\nTo: a@b\r\nX: " + b"x" * 300, "header-too-long", 200),
    ],
)
def test_what_is_no_smf_file_is_told(octets: bytes, rule: str, offset: int) -> None:
    with pytest.raises(Mistake) as caught:
        grammar.parse(octets, "cp437", 200)
    assert (caught.value.rule, caught.value.offset) == (rule, offset)


def test_an_octet_beyond_the_code_page_is_told_with_its_place() -> None:
    with pytest.raises(Mistake) as caught:
        grammar.parse(b"SMF-70\r\nTo: a@b\r\n\r\nab\x81", "cp1252", 200)
    assert (caught.value.rule, caught.value.offset, caught.value.found) == ("charset", 21, b"\x81")


def test_too_many_lines_are_told() -> None:
    with pytest.raises(Mistake) as caught:
        grammar.parse(b"SMF-70\r\n" + b"a:b\r\n" * 20_000, "cp437", 10**6)
    assert caught.value.rule == "too-many-fields"


def test_header_lines_in_odd_forms() -> None:
    parsed = grammar.parse(b"smf-71\n stray\nTO : a@b\n\tc@d\nno colon\nto: e@f\n\n x:y\rz\x1a\x1a", "cp437", 1000)
    assert [(f.keyword, f.value) for f in parsed.fields] == [("TO", "a@b c@d"), ("to", "e@f")]
    assert parsed.skipped == ("stray", "no colon")
    assert parsed.text == " x:y\nz"


def cut(octets: bytes, separator: bytes = b"%&%&%", chunk: int | None = None) -> list[tuple[bytes, int]]:
    before = batch.CHUNK
    if chunk is not None:
        batch.CHUNK = chunk  # type: ignore[misc]  # a test's small chunk
    try:
        return [(octets[s.start : s.end], s.line) for s in batch.stretches(InMemory(octets), separator)]
    finally:
        batch.CHUNK = before  # type: ignore[misc]  # as it was


def test_a_file_is_cut_at_lines_that_are_the_separator() -> None:
    octets = b"a\n%&%&%\r\nb\r\n x%&%&%\n%&%&%x\n%&%&% \nc"
    assert cut(octets) == [(b"a\n", 1), (b"b\r\n x%&%&%\n%&%&%x\n", 3), (b"c", 7)]
    assert cut(octets, b"") == [(octets, 1)]
    assert cut(b"%&%&%\n%&%&%") == [(b"", 1), (b"", 2)]


@given(
    st.lists(st.sampled_from([b"%&%&%", b"%", b"&", b"\n", b"\r\n", b" ", b"x", b"\x1a", b"%&%"]), max_size=30),
    st.integers(1, 40),
)
def test_a_file_is_cut_alike_in_pieces_of_any_size(pieces: list[bytes], chunk: int) -> None:
    octets = b"".join(pieces)
    assert cut(octets, chunk=chunk) == cut(octets)


def test_many_small_messages_take_time_in_proportion() -> None:
    octets = b"x\n%&%&%\n" * 60_000
    began = time.thread_time()
    assert len(cut(octets)) == 60_000
    assert time.thread_time() - began < 5
