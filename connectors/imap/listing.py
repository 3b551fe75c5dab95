"""Changes of a folder since a token: by QRESYNC, by CONDSTORE, or by comparing, whichever the server has.

A token is a JSON object: `v` the UIDVALIDITY, `m` the highest MODSEQ that was told, `n` the next UID, `k` the UIDs
that were told, `t` those that are still to be told, and, at servers without CONDSTORE, `f` the UIDs by their flags.
What came after a token and went before the next one is told as gone: whoever put it there knows its UID from that.
Promises: a look at which nothing has changed costs one command; UIDs that are gone meanwhile are no error; what changes
while a page is read is told by it or by the next one.
Source: RFC 7162 (CHANGEDSINCE, VANISHED), RFC 4731 (ESEARCH), RFC 9051 §2.3.1.1 (UIDVALIDITY).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from connectors.imap.flags import read
from connectors.imap.session import Selected, Session
from connectors.imap.wire.commands import command, joined, numbers, read_numbers
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.responses import Data, Fetched, as_text
from gateway.contract import Changes, ItemState

MOST_BETWEEN: Final = 100_000
_MESSAGE_ID: Final = re.compile(rb"message-id[ \t]*:[ \t]*(?:\r?\n[ \t]+)*(<[^>\r\n]{1,990}>)", re.IGNORECASE)
_ITEMS: Final = b"(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
_ITEMS_MODSEQ: Final = b"(UID FLAGS MODSEQ INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"


@dataclass(slots=True)
class Mark:
    """What a token says."""

    uidvalidity: int
    modseq: int | None = None
    known: set[int] = field(default_factory=set)
    next: int = 1
    todo: list[int] = field(default_factory=list)
    flags: dict[int, str] | None = None
    """By UID, at servers that keep no MODSEQ."""

    def token(self) -> str:
        """Return it as a text."""
        made: dict[str, object] = {"v": self.uidvalidity, "m": self.modseq, "n": self.next, "k": _ranges(self.known)}
        if self.todo:
            made["t"] = _ranges(self.todo)
        if self.flags is not None:
            groups: dict[str, list[int]] = {}
            for uid, flags in self.flags.items():
                groups.setdefault(flags, []).append(uid)
            made["f"] = {flags: _ranges(uids) for flags, uids in groups.items()}
        return json.dumps(made, separators=(",", ":"))


def read_mark(token: str | None) -> Mark | None:
    """Return what a token says; None for one that is not ours."""
    if token is None:
        return None
    try:
        found = json.loads(token)
        flags = found.get("f")
        return Mark(
            int(found["v"]),
            None if found["m"] is None else int(found["m"]),
            set(_read_ranges(found["k"])),
            int(found["n"]),
            _read_ranges(found.get("t", "")),
            None if flags is None else {uid: each for each, uids in flags.items() for uid in _read_ranges(uids)},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _ranges(uids: Iterable[int]) -> str:
    ordered = sorted(uids)
    return numbers(ordered).decode() if ordered else ""


def _read_ranges(text: str) -> list[int]:
    return read_numbers(text.encode()) if text else []


class Listing:
    """The listing of one folder. `id_of` makes an item's id of its UIDVALIDITY and UID."""

    def __init__(self, session: Session, name: bytes, id_of: Callable[[int, int], str]) -> None:
        self._session = session
        self._name = name
        self._id_of = id_of

    async def changes(self, token: str | None, limit: int) -> Changes:
        """Return a page. Raises: Refused, Closed."""
        folder = await self._session.select(self._name, readonly=True, anew=True)
        mark = read_mark(token)
        if mark is None or mark.uidvalidity != folder.uidvalidity:
            uids = await self._all(folder)
            after = max(folder.uidnext or 1, *(uid + 1 for uid in uids[-1:]), 1)
            mark = Mark(folder.uidvalidity, folder.modseq, set(), after, uids, None if folder.modseq else {})
            return await self._page(mark, (), limit, reset=True)
        if mark.todo:
            return await self._page(mark, (), limit)
        if folder.modseq is None or mark.modseq is None:
            return await self._compared(folder, mark, limit)
        is_same = folder.modseq == mark.modseq and folder.exists == len(mark.known)
        if is_same:
            return Changes((), (), mark.token(), more=False)
        changed, gone = await self._since(folder, mark)
        mark.modseq = folder.modseq
        mark.next = max(mark.next, folder.uidnext or 1)
        mark.known -= gone
        mark.todo = sorted(changed)
        return await self._page(mark, sorted(gone), limit)

    async def _all(self, folder: Selected) -> list[int]:
        """Return all UIDs of the selected folder, in order."""
        if not folder.exists:
            return []
        found: set[int] = set()

        def takes(what: Untagged) -> bool:
            if not isinstance(what, Data) or what.name not in ("SEARCH", "ESEARCH"):
                return False
            if what.name == "SEARCH":
                found.update(int(each) for each in what.values if isinstance(each, bytes) and each.isdigit())
                return True
            for at, each in enumerate(what.values[:-1]):
                if isinstance(each, bytes) and each.upper() == b"ALL":
                    found.update(read_numbers(as_text(what.values[at + 1])))
            return True

        if self._session.has("ESEARCH") or self._session.has("IMAP4REV2"):
            await self._session.connection.ask(command(b"UID SEARCH RETURN (ALL) ALL"), takes)
        else:
            await self._session.connection.ask(command(b"UID SEARCH ALL"), takes)
        return sorted(found)

    async def _since(self, folder: Selected, mark: Mark) -> tuple[set[int], set[int]]:
        """Return the UIDs that are new or have changed since a mark, and those that are gone."""
        changed: set[int] = set()
        gone: set[int] = set()

        def takes(what: Untagged) -> bool:
            if isinstance(what, Fetched):
                if what.uid is not None:
                    changed.add(what.uid)
                return True
            if isinstance(what, Data) and what.name == "VANISHED":
                gone.update(read_numbers(as_text(what.values[-1])))
                return True
            return False

        vanished = b" VANISHED" if self._session.qresync else b""
        since = b"(CHANGEDSINCE %d%s)" % (mark.modseq or 1, vanished)
        await self._session.connection.ask(command(b"UID FETCH 1:* (UID FLAGS)", since), takes)
        if self._session.qresync:
            gone = {uid for uid in gone if uid in mark.known or uid >= mark.next}
        else:
            if folder.exists != len(mark.known | changed):
                gone = mark.known - set(await self._all(folder))
            gone |= _between(folder, mark) - changed
        # A UID that a server calls new and that was told before has changed; one below that was never told is new.
        return changed - gone, gone

    async def _compared(self, folder: Selected, mark: Mark, limit: int) -> Changes:
        """Compare all flags with those that were told: what a server without CONDSTORE leaves to us."""
        now: dict[int, str] = {}

        def takes(what: Untagged) -> bool:
            if not isinstance(what, Fetched):
                return False
            if what.uid is not None and what.flags is not None:
                now[what.uid] = version_of(None, what.flags)
            return True

        if folder.exists:
            await self._session.connection.ask(command(b"UID FETCH 1:* (UID FLAGS)"), takes)
        told = mark.flags or {}
        gone = (mark.known | _between(folder, mark)) - now.keys()
        mark.next = max(mark.next, folder.uidnext or 1)
        mark.todo = sorted(uid for uid, flags in now.items() if told.get(uid) != flags)
        mark.known -= gone
        mark.flags = {uid: flags for uid, flags in told.items() if uid in now}
        return await self._page(mark, sorted(gone), limit)

    async def _page(self, mark: Mark, gone: Iterable[int], limit: int, *, reset: bool = False) -> Changes:
        now, mark.todo = mark.todo[:limit], mark.todo[limit:]
        states = await self.states(now) if now else {}
        mark.known |= states.keys()
        if mark.flags is not None:
            mark.flags |= {uid: state.version for uid, state in states.items()}
        removed = tuple(self._id_of(mark.uidvalidity, uid) for uid in gone)
        return Changes(tuple(states.values()), removed, mark.token(), bool(mark.todo), reset)

    async def states(self, uids: Iterable[int]) -> dict[int, ItemState]:
        """Return items of the selected folder by UID; those that are gone are left out."""
        folder = self._session.selected
        assert folder is not None
        found: dict[int, ItemState] = {}

        def takes(what: Untagged) -> bool:
            if not isinstance(what, Fetched):
                return False
            if what.uid is not None and what.flags is not None and what.more:  # else it only tells of new flags
                found[what.uid] = self._state(folder, what)
            return True

        items = _ITEMS if folder.modseq is None else _ITEMS_MODSEQ
        await self._session.connection.ask(joined(b"UID FETCH ", numbers(uids), b" ", items), takes)
        return dict(sorted(found.items()))

    def _state(self, folder: Selected, what: Fetched) -> ItemState:
        assert what.uid is not None
        assert what.flags is not None
        flags, keywords = read(what.flags)
        return ItemState(
            self._id_of(folder.uidvalidity, what.uid),
            version_of(what.modseq if folder.modseq is not None else None, what.flags),
            what.size,
            flags,
            keywords,
            what.received_at,
            _message_id(what.more),
        )


def _between(folder: Selected, mark: Mark) -> set[int]:
    """Return the UIDs that were given since a mark and not told yet; no more than are believed."""
    return set(range(mark.next, min(folder.uidnext or 0, mark.next + MOST_BETWEEN))) - mark.known


def version_of(modseq: int | None, flags: Iterable[bytes]) -> str:
    """Return an item's version: its MODSEQ, or its flags where the server keeps none."""
    if modseq is not None:
        return str(modseq)
    return " ".join(sorted(each.decode("utf-8", "replace").lower() for each in flags if each.lower() != b"\\recent"))


def _message_id(more: Mapping[str, object]) -> str | None:
    for name, value in more.items():
        if name.startswith("BODY[HEADER.FIELDS") and isinstance(value, bytes):
            found = _MESSAGE_ID.search(value)
            return found[1].decode("latin-1") if found else None
    return None
