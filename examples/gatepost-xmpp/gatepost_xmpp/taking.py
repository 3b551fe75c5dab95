"""The source side: what chat users write to JIDs of the component, as mail.

Promises: a receipt (where they are `accepted`) or an error is sent only when the gateway has answered; while the
gateway takes no more, nothing more is read from the server; a message that is sent again under its id is known.
Known limit: XMPP has no acknowledgement between a server and its component, so a message that was on its way when the
gateway was killed is gone; its sender gets no receipt.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Final
from xml.etree import ElementTree

from gatepost_xmpp.config import XmppConfig
from gatepost_xmpp.faults import LinkDown, condition_of, outcome_of
from gatepost_xmpp.link import Link
from gatepost_xmpp.stanzas import Arrived, error, receipt
from gateway.contract import (
    AddressError,
    Content,
    Context,
    Envelope,
    Intake,
    Mailbox,
    Message,
    Notify,
    Origin,
    Recipient,
    Rejected,
    Status,
    Unavailable,
    compose,
)
from mappings.network import network

_ENVID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_RETRY_MIN_S: Final = 0.2
_RETRY_MAX_S: Final = 30.0
_LATER: Final = Status("4.3.0", "the gateway does not take it now, try again later")


class Taker:
    """Takes messages while `run` does. `is_ours` tells whether an id is of a message of ours: to whom, from whom."""

    def __init__(
        self, name: str, config: XmppConfig, context: Context, link: Link, is_ours: Callable[[str, str, str], bool]
    ) -> None:
        self._name = name
        self._config = config
        self._context = context
        self._link = link
        self._is_ours = is_ours
        self._intake: Intake | None = None
        self._waiting: deque[Arrived] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, intake: Intake) -> None:
        """Serve until cancelled; then finish what is being accepted, and tell the rest to come back."""
        self._intake = intake
        try:
            await self._keep_open()
        finally:
            self._intake = None
            while self._waiting:
                self._answer_later(self._waiting.popleft())
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._context.stop_s * 0.6)
            for task in self._tasks:
                task.cancel()

    async def _keep_open(self) -> None:
        delay = _RETRY_MIN_S
        while True:
            try:
                await self._link.opened()
                delay = _RETRY_MIN_S
                await self._link.wait_lost()
            except LinkDown:
                pass
            await asyncio.sleep(delay)
            delay = min(_RETRY_MAX_S, 2 * delay)

    def arrived(self, arrived: Arrived) -> None:
        """Take one message stanza. Returns at once."""
        if arrived.bare == self._config.domain:
            return
        if arrived.type == "error":
            if self._is_ours(arrived.id, arrived.bare, arrived.to):
                self._begin(arrived)
            return
        if arrived.type not in ("chat", "normal") or not arrived.body:
            return  # typing notices, receipts that nobody waits for, rooms
        self._begin(arrived)

    def _begin(self, arrived: Arrived) -> None:
        if self._intake is None:
            self._answer_later(arrived)
        elif len(self._tasks) >= self._config.max_at_once:
            self._waiting.append(arrived)
            self._pause(True)
        else:
            self._spawn(arrived, self._intake)

    def _spawn(self, arrived: Arrived, intake: Intake) -> None:
        task = asyncio.get_running_loop().create_task(self._take(arrived, intake))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._intake is not None and self._waiting:
            self._spawn(self._waiting.popleft(), self._intake)
        if not self._waiting:
            self._pause(False)

    def _pause(self, on: bool) -> None:
        component = self._link.current
        if component is not None:
            component.pause(on)

    async def _take(self, arrived: Arrived, intake: Intake) -> None:
        try:
            message = self._bounce(arrived) if arrived.type == "error" else self._message(arrived)
            if message is None:
                return
            await intake.accept(message)
        except AddressError as e:
            self._refuse(arrived, Status("5.1.3", e.message))
        except Rejected as e:
            self._refuse(arrived, e.status)
        except Unavailable as e:
            self._refuse(arrived, e.status)
        except Exception as e:  # an unknown fault is none of the message's
            self._context.log.error("message_fault", error=repr(e), exc_info=e)
            self._answer_later(arrived)
        else:
            if arrived.wants_receipt and arrived.id and self._config.receipts == "accepted":
                self._say(receipt(arrived.sender, arrived.to, "", arrived.id))

    def _message(self, arrived: Arrived) -> Message:
        """Return a chat message as a mail. Raises: AddressError."""
        config = self._config
        xmpp = network("xmpp")
        sender, to = xmpp.parse(arrived.bare), xmpp.parse(arrived.to)
        wants = arrived.wants_receipt and config.receipts == "delivered"
        notify = Notify.SUCCESS | Notify.FAILURE if wants else Notify.UNSET
        key = self._key(arrived)
        unique = hashlib.sha256((key or f"{arrived.sender} {self._context.clock()} {id(arrived)}").encode()).hexdigest()
        headers = {name: value for name, value in arrived.headers.items() if name in config.headers}
        fields: list[tuple[str, str | Sequence[Mailbox]]] = [
            ("From", [Mailbox("", sender)]),
            ("To", [Mailbox("", to)]),
            ("Subject", arrived.subject or config.subject),
            ("Date", formatdate(self._context.clock())),
            ("Message-ID", headers.pop("message-id", f"<{unique[:32]}@{self._context.hostname}>")),
            *((name.title(), value) for name, value in headers.items()),
        ]
        text = arrived.body.replace("\r\n", "\n")
        octets = b"".join(compose(fields, text, hostname=self._context.hostname))
        envid = arrived.id if _ENVID.fullmatch(arrived.id) else None
        trusted = sender.value.rpartition("@")[2] in config.relay_domains  # the server has seen to it that it is so
        origin = Origin(self._name, peer=arrived.sender[:512], protocol="XMPP", user=arrived.bare, trusted=trusted)
        envelope = Envelope(sender, (Recipient(to, notify),), origin, envid=envid, dedupe_key=key)
        return Message(envelope, Content(octets))

    def _key(self, arrived: Arrived) -> str | None:
        """Return what names this hand-over.

        An origin-id is one of its kind (XEP-0359); other ids are counted by some clients from 1 at each start, so
        that the message itself has to tell two of one id apart.
        """
        if arrived.origin_id:
            return f"xmpp:{self._name}:{arrived.bare}:{arrived.origin_id[:200]}"
        if not arrived.id:
            return None
        said = hashlib.sha256(f"{arrived.to}\0{arrived.subject}\0{arrived.body}".encode("utf-8", "replace"))
        return f"xmpp:{self._name}:{arrived.sender[:400]}:{arrived.id[:200]}:{said.hexdigest()[:16]}"

    def _bounce(self, arrived: Arrived) -> Message | None:
        """Return a report on a message of ours that came back after it had been taken; None where it only is late."""
        status = outcome_of(arrived.condition, arrived.kind, arrived.text).status
        xmpp = network("xmpp")
        failed, to = xmpp.parse(arrived.bare), xmpp.parse(arrived.to)
        if "@" not in to.value:
            self._context.log.warning("returned_to_nobody", recipient=failed.value, reason=str(status))
            return None
        fields: list[tuple[str, str | Sequence[Mailbox]]] = [
            ("From", f"<postmaster@{self._context.hostname}>"),
            ("To", [Mailbox("", to)]),
            ("Subject", "Undelivered chat message"),
            ("Date", formatdate(self._context.clock())),
            ("Auto-Submitted", "auto-replied"),
        ]
        text = f"Your message to {failed.value} came back from the chat server: {status.text} ({status.code}).\n"
        octets = b"".join(compose(fields, text, hostname=self._context.hostname))
        origin = Origin(self._name, peer=arrived.sender[:512], protocol="XMPP", trusted=True)
        key = f"xmpp:{self._name}:returned:{arrived.id}"
        return Message(Envelope(None, (Recipient(to),), origin, dedupe_key=key), Content(octets))

    # -- answers

    def _answer_later(self, arrived: Arrived) -> None:
        self._refuse(arrived, _LATER)

    def _refuse(self, arrived: Arrived, status: Status) -> None:
        if arrived.type != "error":  # RFC 6120 §8.3.1: an error is never answered by another
            self._say(error(arrived.sender, arrived.to, arrived.id, *condition_of(status), status.text))

    def _say(self, stanza: ElementTree.Element) -> None:
        component = self._link.current
        if component is not None:
            component.send_xml(stanza)
