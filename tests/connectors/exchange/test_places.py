"""Places are given out by the batch, in order, and never beyond their bounds."""

from __future__ import annotations

import asyncio

import pytest

from connectors.exchange.places import PATIENCE_S, Places


@pytest.mark.parametrize(
    ("messages", "octets", "sizes", "expected"),
    [
        (40, 1000, [1] * 20, 20),
        (4, 1000, [1] * 20, 4),
        (40, 10, [4, 4, 4], 2),
        (40, 10, [50], 1),
        (40, 10, [50, 1], 1),
        (1, 10, [0], 1),
    ],
)
def test_as_many_as_there_is_room_for(messages: int, octets: int, sizes: list[int], expected: int) -> None:
    async def body() -> int:
        return await Places(messages, octets).take(sizes)

    assert asyncio.run(body()) == expected


def test_a_batch_waits_for_all_of_its_places() -> None:
    async def body() -> None:
        places = Places(4, 100)
        assert await places.take([1] * 4) == 4
        waiting = asyncio.create_task(places.take([1] * 3))
        await asyncio.sleep(0)
        for _ in range(3):
            assert not waiting.done()
            places.release(1)
            await asyncio.sleep(0)
        assert await waiting == 3

    asyncio.run(body())


def test_a_batch_waits_no_longer_than_a_moment_for_the_rest() -> None:
    async def body() -> None:
        places = Places(4, 100)
        await places.take([1] * 4)
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = asyncio.create_task(places.take([1] * 3))
        await asyncio.sleep(0)
        places.release(1)
        assert await waiting == 1
        assert loop.time() - began >= PATIENCE_S * 0.9

    asyncio.run(body())


def test_a_large_message_waits_until_it_is_alone() -> None:
    async def body() -> None:
        places = Places(4, 10)
        await places.take([5])
        waiting = asyncio.create_task(places.take([50]))
        await asyncio.sleep(PATIENCE_S * 1.5)
        assert not waiting.done()
        places.release(5)
        assert await waiting == 1
        behind = asyncio.create_task(places.take([1]))
        await asyncio.sleep(0.01)
        assert not behind.done()
        places.release(50)
        assert await behind == 1

    asyncio.run(body())


def test_who_is_cancelled_keeps_nothing() -> None:
    async def body() -> None:
        places = Places(1, 10)
        await places.take([1])
        waiting = asyncio.create_task(places.take([1]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))
        places.release(1)
        assert await places.take([1]) == 1

    asyncio.run(body())
