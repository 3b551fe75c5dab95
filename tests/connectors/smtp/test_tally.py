"""What workers tell each other of their counts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from connectors.smtp import tally as module
from connectors.smtp.clients import WINDOW_S, Clients, Limits
from connectors.smtp.config import SmtpConfig
from connectors.smtp.login.throttle import FORGOTTEN_AFTER_S, FREE, TOGETHER, Throttle
from connectors.smtp.source import SmtpSource
from connectors.smtp.tally import PLACES, Tally
from tests.connectors.smtp.server_kit import Lines, context


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def of(folder: Path, clock: Clock, workers: int = 2) -> list[Tally]:
    return [Tally(folder, worker, workers, clock) for worker in range(workers)]


def test_what_one_tells_the_others_hear(tmp_path: Path, clock: Clock) -> None:
    one, two, three = of(tmp_path, clock, 3)
    one.tell("a", 3)
    two.tell("a", 4)
    assert [each.others("a") for each in (one, two, three)] == [4, 3, 7]
    one.tell("a", 1)
    assert three.others("a") == 5
    assert three.others("b") == 0


def test_a_count_has_its_time(tmp_path: Path, clock: Clock) -> None:
    one, two = of(tmp_path, clock)
    one.tell("a", 3, until=1060.0)
    clock.now = 1059.9
    assert two.others("a") == 3
    clock.now = 1060.0
    assert two.others("a") == 0


def test_whoever_begins_later_is_heard_and_begins_with_nothing(tmp_path: Path, clock: Clock) -> None:
    one = Tally(tmp_path, 0, 2, clock)
    assert one.others("a") == 0
    two = Tally(tmp_path, 1, 2, clock)
    two.tell("a", 5)
    clock.now += 1.0
    assert one.others("a") == 5
    again = Tally(tmp_path, 1, 2, clock)
    assert one.others("a") == 0
    again.tell("a", 2)
    assert one.others("a") == 2, "it is the same file still"


def test_a_file_that_is_not_whole_yet_is_looked_at_again(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "tally-1").write_bytes(b"short")
    one = Tally(tmp_path, 0, 2, clock)
    assert one.others("a") == 0
    Tally(tmp_path, 1, 2, clock).tell("a", 2)
    clock.now += 1.0
    assert one.others("a") == 2


def same_place() -> tuple[str, str]:
    """Return two keys whose place is one."""
    seen: dict[int, str] = {}
    for n in count():
        key = f"key {n}"
        place = module._mark(key)[1]
        if place in seen:
            return seen[place], key
        seen[place] = key
    raise AssertionError


def test_of_two_keys_in_one_place_neither_is_taken_for_the_other(tmp_path: Path, clock: Clock) -> None:
    first, second = same_place()
    one, two = of(tmp_path, clock)
    one.tell(first, 9, until=1010.0)
    one.tell(second, 5)
    assert (two.others(first), two.others(second)) == (9, 0)
    clock.now = 1010.0
    one.tell(second, 6)
    assert (two.others(first), two.others(second)) == (0, 6)


def test_files_are_small_and_nobody_elses(tmp_path: Path, clock: Clock) -> None:
    (one, _) = of(tmp_path, clock)
    for n in range(2 * PLACES):
        one.tell(str(n), 1)
    found = tmp_path / "tally-0"
    assert found.stat().st_size == 16 * PLACES
    assert found.stat().st_mode & 0o777 == 0o600


def test_where_there_is_no_room_for_it_the_worker_counts_alone(tmp_path: Path) -> None:
    (tmp_path / "tally-0").mkdir()
    lines = Lines()
    source = SmtpSource("in", SmtpConfig(listen=("127.0.0.1:0",)), context(tmp_path, Counter(), lines, workers=2))

    async def begin() -> None:
        await source.start()
        await source.stop()

    asyncio.run(begin())
    (told,) = lines.of("limits_not_shared")
    assert "tally-0" in told["error"]


def test_another_process_hears_it(tmp_path: Path) -> None:
    Tally(tmp_path, 0, 2).tell("a", 7)
    asked = f"""
from pathlib import Path
from connectors.smtp.tally import Tally
print(Tally(Path({str(tmp_path)!r}), 1, 2).others("a"))
"""
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, env=os.environ)
    assert told.stdout == "7\n"


# What is counted by it


def test_connections_are_limited_over_all_workers(tmp_path: Path, clock: Clock) -> None:
    limits = Limits(connections=4, connections_per_client=3, messages_per_minute=1)
    one, two = (Clients(limits, each) for each in of(tmp_path, clock))
    assert [each.enter("a", trusted=False) for each in (one, two, one)] == [None] * 3
    assert "your address" in (two.enter("a", trusted=False) or "")
    assert two.enter("b", trusted=False) is None
    assert one.enter("c", trusted=True) == "too many connections, try again later"
    one.leave("a")
    assert two.enter("a", trusted=False) is None
    for client, address in ((one, "a"), (two, "a"), (two, "a"), (two, "b")):
        client.leave(address)
    assert one.enter("a", trusted=False) is None
    assert (one.total, two.total) == (1, 0)


def test_messages_are_limited_over_all_workers(tmp_path: Path, clock: Clock) -> None:
    limits = Limits(connections=1, connections_per_client=1, messages_per_minute=3)
    one, two = (Clients(limits, each) for each in of(tmp_path, clock))
    clock.now = 16 * WINDOW_S
    assert [each.may_send("a", clock.now) for each in (one, two, two, one, two)] == [True] * 3 + [False] * 2
    assert two.may_send("b", clock.now)
    clock.now += WINDOW_S
    assert [each.may_send("a", clock.now) for each in (two, one)] == [True, True]


def test_guesses_are_slowed_over_all_workers(tmp_path: Path, clock: Clock) -> None:
    one, two = (Throttle(tally=each) for each in of(tmp_path, clock))
    for n in range(FREE):
        (one, two)[n % 2].failed("c", "ann", clock.now)
    assert [each.delay_s("c", "ann", clock.now) for each in (one, two)] == [1.0, 1.0]
    two.failed("c", "ann", clock.now)
    assert [each.delay_s("c", "bob", clock.now) for each in (one, two)] == [2.0, 2.0]
    assert one.enter("c", clock.now)
    assert not two.enter("c", clock.now), "one try at a time, wherever it is"
    one.leave("c")
    assert two.enter("c", clock.now)
    clock.now += FORGOTTEN_AFTER_S + 1
    assert one.delay_s("c", "ann", clock.now) == 0.0


def test_tries_at_once_are_bounded_over_all_workers(tmp_path: Path, clock: Clock) -> None:
    one, two = (Throttle(tally=each) for each in of(tmp_path, clock))
    assert all((one, two)[n % 2].enter("c", clock.now) for n in range(TOGETHER))
    assert not one.enter("c", clock.now)
    assert not two.enter("c", clock.now)


def test_a_right_password_forgives_what_its_worker_saw(tmp_path: Path, clock: Clock) -> None:
    one, two = (Throttle(tally=each) for each in of(tmp_path, clock))
    for _ in range(8):
        one.failed("c", "ann", clock.now)
    assert two.delay_s("d", "ann", clock.now) == 8.0
    one.succeeded("c", "ann")
    assert two.delay_s("d", "ann", clock.now) == 0.0
    assert two.delay_s("c", "bob", clock.now) == 2.0, "half of the client's are forgiven"
