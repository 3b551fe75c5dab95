"""Reports go back to the source that takes them, across a restart, and by the routes where it takes none any more."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import config as configuration
from gateway.contract import Action, Content, Delivered, Parcel, RecipientReport, Report, Status
from gateway.dsn import parse as parse_dsn
from gateway.node import Node
from gateway.registry import connectors
from gateway.spool.rows import envelope_from, envelope_text
from gateway.stored_report import report_of, with_report, without_report
from mappings.installed import by_group
from mappings.network import parse

from .dispatch.simulated import DoubleSpool, Peer, dispatcher, hand, simulate, stored

ANN = parse("mhs:ann@sales")
BOB = parse("ftn:Bob Lee@2:280/464")
REPORT = Report(
    7,
    ANN,
    1_700_000_000.5,
    (
        RecipientReport(Action.FAILED, BOB, ANN, Status("5.1.1", "no", "inside", "550 no", "mx"), "ftn;Bob", 1.0),
        RecipientReport(Action.DELAYED, ANN, BOB, Status("4.4.1"), retry_until=2.0),
    ),
    envid="e 1",
    ret_full=True,
    peer="one.msg",
    hand_over="claim-1",
)


def test_a_report_is_kept_beside_its_message() -> None:
    content = with_report(Content(b"Subject: x\r\n\r\n", attributes={"a": "b"}), REPORT)
    status = replace(REPORT.recipients[0].status, cause="")
    first = replace(REPORT.recipients[0], status=status)
    assert report_of(content) == replace(REPORT, recipients=(first, REPORT.recipients[1]))
    assert without_report(content).attributes == {"a": "b"}
    assert report_of(without_report(content)) is None


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40) | st.just('{"message_id":1}') | st.just("[]"))
def test_what_is_no_report_is_none(text: str) -> None:
    assert report_of(Content(b"", attributes={"report": text})) is None


class Takes(Peer):
    """A destination that takes reports, where `takes_reports`."""

    takes_reports = True

    def __init__(self) -> None:
        super().__init__(lambda hop, item, tries: Delivered())
        self.got: list[Parcel] = []

    async def deliver(self, batch: Any) -> None:
        parcels = batch.parcels
        while parcels:
            self.got += parcels
            for parcel in parcels:
                for item in parcel.items:
                    batch.settle(item.id, Delivered())
            await asyncio.sleep(0)
            parcels = batch.more()


@pytest.mark.parametrize("takes", [True, False])
def test_a_destination_that_takes_reports_is_handed_them(takes: bool) -> None:
    spool, peer = DoubleSpool(), Takes()
    peer.takes_reports = takes

    async def main() -> None:
        d = dispatcher(spool, peer)
        running = asyncio.get_running_loop().create_task(d.run())
        report = stored(is_report=True)
        hand(d, spool, replace(report, content=with_report(report.content, REPORT)))
        plain = stored()
        hand(d, spool, replace(plain, content=with_report(plain.content, REPORT)))
        await asyncio.sleep(5)
        await d.stop(1.0)
        await running

    simulate(main)
    first, second = sorted(peer.got, key=lambda parcel: parcel.message_id)
    assert (first.report is not None) == takes
    assert second.report is None, "only the gateway's own reports are"
    if first.report is not None:
        assert first.report.recipients[0].original == BOB


# -- the whole gateway

CONFIG = """
[gateway]
name = "gw.example"
spool = "sqlite:///spool"
retry_min = "1s"
retry_max = "1s"
[mapping]
domains = ["gw.example"]
[connector.near]
type = "carrier"
folder = "{near}"
reports = {reports}
[connector.far]
type = "carrier"
folder = "{far}"
[connector.post]
type = "carrier"
folder = "{post}"
[[route]]
match = "mhs:*@sales"
to = "post"
[[route]]
match = "mhs:*"
to = "far"
"""


@pytest.fixture
def carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the carrier as a plugin, in an environment of the test's own; return a folder with its three folders."""
    info = tmp_path / "site" / "gatepost_carrier-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gatepost-carrier\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[gatepost.connectors]\ncarrier = tests.gateway.carrier:Carrier\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    _forget_installed()
    for name in ("near", "far", "post"):
        for folder in ("in", "out"):
            (tmp_path / name / folder).mkdir(parents=True)
    yield tmp_path
    _forget_installed()


def _forget_installed() -> None:
    by_group.cache_clear()
    connectors.cache_clear()


@asynccontextmanager
async def gateway(folder: Path, *, reports: bool = True) -> AsyncIterator[None]:
    path = folder / "gatepost.toml"
    names = {name: str(folder / name) for name in ("near", "far", "post")}
    path.write_text(CONFIG.format(reports=str(reports).lower(), **names))
    node = Node(configuration.load(path))
    running = asyncio.create_task(node.run())
    try:
        yield
    finally:
        node.stop()
        await running


async def there(folder: Path, pattern: str, count: int = 1) -> list[Path]:
    end = time.monotonic() + 10
    while len(found := sorted((folder / "out").glob(pattern))) < count:
        assert time.monotonic() < end, f"{pattern} did not come to {folder}"
        await asyncio.sleep(0.02)
    return found


async def taken(folder: Path) -> None:
    """Wait until everything was taken, and the reports on it are stored."""
    for _ in range(500):
        if not list((folder / "in").iterdir()):
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


def submit(folder: Path, name: str, to: str) -> None:
    path = folder / "near" / "in" / f"{name}.tmp"
    path.write_bytes(f"ann@sales\n{to}\nSubject: hi\r\n\r\ntext\r\n".encode())
    path.rename(path.with_suffix(".msg"))


async def test_reports_go_back_to_their_source(carrier: Path) -> None:
    async with gateway(carrier):
        submit(carrier, "one", "bad@plant,bob@plant")
        found = [json.loads(path.read_text()) for path in await there(carrier / "near", "*.json")]
        await there(carrier / "far", "*.msg")
        recipients = sorted(recipient for report in found for recipient in report["recipients"])
        if len(recipients) == 1:  # the other one may have been settled in a commit of its own
            found = [json.loads(path.read_text()) for path in await there(carrier / "near", "*.json", 2)]
            recipients = sorted(recipient for report in found for recipient in report["recipients"])
        assert recipients == [
            ["delivered", "mhs:bob@plant", "mhs;bob@plant", "2.1.5", ""],
            ["failed", "mhs:bad@plant", "mhs;bad@plant", "5.1.1", "550 no"],
        ]
        named = {(report["to"], report["envid"], report["hand_over"]) for report in found}
        assert named == {("mhs:ann@sales", "one", "one.msg")}
        assert not list((carrier / "post" / "out").iterdir()), "the routes say post, and it is not asked"


async def test_a_report_outlives_a_restart(carrier: Path) -> None:
    (carrier / "near" / "closed").touch()
    async with gateway(carrier):
        submit(carrier, "two", "bad@plant")
        await taken(carrier / "near")
    (carrier / "near" / "closed").unlink()
    async with gateway(carrier):
        (path,) = await there(carrier / "near", "*.json")
        assert json.loads(path.read_text())["recipients"][0][:2] == ["failed", "mhs:bad@plant"]


async def test_a_source_that_takes_no_reports_any_more_gets_a_dsn_by_the_routes(carrier: Path) -> None:
    (carrier / "near" / "closed").touch()
    async with gateway(carrier):
        submit(carrier, "three", "bad@plant")
        await taken(carrier / "near")
    async with gateway(carrier, reports=False):
        (path,) = await there(carrier / "post", "*.msg")
    to, _, octets = path.read_bytes().partition(b"\n")
    assert to == b"ann@sales"
    found = parse_dsn(octets)
    assert found is not None
    assert (found.envid, found.recipients[0].original) == ("three", ("mhs", "bad@plant"))
    (carrier / "near" / "closed").unlink()
    async with gateway(carrier):
        await asyncio.sleep(0.5)
        assert not list((carrier / "near" / "out").iterdir()), "it went once"


def test_a_message_to_the_members_of_a_group_keeps_that_mark() -> None:
    envelope = replace(stored(now=0.0).envelope, to_members=True)
    assert envelope_from(envelope_text(envelope)) == envelope
