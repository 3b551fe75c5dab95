"""Status files: what became of a message that came in by a file, under that file's name."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop import FileDrop
from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.formats import Encoded
from connectors.filedrop.status import key_of, stem_for, wishes
from gateway.contract import Action, Context, Delivered, Notify, RecipientReport, Report, Status
from gateway.testing import KitLog, ListBatch, RecordingIntake, numbered, parcel
from mappings.network import parse
from tests.connectors.filedrop.folders import connector, left, put, running, until
from tests.connectors.filedrop.slips import Slips

ANN, BOB = parse("mhs:ann@sales"), parse("smtp:bob@acme.example")


def report(
    action: Action = Action.DELIVERED, peer: str = "order 7.eml", text: str = "delivered", key: str = ""
) -> Report:
    hand_over = "oldmhs:0123456789abcdef:0" + (f":{key}" if key else "")
    code = "5.1.1" if action is Action.FAILED else "2.1.5"
    recipient = RecipientReport(action, BOB, BOB, Status(code, text))
    return Report(7, ANN, 1_795_000_000.0, (recipient,), envid="theirs", peer=peer, hand_over=hand_over)


def reporting(number: int, told: Report) -> Any:
    import dataclasses

    return dataclasses.replace(parcel(number, [ANN], b"From: <>\r\n\r\na report\r\n"), report=told)


def made(tmp: Path, **options: Any) -> FileDrop:
    given = {"network": "mhs", "inbox": "in", "outbox": "out", "status": "st", "create_folders": True, **options}
    return FileDrop("oldmhs", FileDropConfig.model_validate(given), Context("gw", tmp, tmp, KitLog(), time.time))


async def deliver(drop: FileDrop, *parcels: Any) -> ListBatch:
    batch = ListBatch(parcels, drop.next_hop(ANN))
    await drop.deliver(batch)
    return batch


async def test_it_is_named_after_the_file_and_says_what_became_of_whom(tmp_path: Path) -> None:
    drop = made(tmp_path)
    assert drop.takes_reports
    await drop.start()
    batch = await deliver(drop, reporting(1, report(Action.FAILED, text="no such mailbox", key="no. 7")))
    assert isinstance(batch.outcomes[1, 0], Delivered)
    assert os.listdir(tmp_path / "st") == ["order 7.sts"]
    assert (tmp_path / "st" / "order 7.sts").read_text().splitlines() == [
        "File: order 7.eml",
        "Key: no. 7",
        "Envelope-Id: theirs",
        "Gateway-Id: 0000000000007",
        "Arrived: 2026-11-18T11:06:40Z",
        "",
        "Recipient: bob@acme.example",
        "Action: failed",
        "Status: 5.1.1",
        "Text: no such mailbox",
    ]
    assert os.listdir(tmp_path / "out") == []
    await drop.stop()


async def test_a_retry_finds_it_and_a_later_one_stands_beside_it(tmp_path: Path) -> None:
    drop = made(tmp_path)
    await drop.start()
    for _ in range(2):
        await deliver(drop, reporting(1, report(Action.DELAYED, text="not yet")))
    await deliver(drop, reporting(2, report(Action.DELIVERED)))
    assert sorted(os.listdir(tmp_path / "st")) == ["order 7-2.sts", "order 7.sts"]
    await drop.stop()


async def test_messages_and_reports_of_one_batch_go_their_own_ways(tmp_path: Path) -> None:
    drop = made(tmp_path)
    await drop.start()
    batch = await deliver(drop, parcel(1, [ANN], numbered(1)), reporting(2, report()), parcel(3, [ANN], numbered(3)))
    assert all(isinstance(outcome, Delivered) for outcome in batch.outcomes.values())
    assert len(os.listdir(tmp_path / "out")) == 2
    assert len(os.listdir(tmp_path / "st")) == 1
    await drop.stop()


async def test_no_value_of_a_report_makes_a_line(tmp_path: Path) -> None:
    drop = made(tmp_path)
    await drop.start()
    evil = report(peer="a\r\nAction: delivered.eml", text="x\r\nStatus: 2.0.0\x85y", key="k\r\nz")
    await deliver(drop, reporting(1, evil))
    [path] = (tmp_path / "st").iterdir()
    lines = path.read_bytes().decode().split("\r\n")
    assert [line.split(":")[0] for line in lines if line].count("Status") == 1
    assert "\r" not in path.name
    await drop.stop()


@pytest.mark.parametrize("peer", ["../../etc/passwd", "..", "", "con", "a/b\\c.eml", "x" * 300 + ".eml", "\\xff.eml"])
async def test_no_name_of_a_file_leads_out_of_the_folder(tmp_path: Path, peer: str) -> None:
    drop = made(tmp_path)
    await drop.start()
    await deliver(drop, reporting(1, report(peer=peer)))
    assert len(os.listdir(tmp_path / "st")) == 1
    assert sorted(os.listdir(tmp_path)) == ["in", "out", "st"]
    await drop.stop()


async def test_dos_names_and_triggers_hold_for_it_too(tmp_path: Path) -> None:
    drop = made(tmp_path, name_style="dos83", put_as="trigger", trigger="{stem}.ok", extension=".eml")
    await drop.start()
    await deliver(drop, reporting(1, report()))
    stems = {name.partition(".")[0] for name in os.listdir(tmp_path / "st")}
    assert sorted(name.partition(".")[2] for name in os.listdir(tmp_path / "st")) == ["ok", "sts"]
    assert [len(stem) for stem in stems] == [8]
    await drop.stop()


async def test_a_format_s_own_form_comes_before_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Telling(Slips):
        status_extension = ".ack"

        def status(self, report: Report, key: str, stem: str) -> Encoded | None:
            if report.recipients[0].action is Action.DELAYED:
                return None
            return Encoded(lambda: (f"{key} {report.recipients[0].action.value}\n".encode(),))

    class Framed(Telling):
        status_is_message = True

    for kind, expected in ((Telling, b"no. 7 delivered\n"), (Framed, b"slips=\nno. 7 delivered\nend=\n")):
        monkeypatch.setattr("connectors.filedrop.connector.codec_class", lambda name, kind=kind: kind)
        tmp = tmp_path / kind.__name__
        drop = made(tmp)
        await drop.start()
        await deliver(drop, reporting(1, report(key="no. 7")), reporting(2, report(Action.DELAYED)))
        assert (tmp / "st" / "order 7.ack").read_bytes() == expected
        assert (tmp / "st" / "order 7.sts").read_bytes().startswith(b"File: order 7.eml\r\n")
        await drop.stop()


async def test_the_reports_it_is_made_of_are_asked_for(tmp_path: Path) -> None:
    intake = RecordingIntake()
    put(tmp_path, "a.eml", b"From: ann@sales\r\nTo: bob@acme.example\r\n\r\n")
    put(
        tmp_path,
        "b.eml",
        b"X-Sender: <ann@sales>\r\nX-Receiver: <bob@acme.example> NOTIFY=NEVER\r\nFrom: ann@sales\r\n\r\n",
    )
    put(tmp_path, "c.eml", b"X-Sender: <>\r\nX-Receiver: <bob@acme.example>\r\nFrom: ann@sales\r\n\r\n")
    async with running(connector(tmp_path, status="st", status_when=["delivered", "failed"]), intake):
        await until(lambda: left(tmp_path) == [])
    wanted = {one.message.envelope.origin.peer: one.message.envelope.recipients[0].notify for one in intake.accepted}
    assert wanted == {
        "a.eml": Notify.SUCCESS | Notify.FAILURE,
        "b.eml": Notify.NEVER,
        "c.eml": Notify.UNSET,
    }


def test_what_is_asked_for_follows_the_options() -> None:
    def of(*when: str) -> Notify:
        return wishes(FileDropConfig.model_validate({"inbox": "in", "status": "st", "status_when": when}))

    assert of() is Notify.NEVER
    assert of("relayed") == Notify.SUCCESS
    assert of("delayed", "failed") == Notify.DELAY | Notify.FAILURE


def test_the_key_and_the_name_are_found_in_the_report() -> None:
    assert key_of(report(key="a:b:c")) == "a:b:c"
    assert key_of(report()) == ""
    assert stem_for(report(peer="x.y.eml")) == "x.y"
    assert stem_for(report(peer="")) == "0000000000007"
