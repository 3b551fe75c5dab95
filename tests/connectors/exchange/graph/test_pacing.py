"""Slots: how many at once, in which order, and nothing while Graph asks for patience."""

from __future__ import annotations

import asyncio

import pytest

from connectors.exchange.graph.mime import KEY
from connectors.exchange.graph.pacing import LONGEST_S, Pacing
from connectors.exchange.organisation import Fault, New
from gateway.contract import Content
from tests.connectors.exchange.graph.conftest import Opened
from tests.peers.graph.process import GraphCompany


class Work:
    """Work in slots that ends when it is told to; counts what runs at once."""

    def __init__(self, pacing: Pacing) -> None:
        self.pacing = pacing
        self.running: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.order: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, mailbox: str, name: str = "", *, alone: bool = False) -> None:
        async with self.pacing.slot(mailbox, alone=alone):
            self.order.append(name)
            self.running[mailbox] = self.running.get(mailbox, 0) + 1
            self.most[mailbox] = max(self.most.get(mailbox, 0), self.running[mailbox])
            await self.go.wait()
            await asyncio.sleep(0)
            self.running[mailbox] -= 1


def pacing(per_mailbox: int = 3, in_all: int = 100) -> tuple[Pacing, list[float]]:
    clock = [1000.0]
    return Pacing(per_mailbox, in_all, lambda: clock[0]), clock


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_never_more_than_so_many_for_one_mailbox() -> None:
    work = Work(pacing()[0])
    tasks = [asyncio.ensure_future(work(f"m{n % 4}")) for n in range(80)]
    await settle()
    assert work.running == {f"m{n}": 3 for n in range(4)}
    work.go.set()
    await asyncio.gather(*tasks)
    assert work.most == {f"m{n}": 3 for n in range(4)}
    assert work.pacing._lanes == {}


async def test_never_more_than_so_many_in_all() -> None:
    work = Work(pacing(in_all=5)[0])
    tasks = [asyncio.ensure_future(work(f"m{n}")) for n in range(30)]
    await settle()
    assert sum(work.running.values()) == 5
    work.go.set()
    await asyncio.gather(*tasks)


async def test_a_batch_has_its_mailbox_alone_and_is_not_passed() -> None:
    work = Work(pacing()[0])
    tasks = [
        asyncio.ensure_future(work("m", "1")),
        asyncio.ensure_future(work("m", "batch", alone=True)),
        asyncio.ensure_future(work("m", "2")),
    ]
    await settle()
    assert work.order == ["1"]
    work.go.set()
    await asyncio.gather(*tasks)
    assert work.order == ["1", "batch", "2"]


async def test_a_held_mailbox_is_not_asked_and_others_are() -> None:
    slots, clock = pacing()
    slots.hold("m", 30)
    with pytest.raises(Fault) as caught:
        async with slots.slot("m"):
            pass
    assert (caught.value.why, caught.value.retry_after_s, caught.value.everywhere) == ("busy", 30.0, False)
    async with slots.slot("other"):
        pass
    clock[0] += 31
    async with slots.slot("m"):
        pass
    assert slots._lanes == {}


async def test_who_waited_meanwhile_is_refused_too() -> None:
    slots, _ = pacing(per_mailbox=1)
    work = Work(slots)
    first = asyncio.ensure_future(work("m"))
    second = asyncio.ensure_future(work("m"))
    await settle()
    slots.hold("m", 10)
    work.go.set()
    await first
    with pytest.raises(Fault, match="patience"):
        await second


async def test_what_holds_everything_holds_every_mailbox() -> None:
    slots, clock = pacing()
    slots.hold("", 1e9)
    with pytest.raises(Fault) as caught:
        async with slots.slot("m"):
            pass
    assert caught.value.everywhere
    assert slots.held_s() == LONGEST_S
    clock[0] += LONGEST_S
    async with slots.slot("m"):
        pass


async def test_a_cancelled_wait_loses_no_slot() -> None:
    slots, _ = pacing(per_mailbox=2)
    work = Work(slots)
    tasks = [asyncio.ensure_future(work("m")) for _ in range(10)]
    await settle()
    for each in tasks[1:8]:
        each.cancel()
    work.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert slots._lanes == {}
    async with slots.slot("m", alone=True):
        pass


async def test_the_peer_never_sees_a_fifth(company: GraphCompany, opened: Opened) -> None:
    """Everything at once, from several callers: the peer would answer 429 to a fifth request for one mailbox."""
    organisation, ann = await opened(per_mailbox=4), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    octets = b"From: a@b.example\r\nSubject: x\r\n\r\nhello\r\n"

    async def create(n: int) -> None:
        results = await organisation.create(ann, inbox, [New(f"k{n}.{i}", Content(octets)) for i in range(5)])
        assert not any(isinstance(each, Fault) for each in results)

    async def look(n: int) -> None:
        await organisation.find(ann, ["inbox"], [f"k{n}.{i}" for i in range(5)])

    async def read() -> None:
        seen = (await organisation.page(ann, inbox, None)).seen
        async for _, content in organisation.mime(seen[:10]):
            assert not isinstance(content, Fault)

    await asyncio.gather(*(create(n) for n in range(6)), *(look(n) for n in range(6)), *(read() for _ in range(4)))
    assert company.most_at_once("ann") <= 4
    assert not [each for each in company.log() if each.answered == "429"]
    keys = [value for item in company.items("ann") for name, value in item.properties.items() if name in _key_names()]
    assert sorted(keys) == sorted(f"k{n}.{i}" for n in range(6) for i in range(5))


def _key_names() -> tuple[str, ...]:
    group = KEY.split("{")[1].split("}")[0]
    return (f"{{{group}}}/gatepost-delivery",)
