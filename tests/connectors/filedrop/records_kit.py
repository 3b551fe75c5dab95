"""What the tests of described records share: a codec made of a description's text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from connectors.filedrop.formats import Bad, Options, Part
from connectors.filedrop.formats.records.codec import Records
from connectors.filedrop.formats.records.settings import RecordsSettings
from gateway.contract import Content, Memo, memo
from tests.connectors.filedrop.codec_kit import content_of, read_all

CSV = """
[format]
kind = "delimited"
{format}
[delimited]
delimiter = ";"
columns = ["id", "from", "to", "subject", "text"]
{delimited}
[map]
key = "{{id}}"
message_id = "{{id}}@plant.example"
from = "{{from}}"
to = {{ value = "{{to}}", split = "," }}
subject = "{{subject}}"
body = "{{text}}"
{map}
[write]
{write}
"""


def described(folder: Path, text: str, **options: object) -> Records:
    """Return the codec of a description."""
    (folder / "d.toml").write_text(text, encoding="utf-8")
    made = Options(hostname="gw.example", base_dir=folder, **options)  # type: ignore[arg-type]  # as Options has them
    return Records("records", made, RecordsSettings(describe="d.toml"))


def csv(folder: Path, *, format: str = "", delimited: str = "", map: str = "", write: str = "") -> Records:
    """Return a codec of fields between semicolons, with further keys in its tables."""
    return described(folder, CSV.format(format=format, delimited=delimited, map=map, write=write))


def parts(codec: Records, octets: bytes) -> list[Part]:
    found = read_all(codec, octets)
    assert all(isinstance(one, Part) for one in found), found
    return [one for one in found if isinstance(one, Part)]


def memos(codec: Records, octets: bytes) -> list[Memo]:
    return [memo(Content(content_of(part, octets))) for part in parts(codec, octets)]


def bads(codec: Records, octets: bytes) -> list[Bad]:
    found = [one for one in read_all(codec, octets) if isinstance(one, Bad)]
    assert all(one.text and one.mend and one.rule.startswith("records.") for one in found)
    return found


def item_of(bad: Bad, octets: bytes) -> bytes:
    """Return the file of its own that holds a bad item."""
    assert bad.item is not None
    return b"".join(p if isinstance(p, bytes) else octets[p.start : p.end] for p in bad.item)


Make = Callable[..., Records]
