"""Changes of a folder: whatever happens in it and whatever its server offers, who follows them knows it in the end."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.imap.listing import Listing, Marks, read_mark
from connectors.imap.session import Selected
from connectors.imap.wire.commands import Command
from connectors.imap.wire.responses import Data, Fetched
from connectors.imap.wire.spans import Spans
from gateway.contract import Changes

NOTHING: Final[frozenset[str]] = frozenset()
CONDSTORE: Final = NOTHING | {"CONDSTORE"}
QRESYNC: Final = CONDSTORE | {"QRESYNC", "ESEARCH"}


class Folder:
    """A folder and its server, which offers `offers`: what a Listing needs of a session, without a connection."""

    def __init__(self, offers: frozenset[str]) -> None:
        self.offers = offers
        self.qresync = "QRESYNC" in offers
        self.utf8 = False
        self.selected: Selected | None = None
        self.connection: Any = self
        self.uidvalidity = 7
        self.next = 1
        self.modseq = 1
        self.there: dict[int, tuple[frozenset[bytes], int]] = {}
        self.vanished: dict[int, int] = {}
        self.asked: list[str] = []

    def has(self, name: str) -> bool:
        return name in self.offers

    async def select(self, name: bytes, *, readonly: bool = False, anew: bool = False) -> Selected:
        if self.selected is None or anew:
            modseq = self.modseq if "CONDSTORE" in self.offers else None
            self.selected = Selected(name, readonly, len(self.there), self.uidvalidity, self.next, modseq)
        return self.selected

    async def ask(self, command: Command, takes: Callable[[Any], bool], **_: object) -> None:
        text = b"".join(each for each in command.pieces if isinstance(each, bytes)).decode()
        self.asked.append(text)
        if text.startswith("UID SEARCH"):
            uids = Spans.of(self.there)
            if "RETURN" in text:
                takes(Data("ESEARCH", None, ([b"TAG", b"x"], b"UID", b"ALL", uids.text().encode())))
            else:
                takes(Data("SEARCH", None, tuple(b"%d" % uid for uid in uids)))
            return
        if found := re.search(r"CHANGEDSINCE ([0-9]+)( VANISHED)?", text):
            since = int(found[1])
            if gone := [uid for uid, at in self.vanished.items() if at > since and found[2]]:
                takes(Data("VANISHED", None, ([b"EARLIER"], Spans.of(gone).text().encode())))
            for uid, (flags, modseq) in sorted(self.there.items()):
                if modseq > since:
                    takes(Fetched(1, uid, flags, modseq))
            return
        wanted = text.split(" ")[2]
        for uid in self.there if wanted == "1:*" else [uid for uid in Spans.read(wanted) if uid in self.there]:
            flags, modseq = self.there[uid]
            if "RFC822.SIZE" in text:
                takes(Fetched(1, uid, flags, modseq, 100 + uid, 1_500_000_000.0, {}))
            else:
                takes(Fetched(1, uid, flags))

    # what happens in it

    def put(self, count: int = 1) -> list[int]:
        for _ in range(count):
            self.modseq += 1
            self.there[self.next] = frozenset(), self.modseq
            self.next += 1
        return list(range(self.next - count, self.next))

    def mark(self, uid: int, flags: frozenset[bytes]) -> None:
        self.modseq += 1
        self.there[uid] = flags, self.modseq

    def drop(self, uid: int) -> None:
        self.modseq += 1
        del self.there[uid]
        self.vanished[uid] = self.modseq


class Follower:
    """Somebody who knows what was told."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.marks = Marks()
        self.token: str | None = None
        self.known: dict[str, frozenset[str]] = {}
        self._anew: set[str] | None = None

    def page(self, limit: int) -> Changes:
        session: Any = self.folder
        made = Listing(session, b"x", lambda validity, uid: f"{validity}.{uid}", self.marks)
        page = asyncio.run(made.changes(self.token, limit))
        if page.reset:
            self._anew = set()
        self.known |= {state.id: state.flags for state in page.items}
        for id in page.removed:
            self.known.pop(id, None)
        if self._anew is not None:
            self._anew |= {state.id for state in page.items}
            if not page.more:
                self.known = {id: flags for id, flags in self.known.items() if id in self._anew}
                self._anew = None
        self.token = page.token
        return page

    def all(self, limit: int = 1000) -> None:
        while self.page(limit).more:
            pass


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "ours", "mark", "mark", "drop", "drop", "page", "page", "restart", "replaced"]),
        st.integers(0, 30),
    ),
    max_size=40,
)


@pytest.mark.parametrize("offers", [NOTHING, CONDSTORE, QRESYNC])
@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_who_follows_knows_it_all_in_the_end(offers: frozenset[str], steps: list[tuple[str, int]]) -> None:
    folder = Folder(offers)
    one = Follower(folder)
    for what, number in steps:
        uids = sorted(folder.there)
        if what == "put":
            folder.put(number % 5 + 1)
        elif what == "ours" and one.token is not None:  # appended by whoever follows, who knows the id from that
            (uid,) = folder.put()
            one.known[f"{folder.uidvalidity}.{uid}"] = frozenset()
        elif what == "mark" and uids:
            folder.mark(uids[number % len(uids)], frozenset([b"\\Seen"] if number % 2 else []))
        elif what == "drop" and uids:
            folder.drop(uids[number % len(uids)])
        elif what == "page":
            one.page(number % 4 + 1)
        elif what == "restart":
            one.marks = Marks()
        elif what == "replaced":
            folder.uidvalidity += number % 2
    one.all()
    assert one.known == {
        f"{folder.uidvalidity}.{uid}": frozenset(["seen"] if flags else []) for uid, (flags, _) in folder.there.items()
    }
    folder.asked.clear()
    page = one.page(500)
    assert not page.items
    assert not page.removed
    assert len(folder.asked) <= ("CONDSTORE" not in offers)


def test_a_folder_of_many_gaps_costs_each_page_the_same() -> None:
    folder = Folder(QRESYNC)
    folder.put(30_000)
    for uid in range(2, 30_000, 2):
        del folder.there[uid]
    one = Follower(folder)
    took: list[float] = []
    while True:
        start = time.perf_counter()
        page = one.page(500)
        took.append(time.perf_counter() - start)
        if not page.more:
            break
        # What is long is kept in memory until all is told.
        assert (len(page.token) < 1000) == (len(one.known) < 15_001)
    assert len(one.known) == 15_001
    assert sum(took[-12:-2]) < 10 * sum(took[1:11])
    # Whoever begins again in the middle of it begins at the beginning, and no number is lost by that.
    other = Follower(folder)
    other.page(500)
    other.marks = Marks()
    assert other.page(500).reset


def test_a_million_without_gaps_are_a_short_token() -> None:
    folder = Folder(CONDSTORE)
    one = Follower(folder)
    folder.put(3)
    one.all()
    mark = read_mark(one.token)
    assert mark is not None
    assert len(one.token or "") < 100


@pytest.mark.parametrize(
    "token",
    ["", "x", "{}", "[]", '{"v":1,"m":2,"n":1,"k":"1:*"}', '{"v":"x","m":2,"n":1,"k":""}', '{"p":"00"}', "null"],
)
def test_a_token_that_is_none_of_ours(token: str) -> None:
    folder = Folder(QRESYNC)
    folder.put(3)
    one = Follower(folder)
    one.token = token
    page = one.page(10)
    assert page.reset
    assert len(page.items) == 3


def test_a_server_that_learns_condstore_is_listed_anew() -> None:
    folder = Folder(NOTHING)
    folder.put(3)
    one = Follower(folder)
    one.all()
    folder.offers = CONDSTORE
    assert one.page(10).reset
    folder.mark(2, frozenset([b"\\Seen"]))
    assert [state.id for state in one.page(10).items] == ["7.2"]
    folder.offers = NOTHING  # and one that forgets it, told by flags from then on
    one.all()
    folder.mark(3, frozenset([b"\\Seen"]))
    assert [state.id for state in one.page(10).items] == ["7.3"]
