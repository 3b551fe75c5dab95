"""Abreast: messages that came at the same time are judged side by side, each step for all of them in a row.

What a step needs, code and data, stays in the processor's caches while the others take it. Judged one after the other,
each message finds most of that gone, since a whole judgement is more than they hold: it takes half as long again.

What goes abreast awaits nothing but `step_done`, the mark between two steps.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
Told = Callable[[_T | None, Exception | None], None]

PATIENCE: Final = 8
"""Turns of the loop, some microseconds each where nothing happens, in which nobody has come before a row sets out."""
_MOST_TURNS: Final = 60
MOST: Final = 32
"""How many go side by side: what else the loop has to do comes to its turn after some 10 ms."""


class MustWait(Exception):
    """An answer is not at hand: whoever can wait has to ask for it."""


@types.coroutine
def step_done() -> Generator[None, None, None]:
    """Let the others take the step that was just taken. To whom does not go abreast it is no more than a pause."""
    yield


class Abreast:
    """A row of work. It sets out when for some turns nobody has joined it: clients that a commit has answered together
    send their next messages together, and what is judged together is committed together too."""

    def __init__(self, who_may_come: Callable[[], int]) -> None:
        """`who_may_come` says how many can be in a row: it does not wait for more."""
        self._who_may_come = who_may_come
        self._row: list[tuple[Coroutine[Any, Any, Any], Told[Any]]] = []

    def add(self, work: Coroutine[Any, Any, _T], told: Told[_T]) -> None:
        """Let `work` begin in one of the next turns of the loop, and end in the same; `told` is called with what it
        returns or raises, and must not raise itself."""
        if not self._row:
            asyncio.get_running_loop().call_soon(self._wait, 0, PATIENCE, _MOST_TURNS)
        self._row.append((work, told))

    def _wait(self, seen: int, patience: int, turns: int) -> None:
        """Set out, or look again in the next turn; `seen` is how many there were in the last one."""
        there = len(self._row)
        patience = PATIENCE if there > seen else patience - 1
        if patience and turns and there < min(MOST, self._who_may_come()):
            asyncio.get_running_loop().call_soon(self._wait, there, patience, turns - 1)
            return
        row, self._row = self._row[:MOST], self._row[MOST:]
        if self._row:
            asyncio.get_running_loop().call_soon(self._wait, len(self._row), 1, 0)
        _go(row)


def _go(row: list[tuple[Coroutine[Any, Any, Any], Told[Any]]]) -> None:
    while row:
        behind = []
        for each in row:
            try:
                each[0].send(None)
            except StopIteration as stop:
                each[1](stop.value, None)
            except Exception as fault:  # noqa: BLE001  this one's alone
                each[1](None, fault)
            else:
                behind.append(each)
        row = behind
