"""The way to the server: found late, lost, and found elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.ews import reach
from connectors.exchange.ews.answer import NotSent
from connectors.exchange.organisation import Fault
from tests.connectors.exchange.ews.canned import a_folder, canned
from tests.connectors.exchange.ews.kit import fault_of, organisation

OPTIONS: dict[str, Any] = {
    "autodiscover": "ann@acme.example", "auth": "basic", "username": "u", "password": "p", "password_without_tls": True,
    "max_streams": 0,
}  # fmt: skip


class Discovers:
    """Stands for autodiscovery: finds what a test says, or nothing."""

    places: list[str | None]
    asked = 0
    forgotten = 0

    def find(self) -> str:
        Discovers.asked += 1
        place = Discovers.places[0] if len(Discovers.places) == 1 else Discovers.places.pop(0)
        if place is None:
            raise NotSent("autodiscovery finds no server")
        return place

    def forget(self) -> None:
        Discovers.forgotten += 1


@pytest.fixture
def discovers(monkeypatch: pytest.MonkeyPatch) -> type[Discovers]:
    monkeypatch.setattr(reach, "Autodiscovery", lambda *_: Discovers())
    Discovers.asked = Discovers.forgotten = 0
    return Discovers


async def test_a_server_that_is_found_late_is_not_looked_for_by_each_request(
    discovers: type[Discovers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discovers.places = [None]
    with pytest.raises(Fault, match="finds no server"):
        async with organisation(tmp_path, **OPTIONS):
            pass
    with canned(a_folder) as server:
        discovers.places = [server.url]
        async with organisation(tmp_path, **OPTIONS) as exchange:
            exchange._reach._line = None
            discovers.places = [None]
            first = await fault_of(exchange.folder("ann@acme.example", "inbox"))
            asked = discovers.asked
            again = await asyncio.gather(*(fault_of(exchange.folder("b@acme.example", "inbox")) for _ in range(5)))
            assert discovers.asked == asked, "it waits half a minute"
            exchange._reach._not_before = 0.0
            discovers.places = [server.url]
            assert await exchange.folder("ann@acme.example", "inbox") == "F1"
            assert exchange.trouble() is None
    assert {each.why for each in (first, *again)} == {"unreachable"}


async def test_a_server_that_has_moved_is_looked_for_anew(discovers: type[Discovers], tmp_path: Path) -> None:
    with canned(a_folder) as server:
        discovers.places = ["http://127.0.0.1:9/EWS", server.url]
        async with organisation(tmp_path, **OPTIONS) as exchange:
            for _ in range(3):
                assert (await fault_of(exchange.folder("ann@acme.example", "inbox"))).why == "unreachable"
            assert discovers.forgotten == 1
            assert await exchange.folder("ann@acme.example", "inbox") == "F1"
            assert discovers.asked == 2


async def test_a_discovered_address_in_the_clear_gets_no_password(discovers: type[Discovers], tmp_path: Path) -> None:
    discovers.places = ["http://mail.acme.example/EWS/Exchange.asmx"]
    with pytest.raises(Fault, match="without TLS"):
        async with organisation(tmp_path, **{**OPTIONS, "password_without_tls": False}):
            pass


async def test_a_watcher_that_is_closed_leaves_nothing_behind(tmp_path: Path) -> None:
    with canned(a_folder) as server:
        options = {**OPTIONS, "autodiscover": None, "url": server.url, "max_streams": 2}
        async with organisation(tmp_path, **options) as exchange:
            watcher: Any = exchange.watch([("ann@acme.example", "F1")])
            begun = asyncio.ensure_future(anext(watcher))
            await asyncio.sleep(0.2)
            begun.cancel()
            await asyncio.gather(begun, return_exceptions=True)
            assert len(asyncio.all_tasks()) == 1
            other: Any = exchange.watch([("ann@acme.example", "F1")])
            begun = asyncio.ensure_future(anext(other))
            await asyncio.sleep(0.2)
            begun.cancel()
            await asyncio.gather(begun, return_exceptions=True)
            await asyncio.create_task(other.aclose())
            assert len(asyncio.all_tasks()) == 1
