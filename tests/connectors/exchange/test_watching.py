"""Watched folders: notifications only hint, the folder's own list is the truth."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.tokens import Tokens
from tests.connectors.exchange.kit import Kit, mail
from tests.peers.ews.process import EwsCompany

LONG_S = 3600
"""Nothing is looked at meanwhile but what a notification tells of."""


def kit(tmp_path: Path, company: EwsCompany, rule: dict[str, Any] | None = None, **options: Any) -> Kit:
    made = Kit(tmp_path, company, **options)
    made.options["watch"] = [made.watched(**(rule or {}))]
    return made


def put(company: EwsCompany, *numbers: int) -> None:
    for number in numbers:
        company.put("ann", mail(number, company), folder="Out")


def test_a_notification_is_enough(tmp_path: Path, company: EwsCompany) -> None:
    made = kit(tmp_path, company, poll_s=LONG_S)
    put(company, 1)

    async def body() -> None:
        async with made.running():
            await made.until(
                lambda: bool(company.log("GetStreamingEvents", whole=False)), "notifications are asked for"
            )
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1], "what was there is taken")
            began = time.monotonic()
            await asyncio.to_thread(put, company, 2)
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1, 2], "what came is taken")
            assert time.monotonic() - began < 30

    asyncio.run(body())
    assert made.intake.marks == [1, 2]


def test_a_missed_notification_costs_time_and_no_mail(tmp_path: Path, company: EwsCompany) -> None:
    company.fault("*", "miss_events")
    made = kit(tmp_path, company, poll_s=3)
    put(company, 1)

    async def body() -> None:
        async with made.running():
            await made.until(
                lambda: bool(company.log("GetStreamingEvents", whole=False)), "notifications are asked for"
            )
            await asyncio.to_thread(put, company, 2, 3)
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1, 2, 3], "what came is taken")

    asyncio.run(body())
    assert sorted(made.intake.marks) == [1, 2, 3]


@pytest.mark.parametrize("is_forgotten", [False, True], ids=["stream", "subscription"])
def test_after_a_dropped_stream_everything_is_asked_for(
    tmp_path: Path, company: EwsCompany, is_forgotten: bool
) -> None:
    made = kit(tmp_path, company, poll_s=LONG_S)
    put(company, 1)

    async def body() -> None:
        async with made.running():
            await made.until(
                lambda: bool(company.log("GetStreamingEvents", whole=False)), "notifications are asked for"
            )
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1], "what was there is taken")
            await asyncio.to_thread(company.fault, "*", "miss_events")
            await asyncio.to_thread(put, company, 2)
            await asyncio.to_thread(company.calm)
            if is_forgotten:
                await asyncio.to_thread(company.forget_subscriptions)
            await asyncio.to_thread(company.fault, "GetStreamingEvents", "drop_stream")
            await asyncio.to_thread(company.calm)
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1, 2], "what was missed is taken")

    asyncio.run(body())


def test_a_lost_sync_state_costs_a_listing_and_no_mail(tmp_path: Path, company: EwsCompany) -> None:
    """Of three items left with a mark none comes again; the new one does."""
    made = kit(tmp_path, company, {"finish": "mark"})
    put(company, 1, 2, 3)

    async def body() -> None:
        async with made.running():
            await made.until(
                lambda: all(item.categories for item in company.items("ann", "Out", whole=False)),
                "all of them are marked",
            )
            await asyncio.to_thread(company.expire_sync)
            await asyncio.to_thread(put, company, 4)
            await made.until(
                lambda: all(item.categories for item in company.items("ann", "Out", whole=False)),
                "the new one is marked",
            )

    asyncio.run(body())
    assert sorted(made.intake.marks) == [1, 2, 3, 4]
    assert {item.categories for item in company.items("ann", "Out")} == {("Gatepost taken",)}
    assert any(event == "the server does not know the sync state any more; the folder is listed anew"
               for _, event, _ in made.log.lines)  # fmt: skip


def test_what_was_there_before_can_be_left(tmp_path: Path, company: EwsCompany) -> None:
    made = kit(tmp_path, company, {"existing": "leave"})
    now = time.time()
    company.put("ann", mail(1, company), folder="Out", received_at=now - 3600)

    async def first() -> None:
        async with made.running():
            await made.until(lambda: bool(company.log("SyncFolderItems", whole=False)), "the folder is listed")
            await asyncio.sleep(1)
            await asyncio.to_thread(company.put, "ann", mail(2, company), folder="Out", received_at=now)
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [2], "what came since is taken")
            # What a user does to the old one, and a lost sync state, must not bring it in.
            (old,) = await asyncio.to_thread(company.items, "ann", "Out")
            await asyncio.to_thread(company.alter, "ann", old.id, is_read=True)
            await asyncio.to_thread(company.expire_sync)
            await asyncio.to_thread(company.put, "ann", mail(3, company), folder="Out", received_at=now + 1)
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [2, 3], "what came since is taken")

    asyncio.run(first())

    async def again() -> None:
        async with made.running():
            await asyncio.to_thread(company.put, "ann", mail(4, company), folder="Out", received_at=now + 2)
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [2, 3, 4], "so it is after a restart")

    asyncio.run(again())
    assert made.folder_of("ann", "Out") == [1]
    assert made.intake.marks == [2, 3, 4]


def test_a_folder_that_is_not_there_is_told_and_taken_up_later(tmp_path: Path, company: EwsCompany) -> None:
    made = kit(tmp_path, company)

    async def body() -> None:
        async with made.running() as connector:
            await made.until(lambda: not connector.health().ok, "the missing folder is told")
            assert company.address("ann") in connector.health().text
            await asyncio.to_thread(put, company, 1)
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1], "the folder is taken up")
            await made.until(lambda: connector.health().ok, "all is well again")

    asyncio.run(body())


def test_an_item_that_waits_holds_up_no_other_and_comes_after_a_restart(tmp_path: Path, company: EwsCompany) -> None:
    """The first of two can't be fetched; the token is not kept beyond it, so a restart lists it again."""
    made = kit(tmp_path, company)
    put(company, 1)
    company.fault("GetItem", "refuse", code="ErrorInternalServerError")

    async def first() -> None:
        async with made.running() as connector:
            await made.until(lambda: len(company.log("GetItem", whole=False)) >= 4, "it is asked for in vain")
            await made.until(lambda: "1 items" in connector.health().text, "that it waits is told")
            await asyncio.to_thread(company.calm)
            await asyncio.to_thread(company.fault, "GetItem", "refuse", nth=2, code="ErrorInternalServerError")
            await asyncio.to_thread(put, company, 2)
            await made.until(lambda: 2 in made.folder_of("ann", "Gatepost/Taken"), "another one is taken")

    asyncio.run(first())
    company.calm()

    async def again() -> None:
        async with made.running():
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1, 2], "both are taken")

    asyncio.run(again())
    assert sorted(made.intake.marks) == [1, 2]


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 400])
def test_a_damaged_file_of_tokens_is_begun_anew(tmp_path: Path, company: EwsCompany, damage: bytes) -> None:
    made = kit(tmp_path, company)
    (tmp_path / "state" / "tokens.db").write_bytes(damage)
    put(company, 1)

    async def body() -> None:
        async with made.running():
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1], "it is taken all the same")
        tokens = Tokens(tmp_path / "state" / "tokens.db", made.make().context)
        await tokens.put("a", "f", "t1")
        await tokens.close()
        assert await tokens.get("a", "f") == "t1"
        await tokens.put("a", "f", None)
        assert await tokens.get("a", "f") is None
        await tokens.close()

    asyncio.run(body())


@pytest.mark.parametrize("kind", ["busy", "cut_before", "truncate"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_all_of_a_page_is_taken_though_one_of_its_batches_fails(
    tmp_path: Path, company: EwsCompany, nth: int, kind: Any
) -> None:
    made = kit(tmp_path, company)
    put(company, *range(1, 51))
    company.fault("GetItem", kind, nth=nth)

    async def body() -> None:
        async with made.running():
            await made.until(lambda: len(company.items("ann", "Gatepost/Taken", whole=False)) == 50, "all are taken")

    asyncio.run(body())
    assert sorted(made.intake.marks) == list(range(1, 51))
