"""Destinations that break off, fill up, throttle and lie: mailboxes get there all the same, each message once.

The server behind is a real Dovecot; between it and us is a filter that does to it what servers and networks do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.mailbox import StoreFault
from gateway.sync.pace import Pace
from gateway.sync.state import State
from gateway.sync.values import Pair, Policy
from tests.integration.sync_pair import Box, Two, Waits, mail, user
from tests.peers.dovecot import Dovecot
from tests.peers.liar_imap import Liar

COUNT = 120
SINGLE = ("MULTIAPPEND",)
POLICIES = {"copy": Policy(batch_items=10), "two-way": Policy(mode="two-way", batch_items=10)}


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot() as one:
        yield one


def two(server: Dovecot, liar: Liar, folder: Path, count: int = COUNT) -> Two:
    """Return a filled mailbox, and an empty one behind the liar."""
    left, right = Box(server, user()), Box(server, user())
    left.put(*(mail(number, "text" * 100) for number in range(count // 2)))
    left.put(*(mail(number, "text" * 100) for number in range(count // 2, count)), folder="Kept", flags="\\Flagged")
    return Two(left, right, folder, (server.port, liar.port))


class Real(Waits):
    """Waits as long as it is told to."""

    def pace(self, most_items: int = 50, bytes_per_day: int | None = None) -> Pace:
        return Pace(most_items, bytes_per_day=bytes_per_day)


def are_same(pair: Two) -> None:
    assert pair.right.shown() == pair.left.shown()


@pytest.mark.parametrize("without", [(), SINGLE, ("UIDPLUS", "MULTIAPPEND")], ids=["all", "single", "no-uids"])
@pytest.mark.parametrize("mode", ["copy", "two-way"])
def test_it_hangs_up_again_and_again(server: Dovecot, tmp_path: Path, mode: str, without: tuple[str, ...]) -> None:
    with Liar(server.port, without=without) as liar:
        pair = two(server, liar, tmp_path)
        liar.hang_up_every = 50 if without else 10
        report = pair.step(POLICIES[mode]).report
        assert report.problems == 0
        assert liar.most_open <= 4
        are_same(pair)
        liar.count_anew()
        assert pair.step(POLICIES[mode]).report.copied == 0


@pytest.mark.parametrize("without", [(), SINGLE, ("UIDPLUS", "MULTIAPPEND")], ids=["all", "single", "no-uids"])
def test_answers_to_appends_are_lost(server: Dovecot, tmp_path: Path, without: tuple[str, ...]) -> None:
    with Liar(server.port, without=without) as liar:
        pair = two(server, liar, tmp_path)
        liar.lose_answers = 4
        assert pair.step(POLICIES["copy"]).report.problems == 0
        assert liar.lose_answers == 0
    are_same(pair)


@pytest.mark.parametrize("without", [(), SINGLE], ids=["all", "single"])
def test_it_is_full_and_has_room_again(server: Dovecot, tmp_path: Path, without: tuple[str, ...]) -> None:
    with Liar(server.port, without=without) as liar:
        pair = two(server, liar, tmp_path)
        liar.full_after = 5
        for _ in range(2):
            with pytest.raises(StoreFault) as told:
                pair.step(POLICIES["copy"])
            assert told.value.status.code == "4.2.2"
            assert "OVERQUOTA" in str(told.value)
        appends = liar.verbs().count("APPEND")
        assert appends <= 2 * POLICIES["copy"].batch_items, "a full mailbox is not asked again and again"
        assert 0 < len(pair.right.shown()) < COUNT
        liar.full_after = None
        pair.step(POLICIES["copy"])
    are_same(pair)


def test_it_throttles_and_is_left_alone(server: Dovecot, tmp_path: Path) -> None:
    with Liar(server.port, without=SINGLE) as liar:
        pair = two(server, liar, tmp_path)
        liar.busy_every = 40
        pair.step(POLICIES["copy"], waits=Real())
        asked = liar.asked_at
        for refused in liar.busy_at:
            # What was in the pipe already still comes; then there is silence for as long as was asked for.
            at = asked.index(refused)
            some = asked[at : at + 2 * POLICIES["copy"].batch_items + 2]
            gaps = [after - before for before, after in itertools.pairwise(some)]
            assert not gaps or max(gaps) >= 0.9 * liar.busy_ms / 1000
        assert liar.busy_at
    are_same(pair)


@pytest.mark.parametrize("off", [-1000, -1, 1, 5000])
@pytest.mark.parametrize("without", [(), ("UIDPLUS",)], ids=["all", "no-uids"])
def test_it_lies_about_its_next_uid(server: Dovecot, tmp_path: Path, off: int, without: tuple[str, ...]) -> None:
    with Liar(server.port, without=without) as liar:
        pair = two(server, liar, tmp_path, 40)
        liar.uidnext_off = off
        liar.lose_answers = 1
        pair.step(POLICIES["copy"])
        are_same(pair)
        pair.left.put(mail(1000))
        assert pair.step(POLICIES["copy"]).report.copied == 1
    are_same(pair)


@pytest.mark.parametrize("mode", ["copy", "mirror", "two-way"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_uidvalidity_changes_between_runs(server: Dovecot, tmp_path: Path, mode: str, side: str) -> None:
    policy = Policy(mode=mode, delete="remove")  # type: ignore[arg-type]  # one of three
    with Liar(server.port) as liar:
        pair = two(server, liar, tmp_path, 40)
        pair.ports = (liar.port, server.port) if side == "left" else (server.port, liar.port)
        pair.step(policy)
        before = pair.right.shown()
        pair.left.put(mail(1000))
        for _ in range(2):
            liar.uidvalidity_off += 7
            report = pair.step(policy).report
            assert (report.removed, report.conflicts) == (0, 0)
            assert report.copied <= 1
        assert len(pair.right.shown()) == len(before) + 1
    are_same(pair)


@pytest.mark.parametrize("page", [1, 2])
def test_what_goes_while_a_first_pass_is_cut_is_gone_on_both_sides(
    server: Dovecot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    pair = Two(Box(server, user()), Box(server, user()), tmp_path)
    pair.left.put(*(mail(number) for number in range(12)))
    policy = Policy(mode="two-way", delete="remove", batch_items=5, page_items=5)
    settle, calls = State.settle, 0

    async def cut(self: State, pairing: str, rows: Sequence[Pair] = (), **more: Any) -> None:
        nonlocal calls
        calls += bool(rows)
        if calls == page:  # it is appended, and that is not noted any more
            raise RuntimeError("killed")
        await settle(self, pairing, rows, **more)

    monkeypatch.setattr(State, "settle", cut)
    with pytest.raises(RuntimeError, match="killed"):
        pair.step(policy)
    monkeypatch.undo()
    # The page after it may have been brought across meanwhile: pages overlap.
    assert len(pair.right.shown()) >= 5 * page
    pair.left.do("INBOX", ("STORE", "3,8", "+FLAGS", "(\\Deleted)"))
    pair.step(policy)
    pair.step(policy)
    assert len(pair.left.shown()) == 10
    are_same(pair)
