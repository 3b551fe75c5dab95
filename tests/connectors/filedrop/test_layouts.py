"""How files are put: names that other systems can read, triggers, locks, files of many messages, enclosures first."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop import FileDrop
from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.destination import letters
from connectors.filedrop.files import Occupied
from connectors.filedrop.formats import Enclosure, Encoded, Options
from connectors.filedrop.formats.values import Refused
from connectors.filedrop.layouts import FilesLayout, Put, Sheet, names_for
from connectors.filedrop.names import dos_stem
from gateway.contract import Context, Deferred, Delivered, Failed, Fate, Note, Scope, Status
from gateway.testing import KitLog, ListBatch, numbered, parcel
from mappings.network import parse
from tests.connectors.filedrop.slips import Slips, SlipSettings, slip
from tests.connectors.filedrop.test_files import Disk

ANN = parse("mhs:ann@sales")
SLIPS = Slips("slips", Options(), SlipSettings())


def sheet(stem: str, octets: bytes = b"text", **more: Any) -> Sheet:
    return Sheet(stem, Encoded(lambda: (octets,), **more))


def layout(folder: Path, **more: Any) -> FilesLayout:
    return FilesLayout(folder, None, ".msg", **more)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_dos_names_are_eight_characters_and_their_own() -> None:
    stems = {letter.stem for n in range(1000) for letter in letters(parcel(n, [ANN], b""), style="dos83")}
    assert len(stems) == 1000
    assert all(re.fullmatch(r"[0-9A-Z]{8}", stem) for stem in stems)
    assert letters(parcel(1, [ANN], b""), style="dos83")[0].stem == dos_stem(letters(parcel(1, [ANN], b""))[0].stem)
    more = names_for("0A1B2C3D", ".MSG", "dos83")
    assert len(set(more)) == 9
    assert all(re.fullmatch(r"[0-9A-Z]{8}\.MSG", name) for name in more)


def test_a_file_of_another_s_stays_and_ours_gets_the_next_name(tmp_path: Path) -> None:
    (tmp_path / "0A1B2C3D.MSG").write_bytes(b"another's")
    made = FilesLayout(tmp_path, None, ".MSG", style="dos83")
    for _ in range(2):  # and a retry finds it under that
        made.put([sheet("0A1B2C3D")])
    assert len(names(tmp_path)) == 2
    assert all(len(name) == 12 for name in names(tmp_path))


@pytest.mark.parametrize("check", ["none", "size", "sha256"])
def test_a_trigger_comes_after_the_name_of_its_file_is_durable(tmp_path: Path, check: Any) -> None:
    disk = Disk()
    made = layout(tmp_path, put=Put("trigger", "{stem}.ok", check), ops=disk.operations)
    made.put([sheet("a")])
    assert names(tmp_path) == ["a.msg"], "before the sync nothing says that it is complete"
    made.sync()
    assert names(tmp_path) == ["a.msg", "a.ok"]
    expected = {"none": b"", "size": b"4\r\n", "sha256": b"4 %s\r\n" % hashlib.sha256(b"text").hexdigest().encode()}
    assert (tmp_path / "a.ok").read_bytes() == expected[check]
    data, trigger = (n for n, call in enumerate(disk.calls) if call == "rename_new")
    assert "fsync" in disk.calls[data:trigger], "a power cut never leaves a trigger without its file"
    assert disk.calls[-1] == "fsync"


def test_a_trigger_that_could_not_be_made_is_made_by_the_next_sync(tmp_path: Path) -> None:
    put = Put("trigger", "{name}.done")
    disk = Disk()
    made = layout(tmp_path, put=put, ops=disk.operations)
    made.put([sheet("a")])
    made.ops = Disk(3, errno.ENOSPC).operations
    with pytest.raises(OSError, match="No space"):
        made.sync()
    assert names(tmp_path) == ["a.msg"]
    made.ops = disk.operations
    made.sync()
    assert names(tmp_path) == ["a.msg", "a.msg.done"]


def test_a_lock_is_there_while_a_file_is_put_and_no_longer(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def octets() -> list[bytes]:
        seen.append(names(tmp_path))
        return [b"text"]

    made = layout(tmp_path, put=Put("lock", "{name}.lck"))
    made.put([Sheet("a", Encoded(octets))])
    assert "a.msg.lck" in seen[0]
    assert names(tmp_path) == ["a.msg"]
    (tmp_path / "b.msg.lck").write_text("another's")
    with pytest.raises(Occupied):
        made.put([sheet("b")])
    (tmp_path / "b.msg.lck").write_bytes(b"gatepost\n")  # what a crash of ours left
    made.put([sheet("b")])
    assert names(tmp_path) == ["a.msg", "b.msg"]


def test_messages_share_a_file_where_the_format_allows_it(tmp_path: Path) -> None:
    made = FilesLayout(tmp_path, SLIPS, ".slip", most=3)
    sheets = [Sheet(f"s{n}", SLIPS.encode(parcel(n, [ANN], b"%d" % n), (), f"s{n}")) for n in range(7)]
    groups = made.groups(sheets)
    assert groups == [[0, 1, 2], [3, 4, 5], [6]]
    for group in groups:
        made.put([sheets[n] for n in group])
    made.sync()
    assert names(tmp_path) == ["s0.slip", "s3.slip", "s6.slip"]
    middle = b"".join(slip(n, b"%d" % n) for n in (3, 4, 5))
    assert (tmp_path / "s3.slip").read_bytes() == b"slips=\n" + middle + b"end=\n"


def test_messages_for_different_hops_do_not(tmp_path: Path) -> None:
    made = FilesLayout(tmp_path, SLIPS, ".slip", most=10)
    sheets = [sheet(f"s{n}", hop=f"hop{n % 2}") for n in range(4)] + [sheet("own", name="OUT1.DAT")]
    assert made.groups(sheets) == [[0, 2], [1, 3], [4]]
    assert layout(tmp_path, most=10).groups(sheets) == [[0], [1], [2], [3], [4]], "no format, no sharing"


def test_a_name_of_the_format_s_own_is_kept(tmp_path: Path) -> None:
    made = layout(tmp_path)
    for _ in range(2):
        made.put([sheet("a", name="OUT00000001.DAT")])
    assert names(tmp_path) == ["OUT00000001.DAT"]
    with pytest.raises(Occupied):
        made.put([sheet("b", b"other", name="OUT00000001.DAT")])


def test_enclosures_stand_before_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "att").mkdir()
    (tmp_path / "parcel").mkdir()
    seen: list[list[str]] = []

    def octets() -> list[bytes]:
        seen.append(names(tmp_path / "att") + names(tmp_path / "parcel"))
        return [b"text"]

    enclosures = (Enclosure("a-1.pdf", lambda: (b"pdf",)), Enclosure("a-2.pdf", lambda: (b"2",), folder="../parcel"))
    disk = Disk()
    made = layout(tmp_path / "out", enclosures=tmp_path / "att", ops=disk.operations)
    made.put([Sheet("a", Encoded(octets, enclosures))])
    assert seen == [["a-1.pdf", "a-2.pdf"]]
    before_data = [n for n, call in enumerate(disk.calls) if call == "write"][-1]
    # each file, then both folders, before the message's own file
    assert disk.calls[:before_data].count("fsync") == 4
    made.put([Sheet("a", Encoded(octets, enclosures))])
    assert names(tmp_path / "att") == ["a-1.pdf"]


def test_where_the_file_cannot_be_put_its_enclosures_go_again(tmp_path: Path) -> None:
    calls = Disk()
    enclosure = (Enclosure("a-1.pdf", lambda: (b"pdf",)),)
    (tmp_path / "0").mkdir()
    layout(tmp_path / "0", ops=calls.operations).put([sheet("a", enclosures=enclosure)])
    for number in range(1, len(calls.calls)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(OSError, match="No space"):
            layout(folder, ops=Disk(number, errno.ENOSPC).operations).put([sheet("a", enclosures=enclosure)])
        assert "a-1.pdf" not in names(folder)
        layout(folder).put([sheet("a", enclosures=enclosure)])
        assert names(folder) == ["a-1.pdf", "a.msg"]


# -- through the connector


class Odd(Slips):
    """Refuses what is for bob, tells a note for all others."""

    one_a_recipient = True

    def encode(self, parcel: Any, items: Any, stem: str) -> Encoded:
        if items[0].address.value.startswith("bob"):
            raise Refused(Status("5.6.3", "this format cannot name bob"))
        return Encoded(lambda: (b"x",), notes=(Note(Fate.DROPPED, "a field", "no room"),))


def made(tmp: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, **options: Any) -> FileDrop:
    monkeypatch.setattr("connectors.filedrop.connector.codec_class", lambda name: kind)
    given = {"network": "mhs", "outbox": "out", "create_folders": True, **options}
    return FileDrop("x", FileDropConfig.model_validate(given), Context("gw", tmp, tmp, KitLog(), time.time))


async def test_a_refusal_fails_its_recipient_alone_and_notes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = made(tmp_path, monkeypatch, Odd)
    await drop.start()
    batch = ListBatch([parcel(1, [ANN, parse("mhs:bob@ops")], numbered(1))], "x")
    await drop.deliver(batch)
    good, bad = batch.outcomes[1, 0], batch.outcomes[1, 1]
    assert isinstance(bad, Failed)
    assert bad.status.text == "this format cannot name bob"
    assert isinstance(good, Delivered)
    assert good.notes == (Note(Fate.DROPPED, "a field", "no room"),)
    await drop.stop()


async def test_a_file_in_use_defers_its_messages_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy(FilesLayout):
        def put(self, sheets: Any) -> None:
            if "busy" in sheets[0].encoded.hop:
                raise BlockingIOError(errno.EAGAIN, "a mailer has it")
            super().put(sheets)

    class Hops(Slips):
        def encode(self, parcel: Any, items: Any, stem: str) -> Encoded:
            return Encoded(lambda: (b"x",), hop="busy" if parcel.message_id == 1 else "free")

        def layout(self, folder: Path, ops: Any) -> FilesLayout:
            return Busy(folder, self, ".slip", ops=ops)

    drop = made(tmp_path, monkeypatch, Hops)
    await drop.start()
    batch = ListBatch([parcel(1, [ANN], b"1"), parcel(2, [ANN], b"2")], "x")
    await drop.deliver(batch)
    first = batch.outcomes[1, 0]
    assert isinstance(first, Deferred)
    assert first.scope is Scope.MESSAGE
    assert isinstance(batch.outcomes[2, 0], Delivered)
    assert drop.health().ok
    await drop.stop()
