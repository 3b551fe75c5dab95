"""What a destination promises: an outcome for each recipient, and Delivered only for what the next hop has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.contract import Deferred, Delivered, Failed, Fate, Outcome, Parcel, Scope
from gateway.testing.bench import PATIENCE_S, Bench, DestinationDriver, promise
from gateway.testing.calls import outcome as said
from gateway.testing.crash import SteppingLoop, Victim, cancel_at, killed, points
from gateway.testing.needs import beyond, over_limits
from gateway.testing.peers import Journal, ListBatch, parcel, refitted, reported
from gateway.testing.samples import names, numbered, sample
from gateway.testing.suites.connector import ConnectorSuite

AN_OUTCOME_EACH: Final = "deliver() settles an Outcome for every item, and raises nothing but cancellation"
HAS_IT: Final = "Delivered is settled only once the next hop has the message durably by its own word"
AS_A_WHOLE: Final = "a fault of the whole next hop is Deferred with Scope.HOP"
MOST_OCTETS: Final = 8 * 1024 * 1024
"""A limit over this is not tried."""
CANCELLED: Final = "a cancelled deliver() ends within context.stop_s"
ITS_OWN: Final = "an outcome is settled by the id of an item of the batch, and is Delivered, Deferred or Failed"


def _carries(got: bytes, content: bytes) -> bool:
    """Tell whether a peer's octets are this content: after lines of the transport's own, with a line end added."""
    return got.endswith((content, content + b"\r\n"))


def words(given: object) -> str:
    """Return an outcome, or several, in words."""
    return ", ".join(map(said, given)) if isinstance(given, list) else said(given)


def _tells(outcome: Outcome) -> bool:
    """Tell whether an outcome says itself what was altered or left out: a network that makes a message anew from
    properties of its own carries no content octet for octet, and its connector notes it."""
    return isinstance(outcome, Delivered) and any(note.fate is not Fate.KEPT for note in outcome.notes)


def _arrived(driver: DestinationDriver, sent: bytes, got: bytes, outcomes: Iterable[Outcome], mime: bool) -> bool:
    """Tell whether a peer has what was sent: octet for octet; or made anew, as an outcome tells or mime=False does."""
    if _carries(got, sent):
        return True
    return (not mime or any(map(_tells, outcomes))) and driver.made_anew(sent, got)


def _fitted(made: Any, sent: Parcel) -> Parcel | None:
    """Return a parcel as the core adapts it where the destination has no MIME; others get the samples as they are.

    None where it declares limits in which no form of the message fits.
    """
    return sent if made.capabilities.mime else refitted(sent, made.capabilities)[0]


def _raised(e: Exception) -> str:
    return f"had not returned after {PATIENCE_S:.0f} s" if isinstance(e, TimeoutError) else f"raised {e!r}"


def _has(driver: DestinationDriver, number: int) -> int:
    """Return how many times the peer has the message of this number."""
    return sum(driver.has_number(got, number) for got in driver.received())


class DestinationSuite(ConnectorSuite):
    """Tests of `Destination`."""

    @asynccontextmanager
    async def _started(self, connector: Bench) -> AsyncIterator[Any]:
        made = connector.make()
        await made.start()
        try:
            yield made
        finally:
            await made.stop()

    def _batch(self, made: Any, parcels: Sequence[Parcel], **more: Any) -> ListBatch:
        parcels = [fitted for each in parcels if (fitted := _fitted(made, each)) is not None]
        return ListBatch(parcels, made.next_hop(parcels[0].items[0].address), **more)

    async def _deliver(self, made: Any, batch: ListBatch) -> dict[tuple[int, int], Outcome]:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await made.deliver(batch)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is what the contract forbids
            promise(False, AN_OUTCOME_EACH, _raised(e))
        promise(
            not batch.strange,
            ITS_OWN,
            "settled " + "; ".join(f"{words(one)} for {id}" for id, one in batch.strange[:2]),
        )
        return batch.outcomes

    def test_the_next_hop_is_pure(self, connector: Bench) -> None:
        made = connector.make()
        address = connector.driver.recipient(0)
        hops = {made.next_hop(address) for _ in range(3)}
        text = all(isinstance(hop, str) and hop for hop in hops)
        promise(
            text and len(hops) == 1, "next_hop() is a pure function to the name of a lane", f"answered with {hops!r}"
        )

    def test_what_a_next_hop_carries_is_told_without_a_look_up(self, connector: Bench) -> None:
        made = connector.make()  # not started, so there is nothing to ask
        told = made.capabilities_for(made.next_hop(connector.driver.recipient(0)))
        promise(
            told == made.capabilities,
            "capabilities_for() says what is known: of a next hop never met, what the connector declares",
            f"told {told!r}",
        )

    def test_delivers_and_settles_each(self, connector: Bench) -> None:
        driver: DestinationDriver = connector.driver

        async def body() -> None:
            async with self._started(connector) as made:
                addresses = [driver.recipient(n) for n in range(3)]
                batch = self._batch(made, [parcel(1, addresses, numbered(1))])
                sent = b"".join(batch.parcels[0].content.chunks())
                outcomes = await self._deliver(made, batch)
                for id, outcome in outcomes.items():
                    promise(isinstance(outcome, Delivered), AN_OUTCOME_EACH, f"settled {words(outcome)} for {id}")
                got = driver.received()
                for address in addresses:
                    mine = [one for one in got if address.value in one.recipients]
                    promise(len(mine) == 1, HAS_IT, f"settled Delivered, {address} has {len(mine)} messages")
                    promise(
                        _arrived(driver, sent, mine[0].octets, outcomes.values(), made.capabilities.mime),
                        "a content that the destination can carry arrives octet for octet, or notes say what did not",
                        f"sent {mine[0].octets!r}",
                    )

        connector.run(body())

    @pytest.mark.parametrize("name", names())
    def test_carries_what_it_declares(self, connector: Bench, name: str) -> None:
        """Each sample arrives unchanged; or the destination declares that it can't carry it, and does not."""
        driver: DestinationDriver = connector.driver
        octets = sample(name)

        async def body() -> None:
            async with self._started(connector) as made:
                mime = made.capabilities.mime
                refused = beyond(octets, made.capabilities) if mime else []
                parcels = [parcel(1, [driver.recipient(0)], octets), parcel(2, [driver.recipient(1)], numbered(2))]
                batch = self._batch(made, parcels)
                sent = {each.message_id: b"".join(each.content.chunks()) for each in batch.parcels}
                outcomes = await self._deliver(made, batch)
                plain = outcomes[2, 0]
                promise(
                    isinstance(plain, Delivered),
                    "one odd message never stops the others",
                    f"settled {words(plain)} after {name}",
                )
                odd = outcomes.get((1, 0))
                if odd is None:  # it declares limits in which no form of this fits
                    return
                got = driver.received()
                if refused:
                    promise(
                        not any(_carries(each.octets, octets) for each in got),
                        "what Capabilities declare absent is absent",
                        f"declares that it carries no {', '.join(refused)}, and carried {name} unchanged",
                    )
                    return
                taken = isinstance(odd, Delivered)
                promise(
                    taken or bool(over_limits(sent[1], made.capabilities)),
                    "its Capabilities are what it can carry",
                    f"settled {words(odd)} for {name}",
                )
                promise(
                    not taken or any(_arrived(driver, sent[1], each.octets, [odd], mime) for each in got),
                    "what is carried arrives octet for octet, or notes say what did not",
                    f"changed {name}",
                )

        connector.run(body())

    def test_carries_what_is_at_its_limits(self, connector: Bench) -> None:
        driver: DestinationDriver = connector.driver

        async def body() -> None:
            async with self._started(connector) as made:
                capabilities = made.capabilities
                line, size = capabilities.max_line_octets, capabilities.max_size_bytes
                at: list[tuple[str, bytes]] = []
                if line is not None and line <= MOST_OCTETS:
                    at.append((f"max_line_octets={line}", numbered(1) + b"x" * line + b"\r\n"))
                if size is not None and size <= MOST_OCTETS:
                    rest = size - len(numbered(2))
                    at.append((f"max_size_bytes={size}", numbered(2) + (b"x" * 62 + b"\r\n") * (rest // 64 - 1)))
                if not capabilities.mime:  # what it gets is what the core made, and other limits apply
                    return
                for number, (limit, octets) in enumerate(at, 1):
                    outcomes = await self._deliver(
                        made, self._batch(made, [parcel(number, [driver.recipient(0)], octets)])
                    )
                    promise(
                        isinstance(outcomes[number, 0], Delivered),
                        "its Capabilities are what it can carry, up to the limits that they name",
                        f"declares {limit}, and settled {words(outcomes[number, 0])} for what has no more",
                    )

        connector.run(body())

    def test_carries_utf8_addresses_as_declared(self, connector: Bench) -> None:
        driver: DestinationDriver = connector.driver

        async def body() -> None:
            address = driver.utf8_recipient()
            if address is None:
                return
            async with self._started(connector) as made:
                outcome = (await self._deliver(made, self._batch(made, [parcel(1, [address], numbered(1))])))[1, 0]
                taken = any(address.value in got.recipients for got in driver.received())
                declared = made.capabilities.utf8_addresses
                promise(
                    taken == declared and isinstance(outcome, Delivered) == declared,
                    "utf8_addresses says whether it carries an address outside of ASCII",
                    f"declares {declared}, settled {words(outcome)}, and the peer {'has' if taken else 'lacks'} it",
                )

        connector.run(body())

    def test_each_recipient_has_its_own_outcome(self, connector: Bench) -> None:
        driver: DestinationDriver = connector.driver
        bad = driver.refused_recipient()

        async def body() -> None:
            async with self._started(connector) as made:
                addresses = [driver.recipient(n) for n in range(4)]
                addresses[1] = bad or addresses[1]  # not in the middle, so that it shows where their order is changed
                outcomes = await self._deliver(made, self._batch(made, [parcel(1, addresses, numbered(1))]))
                kinds = [type(outcomes[1, n]) for n in range(4)]
                expected = [Delivered, Failed if bad else Delivered, Delivered, Delivered]
                promise(
                    kinds == expected,
                    "each recipient has an outcome of its own: a refused one fails, its neighbours are delivered",
                    f"settled {', '.join(kind.__name__ for kind in kinds)}"
                    f" for {', '.join(map(str, addresses))}{f', where {bad} is refused' if bad else ''}",
                )
                if bad:
                    all_bad = await self._deliver(made, self._batch(made, [parcel(2, [bad], numbered(2))]))
                    promise(
                        isinstance(all_bad[2, 0], Failed),
                        "a refused recipient fails",
                        f"settled {words(all_bad[2, 0])} for it",
                    )
                    promise(_has(driver, 2) == 0, HAS_IT, "sent a message that has no recipient left")

        connector.run(body())

    def test_takes_reports_as_it_declares(self, connector: Bench) -> None:
        driver: DestinationDriver = connector.driver

        async def body() -> None:
            async with self._started(connector) as made:
                if not made.takes_reports:
                    return
                told = reported(parcel(1, [driver.recipient(0)], numbered(1)), driver.recipient(1))
                outcomes = await self._deliver(made, self._batch(made, [told]))
                promise(
                    isinstance(outcomes[1, 0], Delivered),
                    "where takes_reports, a parcel with a report is delivered in the network's own form",
                    f"settled {words(outcomes[1, 0])}",
                )

        connector.run(body())

    def test_settles_each_as_soon_as_it_is_known(self, connector: Bench) -> None:
        driver: DestinationDriver = connector.driver

        async def body() -> None:
            at_first: list[int] = []

            def first(id: tuple[int, int], outcome: Outcome) -> None:
                if not at_first:
                    at_first.append(len(driver.received()))

            async with self._started(connector) as made:
                parcels = [parcel(n, [driver.recipient(0)], numbered(n)) for n in range(1, 2 * driver.together + 1)]
                batch = self._batch(
                    made,
                    parcels[: driver.together],
                    waiting=[[_fitted(made, each) or each for each in parcels[driver.together :]]],
                    on_settle=first,
                )
                outcomes = await self._deliver(made, batch)
                undelivered = [id for id, outcome in outcomes.items() if not isinstance(outcome, Delivered)]
                promise(not undelivered, AN_OUTCOME_EACH, f"did not deliver {undelivered[:5]}")
                promise(
                    at_first[0] < len(outcomes),
                    "deliver() settles each outcome as soon as it is known",
                    f"settled nothing before all {len(outcomes)} messages were at the peer",
                )
                count = len(driver.received())
                promise(count == len(parcels), HAS_IT, f"settled {len(outcomes)} with {count} at the peer")
                promise(batch.settled_twice == 0, "an item is settled once", f"settled {batch.settled_twice} twice")

        connector.run(body())

    def test_may_be_called_several_times_at_once(self, connector: Bench) -> None:
        driver: DestinationDriver = connector.driver

        async def body() -> None:
            async with self._started(connector) as made:
                parcels = [parcel(n, [driver.recipient(n)], numbered(n)) for n in range(1, 31)]
                batches = [self._batch(made, parcels[start::3]) for start in range(3)]
                results = await asyncio.gather(*(self._deliver(made, batch) for batch in batches))
                for outcome in (one for outcomes in results for one in outcomes.values()):
                    promise(
                        isinstance(outcome, Delivered),
                        AN_OUTCOME_EACH,
                        f"settled {words(outcome)}, called thrice at once",
                    )
                wrong = [n for n in range(1, 31) if _has(driver, n) != 1]
                promise(not wrong, "each message arrives once while nothing fails", f"sent {wrong} not once")

        connector.run(body())

    def test_a_broken_next_hop_defers_as_a_whole(self, connector: Bench) -> None:
        driver: DestinationDriver = connector.driver

        async def body() -> None:
            async with self._started(connector) as made:
                before = await self._deliver(made, self._batch(made, [parcel(1, [driver.recipient(0)], numbered(1))]))
                promise(isinstance(before[1, 0], Delivered), AN_OUTCOME_EACH, f"settled {words(before[1, 0])}")
                driver.break_peer()
                parcels = [parcel(n, [driver.recipient(0)], numbered(n)) for n in range(2, 12)]
                outcomes = await self._deliver(made, self._batch(made, parcels))
                failed = [o for o in outcomes.values() if not isinstance(o, Deferred)]
                promise(
                    not failed,
                    "an unknown fault is Deferred, never Failed",
                    f"settled {words(failed[:1])} for a broken next hop",
                )
                hop = [o for o in outcomes.values() if isinstance(o, Deferred) and o.scope is Scope.HOP]
                promise(bool(hop), AS_A_WHOLE, f"settled {words(next(iter(outcomes.values())))}")
                worded = all(outcome.status.text for outcome in hop)
                promise(worded, "a status says in words what is wrong", f"gave {hop[0].status!r}")
                driver.mend_peer()
                again = await self._deliver(made, self._batch(made, parcels))
                late = [o for o in again.values() if not isinstance(o, Delivered)]
                promise(
                    not late,
                    "once the next hop is mended, it is used again without a restart",
                    f"settled {words(late[:1])}",
                )

        connector.run(body())

    def test_destination_cancelled_at_every_await_stays_usable(self, connector: Bench) -> None:
        driver: DestinationDriver = connector.driver

        async def body() -> None:
            async with self._started(connector) as made:
                number = 0
                for step in range(1, 100):
                    number += 2
                    parcels = [parcel(n, [driver.recipient(0)], numbered(n)) for n in (number, number + 1)]
                    batch = self._batch(made, parcels)
                    began = time.monotonic()
                    try:
                        reached = await cancel_at(step, made.deliver(batch), connector.stop_s + 1)
                    except Exception as e:
                        promise(False, CANCELLED if isinstance(e, TimeoutError) else AN_OUTCOME_EACH, f"raised {e!r}")
                        raise
                    took = time.monotonic() - began
                    promise(took <= connector.stop_s, CANCELLED, f"took {took:.1f} s, cancelled at its step {step}")
                    for (id, _), outcome in batch.settled.items():
                        has = not isinstance(outcome, Delivered) or _has(driver, id)
                        promise(bool(has), HAS_IT, f"settled Delivered for what the peer lacks, cancelled at {step}")
                    left = [p for p in parcels if not isinstance(batch.settled.get(p.items[0].id), Delivered)]
                    if left:
                        again = await self._deliver(made, self._batch(made, left))
                        late = [o for o in again.values() if not isinstance(o, Delivered)]
                        promise(
                            not late,
                            "after a cancellation the destination works as before",
                            f"settled {words(late[:1])} after one at its step {step}",
                        )
                    if not reached:
                        break

        connector.run(body())

    @pytest.mark.timeout(300)
    def test_destination_killed_at_every_step_loses_nothing(self, connector: Bench, tmp_path: Path) -> None:
        """Kill the gateway before each step of deliver(), start it again with what was not settled, count."""
        driver: DestinationDriver = connector.driver
        number = 1
        total = self._kill_destination_at(connector, driver, tmp_path, number, 0)
        for at in points(total):
            number += 2
            self._kill_destination_at(connector, driver, tmp_path, number, at)

    def _kill_destination_at(self, connector: Bench, driver: DestinationDriver, tmp: Path, number: int, at: int) -> int:
        journal, calls = Journal(tmp / f"settled-{number}"), tmp / f"calls-{number}"
        parcels = [parcel(n, [driver.recipient(0)], numbered(n)) for n in (number, number + 1)]

        async def body(loop: SteppingLoop) -> None:
            made = connector.make()
            await made.start()
            connector.calls.into(calls)
            loop.armed = True
            await made.deliver(self._batch(made, parcels, journal=journal))

        victim = Victim(body, at)
        try:
            ended = victim.wait(lambda: False, PATIENCE_S)
            promise(ended, "deliver() ends", f"was still busy after {PATIENCE_S} s")
        finally:
            steps = victim.steps
            victim.kill()
            connector.calls.take_over(calls, f"the gateway is killed, {'before' if at else 'after'} step {at or steps}")
        delivered = {line["id"][0] for line in journal.lines() if line["outcome"] == "Delivered"}
        if not at:
            promise(len(delivered) == 2, AN_OUTCOME_EACH, f"delivered {delivered} of two in a process of its own")
        lacking = [n for n in delivered if not _has(driver, n)]
        promise(not lacking, HAS_IT, f"settled Delivered for {lacking} that the peer lacks, {killed(at)}")

        async def restarted() -> None:
            async with self._started(connector) as made:
                left = [p for p in parcels if p.message_id not in delivered]
                if left:
                    await self._deliver(made, self._batch(made, left))

        connector.run(restarted())
        for n in (number, number + 1):
            copies = _has(driver, n)
            promise(copies >= 1, "what was not settled is sent again, and arrives", f"lost {n}, {killed(at)}")
            promise(
                copies == 1 or n not in delivered,
                "only what was in flight at a crash may arrive twice",
                f"sent {n} {copies} times, {killed(at)}",
            )
        return steps
