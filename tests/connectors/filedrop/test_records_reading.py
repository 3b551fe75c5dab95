"""Files of every kind to messages: tables of files, what is bad and where, and properties over any octets."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.filedrop.formats import Bad, Beside, Part
from connectors.filedrop.formats.records import frames, xmls
from connectors.filedrop.formats.records.charset import charset
from connectors.filedrop.formats.records.codec import Records
from gateway.contract import Notify
from tests.connectors.filedrop.codec_kit import read_all
from tests.connectors.filedrop.records_kit import bads, csv, described, item_of, memos, parts

GOOD = b"1;a@x.example;b@y.example,c@z.example;Hello;Text\r\n"
CALM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("octets", "subject", "text"),
    [
        (GOOD, "Hello", "Text\n"),
        (GOOD.replace(b"\r\n", b"\n"), "Hello", "Text\n"),
        (GOOD.replace(b"\r\n", b"\r"), "Hello", "Text\n"),
        (GOOD.rstrip(), "Hello", "Text\n"),
        (b"\xef\xbb\xbf" + GOOD, "Hello", "Text\n"),
        (GOOD + b"\x1a\x1a", "Hello", "Text\n"),
        (b"\r\n  \r\n" + GOOD, "Hello", "Text\n"),
        (b'1;a@x.example;b@y.example;"a; ""b""";"one\r\ntwo"\r\n', 'a; "b"', "one\ntwo\n"),
        (b"1;a@x.example;b@y.example;  blanks  ; t \r\n", "blanks", "t\n"),
        ("1;a@x.example;b@y.example;Grüße;ä\n".encode(), "Grüße", "ä\n"),
    ],
)
def test_delimited(tmp_path: Path, octets: bytes, subject: str, text: str) -> None:
    [found] = memos(csv(tmp_path), octets)
    assert (found.subject, found.text) == (subject, text)
    assert found.get(b"message-id") == "<1@plant.example>"


def test_the_envelope_is_that_of_the_fields(tmp_path: Path) -> None:
    [part] = parts(csv(tmp_path, map='receipt = "yes"'), GOOD)
    assert str(part.reverse_path) == "smtp:a@x.example"
    assert [str(r.address) for r in part.recipients] == ["smtp:b@y.example", "smtp:c@z.example"]
    assert {r.notify for r in part.recipients} == {Notify.SUCCESS | Notify.FAILURE}
    assert part.key == "1"


def test_no_field_makes_a_header(tmp_path: Path) -> None:
    octets = b'1\r\nX: y;a@x.example;b@y.example;"Hi\r\nBcc: evil@x.example\r\n\r\nbody";t\r\n'
    codec = csv(tmp_path, map='headers = { "X-Own" = "{subject}" }')
    [found] = memos(codec, b'"' + octets.replace(b";a@", b'";a@', 1))
    assert found.get(b"bcc") == ""
    assert found.get(b"x") == ""
    assert found.get(b"x-own").startswith("Hi")
    assert found.text == "t\n"


BAD_ROWS = [
    (b"2;nobody;b@y.example;s;t\n", "records.address", 2),
    (b"2;;b@y.example;s;t\n", "records.no-sender", 0),
    (b"2;a@x.example;;s;t\n", "records.no-recipient", 0),
    (b"2;a@x.example;b@y.example;s\n", "records.columns", 0),
    (b'2;a@x.example;b@y.example;"s" t;t\n', "records.quote", 26),
    (b'2;a@x.example;b@y.example;"s;t\n', "records.quote", 26),
    (b"2;a@x.example;b@y.example;\xff;t\n", "records.charset", 26),
]


@pytest.mark.parametrize(("row", "rule", "at"), BAD_ROWS)
def test_a_bad_record_is_bad_alone(tmp_path: Path, row: bytes, rule: str, at: int) -> None:
    octets = GOOD + row + GOOD.replace(b"1;", b"3;")
    codec = csv(tmp_path)
    good = [one for one in read_all(codec, octets) if isinstance(one, Part)]
    assert [part.key for part in good] == ["1", "3"]
    [bad] = bads(codec, octets)
    assert (bad.rule, bad.line) == (rule, 2)
    assert bad.offset == len(GOOD) + at
    assert item_of(bad, octets) == row


def test_names_in_the_first_record(tmp_path: Path) -> None:
    text = """[format]
kind = "delimited"
[delimited]
header = true
[map]
from = "{Sender}"
to = "{Recipient}"
subject = "{Title}"
"""
    octets = b"Title,Sender,Recipient\nHi,a@x.example,b@y.example\nbad,nobody,b@y.example\n"
    codec = described(tmp_path, text)
    [bad] = bads(codec, octets)
    item = item_of(bad, octets)
    assert item == b"Title,Sender,Recipient\nbad,nobody,b@y.example\n"
    [again] = bads(codec, item)
    assert again.rule == bad.rule


def test_half_a_file_is_not_taken(tmp_path: Path) -> None:
    codec = csv(tmp_path, format='header_records = 1\nheader = "HDR*"\ntrailer = "TRL;{count}"', write='trailer = ""')
    whole = b"HDR;x\n" + GOOD * 2 + b"TRL;0002\n"
    assert len(parts(codec, whole)) == 2
    [missing] = read_all(codec, whole[: -len(b"TRL;0002\n")])
    assert isinstance(missing, Bad)
    assert missing.rule == "records.no-trailer"
    [wrong] = read_all(codec, whole.replace(b"0002", b"0003"))
    assert isinstance(wrong, Bad)
    assert (wrong.rule, wrong.text) == ("records.trailer-count", "the trailer counts 3 records, and there are 2")
    [header] = read_all(codec, b"X" + whole)
    assert isinstance(header, Bad)
    assert header.rule == "records.header"


def test_a_bad_record_keeps_header_and_trailer(tmp_path: Path) -> None:
    codec = csv(tmp_path, format='header_records = 1\ntrailer = "TRL;{count}"', write='trailer = ""')
    octets = b"HDR\n" + GOOD + b"2;nobody;b@y.example;s;t\n" + b"TRL;0002\n"
    [bad] = bads(codec, octets)
    item = item_of(bad, octets)
    assert item == b"HDR\n2;nobody;b@y.example;s;t\nTRL;0001\n"
    [part] = parts(codec, item.replace(b"nobody", b"a@x.example"))
    assert part.key == "2"


PACKED = """[format]
kind = "fixed"
charset = "{charset}"
line_end = "{end}"
[fixed]
fields = [
  {{ name = "from", at = 0, length = 12 }},
  {{ name = "to", at = 12, length = 12 }},
  {{ name = "zoned", at = 24, length = 3, type = "zoned", scale = 2 }},
  {{ name = "packed", at = 27, length = 2, type = "packed" }},
  {{ name = "binary", at = 29, length = 2, type = "binary" }},
]
[map]
from = "{{from}}"
to = "{{to}}"
headers = {{ "X-N" = "{{zoned}} {{packed}} {{binary}}" }}
"""


@pytest.mark.parametrize("page", ["cp037", "cp273", "cp500", "cp1047"])
def test_numbers_of_mainframes(tmp_path: Path, page: str) -> None:
    codec = described(tmp_path, PACKED.format(charset=page, end="nel"))
    encode = charset(page).encode
    octets = encode("a@x.example ") + encode("b@y.example ") + b"\xf1\xf2\xd3" + b"\x12\x3c" + b"\xff\xfe" + b"\x15"
    [found] = memos(codec, octets)
    assert found.get(b"x-n") == "-1.23 123 -2"
    [bad] = bads(codec, octets.replace(b"\x12\x3c", b"\x12\x33"))
    assert (bad.rule, bad.offset) == ("records.packed", 27)


def test_record_descriptor_words(tmp_path: Path) -> None:
    codec = described(tmp_path, PACKED.format(charset="cp037", end="rdw"))
    record = "a@x.example b@y.example ".encode("cp037") + b"\xf0\xf0\xc1\x00\x1c\x00\x00"
    octets = b"".join((len(r) + 4).to_bytes(2) + b"\0\0" + r for r in (record, record[:24]))
    assert len(parts(codec, octets)) == 2
    [bad] = bads(codec, octets[:-3])
    assert bad.rule == "records.record-length"


@pytest.mark.parametrize("page", ["cp037", "cp500", "cp1047"])
@pytest.mark.parametrize("end", [b"\x15", b"\x25", b"\x0d\x25", b"\x0d\x15"], ids=["nel", "lf", "cr-lf", "cr-nel"])
def test_both_line_ends_of_ebcdic(tmp_path: Path, page: str, end: bytes) -> None:
    text = PACKED.format(charset=page, end="any").replace('type = "zoned", scale = 2', 'type = "text"')
    codec = described(tmp_path, text.replace(', type = "packed"', "").replace(', type = "binary"', ""))
    lines = [charset(page).encode(f"a@x.example b@y.example {n:07}") for n in range(3)]
    assert len(memos(codec, end.join((*lines, b"")))) == 3


def test_cp1047_differs_from_cp037_in_three_pairs() -> None:
    ours, theirs = charset("cp1047"), charset("cp037")
    every = bytes(range(256))
    different = [n for n, (a, b) in enumerate(zip(ours.decode(every), theirs.decode(every), strict=True)) if a != b]
    assert different == [0x5F, 0xAD, 0xB0, 0xBA, 0xBB, 0xBD]
    assert ours.decode(b"\xad\xbd\x5f") == "[]^"
    assert ours.encode(ours.decode(every)) == every


def test_records_of_several_types(tmp_path: Path) -> None:
    text = """[format]
kind = "delimited"
[types]
at = 0
[[type]]
name = "head"
match = "H"
starts = true
columns = ["t", "from", "subject"]
[[type]]
name = "to"
match = "R"
columns = ["t", "to"]
[[type]]
name = "text"
match = "T"
columns = ["t", "line"]
[[type]]
name = "end"
match = "E"
ends = true
[map]
from = "{from}"
to = "{to}"
subject = "{subject}"
body = "{line}"
"""
    codec = described(tmp_path, text)
    whole = b"H,a@x.example,One\nR,b@y.example\nR,c@y.example\nT,first\nT,second\nE\n"
    [found] = memos(codec, whole)
    assert (found.subject, found.text) == ("One", "first\nsecond\n")
    octets = b"T,lost\n" + whole + b"H,a@x.example,cut\nR,b@y.example\n" + whole + b"H,a@x.example,odd\nQ,1\nE\n"
    assert [bad.rule for bad in bads(codec, octets)] == ["records.no-start", "records.no-end", "records.type"]
    assert len([one for one in read_all(codec, octets) if isinstance(one, Part)]) == 2


def test_rows_of_one_message(tmp_path: Path) -> None:
    codec = csv(tmp_path, format='group_by = ["id"]')
    octets = (
        b"1;a@x.example;b@y.example;S;one\n1;a@x.example;c@y.example;S;two\n2;a@x.example;b@y.example;T;three\n"
        b"3;a@x.example;b@y.example;bad\n"
    )
    good = [one for one in read_all(codec, octets) if isinstance(one, Part)]
    assert [(part.key, len(part.recipients)) for part in good] == [("1", 2), ("2", 1)]
    assert len(bads(codec, octets)) == 1


KEYS = """[format]
kind = "key_value"
[key_value]
{keys}
[map]
from = "{{From}}"
to = "{{To}}"
subject = "{{Subject}}"
body = "{{body}}"
"""


@pytest.mark.parametrize(
    ("keys", "octets", "found"),
    [
        (
            'blank_line = "body"',
            b"FROM: a@x.example\nto: b@y.example\nSubject: S\n\none\n\ntwo\n",
            [("S", "one\n\ntwo\n")],
        ),
        (
            'blank_line = "end"',
            b"From: a@x.example\nTo: b@y.example\nSubject: 1\n\n\nFrom: a@x.example\nTo: b@y.example\nSubject: 2\n",
            [("1", ""), ("2", "")],
        ),
        (
            'record_end = "-END-"\nbody = "Body"\nseparator = "="\nterminator = ";"\ncomment = "#"',
            b"# x\nFrom=a@x.example;\nTo = b@y.example ;\nSubject=a=b;\nBody=one\n# two\n-END-\n",
            [("a=b", "one\n# two\n")],
        ),
        (
            'record_separator = "\\f"\ncontinuation = "leading-space"',
            b"From: a@x.example\nTo: b@y.example\nSubject: a\n b\n\fFrom: a@x.example\nTo: b@y.example\n\f\n",
            [("a b", ""), ("", "")],
        ),
        (
            'continuation = "backslash"\nrecord_start = "From:*"',
            b"From: a@x.example\nTo: b@y.example\nSubject: a\\\nb\nFrom: a@x.example\nTo: b@y.example\nSubject: c\n",
            [("ab", ""), ("c", "")],
        ),
    ],
)
def test_key_value(tmp_path: Path, keys: str, octets: bytes, found: list[tuple[str, str]]) -> None:
    codec = described(tmp_path, KEYS.format(keys=keys))
    assert [(one.subject, one.text) for one in memos(codec, octets)] == found


def test_a_line_without_separator_is_told(tmp_path: Path) -> None:
    codec = described(tmp_path, KEYS.format(keys='blank_line = "end"'))
    [bad] = bads(codec, b"From: a@x.example\nTo: b@y.example\nnonsense\n\nFrom: a@x.example\nTo: b@y.example\n")
    assert (bad.rule, bad.line) == ("records.no-separator", 3)


JSON = """[format]
kind = "json"
[json]
records = "/data/0/list"
[map]
from = "{from}"
to = "{to[].address}"
subject = "{subject}"
"""


def one_json(**more: object) -> dict[str, object]:
    return {"from": "a@x.example", "to": [{"address": "b@y.example"}, {"address": "c@y.example"}], **more}


def test_json(tmp_path: Path) -> None:
    codec = described(tmp_path, JSON)
    records = [one_json(subject="Grüße"), one_json(subject=7), 5, one_json(subject="\ud800\0")]
    octets = json.dumps({"x": [1, "]"], "data": [{"list": records, "y": {}}]}, indent=1).encode()
    found = read_all(codec, octets)
    assert [isinstance(one, Part) for one in found] == [True, True, False, True]
    [bad] = bads(codec, octets)
    assert (bad.rule, octets[bad.offset : bad.offset + 1]) == ("records.json", b"5")
    assert bad.line == octets[: bad.offset].count(b"\n") + 1
    item = item_of(bad, octets)
    assert json.loads(item) == {"data": {"0": {"list": [5]}}}


@pytest.mark.parametrize(
    "octets", [b"", b"{", b"[1,", b'{"data": []}', b'{"data": [{"list": [NaN]}]}', b"\xff", b"[" * 9999]
)
def test_no_json(tmp_path: Path, octets: bytes) -> None:
    assert [type(one) for one in read_all(described(tmp_path, JSON), octets)] == [Bad]


def test_json_lines(tmp_path: Path) -> None:
    codec = described(tmp_path, JSON.replace('"json"', '"jsonl"').replace('[json]\nrecords = "/data/0/list"', ""))
    octets = json.dumps(one_json()).encode() + b"\n\n{bad\n" + json.dumps(one_json()).encode()
    assert [bad.line for bad in bads(codec, octets)] == [3]
    assert len(read_all(codec, octets)) == 3
    deep: object = "x"
    for _ in range(40):
        deep = {"a": deep}
    assert bads(codec, json.dumps(one_json(deep=deep)).encode())[0].rule == "records.json"


XML = """[format]
kind = "xml"
[xml]
record = "m"
[map]
from = "{from}"
to = "{to}"
subject = "{@s}"
body = "{text}"
"""
ONE = b'<m s="S">t<from>a@x.example</from><to>b@y.example</to></m >'


def test_xml(tmp_path: Path) -> None:
    codec = described(tmp_path, XML)
    octets = b'<?xml version="1.0"?><!-- x --><l xmlns:q="u"><q:h a="1" >' + ONE + b"<m/>" + ONE + b"</q:h></l>"
    assert [isinstance(one, Part) for one in read_all(codec, octets)] == [True, False, True]
    [bad] = bads(codec, octets)
    assert item_of(bad, octets) == b'<?xml version="1.0"?><!-- x --><l xmlns:q="u"><q:h a="1" ><m/></q:h></l>'
    [part] = parts(codec, item_of(bad, octets).replace(b"<m/>", ONE))
    assert part.item is not None


@pytest.mark.parametrize(
    ("octets", "rule"),
    [
        (b"<l>" + ONE, "xml"),
        (b"<l>" + ONE + b"</k>", "xml"),
        (b"", "xml"),
        (b'<!DOCTYPE l [<!ENTITY a "b">]><l>' + ONE + b"</l>", "xml-doctype"),
        (b'<!DOCTYPE l SYSTEM "file:///etc/passwd"><l>' + ONE + b"</l>", "xml-doctype"),
        (b"<l>&unknown;" + ONE + b"</l>", "xml"),
        (b"<a>" * 100 + b"</a>" * 100, "xml-depth"),
        (b'<?xml version="1.0" encoding="martian"?><l/>', "charset"),
    ],
)
def test_no_xml_is_taken_in_part(tmp_path: Path, octets: bytes, rule: str) -> None:
    [bad] = read_all(described(tmp_path, XML), octets)
    assert isinstance(bad, Bad)
    assert bad.rule == f"records.{rule}"


def test_bounds(tmp_path: Path) -> None:
    codec = csv(tmp_path, format="max_record_bytes = 100\nmax_records = 3")
    long = b"x" * 700_000
    octets = GOOD + long + b"\n" + GOOD + b'1;"' + long
    assert [bad.rule for bad in bads(codec, octets)] == ["records.too-long", "records.too-many"]
    octets = GOOD + b'1;"a\n' + b"b\n" * 100 + GOOD
    assert bads(csv(tmp_path, format="max_record_bytes = 100"), octets)[0].rule == "records.too-long"


def test_quotes_take_linear_time(tmp_path: Path) -> None:
    codec = csv(tmp_path)
    for line in (b'"\n', b'","\n', b'"""\n', b'x,"\n""x\n', b'";"a\n'):
        begun = time.thread_time()
        read_all(codec, line * 5_000)
        assert time.thread_time() - begun < 4.0, line


def test_attachments(tmp_path: Path) -> None:
    table = '[[map.attachment]]\nfile = "{subject}"\nfolder = "att"\nsplit = ","\n[[map.attachment]]\ndata = "{text}"'
    codec = csv(tmp_path, map=table)
    [part] = parts(codec, b"1;a@x.example;b@y.example;A.PDF,b.txt;aGVsbG8=\n")
    named = [(piece.name, piece.folder) for piece in part.content if isinstance(piece, Beside)]
    assert named == [("A.PDF", "att"), ("b.txt", "att")]
    assert any(piece == b"aGVsbG8=\r\n" for piece in part.content)
    for name in (b"../x", b"/etc/passwd", b"C:x", b"a\\b", b".hidden", b"NUL"):
        assert bads(codec, b"1;a@x.example;b@y.example;" + name + b";\n")[0].rule == "records.attachment"
    assert bads(codec, b"1;a@x.example;b@y.example;x;!!\n")[0].rule == "records.base64"


def test_a_whole_message_in_a_field(tmp_path: Path) -> None:
    codec = csv(tmp_path, format='line_break = "~"', map='message = "{text}"')
    octets = b"1;a@x.example;b@y.example;;From: q@x.example~Subject: Inner~Bcc: c@x.example~~Body\n"
    [part] = parts(codec, octets)
    [found] = memos(codec, octets)
    assert (found.subject, found.text.strip(), found.get(b"bcc")) == ("Inner", "Body", "")
    assert str(part.reverse_path) == "smtp:a@x.example"


def test_utf_16(tmp_path: Path) -> None:
    codec = csv(tmp_path, format='charset = "utf-16"')
    for name, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        octets = mark + "1;a@x.example;b@y.example;ऊ☊;Grüße\r\n2;a@x.example;b@y.example;S;t\r\n".encode(name)
        assert [found.subject for found in memos(codec, octets)] == ["ऊ☊", "S"]


def test_mailboxes_have_names(tmp_path: Path) -> None:
    codec = csv(tmp_path, map='cc = { value = "{subject}", split = "mailboxes" }')
    row = b"""1;a@x.example;b@y.example;Ann Lee <ann@x.example>, bob@x.example, ""Day, Cy"" <cy@x.example>;t\n"""
    [found] = memos(codec, row.replace(b"Ann Lee", b'"Ann Lee').replace(b"ple>;t", b'ple>";t'))
    assert [(box.name, box.address.value) for box in found.mailboxes(b"cc", ("smtp",))] == [
        ("Ann Lee", "ann@x.example"),
        ("", "bob@x.example"),
        ("Day, Cy", "cy@x.example"),
    ]


def test_too_many_recipients_are_not_all_read(tmp_path: Path) -> None:
    octets = b"1;a@x.example;" + b"b@y.example," * 400_000 + b";s;t\n"
    begun = time.thread_time()
    [bad] = bads(csv(tmp_path), octets)
    assert bad.rule == "records.too-many-recipients"
    assert time.thread_time() - begun < 5.0


def test_a_recipient_in_each_record_of_a_message_is_one(tmp_path: Path) -> None:
    codec = csv(tmp_path, format='group_by = ["id"]')
    octets = b"".join(b"1;a@x.example;b@y.example;s;line %d\n" % n for n in range(1200))
    [part] = parts(codec, octets)
    assert [str(each.address) for each in part.recipients] == ["smtp:b@y.example"]


DESCRIPTIONS = {
    "json": JSON,
    "xml": XML,
    "packed": PACKED.format(charset="cp037", end="nel"),
    "rdw": PACKED.format(charset="cp037", end="rdw"),
    "keys": KEYS.format(keys='record_separator = "\\f"\ncontinuation = "any"\nbody = "body"'),
}
ODD = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from(
            [GOOD, ONE, b'"', b";", b"\n", b"\r", b"\f", b"From: a@x\n", b"body:", b"{", b"[", b"<m>", b"\0", b"\xff"]
        )
    ).map(b"".join),
)


@CALM
@given(octets=ODD, name=st.sampled_from(sorted(DESCRIPTIONS)))
def test_any_octets_are_parts_or_bads(tmp_path: Path, octets: bytes, name: str) -> None:
    codec = described(tmp_path, DESCRIPTIONS[name])
    for one in read_all(codec, octets):
        if isinstance(one, Bad):
            assert one.text
            assert one.mend
            assert 0 <= one.offset <= len(octets)


@CALM
@given(octets=ODD)
def test_any_octets_as_delimited(tmp_path: Path, octets: bytes) -> None:
    for one in read_all(csv(tmp_path), octets):
        assert isinstance(one, Part | Bad)


class InPieces:
    """A file whose reads are counted, to see that it is never read whole."""

    def __init__(self, octets: bytes) -> None:
        self.octets, self.size, self.largest = octets, len(octets), 0

    def read(self, offset: int, length: int) -> bytes:
        self.largest = max(self.largest, length)
        return self.octets[offset : offset + length]


def test_large_files_are_read_in_pieces(tmp_path: Path) -> None:
    from tests.connectors.filedrop.codec_kit import STAMP

    codec: Records = csv(tmp_path)
    file = InPieces(GOOD * 5_000)
    assert sum(isinstance(one, Part) for one in codec.decode(file, STAMP)) == 5_000
    assert file.largest <= 256 * 1024


@CALM
@given(
    rows=st.lists(
        st.sampled_from(
            [GOOD, b'2;a@x.example;b@y.example;"q\r\nq";t\r\n', b"\r\n", b"x\r", b"\n", b'"' * 3, b"y" * 90]
        )
    ),
    chunk=st.integers(4, 40),
    page=st.sampled_from(["utf-8", "utf-16-le", "cp037"]),
    end=st.sampled_from(["any", "crlf", "lf"]),
)
def test_the_size_of_pieces_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[bytes], chunk: int, page: str, end: str
) -> None:
    octets = b"".join(rows).decode("latin-1").encode(page)
    codec = csv(tmp_path, format=f'charset = "{page}"\nline_end = "{end}"\nmax_record_bytes = 100')
    monkeypatch.setattr(frames, "CHUNK", 256 * 1024)
    whole = read_all(codec, octets)
    monkeypatch.setattr(frames, "CHUNK", chunk * 4)
    assert read_all(codec, octets) == whole


@CALM
@given(st.binary(max_size=200), st.integers(1, 40))
def test_the_size_of_pieces_changes_nothing_in_xml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: bytes, chunk: int
) -> None:
    codec = described(tmp_path, XML)
    octets = b"<l ><h>" + ONE * 2 + odd.translate(None, b"<&") + ONE + b"</h></l >"
    monkeypatch.setattr(xmls, "CHUNK", 64 * 1024)
    whole = read_all(codec, octets)
    monkeypatch.setattr(xmls, "CHUNK", chunk)
    assert read_all(codec, octets) == whole
