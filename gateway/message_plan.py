"""The deliveries of one message, put together recipient by recipient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway import learning
from gateway.message import Envelope, Notify, Recipient
from gateway.planned import EXPANDED, REFUSALS, Elsewhere, Members, Moved, Target
from gateway.spool.api import Delivery, LaneKey, State
from gateway.status import LOOP, UNKNOWN_MAILBOX, Status
from mappings.address import Address
from mappings.table import Direction

if TYPE_CHECKING:
    from gateway.planner import Planner

MOST_FORWARDINGS: Final = 20
"""How often one message is forwarded from person to person."""


class MessagePlan:
    """The deliveries of one message, as they come together."""

    __slots__ = (
        "_envelope", "_expires_at", "_forwarded", "_forwarding", "_learns", "_now", "_planner", "_reached", "_report",
        "_sender", "_tried", "deliveries", "goes_astray", "groups", "leaves", "looped", "message_id", "moved",
        "refused", "tokens", "why",
    )  # fmt: skip

    def __init__(
        self,
        planner: Planner,
        envelope: Envelope,
        now: float,
        message_id: int,
        tried: frozenset[str],
        *,
        report: bool,
    ) -> None:
        self._planner = planner
        self._envelope = envelope
        self._now = now
        self._tried = tried
        self._report = report
        self._sender = envelope.reverse_path.value if envelope.reverse_path is not None else "<>"
        self._expires_at = envelope.expires_at or now + planner.settings.expire_after_s
        self._reached: set[tuple[LaneKey, str]] = set()
        self._forwarding: list[tuple[LaneKey, str]] = []
        self._forwarded: set[tuple[LaneKey, str]] = set()
        self.message_id = message_id
        self.deliveries: list[Delivery] = []
        self.why: list[str] = []
        self.refused: list[Status] = []
        self.looped = 0
        """How many of them go round between systems that share a domain: known from the header alone."""
        self.tokens: list[str] = []
        self.groups: list[tuple[Members, Address]] = []
        self.moved: list[Moved] = []
        self._learns = planner.settings.learn and bool(planner.envid_key)
        self.goes_astray = False
        """A directory name that nobody has goes on to another system, which may not know it either."""
        self.leaves = False
        """Some of it goes to strangers."""

    def add(self, recipient: Recipient, *, original: Address | None = None, within: bool = False) -> None:
        """Plan one recipient: `original` is what the sender wrote, `within` says that it is a group's member."""
        planner = self._planner
        asked = recipient.address
        found = planner.target(asked, self._envelope.origin.connector)
        wrote = original or asked
        if isinstance(found, Members):
            self._expand(found, recipient, wrote)
            return
        looped = False
        if isinstance(found, Elsewhere):
            found = self._offer(found)
            looped = found is not UNKNOWN_MAILBOX and isinstance(found, Status) and found.code == LOOP.code
        if isinstance(found, Target) and not within and not self._envelope.origin.trusted:
            refusal = planner.refusal(found, asked, self._envelope, count=True)
            if refusal is not None:
                found = refusal
        if isinstance(found, Status):
            if self._report or not within:
                self.refused.append(found)
                self.looped += looped
                if not self._report and not looped:
                    return
            # What somebody's mail is forwarded to, or a member of a group, was nothing to refuse at RCPT: the sender
            # is told.
            found = Target(asked, (REFUSALS, str(found.as_permanent())), False, "refused at intake")
        elif within and (found.lane, found.address.key) in self._reached:
            return  # a member of two groups, or of the list and named beside it
        if not found.forwards or not self._forward(found, recipient, wrote):
            self._deliver(found, wrote, recipient.notify, recipient.orcpt)
            for copy in found.copies:
                self._deliver(copy, wrote, Notify.NEVER, None)
        reverse_path = self._envelope.reverse_path
        if found.former is not None and planner.settings.tell_moved and reverse_path is not None and not within:
            # What the sender can write to: the person may have no address of their own on the sender's network.
            now = planner.table.translate(found.former, reverse_path.network, Direction.OUTWARD).address
            if now.network == reverse_path.network:
                self.moved.append(Moved(reverse_path, asked, now))

    def _offer(self, found: Elsewhere) -> Target | Status:
        origin = self._envelope.origin
        target = self._planner.elsewhere(found, origin, self._tried)
        if isinstance(target, Target):
            systems = [target.lane[0], *((origin.connector,) if origin.connector in found.systems else ())]
            self.tokens += [self._planner.token(found.address, system) for system in systems]
        return target

    def _forward(self, found: Target, recipient: Recipient, wrote: Address) -> bool:
        """Send on what is for somebody whose mail is forwarded; say whether their own mailbox gets none of it.

        It gets what comes round to it again, so that nothing is lost where two forward to each other. Reports about
        what is sent on are the sender's where nothing is kept; else the mailbox's own say enough.
        """
        here = (found.lane, found.address.key)
        if here in self._forwarding or len(self._forwarding) >= MOST_FORWARDINGS:
            return False
        if self._forwarding and here in self._forwarded:
            return not found.keeps  # by another way: many people forward to few, which makes very many ways
        self._forwarded.add(here)
        self._forwarding.append(here)
        notify = Notify.NEVER if found.keeps else recipient.notify
        orcpt = None if found.keeps else recipient.orcpt
        for address in found.forwards:
            self.add(Recipient(address, notify, orcpt), original=wrote, within=True)
        self._forwarding.pop()
        return not found.keeps

    def _expand(self, members: Members, recipient: Recipient, wrote: Address) -> None:
        group = members.group
        if group.owner is None:
            for member in group.members:
                self.add(Recipient(member, recipient.notify, recipient.orcpt), original=wrote, within=True)
            return
        # RFC 3461 §5.2.7.1: for the sender a list is the end of the way; its members are its owner's.
        self.groups.append((members, group.owner))
        why = f"{members.why}; its members get it under the name of {group.owner}"
        self._deliver(Target(wrote, (EXPANDED, group.name), False, why), wrote, recipient.notify, recipient.orcpt)

    def _deliver(self, target: Target, original: Address, notify: Notify, orcpt: str | None) -> None:
        self._reached.add((target.lane, target.address.key))
        if self._learns:
            self._note(target)
        waits = self._planner.waits(target.lane, self._sender)
        held = self._envelope.hold
        at = self._now if waits is None else min(waits[0], self._expires_at)
        self.deliveries.append(
            Delivery(
                id=(self.message_id, len(self.deliveries)),
                lane=target.lane,
                address=target.address,
                original=original,
                notify=notify,
                orcpt=orcpt,
                sender=self._sender,
                priority=self._envelope.priority,
                next_attempt_at=at,
                expires_at=self._expires_at,
                state=State.HELD if held else State.MOVING if target.cut else State.QUEUED,
                reason=held or ("" if waits is None else waits[1]),
                at_once=waits is None,
            )
        )
        self.why.append(f"{target.why}; held: {held}" if held else target.why)

    def _note(self, target: Target) -> None:
        """Note what matters of a delivery for learning from its bounce."""
        if target.lane[0] in (REFUSALS, EXPANDED):
            return
        table = self._planner.table
        name = learning.name_of(table, target.address)
        if name is None:
            self.leaves = self.leaves or target.foreign
        elif not table.is_ours(name):
            self.goes_astray = True
