"""Planner: what becomes of a message under one configuration. Decides, and touches nothing.

It is built from an immutable snapshot of table and routes and replaced as a whole when either changes. Promises: every
recipient gets a delivery or a status; a group's members come from the snapshot of one moment; a recipient of a shared
domain is offered to each system that shares it at most once.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from itertools import chain
from typing import Final

from gateway import learning
from gateway.contract import Destination, Rejected
from gateway.ids import IdSource
from gateway.ids import text as shown_id
from gateway.limiter import Limiter
from gateway.message import Content, Envelope, Message, Notify, Origin, Recipient
from gateway.message_plan import MOST_FORWARDINGS, MessagePlan
from gateway.planned import REFUSALS, REPORTS, Elsewhere, Found, Members, Planned, Target, Waits
from gateway.route import Routes
from gateway.spool.api import Delivery, LaneKey, State, Stored
from gateway.status import (
    FAULT,
    LOOP,
    NO_RELAY,
    NO_ROUTE,
    TOO_BIG,
    TOO_MANY_MESSAGES,
    TOO_MANY_RECIPIENTS,
    UNKNOWN_MAILBOX,
    Status,
)
from mappings.address import Address
from mappings.resolution import Resolution
from mappings.rule import Place
from mappings.table import Direction, Table, Verdict

_RECEIVED: Final = re.compile(rb"(?im)^received[ \t]*:")
_UNPRINTABLE: Final = re.compile(r"[^!-'*-\[\]-~]")
_TRIED: Final = re.compile(rb"\(tried((?: [a-z2-7]{12})+)\)")
_KEPT: Final = b"x-gatepost-pass-"
"""Begins the names of the fields, with a number behind it, in which a trace field comes back from a system that shows
no Received: a connector to such a one writes them (Graph's does)."""
_REMEMBERED_TARGETS: Final = 50_000
_REMEMBERED_WAYS: Final = 4096
_Way = tuple[Envelope, Target, tuple[str], bytes]
"""How messages in one envelope go straight: itself, their one target, why there, the beginning of their trace field."""


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """What intake needs of the configuration. Durations in seconds."""

    hostname: str
    max_hops: int = 50
    max_own_passes: int = 3
    max_recipients: int = 1000
    max_message_bytes: int | None = None
    expire_after_s: float = 5 * 86400.0
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By domain (comparison form), the connectors whose systems share it, in the order they are tried."""
    secret: bytes = b""
    """Keys what is told of recipients in trace fields, so that nobody else can read it."""
    tell_moved: bool = False
    """Senders who use a former address are told of the new one."""
    learn: bool = False
    """Bounces of directory names that nobody has are known again by an ENVID of ours; see `gateway.learning`."""
    paid_networks: frozenset[str] = frozenset({"tel", "fax", "sms"})
    paid_senders: tuple[re.Pattern[str], ...] = ()
    """Who may send to networks that cost money though no trusted peer brings it: matched with `network:key`."""


class Planner:
    """Pure but for its ids, its memory of targets and the limiter's counts."""

    def __init__(
        self,
        settings: PlannerSettings,
        table: Table,
        routes: Routes,
        destinations: Mapping[str, Destination],
        networks: Mapping[str, Sequence[str]],
        ids: IdSource,
        clock: Callable[[], float],
        limiter: Limiter | None = None,
        waits: Callable[[LaneKey, str], Waits | None] = lambda lane, sender: None,
    ) -> None:
        """`networks` names, per connector, the networks whose addresses it delivers to, the preferred first.
        `limiter` bounds how often strangers may use one signed address; it outlives planners. `waits` tells of a
        closed lane when it opens, so that what comes meanwhile need not be put off one by one, and of one that is full
        for a sender that it is."""
        self.settings = settings
        self.table = table
        self.routes = routes
        self._destinations = destinations
        self._networks = networks
        self._ids = ids
        self._clock = clock
        self._limiter = limiter or Limiter()
        self.waits = waits
        self._targets: dict[tuple[str, str, str], Found] = {}
        host = re.escape(settings.hostname.encode())
        way = rb"[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*?\bby[ \t]+" + host + rb"\b"
        self._own_pass = re.compile(rb"(?im)^received" + way)
        self._own_kept = re.compile(rb"(?im)^" + _KEPT + rb"[0-9]{1,3}" + way)
        self._hostname_lower = settings.hostname.lower().encode()
        self._date = (0, b"")
        self._ways: dict[int, _Way] = {}
        """How messages go straight in envelopes that come again, by identity of the envelope."""
        self._last_way: _Way | None = None
        self._last_at = 0.0
        self._last_waits: Waits | None = None
        """What was said of the last way's lane, which is as true of another message at the same time."""
        self.envid_key = table.derived_key("envid")
        self._goes_straight = not (settings.shared or (settings.learn and self.envid_key))

    def now(self) -> float:
        return self._clock()

    # -- recipients -------------------------------------------------------------------------------------

    def target(self, address: Address, connector: str = "") -> Found:
        """Return where mail for `address` goes, or the status to refuse it with.

        `connector` is where the message comes from, empty where it is our own.
        """
        return self._looked_up(address, connector)[0]

    def _looked_up(self, address: Address, connector: str) -> tuple[Found, bool]:
        """Return what `target` does, and whether it is so for as long as this planner is asked."""
        source = None
        if self.table.asks_for_places and connector in self._networks:
            source = Place(self._networks[connector][0], connector)
        key = (address.network, address.value, "" if source is None else connector)
        known = self._targets.get(key)
        if known is not None:
            return known, True
        resolution = self.table.resolve(address, source)
        found = self._find_target(resolution)
        if not resolution.is_timed:
            if len(self._targets) >= _REMEMBERED_TARGETS:
                self._targets.clear()
            self._targets[key] = found
        return found, not resolution.is_timed

    def _find_target(self, found: Resolution) -> Found:
        if found.verdict in (Verdict.UNKNOWN, Verdict.REFUSED):
            return Status(found.code, found.text) if found.code else UNKNOWN_MAILBOX
        why = "; ".join(found.steps)
        if found.group is not None:
            return Members(found.group, why)
        if found.shared is not None:
            return Elsewhere(found.address, found.shared, self.settings.shared.get(found.shared, ()), why)
        target = self._at(found.address, found.home, why)
        if isinstance(target, Status):
            return target
        copies = []
        for connector, address in found.copies:
            copy = self._at(address, connector, f"{why}; a copy")
            if isinstance(copy, Target):
                copies.append(copy)
        return Target(
            target.address,
            target.lane,
            found.verdict is Verdict.FOREIGN,
            target.why,
            tuple(copies),
            found.former,
            found.is_carried,
            found.is_cut,
            found.forwards,
            found.keeps,
        )

    def _at(self, address: Address, home: str | None, why: str) -> Target | Status:
        """Return the target of an address at its home, or where the routes lead."""
        route = self.routes.find(address, home)
        if route is None:
            return NO_ROUTE.but(text=f"no route leads to {address.value}")
        destination = self._destinations.get(route.connector)
        if destination is None:
            return NO_ROUTE.but(text=f"no route leads to {address.value}", cause=f"{route.connector} cannot send")
        final = address
        networks = self._networks[route.connector]
        if final.network not in networks:
            place = Place(networks[0], route.connector)
            final = self.table.translate(final, networks[0], Direction.OUTWARD, place).address
            if final.network not in networks:
                return NO_ROUTE.but(text=f"{address.value} has no form that {networks[0]} can carry")
        try:
            hop = route.next_hop if route.next_hop is not None else destination.next_hop(final)
        except Exception as fault:  # noqa: BLE001  a connector's bug is no refusal
            return FAULT.but(cause=f"next_hop() of {route.connector} raised {fault!r}")
        return Target(final, (route.connector, hop), False, f"{why}; {route.rule}" if why else route.rule)

    def again(self, delivery: Delivery) -> Target | None:
        """Return where a planned delivery goes now; None where it goes where it was to, or where that is not known."""
        for address in (delivery.address, delivery.original):
            if self.table.identity_of(address) is not None:
                found = self.target(address)
                return found if isinstance(found, Target) else None
        return None

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        """Say whether a recipient would be accepted in this envelope."""
        if len(envelope.recipients) >= self.settings.max_recipients:
            return TOO_MANY_RECIPIENTS
        found = self.target(recipient.address, envelope.origin.connector)
        if isinstance(found, Elsewhere):
            found = self.elsewhere(found, envelope.origin, frozenset())
        if isinstance(found, Status):
            return found
        if isinstance(found, Members) or envelope.origin.trusted:
            return None
        return self.refusal(found, recipient.address, envelope, count=False)

    def refusal(self, target: Target, asked: Address, envelope: Envelope, *, count: bool) -> Status | None:
        """Say what keeps a stranger from sending to a target."""
        if target.foreign and not envelope.origin.returning:
            return NO_RELAY
        if target.address.network in self.settings.paid_networks:
            sender = envelope.reverse_path
            name = "" if sender is None else f"{sender.network}:{sender.key}"
            if not any(pattern.fullmatch(name) for pattern in self.settings.paid_senders):
                return NO_RELAY.but(text="sending there costs money, and you are not among those who may")
        if target.carried:
            key = f"{asked.network}:{asked.key}"
            now = self._clock()
            if not (self._limiter.take(key, now) if count else self._limiter.has_room(key, now)):
                return TOO_MANY_MESSAGES
        return None

    def elsewhere(self, found: Elsewhere, origin: Origin, tried: frozenset[str]) -> Target | Status:
        """Choose the system to offer a shared domain's unknown address to: the first that has not had it yet."""
        for system in found.systems:
            if system != origin.connector and self.token(found.address, system) not in tried:
                target = self._at(found.address, system, f"{found.why}; offered to {system}")
                if isinstance(target, Target):
                    return target
        if tried:
            systems = " and ".join(found.systems)
            text = (
                f"{found.domain} is shared by {systems}, and each of them sends this address on as the other's: "
                "create the mailbox in one of them, or add the address to the gateway's table"
            )
            return LOOP.but(text=text)
        return UNKNOWN_MAILBOX

    def token(self, address: Address, system: str) -> str:
        """Return what our trace field says of an address that a system has had: nothing that others can read."""
        digest = hmac.digest(self.settings.secret, f"{system}\0{address.network}:{address.key}".encode(), "sha256")
        return b32encode(digest[:8])[:12].decode("ascii").lower()

    def _tried(self, head: bytes) -> frozenset[str]:
        """Return the tokens of our own trace fields in a header."""
        if not self.settings.shared or b"(tried " not in head:
            return frozenset()
        found: set[str] = set()
        for field_ in chain(self._own_pass.finditer(head), self._own_kept.finditer(head)):
            end = head.find(b"\n", field_.end())
            while 0 <= end < len(head) - 1 and head[end + 1 : end + 2] in (b" ", b"\t"):
                end = head.find(b"\n", end + 1)
            for tokens in _TRIED.findall(head[field_.start() : end if end >= 0 else len(head)]):
                found.update(tokens.decode("ascii").split())
        return frozenset(found)

    # -- messages ---------------------------------------------------------------------------------------

    def plan(self, message: Message, *, report: bool = False, now: float | None = None) -> Planned:
        """Make of a message what the spool stores. `now` is the time of messages that are planned together, in one turn
        of the event loop.

        Raises: Rejected where it loops, or where no recipient can be accepted; with `report`, refused
        recipients become deliveries to the lane of refusals instead.
        """
        envelope, content = message.envelope, message.content
        limit = self.settings.max_message_bytes
        if limit is not None and content.size > limit:
            raise Rejected(TOO_BIG.but(text=f"the message has {content.size} octets, over the limit of {limit}"))
        head = content.head
        self._refuse_loops(head)
        if now is None:
            now = self._clock()
        straight = self._straight(envelope, content, now)
        if straight is not None:
            return straight
        plan = MessagePlan(self, envelope, now, self._ids.next(), self._tried(head), report=report)
        for recipient in envelope.recipients:
            plan.add(recipient)
        has_way = any(d.lane[0] != REFUSALS for d in plan.deliveries) if plan.refused else bool(plan.deliveries)
        if not has_way and (envelope.reverse_path is None or not report or not plan.deliveries):
            raise Rejected(plan.refused[0] if plan.refused else NO_ROUTE.but(text="the message names no recipient"))
        if not report and len(plan.refused) > plan.looped:
            # Known at RCPT time and not now: the configuration changed in between. The whole transaction is
            # refused for now, so that the peer asks again and each recipient gets an answer of its own.
            raise Rejected(Status("4.3.0", "the recipients changed meanwhile, try again"))
        if plan.goes_astray and not plan.leaves and self._comes_back(envelope):
            envelope = replace(envelope, envid=learning.envid(self.envid_key, plan.message_id))
        stored = Stored(
            id=plan.message_id,
            envelope=envelope,
            prefix=self._received(envelope.origin, plan.message_id, now, plan.tokens),
            content=content,
            arrived_at=now,
            deliveries=tuple(plan.deliveries),
            why=tuple(plan.why),
        )
        if not (plan.groups or plan.moved):
            return Planned(stored)
        more = tuple(self._for_members(stored, members, owner) for members, owner in plan.groups)
        return Planned(stored, more, tuple(plan.moved))

    def _straight(self, envelope: Envelope, content: Content, now: float) -> Planned | None:
        """Plan a message for one recipient, who has one place, whom its peer may send to, and no more to be thought of:
        in half the time, and nearly every message is one. None for all others."""
        way = self._ways.get(id(envelope))
        if way is None or way[0] is not envelope:
            way = self._straight_way(envelope)
            if way is None:
                return None
        _, found, why, received = way
        recipient = envelope.recipients[0]
        message_id = self._ids.next()
        path = envelope.reverse_path
        sender = "<>" if path is None else path.value
        if way is not self._last_way or now != self._last_at:
            self._last_way, self._last_at, self._last_waits = way, now, self.waits(found.lane, sender)
        waits = self._last_waits
        expires_at = envelope.expires_at or now + self.settings.expire_after_s
        delivery = Delivery(
            (message_id, 0),
            found.lane,
            found.address,
            recipient.address,
            recipient.notify,
            recipient.orcpt,
            sender,
            envelope.priority,
            now if waits is None else min(waits[0], expires_at),
            expires_at,
            reason="" if waits is None else waits[1],
            at_once=waits is None,
        )
        prefix = self._traced(received, message_id, now)
        return Planned(Stored(message_id, envelope, prefix, content, now, (delivery,), False, why))

    def _straight_way(self, envelope: Envelope) -> _Way | None:
        recipients, origin = envelope.recipients, envelope.origin
        if len(recipients) != 1 or envelope.hold or not self._goes_straight:
            return None
        found, is_lasting = self._looked_up(recipients[0].address, origin.connector)
        if type(found) is not Target or found.forwards or found.copies or found.cut or found.former is not None:
            return None
        if not origin.trusted and (
            found.foreign or found.carried or found.address.network in self.settings.paid_networks
        ):
            return None  # to be refused, or counted
        way = envelope, found, (found.why,), self._received_until_id(origin, ())
        if is_lasting and envelope.may_recur:
            if len(self._ways) >= _REMEMBERED_WAYS:
                self._ways.clear()
            self._ways[id(envelope)] = way
        return way

    def _comes_back(self, envelope: Envelope) -> bool:
        """Say whether a report about a message would pass here, and nobody else has marked it."""
        path = envelope.reverse_path
        return envelope.envid is None and path is not None and (path.network != "smtp" or self.table.is_ours(path))

    def _for_members(self, outer: Stored, members: Members, owner: Address) -> Stored:
        """Make the message that a group's members get, with the owner as its reverse-path (RFC 5321 §3.9.2)."""
        envelope = outer.envelope
        inner = Envelope(
            # A report must not cause another one, whatever it is sent through.
            reverse_path=None if envelope.reverse_path is None else owner,
            recipients=tuple(Recipient(member) for member in members.group.members),
            origin=envelope.origin,
            priority=envelope.priority,
            expires_at=envelope.expires_at,
            smtputf8=envelope.smtputf8,
            to_members=True,
            hold=envelope.hold,
        )
        plan = MessagePlan(self, inner, outer.arrived_at, self._ids.next(), frozenset(), report=True)
        for recipient in inner.recipients:
            plan.add(recipient, within=True)  # the owner is to read in a report which member it is about
        return Stored(
            id=plan.message_id,
            envelope=inner,
            prefix=self._received(envelope.origin, plan.message_id, outer.arrived_at, plan.tokens),
            content=outer.content,
            arrived_at=outer.arrived_at,
            deliveries=tuple(plan.deliveries),
            why=tuple(plan.why),
        )

    def plan_report(self, to: Address, content: Content, source: str = "") -> Stored:
        """Make a report to `to` ready for the spool: null reverse-path, NOTIFY=NEVER (RFC 3461 §5.2.9).

        `source` is the connector by which the message it is about came in, which gets it back whatever the routes say
        where it takes reports. One that has no way to its recipient is stored parked, for the postmaster to see.
        """
        now = self._clock()
        message_id = self._ids.next()
        found = self._back(to, source) or self._forwarded(self.target(to))
        state = State.MOVING if isinstance(found, Target) and found.cut else State.QUEUED
        if not isinstance(found, Target):
            why = str(found) if isinstance(found, Status) else "the address is nobody's own"
            found = Target(to, (REPORTS, why), False, "no way back to the sender")
            state = State.PARKED
        origin = Origin(connector=REPORTS, protocol="report", trusted=True)
        envelope = Envelope(reverse_path=None, recipients=(Recipient(to, Notify.NEVER),), origin=origin)
        delivery = Delivery(
            id=(message_id, 0),
            lane=found.lane,
            address=found.address,
            original=to,
            notify=Notify.NEVER,
            orcpt=None,
            sender="<>",
            priority=0,
            next_attempt_at=now,
            expires_at=now + self.settings.expire_after_s,
            state=state,
            reason=found.lane[1] if state is State.PARKED else "",
        )
        return Stored(message_id, envelope, b"", content, now, (delivery,), is_report=True)

    def _forwarded(self, found: Found) -> Found:
        """Return where a report goes to somebody whose mail is forwarded: to the first of those addresses, and nowhere
        else, so that a report stays one message. Their own mailbox gets it where the addresses lead back to it."""
        away = found
        for _ in range(MOST_FORWARDINGS):
            if not isinstance(away, Target):
                break
            if not away.forwards or away.keeps:
                return away
            away = self.target(away.forwards[0])
        return found

    def takes_reports(self, envelope: Envelope) -> bool:
        """Say whether reports on a message go back to the connector by which it came in."""
        destination = self._destinations.get(envelope.origin.connector)
        return bool(getattr(destination, "takes_reports", False)) and not envelope.to_members

    def _back(self, to: Address, source: str) -> Target | None:
        """Return the target of a report for the connector that the message came from; None where it takes none."""
        destination = self._destinations.get(source)
        if destination is None or not getattr(destination, "takes_reports", False):
            return None
        networks = self._networks[source]
        if to.network not in networks:
            to = self.table.translate(to, networks[0], Direction.OUTWARD, Place(networks[0], source)).address
            if to.network not in networks:
                return None
        return Target(to, (source, destination.next_hop(to)), False, f"{source} takes the reports on its messages")

    def _refuse_loops(self, head: bytes) -> None:
        lower = head.lower()
        kept = _KEPT in lower
        if b"received" not in lower and not kept:
            return
        # RFC 5321 §6.3: a hop count well over 100 would be the text's own; 50 is what the field uses.
        if lower.count(b"received") > self.settings.max_hops and len(_RECEIVED.findall(head)) > self.settings.max_hops:
            raise Rejected(LOOP.but(cause=f"over {self.settings.max_hops} Received fields"))
        if self._hostname_lower in lower:
            passes = len(self._own_pass.findall(head))
            if kept:
                # Where the Received are there all the same, these tell of the same passes.
                passes = max(passes, len(self._own_kept.findall(head)))
            if passes > self.settings.max_own_passes:
                raise Rejected(LOOP.but(cause=f"{passes} trace fields of our own"))

    def _received(self, origin: Origin, message_id: int, now: float, tried: Sequence[str]) -> bytes:
        """Return our trace field (RFC 5321 §4.4). Without a `for` clause: a recipient may be a blind one."""
        return self._traced(self._received_until_id(origin, tried), message_id, now)

    def _received_until_id(self, origin: Origin, tried: Sequence[str]) -> bytes:
        source = ""
        if origin.peer:
            peer = _UNPRINTABLE.sub("?", origin.peer)[:255]
            helo = _UNPRINTABLE.sub("?", origin.helo)[:255] if origin.helo else ""
            source = f"from {helo} ([{peer}])\r\n\t" if helo else f"from {peer}\r\n\t"
        tls = f" ({_UNPRINTABLE.sub('?', origin.tls)})" if origin.tls else ""
        marks = f"\r\n\t(tried {' '.join(tried)})" if tried else ""
        return (
            f"Received: {source}by {self.settings.hostname} with {origin.protocol or 'local'}{tls}{marks} id "
        ).encode("ascii", "replace")

    def _traced(self, received: bytes, message_id: int, now: float) -> bytes:
        """Return our trace field: its beginning, and what is a message's own."""
        second = int(now)
        if self._date[0] != second:
            self._date = (second, f";\r\n\t{formatdate(second, localtime=True)}\r\n".encode("ascii"))
        return received + shown_id(message_id).encode("ascii") + self._date[1]
