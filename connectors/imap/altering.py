"""What is done with items of the selected folder: flags, moves, removals. By UIDPLUS and MOVE, or without them.

Promises: nothing is removed that others have marked as deleted; where a server has no UIDPLUS, their marks are taken
off while ours are expunged, and put on again.
Source: RFC 9051 §6.4.6-§6.4.9, RFC 6851 (MOVE), RFC 4315 (UIDPLUS).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from connectors.imap import flags as marks
from connectors.imap.connection import Refused
from connectors.imap.faults import fault_of
from connectors.imap.ids import ids_of
from connectors.imap.listing import version_of
from connectors.imap.session import Session
from connectors.imap.wire.commands import Command, command, flag_list, joined, numbers, read_numbers
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.responses import Data, Fetched, Said, as_text
from gateway.contract import FLAGS, Scope


async def _all(session: Session, commands: Sequence[tuple[Command, Callable[[Untagged], bool]]]) -> None:
    """Say commands one behind the other, without waiting between them. Raises: Refused, Closed: the first's."""
    asked = (session.connection.ask(one, takes) for one, takes in commands)
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer


def _is_gone(what: Untagged) -> bool:
    return isinstance(what, Fetched) or (isinstance(what, Data) and what.name == "VANISHED")


async def set_flags(
    session: Session, uids: Sequence[int], add: frozenset[str], remove: frozenset[str]
) -> dict[int, str]:
    """Add and remove flags and keywords; return the new versions of those that are there. Raises: Refused, Closed."""
    folder = session.selected
    assert folder is not None
    versions: dict[int, str] = {}

    def takes(what: Untagged) -> bool:
        if not isinstance(what, Fetched):
            return False
        if what.uid is not None and what.flags is not None and (what.modseq is not None or folder.modseq is None):
            versions[what.uid] = version_of(what.modseq if folder.modseq is not None else None, what.flags)
        return True

    told = numbers(uids)
    items = b"(UID FLAGS MODSEQ)" if folder.modseq is not None else b"(UID FLAGS)"

    async def store(kept: frozenset[bytes] | None) -> None:
        commands: list[tuple[Command, Callable[[Untagged], bool]]] = []
        for verb, words in ((b"+FLAGS.SILENT ", add), (b"-FLAGS.SILENT ", remove)):
            wanted, _ = marks.write(words & FLAGS, words - FLAGS, folder)
            if kept is not None:
                wanted &= kept
            if wanted:
                # Dovecot answers it together with what comes behind it, so that its answers may be the last one's.
                commands.append((joined(b"UID STORE ", told, b" ", verb, flag_list(wanted)), takes))
        await _all(session, [*commands, (joined(b"UID FETCH ", told, b" ", items), takes)])

    try:
        await store(None)
    except Refused as refused:
        words, _ = marks.write((add | remove) & FLAGS, (add | remove) - FLAGS, folder)
        if fault_of(refused, unknown=False).scope is not Scope.MESSAGE or words <= marks.SYSTEM:
            raise
        await store(marks.SYSTEM)  # a word that the server does not take keeps no flag from being set
    return {uid: versions[uid] for uid in uids if uid in versions}


async def move(session: Session, uids: Sequence[int], target: bytes) -> dict[int, str]:
    """Move items to another folder; return the ids that they have there, empty for one that is moved, and the server
    does not say as what. Those that are gone are left out. Raises: Refused, Closed."""
    folder = session.selected
    assert folder is not None
    moved: dict[int, str] = {}
    sizes: dict[int, int | None] = {}

    def takes(what: Untagged) -> bool:
        if isinstance(what, Said) and what.code is not None and what.code.name == "COPYUID":
            moved.update(_copied(what, target))
            return True
        return _is_gone(what)

    def looks(what: Untagged) -> bool:
        if not isinstance(what, Fetched):
            return False
        if what.uid is not None:
            sizes[what.uid] = what.size
        return True

    has_uids = session.has("UIDPLUS")
    has_move = session.has("MOVE")
    before: int | None = None
    if not has_uids:
        await session.connection.ask(joined(b"UID FETCH ", numbers(uids), b" (UID RFC822.SIZE)"), looks)
        before = await _next(session, target)
    verb = b"UID MOVE " if has_move else b"UID COPY "
    takes(await session.connection.ask(joined(verb, numbers(uids), b" ", session.name(target)), takes, alone=True))
    if not has_move:
        await expunge(session, [uid for uid in uids if uid in (moved if has_uids else sizes)])
    if not has_uids and not moved:
        ordered = sorted(uid for uid in uids if uid in sizes)
        moved = dict.fromkeys(ordered, "")
        if before is not None and ordered:
            moved |= await _found(session, ordered, sizes, target, before)
    return moved


async def _next(session: Session, name: bytes) -> int | None:
    """Return the next UID of a folder that is not selected."""
    told: list[int] = []

    def takes(what: Untagged) -> bool:
        if not isinstance(what, Data) or what.name != "STATUS":
            return False
        values = what.values[-1]
        if isinstance(values, list) and len(values) == 2 and isinstance(values[1], bytes) and values[1].isdigit():
            told.append(int(values[1]))
        return True

    await session.connection.ask(joined(b"STATUS ", session.name(name), b" (UIDNEXT)"), takes)
    return told[0] if told else None


async def _found(
    session: Session, uids: Sequence[int], sizes: dict[int, int | None], target: bytes, before: int
) -> dict[int, str]:
    """Return the ids of what was copied: as many new ones of the same sizes, in the same order, else none."""
    new: dict[int, int | None] = {}

    def takes(what: Untagged) -> bool:
        if not isinstance(what, Fetched):
            return False
        if what.uid is not None and what.uid >= before:
            new[what.uid] = what.size
        return True

    folder = await session.select(target, readonly=True)
    await session.connection.ask(command(b"UID FETCH %d:* (UID RFC822.SIZE)" % before), takes)
    ordered = sorted(new)
    if [new[uid] for uid in ordered] != [sizes[uid] for uid in uids]:
        return {}
    id_of = ids_of(target)
    return {old: id_of(folder.uidvalidity, uid) for old, uid in zip(uids, ordered, strict=True)}


def _copied(said: Said, target: bytes) -> dict[int, str]:
    code = said.code
    if code is None or len(code.values) < 3:
        return {}
    _, old, new = code.values[:3]
    id_of, uidvalidity = ids_of(target), code.number() or 0
    try:
        pairs = zip(read_numbers(as_text(old)), read_numbers(as_text(new)), strict=True)
        return {one: id_of(uidvalidity, other) for one, other in pairs}
    except ValueError:
        return {}


async def expunge(session: Session, uids: Sequence[int]) -> None:
    """Remove these for good, and nothing that others have marked as deleted. Raises: Refused, Closed."""
    if not uids:
        return
    told = numbers(uids)
    marked = joined(b"UID STORE ", told, b" +FLAGS.SILENT (\\Deleted)")
    if session.has("UIDPLUS"):
        await _all(session, [(marked, _is_gone), (joined(b"UID EXPUNGE ", told), _is_gone)])
        return
    others: list[int] = []

    def takes(what: Untagged) -> bool:
        if not isinstance(what, Data) or what.name != "SEARCH":
            return False
        others.extend(int(each) for each in what.values if isinstance(each, bytes) and each.isdigit())
        return True

    await _all(session, [(marked, _is_gone), (command(b"UID SEARCH DELETED"), takes)])
    kept = [uid for uid in others if uid not in set(uids)]
    commands: list[tuple[Command, Callable[[Untagged], bool]]] = [(command(b"EXPUNGE"), _is_gone)]
    if kept:
        off, on = (joined(b"UID STORE ", numbers(kept), verb) for verb in _DELETED)
        await session.connection.ask(off, _is_gone)
        commands.append((on, _is_gone))
    await _all(session, commands)


_DELETED = (b" -FLAGS.SILENT (\\Deleted)", b" +FLAGS.SILENT (\\Deleted)")
