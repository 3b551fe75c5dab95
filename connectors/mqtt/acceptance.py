"""Acceptance: one message on its way to a mail that is in the spool, or to where it is kept.

Promises: a message is acknowledged after the commit of its mail, of its digest, or of what the quarantine keeps of it,
and with nothing between the two but the acknowledgement. What the spool does not take now is tried again, all that
failed together after one pause; what is refused for now (4.x) is held back and tried again by itself, so that
`receive_maximum` makes the broker wait. What is refused for good (5.x) goes to the quarantine with its status; an
unknown fault is tried a few times, and then kept apart, so that it holds up nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

from connectors.mqtt.calm import Calm, Held
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.incoming import BadPayload, Incoming
from connectors.mqtt.journal import SqliteJournal
from connectors.mqtt.quarantine import Quarantine
from connectors.mqtt.replies import Minted, Replies
from connectors.mqtt.rulebook import AT_ONCE_OCTETS, Inward
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
    Recipient,
    Rejected,
    Status,
    Unavailable,
    quickly_made,
)

T = TypeVar("T")

INLINE_OCTETS: Final = 128 * 1024
"""A longer mail is handed over in pieces."""
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


_MOST_ENVELOPES: Final = 4096


class Broker(Protocol):
    """What is asked of a client."""

    def acknowledge(self, arrived: Arrived, code: int = 0) -> None: ...

    def hold(self, on: bool) -> None: ...


@quickly_made
@dataclass(frozen=True, slots=True)
class Made:
    """A mail that was made of a message, and what is to be written before it is accepted."""

    arrived: Arrived
    inward: Inward
    incoming: Incoming
    before: Callable[[], None] | None

    @property
    def is_small(self) -> bool:
        """Whether it can be handed over as it is, at once."""
        if self.before is not None:
            return False
        pieces = self.incoming.content
        return (len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))) <= INLINE_OCTETS


@dataclass(frozen=True, slots=True)
class Sides:
    """What a run of the source works with."""

    intake: Intake
    broker: Broker
    calm: Calm
    journal: SqliteJournal


class Acceptance:
    """Makes mails of messages, and has them accepted."""

    def __init__(
        self,
        name: str,
        config: MqttConfig,
        context: Context,
        sides: Sides,
        replies: Replies,
        quarantine: Quarantine,
        executor: Executor,
        tell: Callable[[str | None], None],
    ) -> None:
        self.reports = config.status is not None
        self.accepting = 0
        """Messages that the intake has, and has not answered."""
        self._name = name
        self._log = context.log
        self._count = context.count
        self._intake = sides.intake
        self._broker = sides.broker
        self._calm = sides.calm
        self._journal = sides.journal
        self._replies = replies
        self._quarantine = quarantine
        self._removed = quarantine.removed
        self._executor = executor
        self._tell = tell
        self._notify = Notify.UNSET if config.status is None else _wishes(config.status.when)
        self._envelopes: dict[str, tuple[Incoming, Envelope]] = {}
        self._paused_until = -math.inf
        self._pause_s = _PAUSE_S

    def make(self, arrived: Arrived, inward: Inward, minted: Minted | None = None, thread: str | None = None) -> Made:
        """Make the mail, under an identifier where one is minted already. Raises: BadPayload."""
        if minted is None and inward.rule.reply is not None:
            minted = self._mint(arrived, inward)
        message_id, before = ("", None) if minted is None else (minted.message_id, minted.write)
        incoming = inward.reader.read(arrived, message_id=message_id, thread=thread)
        return Made(arrived, inward, incoming, before)

    def _mint(self, arrived: Arrived, inward: Inward) -> Minted | None:
        if inward.rule.reply is None:
            return None
        return self._replies.mint(inward.label, arrived, inward.reader.values(arrived.topic) or {})

    def message(self, made: Made, content: Content) -> Message:
        incoming, arrived = made.incoming, made.arrived
        if arrived.qos == 2 or incoming.expires_at is not None or incoming.envid is not None:
            return Message(self._envelope(incoming, arrived), content)
        # Messages of one topic say the same of their way, so that one envelope serves, and what is made of it.
        known = self._envelopes.get(arrived.topic)
        if known is not None:
            first, envelope = known
            # The same objects: addresses that are equal may be written differently.
            if (
                first.recipients is incoming.recipients
                and first.reverse_path is incoming.reverse_path
                and first.trusted is incoming.trusted
                and first.returning is incoming.returning
                and first.priority == incoming.priority
                and first.ret == incoming.ret
            ):
                return Message(envelope, content)
        envelope = self._envelope(incoming, arrived)
        if len(self._envelopes) >= _MOST_ENVELOPES:
            self._envelopes.clear()
        self._envelopes[arrived.topic] = replace(incoming, content=()), envelope
        return Message(envelope, content)

    def _envelope(self, incoming: Incoming, arrived: Arrived) -> Envelope:
        recipients = incoming.recipients
        if self.reports and incoming.reverse_path is not None:
            recipients = tuple(_asking(each, self._notify) for each in recipients)
        return Envelope(
            incoming.reverse_path,
            recipients,
            Origin(
                self._name,
                peer=arrived.topic,
                protocol="MQTT",
                trusted=incoming.trusted,
                returning=incoming.returning,
            ),
            priority=incoming.priority,
            expires_at=incoming.expires_at,
            ret=incoming.ret,
            envid=incoming.envid,
            # At QoS 1 the session itself knows what comes again in its time, and nobody does after a kill.
            dedupe_key=f"mqtt:{self._name}:{arrived.key}" if arrived.qos == 2 else None,
        )

    async def take(self, arrived: Arrived, inward: Inward, fault: Exception | None = None) -> None:
        """Take a message that is calmed, read in a thread, or bad."""
        faults = 0
        while faults < _FAULTS:
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
                faults += 1
                self._log.error("a message cannot be read", topic=arrived.topic, cause=repr(e), exc_info=e)
                await asyncio.sleep(_PAUSE_S * 2**faults)
            fault = None
        await self._set_aside(arrived, FAULT)

    async def _uncalmed(self, arrived: Arrived, inward: Inward) -> None:
        made = await self._thread(self.make, arrived, inward)
        await self.accept(made)

    async def _calmed(self, arrived: Arrived, inward: Inward) -> None:
        settle = None
        if arrived.qos == 2:
            if await self._journal.is_settled(arrived.packet_id):
                self._broker.acknowledge(arrived)  # it was held before a crash, and is in its digest
                return
            settle = self._journal.settler(arrived.packet_id)
        reader = inward.reader
        if len(arrived.payload) <= AT_ONCE_OCTETS:
            glance = reader.glance(arrived)
        else:
            glance = await self._thread(reader.glance, arrived)
        # The same for the same hand-over: the thread of a later mail may name it.
        minted = self._mint(arrived, inward) or Minted(f"<{reader.message_id(arrived)}>")
        message_id = minted.message_id
        verdict = await self._calm.decide(inward.label, arrived.topic, glance.value, glance.line, message_id, settle)
        if isinstance(verdict, Held):
            self._broker.acknowledge(arrived)
            self._count("messages_held", rule=inward.label)
            self._works()
            return
        accepted = False
        try:
            made = await self._thread(self.make, arrived, inward, minted, verdict.thread)
            accepted = await self.accept(made)
        finally:
            if accepted:
                self._calm.passed(verdict)
            else:
                self._calm.failed(verdict)

    async def accept(self, made: Made, fault: Exception | None = None) -> bool:
        """Have a mail accepted, however long it takes, and acknowledge its message; False where it is kept apart."""
        faults = held = 0
        recipients = made.incoming.recipients
        while True:
            try:
                if fault is not None:
                    raise fault
                await self._wait_out()
                await self._accept_once(made, recipients)
                break
            except Rejected as e:
                judged = self._judge(made, recipients, e.status)
                if isinstance(judged, Status):
                    if judged.is_permanent:
                        await self._set_aside(made.arrived, refused(judged))
                        return False
                    # Not the message's fault: it stays the broker's until it is taken.
                    held += 1
                    await self._hold(made, e.status, held)
                else:
                    self._log.warning("some recipients are refused", topic=made.arrived.topic, status=str(e.status))
                    recipients = judged
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
        if held:
            self._tell(None)
        self._works()
        return True

    async def _accept_once(self, made: Made, recipients: tuple[Recipient, ...]) -> None:
        if made.before is not None:
            await self._thread(made.before)
        self.accepting += 1
        writer = None
        try:
            if sum(map(len, made.incoming.content)) <= INLINE_OCTETS:
                content = made.incoming.whole()
            else:
                writer = self._intake.content()
                for piece in made.incoming.content:
                    if not writer.write(piece):
                        await writer.drain()
                content = await writer.finish()
            message = self.message(made, content)
            if recipients != made.incoming.recipients:
                kept = tuple(
                    each for each in message.envelope.recipients if each.address in {r.address for r in recipients}
                )
                message = Message(replace(message.envelope, recipients=kept), content)
            await self._intake.accept(message, report=self.reports)
        except (Rejected, Unavailable):
            if writer is not None:
                await writer.abandon()
            raise
        finally:
            self.accepting -= 1

    def _judge(self, made: Made, recipients: tuple[Recipient, ...], said: Status) -> tuple[Recipient, ...] | Status:
        """Return those recipients that are left to be tried without the others, or the status of the whole mail: one
        that passes where any of them is refused for now, so that nobody is left out for a fault that passes."""
        envelope = replace(self.message(made, Content(b"")).envelope, recipients=())
        answers = [self._intake.check(envelope, each) for each in recipients]
        passing = next((each for each in answers if each is not None and not each.is_permanent), None)
        if passing is not None:
            return passing
        left = tuple(each for each, answer in zip(recipients, answers, strict=True) if answer is None)
        if left and left != recipients:
            return left
        return said if left else answers[0] or said

    async def _set_aside(self, arrived: Arrived, bad: BadPayload) -> None:
        """Keep a payload in the quarantine, and acknowledge it then."""
        while True:
            try:
                where = await self._thread(self._quarantine.keep, arrived, bad)
                break
            except OSError as e:
                await self._pause(e)
        self._works()
        self._count("payloads_bad", rule=bad.rule)
        if (gone := self._quarantine.removed - self._removed) > 0:
            self._removed += gone
            self._count("quarantine_removed", gone)
            self._log.warning("the quarantine is full; its oldest payloads are removed", count=gone)
        self._log.warning(
            "a message was not taken", topic=arrived.topic, rule=bad.rule, why=bad.text, kept_as=str(where)
        )
        self._broker.acknowledge(arrived)

    async def _hold(self, made: Made, status: Status, times: int) -> None:
        """Wait for a refusal to pass that is this mail's alone: longer each time, and nobody waits with it."""
        self._tell(f"messages wait at the broker: {status}")
        if times == 1:
            self._log.warning("a message waits", topic=made.arrived.topic, why=str(status))
        await asyncio.sleep(min(_LONGEST_PAUSE_S, _PAUSE_S * 2.0 ** min(times, 30)))

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

    def _works(self) -> None:
        """Something was taken: what kept it from that is over."""
        if self._pause_s > _PAUSE_S:
            self._pause_s = _PAUSE_S
            self._tell(None)

    async def _thread(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)


def too_large(arrived: Arrived, inward: Inward) -> BadPayload:
    """Return why a payload of which only the beginning came is not taken."""
    most = inward.rule.max_payload_bytes
    return BadPayload(
        "mqtt.too-large",
        f"the payload has {arrived.oversized or len(arrived.payload)} octets; at most {most} are taken",
        f"octet {most}",
        "send less, or raise max_payload_bytes of the rule",
    )


def refused(status: Status) -> BadPayload:
    """Return why a mail was refused."""
    return BadPayload(
        "mqtt.refused",
        f"the mail was refused: {status}",
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
