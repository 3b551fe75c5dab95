"""A store over a bad way: what may have been done is said so and found again, and nothing else is repeated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.ews import Ews
from connectors.exchange.graph import Graph
from connectors.exchange.store import BATCH_BYTES, ExchangeMailbox
from gateway.contract import Appended, Content, NewItem, Scope, Status, StoreFault
from gateway.testing.samples import numbered
from tests.connectors.exchange.ews.kit import context
from tests.peers.ews.process import EwsCompany, EwsPeer
from tests.peers.graph.process import GraphCompany

KINDS: dict[str, Any] = {"ews": Ews, "graph": Graph}
CREATES = {"ews": "CreateItem", "graph": "*"}


@pytest.fixture(params=["ews", "graph"])
def organisation(request: pytest.FixtureRequest) -> tuple[str, EwsCompany | GraphCompany]:
    return request.param, request.getfixturevalue(f"{request.param}_peer").organisation("ann", "bob")


@asynccontextmanager
async def opened(
    kind: str, company: EwsCompany | GraphCompany, folder: Path, name: str = "ann", **options: Any
) -> AsyncIterator[ExchangeMailbox]:
    made = KINDS[kind]("ex", KINDS[kind].Config(**company.access(**options)), context(folder))
    await made.start()
    try:
        async with made.open(company.address(name)) as box:
            yield box
    finally:
        await made.stop()


def item(number: int, octets: bytes | None = None) -> NewItem:
    return NewItem(f"k.{number}", Content(numbered(number) if octets is None else octets))


async def inbox_of(box: ExchangeMailbox) -> str:
    return next(folder.id for folder in await box.folders() if folder.role == "inbox")


@pytest.mark.parametrize("fault", ["cut_before", "cut_after", "truncate"])
async def test_an_append_whose_answer_is_lost(
    organisation: tuple[str, EwsCompany | GraphCompany], tmp_path: Path, fault: Any
) -> None:
    kind, company = organisation
    async with opened(kind, company, tmp_path) as box:
        inbox = await inbox_of(box)
        company.fault(CREATES[kind], fault, nth=1)
        with pytest.raises(StoreFault) as lost:
            await box.append(inbox, [item(n) for n in range(3)])
        assert lost.value.unknown
        company.calm()
        found = await box.find(inbox, [f"k.{n}" for n in range(3)])
        assert set(found) == (set() if fault == "cut_before" else {"k.0", "k.1", "k.2"})
        missing = [item(n) for n in range(3) if f"k.{n}" not in found]
        made = await box.append(inbox, missing) if missing else []
        assert all(isinstance(each, Appended) for each in made)
    assert len(company.items("ann")) == 3


async def test_a_later_batch_that_fails_may_have_been_preceded_by_another(ews_peer: EwsPeer, tmp_path: Path) -> None:
    company = ews_peer.organisation("ann")
    async with opened("ews", company, tmp_path) as box:
        inbox = await inbox_of(box)
        company.fault("CreateItem", "busy", nth=2, ms=7000)
        with pytest.raises(StoreFault) as busy:
            await box.append(inbox, [item(n) for n in range(25)])
        assert busy.value.unknown, "the first batch is there"
        assert (busy.value.status.code, busy.value.retry_after_s) == ("4.4.5", 7)
        assert len(await box.find(inbox, [f"k.{n}" for n in range(25)])) == 20


async def test_a_busy_server_says_for_how_long(
    organisation: tuple[str, EwsCompany | GraphCompany], tmp_path: Path
) -> None:
    kind, company = organisation
    async with opened(kind, company, tmp_path) as box:
        inbox = await inbox_of(box)
        company.fault("*", "busy", ms=9000)
        with pytest.raises(StoreFault) as busy:
            await box.changes(inbox, None)
        assert busy.value.retry_after_s == 9
        assert not busy.value.unknown
        company.calm()


async def test_a_mailbox_that_is_not_there_is_a_fault_of_that_mailbox(
    organisation: tuple[str, EwsCompany | GraphCompany], tmp_path: Path
) -> None:
    kind, company = organisation
    async with opened(kind, company, tmp_path, "nobody") as box:
        with pytest.raises(StoreFault) as missing:
            await box.folders()
    assert missing.value.scope is not Scope.HOP
    assert missing.value.status.code == "5.1.1"


async def test_a_full_mailbox_is_told_item_by_item(
    organisation: tuple[str, EwsCompany | GraphCompany], tmp_path: Path
) -> None:
    kind, company = organisation
    async with opened(kind, company, tmp_path) as box:
        inbox = await inbox_of(box)
        company.quota("ann", 40_000)
        large = numbered(2) + b"x" * 60_000 + b"\r\n"
        made = await box.append(inbox, [item(1), item(2, large), item(3)])
        assert [isinstance(each, Appended) for each in made] == [True, False, True]
        assert isinstance(made[1], Status)
        assert made[1].code == "4.2.2"


async def test_few_octets_are_in_memory_at_once(
    organisation: tuple[str, EwsCompany | GraphCompany], tmp_path: Path
) -> None:
    """Large items go and come alone, small ones by twenty: seen at the server."""
    kind, company = organisation
    large = numbered(0) + (b"0123456789abcdef" * 4 + b"\r\n") * (BATCH_BYTES // 66 // 2 + 1000)
    async with opened(kind, company, tmp_path) as box:
        inbox = await inbox_of(box)
        items = [item(n, large if n in (5, 6) else None) for n in range(30)]
        made = await box.append(inbox, items)
        ids = [each.id for each in made if isinstance(each, Appended)]
        assert len(ids) == 30
        await box.changes(inbox, None)
        fetched = [id async for id, content in box.fetch(ids) if isinstance(content, Content)]
        assert fetched == ids
    if kind == "ews":
        creates = [each.body.count(b"MimeContent>") // 2 for each in company.log("CreateItem")]
        assert sum(creates) == 30
        assert max(len(each.body) for each in company.log("CreateItem")) < 2 * BATCH_BYTES
        assert max(len(each.answer) for each in company.log("GetItem")) < 2 * BATCH_BYTES
