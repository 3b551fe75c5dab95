"""Answers to appends that lie for a moment: for how long, and that a connection hears again afterwards."""

from __future__ import annotations

import asyncio

import pytest

from connectors.imap.appending import Window
from connectors.imap.connection import Connection
from connectors.imap.wire.tokens import Limits


async def _window(each_s: float, count: int) -> Window:
    """Return the window of a server that took so long for each of so many appends, four of which are under way."""
    window = Window()
    for _ in range(4):
        await window.begin()
    for number in range(count):
        await asyncio.sleep(each_s * 4 if number % 4 == 0 else 0)
        window.end()
        window.done()
        await window.begin()
    return window


async def test_answers_lie_for_less_than_the_server_has_to_do() -> None:
    window = await _window(0.003, 48)
    assert 0.5 * 40 * 0.003 / 4 <= window.lull_s(40) <= 0.02
    assert window.lull_s(4) == 0, "so few are soon done"


async def test_no_answer_lies_before_it_is_known_how_long_each_takes() -> None:
    assert Window().lull_s(50) == 0
    assert (await _window(0.003, 12)).lull_s(50) == 0


async def test_answers_of_a_quick_server_do_not_lie() -> None:
    window = Window()
    for _ in range(200):
        await window.begin()
        await window.begin()
        window.end()
        window.end()
    assert window.lull_s(50) == 0


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.is_over = False

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def is_closing(self) -> bool:
        return self.is_over

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_connection_hears_again_after_a_lull(is_over: bool) -> None:
    connection, transport = Connection(timeout_s=60, spill=None, limits=Limits()), _Transport()
    connection.connection_made(transport)
    connection.lull(0.01)
    connection.lull(0.01)
    assert transport.calls == ["pause"], "the second is in the first"
    if is_over:
        transport.is_over = True
        connection.connection_lost(None)
    await asyncio.sleep(0.05)
    assert transport.calls == (["pause"] if is_over else ["pause", "resume"])
    connection.connection_lost(None)
