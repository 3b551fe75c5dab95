"""Described records through a running gateway: in as mail, out as records, a status file back; a bad one kept alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.sink import Sink

EXAMPLES = Path(__file__).parents[2] / "examples/legacy-formats"
DROPS = """
[connector.plant]
type = "filedrop"
format = "records"
inbox = "plant/in"
outbox = "plant/out"
errors = "plant/errors"
status = "plant/status"
create_folders = true
poll_s = 0.5
[connector.plant.records]
describe = "alarms.toml"

[connector.desk]
type = "filedrop"
format = "records"
inbox = "desk/in"
outbox = "desk/out"
create_folders = true
poll_s = 0.5
[connector.desk.records]
describe = "tickets.toml"
"""
ROUTES = """
[[route]]
match = "smtp:*@desk.example"
to = "desk"
[[route]]
match = "smtp:*@plant7.example"
to = "plant"
"""


def put(folder: Path, name: str, octets: bytes) -> None:
    (folder / f"{name}.tmp").write_bytes(octets)
    (folder / f"{name}.tmp").rename(folder / name)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))


@pytest.fixture
def gateway(tmp_path: Path, sink: Sink) -> Iterator[Gateway]:
    made = Gateway(tmp_path, sink.port, more=DROPS)
    # The first route that matches wins, and that of the sink takes all of internet mail.
    made.config.write_text(made.config.read_text().replace("[[route]]", ROUTES + "\n[[route]]", 1))
    for name in ("alarms.toml", "tickets.toml"):
        (tmp_path / name).write_bytes((EXAMPLES / name).read_bytes())
    try:
        yield made.start(timeout_s=90)
    finally:
        made.stop()


def test_records_in_and_out(tmp_path: Path, gateway: Gateway) -> None:
    plant, desk = tmp_path / "plant", tmp_path / "desk"

    good = b"4711;press-3;fitter@desk.example;1;20261129083000;Oil pressure low;Press 3.~Limit 2.0 bar.\r\n"
    bad = b"4712;gate;nobody;3;20261129084512;Gate open;For 10 minutes.\r\n"
    put(plant / "in", "a.csv", good + bad)
    wait_until(lambda: len(files(desk / "out")) == 1, 60, "the alarm is a ticket")
    [ticket] = files(desk / "out")
    told = json.loads(ticket.read_bytes())
    assert told["sender"]["address"] == "press-3@plant7.example"
    assert told["recipients"] == [{"address": "fitter@desk.example"}]
    assert (told["title"], told["created"]) == ("Oil pressure low", "2026-11-29T06:30:00+00:00")
    assert "Limit 2.0 bar." in told["html"]

    wait_until(lambda: len(files(plant / "errors")) == 2, 60, "the bad record is kept")
    kept = {path.name.endswith(".reason.txt"): path.read_bytes() for path in files(plant / "errors")}
    assert kept[False] == bad
    assert b"records.address" in kept[True]

    wait_until(lambda: len(files(plant / "status")) == 1, 60, "the plant is told")
    [status] = files(plant / "status")
    assert status.read_bytes().startswith((b"4711;00;2.", b"4711;01;2."))

    answer = {
        "ticket": {"id": 815, "queue": "plant"},
        "sender": {"address": "fitter@desk.example", "name": "Jörg"},
        "recipients": [{"address": "press-3@plant7.example"}],
        "title": "On my way; at once",
        "created": "2026-11-29T09:00:00+02:00",
        "html": "<p>Stop the press.</p><p>I bring &quot;seals&quot;.</p>",
        "files": [{"name": "list.txt", "type": "text/plain", "content": "c2VhbHMNCg=="}],
    }
    put(desk / "in", "t.jsonl", json.dumps(answer).encode() + b"\n")
    wait_until(lambda: len(files(plant / "out")) == 1, 60, "the answer is a record")
    [record] = files(plant / "out")
    fields = record.read_bytes().decode("cp1252")
    assert fields.startswith(
        'ticket-815@desk.example;fitter@desk.example;press-3@plant7.example;2;20261129090000;"On my'
    )
    assert 'Stop the press.~~I bring ""seals"".' in fields
    assert "list.txt" in fields  # the plant has no attachments: the text names it
