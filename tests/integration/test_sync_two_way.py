"""Two mailboxes at real servers, edited at random on both sides, their passes cut and their ids changed: they come to
be the same, each message once, and nothing is lost that one side still wanted.

What a side wants: a message that was removed on one side alone, and not touched on the other since both were in step,
is gone; any other is there. `GATEPOST_TWO_WAY` is how many runs are made.
"""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.mailbox import StoreFault
from gateway.sync.engine import run_pass
from gateway.sync.state import State
from gateway.sync.transfer import Report
from gateway.sync.values import Policy
from tests.integration.sync_pair import NAME, Box, Shown, Waits, mail, opened
from tests.peers.dovecot import PASSWORD, Dovecot
from tests.peers.imap_filter import Answer, Bye, Command, ImapFilter, Lose

RUNS: Final = int(os.environ.get("GATEPOST_TWO_WAY", "3"))
POLICY: Final = Policy(mode="two-way", delete="remove", allow_removal=True, batch_items=3, page_items=4)
WORDS: Final = st.sampled_from(["\\Seen", "\\Flagged", "word"])
SIDES: Final = st.sampled_from(["left", "right"])
FOLDERS: Final = ("INBOX", "Work", "Old")
_USERS: Final = itertools.count(1)


class TwoWay(RuleBasedStateMachine):
    servers: dict[str, Dovecot]
    filters: dict[str, ImapFilter]

    @initialize()
    def begin(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="gatepost-sync-"))
        name = f"anna{next(_USERS)}"
        self.box = {side: Box(self.servers[side], name) for side in ("left", "right")}
        self.clients: dict[str, imaplib.IMAP4] = {}
        for side in self.box:
            self._log_in(side)
            for folder in FOLDERS[1:]:
                self.clients[side].create(folder)
        self.count = 0
        self.wanted: set[bytes] = set()
        """What is to be there once both are in step."""
        self.dropped: set[bytes] = set()
        self.base: dict[bytes, Shown] | None = {}
        """What both held when they last were in step; None since a pass that was cut made some of it stale."""
        self.is_renumbered = False

    def _log_in(self, side: str) -> None:
        self.clients[side] = imaplib.IMAP4("127.0.0.1", self.box[side].server.port, timeout=60)
        self.clients[side].login(self.box[side].user, PASSWORD)

    def teardown(self) -> None:
        for client in getattr(self, "clients", {}).values():
            with contextlib.suppress(OSError, imaplib.IMAP4.error):
                client.logout()
        if hasattr(self, "path"):
            shutil.rmtree(self.path)

    # -- what people do

    def _pick(self, side: str, number: int) -> tuple[imaplib.IMAP4, Shown, str] | None:
        """Select the folder of one of the messages; returns it, and its UID."""
        shown = self.box[side].shown()
        if not shown:
            return None
        one = shown[number % len(shown)]
        client = self.clients[side]
        client.select(one.folder)
        for part in client.uid("FETCH", "1:*", "(BODY.PEEK[])")[1]:
            if isinstance(part, tuple) and part[1] == one.octets:
                return client, one, part[0].split(b"UID ")[1].split()[0].decode()
        raise AssertionError("it was there just now")

    def _do(self, side: str, *command: str) -> None:
        told, answer = self.clients[side].uid(*command)
        assert told == "OK", answer

    @rule(side=SIDES, folder=st.sampled_from(FOLDERS), named=st.booleans(), words=st.sets(WORDS))
    def put(self, side: str, folder: str, named: bool, words: set[str]) -> None:
        self.count += 1
        octets = mail(self.count, **({} if named else {"Message-ID": ""}))
        client = self.clients[side]
        if folder not in self.box[side].folders():
            client.create(folder)
        date = imaplib.Time2Internaldate(1.5e9 + self.count // 3)
        told, answer = client.append(folder, " ".join(sorted(words)), date, octets)
        assert told == "OK", answer
        self.wanted.add(octets)

    @rule(side=SIDES, number=st.integers(0, 50), add=st.sets(WORDS), remove=st.sets(WORDS))
    def mark(self, side: str, number: int, add: set[str], remove: set[str]) -> None:
        found = self._pick(side, number)
        if found is None:
            return
        for verb, words in (("+FLAGS", add), ("-FLAGS", remove - add)):
            if words:
                self._do(side, "STORE", found[2], verb, f"({' '.join(sorted(words))})")

    @rule(side=SIDES, number=st.integers(0, 50), folder=st.sampled_from(FOLDERS))
    def move(self, side: str, number: int, folder: str) -> None:
        if folder not in self.box[side].folders():
            return
        found = self._pick(side, number)
        if found is not None and found[1].folder != folder:
            self._do(side, "MOVE", found[2], folder)

    @rule(side=SIDES, number=st.integers(0, 50))
    def remove(self, side: str, number: int) -> None:
        found = self._pick(side, number)
        if found is not None:
            self._do(side, "STORE", found[2], "+FLAGS", "\\Deleted")
            found[0].expunge()
            self.dropped.add(found[1].octets)

    @rule(side=SIDES, folder=st.sampled_from(FOLDERS[1:]))
    def remove_folder(self, side: str, folder: str) -> None:
        self.dropped |= {each.octets for each in self.box[side].shown() if each.folder == folder}
        client = self.clients[side]
        client.select("INBOX")
        client.delete(folder)

    @rule(side=SIDES, folder=st.sampled_from(FOLDERS[1:]), name=st.sampled_from([*FOLDERS[1:], "Deep/er"]))
    def rename_folder(self, side: str, folder: str, name: str) -> None:
        there = self.box[side].folders()
        if folder in there and name not in there:
            client = self.clients[side]
            client.select("INBOX")
            told, answer = client.rename(folder, name)
            assert told == "OK", answer

    @rule(side=SIDES)
    @precondition(lambda self: self.base is not None and not self.is_renumbered)
    def renumber(self, side: str) -> None:
        if self._held(side) != self.base:
            return  # what was removed and what was renumbered can't be told from each other
        box = self.box[side]
        for folder in box.folders():
            box.server.adm("mailbox", "update", "-u", box.user, "--uid-validity", str(70000 + self.count), folder)
        self.is_renumbered = True
        self.clients[side].shutdown()  # the server has it log in anew, too
        self._log_in(side)

    # -- passes

    def _pass(self, cut: tuple[str, int, Answer | None] | None = None) -> Report:
        """Do one pass. `cut`: at which side's command, by number, and how; None for its process."""

        for client in self.clients.values():
            if client.state == "SELECTED":  # else the server ends it where a pass removes the folder
                client.unselect()

        async def body() -> Report:
            state = State(self.path / "sync.sqlite")
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            waits, count = Waits(), 0

            def answer(command: Command) -> Answer:
                nonlocal count
                count += 1
                if cut is None or count != cut[1]:
                    return None
                if cut[2] is None:
                    loop.call_soon_threadsafe(task.cancel)
                return cut[2]

            for side, between in self.filters.items():
                between.answer = answer if cut is not None and side == cut[0] else lambda command: None
                between.commands.clear()
            here, there = ((self.filters[side].port, self.box[side].user) for side in ("left", "right"))
            try:
                async with opened(here, self.path) as left, opened(there, self.path) as right:
                    result = await run_pass(NAME, left, right, state, POLICY, paces=(waits.pace(3), waits.pace(3)))
                return result.report
            finally:
                state.close()

        return asyncio.run(body())

    @rule(side=SIDES, at=st.integers(1, 60), how=st.sampled_from([None, Lose(), Bye(b"for maintenance")]))
    def cut(self, side: str, at: int, how: Answer | None) -> None:
        self.base = None
        with contextlib.suppress(asyncio.CancelledError, StoreFault):
            self._pass((side, at, how))
        self._look()

    @rule()
    def bring_in_step(self) -> None:
        kept, gone = self._expected()
        # What a pass does itself is told by the next, which has nothing to do about it.
        for _ in range(2):
            self._pass()
        left, right = self.box["left"].shown(), self.box["right"].shown()
        assert left == right
        octets = [each.octets for each in left]
        assert len(octets) == len(set(octets)), "something is there twice"
        assert self.wanted - self.dropped <= set(octets), "something is lost"
        assert kept <= set(octets), "something that one side still wanted is lost"
        assert not gone & set(octets), "something that was removed is back"
        self.wanted = set(octets)
        self.base = self._held("left")
        self.dropped.clear()
        self.is_renumbered = False
        again = self._pass()
        assert (again.copied, again.removed, again.moved, again.flagged, again.read) == (0, 0, 0, 0, 0)

    # -- what is there

    def _held(self, side: str) -> dict[bytes, Shown]:
        return {each.octets: each for each in self.box[side].shown()}

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

    def _look(self) -> None:
        octets = self._held("left").keys() | self._held("right").keys()
        assert self.wanted - self.dropped <= octets, "something is lost"


@pytest.mark.timeout(60 + 120 * RUNS)
def test_random_edits_on_both_sides_converge() -> None:
    with (
        Dovecot(settings="mail_fsync = never") as one,
        Dovecot(settings="mail_fsync = never") as two,
        ImapFilter(one.port) as left,
        ImapFilter(two.port) as right,
    ):
        TwoWay.servers = {"left": one, "right": two}
        TwoWay.filters = {"left": left, "right": right}
        run_state_machine_as_test(
            TwoWay,
            settings=settings(
                max_examples=RUNS,
                stateful_step_count=20,
                deadline=None,
                phases=[Phase.generate],  # to make a failure smaller takes longer than to read it
                suppress_health_check=list(HealthCheck),
            ),
        )
