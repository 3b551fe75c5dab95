"""The source side: from messages of a broker to mails in the spool.

Promises: a message is acknowledged only after its mail is committed, or after it is durably in a digest or in the
quarantine with the reason; until then it is the broker's, and comes again after a crash. What a broker sends again is
known by its session, packet identifier and generation, never by its content. No message holds up another for longer
than its acknowledgement's place in the order takes; one that nothing can be made of goes to the quarantine.
Bounded: `receive_maximum` messages are under way; further ones wait at the broker, or unread in the connection.
Known limits: a QoS 0 message is gone where we are gone; after a kill a QoS 1 message may come a second time, as the
protocol allows.
Sources: MQTT 5.0 §4.3 (quality of service), §4.4 (delivery retry), §4.6 (order), §4.9 (flow control).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final

from connectors.mqtt.acceptance import Acceptance, Broker, Made
from connectors.mqtt.access import Pace
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.presence import Presence
from connectors.mqtt.rulebook import Inward, InwardBook
from connectors.mqtt.wire.values import Arrived
from gateway.contract import Context, Intake, Receipt

AT_ONCE: Final = 200
"""So many are begun in one turn of the loop. What a broker sends in one piece is a whole window: were all of it begun
before anything else, no commit would end meanwhile, and neither broker nor disk would have anything to do."""
MARK: Final = "gatepost-from"
"""The user property by which our own publications are known, should they come back."""


class MqttSource:
    """Takes messages, one at a time as they are read, and acknowledges them; `run` owns its tasks."""

    def __init__(self, name: str, config: MqttConfig, context: Context, book: InwardBook) -> None:
        self._context = context
        self._log = context.log
        self._count = context.count
        self._book = book
        self._most = config.receive_maximum
        limit = config.max_per_minute
        self._pace = None if limit is None else Pace(limit, context.clock)
        self._own = own_mark(context.hostname, name)
        self._waiting: deque[tuple[Arrived, Inward]] = deque()
        self._under_way = 0
        self._begun = 0
        """How many were begun in this turn of the loop."""
        self._is_turning = False
        self._stopping = False
        self._is_held = False
        self._is_paced = False
        self._idle = asyncio.Event()
        self._broker: Broker
        self._intake: Intake
        self._acceptance: Acceptance
        self._tasks: asyncio.TaskGroup

    async def run(
        self,
        intake: Intake,
        broker: Broker,
        acceptance: Acceptance,
        beside: Sequence[Coroutine[Any, Any, None]],
        presence: Presence | None,
    ) -> None:
        """Serve until cancelled; then finish what is being accepted.

        `beside` runs as long: the broker's client, and what sends digests.
        """
        self._intake, self._broker, self._acceptance = intake, broker, acceptance
        serving = asyncio.ensure_future(self._serve(beside))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._stopping = True
            self._waiting.clear()
            if self._acceptance.accepting:
                self._idle.clear()
                await asyncio.wait(
                    (waiting := asyncio.ensure_future(self._idle.wait()), serving),
                    timeout=self._context.stop_s * 0.7,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                waiting.cancel()
            if presence is not None:
                await presence.leave()
            serving.cancel()
            await asyncio.wait((serving,), timeout=self._context.stop_s * 0.2)
            raise

    async def _serve(self, beside: Sequence[Coroutine[Any, Any, None]]) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            for each in beside:
                self._tasks.create_task(each)

    # -- the hot path: no task a message

    def arrived(self, arrived: Arrived) -> None:
        """Take one message; called by the client for each. Returns at once."""
        if self._stopping:
            return  # not acknowledged: it comes again
        inward = self._book.find(arrived.topic)
        if inward is None:
            # Of a subscription of before, kept by the session: nobody asked for it any more.
            self._drop(arrived, "no_rule")
        elif arrived.retain and inward.rule.retained == "ignore":
            self._drop(arrived, "retained")
        elif arrived.properties.user and not inward.rule.own and (MARK, self._own) in arrived.properties.user:
            self._drop(arrived, "own")
        elif self._waiting or self._under_way >= self._most or self._begun >= AT_ONCE or self._pace_s() > 0:
            self._wait(arrived, inward)
        else:
            self._begin(arrived, inward)

    def _drop(self, arrived: Arrived, why: str) -> None:
        self._count("messages_dropped", why=why)
        self._broker.acknowledge(arrived)

    def _begin(self, arrived: Arrived, inward: Inward) -> None:
        self._under_way += 1
        self._begun += 1
        self._turn()
        if inward.is_slow or arrived.oversized or len(arrived.payload) > inward.at_once_octets:
            self._spawn(self._acceptance.take(arrived, inward))
            return
        acceptance = self._acceptance
        try:
            made = acceptance.make(arrived, inward)
            if made.is_small:
                message = acceptance.message(made, made.incoming.whole())
                self._intake.take(message, partial(self._accepted, made), report=acceptance.reports)
                acceptance.accepting += 1
                return
        except Exception as e:  # noqa: BLE001 - bad payloads and unknown faults alike are mended apart
            self._spawn(acceptance.take(arrived, inward, e))
            return
        self._spawn(acceptance.accept(made))

    def _accepted(self, made: Made, receipt: Receipt | None, fault: BaseException | None) -> None:
        if fault is None:
            self._broker.acknowledge(made.arrived)
        self._acceptance.accepting -= 1
        if isinstance(fault, Exception) and not self._stopping:
            self._spawn(self._acceptance.accept(made, fault))
        else:
            self._finish()

    def _finish(self) -> None:
        """One message is settled, or left to the broker: let the next one in."""
        self._under_way -= 1
        if self._stopping and not self._acceptance.accepting:
            self._idle.set()
        if self._waiting:
            self._turn()

    # -- back-pressure

    def _turn(self) -> None:
        """Look in the loop's next turn who may come in: once for all that are settled in this one, as a commit does."""
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._is_turning = False
        self._begun = 0
        if self._waiting:
            self._let_in()

    def _wait(self, arrived: Arrived, inward: Inward) -> None:
        self._waiting.append((arrived, inward))
        if not self._is_held:
            self._is_held = True
            self._broker.hold(True)
        if self._under_way < self._most:
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._under_way < self._most and self._begun < AT_ONCE and not self._stopping:
            wait_s = self._pace_s()
            if wait_s > 0:
                if not self._is_paced:
                    self._is_paced = True
                    asyncio.get_running_loop().call_later(wait_s, self._paced)
                return
            self._begin(*self._waiting.popleft())
        if self._is_held and not self._waiting:
            self._is_held = False
            self._broker.hold(False)

    def _paced(self) -> None:
        self._is_paced = False
        self._let_in()

    def _pace_s(self) -> float:
        return 0.0 if self._pace is None else self._pace.take()

    # -- the slow paths: a task each, as many as are under way at most

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self._tasks.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except Exception as e:  # noqa: BLE001 - no message may end the source; this one stays at the broker
            self._log.error("a message stays at the broker", cause=repr(e), exc_info=e)
        finally:
            self._finish()


def own_mark(hostname: str, name: str) -> str:
    """Return what our publications are marked with."""
    return f"{hostname}/{name}"
