"""Two mailboxes, edited at random on both sides, cut and robbed of tokens and ids: they come to be the same, and what
one side still wanted is there.

What a side wants: an item that was removed on one side alone, and not touched on the other since both were in step, is
gone; any other is there once.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.contract import Folder
from tests.gateway.sync.memory import Killed, Memory, mail
from tests.gateway.sync.test_engine import TWO_WAY, step

WORDS = st.sampled_from(["seen", "flagged", "word"])
SIDES = st.sampled_from(["left", "right"])
POLICY = replace(TWO_WAY, allow_removal=True, batch_items=2, page_items=3)


class TwoWay(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="gatepost-sync-"))
        self.box = {"left": Memory(), "right": Memory()}
        for box in self.box.values():
            box.list_folders["work"] = Folder("work", ("Work",))
        self.count = 0
        self.wanted: set[bytes] = set()
        """What is to be there once both are in step."""
        self.base: dict[bytes, object] | None = {}
        """What both sides held when they last were in step; None since a pass that was cut made some of it stale."""
        self.touched: set[tuple[str, bytes]] = set()
        self.dropped: set[bytes] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.path)

    def _pick(self, side: str, number: int) -> str | None:
        ids = list(self.box[side].items)
        return ids[number % len(ids)] if ids else None

    @rule(side=SIDES, folder=st.sampled_from(["inbox", "work"]), named=st.booleans(), words=st.sets(WORDS))
    def put(self, side: str, folder: str, named: bool, words: set[str]) -> None:
        self.count += 1
        octets = mail(self.count, name=named)
        name = f"<{self.count}@example.org>" if named else None
        self.box[side].put(octets, folder, *words, at=1.6e9 + self.count // 3, name=name)
        self.wanted.add(octets)

    @rule(side=SIDES, number=st.integers(0, 50), add=st.sets(WORDS), remove=st.sets(WORDS))
    def mark(self, side: str, number: int, add: set[str], remove: set[str]) -> None:
        if (id := self._pick(side, number)) is None:
            return
        held = self.box[side].items[id]
        before = held.state
        self.box[side].mark(id, sorted(add), sorted(remove - add))
        if held.state != before:
            self.touched.add((side, held.octets))

    @rule(side=SIDES, number=st.integers(0, 50), folder=st.sampled_from(["inbox", "work"]))
    def carry(self, side: str, number: int, folder: str) -> None:
        if (id := self._pick(side, number)) is None or self.box[side].items[id].folder == folder:
            return
        octets = self.box[side].items[id].octets
        self.box[side].carry(id, folder)
        self.touched.add((side, octets))

    @rule(side=SIDES, number=st.integers(0, 50))
    def drop(self, side: str, number: int) -> None:
        if (id := self._pick(side, number)) is None:
            return
        octets = self.box[side].items[id].octets
        self.box[side].drop(id)
        self.dropped.add(octets)

    @rule(side=SIDES)
    def forget_tokens(self, side: str) -> None:
        self.box[side].forget_tokens()

    @rule(side=SIDES)
    @precondition(lambda self: not self.touched and not self.dropped)
    def renumber(self, side: str) -> None:
        self.box[side].renumber()

    @rule(side=SIDES, at=st.integers(0, 30), after=st.booleans(), kills=st.booleans())
    def cut(self, side: str, at: int, after: bool, kills: bool) -> None:
        box = self.box[side]
        box.cut, box.cut_after, box.kills = at, after, kills
        self.base = None
        with contextlib.suppress(Killed):
            step(self.path, self.box["left"], self.box["right"], POLICY)
        is_done = box.cut is not None or not kills
        box.cut = None
        self._look(is_done=is_done)

    @rule()
    def bring_in_step(self) -> None:
        kept, gone = self._expected()
        # What a pass does itself is told by the next, which has nothing to do about it.
        for _ in range(2):
            step(self.path, self.box["left"], self.box["right"], POLICY)
        assert self.box["left"].shown() == self.box["right"].shown()
        octets = [held.octets for held in self.box["left"].items.values()]
        assert len(octets) == len(set(octets)), "something is there twice"
        assert self.wanted - self.dropped <= set(octets), "something is lost"
        assert kept <= set(octets), "something that one side still wanted is lost"
        assert not gone & set(octets), "something that was removed is back"
        self.wanted = set(octets)
        self.base = self._held("left")
        self.touched.clear()
        self.dropped.clear()
        again = step(self.path, self.box["left"], self.box["right"], POLICY).report
        assert (again.copied, again.removed, again.moved, again.flagged, again.read) == (0, 0, 0, 0, 0)

    def _held(self, side: str) -> dict[bytes, object]:
        box = self.box[side]
        return {
            held.octets: (box.list_folders[held.folder].path, held.state.flags, held.state.keywords)
            for held in box.items.values()
        }

    def _expected(self) -> tuple[set[bytes], set[bytes]]:
        """Return what is to be kept and what is to be gone of that which was removed on one side."""
        kept: set[bytes] = set()
        gone: set[bytes] = set()
        left, right = self._held("left"), self._held("right")
        for octets, before in (self.base or {}).items():
            if (octets in left) != (octets in right):
                now = left.get(octets, right.get(octets))
                (gone if now == before else kept).add(octets)
        return kept, gone

    def _look(self, *, is_done: bool) -> None:
        octets = {held.octets for box in self.box.values() for held in box.items.values()}
        assert self.wanted - self.dropped <= octets, f"something is lost ({is_done=})"

    @invariant()
    def nothing_is_lost(self) -> None:
        self._look(is_done=True)


TestTwoWay = TwoWay.TestCase
TestTwoWay.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
