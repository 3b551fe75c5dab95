"""Calm: what passes, what is gathered, and that each message is told exactly once, over kills and full disks."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.mqtt import calm as module
from connectors.mqtt.calm import Calm, Held, Pass
from connectors.mqtt.digest import Digest
from connectors.mqtt.journal import SqliteJournal
from connectors.mqtt.rules import Calm as Rule
from connectors.mqtt.store import Store, StoreFault
from tests.connectors.mqtt.test_journal import killed
from tests.connectors.mqtt.test_store import page_room, room

HELD, REPEAT = Held(), Held(repeat=True)


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened(path: Path, clock: Clock, **rules: Rule) -> AsyncIterator[Calm]:
    store = await Store.open(path)
    try:
        yield await Calm.open(store, rules, clock)
    finally:
        await store.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "in.db"


async def told(calm: Calm, topic: str = "a", value: str = "", message_id: str = "", line: str = "") -> Pass | Held:
    """Decide one message of the rule `r`, and accept the mail where it is one."""
    verdict = await calm.decide("r", topic, value, line or f"{topic} {value}", message_id)
    if isinstance(verdict, Pass):
        await calm.passed(verdict)
    return verdict


async def threads(calm: Calm, values: Sequence[str], topic: str = "a") -> list[str | None]:
    """Return what each value becomes: a mail's thread, "-" for none, or "held"; mails are <0>, <1> and so on."""
    found: list[str | None] = []
    for n, value in enumerate(values):
        verdict = await told(calm, topic, value, f"<{n}>")
        found.append(verdict.thread or "" if isinstance(verdict, Pass) else "-" if verdict.repeat else "held")
    return found


# -- windows


async def test_so_many_pass_and_the_rest_is_one_digest(path: Path, clock: Clock) -> None:
    async with opened(path, clock, r=Rule(max_mails=3, window_s=60)) as calm:
        assert calm.next_at() is None
        verdicts = []
        for n in range(10):
            verdicts.append(await told(calm, f"t/{n % 4}", line=f"line {n}"))
            clock.now += 1
        assert [type(each) for each in verdicts] == [Pass] * 3 + [Held] * 7
        assert calm.next_at() == 1_000_060
        assert await calm.due() == []
        clock.now = 1_000_060
        [digest] = await calm.due()
        assert (digest.rule, digest.count, digest.first_at, digest.last_at) == ("r", 7, 1_000_003, 1_000_009)
        assert digest.topics == (("t/0", 2), ("t/1", 2), ("t/2", 1), ("t/3", 2))
        assert [line.text for line in digest.lines] == [f"line {n}" for n in range(3, 10)]
        assert [type(await told(calm)) for _ in range(4)] == [Pass] * 3 + [Held], "the next window"
        assert await calm.due() == [digest], "until it is sent"
        await calm.sent(digest)
        assert await calm.due() == []
        clock.now += 60
        [other] = await calm.due()
        assert (other.count, other.key != digest.key) == (1, True)


async def test_a_window_in_which_all_passed_leaves_nothing(path: Path, clock: Clock) -> None:
    async with opened(path, clock, r=Rule(max_mails=3, window_s=60)) as calm:
        for _ in range(3):
            assert isinstance(await told(calm), Pass)
            clock.now += 61
            assert await calm.due() == []
        assert calm.next_at() is None
        await calm.sent(Digest("r", 1, 1, 0, 0, (), 0, ()))  # nobody's: no matter
    assert count(path, "calm_window") == 0


async def test_no_mail_at_all_but_digests(path: Path, clock: Clock) -> None:
    async with opened(path, clock, r=Rule(max_mails=0, window_s=60)) as calm:
        assert await told(calm) == HELD
        clock.now += 60
        assert [each.count for each in await calm.due()] == [1]


async def test_lines_and_topics_are_bounded(path: Path, clock: Clock) -> None:
    async with opened(path, clock, r=Rule(max_mails=0, window_s=60, digest_lines=5, max_topics=3)) as calm:
        long = "x" * 70_000
        for topic in ("a", "b", long, "c", "d", "a", long, long + "y"):
            await told(calm, topic, line="z" * 10_000)
        clock.now += 60
        [digest] = await calm.due()
        assert (digest.count, digest.others, len(digest.lines)) == (8, 3, 5)
        assert dict(digest.topics).keys() >= {"a", "b"}
        assert sorted(dict(digest.topics).values()) == [1, 2, 2]
        assert len(digest.text()) < 10_000
    assert os.stat(path).st_size < 100_000


async def test_rules_have_windows_of_their_own(path: Path, clock: Clock) -> None:
    rules = {"r": Rule(max_mails=1, window_s=60), "s": Rule(max_mails=0, window_s=10)}
    async with opened(path, clock, **rules) as calm:
        assert [type(await told(calm)) for _ in range(2)] == [Pass, Held]
        clock.now += 5
        assert await calm.decide("s", "a", "", "") == HELD
        assert calm.next_at() == 1_000_015
        clock.now += 10
        assert [each.rule for each in await calm.due()] == ["s"]
        clock.now += 60
        assert sorted(each.rule for each in await calm.due()) == ["r", "s"]
        with pytest.raises(KeyError):
            await calm.decide("x", "a", "", "")


async def test_what_was_gathered_by_a_rule_that_is_no_more(path: Path, clock: Clock) -> None:
    async with opened(path, clock, gone=Rule(max_mails=0), other=Rule(max_mails=1, on_change=True)) as calm:
        await calm.decide("gone", "a", "", "hot")
        verdict = await calm.decide("other", "a", "ON", "")
        assert isinstance(verdict, Pass)
        await calm.passed(verdict)
    async with opened(path, clock, r=Rule()) as calm:
        [digest] = await calm.due()
        assert (digest.rule, digest.count) == ("gone", 1)
        await calm.sent(digest)
        await told(calm)
    assert [count(path, table) for table in ("calm_window", "calm_count", "calm_lines", "calm_seen")] == [1, 0, 0, 0]


async def test_a_clock_that_is_set(path: Path, clock: Clock) -> None:
    async with opened(path, clock, r=Rule(max_mails=0, window_s=60)) as calm:
        await told(calm)
        clock.now -= 100_000
        await told(calm)
        assert calm.next_at() == clock.now + 60
        clock.now += 60
        [digest] = await calm.due()
        assert digest.count == 2
        clock.now -= 500
        await told(calm)
        clock.now += 60
        assert len({each.number for each in await calm.due()}) == 2


async def test_digests_that_nobody_takes_are_few(path: Path, clock: Clock) -> None:
    async with opened(path, clock, r=Rule(max_mails=0, window_s=60)) as calm:
        for _ in range(100):
            await told(calm)
            clock.now += 61
        digests = await calm.due()
        assert len(digests) == module.MOST_DUE
        assert sum(each.count for each in digests) == module.MOST_DUE
        for each in digests:
            await calm.sent(each)
        [rest] = await calm.due()
        assert rest.count == 100 - module.MOST_DUE


async def test_waiting_for_a_digest(path: Path) -> None:
    store = await Store.open(path)
    calm = await Calm.open(store, {"r": Rule(max_mails=0, window_s=1)}, time.time)
    waiting = asyncio.create_task(calm.wait())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await told(calm)
    began = time.monotonic()
    await asyncio.wait_for(waiting, 5)
    assert time.monotonic() - began == pytest.approx(1, abs=0.3)
    assert len(await calm.due()) == 1
    await asyncio.wait_for(calm.wait(), 0.1)
    await store.close()


# -- values

ALARM = Rule(max_mails=100, on_change=True, normal=["OK", "idle"])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["OK", "OK", "idle"], ["-", "-", "-"]),
        (["ON", "ON", "OK"], ["", "-", "<0>"]),
        (["ON", "WORSE", "OK", "OK", "ON"], ["", "<0>", "<0>", "-", ""]),
        (["OK", "ON", "OK", "ON", "ON", "idle"], ["-", "", "<1>", "", "-", "<3>"]),
        (["ON", "WORSE", "ON"], ["", "<0>", "<0>"]),
    ],
)
async def test_changes_are_mails_and_one_thread_up_to_the_return_to_normal(
    path: Path, clock: Clock, values: list[str], expected: list[str]
) -> None:
    async with opened(path, clock, r=ALARM) as calm:
        assert await threads(calm, values) == expected
        assert await threads(calm, values, "another topic") == expected
    async with opened(path, clock, r=ALARM) as calm:
        assert await told(calm, "a", values[-1]) == REPEAT, "it is known after a restart"


async def test_without_a_normal_value_there_is_no_thread(path: Path, clock: Clock) -> None:
    async with opened(path, clock, r=Rule(on_change=True)) as calm:
        assert await threads(calm, ["1", "2", "2", "1"]) == ["", "", "-", ""]


async def test_changes_beyond_the_window_are_gathered(path: Path, clock: Clock) -> None:
    async with opened(path, clock, r=Rule(max_mails=1, window_s=60, on_change=True, normal=["OK"])) as calm:
        assert await threads(calm, ["ON", "OK", "ON", "ON"]) == ["", "held", "held", "-"]
        clock.now += 60
        [digest] = await calm.due()
        assert [line.text for line in digest.lines] == ["a OK", "a ON"]
        # The alarm that is on was told by the digest: there is no mail that this could answer to.
        assert await threads(calm, ["OK"]) == [""]


async def test_a_mail_that_was_not_accepted_is_none(path: Path, clock: Clock) -> None:
    async with opened(path, clock, r=Rule(max_mails=1, on_change=True, normal=["OK"])) as calm:
        first = await calm.decide("r", "a", "ON", "", "<0>")
        assert isinstance(first, Pass)
        calm.failed(first)
        second = await calm.decide("r", "a", "ON", "", "<1>")
        assert isinstance(second, Pass)
        assert second.thread is None
        await calm.passed(second)
        assert await told(calm, "a", "ON") == REPEAT
        assert await told(calm, "a", "OK") == HELD
    async with opened(path, clock, r=Rule(max_mails=2, on_change=True, normal=["OK"])) as calm:
        third = await calm.decide("r", "a", "ON", "", "<2>")
        assert isinstance(third, Pass)
        calm.failed(third)
        assert await told(calm, "a", "OK") == REPEAT


async def test_a_kill_before_a_mail_is_accepted_loses_no_change(path: Path, clock: Clock) -> None:
    async with opened(path, clock, r=ALARM) as calm:
        first = await calm.decide("r", "a", "ON", "", "<0>")
        second = await calm.decide("r", "a", "OK", "", "<1>")
        third = await calm.decide("r", "a", "ON", "", "<2>")
        assert isinstance(second, Pass)
        assert isinstance(third, Pass)
        await calm.passed(second)
        async with opened(killed(path), clock, r=ALARM) as other:
            assert isinstance(await other.decide("r", "a", "ON", "", "<0>"), Pass)
        assert isinstance(first, Pass)
        await calm.passed(first)  # later than what came after it
        async with opened(killed(path), clock, r=ALARM) as other:
            assert isinstance(await other.decide("r", "a", "ON", "", "<2>"), Pass)
        calm.failed(third)
        # The return to normal is under way, and another normal value comes: that mail may have to be made again.
        fourth = await calm.decide("r", "a", "ON", "", "<3>")
        assert isinstance(fourth, Pass)
        await calm.passed(fourth)
        assert isinstance(await calm.decide("r", "a", "OK", "", "<4>"), Pass)
        assert await calm.decide("r", "a", "idle", "") == REPEAT
        await told(calm, "b", "ON")
        async with opened(killed(path), clock, r=ALARM) as other:
            again = await other.decide("r", "a", "OK", "", "<4>")
            assert isinstance(again, Pass)
            assert again.thread == "<3>"


async def test_the_topic_that_changed_longest_ago_is_forgotten(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SEEN", 3)
    async with opened(path, clock, r=ALARM) as calm:
        for topic in ("a", "b", "c", "a", "d"):
            await told(calm, topic, "ON" if topic != "a" else f"{clock.now}")
            clock.now += 1
        assert await told(calm, "c", "ON") == REPEAT
        assert isinstance(await told(calm, "b", "ON"), Pass)
    assert count(path, "calm_seen") == 3


# -- disks and kills


async def test_a_full_disk_takes_back_what_was_not_kept(path: Path, clock: Clock) -> None:
    store = await Store.open(path)
    rule = Rule(max_mails=1, window_s=60, on_change=True, normal=["OK"])
    calm = await Calm.open(store, {"r": rule}, clock)
    assert await threads(calm, ["ON", "OK"]) == ["", "held"]
    await store.write(room(0))
    waiting = [calm.decide("r", f"{n}", "ON", "x" * 500) for n in range(100)]
    assert all(isinstance(each, StoreFault) for each in await asyncio.gather(*waiting, return_exceptions=True))
    await store.write(page_room)
    await store.write(lambda connection: None)
    assert await told(calm, "7", "ON") == HELD, "it comes again, and is no repeat"
    clock.now += 60
    [digest] = await calm.due()
    assert [line.text for line in digest.lines] == ["a OK", "7 ON"]
    await store.write(room(0))
    await calm.sent(digest)
    assert await calm.due() == []
    await store.close()


@dataclass
class Peer:
    """A broker, a spool and a gateway between them that is killed now and then."""

    path: Path
    clock: Clock = field(default_factory=Clock)
    rule: Rule = field(default_factory=lambda: Rule(max_mails=2, window_s=60, digest_lines=2000))
    unacknowledged: dict[int, int] = field(default_factory=dict)
    """Packet identifiers to messages, in the order of their publishing."""
    received: set[int] = field(default_factory=set)
    published: int = 0
    spool: dict[str, list[str]] = field(default_factory=dict)

    async def open(self) -> None:
        self.store = await Store.open(self.path)
        self.journal = await SqliteJournal.open(self.store, "gw")
        self.calm = await Calm.open(self.store, {"r": self.rule}, self.clock)

    async def take(self, packet: int, dice: random.Random) -> None:
        """Bring one message as far as the dice let it: a kill may come at each await, and after the acceptance."""
        if packet not in self.received:
            await self.hand_over(packet, dice)
            if dice.random() < 0.3:
                await asyncio.sleep(3600)
            self.received.add(packet)  # PUBREC has come: the broker sends PUBREL from now on
        await self.journal.close_inward(packet)
        self.received.discard(packet)
        del self.unacknowledged[packet]

    async def hand_over(self, packet: int, dice: random.Random) -> None:
        generation, durable = self.journal.open_inward(packet)
        await durable
        message = self.unacknowledged[packet]
        if not await self.journal.is_settled(packet):
            settle = self.journal.settler(packet)
            verdict = await self.calm.decide("r", f"t/{message % 3}", "", str(message), settle=settle)
            if isinstance(verdict, Pass):
                self.spool.setdefault(f"{packet}:{generation}", [str(message)])
                if dice.random() < 0.2:
                    await asyncio.sleep(3600)  # until the kill
                self.calm.passed(verdict)

    async def digest(self, dice: random.Random) -> None:
        for each in await self.calm.due():
            self.spool.setdefault(each.key, [line.text for line in each.lines])
            if dice.random() < 0.5:
                await self.calm.sent(each)

    async def round(self, dice: random.Random, count: int) -> None:
        """Publish so many, and kill all at some moment."""
        for _ in range(count):
            packet = next(n for n in range(1, 65536) if n not in self.unacknowledged)
            self.unacknowledged[packet] = self.published
            self.published += 1
        work = [asyncio.create_task(self.take(packet, dice)) for packet in list(self.unacknowledged)]
        self.clock.now += dice.choice([0, 1, 40])
        work.append(asyncio.create_task(self.digest(dice)))
        await asyncio.wait(work, timeout=dice.choice([0, 0.001, 0.003, 0.02]))
        self.path = killed(self.path)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await self.store.close()
        await self.open()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32), st.lists(st.integers(0, 12), max_size=8))
def test_each_message_is_told_once_over_any_kills(seed: int, counts: list[int]) -> None:
    async def play(folder: str) -> None:
        peer = Peer(Path(folder) / "first" / "in.db")
        await peer.open()
        dice = random.Random(seed)
        for each in counts:
            await peer.round(dice, each)
        calm_dice = random.Random()
        calm_dice.random = lambda: 0.9  # type: ignore[method-assign]
        await asyncio.gather(*(peer.take(packet, calm_dice) for packet in list(peer.unacknowledged)))
        peer.clock.now += 61
        for digest in await peer.calm.due():
            peer.spool.setdefault(digest.key, [line.text for line in digest.lines])
            await peer.calm.sent(digest)
        assert await peer.calm.due() == []
        await peer.store.close()
        copies = Counter(text for mail in peer.spool.values() for text in mail)
        assert copies == Counter(map(str, range(peer.published)))

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(folder))


def count(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    try:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    finally:
        connection.close()
    assert isinstance(found, int)
    return found


async def test_a_storm_of_100_000_is_a_handful_of_rows(path: Path, clock: Clock) -> None:
    messages = iter(range(100_000))
    passed = 0
    async with opened(path, clock, r=Rule(max_mails=10)) as calm:

        async def take() -> None:
            nonlocal passed
            for n in messages:
                verdict = await told(calm, f"alerts/plant{n % 20}", line=f"line {n}")
                passed += isinstance(verdict, Pass)

        began = time.process_time()
        await asyncio.gather(*(take() for _ in range(1000)))
        assert time.process_time() - began < 5, "20,000 a second; it takes some 2 s"
        clock.now += 3600
        [digest] = await calm.due()
    assert (passed, digest.count, len(digest.lines)) == (10, 99_990, 200)
    assert sum(n for _, n in digest.topics) == 99_990
    tables = ("calm_window", "calm_count", "calm_lines", "calm_seen")
    assert sum(count(path, table) for table in tables) <= 30
    assert os.stat(path).st_size < 200_000
