"""What a pass makes of what does not get across as it is: mended, left out, waited for, listed, and taken again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import Facts, Folder, Status
from gateway.mailbox import StoreFault
from gateway.sync import appending, match
from gateway.sync.ends import Report
from gateway.sync.engine import Result, retry_pass, run_pass
from gateway.sync.match import Matcher
from gateway.sync.pace import Pace
from gateway.sync.state import State
from gateway.sync.values import Noted, Policy, Problem
from tests.gateway.sync.memory import HOLDS, Memory, mail
from tests.gateway.sync.test_engine import TWO_WAY, filled

REFUSED = Status("5.6.0", "Message contains NUL characters")
PASS: Callable[..., Any] = run_pass


class Peer:
    """Two mailboxes and the state of keeping them in step."""

    def __init__(self, path: Path, left: Memory, right: Memory) -> None:
        self.path = path / "sync.sqlite"
        self.left = left
        self.right = right

    def step(self, policy: Policy = Policy(), *, do: Callable[..., Any] = PASS, **more: Any) -> Result:  # noqa: B008  # frozen
        now = [0.0]

        async def sleep(seconds: float) -> None:
            now[0] += seconds

        state = State(self.path)
        self.left.calls.clear()
        self.right.calls.clear()
        one, two = (Pace(policy.batch_items, clock=lambda: now[0], sleep=sleep) for _ in range(2))
        try:
            result: Result = asyncio.run(do("p", self.left, self.right, state, policy, paces=(one, two), **more))
        finally:
            self.notes: list[Noted] = asyncio.run(state.notes("p"))
            self.problems: list[Problem] = asyncio.run(state.problems("p"))
            state.close()
        return result

    def lose_state(self) -> None:
        for file in self.path.parent.glob("sync.sqlite*"):
            file.unlink()


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    return Peer(tmp_path, Memory(), Memory())


@pytest.mark.parametrize(
    ("bad", "refusal", "octets"),
    [
        (b"\0", "Message contains NUL characters", b"Subject: 1\r\n\r\na\0b\r\n"),
        (b"caf\xe9", "Message contains invalid header", b"Subject: caf\xe9\r\n\r\nbody \xff\r\n"),
        (b"x" * 999, "a line is too long", b"Subject: 3\r\n\r\n" + b"x" * 3000 + b"\r\n"),
        (b"a\nb", "Message contains bare newlines", b"Subject: 4\r\n\r\na\nb\r\n"),
        (b"caf\xe9", "no", b"Subject: caf\xe9\r\n\r\na\0b\xff\r\n"),
    ],
)
def test_what_is_refused_is_mended_as_little_as_it_takes(peer: Peer, bad: bytes, refusal: str, octets: bytes) -> None:
    peer.left.put(mail(1), name="<1@example.org>")
    peer.left.put(octets)
    peer.right.refuses[bad] = Status("5.6.0", refusal)
    report = peer.step().report
    assert (report.copied, report.mended, report.problems) == (2, 1, 0)
    assert len(peer.notes) == 1
    held = next(held for held in peer.right.items.values() if held.octets != mail(1))
    assert bad not in held.octets
    if b"\xff" in octets:
        assert b"\xff" in held.octets, "more was changed than the refusal was about"
    assert peer.step().report.copied == 0
    peer.lose_state()
    lost = peer.step().report
    assert (lost.copied, lost.adopted) == (0, 2)
    peer.right.renumber()
    assert peer.step().report.copied == 0


def test_without_mending_it_is_a_problem(peer: Peer) -> None:
    peer.left.put(b"Subject: 1\r\n\r\na\0b\r\n")
    peer.right.refuses[b"\0"] = REFUSED
    assert peer.step(Policy(mend=False)).report.problems == 1
    assert not peer.right.items


def test_what_no_mend_helps_keeps_its_first_refusal(peer: Peer) -> None:
    peer.left.put(b"Subject: caf\xe9 virus\r\n\r\na\0b\r\n")
    peer.right.refuses[b"virus"] = Status("5.6.0", "I do not like it")
    peer.right.refuses[b"\0"] = REFUSED
    assert peer.step().report.problems == 1
    assert [each.text for each in peer.problems] == ["I do not like it"]


@pytest.mark.parametrize(
    ("octets", "copied", "problems"),
    [(b"Subject: poison\r\n\r\na\0b\r\n", 31, 0), (b"Subject: poison\r\n\r\n\r\n", 30, 1)],
)
def test_what_ends_the_connection_stops_no_other(peer: Peer, octets: bytes, copied: int, problems: int) -> None:
    for number in range(30):
        peer.left.put(mail(number), name=f"<{number}@example.org>")
        if number == 11:
            peer.left.put(octets)
    peer.right.ends_on = b"\0" if b"\0" in octets else b"poison"
    report = peer.step(Policy(batch_items=10)).report
    assert (report.copied + report.adopted, report.problems) == (copied, problems)
    assert all("the connection was lost" in each.text for each in peer.problems)
    assert len({held.octets for held in peer.right.items.values()}) == len(peer.right.items) == copied


@pytest.mark.parametrize(
    ("code", "times", "copied", "problems"), [("4.7.28", 12, 20, 0), ("4.3.0", 2, 20, 0), ("4.3.0", 40, 19, 1)]
)
def test_what_is_put_off_is_done_later(peer: Peer, code: str, times: int, copied: int, problems: int) -> None:
    for number in range(20):
        peer.left.put(mail(number), name=f"<{number}@example.org>")
    whole, left = peer.right.append, [times]

    async def append(folder: str, items: Any) -> Any:
        kept = [new for new in items if b"Subject: 7\r\n" not in new.content.octets() or not left[0]]
        left[0] -= len(kept) < len(items)
        answers = iter(await whole(folder, kept))
        return [next(answers) if new in kept else Status(code, "not now") for new in items]

    peer.right.append = append  # type: ignore[method-assign]
    report = peer.step(Policy(batch_items=6)).report
    assert (report.copied, report.problems) == (copied, problems)
    assert len(peer.right.items) == copied


def test_a_full_mailbox_ends_the_pass_and_the_next_goes_on(peer: Peer) -> None:
    for number in range(20):
        peer.left.put(mail(number), name=f"<{number}@example.org>")
    peer.right.room = 7 * len(mail(9))
    with pytest.raises(StoreFault) as found:
        peer.step(Policy(batch_items=3))
    assert found.value.status.code == "4.2.2"
    assert len(peer.right.items) == 7
    peer.right.room = None
    assert peer.step().report.copied == 13
    assert peer.right.shown() == peer.left.shown()


def test_a_full_mailbox_is_waited_for(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "_FULL_WAITS_S", (0.01,))
    for number in range(20):
        peer.left.put(mail(number), name=f"<{number}@example.org>")
    peer.right.room = 7 * len(mail(9))
    said: list[str] = []

    def progress(report: Report) -> None:
        if report.waiting:
            said.append(report.waiting)
            if len(said) == 3:
                peer.right.room = None

    report = peer.step(Policy(batch_items=3, wait_when_full_s=60), progress=progress).report
    assert (report.copied, report.problems, report.waiting) == (20, 0, "")
    assert "no room" in said[0]
    assert peer.right.shown() == peer.left.shown()


@pytest.mark.parametrize(
    ("left", "right", "warned"),
    [
        (Facts(3072, None), Facts(0, 2048), ["3 KiB are to go into a mailbox that may hold 2 KiB"]),
        (Facts(3072, None), Facts(2048, 2048), ["the mailbox that is copied to is full: it may hold 2 KiB"]),
        (Facts(1000, None), Facts(0, 2048), []),
        (Facts(), Facts(), []),
    ],
)
def test_what_will_not_fit_is_told_before_it_is_copied(
    peer: Peer, left: Facts, right: Facts, warned: list[str]
) -> None:
    peer.left.told, peer.right.told = left, right
    assert peer.step().warnings == warned
    assert peer.step().warnings == []


def test_receipts_are_not_sent_again(peer: Peer) -> None:
    asks = b"Disposition-Notification-To: <a@example.org>\r\nSubject: 1\r\n\r\n"
    read = peer.left.put(asks, "inbox", "seen")
    peer.left.put(asks + b"unread", "inbox")
    peer.left.put(mail(1), "inbox", "seen")
    policy = Policy(mode="mirror", delete="remove")
    peer.step(policy)
    shown = {octets: words for _, octets, words in peer.right.shown()}
    assert shown == {asks: ("mdn_sent", "seen"), asks + b"unread": (), mail(1): ("seen",)}
    peer.left.mark(read, ["flagged"])
    peer.step(policy)
    assert (("Inbox",), asks, ("flagged", "mdn_sent", "seen")) in peer.right.shown()
    assert peer.step(policy).report.flagged == 0


def test_a_date_that_the_store_lacks_is_taken_from_the_header(peer: Peer) -> None:
    dated = b"Date: Mon, 1 Jan 2001 00:00:00 +0000\r\n\r\n%d\r\n"
    peer.left.put(dated % 1, at=None)
    peer.left.put(dated % 2, at=-2209161600.0)
    peer.left.put(dated % 3, at=1.5e9)
    peer.step()
    assert sorted(held.state.received_at or 0 for held in peer.right.items.values()) == [978307200.0] * 2 + [1.5e9]
    assert len(peer.notes) == 2
    assert "Date" in peer.notes[0].text


def test_limits_that_are_widened_let_in_what_was_left_out(peer: Peer) -> None:
    for number in range(5):
        peer.left.put(mail(number, "x" * 1000 * number), name=f"<{number}@example.org>")
    assert peer.step(Policy(max_size=2500)).report.copied == 3
    peer.step(Policy(max_size=2500))
    assert peer.step(Policy(max_size=2500)).report.listed == 0
    report = peer.step(Policy(max_size=3500)).report
    assert (report.copied, report.skipped, report.adopted) == (1, 1, 0)
    assert peer.step(Policy()).report.copied == 1
    assert peer.right.shown() == peer.left.shown()


def test_a_search_takes_what_it_asks_for(peer: Peer) -> None:
    for number in range(12):
        peer.left.put(mail(number), "inbox", *(["seen"] if number % 2 else []))
    policy = Policy(search=("seen", "subject:1"))
    report = peer.step(policy).report
    assert sorted(held.octets for held in peer.right.items.values()) == sorted([mail(1), mail(11)])
    assert (report.copied, report.skipped, report.problems) == (2, 10, 0)
    assert peer.step(policy).report.read == 0


def test_a_retry_takes_just_the_problems(peer: Peer) -> None:
    peer.left = filled(9)
    peer.right.refuses[b"Subject: 4\r\n"] = REFUSED
    peer.step()
    peer.right.refuses.clear()
    peer.left.put(mail(50))
    report = peer.step(do=retry_pass).report
    assert (report.copied, report.listed, report.read) == (1, 0, 1)
    assert "changes" not in peer.left.calls
    assert peer.problems == []
    assert len(peer.right.items) == 9
    assert peer.step().report.copied == 1
    assert peer.right.shown() == peer.left.shown()


def test_a_retry_takes_a_folder_that_could_not_be_read(peer: Peer) -> None:
    peer.left = filled(9)
    whole, broken = peer.left.changes, Status("4.3.0", "the index is broken")

    async def changes(folder: str, token: str | None, limit: int = 500) -> Any:
        if folder == "work":
            from gateway.outcome import Scope

            raise StoreFault(broken, Scope.MESSAGE)
        return await whole(folder, token, limit)

    peer.left.changes = changes  # type: ignore[method-assign]
    peer.step()
    assert [(each.item, each.code) for each in peer.problems] == [("", "4.3.0")]
    assert len(peer.right.items) == 4
    peer.left.changes = whole  # type: ignore[method-assign]
    peer.left.put(mail(50), "inbox")
    assert peer.step(do=retry_pass).report.copied == 5
    assert peer.problems == []


def test_a_name_that_is_refused_is_written_without_signs(peer: Peer) -> None:
    peer.right.refuses_in_names = ".~"
    names = [("~a.b",), ("~a.b", "c.d"), ("~a.b", "c.d", "e-f_g"), ("plain",), ("plain", "h.i")]
    for number, path in enumerate(names):
        peer.left.list_folders[f"f{number}"] = Folder(f"f{number}", path)
        peer.left.put(mail(number), f"f{number}")
    for _ in range(2):
        assert peer.step().report.problems == 0
        assert {folder.path for folder in peer.right.list_folders.values()} == {
            ("Inbox",),
            ("%7Ea%2Eb",),
            ("%7Ea%2Eb", "c%2Ed"),
            ("%7Ea%2Eb", "c%2Ed", "e-f_g"),
            ("plain",),
            ("plain", "h%2Ei"),
        }
        assert len(peer.right.items) == len(names)
        peer.lose_state()


def test_subscriptions_come_along_and_none_is_taken(peer: Peer) -> None:
    peer.right.holding = replace(HOLDS, subscriptions=True)
    for name, here, there in (("a", True, None), ("b", False, None), ("c", True, False), ("d", False, True)):
        peer.left.list_folders[name] = Folder(name, (name,), subscribed=here)
        if there is not None:
            peer.right.list_folders[name] = Folder(name, (name,), subscribed=there)
    for _ in range(2):
        peer.step()
        shown = {folder.path[0]: folder.subscribed for folder in peer.right.list_folders.values()}
        assert shown == {"Inbox": True, "a": True, "b": False, "c": True, "d": True}
    assert "subscribe" not in peer.right.calls


def test_a_word_of_the_stores_own_tells_a_move(peer: Peer) -> None:
    peer.left.list_folders["work"] = Folder("work", ("Work",))
    id = peer.left.put(b"no name\r\n", object="e1")
    peer.step(TWO_WAY)
    peer.left.carry(id, "work")
    report = peer.step(TWO_WAY).report
    assert (report.moved, report.copied, report.removed, report.read) == (1, 0, 0, 0)


def test_originators_of_exchange_are_made_replyable(peer: Peer) -> None:
    head = b"From: Ann </O=ACME/OU=HQ/CN=RECIPIENTS/CN=ANN>\r\n\r\n"
    peer.left.put(head + b"1\r\n")
    peer.left.put(mail(1), name="<1@example.org>")
    for _ in range(2):
        report = peer.step(address_of=lambda name: "ann@acme.example").report
        assert report.problems == 0
        assert sorted(held.octets for held in peer.right.items.values()) == [
            b"From: Ann <ann@acme.example>\r\n\r\n1\r\n",
            mail(1),
        ]
        peer.lose_state()
    assert report.adopted == 2


def test_a_pass_costs_what_changed(peer: Peer) -> None:
    peer.left = filled(400)
    for number in range(48):
        peer.left.list_folders[f"f{number}"] = Folder(f"f{number}", (f"Folder {number:02}",))
    peer.step()
    peer.step()
    assert peer.step().report.listed == 0
    assert peer.left.calls == peer.right.calls == ["folders"]
    peer.left.put(mail(1000), "f7")
    peer.left.mark(next(iter(peer.left.items)), ["flagged"])
    report = peer.step().report
    assert (report.listed, report.copied, report.flagged, report.read) == (2, 1, 1, 1)
    assert sorted(peer.left.calls) == ["changes", "changes", "fetch", "folders"]
    assert sorted(peer.right.calls) == ["append", "folders", "set_flags"]


def test_a_page_costs_by_what_is_in_it_however_much_is_there(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1500):
        name = f"<{number}@example.org>" if number % 3 else None
        peer.left.put(mail(number, name=bool(name)), at=1.5e9 + 10 * number, name=name)
        peer.right.put(mail(number, name=bool(name)), at=1.5e9 + 10 * number, name=name)
    sizes: list[int] = []

    class Counted(Matcher):
        def __init__(self, lefts: Any, rights: Any, *, exact: bool) -> None:
            if lefts:
                sizes.append(len(rights))
            super().__init__(lefts, rights, exact=exact)

    monkeypatch.setattr(match, "Matcher", Counted)
    report = peer.step(Policy(page_items=50)).report
    assert (report.copied, report.adopted) == (0, 1500)
    assert len(sizes) >= 60
    assert max(sizes) <= 600, "nameless ones of the same size, and no more"


@pytest.mark.parametrize("side", ["left", "right"])
def test_ids_that_are_lost_in_the_midst_of_the_first_pass_make_no_doubles(peer: Peer, side: str) -> None:
    for number in range(40):
        peer.left.put(mail(number, name=number % 4 > 0), name=f"<{number}@example.org>" if number % 4 else None)
    peer.right.room = 25 * len(mail(10))
    policy = Policy(batch_items=3, page_items=8)
    with pytest.raises(StoreFault):
        peer.step(policy)
    assert 16 < len(peer.right.items) < 40
    (peer.left if side == "left" else peer.right).renumber()
    peer.right.room = None
    peer.left.put(mail(99), name="<99@example.org>")
    peer.step(policy)
    assert peer.right.shown() == peer.left.shown()
    assert peer.step(policy).report.copied == 0
