"""The worked descriptions of legacy formats: each reads its example file, and what it writes is read back.

`UPDATE_GOLDEN=1` writes anew what was understood of each file; look at the change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Beside, Options, Part, Stamp
from connectors.filedrop.formats.records.codec import Records
from connectors.filedrop.formats.records.settings import RecordsSettings
from connectors.filedrop.trial import try_file
from gateway.contract import Blob, Content, Item, Memo, Notify, memo
from tests.connectors.filedrop.codec_kit import DATA, STAMP, content_of, parcel

EXAMPLES = Path(__file__).parents[3] / "examples/legacy-formats"
FILES = {
    "alarms": "alarms.csv",
    "bank": "bank.xml",
    "ccmail": "ccmail.txt",
    "domino": "domino.txt",
    "groupwise": "groupwise.api",
    "idoc": "idoc.txt",
    "ledger": "ledger.dat",
    "msmail": "msmail.txt",
    "profs": "profs.note",
    "tickets": "tickets.jsonl",
}
UNVERIFIED = {"ccmail", "domino", "groupwise", "idoc", "msmail", "profs"}


def codec(name: str) -> Records:
    options = Options(hostname="gw.example", base_dir=EXAMPLES, counter=lambda row: 7)
    return Records("records", options, RecordsSettings(describe=f"{name}.toml"))


def stamp(files: Callable[[str], bytes]) -> Stamp:
    def beside(name: str) -> Blob:
        return InMemory(files(name))

    return replace(STAMP, beside=beside)


def on_disk(name: str) -> bytes:
    return (EXAMPLES / name).read_bytes()


def read(made: Records, octets: bytes, files: Callable[[str], bytes]) -> list[tuple[Part, Memo]]:
    found = []
    for part in made.decode(InMemory(octets), stamp(files)):
        assert isinstance(part, Part), part
        named = {piece.name: files(piece.name) for piece in part.content if isinstance(piece, Beside)}
        found.append((part, memo(Content(content_of(part, octets, named)))))
    return found


def test_every_description_has_its_file() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_what_is_not_verified_says_so(name: str) -> None:
    said = "NOT VERIFIED" in (EXAMPLES / f"{name}.toml").read_text(encoding="utf-8")
    assert said is (name in UNVERIFIED)


@pytest.mark.parametrize("name", FILES)
def test_what_is_understood(name: str) -> None:
    trial = try_file(codec(name), EXAMPLES / FILES[name], 100)
    plain = trial.plain() | {"file": FILES[name]}
    for item in plain["items"]:
        item["header"].pop("message-id")
        item.pop("size")  # the date of a file without one is that of the file
        if not any(each["to"] == "date" for each in item["mapped"]):
            item["header"].pop("date")
    golden = DATA / "records" / f"{name}.json"
    fresh = json.dumps(plain, ensure_ascii=False, indent=1) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(fresh, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == fresh
    assert trial.bad == 0


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_reads_back(name: str) -> None:
    made = codec(name)
    for part, before in read(made, on_disk(FILES[name]), on_disk):
        for items in _files(made, part):
            sent = parcel(part.reverse_path, items, before.content)
            encoded = made.encode(sent, sent.items, "20261124T010203Z-1")
            octets = b"".join(encoded.octets())
            enclosed = {each.name: b"".join(each.octets()) for each in encoded.enclosures}
            [(again, after)] = read(made, octets, lambda file, there=enclosed: there[file])  # type: ignore[misc]
            assert again.reverse_path == part.reverse_path
            assert {r.address for r in again.recipients} == {item.address for item in items}
            assert (after.subject, after.text) == (before.subject, before.text)
            dropped = {note.what for note in encoded.notes}
            assert after.date == before.date or "date" in dropped
            assert after.get(b"message-id") == before.get(b"message-id") or "Message-ID" in dropped
            assert _files_in(after) == _files_in(before)


def _files(made: Records, part: Part) -> list[list[Item]]:
    items = [Item((1, n), r.address, r.address, Notify.UNSET) for n, r in enumerate(part.recipients)]
    return [[item] for item in items] if made.one_a_recipient else [items]


def _files_in(found: Memo) -> list[tuple[str, bytes]]:
    """Return the attachments; the text itself is among them where it is HTML alone."""
    return [(each.name, b"".join(each.octets())) for each in found.attachments if each.name != "attachment-1.html"]


def test_brackets_of_the_right_page() -> None:
    octets = on_disk("ledger.dat")
    assert "[4711]" in read(codec("ledger"), octets, on_disk)[0][1].text
    assert b"[" not in octets


def test_a_cut_file_is_not_taken() -> None:
    octets = on_disk("ledger.dat")
    [bad] = codec("ledger").decode(InMemory(octets[:-160]), STAMP)
    assert not isinstance(bad, Part)
    assert bad.rule == "records.no-trailer"
