"""What a source promises: nothing is acknowledged before it is accepted, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.contract import AddressError, Envelope, Status
from gateway.testing.bench import PATIENCE_S, Bench, SourceDriver, promise
from gateway.testing.crash import SteppingLoop, Victim, killed, points
from gateway.testing.peers import Journal, RecordingIntake
from gateway.testing.samples import body_of, names, numbered, sample
from gateway.testing.suites.connector import ConnectorSuite
from mappings.network import parse

ACK_AFTER_COMMIT: Final = "a source acknowledges to its peer only after intake.accept has returned"
NOTHING_LOST: Final = "what a peer was told is taken is in the spool, whatever happens"
A_KEY: Final = "a dedupe key names one hand-over, so that a repeated one is known"
SERVES: Final = "run() serves until it is cancelled, and raises nothing"
TAKEN_IN_THE_END: Final = "a message that was not accepted is handed over again"


@asynccontextmanager
async def running(connector: Bench, intake: RecordingIntake) -> AsyncIterator[asyncio.Task[None]]:
    """Run the source as a node does, and stop it as a node does."""
    made = connector.make()
    await made.start()
    task = asyncio.create_task(made.run(intake))
    try:
        yield task
    finally:
        intake.gate.set()
        task.cancel()
        await asyncio.wait((task,), timeout=2 * connector.stop_s)
        await made.stop()
    if task.done() and not task.cancelled():
        promise(False, SERVES, f"ended with {task.exception()!r}" if task.exception() else "returned by itself")


def _check_envelope(envelope: Envelope) -> None:
    """What a source hands over is written with addresses that their networks read back."""
    says = "an address that comes in is one that its network reads back as it is"
    promise(bool(envelope.recipients), "a message has a recipient at least", "handed one over without any")
    for each in (envelope.reverse_path, *(recipient.address for recipient in envelope.recipients)):
        if each is None:
            continue
        try:
            again = parse(str(each))
        except AddressError as e:
            promise(False, says, f"handed over {each}, of which its network says: {e}")
        else:
            promise((again, again.value) == (each, each.value), says, f"handed over {each}, which is read as {again}")


class SourceSuite(ConnectorSuite):
    """Tests of `Source`."""

    def test_acknowledges_after_the_commit_alone(self, connector: Bench) -> None:
        driver: SourceDriver = connector.driver

        async def body() -> None:
            intake = RecordingIntake(number=driver.number)
            intake.gate.clear()
            async with running(connector, intake):
                for number in range(3):
                    driver.submit(number, numbered(number))
                await connector.until(lambda: intake.calls >= 1, "run() hands messages to intake.accept", "did not")
                await asyncio.sleep(0.3)
                early = driver.acknowledged() | driver.refused()
                promise(not early, ACK_AFTER_COMMIT, f"answered for {sorted(early)} while accept still waited")
                intake.gate.set()
                await connector.until(
                    lambda: driver.acknowledged() == {0, 1, 2},
                    "after the commit the peer is told",
                    lambda: f"acknowledged {sorted(driver.acknowledged())} of [0, 1, 2]",
                )
            promise(
                sorted(intake.marks) == [0, 1, 2],
                "each message is handed over once while nothing fails",
                f"handed over {sorted(intake.marks)} of [0, 1, 2]",
            )
            for one in intake.accepted:
                _check_envelope(one.message.envelope)

        connector.run(body())

    @pytest.mark.parametrize("name", names())
    def test_octets_arrive_as_they_were(self, connector: Bench, name: str) -> None:
        driver: SourceDriver = connector.driver
        octets = sample(name)

        async def body() -> None:
            intake = RecordingIntake(number=driver.number)
            async with running(connector, intake):
                driver.submit(0, octets)
                driver.submit(1, numbered(1))
                await connector.until(
                    lambda: 1 in driver.acknowledged() and 0 in driver.acknowledged() | driver.refused(),
                    "bad octets are taken or refused openly, and stop no other message",
                    lambda: (
                        f"acknowledged {driver.acknowledged()}, refused {driver.refused()} of {name} (0), plain (1)"
                    ),
                )
            if 0 in driver.refused():
                return
            mine = [one for one in intake.accepted if one.mark != 1]
            promise(len(mine) == 1, NOTHING_LOST, f"acknowledged {name} and handed over {len(mine)} messages")
            promise(
                driver.carried(octets, mine[0].octets),
                "what is handed over is what came, its body octet for octet",
                f"changed {name}: {mine[0].octets[-80:]!r} for {driver.body_carried(body_of(octets))[-80:]!r}",
            )

        connector.run(body())

    def test_unavailable_is_told_as_later(self, connector: Bench) -> None:
        driver: SourceDriver = connector.driver

        async def body() -> None:
            intake = RecordingIntake(number=driver.number)
            intake.unavailable = 2
            async with running(connector, intake):
                driver.submit(0, numbered(0))
                await connector.until(lambda: intake.calls >= 1, "run() hands messages to intake.accept", "did not")
                await asyncio.sleep(0.05)
                promise(
                    intake.accepted != [] or not driver.acknowledged(),
                    ACK_AFTER_COMMIT,
                    "acknowledged a message for which accept had raised Unavailable",
                )
                await connector.until(
                    lambda: 0 in driver.acknowledged(), TAKEN_IN_THE_END, f"did not after {intake.calls} calls"
                )
            promise(not driver.refused(), "Unavailable passes and is no refusal", "refused the message for good")
            promise(intake.marks == [0], NOTHING_LOST, f"handed over {intake.marks} of [0]")

        connector.run(body())

    def test_rejected_is_told_for_good(self, connector: Bench) -> None:
        driver: SourceDriver = connector.driver

        async def body() -> None:
            intake = RecordingIntake(number=driver.number)
            intake.rejects = Status("5.1.1", "no such mailbox here")
            async with running(connector, intake):
                driver.submit(0, numbered(0))
                await connector.until(
                    lambda: 0 in driver.refused(),
                    "on Rejected the peer is told, or the item is kept where an operator finds it",
                    "did neither",
                )
                promise(not driver.acknowledged(), ACK_AFTER_COMMIT, "acknowledged a rejected message")
                intake.rejects = None
                driver.submit(1, numbered(1))
                await connector.until(
                    lambda: 1 in driver.acknowledged(), "one bad message never stops the others", "took no other"
                )

        connector.run(body())

    def test_a_fault_loses_nothing(self, connector: Bench) -> None:
        driver: SourceDriver = connector.driver

        async def body() -> None:
            intake = RecordingIntake(number=driver.number)
            intake.faults = 1
            async with running(connector, intake) as task:
                driver.submit(0, numbered(0))
                await connector.until(lambda: intake.faults == 0, "run() hands messages to intake.accept", "did not")
                driver.submit(1, numbered(1))
                await connector.until(
                    lambda: 1 in driver.acknowledged(), "one bad message never stops the others", "took no other"
                )
                promise(not task.done(), SERVES, "ended at a fault of one message")
                answered = 0 in driver.acknowledged() and 0 not in intake.marks
                promise(not answered, ACK_AFTER_COMMIT, "acknowledged a message for which accept had failed")
                promise(0 not in driver.refused(), "an unknown fault is a deferral", "refused the message for good")

        connector.run(body())

    def test_a_lost_receipt_doubles_nothing_that_has_a_key(self, connector: Bench) -> None:
        driver: SourceDriver = connector.driver

        async def body() -> None:
            intake = RecordingIntake(number=driver.number)
            intake.losses = 1
            async with running(connector, intake):
                driver.submit(0, numbered(0))
                await connector.until(
                    lambda: 0 in driver.acknowledged(), TAKEN_IN_THE_END, lambda: f"did not after {intake.calls} calls"
                )
            promise(not driver.refused(), "Unavailable passes and is no refusal", "refused the message for good")
            keys = {one.message.envelope.dedupe_key for one in intake.accepted}
            ids = {one.receipt.message_id for one in intake.accepted}
            promise(
                None in keys or len(ids) == 1,
                A_KEY,
                f"handed one message over as {', '.join(sorted(map(repr, keys)))}, its first receipt lost",
            )

        connector.run(body())

    def test_back_pressure_is_the_await(self, connector: Bench) -> None:
        driver: SourceDriver = connector.driver
        bound = driver.in_flight_bound
        assert driver.flood > bound, "the driver's flood must exceed its in_flight_bound"

        async def body() -> None:
            intake = RecordingIntake(number=driver.number)
            intake.gate.clear()
            async with running(connector, intake):
                for number in range(driver.flood):
                    driver.submit(number, numbered(number))
                await connector.until(lambda: intake.in_flight >= 1, "run() calls intake.accept", "did not")
                await asyncio.sleep(0.5)
                promise(
                    intake.in_flight_peak <= bound,
                    f"a slow intake slows the source: at most {bound} messages are handed over at once",
                    f"handed over {intake.in_flight_peak}",
                )
                intake.gate.set()
                await connector.until(
                    lambda: len(driver.acknowledged()) == driver.flood,
                    TAKEN_IN_THE_END,
                    lambda: f"acknowledged {len(driver.acknowledged())} of {driver.flood}",
                )
            promise(
                sorted(set(intake.marks)) == list(range(driver.flood)),
                NOTHING_LOST,
                f"handed over {len(set(intake.marks))} of {driver.flood}",
            )

        connector.run(body())

    def test_stops_within_its_bound(self, connector: Bench) -> None:
        driver: SourceDriver = connector.driver

        async def body() -> None:
            for idle in (True, False):
                intake = RecordingIntake(number=driver.number)
                made = connector.make()
                await made.start()
                task = asyncio.create_task(made.run(intake))
                if idle:
                    await asyncio.sleep(0.2)
                else:
                    await self._hang(connector, intake)
                began = time.monotonic()
                task.cancel()
                await asyncio.wait((task,), timeout=connector.stop_s + 1)
                await made.stop()
                took = time.monotonic() - began
                state = "while it was idle" if idle else "while accept hung"
                promise(
                    task.done() and took <= connector.stop_s + 0.5,
                    "run() returns within context.stop_s of its cancellation",
                    f"took {took:.1f} s of {connector.stop_s} s, stopped {state}",
                )
                promise(
                    not driver.acknowledged(),
                    ACK_AFTER_COMMIT,
                    f"acknowledged what was not accepted, when it was stopped {state}",
                )

        connector.run(body())

    async def _hang(self, connector: Bench, intake: RecordingIntake) -> None:
        """Bring the source to where it waits for an accept that does not come back."""
        intake.gate.clear()
        connector.driver.submit(0, numbered(0))
        await connector.until(lambda: intake.in_flight >= 1, "run() calls intake.accept", "did not")

    def test_a_stop_finishes_what_is_being_accepted(self, connector: Bench) -> None:
        driver: SourceDriver = connector.driver

        async def body() -> None:
            intake = RecordingIntake(number=driver.number)
            intake.gate.clear()
            made = connector.make()
            await made.start()
            task = asyncio.create_task(made.run(intake))
            driver.submit(0, numbered(0))
            await connector.until(lambda: intake.in_flight >= 1, "run() calls intake.accept", "did not")
            task.cancel()
            await asyncio.sleep(0.2)
            intake.gate.set()
            await asyncio.wait((task,), timeout=connector.stop_s + 1)
            await made.stop()
            promise(
                intake.marks == [0],
                "on cancellation, what is being accepted is finished",
                "broke it off before its end",
            )
            await connector.until(
                lambda: 0 in driver.acknowledged(), "on cancellation, what was accepted is acknowledged", "was not"
            )

        connector.run(body())

    @pytest.mark.timeout(300)
    def test_source_killed_at_every_step_loses_nothing(self, connector: Bench, tmp_path: Path) -> None:
        """Kill the gateway before each step between hand-over and acknowledgement, start it again, count."""
        driver: SourceDriver = connector.driver
        base = 0
        total = self._kill_source_at(connector, driver, tmp_path, base, 0)
        for at in points(total):
            base += 2
            self._kill_source_at(connector, driver, tmp_path, base, at)

    def _kill_source_at(self, connector: Bench, driver: SourceDriver, tmp: Path, base: int, at: int) -> int:
        """Hand over two messages, with a kill before step `at` (0: none); return the steps it took."""
        journal = Journal(tmp / f"journal-{base}")
        ready, calls = tmp / f"ready-{base}", tmp / f"calls-{base}"
        mine = {base, base + 1}

        async def body(loop: SteppingLoop) -> None:
            made = connector.make()
            await made.start()
            connector.calls.into(calls)
            loop.armed = True
            task = asyncio.ensure_future(made.run(RecordingIntake(journal, number=connector.driver.number)))
            ready.touch()
            await task

        victim = Victim(body, at)
        try:
            started = victim.wait(ready.exists, PATIENCE_S)
            promise(started, "start() and run() make a source ready", "was not ready")
            for number in sorted(mine):
                driver.submit(number, numbered(number))
            victim.wait(lambda: mine <= driver.acknowledged(), 3.0 if at else PATIENCE_S)
        finally:
            steps = victim.steps
            victim.kill()
            connector.calls.take_over(calls, f"the gateway is killed, {'before' if at else 'after'} step {at or steps}")
        told = driver.acknowledged() & mine
        stored = {line["mark"] for line in journal.lines()}
        promise(told <= stored, ACK_AFTER_COMMIT, f"had acknowledged {told} with {stored} stored, {killed(at)}")

        async def restarted() -> None:
            intake = RecordingIntake(journal, number=connector.driver.number)
            async with running(connector, intake):
                await connector.until(
                    lambda: mine <= driver.acknowledged(),
                    TAKEN_IN_THE_END,
                    lambda: f"{killed(at)}: acknowledged {driver.acknowledged() & mine} of {mine}",
                )

        connector.run(restarted())
        lines: list[dict[str, Any]] = [line for line in journal.lines() if line["mark"] in mine]
        promise({line["mark"] for line in lines} == mine, NOTHING_LOST, f"lost one of {mine}, {killed(at)}")
        keyed = [line for line in lines if line["key"] is not None]
        ids = {(line["mark"], line["id"]) for line in keyed}
        promise(
            len(ids) == len({mark for mark, _ in ids}),
            A_KEY,
            f"handed one message over under two keys, {killed(at)}",
        )
        return steps
