"""Learner: who is meant by a directory name that bounced is entered in the mapping, and the message is sent on.

A bounce comes in, or this gateway is about to make one. Where it says that a directory name of a message of ours is
nobody's, and exactly one person can be meant, the name becomes a former address of theirs: a revision by `bounce`.
Where the whole message is at hand, it goes to that person, and the sender gets no bounce.

Promises: a bounce is dropped only once the message in it is stored anew for all recipients that it tells of; whatever
fails here, it goes its way like any other. No primary address and no home is ever changed. A name is entered once: not
where anybody has it at any time, nor again after such a revision was undone. What is sent on goes to the person's own
address, so that its bounce teaches nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from gateway import ids, learning
from gateway.blobs import Slice, Spliced
from gateway.contract import Rejected
from gateway.control import ControlError
from gateway.dispatch.tasks import Tasks
from gateway.learning import SENT_ON, Bounce, Original, Sent
from gateway.log import get_log
from gateway.message import Content, Envelope, Message, Recipient
from gateway.mime import InMemory, Octets
from gateway.planned import Planned
from gateway.planner import Planner
from gateway.report import Report
from gateway.spool.api import (
    Claim,
    DeliveryId,
    LeaseLost,
    QueueFilter,
    SpoolError,
    SpoolUnusable,
    Stored,
    TraceEvent,
    claims_of,
)
from mappings import store
from mappings.address import Address
from mappings.checks import MappingError
from mappings.directory import Person
from mappings.identity import Held, Identity, Role

T = TypeVar("T")

WHO: Final = "bounce"
"""The author of the revisions that are made here."""
LEARNT: Final = "learnt"
"""The kind of the trace event of a message whose bounce taught something."""
MAX_OF_ONE: Final = 20
"""No more directory names are entered for one identity: whoever can make bounces could fill the table."""
_TIMEOUT_S: Final = 10.0
_REPORT_TIMEOUT_S: Final = 3.0
"""So long the outcomes that are committed together with a report wait at most."""
_AT_ONCE: Final = 4
_TRIES: Final = 3
_REVISIONS: Final = 1000

TraceOf = Callable[[int], Awaitable[Sequence[TraceEvent]]]
"""Returns the trace of a message, whichever worker took it."""


class MappingSide(Protocol):
    """What is asked of the stored mapping."""

    async def change(self, work: Callable[[Connection], T]) -> T: ...


class SpoolSide(Protocol):
    """What is asked of the spool."""

    async def record(self, events: Sequence[TraceEvent]) -> None: ...

    async def drop(self, where: QueueFilter, why: str) -> list[DeliveryId]: ...


@dataclass(frozen=True, slots=True)
class Entered:
    """Whose directory names are, by key; `new` are those that this very moment made theirs, by `revision`."""

    holders: Mapping[str, Identity]
    new: tuple[Address, ...] = ()
    revision: int = 0


def enter(connection: Connection, names: Iterable[Address], domains: Iterable[str], why: str, now: float) -> Entered:
    """Find whose former addresses directory names are, and enter those that nobody has as the one's who is meant.

    `domains` are ours, in comparison form. Raises: StaleMapping where another has written meanwhile; MappingError.
    """
    newest = store.revision(connection)
    domains = list(domains)
    holders: dict[str, Identity] = {}
    people: dict[int, Identity] = {}
    new: list[Address] = []
    for name in names:
        found = store.find(connection, name.network, name.key)
        if found:
            only = learning.the_one(found, name.network, [name.key], now)
            if only is not None and not Person(only, now).is_former(name):
                only = None  # mail goes to it, so it was known where it failed
        else:
            keys = learning.keys(name, domains)
            candidates = (who for key in keys for who in store.find(connection, "smtp", key))
            only = learning.the_one(candidates, "smtp", keys, now)
            if only is not None:
                only = people.get(only.id, only)
                if not _may_have(connection, only, name):
                    continue
                only = replace(only, addresses=(*only.addresses, Held(name, Role.FORMER)))
                people[only.id] = only
                new.append(name)
        if only is not None:
            holders[name.key] = only
    if not new:
        return Entered(holders)
    told = "; ".join(f"{name} {_told(why)}" for name in new)
    changes = [store.Put(who) for who in people.values()]
    revision = store.apply(connection, changes, who=WHO, why=told, at=now, expected=newest)
    return Entered(holders, tuple(new), revision)


def _told(why: str) -> str:
    return f"came back in {why}"


def _may_have(connection: Connection, who: Identity, name: Address) -> bool:
    """Say whether a name may be entered for an identity: not too many, and never again what was taken away."""
    if sum(1 for _ in who.of(name.network)) >= MAX_OF_ONE:
        return False
    before = store.log(connection, limit=_REVISIONS, identity=who.id)
    return not any(each.who == WHO and f"{name} {_told('')}" in each.why for each in before)


class Learner:
    """Looks at bounces for a node. Its methods are called in the event loop, and none of them raises."""

    def __init__(
        self,
        spool: SpoolSide,
        mapping: MappingSide,
        trace: TraceOf,
        planner: Callable[[], Planner],
        hand_over: Callable[[Sequence[Claim]], None],
        clock: Callable[[], float],
    ) -> None:
        """`planner` gives the one in force; `hand_over` takes deliveries that are stored."""
        self._spool = spool
        self._mapping = mapping
        self._trace = trace
        self._planner = planner
        self._hand_over = hand_over
        self._clock = clock
        self._log = get_log("learner")
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._tasks = Tasks(self._log)

    async def close(self) -> None:
        await self._tasks.close(1.0)

    # -- bounces that come in

    def reads(self, message: Message) -> bool:
        """Say whether a message may be a bounce to look into, by its envelope and header alone."""
        envelope = message.envelope
        return envelope.reverse_path is None and len(envelope.recipients) == 1 and learning.is_report(message.content)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what waits for a bounce to be looked into."""
        self._tasks.start(work)

    async def learn(self, planned: Planned) -> Planned:
        """Learn from a bounce that is about to be stored, and return what to store: the same where it is to go its way;
        with the message in it, and to be withdrawn, where that is sent on."""
        done = await self._safely(lambda: self._from_bounce(planned), _TIMEOUT_S, planned.message.id)
        return planned if done is None else done

    def withdraw(self, planned: Planned) -> None:
        """Drop a stored bounce whose message is sent on."""
        self._tasks.start(self._withdraw(planned))

    async def _from_bounce(self, planned: Planned) -> Planned | None:
        stored = planned.message
        planner = self._planner()
        name_of = _name_of(planner)
        source = _octets(stored.content)
        bounce = await _in_thread(stored.content, lambda: learning.read(source, planner.envid_key, name_of))
        if bounce is None:
            return None
        sent = learning.sent(await self._trace(bounce.message_id), name_of)
        if sent is None or not sent.names.keys() >= {name.key for name in bounce.names}:
            return None
        if not _is_same(planner, stored.envelope.recipients[0].address, sent.sender):
            return None  # nobody but the sender of a message gets its bounce
        why = f"bounce {ids.text(stored.id)} of message {ids.text(bounce.message_id)}"
        entered = await self._enter(planner, bounce.names, why, bounce.message_id, sent.message_id)
        on = await self._send_on(planner, stored, bounce, sent, entered)
        if on is None or planned.more:
            return None
        event = self._sent_on(bounce.message_id, sent.message_id, on, [name.key for name in bounce.names])
        return replace(planned, more=(on,), moved=(), withdrawn=event)

    async def _send_on(
        self, planner: Planner, stored: Stored, bounce: Bounce, sent: Sent, entered: Entered
    ) -> Stored | None:
        """Return the message in a bounce as it goes to those who are meant; None where the bounce must go its way."""
        original = bounce.original
        if original is None or not bounce.is_all or not sent.is_whole(original):
            return None
        if any(name.key in sent.done for name in bounce.names):
            return None
        came = stored.envelope
        envelope = Envelope(sent.sender, (), came.origin, priority=came.priority, smtputf8=came.smtputf8)
        wrote = {name.key: Recipient(sent.names[name.key]) for name in bounce.names}
        at = f" at {bounce.by}" if bounce.by else ""
        return await self._planned(planner, envelope, _part(stored.content, original), wrote, entered, at)

    async def _withdraw(self, planned: Planned) -> None:
        bounce, on = planned.message, planned.more[0]
        assert planned.withdrawn is not None
        try:
            await self._spool.record([planned.withdrawn])
            why = f"the message that it brought back was sent on as {ids.text(on.id)}"
            await self._spool.drop(QueueFilter(message_id=bounce.id), why)
        except (SpoolError, LeaseLost) as fault:
            self._log.warning("bounce_not_dropped", message_id=bounce.id, reason=str(fault))
            self._hand_over(claims_of(bounce))

    # -- reports of our own

    async def instead(self, report: Report, about: Stored) -> Stored | None:
        """Learn from a failure of ours that is to be reported; return the message to send on in place of the report,
        None where the report is due."""
        planner = self._planner()
        asked = {r.address: r for r in about.envelope.recipients}
        names: dict[str, Address] = {}
        wrote: dict[str, Recipient] = {}
        for each in report.recipients:
            name = learning.failed_name(each, _name_of(planner))
            if name is None:
                return None
            names[name.key] = name
            wrote[name.key] = asked.get(each.original, Recipient(each.original))
        if not 0 < len(names) <= learning.MAX_NAMES:
            return None

        def work() -> Awaitable[Stored | None]:
            return self._from_failure(planner, about, names, wrote)

        return await self._safely(work, _REPORT_TIMEOUT_S, about.id)

    async def _from_failure(
        self, planner: Planner, about: Stored, names: Mapping[str, Address], wrote: Mapping[str, Recipient]
    ) -> Stored | None:
        why = f"the failure of message {ids.text(about.id)}"
        message_id = (about.content.get(b"message-id") or b"")[:998].decode(errors="replace")
        entered = await self._enter(planner, list(names.values()), why, about.id, message_id)
        envelope = replace(about.envelope, dedupe_key=None)
        if learning.message_of(planner.envid_key, envelope.envid) is not None:
            envelope = replace(envelope, envid=None)
        content = about.content.with_prefix(about.prefix)
        on = await self._planned(planner, envelope, content, wrote, entered, " at the next hop")
        if on is not None:
            await self._spool.record([self._sent_on(about.id, message_id, on, names)])
        return on

    # -- both

    async def _enter(
        self, planner: Planner, names: Sequence[Address], why: str, about: int, message_id: str
    ) -> Entered:
        """Enter names in the mapping, and tell of it in the trace of the message.

        Raises: SQLAlchemyError, SpoolUnusable, SpoolError, MappingError, StaleMapping.
        """
        domains = planner.table.domains

        def work(connection: Connection) -> Entered:
            return enter(connection, names, domains, why, self._clock())

        for attempt in range(1, _TRIES + 1):
            try:
                entered = await self._mapping.change(work)
                break
            except store.StaleMapping:
                if attempt == _TRIES:
                    raise
        for name in entered.new:
            who = entered.holders[name.key].name
            self._log.info("learnt", message_id=about, address=str(name), identity=who, revision=entered.revision)
        if entered.new:
            told = "; ".join(f"{name} is {entered.holders[name.key].name}" for name in entered.new)
            detail = {"why": f"{told} (revision {entered.revision} of the mapping)", "message_id": message_id}
            await self._spool.record([TraceEvent(about, self._clock(), LEARNT, None, detail)])
        return entered

    async def _planned(
        self,
        planner: Planner,
        envelope: Envelope,
        content: Content,
        wrote: Mapping[str, Recipient],
        entered: Entered,
        at: str,
    ) -> Stored | None:
        """Return a message to all whose names it was for; None where one is not known, or cannot be sent to."""
        now = self._clock()
        recipients: dict[Address, Recipient] = {}
        for key, asked in wrote.items():
            who = entered.holders.get(key)
            to = None if who is None else Person(who, now if who.is_timed else None).fallback()
            if to is None:
                return None
            orcpt = asked.orcpt
            if orcpt is None and asked.address.network == "smtp" and asked.address.value.isascii():
                # RFC 3461 §5.2.1 (d): a relay may add the recipient as it came in, and reports name it so.
                orcpt = f"rfc822;{asked.address.value}"
            recipients.setdefault(to, Recipient(to, asked.notify, orcpt))
        utf8 = not all(a is None or a.value.isascii() for a in (envelope.reverse_path, *recipients))
        envelope = replace(envelope, recipients=tuple(recipients.values()), smtputf8=envelope.smtputf8 or utf8)
        await _in_thread(content, lambda: content.head)  # kept by the Content, so that the loop does not read it
        try:
            planned = planner.plan(Message(envelope, content))
        except Rejected as refusal:
            self._log.info("not_sent_on", reason=str(refusal.status))
            return None
        if planned.more:
            return None
        why = f"sent on, since the name that it was for is nobody's{at}"
        return replace(planned.message, why=tuple(f"{why}; {each}" for each in planned.message.why))

    def _sent_on(self, about: int, message_id: str, on: Stored, names: Iterable[str]) -> TraceEvent:
        """Return the event of a message that was sent on; a search by its Message-ID finds it in any worker's trace."""
        detail = {"why": f"as {ids.text(on.id)}", "names": [*names], "message_id": message_id}
        return TraceEvent(about, self._clock(), SENT_ON, None, detail)

    async def _safely(self, work: Callable[[], Awaitable[T]], timeout_s: float, message_id: int) -> T | None:
        """Return what `work` returns within its time, None where it fails."""
        try:
            async with asyncio.timeout(timeout_s), self._turns:
                return await work()
        except (
            TimeoutError, SQLAlchemyError, SpoolUnusable, SpoolError, LeaseLost, OSError, ControlError, MappingError,
            store.StaleMapping,
        ) as fault:  # fmt: skip
            self._log.warning("not_learnt", message_id=message_id, reason=str(fault) or type(fault).__name__)
        except Exception:  # noqa: BLE001  mail goes on whatever is wrong here
            self._log.exception("learner_fault", message_id=message_id)
        return None


def _name_of(planner: Planner) -> learning.NameOf:
    table = planner.table
    return lambda address: learning.name_of(table, address)


def _is_same(planner: Planner, one: Address, other: Address) -> bool:
    """Tell whether mail to both goes to the same address."""
    if one == other:
        return True
    there, here = planner.table.resolve(one), planner.table.resolve(other)
    return not there.code and not here.code and there.address == here.address


def _octets(content: Content) -> Octets:
    source = content.source
    if isinstance(source, bytes):
        return InMemory(content.octets())
    return Spliced([content.front, Slice(source, content.offset, source.size)])


def _part(content: Content, part: Original) -> Content:
    """Return a range of a content's octets; of a Blob, as a view that is copied when it is stored."""
    source = _octets(content)
    if isinstance(source, InMemory):
        return Content(source.octets[part.start : part.end])
    return Content(Slice(source, part.start, part.end))


async def _in_thread(content: Content, work: Callable[[], T]) -> T:
    return work() if content.is_inline else await asyncio.to_thread(work)


async def traced(
    message_id: int,
    mine: Callable[..., Awaitable[Sequence[TraceEvent]]],
    all_workers: Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Any]]] | None,
) -> list[TraceEvent]:
    """Return a message's trace: `mine`, or where each worker keeps its own, what all have. Raises what they raise."""
    if all_workers is None:
        return list(await mine(message_id=message_id))
    events = []
    shown = ids.text(message_id)
    for answer in await all_workers("trace", {"what": shown}):
        for told in answer["messages"]:
            if told["id"] == shown:
                events += [TraceEvent(message_id, e["at"], e["kind"], e["n"], e["detail"]) for e in told["events"]]
    return events
