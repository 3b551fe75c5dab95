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
from connectors.mqtt.rules import PublishRule, StatusTopic
from connectors.mqtt.source import MARK, own_mark
from connectors.mqtt.topics import Filled, TopicError, check_topic
from connectors.mqtt.wire.packets import V311
from connectors.mqtt.wire.values import Lost, Outgoing, Refused
from gateway.contract import (
    Address,
    Batch,
    Content,
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
_TOGETHER: Final = 32
"""So many are made before they are sent."""
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
                await self._send(flight, broker, [queue.popleft() for _ in range(min(room, len(queue), _TOGETHER))])
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

    async def _send(self, flight: _Flight, broker: Broker, few: Sequence[tuple[Parcel, Item]]) -> None:
        """Publish some: all are made first and sent then, since what is done many times on end is done faster."""
        made: list[tuple[Parcel, Ready]] = []
        for parcel, item in few:
            try:
                ready = self._at_once(parcel, item)
                if ready is None:
                    self._publish(flight, broker, made)  # these do not wait for what is made elsewhere
                    made = []
                    ready = await self._ready(parcel, item)
            except Unpublishable as e:
                ready = Failed(e.status)
            except OSError as e:
                status = Status("4.3.0", "the message cannot be read", cause=e.strerror or str(e))
                ready = Deferred(status, Scope.MESSAGE)
            except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral of this message, never a bounce
                self._log.error("a message cannot be published", message=id_text(parcel.message_id), exc_info=e)
                ready = Deferred(Status("4.3.5", "the message cannot be published now", cause=repr(e)))
            if isinstance(ready, Ready):
                made.append((parcel, ready))
            else:
                flight.settle(item, ready)
        self._publish(flight, broker, made)

    def _publish(self, flight: _Flight, broker: Broker, made: Sequence[tuple[Parcel, Ready]]) -> None:
        is_old = broker.version == V311
        for parcel, ready in made:
            if flight.fault is not None:
                flight.settle(ready.item, flight.fault)
                continue
            outs = ready.outs
            if is_old and any(len(out.properties.user) > 1 for out in outs):
                ready = replace(ready, notes=(*ready.notes, _NO_PROPERTIES))
            under_way = _Item(ready, len(outs))
            flight.open += 1
            name = f"{parcel.message_id}.{ready.item.id[1]}."
            for number, out in enumerate(outs):
                broker.send(out, f"{name}{number}", partial(self._answered, flight, under_way, out))

    def _answered(self, flight: _Flight, under_way: _Item, out: Outgoing, answer: int | Exception) -> None:
        outcome = faults.taken(answer) if type(answer) is int else self._outcome(answer, out)
        worst = under_way.outcome
        if worst is None or _is_worse(outcome, worst):
            worst = under_way.outcome = outcome
        under_way.open -= 1
        if under_way.open:
            return
        notes = under_way.ready.notes
        if type(worst) is Delivered:
            if notes:
                worst = Delivered(worst.status, worst.relayed, worst.notes + notes if worst.notes else notes)
        elif type(worst) is Deferred and worst.scope is Scope.HOP:
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

    def _at_once(self, parcel: Parcel, item: Item) -> Ready | Outcome | None:
        """Do what `_ready` does where nothing has to be waited for, as for nearly all mail; None where something may.

        Raises: Unpublishable.
        """
        rules, address = self.rules, item.address
        if parcel.report is not None or rules.replies or address.network != "mqtt":
            return None
        outward = rules.book.find(address.value)
        if outward is None:
            return NO_RULE
        if not _is_quick(parcel.content, outward.rule):
            return None
        granted = self._granted(parcel, item, outward, rules)
        return self._published(granted, item, outward.rule) if isinstance(granted, Parcel) else granted

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
        granted = self._granted(parcel, item, outward, rules)
        if not isinstance(granted, Parcel):
            return granted
        if _is_quick(granted.content, outward.rule):
            return self._published(granted, item, outward.rule)
        call = partial(self._published, granted, item, outward.rule)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _granted(self, parcel: Parcel, item: Item, outward: Outward, rules: Rules) -> Parcel | Outcome:
        """Return the parcel without what is for us alone, where it may be published now."""
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
        return parcel if granted.content is parcel.content else replace(parcel, content=granted.content)

    def _published(self, parcel: Parcel, item: Item, rule: PublishRule) -> Ready:
        """Return what is published. Raises: Unpublishable, OSError."""
        return Ready(item, *publications(parcel, item, rule, self._context.hostname, marks=self._marks))

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


def _is_quick(content: Content, rule: PublishRule) -> bool:
    """Whether what is published of a mail is made in the loop: no template makes it, and it is in memory, and short."""
    source = content.source
    is_short = isinstance(source, bytes) and len(source) + len(content.front) <= IN_THREAD_OCTETS
    return is_short and rule.payload != "template"


def _topic(topic: str) -> Address:
    """A topic that was signed stands octet for octet: no rule for addresses may change it."""
    return Address("mqtt", topic, topic)


def _is_worse(one: Outcome, other: Outcome) -> bool:
    order = (Delivered, Deferred, Failed)
    return order.index(type(one)) > order.index(type(other))
