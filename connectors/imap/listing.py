"""Changes of a folder since a token: by QRESYNC, by CONDSTORE, or by comparing, whichever the server has.

A token is a JSON object: `v` the UIDVALIDITY, `m` the highest MODSEQ that was told, `n` the next UID, `k` the UIDs
that are known, `t` those of them that are still to be told, and, at servers without CONDSTORE, `f` the UIDs by their
flags. One that would be long while a listing is under way names with `p` what is kept in memory instead.
What came after a token and went before the next one is told as gone: whoever put it there knows its UID from that.
Promises: a look at which nothing has changed costs one command, and one command a page where something has; UIDs that
are gone meanwhile are no error; what changes while a page is read is told by it or by the next one.
Source: RFC 7162 (CHANGEDSINCE, VANISHED), RFC 4731 (ESEARCH), RFC 9051 §2.3.1.1 (UIDVALIDITY), RFC 8474 (EMAILID).
X-GM-MSGID and X-GM-LABELS are as Google describes them.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from connectors.imap.flags import read
from connectors.imap.session import Selected, Session
from connectors.imap.wire.commands import command, joined
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.names import from_wire
from connectors.imap.wire.responses import Data, Fetched, as_text
from connectors.imap.wire.spans import NONE, Spans
from connectors.imap.wire.tokens import Value
from gateway.contract import Changes, ItemState

MOST_BETWEEN: Final = 100_000
LAST_UID: Final = 4294967295
MOST_RUNS: Final = 4000
"""Of UIDs in the token of a listing that is under way."""
MOST_KEPT: Final = 64
_MESSAGE_ID: Final = re.compile(rb"message-id[ \t]*:[ \t]*(?:\r?\n[ \t]+)*(<[^>\r\n]{1,990}>)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a token says."""

    uidvalidity: int
    modseq: int | None = None
    next: int = 1
    known: Spans = NONE
    todo: Spans = NONE
    flags: Mapping[str, Spans] | None = None
    """UIDs that were told by their flags, at servers that keep no MODSEQ."""

    @property
    def runs(self) -> int:
        return self.known.runs + self.todo.runs + sum(each.runs for each in (self.flags or {}).values())

    def token(self) -> str:
        """Return it as a text."""
        made: dict[str, object] = {"v": self.uidvalidity, "m": self.modseq, "n": self.next, "k": self.known.text()}
        if self.todo:
            made["t"] = self.todo.text()
        if self.flags is not None:
            made["f"] = {flags: uids.text() for flags, uids in self.flags.items()}
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
            int(found["n"]),
            Spans.read(found["k"]),
            Spans.read(found.get("t", "")),
            None if flags is None else {each: Spans.read(uids) for each, uids in flags.items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class Marks:
    """Marks of listings that are under way, by their tokens; the oldest are forgotten."""

    def __init__(self) -> None:
        self._kept: dict[str, Mark] = {}

    def token(self, mark: Mark) -> str:
        """Return a token for a mark."""
        if not mark.todo:
            return mark.token()
        token = mark.token() if mark.runs <= MOST_RUNS else json.dumps({"p": secrets.token_hex(8)})
        self._kept[token] = mark
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        return token

    def mark(self, token: str | None) -> Mark | None:
        """Return what a token says; None for one that is not known."""
        return self._kept.get(token or "") or read_mark(token)


class Listing:
    """The listing of one folder. `id_of` makes an item's id of its UIDVALIDITY and UID."""

    def __init__(self, session: Session, name: bytes, id_of: Callable[[int, int], str], marks: Marks) -> None:
        self._session = session
        self._name = name
        self._id_of = id_of
        self._marks = marks

    async def changes(self, token: str | None, limit: int) -> Changes:
        """Return a page. Raises: Refused, Closed."""
        mark = self._marks.mark(token)
        goes_on = mark is not None and bool(mark.todo)
        folder = await self._session.select(self._name, readonly=True, anew=not goes_on)
        has_learned = mark is not None and mark.flags is not None and folder.modseq is not None and not goes_on
        if mark is None or mark.uidvalidity != folder.uidvalidity or has_learned:
            uids = await self._all(folder)
            after = max(folder.uidnext or 1, *(uid + 1 for uid in list(uids)[-1:]), 1)
            flags: Mapping[str, Spans] | None = {} if folder.modseq is None else None
            mark = Mark(folder.uidvalidity, folder.modseq, after, uids, uids, flags)
            return await self._page(mark, (), limit, reset=True)
        if mark.todo:
            page = await self._page(mark, (), limit)
            # What has happened since the first page is told at once after the last one, not by the next look alone:
            # whoever keeps `Folder.mark` takes it for told.
            return page if page.more else replace(page, more=True)
        if folder.modseq is None or mark.modseq is None:
            return await self._compared(folder, mark, limit)
        is_same = folder.modseq == mark.modseq and folder.exists == len(mark.known)
        if is_same and (folder.uidnext or mark.next) == mark.next:
            return Changes((), (), mark.token(), more=False)
        changed, gone = await self._since(folder, mark)
        after = max(mark.next, folder.uidnext or 1)
        known = (mark.known | changed) - gone
        mark = replace(mark, modseq=folder.modseq, next=after, known=known, todo=changed, flags=None)
        return await self._page(mark, gone, limit)

    async def _all(self, folder: Selected) -> Spans:
        """Return all UIDs of the selected folder."""
        if not folder.exists:
            return NONE
        found = NONE

        def takes(what: Untagged) -> bool:
            nonlocal found
            if not isinstance(what, Data) or what.name not in ("SEARCH", "ESEARCH"):
                return False
            if what.name == "SEARCH":
                found |= Spans.of(int(each) for each in what.values if isinstance(each, bytes) and each.isdigit())
                return True
            for at, each in enumerate(what.values[:-1]):
                if isinstance(each, bytes) and each.upper() == b"ALL":
                    found |= _spans(what.values[at + 1])
            return True

        if self._session.has("ESEARCH"):
            await self._session.connection.ask(command(b"UID SEARCH RETURN (ALL) ALL"), takes)
        else:
            await self._session.connection.ask(command(b"UID SEARCH ALL"), takes)
        return found

    async def _since(self, folder: Selected, mark: Mark) -> tuple[Spans, Spans]:
        """Return the UIDs that are new or have changed since a mark, and those that are gone."""
        found: list[int] = []
        vanished = NONE

        def takes(what: Untagged) -> bool:
            nonlocal vanished
            if isinstance(what, Fetched):
                if what.uid is not None:
                    found.append(what.uid)
                return True
            if isinstance(what, Data) and what.name == "VANISHED":
                vanished |= _spans(what.values[-1])
                return True
            return False

        asked = b" VANISHED" if self._session.qresync else b""
        since = b"(CHANGEDSINCE %d%s)" % (mark.modseq or 1, asked)
        # Not `1:*`: where `*` is the last one that is there, Cyrus does not tell that those behind it vanished.
        await self._session.connection.ask(command(b"UID FETCH 1:%d (UID FLAGS)" % LAST_UID, since), takes)
        changed, between = Spans.of(found), _between(folder, mark)
        gone = vanished & (mark.known | between) if self._session.qresync else between - changed
        if folder.exists != len((mark.known | changed) - gone):
            gone |= mark.known - await self._all(folder)
        return changed - gone, gone

    async def _compared(self, folder: Selected, mark: Mark, limit: int) -> Changes:
        """Compare all flags with those that were told: what a server without CONDSTORE leaves to us."""
        now: dict[str, list[int]] = {}

        def takes(what: Untagged) -> bool:
            if not isinstance(what, Fetched):
                return False
            if what.uid is not None and what.flags is not None:
                now.setdefault(version_of(None, what.flags), []).append(what.uid)
            return True

        if folder.exists:
            await self._session.connection.ask(command(b"UID FETCH 1:* (UID FLAGS)"), takes)
        told, there, changed = mark.flags or {}, NONE, NONE
        for flags, uids in now.items():
            some = Spans.of(uids)
            there |= some
            changed |= some - told.get(flags, NONE)
        gone = (mark.known | _between(folder, mark)) - there
        kept = {flags: left for flags, uids in told.items() if (left := uids - gone - changed)}
        after = max(mark.next, folder.uidnext or 1)
        mark = replace(mark, modseq=None, next=after, known=there, todo=changed, flags=kept)
        return await self._page(mark, gone, limit)

    async def _page(self, mark: Mark, gone: Iterable[int], limit: int, *, reset: bool = False) -> Changes:
        now, rest = mark.todo.taken(limit)
        states = await self.states(now) if now else {}
        flags = mark.flags
        if flags is not None:
            groups: dict[str, list[int]] = {}
            for uid, state in states.items():
                groups.setdefault(state.version, []).append(uid)
            flags = dict(flags)
            for version, uids in groups.items():
                flags[version] = flags.get(version, NONE) | Spans.of(uids)
        mark = replace(mark, todo=rest, flags=flags)
        removed = tuple(self._id_of(mark.uidvalidity, uid) for uid in gone)
        return Changes(tuple(states.values()), removed, self._marks.token(mark), bool(rest), reset)

    async def states(self, uids: Spans) -> dict[int, ItemState]:
        """Return items of the selected folder by UID; those that are gone are left out."""
        folder = self._session.selected
        assert folder is not None
        found: dict[int, Fetched] = {}

        def takes(what: Untagged) -> bool:
            if not isinstance(what, Fetched):
                return False
            if what.uid is not None and what.uid in uids:
                before = found.get(what.uid)
                found[what.uid] = what if before is None else _both(before, what)
            return True

        wanted = [b"UID FLAGS INTERNALDATE RFC822.SIZE"]
        if folder.modseq is not None:
            wanted.append(b"MODSEQ")
        if self._session.has("OBJECTID"):
            wanted.append(b"EMAILID")
        elif self._session.has("X-GM-EXT-1"):
            wanted.append(b"X-GM-MSGID")
        if self._session.has("X-GM-EXT-1"):
            wanted.append(b"X-GM-LABELS")
        wanted.append(b"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]")
        asked = joined(b"UID FETCH ", uids.text().encode(), b" (", b" ".join(wanted), b")")
        await self._session.connection.ask(asked, takes)
        return {uid: self._state(folder, uid, found[uid]) for uid in uids if uid in found and _is_whole(found[uid])}

    def _state(self, folder: Selected, uid: int, what: Fetched) -> ItemState:
        assert what.flags is not None
        flags, keywords = read(what.flags)
        return ItemState(
            self._id_of(folder.uidvalidity, uid),
            version_of(what.modseq if folder.modseq is not None else None, what.flags),
            what.size,
            flags,
            keywords,
            what.received_at,
            _message_id(what.more),
            object=_object(what.more),
            labels=_labels(what.more, utf8=self._session.utf8),
        )


def _between(folder: Selected, mark: Mark) -> Spans:
    """Return the UIDs that were given since a mark and not told yet, as far as that many are believed."""
    last = min((folder.uidnext or 1) - 1, mark.next + MOST_BETWEEN)
    return Spans([(mark.next, last)] if last >= mark.next else ()) - mark.known


def _spans(value: Value) -> Spans:
    try:
        return Spans.read(as_text(value).decode("ascii", "replace"))
    except ValueError:
        return NONE


def _both(one: Fetched, other: Fetched) -> Fetched:
    """Return what two responses tell of one message, the later one's word counting."""
    return Fetched(
        other.number,
        other.uid,
        one.flags if other.flags is None else other.flags,
        one.modseq if other.modseq is None else other.modseq,
        one.size if other.size is None else other.size,
        one.received_at if other.received_at is None else other.received_at,
        one.more | other.more,
    )


def _is_whole(what: Fetched) -> bool:
    """Tell whether it is what was asked for, and not only news of flags that came beside it."""
    return what.flags is not None and (what.size is not None or what.received_at is not None or bool(what.more))


def version_of(modseq: int | None, flags: Iterable[bytes]) -> str:
    """Return an item's version: its MODSEQ, or its flags where the server keeps none."""
    if modseq is not None:
        return str(modseq)
    return " ".join(sorted(each.decode("utf-8", "replace").lower() for each in flags if each.lower() != b"\\recent"))


def _message_id(more: Mapping[str, Value]) -> str | None:
    for name, value in more.items():
        if name.startswith("BODY[HEADER.FIELDS") and isinstance(value, bytes):
            found = _MESSAGE_ID.search(value)
            return found[1].decode("latin-1") if found else None
    return None


def _object(more: Mapping[str, Value]) -> str | None:
    told = more.get("EMAILID")
    if isinstance(told, list) and told and isinstance(told[0], bytes):
        return told[0].decode("ascii", "replace")
    told = more.get("X-GM-MSGID")
    return told.decode("ascii", "replace") if isinstance(told, bytes) else None


def _labels(more: Mapping[str, Value], *, utf8: bool) -> frozenset[str]:
    told = more.get("X-GM-LABELS")
    if not isinstance(told, list):
        return frozenset()
    return frozenset(from_wire(each, utf8=utf8) for each in told if isinstance(each, bytes))
