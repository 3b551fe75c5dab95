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
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from connectors.mqtt.access import Pace
from connectors.mqtt.calm import Calm, Held
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.incoming import BadPayload, Incoming
from connectors.mqtt.journal import SqliteJournal
from connectors.mqtt.presence import Presence
from connectors.mqtt.quarantine import Quarantine
from connectors.mqtt.replies import Replies
from connectors.mqtt.rulebook import AT_ONCE_OCTETS, Inward, InwardBook
from connectors.mqtt.rules import StatusWhen
from connectors.mqtt.wire.values import Arrived
from gateway.contract import (
    Content,
    Context,
    Envelope,
    Intake,
    Message,
    Notify,
    Origin,
    Receipt,
    Recipient,
    Rejected,
    Unavailable,
)

T = TypeVar("T")

MARK: Final = "gatepost-from"
"""The user property by which our own publications are known, should they come back."""
INLINE_OCTETS: Final = 128 * 1024
"""A longer mail is handed over in pieces."""
THREAD_OCTETS: Final = AT_ONCE_OCTETS
"""A longer payload is read in a thread."""
_FAULTS: Final = 5
"""So often an unknown fault is met with another try, before the message goes to the quarantine."""
_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 30.0

_NOTIFY: Final[dict[StatusWhen, Notify]] = {
    "delivered": Notify.SUCCESS,
    "relayed": Notify.SUCCESS,
    "delayed": Notify.DELAY,
    "failed": Notify.FAILURE,
}


class Broker(Protocol):
    """What the source asks of a client."""

    def acknowledge(self, arrived: Arrived, code: int = 0) -> None: ...

    def hold(self, on: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Made:
    """A mail that was made of a message, and what is to be written before it is accepted."""

    arrived: Arrived
    inward: Inward
    incoming: Incoming
    before: Callable[[], None] | None


class MqttSource:
    """Takes messages, one at a time as they are read, and acknowledges them; `run` owns its tasks."""

    def __init__(
        self,
        name: str,
        config: MqttConfig,
        context: Context,
        book: InwardBook,
        replies: Replies,
        quarantine: Quarantine,
        executor: Executor,
        tell: Callable[[str | None], None],
    ) -> None:
        self._name = name
        self._context = context
        self._log = context.log
        self._count = context.count
        self._book = book
        self._replies = replies
        self._quarantine = quarantine
        self._executor = executor
        self._tell = tell
        self._most = config.receive_maximum
        limit = config.max_per_minute
        self._pace = None if limit is None else Pace(limit, context.clock)
        self._own = own_mark(context.hostname, name)
        self._reports = config.status is not None
        self._notify = _wishes(config.status.when) if config.status is not None else Notify.UNSET
        self._waiting: deque[tuple[Arrived, Inward]] = deque()
        self._under_way = 0
        self._accepting = 0
        self._stopping = False
        self._is_held = False
        self._is_paced = False
        self._idle = asyncio.Event()
        self._paused_until = -math.inf
        self._pause_s = _PAUSE_S
        self._broker: Broker
        self._intake: Intake
        self._calm: Calm
        self._journal: SqliteJournal
        self._tasks: asyncio.TaskGroup

    async def run(
        self,
        intake: Intake,
        broker: Broker,
        beside: Sequence[Coroutine[Any, Any, None]],
        calm: Calm,
        journal: SqliteJournal,
        presence: Presence | None,
    ) -> None:
        """Serve until cancelled; then finish what is being accepted.

        `beside` runs as long: the client, the first of them, to whom that is acknowledged, and what sends digests.
        """
        self._intake, self._broker, self._calm, self._journal = intake, broker, calm, journal
        serving = asyncio.ensure_future(self._serve(beside))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._stopping = True
            self._waiting.clear()
            if self._accepting:
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
        elif self._waiting or self._under_way >= self._most or self._pace_s() > 0:
            self._wait(arrived, inward)
        else:
            self._begin(arrived, inward)

    def _drop(self, arrived: Arrived, why: str) -> None:
        self._count("messages_dropped", why=why)
        self._broker.acknowledge(arrived)

    def _begin(self, arrived: Arrived, inward: Inward) -> None:
        self._under_way += 1
        if inward.is_slow or arrived.oversized or len(arrived.payload) > inward.at_once_octets:
            self._spawn(self._take(arrived, inward))
            return
        try:
            made = self._make(arrived, inward)
            if made.before is None and sum(map(len, made.incoming.content)) <= INLINE_OCTETS:
                message = self._message(made, Content(b"".join(made.incoming.content)))
                self._accepting += 1
                self._intake.submit(message, report=self._reports).add_done_callback(
                    partial(self._accepted, made, message)
                )
                return
        except Exception as e:  # noqa: BLE001 - bad payloads and unknown faults alike are mended apart
            self._spawn(self._take(arrived, inward, e))
            return
        self._spawn(self._hand_over(made))

    def _accepted(self, made: Made, message: Message, receipt: asyncio.Future[Receipt]) -> None:
        if not receipt.cancelled() and receipt.exception() is None:
            self._broker.acknowledge(made.arrived)
            self._accepting -= 1
            self._finish()
            return
        self._accepting -= 1
        fault = asyncio.CancelledError() if receipt.cancelled() else receipt.exception()
        if self._stopping or not isinstance(fault, Exception):
            self._finish()
        else:
            self._spawn(self._hand_over(made, fault))

    def _finish(self) -> None:
        """One message is settled, or left to the broker: let the next one in."""
        self._under_way -= 1
        if self._stopping and not self._accepting:
            self._idle.set()
        if self._waiting:
            self._let_in()

    def _make(self, arrived: Arrived, inward: Inward, thread: str | None = None) -> Made:
        """Make the mail. Raises: BadPayload."""
        message_id, before = "", None
        if inward.rule.reply is not None:
            minted = self._replies.mint(inward.label, arrived, inward.reader.values(arrived.topic) or {})
            if minted is not None:
                message_id, before = minted.message_id, minted.write
        incoming = inward.reader.read(arrived, message_id=message_id, thread=thread)
        return Made(arrived, inward, incoming, before)

    def _message(self, made: Made, content: Content) -> Message:
        incoming, arrived = made.incoming, made.arrived
        if incoming.attributes:
            content.attributes = incoming.attributes
        recipients = incoming.recipients
        if self._reports and incoming.reverse_path is not None:
            recipients = tuple(_asking(each, self._notify) for each in recipients)
        origin = Origin(self._name, peer=arrived.topic, protocol="MQTT", trusted=incoming.trusted)
        return Message(
            Envelope(
                incoming.reverse_path,
                recipients,
                origin,
                priority=incoming.priority,
                expires_at=incoming.expires_at,
                ret=incoming.ret,
                envid=incoming.envid,
                # At QoS 1 the session itself knows what comes again in its time, and nobody does after a kill.
                dedupe_key=f"mqtt:{self._name}:{arrived.key}" if arrived.qos == 2 else None,
            ),
            content,
        )

    # -- back-pressure

    def _wait(self, arrived: Arrived, inward: Inward) -> None:
        self._waiting.append((arrived, inward))
        if not self._is_held:
            self._is_held = True
            self._broker.hold(True)
        if self._under_way < self._most:
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._under_way < self._most and not self._stopping:
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as e:  # noqa: BLE001 - no message may end the source; this one stays at the broker
            self._log.error("a message stays at the broker", cause=repr(e), exc_info=e)

    async def _take(self, arrived: Arrived, inward: Inward, fault: Exception | None = None) -> None:
        """Take a message that is calmed, read in a thread, or bad."""
        try:
            for attempt in range(_FAULTS):
                try:
                    if fault is not None:
                        raise fault
                    if arrived.oversized or len(arrived.payload) > inward.rule.max_payload_bytes:
                        raise too_large(arrived, inward)
                    await (self._calmed if inward.is_calm else self._uncalmed)(arrived, inward)
                    return
                except BadPayload as bad:
                    await self._set_aside(arrived, bad)
                    return
                except (OSError, Unavailable) as e:
                    await self._pause(e)
                except Exception as e:  # noqa: BLE001 - an unknown fault is tried again, and then kept apart
                    self._log.error("a message cannot be read", topic=arrived.topic, cause=repr(e), exc_info=e)
                    await asyncio.sleep(_PAUSE_S * 2**attempt)
                fault = None
            await self._set_aside(arrived, FAULT)
        finally:
            self._finish()

    async def _uncalmed(self, arrived: Arrived, inward: Inward) -> None:
        made = await self._thread(self._make, arrived, inward)
        await self._accept(made)

    async def _calmed(self, arrived: Arrived, inward: Inward) -> None:
        settle = None
        if arrived.qos == 2:
            if await self._journal.is_settled(arrived.packet_id):
                self._broker.acknowledge(arrived)  # it was held before a crash, and is in its digest
                return
            settle = self._journal.settler(arrived.packet_id)
        reader = inward.reader
        if len(arrived.payload) <= THREAD_OCTETS:
            glance = reader.glance(arrived)
        else:
            glance = await self._thread(reader.glance, arrived)
        message_id = self._message_id(arrived, inward)
        verdict = await self._calm.decide(inward.label, arrived.topic, glance.value, glance.line, message_id, settle)
        if isinstance(verdict, Held):
            self._count("messages_held", rule=inward.label)
            self._broker.acknowledge(arrived)
            return
        accepted = False
        try:
            made = await self._thread(self._make, arrived, inward, verdict.thread)
            accepted = await self._accept(made)
        finally:
            if accepted:
                self._calm.passed(verdict)
            else:
                self._calm.failed(verdict)

    async def _hand_over(self, made: Made, fault: Exception | None = None) -> None:
        try:
            await self._accept(made, fault=fault)
        finally:
            self._finish()

    async def _accept(self, made: Made, fault: Exception | None = None) -> bool:
        """Have a mail accepted, however long it takes, and acknowledge its message; False where it is kept apart."""
        faults = 0
        recipients = made.incoming.recipients
        while True:
            try:
                if fault is not None:
                    raise fault
                await self._wait_out()
                await self._accept_once(made, recipients)
                break
            except Rejected as e:
                left = self._left(made, recipients)
                if not left or left == recipients:
                    await self._set_aside(made.arrived, refused(e))
                    return False
                self._log.warning("some recipients are refused", topic=made.arrived.topic, status=str(e.status))
                recipients = left
            except (Unavailable, OSError) as e:
                await self._pause(e)
            except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral; the message must not stand for ever
                faults += 1
                self._log.error("a message cannot be handed over", topic=made.arrived.topic, cause=repr(e), exc_info=e)
                if faults > _FAULTS:
                    await self._set_aside(made.arrived, FAULT)
                    return False
                await asyncio.sleep(_PAUSE_S * 2**faults)
            fault = None
        self._broker.acknowledge(made.arrived)
        return True

    async def _accept_once(self, made: Made, recipients: tuple[Recipient, ...]) -> None:
        if made.before is not None:
            await self._thread(made.before)
        self._accepting += 1
        writer = None
        try:
            if sum(map(len, made.incoming.content)) <= INLINE_OCTETS:
                content = Content(b"".join(made.incoming.content))
            else:
                writer = self._intake.content()
                for piece in made.incoming.content:
                    if not writer.write(piece):
                        await writer.drain()
                content = await writer.finish()
            message = self._message(made, content)
            if recipients != made.incoming.recipients:
                kept = tuple(
                    each for each in message.envelope.recipients if each.address in {r.address for r in recipients}
                )
                message = Message(replace(message.envelope, recipients=kept), content)
            await self._intake.accept(message, report=self._reports)
        except (Rejected, Unavailable):
            if writer is not None:
                await writer.abandon()
            raise
        finally:
            self._accepting -= 1

    def _left(self, made: Made, recipients: tuple[Recipient, ...]) -> tuple[Recipient, ...]:
        """Return those recipients that would be taken by themselves."""
        envelope = self._message(made, Content(b"")).envelope
        empty = replace(envelope, recipients=())
        return tuple(each for each in recipients if self._intake.check(empty, each) is None)

    def _message_id(self, arrived: Arrived, inward: Inward) -> str:
        """Return the Message-ID that a message's mail will have, without making it."""
        if inward.rule.reply is not None:
            minted = self._replies.mint(inward.label, arrived, inward.reader.values(arrived.topic) or {})
            if minted is not None:
                return minted.message_id
        return inward.reader.message_id(arrived)

    async def _set_aside(self, arrived: Arrived, bad: BadPayload) -> None:
        """Keep a payload in the quarantine, and acknowledge it then."""
        while True:
            try:
                where = await self._thread(self._quarantine.keep, arrived, bad)
                break
            except OSError as e:
                await self._pause(e)
        self._count("payloads_bad", rule=bad.rule)
        self._log.warning(
            "a message was not taken", topic=arrived.topic, rule=bad.rule, why=bad.text, kept_as=str(where)
        )
        self._broker.acknowledge(arrived)

    async def _pause(self, e: Exception) -> None:
        """Wait, longer each time: one pause for all that failed together."""
        now = asyncio.get_running_loop().time()
        if self._paused_until <= now:
            self._paused_until = now + self._pause_s
            self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)
            text = str(e.status) if isinstance(e, Unavailable) else str(e)
            self._tell(f"messages wait at the broker: {text}")
            self._log.warning("messages wait", why=text)
        await self._wait_out()

    async def _wait_out(self) -> None:
        left = self._paused_until - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)
        elif self._pause_s > _PAUSE_S and left < -self._pause_s:
            self._pause_s = _PAUSE_S
            self._tell(None)

    async def _thread(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)


def own_mark(hostname: str, name: str) -> str:
    """Return what our publications are marked with."""
    return f"{hostname}/{name}"


def too_large(arrived: Arrived, inward: Inward) -> BadPayload:
    """Return why a payload of which only the beginning came is not taken."""
    most = inward.rule.max_payload_bytes
    return BadPayload(
        "mqtt.too-large",
        f"the payload has {arrived.oversized or len(arrived.payload)} octets; at most {most} are taken",
        f"octet {most}",
        "send less, or raise max_payload_bytes of the rule",
    )


def refused(e: Rejected) -> BadPayload:
    """Return why a mail was refused."""
    return BadPayload(
        "mqtt.refused",
        f"the mail was refused: {e.status}",
        "the mail's recipients",
        "mend the rule's recipients, the mapping or the routes, and publish it again",
    )


FAULT: Final = BadPayload("mqtt.fault", "a fault in the gateway; see its log", "unknown", "publish it again")


def _wishes(when: list[StatusWhen]) -> Notify:
    wanted = Notify.UNSET
    for each in when:
        wanted |= _NOTIFY[each]
    return wanted or Notify.NEVER


def _asking(recipient: Recipient, notify: Notify) -> Recipient:
    if recipient.notify is not Notify.UNSET:
        return recipient
    return Recipient(recipient.address, notify, recipient.orcpt)
