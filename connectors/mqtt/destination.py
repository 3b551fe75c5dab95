"""The destination side: from parcels to publications, each answered by the broker before it counts.

Promises: Delivered only at PUBACK, or PUBCOMP at QoS 2; a topic is published to only where a rule, or our own signature
in what is answered, leads there; the window of what is under way is kept full, by what `batch.more` gives; what the
broker refuses has the outcome of its reason code; a publication has one key for all its tries, so that at QoS 2 it
arrives once, also where we are killed in between.
Known limits: at QoS 1 what was under way when a connection broke may arrive twice; a message whose deliveries another
node takes over has no memory of what was sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

from connectors.mqtt import faults
from connectors.mqtt.access import AUTOMATIC, Access, is_automatic
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.outgoing import Unpublishable, publications, report_payload
from connectors.mqtt.replies import Answer, Replies
from connectors.mqtt.rulebook import Outward, OutwardBook
from connectors.mqtt.rules import StatusTopic
from connectors.mqtt.source import MARK, own_mark
from connectors.mqtt.topics import Filled, TopicError, check_topic
from connectors.mqtt.wire.packets import V311
from connectors.mqtt.wire.values import Lost, Outgoing, Refused
from gateway.contract import (
    Address,
    Batch,
    Context,
    Deferred,
    Delivered,
    Failed,
    Fate,
    Item,
    Note,
    Outcome,
    Parcel,
    Report,
    Scope,
    Status,
    id_text,
    quickly_made,
)

IN_THREAD_OCTETS: Final = 64 * 1024
NO_RULE: Final = Failed(Status("5.7.1", "nobody may publish to this topic by mail"))
NOT_TOLD: Final = Delivered(Status("2.0.0", "this is not reported"), relayed=True)
NO_STATUS: Final = Failed(Status("5.3.2", "reports are not published"))


_NO_PROPERTIES: Final = Note(Fate.DROPPED, "user properties", "MQTT 3.1.1 has none")


class Broker(Protocol):
    """What the destination asks of a client."""

    @property
    def version(self) -> int | None: ...

    @property
    def room(self) -> int: ...

    @property
    def is_awaited(self) -> bool: ...

    async def wait_room(self) -> None: ...

    def send(self, out: Outgoing, key: str, told: Callable[[int | Exception], None]) -> None: ...


@quickly_made
@dataclass(frozen=True, slots=True)
class Ready:
    """What is to be published for one item."""

    item: Item
    outs: Sequence[Outgoing]
    notes: tuple[Note, ...] = ()


@dataclass(slots=True)
class _Flight:
    """One call of `deliver`: what is under way for it."""

    batch: Batch
    open: int = 0
    fault: Deferred | None = None
    is_over: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, item: Item, outcome: Outcome) -> None:
        if not self.is_over:
            self.batch.settle(item.id, outcome)


@dataclass(slots=True)
class _Item:
    """One item's publications: how many are open, and the worst that became of one."""

    ready: Ready
    open: int
    outcome: Outcome | None = None


class Rules:
    """All that a configuration says of what goes out; replaced as a whole."""

    def __init__(self, config: MqttConfig, replies: Replies, clock: Callable[[], float]) -> None:
        self.access = Access(config)
        self.book = OutwardBook(config.publish, clock)
        self.status = config.status
        self.replies = replies


class MqttDestination:
    """Publishes batches by one client."""

    def __init__(self, name: str, context: Context, rules: Rules, executor: Executor) -> None:
        self.rules = rules
        self._context = context
        self._log = context.log
        self._executor = executor
        self._marks = ((MARK, own_mark(context.hostname, name)),)

    async def deliver(self, batch: Batch, broker: Broker, trouble: Callable[[], str | None]) -> None:
        """Publish a batch, and what waits behind it. Settles every item, unless it is cancelled."""
        flight = _Flight(batch)
        try:
            await self._deliver(flight, broker, trouble)
        except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral of what is not settled
            self._log.error("deliver failed", cause=repr(e), exc_info=e)
        finally:
            flight.is_over = True

    async def _deliver(self, flight: _Flight, broker: Broker, trouble: Callable[[], str | None]) -> None:
        queue = deque(self._items(flight.batch.parcels))
        while queue or flight.open:
            while queue and flight.fault is None:
                room = broker.room
                if room <= 0:
                    if flight.open:
                        break
                    try:
                        await broker.wait_room()
                    except Lost as e:
                        flight.fault = faults.absent(trouble() or e.text)
                        break
                while room > 0 and queue and flight.fault is None:
                    room -= 1
                    await self._send(flight, broker, *queue.popleft())
                if not queue:
                    queue.extend(self._more(flight, broker))
            if flight.fault is not None:
                for _, item in queue:
                    flight.settle(item, flight.fault)
                queue.clear()
            if flight.open:
                flight.changed.clear()
                await flight.changed.wait()
            if not queue and flight.fault is None:
                queue.extend(self._more(flight, broker))

    def _more(self, flight: _Flight, broker: Broker) -> list[tuple[Parcel, Item]]:
        """Return further work, unless another call waits for its first: that one's messages are older."""
        return [] if broker.is_awaited else self._items(flight.batch.more())

    @staticmethod
    def _items(parcels: Sequence[Parcel]) -> list[tuple[Parcel, Item]]:
        return [(parcel, item) for parcel in parcels for item in parcel.items]

    async def _send(self, flight: _Flight, broker: Broker, parcel: Parcel, item: Item) -> None:
        try:
            ready = await self._ready(parcel, item)
        except Unpublishable as e:
            flight.settle(item, Failed(e.status))
            return
        except OSError as e:
            cause = e.strerror or str(e)
            flight.settle(item, Deferred(Status("4.3.0", "the message cannot be read", cause=cause), Scope.MESSAGE))
            return
        except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral of this message, never a bounce
            self._log.error("a message cannot be published", message=id_text(parcel.message_id), exc_info=e)
            flight.settle(item, Deferred(Status("4.3.5", "the message cannot be published now", cause=repr(e))))
            return
        if not isinstance(ready, Ready):
            flight.settle(item, ready)
            return
        if broker.version == V311 and any(len(out.properties.user) > 1 for out in ready.outs):
            ready = replace(ready, notes=(*ready.notes, _NO_PROPERTIES))
        under_way = _Item(ready, len(ready.outs))
        flight.open += 1
        for number, out in enumerate(ready.outs):
            key = f"{parcel.message_id}.{item.id[1]}.{number}"
            broker.send(out, key, partial(self._answered, flight, under_way, out))

    def _answered(self, flight: _Flight, under_way: _Item, out: Outgoing, answer: int | Exception) -> None:
        outcome = self._outcome(answer, out)
        if _is_worse(outcome, under_way.outcome):
            under_way.outcome = outcome
        under_way.open -= 1
        if under_way.open:
            return
        worst = under_way.outcome
        assert worst is not None
        if isinstance(worst, Delivered) and under_way.ready.notes:
            worst = Delivered(worst.status, worst.relayed, worst.notes + under_way.ready.notes)
        elif isinstance(worst, Deferred) and worst.scope is Scope.HOP:
            flight.fault = worst
        flight.open -= 1
        flight.settle(under_way.ready.item, worst)
        flight.changed.set()

    def _outcome(self, answer: int | Exception, out: Outgoing) -> Outcome:
        match answer:
            case int() as code:
                return faults.taken(code)
            case Refused() as e:
                self._log.warning("the broker refused a message", topic=out.topic, code=hex(e.code), text=e.text)
                return faults.refused(e, out.topic)
            case Lost() as e:
                return faults.lost(e)
            case other:
                return Deferred(Status("4.3.5", "the message cannot be published now", cause=repr(other)))

    # -- what is published

    async def _ready(self, parcel: Parcel, item: Item) -> Ready | Outcome:
        """Return what is to be published, or the outcome where nothing is. Raises: Unpublishable, OSError."""
        rules = self.rules
        if parcel.report is not None:
            return self._report(parcel.report, item, rules.status)
        answer = await rules.replies.find(parcel.content, item)
        if answer is not None:
            return await self._answer(parcel, item, answer, rules)
        topic = item.address.value
        outward = rules.book.find(topic) if item.address.network == "mqtt" else None
        if outward is None:
            return NO_RULE
        return await self._made(parcel, item, outward, rules)

    async def _answer(self, parcel: Parcel, item: Item, answer: Answer, rules: Rules) -> Ready | Outcome:
        if is_automatic(parcel.content):
            return Failed(AUTOMATIC)
        target = answer.target
        outward = rules.book.reply(answer.label, answer.rule)
        made = await self._made(parcel, replace(item, address=_topic(target.topic)), outward, rules)
        if not isinstance(made, Ready):
            return made
        outs = [
            replace(out, properties=replace(out.properties, correlation_data=target.correlation)) for out in made.outs
        ]
        return replace(made, item=item, outs=outs)

    async def _made(self, parcel: Parcel, item: Item, outward: Outward, rules: Rules) -> Ready | Outcome:
        try:
            check_topic(item.address.value)
        except TopicError as e:
            return Failed(Status("5.1.3", f"this is no topic to publish to: {e.message}"))
        granted = rules.access.judge(outward.rule, parcel)
        if isinstance(granted, Status):
            return Failed(granted)
        wait_s = outward.pace.take()
        if wait_s > 0:
            status = Status("4.4.5", f"more than {outward.rule.max_per_minute} messages a minute to this topic")
            return Deferred(status, retry_after_s=wait_s)
        if granted.content is not parcel.content:
            parcel = replace(parcel, content=granted.content)
        rule, hostname, content = outward.rule, self._context.hostname, parcel.content
        if content.is_inline and content.size <= IN_THREAD_OCTETS and rule.payload != "template":
            outs, notes = publications(parcel, item, rule, hostname, marks=self._marks)
        else:
            call = partial(publications, parcel, item, rule, hostname, marks=self._marks)
            outs, notes = await asyncio.get_running_loop().run_in_executor(self._executor, call)
        return Ready(item, outs, notes)

    def _report(self, report: Report, item: Item, status: StatusTopic | None) -> Ready | Outcome:
        """Return a report for the status topic."""
        if status is None:
            return NO_STATUS
        wanted = {str(each) for each in status.when}
        if not any(each.action.value in wanted for each in report.recipients):
            return NOT_TOLD
        topic = Filled(status.topic).fill({"topic": report.peer})
        try:
            check_topic(topic)
        except TopicError as e:
            return Failed(Status("5.1.3", f"the status topic is none: {e.message}"))
        out = replace(report_payload(report, topic), qos=status.qos, retain=status.retain)
        properties = replace(out.properties, user=(*out.properties.user, *self._marks))
        return Ready(item, [replace(out, properties=properties)])


def _topic(topic: str) -> Address:
    """A topic that was signed stands octet for octet: no rule for addresses may change it."""
    return Address("mqtt", topic, topic)


def _is_worse(one: Outcome, other: Outcome | None) -> bool:
    order = (Delivered, Deferred, Failed)
    return other is None or order.index(type(one)) > order.index(type(other))
