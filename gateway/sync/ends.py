"""The two sides of a pass, and what it counts as it goes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from gateway.mailbox import Form, OpenMailbox, StoreFault
from gateway.message import Content
from gateway.status import Status
from gateway.sync.pace import Pace
from gateway.sync.values import Refusal, Side

_GONE: Final = ("4.2.0", "5.1.1")


class Unsettled(Exception):
    """It is not known whether an append was done: the destination has to be looked at before anything is repeated."""

    def __init__(self, side: Side, fault: StoreFault) -> None:
        self.side: Side = side
        self.fault = fault
        super().__init__(str(fault))


@dataclass(slots=True)
class Report:
    """What a pass did, counted as it goes."""

    copied: int = 0
    octets: int = 0
    adopted: int = 0
    flagged: int = 0
    moved: int = 0
    removed: int = 0
    skipped: int = 0
    conflicts: int = 0
    problems: int = 0
    listed: int = 0
    """Items that listings told of."""
    read: int = 0
    """Bodies that were fetched, for whatever reason."""
    folders: int = 0
    """Folders that were asked for changes."""
    mended: int = 0
    """Items that were changed on their way."""
    expected: int = 0
    """Items that are to be gone through, as far as is known."""
    passed: int = 0
    """Items that were gone through."""
    folder: str = ""
    """The path of the one that is under way, joined by `/`."""
    waiting: str = ""
    """Why nothing is done just now."""


def written(report: Report) -> str:
    """Return a report as it is kept."""
    return json.dumps(asdict(report), ensure_ascii=False)


@dataclass(slots=True)
class Result:
    """What became of a pass. `left_out`: folders that are not kept in step, and why; `collisions`: names."""

    report: Report = field(default_factory=Report)
    refused: Refusal | None = None
    left_out: list[str] = field(default_factory=list)
    collisions: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What is better known before more is copied: that it will not fit."""


@dataclass(frozen=True, slots=True)
class End:
    """One side: its mailbox, open, and the pace at its server."""

    mailbox: OpenMailbox
    pace: Pace


async def fetched(
    end: End, ids: Sequence[str], report: Report, form: Form = "mime"
) -> AsyncIterator[tuple[str, Content | Status]]:
    """Yield contents, going on after faults that pass. Raises: StoreFault."""
    at = 0
    while at < len(ids):
        await end.pace.ready()
        try:
            async for id, content in end.mailbox.fetch(ids[at:], form):
                at += 1
                report.read += 1
                end.pace.good()
                yield id, content
        except StoreFault as fault:
            end.pace.bad(fault)
        else:
            return


def is_gone(status: Status) -> bool:
    """Tell whether a status says that an item is not there (any more)."""
    return status.code in _GONE
