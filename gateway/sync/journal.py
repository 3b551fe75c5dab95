"""The journal of a mailbox's course: each step as it is begun, so that a course that was cut goes on from there.

A step is noted before it is taken, durably; taking it twice does what taking it once does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway.sync.state import State


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: the stage that the mailbox was put at, the step, and what it needs to be gone on with or undone."""

    stage: str
    step: str
    at: float
    detail: dict[str, Any]


class Journal:
    """One mailbox's, in the state of the syncs."""

    def __init__(self, state: State, pairing: str) -> None:
        self._state = state
        self._pairing = pairing

    async def note(self, stage: str, step: str, /, **detail: Any) -> None:
        """Write a line, and put the mailbox at a stage. Durable when this returns."""
        await self._state.set_stage(self._pairing, stage, json.dumps({"step": step, **detail}, ensure_ascii=False))

    async def entries(self) -> list[Entry]:
        """Return all lines, oldest first."""
        return [_entry(*line) for line in await self._state.journal(self._pairing)]

    async def newest(self) -> str:
        """Return the newest line's step, empty where there is none."""
        entries = await self.entries()
        return entries[-1].step if entries else ""

    async def last(self, step: str) -> Entry | None:
        """Return the newest line of a step."""
        return next((each for each in reversed(await self.entries()) if each.step == step), None)


def _entry(stage: str, text: str, at: float) -> Entry:
    try:
        detail = json.loads(text) if text else {}
    except ValueError:
        detail = {}
    if not isinstance(detail, dict):
        detail = {}
    return Entry(stage, str(detail.pop("step", stage)), at, detail)
