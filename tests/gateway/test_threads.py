"""Connectors of blocking libraries: the page's example passes the kit, and the bounds of the pool hold."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gateway.contract import (
    Address,
    ConnectorConfig,
    Context,
    Deferred,
    Delivered,
    Envelope,
    HandOver,
    Message,
    Origin,
    Outcome,
    Parcel,
    Recipient,
    Scope,
    Status,
    ThreadedDestination,
    ThreadedSource,
)
from gateway.log import Silence
from gateway.testing import DestinationSuite, ListBatch, RecordingIntake, SourceSuite, fixture_of, parcel
from gateway.threads import Threads
from mappings.network import parse
from tests.docs.sandbox import ROOT, blocks
from tests.gateway.testing.pigeon import PigeonDriver

LONG_S = 60.0


def _page(name: str) -> ModuleType:
    (text,) = [block.text for block in blocks(ROOT / "docs" / "plugins.md") if block.title == name]
    made = ModuleType(name.removesuffix(".py"))
    made.__file__ = str(ROOT / "docs" / name)  # the kit blames by file
    sys.modules[made.__name__] = made
    exec(compile(text, f"docs/plugins.md:{name}", "exec"), made.__dict__)
    return made


class DoveLoft(PigeonDriver):
    in_flight_bound = 8

    def refused_recipient(self) -> None:  # type: ignore[override]  # doves know nobody whom they could refuse
        return None


class TestDovecote(SourceSuite, DestinationSuite):
    connector = fixture_of(_page("dovecote.py").Dovecote, config={"loft": "{tmp}/loft"}, driver=DoveLoft)


class Vendor(ThreadedSource, ThreadedDestination):
    """What blocks is given by the test."""

    Config = ConnectorConfig
    threads = 2
    at_once = 2
    poll_every_s = 0.01
    sending: Callable[[Parcel], Outcome | Mapping[tuple[int, int], Outcome]]
    waiting: list[HandOver]

    def next_hop(self, address: Address) -> str:
        return "vendor"

    def send(self, parcel: Parcel) -> Outcome | Mapping[tuple[int, int], Outcome]:
        return self.sending(parcel)

    def poll(self) -> Sequence[HandOver]:
        return list(self.waiting)

    def done(self, hand: HandOver) -> None:
        self.waiting.remove(hand)

    def refused(self, hand: HandOver, status: Status) -> None:
        self.waiting.remove(hand)


def vendor(tmp_path: Path, stop_s: float = 2.0) -> Vendor:
    context = Context("gw.example", tmp_path, tmp_path, Silence({}), time.time, stop_s)
    made = Vendor("vendor", ConnectorConfig(), context)
    made.waiting = []
    return made


def a_parcel(number: int = 1, count: int = 1) -> Parcel:
    return parcel(number, [parse(f"smtp:user{n}@target.example") for n in range(count)], b"Subject: x\r\n\r\n")


async def outcomes(made: Vendor, *parcels: Parcel) -> dict[tuple[int, int], Outcome]:
    batch = ListBatch(parcels)
    async with asyncio.timeout(LONG_S):
        await made.deliver(batch)
    return batch.settled


def a_hand(octets: bytes) -> HandOver:
    return HandOver(Envelope(None, (Recipient(parse("smtp:ann@target.example")),), Origin("vendor")), octets)


async def all_taken(made: Vendor, look: Callable[[], None] = lambda: None) -> None:
    async with asyncio.timeout(LONG_S):
        while made.waiting:
            look()
            await asyncio.sleep(0.001)


def raising(fault: BaseException) -> Callable[[Any], Any]:
    def sending(_: Any) -> Any:
        raise fault

    return sending


@pytest.mark.parametrize(
    ("fault", "scope", "said"),
    [
        (ConnectionRefusedError(111, "refused"), Scope.HOP, "refused"),
        (TimeoutError(), Scope.HOP, "TimeoutError()"),
        (KeyError("a bug"), Scope.MESSAGE, "KeyError('a bug')"),
        (StopIteration(), Scope.MESSAGE, "StopIteration"),
        (SystemExit(3), Scope.MESSAGE, "SystemExit(3)"),
    ],
)
async def test_what_is_raised_is_a_deferral(fault: BaseException, scope: Scope, said: str, tmp_path: Path) -> None:
    made = vendor(tmp_path)
    made.sending = raising(fault)
    settled = await outcomes(made, a_parcel())
    outcome = settled[1, 0]
    assert isinstance(outcome, Deferred)
    assert outcome.scope is scope
    assert said in outcome.status.cause


async def test_a_fault_of_the_hop_ends_the_batch(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    tried: list[int] = []

    def sending(one: Parcel) -> Outcome:
        tried.append(one.message_id)
        raise OSError("down")

    made.sending = sending
    await outcomes(made, a_parcel(1), a_parcel(2), a_parcel(3))
    assert tried == [1]


async def test_outcomes_by_recipient_and_who_has_none_is_left_open(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    made.sending = lambda one: {one.items[0].id: Delivered()}
    settled = await outcomes(made, a_parcel(1, count=2))
    assert settled == {(1, 0): Delivered()}


async def test_no_more_calls_at_once_than_threads(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    lock, now, most = threading.Lock(), 0, 0

    def sending(_: Parcel) -> Outcome:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return Delivered()

    made.sending = sending
    await asyncio.gather(*(outcomes(made, a_parcel(n)) for n in range(1, 9)))
    assert most == 2


async def test_a_cancelled_call_tells_what_the_peer_got_meanwhile(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    begun, go = threading.Event(), threading.Event()

    def sending(_: Parcel) -> Outcome:
        begun.set()
        go.wait(LONG_S)
        return Delivered()

    made.sending = sending
    batch = ListBatch([a_parcel()])
    delivering = asyncio.create_task(made.deliver(batch))
    await asyncio.to_thread(begun.wait, LONG_S)
    delivering.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await delivering
    assert batch.settled == {(1, 0): Delivered()}


async def test_one_that_hangs_holds_up_neither_a_cancellation_nor_the_stop(tmp_path: Path) -> None:
    made = vendor(tmp_path, stop_s=0.5)
    hangs = threading.Event()
    made.sending = lambda _: (hangs.wait(LONG_S), Delivered())[1]
    delivering = asyncio.create_task(made.deliver(ListBatch([a_parcel()])))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    delivering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivering
    await made.stop()
    await made.stop()
    assert time.monotonic() - began < 5.0
    assert len(made.pool.stuck(0.0)) >= 1, "it is known to be there still"
    hangs.set()


async def test_who_hangs_for_long_is_ill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.threads.STUCK_S", 0.05)
    made = vendor(tmp_path, stop_s=0.2)
    hangs = threading.Event()
    made.sending = lambda _: (hangs.wait(LONG_S), Delivered())[1]
    delivering = asyncio.create_task(made.deliver(ListBatch([a_parcel()])))
    await asyncio.sleep(0.2)
    assert not made.health().ok
    assert made.health().text.startswith("of 2 threads 1 do not return: send() for ")
    hangs.set()
    await delivering
    assert made.health().ok


async def test_a_poll_that_raises_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.threads.RETRY_MIN_S", 0.01)
    made = vendor(tmp_path)
    hand = HandOver(
        Envelope(None, (Recipient(parse("smtp:ann@target.example")),), Origin("vendor")), b"X-Kit: 1\r\n\r\n"
    )
    times = 0

    def poll() -> Sequence[HandOver]:
        nonlocal times
        times += 1
        if times <= 2:
            raise OSError("the vendor's server is away")
        return list(made.waiting)

    made.poll = poll  # type: ignore[method-assign]
    made.waiting = [hand]
    intake = RecordingIntake()
    running = asyncio.create_task(made.run(intake))
    told: set[str] = set()
    await all_taken(made, lambda: told.add(made.health().text))
    assert "the vendor's server is away" in told
    assert intake.marks == [1]
    running.cancel()
    await asyncio.wait((running,))
    assert made.health().ok


async def test_a_large_message_is_handed_over_in_pieces(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    octets = b"X-Kit: 7\r\n\r\n" + b"0123456789abcdef" * 64 * 1024
    made.waiting = [a_hand(octets)]
    intake = RecordingIntake()
    running = asyncio.create_task(made.run(intake))
    await all_taken(made)
    running.cancel()
    await asyncio.wait((running,))
    (one,) = intake.accepted
    assert isinstance(one.message, Message)
    assert one.octets == octets
    assert len(intake.writers) == 1


async def test_a_large_message_that_is_not_taken_leaves_nothing_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that comes again and again fills the disk."""
    monkeypatch.setattr("gateway.threads.RETRY_MIN_S", 0.01)
    made, intake = vendor(tmp_path), RecordingIntake()
    known = HandOver(
        Envelope(None, (Recipient(parse("smtp:ann@target.example")),), Origin("vendor"), dedupe_key="1"), b""
    )
    made.waiting = [replace(known, octets=b"X-Kit: 1\r\n\r\n" + b"x" * 300_000)]
    intake.unavailable = 2
    running = asyncio.create_task(made.run(intake))
    await all_taken(made)
    made.waiting = [replace(known, octets=b"X-Kit: 2\r\n\r\n" + b"x" * 300_000)]
    await all_taken(made)
    intake.rejects = Status("5.1.1", "nobody")
    made.waiting = [a_hand(b"X-Kit: 3\r\n\r\n" + b"x" * 300_000)]
    await all_taken(made)
    running.cancel()
    await asyncio.wait((running,))
    assert [writer.abandoned for writer in intake.writers] == [True, True, False, True, True]


async def test_a_waiter_that_gives_up_takes_no_place() -> None:
    pool = Threads(1, "x")
    go = threading.Event()
    first = await pool.begin(go.wait, LONG_S)
    waiting = asyncio.create_task(pool.call(lambda: 5))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait((waiting,))
    go.set()
    await first
    assert await pool.call(lambda: 6) == 6
    assert await pool.quiet(1.0)


def test_a_hung_thread_keeps_no_process_alive() -> None:
    program = (
        "import asyncio, threading\nimport gateway.contract\nfrom gateway.threads import Threads\n"
        "async def main():\n    await Threads(1, 'x').begin(threading.Event().wait)\n    await asyncio.sleep(0.05)\n"
        "asyncio.run(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=LONG_S, check=False).returncode == 0
