"""Messages to records: what is written reads back, what has no room is told, and status files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Bad, Part
from connectors.filedrop.formats.records.charset import charset
from connectors.filedrop.formats.records.codec import Records
from connectors.filedrop.formats.records.description import FieldTable
from connectors.filedrop.formats.records.numbers import NumberError, read_number, write_number
from connectors.filedrop.formats.values import Refused
from gateway.contract import (
    Action,
    Content,
    Fate,
    Item,
    Mailbox,
    Memo,
    Notify,
    RecipientReport,
    Report,
    Status,
    compose,
    memo,
)
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import STAMP, content_of, parcel
from tests.connectors.filedrop.records_kit import csv, described

ANN, BOB, CY = (parse(f"smtp:{name}@x.example") for name in ("ann", "bob", "cy"))
CALM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def content(subject: str = "Hi", text: str = "one\n", **more: str) -> bytes:
    fields: list[tuple[str, str | list[Mailbox]]] = [
        ("From", [Mailbox("Ann Lee", ANN)]),
        ("To", [Mailbox("Bob", BOB)]),
        ("Subject", subject),
        ("Date", "Tue, 24 Nov 2026 01:02:03 +0000"),
        ("Message-ID", "<17@plant.example>"),
        *more.items(),
    ]
    return b"".join(compose(fields, text, hostname="gw.example"))


def written(codec: Records, octets: bytes, *recipients: Item) -> tuple[bytes, list[str]]:
    """Return the file, and what its notes tell."""
    sent = parcel(ANN, recipients or [BOB], octets)
    made = codec.encode(sent, sent.items, "stem")
    return b"".join(made.octets()), [f"{note.fate.value} {note.what}" for note in made.notes]


def read_back(codec: Records, octets: bytes) -> tuple[Part, Memo]:
    [part] = codec.decode(InMemory(octets), STAMP)
    assert isinstance(part, Part), part
    return part, memo(Content(content_of(part, octets)))


def test_delimited(tmp_path: Path) -> None:
    codec = csv(tmp_path)
    octets, notes = written(codec, content('a; "b"', "one\n\ntwo\n"))
    assert octets == b'17;ann@x.example;bob@x.example;"a; ""b""";"one\n\ntwo"\r\n'
    assert notes == ["dropped name of the sender", "dropped date", "dropped names in To"]
    part, back = read_back(codec, octets)
    assert (part.reverse_path, [r.address for r in part.recipients]) == (ANN, [BOB])
    assert (back.subject, back.text, back.get(b"message-id")) == ('a; "b"', "one\n\ntwo\n", "<17@plant.example>")


def test_others_are_not_named_in_a_file_without_envelope(tmp_path: Path) -> None:
    codec = csv(tmp_path)
    octets, notes = written(codec, content(), Item((1, 0), CY, CY))
    assert b"bob@x.example" not in octets
    assert b";cy@x.example;" in octets
    assert "dropped 1 other recipients in To and Cc" in notes
    assert codec.one_a_recipient


def test_an_envelope_of_its_own(tmp_path: Path) -> None:
    text = """[format]
kind = "jsonl"
[map]
sender = "{envelope.sender}"
recipients = "{envelope.to}"
from = "{from}"
to = { value = "{to}", name = "{to_name}" }
body = "{text}"
subject = "{subject}"
[write]
"""
    codec = described(tmp_path, text)
    octets, _ = written(codec, content(), Item((1, 0), CY, CY))
    part, back = read_back(codec, octets)
    assert [r.address for r in part.recipients] == [CY]
    assert back.mailboxes(b"to", ("smtp",)) == (Mailbox("Bob", BOB),)


FIXED = """[format]
kind = "fixed"
line_end = "none"
{format}
[fixed]
record_length = 60
fields = [
  {{ name = "id", at = 0, length = 4 }},
  {{ name = "from", at = 4, length = 15 }},
  {{ name = "to", at = 19, length = 15 }},
  {{ name = "subject", at = 34, length = 6 }},
  {{ name = "text", at = 40, length = 20, strip = "none" }},
]
[map]
message_id = "{{id}}@plant.example"
from = "{{from}}"
to = "{{to}}"
subject = "{{subject}}"
body = "{{text|join:}}"
[write]
{write}
"""


def test_a_text_goes_on_in_further_records(tmp_path: Path) -> None:
    codec = described(
        tmp_path, FIXED.format(format='group_by = ["id"]\nline_break = "~"', write='overflow = "continue"')
    )
    text = "This text is longer than its field, and has\n\nlines.\n"
    octets, notes = written(codec, content("Hi", text))
    assert len(octets) == 180
    assert notes == ["dropped name of the sender", "dropped date", "dropped names in To"]
    _, back = read_back(codec, octets)
    assert back.text.replace("  ", "").rstrip() == text.rstrip()


def test_what_has_no_room_is_cut_and_told(tmp_path: Path) -> None:
    codec = described(tmp_path, FIXED.format(format="", write=""))
    octets, notes = written(codec, content("A long subject", "A text that is longer than its field\n"))
    assert octets[34:60] == b"A longA text that is longe"
    assert {"mapped subject was cut", "mapped text was cut"} <= set(notes)
    assert codec.capabilities.max_subject_chars == 6


def test_what_has_no_room_is_refused(tmp_path: Path) -> None:
    codec = described(tmp_path, FIXED.format(format="", write='overflow = "reject"'))
    with pytest.raises(Refused) as caught:
        written(codec, content("A long subject"))
    assert caught.value.status.code == "5.6.5"


def test_an_address_of_another_network_is_refused(tmp_path: Path) -> None:
    text = '[format]\nkind="jsonl"\n[map]\nfrom="profs:{f}"\nto="profs:{t}"\n[write]\n'
    codec = described(tmp_path, text)
    assert codec.capabilities.header_networks == ("profs",)
    with pytest.raises(Refused, match=r"has no place in a field of profs addresses"):
        written(codec, content())
    johns = parse("profs:WGADIV/JOHNS")
    octets, notes = written(codec, content(), Item((1, 0), johns, johns))
    assert b'"t": "WGADIV/JOHNS"' in octets
    assert "mapped the address ann@x.example" in notes


def test_a_description_without_write_refuses(tmp_path: Path) -> None:
    codec = described(tmp_path, '[format]\nkind="jsonl"\n[map]\nfrom="{f}"\nto="{t}"\n')
    with pytest.raises(Refused, match="has no \\[write\\]"):
        written(codec, content())


def test_no_value_ends_its_record(tmp_path: Path) -> None:
    text = """[format]
kind = "key_value"
[key_value]
record_end = "-END-"
body = "Body"
[map]
from = "{From}"
to = "{To}"
subject = "{Subject}"
body = "{Body}"
[write]
"""
    codec = described(tmp_path, text)
    octets, notes = written(codec, content("Hi", "-END-\nFrom: evil@x.example\n"))
    assert "mapped a line of the text" in notes
    _, back = read_back(codec, octets)
    assert back.text == " -END-\nFrom: evil@x.example\n"


def test_characters_that_a_page_has_not(tmp_path: Path) -> None:
    octets, notes = written(csv(tmp_path, format='charset = "latin-1"'), content("☃ snow"))
    assert b";? snow;" in octets
    assert "mapped characters" in notes


def test_file_names_and_numbers(tmp_path: Path) -> None:
    numbers = iter((41, 42))
    codec = described(
        tmp_path,
        FIXED.format(format="", write='file_name = "OUT{number|zero:8}.DAT"\n[write.fields]\nid = "{number}"'),
        counter=lambda row: next(numbers),
    )
    sent = parcel(ANN, [BOB], content())
    made = codec.encode(sent, sent.items, "stem")
    assert made.name == "OUT00000041.DAT"
    assert b"".join(made.octets()).startswith(b"41  ")


def test_header_and_trailer(tmp_path: Path) -> None:
    codec = csv(
        tmp_path,
        format='header_records = 1\nheader = "HDR*"\ntrailer = "TRL;{count}"',
        write='header = "HDR;{now|date:%Y%m%d}"\ntrailer = "TRL;{count|zero:4}"',
    )
    octets, _ = written(codec, content())
    assert octets == b"HDR;20261124\r\n17;ann@x.example;bob@x.example;Hi;one\r\nTRL;0001\r\n"
    read_back(codec, octets)


def test_many_messages_a_file(tmp_path: Path) -> None:
    codec = csv(tmp_path, write='many_a_file = true\nheader = "top"', format="header_records = 1")
    sent = parcel(ANN, [BOB], content())
    made = codec.encode(sent, sent.items, "stem")
    octets = codec.opening(made) + b"".join(made.octets()) * 3 + codec.closing()
    assert octets.startswith(b"top\r\n17;")
    assert len(list(codec.decode(InMemory(octets), STAMP))) == 3


def report(*actions: Action) -> Report:
    made = tuple(
        RecipientReport(a, BOB, CY, Status("5.1.1", "no such\r\nmailbox"), None, 1_795_482_123.0) for a in actions
    )
    return Report(5, ANN, 1_795_482_000.0, made)


def test_status_files(tmp_path: Path) -> None:
    table = (
        '[status]\nrecord = "{key};{code};{status};{recipient};{time|date:%H%M%S};{text}"\ncodes = { failed = "99" }\n'
    )
    codec = csv(tmp_path, write=table + 'trailer = "END;{count}"')
    made = codec.status(report(Action.FAILED, Action.DELAYED, Action.DELIVERED), "17", "stem")
    assert made is not None
    assert b"".join(made.octets()) == (
        b"17;99;5.1.1;bob@x.example;010203;no such mailbox\r\n"
        b"17;delivered;5.1.1;bob@x.example;010203;no such mailbox\r\nEND;2\r\n"
    )
    assert codec.status(report(Action.DELAYED), "17", "stem") is None
    assert csv(tmp_path).status(report(Action.FAILED), "17", "stem") is None


@given(
    st.sampled_from(["zoned", "packed", "binary", "binary-le"]),
    st.integers(-(10**6), 10**6),
    st.integers(0, 3),
    st.sampled_from(["cp037", "latin-1"]),
)
def test_numbers_come_back(kind: str, number: int, scale: int, page: str) -> None:
    field = FieldTable.model_validate({"name": "n", "at": 0, "length": 8, "type": kind, "scale": scale})
    used = charset(page)
    text = f"{number / 10**scale:.{scale}f}"
    octets = write_number(text, field, used)
    assert len(octets) == 8
    if octets.strip(used.encode(" ")):
        assert float(read_number(octets, field, used)) == float(text)


def test_a_number_without_room_is_no_number() -> None:
    field = FieldTable.model_validate({"name": "n", "at": 0, "length": 2, "type": "packed"})
    for text in ("1000", "1.5", "x", "NaN", "1e99999", "-9999"):
        with pytest.raises(NumberError):
            write_number(text, field, charset("cp037"))


KINDS = {
    "delimited": "",
    "jsonl": "",
    "json": '[json]\nrecords = "/m"',
    "xml": '[xml]\nrecord = "m"',
    "key_value": '[key_value]\ncontinuation = "leading-space"\nrecord_end = "%%"\nbody = "text"',
}
MAP = """[map]
message_id = "{id}@plant.example"
from = "{from}"
to = "{to}"
subject = "{subject}"
body = "{text}"
"""
TEXT = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=' ;"\\&<>\n:,'), max_size=80)


@CALM
@given(kind=st.sampled_from(sorted(KINDS)), subject=TEXT, text=TEXT)
def test_what_is_written_reads_back(tmp_path: Path, kind: str, subject: str, text: str) -> None:
    header = f'[format]\nkind = "{kind}"\n{KINDS[kind]}\n'
    columns = '[delimited]\ncolumns = ["id", "from", "to", "subject", "text"]\n' if kind == "delimited" else ""
    codec = described(tmp_path, header + columns + MAP + "[write]\n")
    sent = content(subject, text)
    octets, notes = written(codec, sent)
    found = [one for one in codec.decode(InMemory(octets), STAMP) if not isinstance(one, Bad)]
    assert len(found) == 1, octets
    before, back = memo(Content(sent)), memo(Content(content_of(found[0], octets)))
    assert back.get(b"message-id") == "<17@plant.example>"
    assert " ".join(back.subject.split()) == " ".join(before.subject.split())
    if "mapped a line of the text" not in notes:
        assert back.text.strip() == before.text.strip()


def test_notes_are_told_once(tmp_path: Path) -> None:
    _, notes = written(csv(tmp_path, delimited='quote = ""'), content("a;b;c", "x;y\n"))
    assert notes.count("mapped ';' in subject") == 1
    assert Fate.MAPPED.value == "mapped"


def test_priority_and_receipt(tmp_path: Path) -> None:
    text = """[format]
kind = "jsonl"
[values.prio]
1 = "urgent"
3 = "low"
"*" = "normal"
[map]
from = "{from}"
to = "{to}"
priority = "{prio|map:prio}"
receipt = "{receipt}"
headers = { "X-Plant" = "Plant {plant}" }
[write]
"""
    codec = described(tmp_path, text)
    octets, _ = written(codec, content(**{"Importance": "high", "X-Plant": "Plant 7"}))
    assert b'"prio": "1"' in octets
    assert b'"plant": "7"' in octets
    part, back = read_back(codec, octets)
    assert part.priority == 4
    assert back.get(b"importance") == "high"
    assert back.get(b"x-plant") == "Plant 7"


def test_the_same_message_is_written_the_same_way(tmp_path: Path) -> None:
    codec = csv(tmp_path)
    assert written(codec, content()) == written(replace(codec), content())


def test_what_no_field_is_for_is_told(tmp_path: Path) -> None:
    more = {"Reply-To": "desk@x.example", "List-Id": "l.example", "References": "<0@x> <1@x>", "Priority": "urgent"}
    _, notes = written(csv(tmp_path), content(**more))
    assert notes[2:] == [
        "dropped names in To",
        "dropped header fields Reply-To, List-Id, Priority",
        "mapped References",
    ]
    _, notes = written(csv(tmp_path, write='[write.fields]\nid = "{priority}"'), content(**more))
    assert "dropped header fields Reply-To, List-Id" in notes


def test_what_the_envelope_loses_is_told(tmp_path: Path) -> None:
    sent = parcel(None, [Item((1, 0), BOB, BOB, Notify.SUCCESS, "rfc822;b@x")], content())
    what = [note.what for note in csv(tmp_path).encode(sent, sent.items, "stem").notes]
    assert what[:3] == ["null reverse-path", "envelope NOTIFY", "envelope ORCPT"]
    asked = csv(tmp_path, write='[write.fields]\nid = "{receipt}"').encode(sent, sent.items, "stem").notes
    assert [(note.fate.value, note.what) for note in asked if note.what != "Message-ID"][1] == (
        "mapped",
        "envelope NOTIFY",
    )


def test_a_sign_that_breaks_lines_and_blanks_that_fill_fields_are_told(tmp_path: Path) -> None:
    codec = described(tmp_path, FIXED.format(format='line_break = "~"', write=""))
    octets, notes = written(codec, content("Hi", "a~b\nc \n"))
    assert b"a b~c" in octets
    assert {"mapped '~' in text", "mapped blanks at the end of text"} <= set(notes)


def test_more_of_a_text_and_of_a_date_is_told(tmp_path: Path) -> None:
    codec = csv(tmp_path, write='[write.fields]\nid = "{date}"')
    octets = content("Hi", "a\n\n").replace(b"01:02:03 +0000", b"01:02:03 +0300")
    _, notes = written(codec, octets)
    assert {"mapped time zone of the date", "mapped empty lines at the end of the text"} <= set(notes)


def test_what_a_reader_takes_off_a_text_is_told(tmp_path: Path) -> None:
    xml = '[format]\nkind = "xml"\n[xml]\nrecord = "M"\n[map]\nfrom = "{F}"\nto = "{T}"\nbody = "{B}"\n[write]\n'
    _, notes = written(described(tmp_path, xml), content(text=" one\x01\n"))
    assert {"mapped blanks at the start of the text", "dropped control characters"} <= set(notes)
