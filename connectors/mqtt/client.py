"""A client: one persistent session with the first of several brokers that answers, for as long as it runs.

Promises:
- It connects anew by itself, with jitter, first to the broker it had, then to each in their order; a half-open
  connection is found and ended (`link`).
- Nothing that must be durable before an octet goes out is overtaken by that octet: the session asks for records, the
  journal makes them durable, and only then does the session go on. Where the journal fails, the connection is given up
  and the broker sends again.
- All octets of one turn of the event loop go out in one piece; there is no task a message.
- A session belongs to a broker: at another one, or where the broker has lost it, what the journal knows is forgotten,
  and what may be doubled by it is counted (`duplicates_possible`).
- What a kill has left as sent and is not published again is given up after `PATIENCE_S` of a connection where its place
  is wanted, after `LAST_S` in any case, and counted likewise.
- Filters that are no longer configured are unsubscribed, those of earlier runs too.
Limits: brokers that share no sessions keep, each, what came while we were connected to another; it comes when we are
back. A broker's Server Reference is logged, and not followed: only configured brokers are connected to.

Sources: OASIS MQTT 5.0 §3.1.2.4 (clean start), §4.1 (session state), §4.4, §4.13.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from connectors.mqtt.link import Broker, ClientSettings, Dialler, Link
from connectors.mqtt.wire.decode import Limits
from connectors.mqtt.wire.effects import Effects, Record, Step, Subscribed
from connectors.mqtt.wire.inward import TOPIC_ALIAS_MAXIMUM
from connectors.mqtt.wire.octets import WireError
from connectors.mqtt.wire.packets import V5, V311, Connack, Packet
from connectors.mqtt.wire.reasons import FIRST_ERROR, SESSION_TAKEN_OVER, SUCCESS, UNSPECIFIED, text
from connectors.mqtt.wire.session import Session
from connectors.mqtt.wire.values import Arrived, Journal, Lost, Outgoing, Refused, Subscription

PATIENCE_S: Final = 60.0
"""After a kill what was under way is asked for again at once, unless its lane is closed or it is there no more."""
LAST_S: Final = 3600.0
_STEADY_S: Final = 10.0
"""A connection that lasted so long was a good one: the next pause is a short one again."""


def _nobody(arrived: Arrived) -> None:
    """A client without subscriptions is sent what an earlier one of its name had asked for; it is not for us."""


class Client:
    """One persistent session with the first of several brokers that answers; connects anew by itself, with jitter."""

    def __init__(
        self,
        settings: ClientSettings,
        *,
        log: Any,
        journal: Journal,
        subscriptions: Sequence[Subscription] = (),
        on_message: Callable[[Arrived], None] | None = None,
        tell: Callable[[str | None], None] = lambda trouble: None,
        count: Callable[..., None] = lambda name, value=1, **labels: None,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._log = log
        self._journal = journal
        self._subscriptions = tuple(subscriptions)
        self._on_message = on_message or _nobody
        self._tell = tell
        self._count = count
        self._random = random
        self._session = Session(
            settings.client_id,
            secrets.token_hex(6),
            send_maximum=settings.max_in_flight,
            inward=journal.inward(),
            outward=journal.outward(),
        )
        limits = Limits(settings.max_payload_octets, settings.head_octets)
        self._dialler = Dialler(settings, limits, TOPIC_ALIAS_MAXIMUM)
        self._link: Link | None = None
        self._last: Broker | None = None
        self._trouble: str | None = "not connected yet"
        self._asking: dict[str, list[Callable[[int | Exception], None]]] = {}
        """Who is to be told of the end of a publishing, by its key."""
        self._changed = asyncio.Event()
        """Set whenever there may be room where there was none."""
        self._wanted = asyncio.Event()
        """Set where somebody waits for room, and there is no connection."""
        self._without_since = -math.inf
        """When the last connection was lost, in the loop's time."""
        self._waiting = self._stops = 0
        self._line = asyncio.Lock()
        """Who has it of those who wait for room is woken: the one that has waited longest. All of them at each answer
        would be a dozen tasks that look for what is there for one."""
        self._is_flushing = False
        self._has_left = False
        self._is_asked_to_hold = False
        self._granted: dict[str, str] = {}
        """What is subscribed, filter to line of the journal."""
        self._unheard: dict[str, str] = {}
        """Filters that the broker refused, with its words."""

    @property
    def connected(self) -> bool:
        return self._link is not None and not self._link.is_closing

    @property
    def version(self) -> int | None:
        """The protocol level of the connection there is, V5 or V311; None without one."""
        return self._link.version if self._link is not None and self.connected else None

    @property
    def trouble(self) -> str | None:
        """What is wrong, in words for an operator; None where all is well."""
        return self._trouble

    @property
    def room(self) -> int:
        """How many more may be in flight now; 0 without a connection."""
        link = self._link
        return self._session.room if link is not None and self.connected and not link.is_blocked else 0

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for room."""
        return self._waiting > 0

    async def wait_room(self) -> None:
        """Wait until there is room; who came first has it first. Where there is no connection, one is tried at once and
        again soon, however long ago the last was. Raises: Lost where there is none within `connect_timeout_s`, or
        `stop_waiting` was called."""
        loop = asyncio.get_running_loop()
        began, stops = loop.time(), self._stops
        self._waiting += 1
        try:
            async with self._line:
                while not self.room:
                    left_s: float | None = None
                    if self._link is None:
                        self._wanted.set()
                        since = max(began, self._without_since)
                        left_s = since + self._settings.connect_timeout_s - loop.time()
                        if left_s <= 0 or self._stops != stops:
                            raise Lost(self._trouble or "not connected")
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(left_s):
                            await self._changed.wait()
        finally:
            self._waiting -= 1

    def stop_waiting(self) -> None:
        """Have those who wait for a connection now wait no longer."""
        self._stops += 1
        self._changed.set()

    def acknowledge(self, arrived: Arrived, code: int = 0) -> None:
        """Answer what arrived at QoS 1 or 2 by PUBACK or PUBREC, on whichever connection there is when it comes to it;
        nothing where the session has no more to do with it. A `code` of 0x80 or more refuses it (MQTT 5.0)."""
        self._session.acknowledge(arrived, code)
        self._soon()

    def publish(self, out: Outgoing, key: str) -> asyncio.Future[int]:
        """Publish under a key. The future is the broker's reason code below 0x80, or holds Refused, Lost, ValueError.

        As `send`. Cancelling the future takes nothing back.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.send(out, key, partial(_resolve, future))
        return future

    def send(self, out: Outgoing, key: str, told: Callable[[int | Exception], None]) -> None:
        """Publish under a key; `told` is called once, perhaps at once, with the broker's reason code below 0x80, or
        Refused, Lost, ValueError.

        At QoS 1 and 2 the same key, published again, joins what is under way, and one that was answered lately is
        answered again and not sent: at QoS 2 also after a kill. There is no task, future or turn of the loop a message.
        """
        link = self._link
        if link is None or link.is_closing:
            told(Lost(self._trouble or "not connected"))
            return
        asking = self._asking.get(key)
        if asking is None:
            self._asking[key] = [told]
        else:
            asking.append(told)
        try:
            self._session.publish(out, key)
        except ValueError as fault:
            self._settle(key, fault)
        if not self._is_flushing:
            self._soon()

    def hold(self, on: bool) -> None:
        """Stop or go on reading from the broker: at QoS 0 the only way to make it wait."""
        self._is_asked_to_hold = on
        self._hold()

    async def run(self) -> None:
        """Be connected until cancelled; then say DISCONNECT, so that no will is published."""
        self._has_left = False
        pause_s = 0.0
        loop = asyncio.get_running_loop()
        try:
            while True:
                link = await self._connect()
                if link is not None:
                    began = loop.time()
                    why = await link.watch(self._keep_alive_s())
                    is_steady = loop.time() - began >= _STEADY_S and not self._is_taken_over()
                    self._lost(why)
                    pause_s = 0.0 if is_steady else pause_s
                pause_s = min(self._settings.retry_max_s, max(self._settings.retry_min_s, pause_s * 2))
                await self._pause(pause_s * (0.5 + self._random() / 2))
        finally:
            await self._leave()

    async def _pause(self, pause_s: float) -> None:
        """Wait before the next try to connect; where somebody waits for room, or begins to, no longer than for the
        first."""
        first_s = min(pause_s, self._settings.retry_min_s)
        await asyncio.sleep(first_s)
        if not self._waiting:
            self._wanted.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s - first_s):
                    await self._wanted.wait()

    async def _connect(self) -> Link | None:
        brokers = self._settings.brokers
        last = self._last
        for broker in brokers if last is None else (last, *(each for each in brokers if each is not last)):
            try:
                await self._clear(broker)
                link, connack = await self._dialler.dial(broker, clean_start=False)
            except (OSError, Refused, WireError) as fault:
                why = str(fault) or type(fault).__name__
                if isinstance(fault, TimeoutError) and not str(fault):
                    why = f"no answer within {self._settings.connect_timeout_s:g} s"
                self._log.warning("broker not reached", broker=str(broker), cause=why)
                self._say(f"{broker}: {why}")
                continue
            self._begin(link, connack)
            return link
        return None

    async def _clear(self, broker: Broker) -> None:
        """Have a broker that the journal does not tell of forget an earlier session of our name, where it holds no
        messages for us: it may know packet identifiers of QoS 2 that we are about to use for others.

        By a connection of its own: Mosquitto does not save a session that was last connected to with Clean Start.
        Raises: OSError, Refused, WireError.
        """
        if self._subscriptions or self._journal.broker() == str(broker):
            return
        link, _ = await self._dialler.dial(broker, clean_start=True)
        link.end("its session is cleared", SUCCESS)
        await link.closed

    def _begin(self, link: Link, connack: Connack) -> None:
        """A connection is there: go on with the session, or with a new one."""
        name = str(link.broker)
        known = self._journal.broker()
        doubtful = self._session.connected(connack, link.version, name, is_other=known != name)
        if doubtful:
            self._count("duplicates_possible", doubtful)
            self._log.warning("the broker has lost our session", broker=name, in_flight=doubtful)
        self._link, self._last = link, link.broker
        self._log.info(
            "connected", broker=name, version="5" if link.version == V5 else "3.1.1", resumed=connack.session_present
        )
        self._unheard.clear()
        self._trouble = None
        self._drain()  # the journal forgets, where it has to, before it is told anything new
        self._subscribe(connack, link.version)
        self._drain()
        self._changed.set()
        self._tell(None)
        if self._session.left:
            self._wait_for_left(link, 0.0)
        link.begin(self._received, self._changed.set)
        self._hold()

    def _wait_for_left(self, link: Link, waited_s: float) -> None:
        """Give what a kill has left time to be published again on this connection."""
        asyncio.get_running_loop().call_later(PATIENCE_S, self._give_up, link, waited_s + PATIENCE_S)

    def _give_up(self, link: Link, waited_s: float) -> None:
        if link is not self._link or not self.connected or not self._session.left:
            return
        doubtful = self._session.give_up(only_if_waited_for=waited_s < LAST_S)
        if doubtful:
            self._count("duplicates_possible", doubtful)
            self._log.warning("what was under way before a kill is not published again", in_flight=doubtful)
            self._changed.set()
            self._soon()
        else:
            self._wait_for_left(link, waited_s)

    def _subscribe(self, connack: Connack, version: int) -> None:
        """Subscribe to what is configured, and no longer to what was. MQTT 3.1.1 sends retained messages at each
        subscribing, so there a session that has its subscriptions is left alone."""
        had = list(self._journal.subscribed()) if connack.session_present else []
        self._granted = {_filter(line): line for line in had}
        filters = {each.topic_filter for each in self._subscriptions}
        gone = [each for each in self._granted if each not in filters]
        if gone:
            self._session.unsubscribe(gone)
        fresh = [each for each in self._subscriptions if version != V311 or _line(each) not in had]
        if fresh:
            self._session.subscribe(fresh)

    def _received(self, packets: list[Packet]) -> None:
        link, receive = self._link, self._session.receive
        if link is None or link.is_closing:
            return
        try:
            for packet in packets:
                receive(packet)
        except WireError as fault:
            self._drain()
            link.end(f"the broker broke the protocol: {fault.text}", fault.code)
            return
        self._drain()
        ended = self._session.ended
        if ended is not None:
            more = f", use {ended.server_reference}" if ended.server_reference else ""
            link.end(f"the broker ended the connection: {text(ended.code, ended.reason)}{more}")
        else:
            self._hold()

    def _drain(self) -> None:
        """Do what the session wants done, until it wants no more."""
        effects = self._session.effects
        while effects.is_wanting:
            records, effects.records = effects.records, []
            for record in records:
                self._record(record)
            arrived, effects.arrived = effects.arrived, []
            for each in arrived if not self._has_left else ():  # the broker keeps it, and sends it again
                self._on_message(each)
            settled, effects.settled = effects.settled, []
            for key, end in settled:
                self._settle(key, end)
            if settled:
                self._changed.set()
            if effects.subscribed or effects.unsubscribed:
                self._settle_subscriptions(effects)
        if effects.octets and self._link is not None:
            self._link.write(effects.take_octets())

    def _soon(self) -> None:
        """Drain at the end of this turn of the loop, once for all that is asked in it."""
        if not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_flushing = False
        self._drain()
        self._hold()

    def _record(self, record: Record) -> None:
        journal, generation = self._journal, 0
        match record.step:
            case Step.OPEN_INWARD:
                generation, future = journal.open_inward(record.packet_id)
            case Step.CLOSE_INWARD:
                future = journal.close_inward(record.packet_id)
            case Step.SENT:
                future = journal.sent(record.key, record.packet_id)
            case Step.RELEASED:
                future = journal.released(record.key)
            case Step.DONE:
                future = journal.done(record.key)
            case Step.REFUSED:
                future = journal.refused(record.key)
            case Step.FORGET:
                future = journal.forget(record.broker)
        future.add_done_callback(partial(self._recorded, record, generation))

    def _recorded(self, record: Record, generation: int, future: asyncio.Future[None]) -> None:
        fault = None if future.cancelled() else future.exception()
        if fault is None and not future.cancelled():
            self._session.recorded(record, generation)
        else:
            self._session.unrecorded(record)
            if self._link is not None:
                self._link.end(f"the journal cannot be written: {fault or 'it is closed'}", UNSPECIFIED)
        self._soon()

    def _settle(self, key: str, end: int | Exception) -> None:
        for told in self._asking.pop(key, ()):
            told(end)

    def _settle_subscriptions(self, effects: Effects) -> None:
        subscribed, effects.subscribed = effects.subscribed, []
        for answer in subscribed:
            self._answered(answer)
        unsubscribed, effects.unsubscribed = effects.unsubscribed, []
        for each in unsubscribed:
            self._granted.pop(each, None)
        lines = sorted(self._granted.values())
        if lines != list(self._journal.subscribed()):
            self._journal.subscribe(lines).add_done_callback(_heard)

    def _answered(self, answer: Subscribed) -> None:
        topic_filter = answer.subscription.topic_filter
        if answer.code < FIRST_ERROR:
            self._granted[topic_filter] = _line(answer.subscription)
            if answer.code < answer.subscription.qos:
                self._log.warning("the broker grants less than was asked", filter=topic_filter, qos=answer.code)
            return
        self._granted.pop(topic_filter, None)
        self._log.error("the broker refuses a subscription", filter=topic_filter, cause=answer.text)
        self._unheard[topic_filter] = answer.text
        self._say("; ".join(f"the broker refuses to send {each}: {why}" for each, why in self._unheard.items()))

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._tell(trouble)

    def _hold(self) -> None:
        """Reading stops while more is unanswered than we take: MQTT 3.1.1 has no word for it, and not every broker that
        speaks 5.0 heeds it."""
        link = self._link
        if link is not None:
            is_full = self._session.unanswered > self._settings.receive_maximum
            link.hold(is_full or self._is_asked_to_hold)

    def _keep_alive_s(self) -> float:
        """§3.2.2.3.14: the broker's word goes before ours."""
        connack = self._session.connack
        asked = None if connack is None else connack.server_keep_alive_s
        return float(self._settings.keep_alive_s if asked is None else asked)

    def _is_taken_over(self) -> bool:
        return self._session.ended is not None and self._session.ended.code == SESSION_TAKEN_OVER

    def _lost(self, why: str) -> None:
        self._log.warning("connection lost", broker=str(self._last), cause=why)
        self._gone(f"{self._last}: {why}")

    def _gone(self, why: str) -> None:
        self._link = None
        self._without_since = asyncio.get_running_loop().time()
        self._session.disconnected()
        self._drain()
        self._say(why)
        for key in list(self._asking):
            self._settle(key, Lost(why))
        self._changed.set()

    async def _leave(self) -> None:
        self._has_left = True
        link = self._link
        if link is not None:
            self._drain()
            link.end("we have left", SUCCESS)
            self._gone("we have left")
            await link.closed


def _resolve(future: asyncio.Future[int], end: int | Exception) -> None:
    if future.done():
        return
    if isinstance(end, int):
        future.set_result(end)
    else:
        future.set_exception(end)


def _line(subscription: Subscription) -> str:
    """How a subscription is remembered: its options, a blank, its filter."""
    each = subscription
    options = f"{each.qos}{each.no_local:d}{each.retain_as_published:d}{each.retain_handling}.{each.identifier or 0}"
    return f"{options} {each.topic_filter}"


def _filter(line: str) -> str:
    return line.partition(" ")[2]


def _heard(future: asyncio.Future[None]) -> None:
    """A fault here shows at the next record; subscribing again does no harm."""
    if not future.cancelled():
        future.exception()


__all__ = ["Broker", "Client", "ClientSettings"]
