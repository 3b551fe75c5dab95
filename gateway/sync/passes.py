"""How the last pass of each mailbox went, and how the one under way goes on: written by whoever does it, read by all.

A pass that is under way is told every `BEAT_S`, so that one whose process was killed is known by its silence.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update

from gateway.sync.ends import Report, written
from gateway.sync.schema import ITEM, NOTE, PAIRING, PASS, PROBLEM
from gateway.sync.state import State

BEAT_S: Final = 2.0
SILENT_S: Final = 60.0
"""Nothing is told of a pass for so long where its process is gone, or as good as."""


@dataclass(frozen=True, slots=True)
class Told:
    """A mailbox's pass: the one under way (`ended_at` is None) or the last. `copied` and `octets` are of all passes."""

    who: str
    began_at: float
    updated_at: float
    ended_at: float | None
    is_done: bool
    fault: str
    report: Report
    passes: int
    copied: int
    octets: int

    def is_running(self, now: float) -> bool:
        """Tell whether it is under way, as far as one can know."""
        return self.ended_at is None and now - self.updated_at < SILENT_S


@dataclass(frozen=True, slots=True)
class Counts:
    """Of a pairing: items paired, what did not get across, and what was changed on its way."""

    items: int = 0
    problems: int = 0
    mended: int = 0


class Passes:
    """The passes that a state knows of."""

    def __init__(self, state: State, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._clock = clock
        self._who = f"{socket.gethostname()}:{os.getpid()}"

    async def begin(self, pairing: str, at: float | None = None) -> None:
        """Note that a pass has begun, now or then. One that is quick need not be noted before its end."""
        now = self._clock()

        def act(connection: Connection) -> None:
            before = _row(connection, pairing)
            _write(connection, pairing, self._who, now if at is None else at, now, Report(), before)

        await self._state.do(act)

    async def going(self, pairing: str, report: Report) -> bool:
        """Note how far it is; False where another process has begun one since, this one having lost its lock."""
        put = update(PASS).where(PASS.c.pairing == pairing, PASS.c.who == self._who)
        put = put.values(report=written(report), updated_at=self._clock())
        return await self._state.do(lambda connection: connection.execute(put).rowcount > 0)

    async def end(
        self, pairing: str, report: Report, *, is_done: bool, fault: str, began_at: float | None = None
    ) -> None:
        """Note how it ended; `began_at` where its begin was perhaps not noted. Another process's pass is left alone."""
        now = self._clock()

        def act(connection: Connection) -> None:
            before = _row(connection, pairing)
            is_ours = before is not None and before.who == self._who and before.ended_at is None
            if not is_ours:
                if began_at is None or (before is not None and before.ended_at is None and before.began_at >= began_at):
                    return
                _write(connection, pairing, self._who, began_at, now, report, before)
            put = update(PASS).where(PASS.c.pairing == pairing)
            values = {
                "report": written(report),
                "updated_at": now,
                "ended_at": now,
                "is_done": is_done,
                "fault": fault,
                "passes": PASS.c.passes + 1,
                "copied": PASS.c.copied + report.copied,
                "octets": PASS.c.octets + report.octets,
            }
            connection.execute(put.values(values))

        await self._state.do(act)

    async def stage(self, pairing: str) -> str | None:
        """Return the stage of a pairing; None where nothing is known of it."""
        asked = select(PAIRING.c.stage).where(PAIRING.c.id == pairing)
        return await self._state.do(lambda connection: connection.execute(asked).scalar_one_or_none())

    async def stages(self) -> dict[str, str]:
        """Return the stage of each pairing that anything is known of."""

        def read(connection: Connection) -> dict[str, str]:
            return {row.id: row.stage for row in connection.execute(select(PAIRING.c.id, PAIRING.c.stage))}

        return await self._state.do(read)

    async def not_done(self, pairing: str) -> int:
        """Return how many items and folders of a pairing did not get across."""
        asked = select(func.count()).select_from(PROBLEM).where(PROBLEM.c.pairing == pairing)
        return await self._state.do(lambda connection: int(connection.execute(asked).scalar_one()))

    async def counts(self) -> dict[str, Counts]:
        """Return how many items each pairing holds in step, and how many did not get across or only changed."""

        def read(connection: Connection) -> dict[str, Counts]:
            found: dict[str, list[int]] = {}
            for place, table in enumerate((ITEM, PROBLEM, NOTE)):
                for row in connection.execute(select(table.c.pairing, func.count()).group_by(table.c.pairing)):
                    found.setdefault(row[0], [0, 0, 0])[place] = row[1]
            return {pairing: Counts(*numbers) for pairing, numbers in found.items()}

        return await self._state.do(read)

    async def all(self) -> dict[str, Told]:
        """Return the pass of each pairing that ever had one."""

        def read(connection: Connection) -> dict[str, Told]:
            return {row.pairing: _told(row) for row in connection.execute(select(PASS))}

        return await self._state.do(read)


def _row(connection: Connection, pairing: str) -> Any:
    return connection.execute(select(PASS).where(PASS.c.pairing == pairing)).first()


def _write(
    connection: Connection, pairing: str, who: str, began_at: float, now: float, report: Report, before: Any
) -> None:
    """Write the row of a pass that is under way; what all passes copied goes on from the row before."""
    connection.execute(delete(PASS).where(PASS.c.pairing == pairing))
    values = {
        "pairing": pairing,
        "who": who,
        "began_at": began_at,
        "updated_at": now,
        "ended_at": None,
        "is_done": False,
        "fault": "",
        "report": written(report),
        "passes": before.passes if before is not None else 0,
        "copied": before.copied if before is not None else 0,
        "octets": before.octets if before is not None else 0,
    }
    connection.execute(insert(PASS).values(values))


def _told(row: Any) -> Told:
    known = {key: value for key, value in json.loads(row.report).items() if key in Report.__dataclass_fields__}
    return Told(
        row.who,
        row.began_at,
        row.updated_at,
        row.ended_at,
        row.is_done,
        row.fault,
        Report(**known),
        row.passes,
        row.copied,
        row.octets,
    )
