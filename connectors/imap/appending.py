"""Appending: items into a folder, many by one command where the server can.

Promises: what is answered Appended is there; an item that the server refuses is named, and stops no other: a command of
several that is refused is taken apart until the one is found. The folder is selected on the connection that appends:
servers open a folder for each append that is into another one than the selected.
Source: RFC 9051 §6.3.12, RFC 3502 (MULTIAPPEND), RFC 4315 (APPENDUID), RFC 7889 (APPENDLIMIT).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from connectors.imap import flags
from connectors.imap.connection import Refused
from connectors.imap.faults import fault_of, status_of
from connectors.imap.session import Session
from connectors.imap.wire.commands import Appending, append, command, read_numbers
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.responses import Fetched, Said
from gateway.contract import Appended, NewItem, Note, Scope, Status

MOST_ITEMS: Final = 50
MOST_OCTETS: Final = 4 * 1024 * 1024
"""Of one command."""
NO_ID: Final = Status("4.5.0", "it is appended, and the server does not say under which number")


@dataclass(frozen=True, slots=True)
class _Ready:
    at: int
    one: Appending
    notes: tuple[Note, ...]


class Appender:
    """Appends to one folder. `id_of` makes an item's id of UIDVALIDITY and UID."""

    def __init__(self, session: Session, name: bytes, id_of: Callable[[int, int], str], *, several: bool) -> None:
        self._session = session
        self._name = name
        self._id_of = id_of
        self._several = several and session.has("MULTIAPPEND")

    async def append(self, items: Sequence[NewItem]) -> list[Appended | Status]:
        """Append in this order; an answer for each. Raises: Refused (of the folder), Closed, StoreFault."""
        folder = await self._session.select(self._name)
        answers: list[Appended | Status | None] = [None] * len(items)
        ready: list[_Ready] = []
        for at, item in enumerate(items):
            if item.form != "mime":
                answers[at] = Status("5.6.3", "an IMAP server holds messages alone")
                continue
            wanted, notes = flags.write(item.flags, item.keywords, folder)
            ready.append(_Ready(at, Appending(item.content, wanted, item.received_at), notes))
        for chunk in self._chunks(ready):
            await self._append(chunk, answers)
        return [each if each is not None else NO_ID for each in answers]

    def _chunks(self, ready: Sequence[_Ready]) -> list[list[_Ready]]:
        chunks: list[list[_Ready]] = []
        octets = 0
        for each in ready:
            size = each.one.content.size
            if not chunks or not self._several or len(chunks[-1]) >= MOST_ITEMS or octets + size > MOST_OCTETS:
                chunks.append([])
                octets = 0
            chunks[-1].append(each)
            octets += size
        return chunks

    async def _append(self, chunk: Sequence[_Ready], answers: list[Appended | Status | None]) -> None:
        folder = self._session.selected
        assert folder is not None
        before = folder.uidnext
        name = self._session.name(self._name)
        try:
            said = await self._session.connection.ask(append(name, [each.one for each in chunk]))
        except Refused as refused:
            fault = fault_of(refused, unknown=False)
            if fault.scope is not Scope.MESSAGE:
                raise fault from None
            if len(chunk) == 1:
                answers[chunk[0].at] = status_of(refused.said, "5.6.0")
                return
            middle = len(chunk) // 2
            await self._append(chunk[:middle], answers)
            await self._append(chunk[middle:], answers)
            return
        uidvalidity, uids = _appended(said)
        if len(uids) != len(chunk):
            uidvalidity, uids = folder.uidvalidity, await self._looked_up(chunk, before)
        for each, uid in zip(chunk, uids, strict=False):
            answers[each.at] = Appended(self._id_of(uidvalidity, uid), each.notes)
        if uids:
            folder.uidnext = max(uids) + 1

    async def _looked_up(self, chunk: Sequence[_Ready], before: int | None) -> list[int]:
        """Return the UIDs of what was just appended, at a server without UIDPLUS: new ones of these sizes, in order.

        Empty where others have put something in meanwhile, and it cannot be told which is which.
        """
        found: dict[int, int] = {}

        def takes(what: Untagged) -> bool:
            if isinstance(what, Fetched) and what.uid is not None and what.size is not None:
                found[what.uid] = what.size
                return True
            return False

        await self._session.connection.ask(command(b"NOOP"))
        start = before or 1
        await self._session.connection.ask(command(b"UID FETCH %d:* (UID RFC822.SIZE)" % start), takes)
        new = [uid for uid in sorted(found) if uid >= start]
        sizes = [each.one.content.size for each in chunk]
        return new if [found[uid] for uid in new] == sizes or len(new) == len(sizes) == 1 else []


def _appended(said: Said) -> tuple[int, list[int]]:
    code = said.code
    if code is None or code.name != "APPENDUID" or len(code.values) < 2:
        return 0, []
    uids = code.values[1]
    try:
        return code.number() or 0, read_numbers(uids) if isinstance(uids, bytes) else []
    except ValueError:
        return 0, []
