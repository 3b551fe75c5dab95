"""Descriptions with mistakes: each is told with its line, what was found and the mend. And the published schema."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from connectors.filedrop.formats.records.checks import STATUS_NAMES, WRITE_NAMES
from connectors.filedrop.formats.records.description import Description
from connectors.filedrop.formats.records.expression import PIPES
from connectors.filedrop.formats.records.writing import sources
from gateway.contract import ConfigErrors
from tests.connectors.filedrop.records_kit import csv, described

SCHEMA = Path(__file__).parents[3] / "docs/connectors/filedrop/records.schema.json"
BASE = """[format]
kind = "fixed"
line_end = "none"

[fixed]
record_length = 20
fields = [
  { name = "from", at = 0, length = 10 },
  { name = "to", at = 10, length = 10 },
]

[map]
from = "{from}"
to = "{to}"
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('kind = "fixed"', 'kind = "fixd"', 'd.toml:2: format.kind: found "fixd", expected "delimited", "fixed"'),
        ("[map]", "[maps]", 'd.toml:12: maps: found an unknown key, expected a key of this file; did you mean "map"?'),
        ("record_length = 20\n", "", 'd.toml:3: format.line_end: line_end = "none" needs record_length in [fixed]'),
        ("length = 10 },\n]", "length = 11 },\n]", "d.toml:9: fixed.fields[1]: the field to ends at 21"),
        ('"{to}"', '"{too}"', "d.toml:14: map.to: no field is called 'too'; there are from, to"),
        ('"{to}"', '"{to|map:x}"', "d.toml:14: map.to: no table is called [values.x]; there are none"),
        ('"{to}"', '"{to|mpa:x}"', "d.toml:14: map.to: no pipe is called 'mpa'"),
        ('from = "{from}"\n', "", "d.toml:12: map: [map] needs from"),
        ('"none"', '"none"\ncharset = "ebcdic-9"', "d.toml:4: format.charset: no charset is called 'ebcdic-9'"),
        ('"none"', '"none"\ncharset = "utf-7"', "d.toml:4: format.charset: 'utf-7' is not a charset"),
        ("[map]", '[json]\nrecords = ""\n[map]', "d.toml:12: json: the file is of kind fixed"),
        ("[map]", '[map]\ndate = { value = "{to}", formats = ["%Q"] }', "d.toml:13: map.date.formats[0]: a form of"),
        ("[map]", '[map]\ndate = { value = "{to}", zone = "Mars/X" }', "d.toml:13: map.date.zone: no time zone is"),
        ("[map]", '[map]\nheaders = { "Content-Type" = "x" }', "the field Content-Type is made from other keys"),
        ("[map]", '[[map.attachment]]\nname = "{to}"\n[map]', "d.toml"),
        ('to = "{to}"', 'to = "{to}"\n[write]\noverflow = "continue"', 'd.toml:16: write.overflow: "continue" needs'),
        ('to = "{to}"', 'to = "{to}"\n[write.fields]\nx = "{subject}"', "d.toml:16: write.fields.x: no field is"),
        ('to = "{to}"', 'to = "{to}"\n[write.fields]\nto = "{sbject}"', "d.toml:16: write.fields.to: a message has no"),
        ('to = "{to}"', 'to = "{to}"\n[status]\nrecord = "{kex}"', "d.toml:16: status.record: a report has no 'kex'"),
        ('"none"', '"none"\ntrailer = "T{count}"', ""),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = BASE.replace(old, new, 1)
    assert text != BASE
    if not told:
        described(tmp_path, text)
        return
    with pytest.raises(ConfigErrors) as caught:
        described(tmp_path, text)
    assert told in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = BASE.replace('"{to}"', '"{too}"').replace('"{from}"', '"{form}"')
    with pytest.raises(ConfigErrors) as caught:
        described(tmp_path, text)
    assert [m.line for m in caught.value.mistakes] == [13, 14]


def test_a_missing_description_is_told(tmp_path: Path) -> None:
    from connectors.filedrop.formats import Options
    from connectors.filedrop.formats.records.codec import Records
    from connectors.filedrop.formats.records.settings import RecordsSettings

    with pytest.raises(ConfigErrors, match="expected a description of records"):
        Records("records", Options(base_dir=tmp_path), RecordsSettings(describe="none.toml"))


def test_dollar_signs_mean_nothing(tmp_path: Path) -> None:
    codec = csv(tmp_path, map='headers = { "X-Price" = "${id}", "X-Path" = "file:/etc/passwd" }')
    assert codec.description.map.headers["X-Price"].source == "${id}"
    assert codec.description.map.headers["X-Path"].source == "file:/etc/passwd"


def test_what_is_read_is_written_back(tmp_path: Path) -> None:
    codec = csv(tmp_path)
    assert codec.description.write is not None
    made = sources(codec.description, codec.description.write)
    assert {name: source.target for name, source in made.items()} == {
        "from": "from",
        "to": "to",
        "subject": "subject",
        "id": "message_id",
        "text": "body",
    }


@pytest.mark.parametrize("name", sorted(WRITE_NAMES | STATUS_NAMES))
def test_every_name_is_explained(name: str) -> None:
    assert f"`{name}`" in (SCHEMA.parent / "records-reference.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PIPES)
def test_every_pipe_is_explained(name: str) -> None:
    text = (SCHEMA.parent / "records.md").read_text(encoding="utf-8")
    assert f"\\|{name}" in text or f"`{name}" in text


def test_schema_is_published() -> None:
    """`UPDATE_DOCS=1` writes it anew."""
    fresh = json.dumps(Description.model_json_schema(by_alias=True), indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_DOCS"):
        SCHEMA.write_text(fresh, encoding="utf-8")
    assert SCHEMA.read_text(encoding="utf-8") == fresh, "run the test with UPDATE_DOCS=1 and look at the change"
