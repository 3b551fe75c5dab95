"""Whatever goes wrong, and wherever: each mail is there in the end, and once.

Twelve items are taken and twelve mails delivered, and sent, while the peer misbehaves; what is deferred is tried again
as the dispatcher would. Then the peer calms down, and everything has to be where it belongs: lost 0, doubled 0.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange import watching
from connectors.exchange.connector import Exchange
from connectors.exchange.ews import Ews
from connectors.exchange.pace import Pace
from gateway.contract import Deferred, Delivered, Parcel
from gateway.testing.peers import parcel
from mappings.network import network
from tests.connectors.exchange.kit import Kit, mail
from tests.peers.ews.process import EwsPeer
from tests.peers.organisation import Company

COUNT = 12
TROUBLED_S = 1.0
"""How long the peer misbehaves, while all that is there is under way."""
LONGEST_HOLD_S = 0.3
"""What is waited for in minutes elsewhere is over in this."""

Fault = Callable[[Company], None]


def chance(kind: Any, share: float, operation: str = "*", **how: object) -> Fault:
    return lambda company: company.fault(operation, kind, chance=share, **how)


EVERYWHERE: dict[str, Fault] = {
    "throttled half the time": chance("busy", 0.5, ms=50),
    "throttled by HTTP": chance("http", 0.3, status=503, retry_after=1),
    "HTTP 401 now and then": chance("http", 0.2, status=401),
    "closed with an error": chance("http", 0.3, status=500, close=True),
    "cut before": chance("cut_before", 0.3),
    "cut after": chance("cut_after", 0.3),
    "cut off answers": chance("truncate", 0.3),
    "sync states lost": chance("expire_sync", 0.5, "SyncFolderItems"),
    "refused items": chance("refuse", 0.3, code="ErrorInternalServerTransientError"),
    "slow": chance("slow", 0.2, seconds=0.5),
}


def in_ways(faults: Iterable[str]) -> list[tuple[str, str]]:
    """Return each fault with a way of handing over, by turns; with both in `make soak`."""
    ways = ("deliver", "send")
    if os.environ.get("GATEPOST_KILLS") == "every":
        return [(fault, way) for fault in faults for way in ways]
    return [(fault, ways[n % 2]) for n, fault in enumerate(faults)]


OPERATIONS = ["FindFolder", "CreateFolder", "SyncFolderItems", "GetItem", "MoveItem", "UpdateItem", "DeleteItem"]
OPERATIONS += ["FindItem", "CreateItem", "SendItem", "Subscribe", "GetStreamingEvents"]
FINISHES = {"UpdateItem": {"finish": "mark"}, "DeleteItem": {"finish": "delete"}}
"""The rules by which items end by an operation; by all others they are moved."""
CUTS = ["cut_before", "cut_after", "truncate"]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be left alone for longer than a moment."""
    hold = Pace.hold
    monkeypatch.setattr(Pace, "hold", lambda pace, seconds, *hop: hold(pace, min(seconds, LONGEST_HOLD_S), *hop))
    monkeypatch.setattr(watching, "LONGEST_WAIT_S", 1.0)


async def deliver_all(kit: Kit, made: Exchange, parcels: list[Parcel]) -> None:
    """Do as the dispatcher does: try what is left until nothing is."""
    left = list(parcels)
    for _ in range(200):
        outcomes = await kit.deliver(made, left)
        failed = [each for each in outcomes.values() if not isinstance(each, Delivered | Deferred)]
        assert not failed, failed
        left = [one for one in left if not isinstance(outcomes[one.items[0].id], Delivered)]
        if not left:
            return
        await asyncio.sleep(LONGEST_HOLD_S)
    raise AssertionError(f"{len(left)} mails were deferred 200 times")


def through(
    tmp_path: Path,
    company: Company,
    fault: Fault,
    mode: str,
    kind: type[Exchange] = Ews,
    *,
    ends: bool = False,
    had: Callable[[], bool] | None = None,
    rule: dict[str, Any] | None = None,
) -> None:
    """Take and deliver, and count. `ends`: the fault ends by itself, and is not taken back. `had`: whether it was
    met. `rule` changes the folder's own."""
    options = {"mode": "send", "send_as": company.address("ann")} if mode == "send" else {}
    kit = Kit(tmp_path, company, kind, timeout_s=10, **options)
    kit.options["watch"] = [kit.watched(**(rule or {}))]
    finish = (rule or {}).get("finish", "move")
    ann, bob = (network("smtp").parse(company.address(name)) for name in ("ann", "bob"))
    numbers = list(range(1, COUNT + 1))
    parcels = [parcel(n, [bob], mail(n, company, to=bob.value), sender=ann) for n in numbers]

    def is_taken() -> bool:
        if finish == "mark":
            return sum(bool(item.categories) for item in company.items("ann", "Out", whole=False)) == COUNT
        if finish == "delete":
            return kit.folder_of("ann", "deleteditems") == numbers
        return kit.folder_of("ann", "Gatepost/Taken") == numbers

    async def body() -> None:
        fault(company)
        began = time.monotonic()
        async with kit.running() as made:
            delivering = asyncio.create_task(deliver_all(kit, made, parcels))
            for number in numbers:
                await asyncio.to_thread(company.put, "ann", mail(number, company), folder="Out")
            if not ends:
                await asyncio.sleep(max(0.0, began + TROUBLED_S - time.monotonic()))
                await asyncio.to_thread(company.calm)
            await delivering
            if had is not None:
                await kit.until(had, "the fault was met")
            await kit.until(is_taken, "all are taken")

    asyncio.run(body())
    handed_over = {(line["mark"], line["key"], line["id"]) for line in kit.journal.lines()}
    assert sorted(mark for mark, _, _ in handed_over) == numbers
    assert kit.folder_of("bob", "inbox") == numbers
    assert kit.folder_of("ann", "Out") == (numbers if finish == "mark" else [])
    assert kit.folder_of("ann", "Gatepost/Refused") == []


@pytest.mark.parametrize(("fault", "mode"), in_ways(EVERYWHERE))
def test_a_peer_that_misbehaves_everywhere_costs_no_mail(
    tmp_path: Path, ews_peer: EwsPeer, fault: str, mode: str
) -> None:
    through(tmp_path, ews_peer.organisation("ann", "bob"), EVERYWHERE[fault], mode)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_connection_cut_at_an_operation_costs_no_mail(tmp_path: Path, ews_peer: EwsPeer, operation: str) -> None:
    """Each operation's first three requests end in the three ways in which a connection can."""

    def fault(company: Company) -> None:
        for nth, kind in enumerate(CUTS, 1):
            company.fault(operation, kind, nth=nth)  # type: ignore[arg-type]

    company = ews_peer.organisation("ann", "bob")
    mode = "send" if operation == "SendItem" else "deliver"

    def had() -> bool:
        return any(request.answered == "cut" for request in company.log(operation, whole=False))

    through(tmp_path, company, fault, mode, ends=True, had=had, rule=FINISHES.get(operation))
