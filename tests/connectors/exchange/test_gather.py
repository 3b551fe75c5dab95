"""Single wishes become few requests, and each gets its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence

import pytest

from connectors.exchange.gather import Gather


class Server:
    """Doubles numbers, in requests that a test lets go on."""

    def __init__(self) -> None:
        self.requests: list[tuple[Hashable, list[int]]] = []
        self.go = asyncio.Semaphore(0)

    def let(self, requests: int) -> None:
        """Answer so many requests more."""
        for _ in range(requests):
            self.go.release()

    async def __call__(self, kind: Hashable, wishes: Sequence[int]) -> list[int | Exception]:
        self.requests.append((kind, list(wishes)))
        await self.go.acquire()
        if 99 in wishes:
            raise OSError("all of them")
        return [ValueError(each) if each < 0 else 2 * each for each in wishes]


async def test_who_comes_while_one_is_under_way_goes_with_the_next() -> None:
    server = Server()
    gather = Gather(server, 4)
    asking = [asyncio.ensure_future(gather("a", n)) for n in range(8)]
    other = asyncio.ensure_future(gather("b", 50))
    await asyncio.sleep(0)
    assert server.requests == [("a", [0]), ("b", [50])]
    server.let(9)
    assert await asyncio.gather(*asking) == [2 * n for n in range(8)]
    assert await other == 100
    assert [wishes for kind, wishes in server.requests if kind == "a"] == [[0], [1, 2, 3, 4], [5, 6, 7]]
    assert not gather._queues


async def test_a_fault_is_its_own_and_one_of_the_request_is_everybodys() -> None:
    server = Server()
    gather = Gather(server, 10)
    asking = [asyncio.ensure_future(gather("a", n)) for n in (1, -2, 3)]
    await asyncio.sleep(0)
    server.let(2)
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [repr(each) for each in found] == ["2", "ValueError(-2)", "6"]
    asking = [asyncio.ensure_future(gather("a", n)) for n in (1, 99, 2)]
    await asyncio.sleep(0)
    server.let(2)
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [repr(each) for each in found] == ["2", "OSError('all of them')", "OSError('all of them')"]


@pytest.mark.parametrize("leaves", [0, 1, 2])
async def test_who_leaves_keeps_nobody(leaves: int) -> None:
    server = Server()
    gather = Gather(server, 10)
    asking = [asyncio.ensure_future(gather("a", n)) for n in range(4)]
    await asyncio.sleep(0)
    asking[leaves].cancel()
    await asyncio.sleep(0)
    server.let(9)
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found.pop(leaves), asyncio.CancelledError)
    assert found == [2 * n for n in range(4) if n != leaves]
    asked = [each for _, wishes in server.requests for each in wishes]
    assert asked.count(leaves) == (1 if leaves == 0 else 0)
    assert not gather._queues


async def test_where_the_one_that_asks_leaves_the_others_ask_again() -> None:
    server = Server()
    gather = Gather(server, 10)
    asking = [asyncio.ensure_future(gather("a", n)) for n in range(3)]
    await asyncio.sleep(0)
    server.let(1)
    assert await asking[0] == 0
    while len(server.requests) < 2:  # noqa: ASYNC110 - a turn of the loop
        await asyncio.sleep(0)
    asking[1].cancel()
    await asyncio.sleep(0)
    server.let(5)
    assert await asking[2] == 4
    with pytest.raises(asyncio.CancelledError):
        await asking[1]
    assert [wishes for _, wishes in server.requests] == [[0], [1, 2], [2]]
    assert not gather._queues
