"""What users of other tools for moving mailboxes complain of: servers that throttle, hours without progress, memory
that grows, watchers that die or multiply.

Waits are those of a clock that goes as fast as it is waited for.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.imap.connector import Imap
from gateway.mailbox import StoreFault
from gateway.outcome import Scope
from gateway.status import Status
from gateway.sync.transfer import Report
from gateway.sync.values import Policy
from tests.gateway.sync.memory import Memory
from tests.integration.sync_pair import Box, Two, Waits, bring_in_step, imap, mail, user
from tests.peers.dovecot import Dovecot
from tests.peers.imap_filter import Answer, Bye, Command, ImapFilter, Lose

BUSY = b"Request is throttled. Suggested Backoff Time: 299961 milliseconds"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dovecot, Dovecot]]:
    with Dovecot() as one, Dovecot() as two:
        yield one, two


@pytest.fixture
def two(servers: tuple[Dovecot, Dovecot], tmp_path: Path) -> Two:
    name = user()
    return Two(Box(servers[0], name), Box(servers[1], name), tmp_path)


def once(at: int, verb: str, told: Answer) -> Callable[[Command], Answer]:
    """Answer one command of a kind, the `at`-th."""
    count = 0

    def answer(command: Command) -> Answer:
        nonlocal count
        if command.verb != verb:
            return None
        count += 1
        return told if count == at else None

    return answer


@pytest.mark.parametrize(
    ("side", "verb", "at", "told"),
    [
        ("right", "APPEND", 2, b"NO " + BUSY),
        ("right", "APPEND", 2, b"NO [THROTTLED] " + BUSY),
        ("right", "APPEND", 2, Bye(BUSY)),
        ("left", "UID FETCH", 2, b"NO " + BUSY),
        ("left", "EXAMINE", 1, b"NO " + BUSY),
        ("left", "LIST", 1, b"NO " + BUSY),
    ],
)
def test_a_hint_how_long_to_wait_is_not_heard(two: Two, side: str, verb: str, at: int, told: Answer) -> None:
    """imapsync's documentation of Exchange, imap_tools #135: just so long is waited, and gone on from there."""
    two.left.put(*(mail(n) for n in range(30)))
    waits = Waits()
    server = two.left.server if side == "left" else two.right.server
    with ImapFilter(server.port, once(at, verb, told)) as between:
        two.ports = (between.port, 0) if side == "left" else (0, between.port)
        report = two.step(Policy(batch_items=10), waits=waits).report
    # What was on its way when the connection ended is found there.
    assert (report.copied + report.adopted, report.problems) == (30, 0)
    assert any(wait == pytest.approx(299.961) for wait in waits.waits)
    assert sum(waits.waits) < 310
    assert two.right.shown() == two.left.shown()


def test_it_would_take_days_and_nobody_says_so(two: Two) -> None:
    """imapsync's documentation of Gmail: 500 MB a day. The day's allowance is kept, and the plan reckons with it."""
    two.left.put(*(mail(n, "line of text\r\n" * 7000) for n in range(12)))
    octets = sum(len(each) for each in two.left.octets())
    policy = Policy(bytes_per_day=octets // 3, batch_items=4)
    assert two.look(policy).estimate_s == pytest.approx(3 * 86400, rel=0.01)
    assert two.look().estimate_s < 60
    waits = Waits()
    began = waits.now
    report = two.step(policy, waits=waits).report
    assert report.copied == 12
    # After each batch its share of the day is waited for; what follows the last one is the next pass's.
    assert 86400 * 1.9 < waits.now - began < 86400 * 3.1
    assert two.right.shown() == two.left.shown()


class Busy(Memory):
    """A mailbox whose server is busy until a time."""

    def __init__(self, waits: Waits, until: float, hint_s: float | None) -> None:
        super().__init__()
        self.waits, self.until, self.hint_s = waits, until, hint_s

    def _call(self, name: str, *, done: bool = False) -> None:
        if not done and self.waits.now < self.until:
            raise StoreFault(Status("4.7.28", "ErrorServerBusy"), Scope.RECIPIENT, self.hint_s)
        super()._call(name, done=done)


@pytest.mark.parametrize("hint_s", [None, 5.0, 300.0])
def test_it_gives_up_after_36_seconds(tmp_path: Path, hint_s: float | None) -> None:
    """exchangelib #833, exchangelib #356: a server that is busy for most of an hour is waited for."""
    waits = Waits()
    left, right = Busy(waits, waits.now + 3000, hint_s), Memory()
    for number in range(20):
        left.put(mail(number), name=f"<{number}@example.org>")
    report = bring_in_step(left, right, tmp_path, waits=waits).report
    assert (report.copied, report.problems) == (20, 0)
    assert len(waits.waits) < 700


def test_when_it_has_given_up_it_begins_anew(tmp_path: Path) -> None:
    """exchangelib #833: after hours without an answer the pass ends in words, and the next goes on from there."""
    waits = Waits()
    left, right = Memory(), Busy(waits, 0, None)
    for number in range(20):
        left.put(mail(number), name=f"<{number}@example.org>")
    policy = Policy(batch_items=5, page_items=5)

    def progress(report: Report) -> None:
        if report.copied >= 10:
            right.until = waits.now + 24 * 3600

    with pytest.raises(StoreFault, match="ErrorServerBusy"):
        bring_in_step(left, right, tmp_path, policy, waits=waits, progress=progress)
    assert len(right.items) == 10
    right.until = 0
    report = bring_in_step(left, right, tmp_path, policy, waits=waits).report
    assert (report.copied, report.read) == (10, 10)
    assert right.shown() == left.shown()


def test_hours_pass_before_the_first_message_of_a_large_inbox(tmp_path: Path) -> None:
    """imapsync #268: what the first page lists is copied while the second is asked for, and progress is told."""
    left, right = Memory(), Memory()
    for number in range(1500):
        left.put(mail(number), name=f"<{number}@example.org>")
    asked: list[int] = []
    told: list[Report] = []

    def progress(report: Report) -> None:
        told.append(replace(report))
        asked.append(left.calls.count("changes"))

    bring_in_step(left, right, tmp_path, progress=progress)
    first = next(at for at, report in enumerate(told) if report.copied)
    assert asked[first] <= 2
    assert told[first].listed <= 500
    assert len(told) >= 1500 / 50
    assert told[-1].copied == 1500


@pytest.mark.parametrize("held", [200, 2000])
def test_it_is_slower_and_slower_the_more_there_is(tmp_path: Path, held: int) -> None:
    """imapsync #550: a pass costs by what is new, whatever is there."""
    left, right = Memory(), Memory()
    for number in range(held):
        left.put(mail(number), name=f"<{number}@example.org>")
    for _ in range(2):
        bring_in_step(left, right, tmp_path)
    for number in range(held, held + 10):
        left.put(mail(number), name=f"<{number}@example.org>")
    left.calls.clear()
    right.calls.clear()
    report = bring_in_step(left, right, tmp_path).report
    assert (report.copied, report.read, report.listed) == (10, 10, 10)
    assert len(left.calls) + len(right.calls) < 20


def _grown(ports: tuple[int, int], name: str, folder: Path, grown: multiprocessing.Queue[int]) -> None:
    bring_in_step((ports[0], "empty"), (ports[1], "empty"), folder)  # all that is imported is in memory
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bring_in_step((ports[0], name), (ports[1], name), folder / "large")
    grown.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def test_memory_grows_until_it_dies(two: Two) -> None:
    """imapsync #406: what is in memory is bounded, whatever goes through."""
    (two.path / "large").mkdir()
    two.left.put(*(mail(n, "line of text\r\n" * 150_000) for n in range(16)))
    spawn = multiprocessing.get_context("spawn")
    grown: multiprocessing.Queue[int] = spawn.Queue()
    ports = two.left.server.port, two.right.server.port
    child = spawn.Process(target=_grown, args=(ports, two.left.user, two.path, grown))
    child.start()
    kib = grown.get(timeout=240)
    child.join(60)
    assert len(two.right.octets()) == 16
    assert kib < 28 * 1024, f"{kib} KiB for 34 MB"


def test_a_watcher_opens_more_and_more_connections(two: Two) -> None:
    """n8n #30179, n8n #30275: each one that breaks is closed, and there are never more than the limit."""
    two.left.put(*(mail(n) for n in range(40)))
    lost = 0

    def answer(command: Command) -> Answer:
        nonlocal lost
        if command.verb not in ("APPEND", "EXAMINE", "SELECT"):
            return None
        lost += 1
        return Lose() if lost % 4 == 3 else None

    with ImapFilter(two.left.server.port, answer) as source, ImapFilter(two.right.server.port, answer) as target:
        two.ports = source.port, target.port
        for _ in range(6):
            two.step(Policy(batch_items=5))
        assert lost > 8
        limit = Imap.Config.model_fields["max_connections"].default
        assert max(source.most_open, target.most_open) <= limit
        end = time.monotonic() + 60
        while source.open + target.open and time.monotonic() < end:
            time.sleep(0.05)
        assert source.open + target.open == 0
    assert two.right.shown() == two.left.shown()


@pytest.mark.parametrize("is_told", [True, False])
def test_a_watcher_dies_without_a_word(two: Two, is_told: bool) -> None:
    """n8n #30871, n8n #36388, n8n #3607: IDLE tells nothing (any more), and the folder is looked at all the same."""
    two.left.put(mail(1))

    def alter(response: bytes) -> bytes | None:
        return response if is_told or b"EXISTS" not in response else None

    async def watch(port: int) -> None:
        connector = imap(port, two.path)
        await connector.start()
        async with connector.open(two.left.user) as mailbox:
            mailbox._poll_s = 600.0 if is_told else 1.0
            folder = next(each.id for each in await mailbox.folders() if each.role == "inbox")
            changes = await mailbox.changes(folder, None)
            watching = mailbox.watch([folder])
            hint = asyncio.ensure_future(anext(watching))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(two.left.put, mail(2))
            async with asyncio.timeout(60):
                while not (await mailbox.changes(folder, changes.token)).items:
                    assert await hint == folder
                    hint = asyncio.ensure_future(anext(watching))
            hint.cancel()
            await asyncio.gather(hint, return_exceptions=True)
        await connector.stop()

    with ImapFilter(two.left.server.port, alter=alter) as source:
        asyncio.run(watch(source.port))
