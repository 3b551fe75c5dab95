"""Intake: the one way into the gateway. Trace, loop check, mapping, routing, one spool transaction.

`Planner` decides and touches nothing: it is built from an immutable snapshot of table and routes and replaced
as a whole on a reload. `GatewayIntake` acts: it stores what the planner made of a message and, once that is
committed, hands the deliveries to the dispatcher in memory.

A recipient that is refused at RCPT time costs nobody a report. Where the source's peer can't be told
(`accept(…, report=True)`), a refused recipient becomes a delivery to the built-in lane of refusals, which
fails at once, so that the report about it is made and traced like any other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, Protocol

from gateway.contract import (
    Batch,
    ContentWriter,
    Destination,
    Failed,
    Receipt,
    Rejected,
    Unavailable,
)
from gateway.ids import IdSource
from gateway.ids import text as shown_id
from gateway.log import get_log
from gateway.message import Content, Envelope, Message, Notify, Origin, Recipient
from gateway.route import Routes
from gateway.spool.api import Claim, Delivery, DuplicateHandOver, LaneKey, SpoolError, State, Stored, claims_of
from gateway.status import LOOP, NO_RELAY, NO_ROUTE, TOO_BIG, TOO_MANY_RECIPIENTS, UNKNOWN_MAILBOX, Status
from mappings.address import Address
from mappings.table import Direction, Table, Verdict

REFUSALS: Final = "!refused"
"""The connector name of the lane of refusals; its next hop is the status, as `5.1.1 text`."""
REPORTS: Final = "!reports"
"""The origin's connector name of the gateway's own reports."""

_RECEIVED: Final = re.compile(rb"(?im)^received[ \t]*:")
_UNPRINTABLE: Final = re.compile(r"[^!-'*-\[\]-~]")
_REMEMBERED_TARGETS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Target:
    """Where mail for one address goes: the address there, the lane, and why in words.

    `foreign` where it is none of ours, so that only a trusted peer may send to it.
    """

    address: Address
    lane: LaneKey
    foreign: bool
    why: str


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """What intake needs of the configuration. Durations in seconds."""

    hostname: str
    max_hops: int = 50
    max_own_passes: int = 3
    max_recipients: int = 1000
    max_message_bytes: int | None = None
    expire_after_s: float = 5 * 86400.0


class Planner:
    """Decides what becomes of a message under one configuration: pure but for its ids and its memory of targets."""

    def __init__(
        self,
        settings: PlannerSettings,
        table: Table,
        routes: Routes,
        destinations: Mapping[str, Destination],
        networks: Mapping[str, Sequence[str]],
        ids: IdSource,
        clock: Callable[[], float],
    ) -> None:
        """`networks` names, per connector, the networks whose addresses it delivers to, the preferred first."""
        self.settings = settings
        self.table = table
        self.routes = routes
        self._destinations = destinations
        self._networks = networks
        self._ids = ids
        self._clock = clock
        self._targets: dict[tuple[str, str], Target | Status] = {}
        host = re.escape(settings.hostname.encode())
        self._own_pass = re.compile(rb"(?im)^received[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*?\bby[ \t]+" + host + rb"\b")
        self._hostname_lower = settings.hostname.lower().encode()
        self._date = (0, "")

    # -- recipients -------------------------------------------------------------------------------------

    def target(self, address: Address) -> Target | Status:
        """Return where mail for `address` goes, or the status to refuse it with."""
        key = (address.network, address.value)
        known = self._targets.get(key)
        if known is None:
            if len(self._targets) >= _REMEMBERED_TARGETS:
                self._targets.clear()
            known = self._targets[key] = self._find_target(address)
        return known

    def _find_target(self, address: Address) -> Target | Status:
        found = self.table.resolve(address)
        if found.verdict in (Verdict.UNKNOWN, Verdict.REFUSED):
            return Status(found.code, found.text) if found.code else UNKNOWN_MAILBOX
        route = self.routes.find(found.address, found.home)
        if route is None:
            return NO_ROUTE.but(text=f"no route leads to {found.address.value}")
        destination = self._destinations.get(route.connector)
        if destination is None:
            return NO_ROUTE.but(text=f"no route leads to {found.address.value}", cause=f"{route.connector} cannot send")
        final = found.address
        networks = self._networks[route.connector]
        if final.network not in networks:
            final = self.table.translate(final, networks[0], Direction.OUTWARD).address
            if final.network not in networks:
                return NO_ROUTE.but(text=f"{found.address.value} has no form that {networks[0]} can carry")
        hop = route.next_hop if route.next_hop is not None else destination.next_hop(final)
        why = "; ".join((*found.steps, route.rule))
        return Target(final, (route.connector, hop), found.verdict is Verdict.FOREIGN, why)

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        """Say whether a recipient would be accepted in this envelope."""
        if len(envelope.recipients) >= self.settings.max_recipients:
            return TOO_MANY_RECIPIENTS
        target = self.target(recipient.address)
        if isinstance(target, Status):
            return target
        if target.foreign and not envelope.origin.trusted:
            return NO_RELAY
        return None

    # -- messages ---------------------------------------------------------------------------------------

    def plan(self, message: Message, *, report: bool = False) -> Stored:
        """Make of a message what the spool stores.

        Raises: Rejected where it loops, or where no recipient can be accepted; with `report`, refused
        recipients become deliveries to the lane of refusals instead.
        """
        envelope, content = message.envelope, message.content
        limit = self.settings.max_message_bytes
        if limit is not None and content.size > limit:
            raise Rejected(TOO_BIG.but(text=f"the message has {content.size} octets, over the limit of {limit}"))
        head = content.head
        self._refuse_loops(head)
        now = self._clock()
        message_id = self._ids.next()
        expires_at = envelope.expires_at or now + self.settings.expire_after_s
        sender = envelope.reverse_path.value if envelope.reverse_path is not None else "<>"
        trusted = envelope.origin.trusted
        deliveries: list[Delivery] = []
        why: list[str] = []
        refused: list[Status] = []
        for n, recipient in enumerate(envelope.recipients):
            target = self.target(recipient.address)
            if isinstance(target, Target) and target.foreign and not trusted:
                target = NO_RELAY
            if isinstance(target, Status):
                refused.append(target)
                if not report:
                    continue
                target = Target(recipient.address, (REFUSALS, str(target.as_permanent())), False, "refused at intake")
            deliveries.append(
                Delivery(
                    id=(message_id, n),
                    lane=target.lane,
                    address=target.address,
                    original=recipient.address,
                    notify=recipient.notify,
                    orcpt=recipient.orcpt,
                    sender=sender,
                    priority=envelope.priority,
                    next_attempt_at=now,
                    expires_at=expires_at,
                )
            )
            why.append(target.why)
        if not deliveries or (len(refused) == len(deliveries) and envelope.reverse_path is None):
            raise Rejected(refused[0] if refused else NO_ROUTE.but(text="the message names no recipient"))
        if refused and not report:
            # Known at RCPT time and not now: the configuration changed in between. The whole transaction is
            # refused for now, so that the peer asks again and each recipient gets an answer of its own.
            raise Rejected(Status("4.3.0", "the recipients changed meanwhile, try again"))
        return Stored(
            id=message_id,
            envelope=envelope,
            prefix=self._received(envelope.origin, message_id, now),
            content=content,
            arrived_at=now,
            deliveries=tuple(deliveries),
            why=tuple(why),
        )

    def plan_report(self, to: Address, content: Content) -> Stored:
        """Make a report to `to` ready for the spool: null reverse-path, NOTIFY=NEVER (RFC 3461 §5.2.9).

        One that has no way to its recipient is stored parked, for the postmaster to see.
        """
        now = self._clock()
        message_id = self._ids.next()
        target = self.target(to)
        state = State.QUEUED
        if isinstance(target, Status):
            target = Target(to, (REPORTS, str(target)), False, "no way back to the sender")
            state = State.PARKED
        origin = Origin(connector=REPORTS, protocol="report", trusted=True)
        envelope = Envelope(reverse_path=None, recipients=(Recipient(to, Notify.NEVER),), origin=origin)
        delivery = Delivery(
            id=(message_id, 0),
            lane=target.lane,
            address=target.address,
            original=to,
            notify=Notify.NEVER,
            orcpt=None,
            sender="<>",
            priority=0,
            next_attempt_at=now,
            expires_at=now + self.settings.expire_after_s,
            state=state,
            reason="" if state is State.QUEUED else target.lane[1],
        )
        return Stored(message_id, envelope, b"", content, now, (delivery,), is_report=True)

    def _refuse_loops(self, head: bytes) -> None:
        # RFC 5321 §6.3: a hop count well over 100 would be the text's own; 50 is what the field uses.
        if len(_RECEIVED.findall(head)) > self.settings.max_hops:
            raise Rejected(LOOP.but(cause=f"over {self.settings.max_hops} Received fields"))
        if self._hostname_lower in head.lower():
            passes = len(self._own_pass.findall(head))
            if passes > self.settings.max_own_passes:
                raise Rejected(LOOP.but(cause=f"{passes} Received fields of our own"))

    def _received(self, origin: Origin, message_id: int, now: float) -> bytes:
        """Return our trace field (RFC 5321 §4.4). Without a `for` clause: a recipient may be a blind one."""
        second = int(now)
        if self._date[0] != second:
            self._date = (second, formatdate(second, localtime=True))
        source = ""
        if origin.peer:
            helo = _UNPRINTABLE.sub("?", origin.helo)[:255] or "unknown"
            peer = _UNPRINTABLE.sub("?", origin.peer)[:255]
            source = f"from {helo} ([{peer}])\r\n\t" if origin.helo else f"from {peer}\r\n\t"
        tls = f" ({_UNPRINTABLE.sub('?', origin.tls)})" if origin.tls else ""
        return (
            f"Received: {source}by {self.settings.hostname} with {origin.protocol or 'local'}{tls} "
            f"id {shown_id(message_id)};\r\n\t{self._date[1]}\r\n"
        ).encode("ascii", "replace")


class SpoolSide(Protocol):
    """What intake asks of the spool."""

    def submit(self, message: Stored) -> asyncio.Future[DuplicateHandOver | None]: ...

    def content(self) -> ContentWriter: ...


class GatewayIntake:
    """The Intake that sources are handed."""

    def __init__(self, spool: SpoolSide, planner: Planner, hand_over: Callable[[Sequence[Claim]], None]) -> None:
        self._spool = spool
        self.planner = planner
        self._hand_over = hand_over
        self._log = get_log("intake")
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
        try:
            stored = self.planner.plan(message, report=report)
        except Rejected as refusal:
            self.refused += 1
            receipt.set_exception(refusal)
            return receipt

        def committed(done: asyncio.Future[DuplicateHandOver | None]) -> None:
            fault = done.exception()
            if fault is None:
                duplicate = done.result()
                if duplicate is None:
                    self.accepted += 1
                    self._hand_over(claims_of(stored))
                    self._tell(stored)
            if receipt.done():
                return
            if fault is None:
                receipt.set_result(Receipt(stored.id) if duplicate is None else Receipt(duplicate.message_id, True))
            elif isinstance(fault, SpoolError):
                receipt.set_exception(Unavailable(fault.status))
            else:
                receipt.set_exception(fault)

        try:
            self._spool.submit(stored).add_done_callback(committed)
        except SpoolError as fault:
            receipt.set_exception(Unavailable(fault.status))
        return receipt

    def _tell(self, stored: Stored) -> None:
        envelope = stored.envelope
        self._log.info(
            "accepted",
            message_id=stored.id,
            connector=envelope.origin.connector,
            peer=envelope.origin.peer,
            sender="<>" if envelope.reverse_path is None else str(envelope.reverse_path),
            recipients=len(stored.deliveries),
            size=stored.content.size,
        )


class Refusals:
    """The built-in destination of refused recipients: every item fails with the status that is the next hop."""

    def next_hop(self, address: Address) -> str:
        return f"{UNKNOWN_MAILBOX.code} {UNKNOWN_MAILBOX.text}"

    async def deliver(self, batch: Batch) -> None:
        code, _, text = batch.next_hop.partition(" ")
        for parcel in batch.parcels:
            for item in parcel.items:
                batch.settle(item.id, Failed(Status(code, text)))
