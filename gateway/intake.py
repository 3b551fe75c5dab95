"""Intake: the one way into the gateway. What the planner decides is stored in one spool transaction.

Trace, loop check, mapping and routing are the planner's; here the message is committed, and once that is done its
deliveries are handed to the dispatcher in memory.

A recipient that is refused at RCPT time costs nobody a report. Where the source's peer can't be told
(`accept(…, report=True)`), a refused recipient becomes a delivery to the built-in lane of refusals, which
fails at once, so that the report about it is made and traced like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Protocol

from gateway import moved
from gateway.contract import Batch, ContentWriter, Delivered, Failed, Receipt, Rejected, Taken, Unavailable
from gateway.log import Form, get_log
from gateway.message import Envelope, Message, Recipient
from gateway.planned import Moved, Planned
from gateway.planner import Planner
from gateway.spool.api import Claim, DuplicateHandOver, SpoolError, Stored, claims_of
from gateway.spool.jobs import HandOver, Told
from gateway.status import UNKNOWN_MAILBOX, Status
from mappings.address import Address

_MOST_FORMS: Final = 1024


class SpoolSide(Protocol):
    """What intake asks of the spool."""

    def submit(self, hand_overs: Sequence[HandOver]) -> None: ...

    async def accept(self, message: Stored, more: Sequence[Stored] = ()) -> DuplicateHandOver | None: ...

    def take_once(self, key: str) -> asyncio.Future[bool]: ...

    def content(self) -> ContentWriter: ...


class Learning(Protocol):
    """What looks at bounces before they are stored; see `gateway.learner`."""

    def reads(self, message: Message) -> bool: ...

    def start(self, work: Coroutine[Any, Any, None]) -> None: ...

    async def learn(self, planned: Planned) -> Planned: ...

    def withdraw(self, planned: Planned) -> None: ...


class GatewayIntake:
    """The Intake that sources are handed. `learner` is asked about bounces, where there is one."""

    def __init__(self, spool: SpoolSide, planner: Planner, hand_over: Callable[[Sequence[Claim]], None]) -> None:
        self._spool = spool
        self.planner = planner
        self.learner: Learning | None = None
        self._hand_over = hand_over
        self._log = get_log("intake")
        self._begun: list[tuple[Message, bool, Taken]] = []
        """What came in this turn of the loop."""
        self._forms: dict[int, tuple[Envelope, Form]] = {}
        """How the log tells of messages in envelopes that come again, by identity of the envelope, with itself."""
        self.accepted = 0
        self.refused = 0

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        return self.planner.check(envelope, recipient)

    def content(self) -> ContentWriter:
        return self._spool.content()

    async def accept(self, message: Message, *, report: bool = False) -> Receipt:
        return await self.submit(message, report=report)

    def submit(self, message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
        """Begin to accept a message; the future gives what `accept` returns or raises.

        The deliveries are handed over by the commit itself: a caller that is cancelled loses its receipt only.
        """
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.take(message, partial(_settle, receipt), report=report)
        return receipt

    def take(self, message: Message, told: Taken, *, report: bool = False) -> None:
        """Begin to accept a message; `told` is called with what `accept` returns or raises."""
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._go_on)
        self._begun.append((message, report, told))

    def _go_on(self) -> None:
        """Take all messages that were begun in one turn of the loop a step further, and then the next step: code and
        data of a step stay at hand, which saves an eighth of the time."""
        begun, self._begun = self._begun, []
        hand_overs: list[HandOver] = []
        now = self.planner.now()
        for message, report, told in begun:
            try:
                planned = self.planner.plan(message, report=report, now=now)
                learner = self.learner
                if learner is not None and message.envelope.reverse_path is None and learner.reads(message):
                    learner.start(self._look(learner, planned, told))
                    continue
            except Exception as fault:  # noqa: BLE001  this message's alone
                self.refused += isinstance(fault, Rejected)
                self._answer(told, None, fault)
                continue
            if planned.more and not planned.message.content.is_inline:
                self._copy(planned, told)
            else:
                hand_overs.append((planned.message, planned.more, partial(self._committed, planned, told)))
        self._spool.submit(hand_overs)

    async def _look(self, learner: Learning, planned: Planned, told: Taken) -> None:
        try:
            planned = await learner.learn(planned)
        except BaseException:  # the node stops: nothing was accepted
            told(None, asyncio.CancelledError())
            raise
        if planned.more and not planned.message.content.is_inline:
            self._copy(planned, told)
        else:
            self._spool.submit([(planned.message, planned.more, partial(self._committed, planned, told))])

    def _copy(self, planned: Planned, told: Taken) -> None:
        """Store a large message for the members of groups: each of them needs octets of its own, which are copied."""
        self._copying = copying = asyncio.ensure_future(self._spool.accept(planned.message, planned.more))
        copying.add_done_callback(partial(_outcome, partial(self._committed, planned, told)))

    def _committed(
        self,
        planned: Planned,
        told: Taken,
        duplicate: DuplicateHandOver | None,
        fault: BaseException | None,
    ) -> None:
        if fault is None and duplicate is None:
            self._accepted(planned)
            self._answer(told, Receipt(planned.message.id), None)
        elif duplicate is not None:
            self._answer(told, Receipt(duplicate.message_id, True), None)
        else:
            self._answer(told, None, Unavailable(fault.status) if isinstance(fault, SpoolError) else fault)

    def _answer(self, told: Taken, receipt: Receipt | None, fault: BaseException | None) -> None:
        """Answer whoever brought a message; what becomes of others does not depend on how they take it."""
        try:
            told(receipt, fault)
        except Exception as own:  # noqa: BLE001  whose it is is in the log, and the next are told
            self._log.exception("answer_not_taken", reason=str(own))

    def _accepted(self, planned: Planned) -> None:
        stored = planned.message
        self.accepted += 1
        if planned.withdrawn is not None and self.learner is not None:
            self.learner.withdraw(planned)
        else:
            self._hand_over(claims_of(stored))
        self._tell(stored)
        for more in planned.more:
            self._hand_over(claims_of(more))
            self._tell(more)
        for each in planned.moved:
            try:
                self._tell_moved(each, stored)
            except Exception as fault:  # noqa: BLE001  the message is in, and whoever brought it is to hear of it
                self._no_notice(fault)

    def _tell_moved(self, each: Moved, about: Stored) -> None:
        """Send a notice of the new address, once in weeks, whichever node the messages come to."""
        content = moved.notice(each, about, self.planner.settings.hostname, self.planner.now())
        if content is None:
            return
        notice = self.planner.plan_report(each.sender, content)

        def committed(duplicate: DuplicateHandOver | None, fault: BaseException | None) -> None:
            if fault is not None:
                self._no_notice(fault)
                return
            self._hand_over(claims_of(notice))
            self._tell(notice)

        def taken(done: asyncio.Future[bool]) -> None:
            if (fault := done.exception()) is not None:
                self._no_notice(fault)
            elif done.result():
                self._spool.submit([(notice, (), committed)])

        try:
            self._spool.take_once(moved.key(each)).add_done_callback(taken)
        except SpoolError as error:
            self._no_notice(error)

    def _no_notice(self, fault: BaseException) -> None:
        """Tell the operator that a notice is not sent: it is a courtesy, and the message itself is in."""
        self._log.warning(
            "notice_not_stored", reason=str(fault.status) if isinstance(fault, SpoolError) else str(fault)
        )

    def _tell(self, stored: Stored) -> None:
        envelope = stored.envelope
        known = self._forms.get(id(envelope))
        recipients = len(stored.deliveries)
        if known is not None and known[0] is envelope and recipients == 1:
            known[1].tell(stored.id, stored.content.size)
            return
        origin = envelope.origin
        fields = {
            "connector": origin.connector,
            "peer": origin.peer,
            "sender": "<>" if envelope.reverse_path is None else str(envelope.reverse_path),
            "recipients": recipients,
        }
        if recipients == 1 and envelope.may_recur:
            form = self._log.form("accepted", "size", **fields)
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            self._forms[id(envelope)] = envelope, form
        self._log.info("accepted", message_id=stored.id, **fields, size=stored.content.size)


def _settle(future: asyncio.Future[Receipt], receipt: Receipt | None, fault: BaseException | None) -> None:
    if future.done():  # its caller was cancelled; what is committed stays committed
        return
    if receipt is not None:
        future.set_result(receipt)
    elif isinstance(fault, asyncio.CancelledError):
        future.cancel()
    else:
        assert fault is not None
        future.set_exception(fault)


def _outcome(told: Told, done: asyncio.Future[DuplicateHandOver | None]) -> None:
    """Tell what came of a task as the spool tells it."""
    fault = done.exception()
    told(done.result() if fault is None else None, fault)


class Refusals:
    """The built-in destination of refused recipients: every item fails with the status that is the next hop."""

    def next_hop(self, address: Address) -> str:
        return f"{UNKNOWN_MAILBOX.code} {UNKNOWN_MAILBOX.text}"

    async def deliver(self, batch: Batch) -> None:
        code, _, text = batch.next_hop.partition(" ")
        for parcel in batch.parcels:
            for item in parcel.items:
                batch.settle(item.id, Failed(Status(code, text)))


class Expansions:
    """The built-in destination of groups whose members get messages of their own: for the sender the way ends here."""

    def next_hop(self, address: Address) -> str:
        return address.value

    async def deliver(self, batch: Batch) -> None:
        for parcel in batch.parcels:
            for item in parcel.items:
                # RFC 3461 §5.2.7.1; 2.1.5: the address is right, and was taken
                batch.settle(item.id, Delivered(Status("2.1.5", f"expanded for the members of {batch.next_hop}")))
