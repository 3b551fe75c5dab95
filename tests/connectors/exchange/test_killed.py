"""kill -9 before requests and before answers: nothing is lost, and nothing doubled. Before every one in `make soak`.

The peer holds the n-th request of a run, before it did anything or once it did all of it; then the connector's process
is killed, and another one takes over what is left.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.connector import Exchange
from connectors.exchange.ews import Ews
from gateway.contract import Delivered
from gateway.testing.crash import SteppingLoop, Victim
from gateway.testing.peers import ListBatch, parcel
from mappings.network import network
from tests.connectors.exchange.kit import PATIENCE_S, Kit, mail
from tests.peers.ews.process import EwsPeer
from tests.peers.organisation import Company
from tests.peers.process import wait_until

HOW = ["never", "held"]
"""The request is held before it is done; or done, and its answer is held."""
MOST = 60
IS_SOAK = os.environ.get("GATEPOST_KILLS") == "every"
EVERY = 1 if IS_SOAK else 3
"""Of how many requests one has a kill; `make soak` kills at all. One with an answer held leaves at the peer what one
before the next request leaves."""


def killed_at(
    kit: Kit, nth: int, how: Any, body: Callable[[], Coroutine[Any, Any, None]], done: Callable[[], bool]
) -> bool:
    """Run `body` in a process that is killed while the peer holds its `nth` request; False where it made fewer."""
    kit.company.fault("*", how, nth=nth)

    async def run(loop: SteppingLoop) -> None:
        await body()

    victim = Victim(run)
    try:
        assert victim.wait(lambda: is_held(kit) or done(), PATIENCE_S), kit.company.log()[-3:]
    finally:
        victim.kill()
    held = is_held(kit)
    kit.company.calm()
    return held


def is_held(kit: Kit) -> bool:
    return any(request.answered == "never" for request in kit.company.log(whole=False))


def every_request(tmp_path: Path, one: Callable[[Path, int], bool], every: int = EVERY) -> int:
    """Call `one` with 1, 1 + every and so on until a run makes fewer requests; return how many there were at most."""
    for nth in range(1, MOST, every):
        folder = tmp_path / str(nth)
        folder.mkdir()
        if not one(folder, nth):
            return nth - 1
    raise AssertionError(f"over {MOST} requests for next to nothing")


def take(folder: Path, company: Company, nth: int, how: str, kind: type[Exchange] = Ews) -> bool:
    """Have two items taken, with a kill at a request; say whether there was one of that number."""
    kit = Kit(folder, company, kind)
    kit.options["watch"] = [kit.watched()]
    for number in (1, 2):
        company.put("ann", mail(number, company), folder="Out")

    async def body() -> None:
        made = kit.make()
        await made.start()
        await made.run(kit.intake)

    def taken() -> bool:
        return kit.folder_of("ann", "Gatepost/Taken") == [1, 2]

    held = killed_at(kit, nth, how, body, taken)
    again = Kit(folder, company, kind, watch=[kit.watched()])

    async def restarted() -> None:
        async with again.running():
            await again.until(taken, f"both are taken after a kill at request {nth}")

    asyncio.run(restarted())
    handed_over = {(line["mark"], line["key"], line["id"]) for line in kit.journal.lines()}
    assert sorted(mark for mark, _, _ in handed_over) == [1, 2], (nth, handed_over)
    assert kit.folder_of("ann", "Out") == []
    return held


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", HOW)
def test_what_is_taken_comes_once(tmp_path: Path, ews_peer: EwsPeer, how: str) -> None:
    requests = every_request(tmp_path, lambda folder, nth: take(folder, ews_peer.organisation("ann"), nth, how))
    assert requests >= 6, "folders are asked for, a page, the items, and two moves"


def put(
    folder: Path,
    company: Company,
    nth: int,
    how: str,
    kind: type[Exchange] = Ews,
    written: Callable[..., bytes] = mail,
    count: int = 3,
    **options: Any,
) -> bool:
    """Have mails for Bob delivered, with a kill at a request; say whether there was one of that number."""
    kit = Kit(folder, company, kind, **options)
    ann, bob = (network("smtp").parse(company.address(name)) for name in ("ann", "bob"))
    numbers = list(range(1, count + 1))
    parcels = [parcel(n, [bob], written(n, company, to=bob.value), sender=ann) for n in numbers]

    async def body() -> None:
        made = kit.make()
        await made.start()
        await made.deliver(ListBatch(parcels, made.next_hop(bob), journal=kit.journal))
        kit.journal.add({"id": [0], "outcome": "over"})

    held = killed_at(kit, nth, how, body, lambda: any(line["outcome"] == "over" for line in kit.journal.lines()))
    settled = {line["id"][0] for line in kit.journal.lines() if line["outcome"] == "Delivered"}
    left = [one for one in parcels if one.message_id not in settled]

    async def restarted() -> None:
        made = kit.make()
        await made.start()
        try:
            outcomes = await kit.deliver(made, left) if left else {}
            assert all(isinstance(each, Delivered) for each in outcomes.values()), (nth, outcomes)
        finally:
            await made.stop()

    asyncio.run(restarted())
    wait_until(lambda: kit.folder_of("bob", "inbox") == numbers, PATIENCE_S, f"each is there once after {nth}")
    return held


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", HOW)
def test_what_is_put_into_a_mailbox_is_there_once(tmp_path: Path, ews_peer: EwsPeer, how: str) -> None:
    def one(folder: Path, nth: int) -> bool:
        return put(folder, ews_peer.organisation("ann", "bob"), nth, how)

    assert every_request(tmp_path, one) >= 3


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", HOW)
def test_what_is_sent_arrives_once(tmp_path: Path, ews_peer: EwsPeer, how: str) -> None:
    def one(folder: Path, nth: int) -> bool:
        company = ews_peer.organisation("ann", "bob")
        return put(folder, company, nth, how, mode="send", send_as=company.address("ann"))

    assert every_request(tmp_path, one) >= 5
