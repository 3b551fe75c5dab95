"""The outbox as a destination: what is put, under which names, and what a folder's faults mean."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any, cast

import pytest

from connectors.filedrop import FileDrop
from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.destination import Outbox, fault, letters
from gateway.contract import Context, Deferred, Delivered, Scope
from gateway.testing import KitLog, ListBatch, numbered, parcel
from mappings.network import parse
from tests.connectors.filedrop.test_files import Disk

ANN, BOB = parse("mhs:ann@sales"), parse("mhs:bob@ops")


def connector(tmp: Path, **options: Any) -> FileDrop:
    given = {"network": "mhs", "outbox": "out", "create_folders": True, **options}
    return FileDrop(
        "oldmhs", FileDropConfig.model_validate(given), Context("gw.example", tmp, tmp, KitLog(), time.time)
    )


async def deliver(made: FileDrop, *parcels: Any) -> ListBatch:
    batch = ListBatch(parcels, made.next_hop(ANN))
    await made.deliver(batch)
    return batch


async def test_a_file_a_recipient_under_a_name_that_tells_when_and_which(tmp_path: Path) -> None:
    made = connector(tmp_path)
    await made.start()
    sent = parcel(7, [ANN, BOB], numbered(7), sender=parse("smtp:carl@peer.example"))
    batch = await deliver(made, sent)
    assert {type(outcome) for outcome in batch.outcomes.values()} == {Delivered}
    assert all(isinstance(o, Delivered) and o.relayed for o in batch.outcomes.values())
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["20261118T110647000Z-0000000000007-0.eml", "20261118T110647000Z-0000000000007-1.eml"]
    text = (tmp_path / "out" / names[1]).read_bytes()
    assert text == b"X-Sender: <carl@peer.example>\r\nX-Receiver: <bob@ops>\r\n" + numbered(7)
    assert b"ann@sales" not in text, "one recipient's file must not name another"
    await made.stop()


async def test_without_envelope_lines_one_file_serves_all(tmp_path: Path) -> None:
    made = connector(tmp_path, envelope_headers=False)
    await made.start()
    batch = await deliver(made, parcel(7, [ANN, BOB], numbered(7)))
    assert {type(outcome) for outcome in batch.outcomes.values()} == {Delivered}
    [path] = (tmp_path / "out").iterdir()
    assert path.read_bytes() == numbered(7)
    await made.stop()


def test_names_are_the_same_at_each_attempt() -> None:
    whole = parcel(7, [ANN, BOB], numbered(7))
    both = letters(whole, most=1)
    assert both == letters(whole, most=1)
    assert len({letter.stem for letter in both}) == 2


async def test_a_retry_finds_the_file_that_a_crash_left_unsettled(tmp_path: Path) -> None:
    made = connector(tmp_path)
    await made.start()
    for _ in range(3):
        batch = await deliver(made, parcel(7, [ANN], numbered(7)))
        assert isinstance(batch.outcomes[7, 0], Delivered)
    assert len(list((tmp_path / "out").iterdir())) == 1
    await made.stop()


async def test_a_full_outbox_makes_the_lane_wait(tmp_path: Path) -> None:
    made = connector(tmp_path, max_files_in_outbox=3)
    await made.start()
    parcels = [parcel(n, [ANN], numbered(n)) for n in range(1, 6)]
    batch = await deliver(made, *parcels)
    outcomes = list(batch.outcomes.values())
    assert [type(outcome) for outcome in outcomes] == [Delivered] * 3 + [Deferred] * 2
    last = outcomes[-1]
    assert isinstance(last, Deferred)
    assert last.scope is Scope.HOP
    assert (last.status.code, last.status.text) == ("4.3.1", "the folder holds 3 files that nobody has fetched")
    assert not made.health().ok
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    assert isinstance((await deliver(made, parcels[4])).outcomes[5, 0], Delivered)
    assert made.health().ok
    await made.stop()


def test_a_count_that_takes_long_is_seldom_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a folder of a hundred thousand files would be counted all the time, by several threads."""
    now = 1000.0
    counts = 0

    class Slow:
        def count(self, limit: int) -> int:
            nonlocal now, counts
            counts += 1
            now += 2.0
            return 7

    monkeypatch.setattr("connectors.filedrop.destination.time.monotonic", lambda: now)
    config = FileDropConfig.model_validate({"network": "mhs", "outbox": "out", "max_files_in_outbox": 10})
    outbox = Outbox(tmp_path, config, cast("Any", Slow()), cast("Any", None))
    for _ in range(390):
        assert outbox.room() == 3
        now += 0.1
    assert counts == 1
    now += 2.0
    outbox.room()
    assert counts == 2


async def test_a_nearly_full_disk_makes_the_lane_wait(tmp_path: Path) -> None:
    made = connector(tmp_path, min_free_bytes=1 << 60)
    await made.start()
    outcome = (await deliver(made, parcel(1, [ANN], numbered(1)))).outcomes[1, 0]
    assert isinstance(outcome, Deferred)
    assert (outcome.scope, outcome.status.code) == (Scope.HOP, "4.3.1")
    await made.stop()


@pytest.mark.parametrize("call", range(1, 7))
async def test_whatever_call_fails_nothing_is_delivered_nor_failed(tmp_path: Path, call: int) -> None:
    made = connector(tmp_path)
    await made.start()
    assert made._destination._outbox is not None
    layout: Any = made._destination._outbox.layout
    real = layout.ops
    layout.ops = Disk(call, errno.ENOSPC).operations
    outcome = (await deliver(made, parcel(1, [ANN], numbered(1)))).outcomes[1, 0]
    assert isinstance(outcome, Deferred)
    assert (outcome.scope, outcome.status.code) == (Scope.HOP, "4.3.1")
    assert outcome.status.text == "the folder is on a full disk"
    layout.ops = real
    assert isinstance((await deliver(made, parcel(1, [ANN], numbered(1)))).outcomes[1, 0], Delivered)
    assert len(list((tmp_path / "out").iterdir())) == 1
    await made.stop()


async def test_a_content_that_cannot_be_read_defers_its_message_alone(tmp_path: Path) -> None:
    class Gone:
        size = 300_000

        def read(self, offset: int, length: int) -> bytes:
            raise RuntimeError("the content file is damaged")

    made = connector(tmp_path)
    await made.start()
    batch = await deliver(made, parcel(1, [ANN], b"", source=Gone()), parcel(2, [ANN], numbered(2)))
    damaged = batch.outcomes[1, 0]
    assert isinstance(damaged, Deferred)
    assert damaged.scope is Scope.MESSAGE
    assert isinstance(batch.outcomes[2, 0], Delivered)
    await made.stop()


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.ESTALE, errno.ENETDOWN])
def test_every_fault_of_a_folder_concerns_the_lane(code: int) -> None:
    told = fault(OSError(code, os.strerror(code)), Path("/drop/out"))
    assert told.scope is Scope.HOP
    assert told.status.code.startswith("4.")
    assert told.status.text.startswith("the folder ")
    assert "/drop/out" not in told.status.text, "a sender has no business with our paths"
    assert "/drop/out" in told.status.cause


async def test_a_drop_without_an_outbox_says_so(tmp_path: Path) -> None:
    made = connector(tmp_path, outbox=None, inbox="in")
    outcome = (await deliver(made, parcel(1, [ANN], numbered(1)))).outcomes[1, 0]
    assert isinstance(outcome, Deferred)
    assert "no outbox" in outcome.status.text
    await made.stop()
