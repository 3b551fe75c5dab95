"""Bounces to reverse-paths that SRS made: led back to the sender before anybody sees that there was such an address.

Promises: a recipient in the SRS domain is accepted only where this gateway made its address, for as long as that is
believed, and so often an hour; it opens the way to that one sender and to nobody else. A reverse-path of ours that
comes back with a message becomes what it stands for, so that what answers it here answers the sender.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from connectors.smtp.srs import Srs, SrsError
from gateway.contract import (
    Address,
    ContentWriter,
    Envelope,
    Intake,
    Message,
    Receipt,
    Recipient,
    Rejected,
    Status,
    Taken,
)
from mappings.network import network

NOT_OURS: Final = Status("5.1.1", "no bounce is expected at this address")
TOO_OFTEN: Final = Status("4.7.1", "too many messages to this address, try again later")
_HOUR_S: Final = 3600.0
_MOST: Final = 50_000


class SrsIntake:
    """An Intake that undoes SRS."""

    def __init__(self, intake: Intake, srs: Srs, per_hour: float, clock: Callable[[], float]) -> None:
        self._intake = intake
        self._srs = srs
        self._per_hour = per_hour
        self._clock = clock
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Address that one of ours stands for -> (how much of its hour's messages is used, at what time)."""

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        if not self._is_srs(recipient.address):
            return self._intake.check(envelope, recipient)
        found = self._reversed(recipient)
        if isinstance(found, Status):
            return found
        if not self._has_room(found.address.key):
            return TOO_OFTEN
        return self._intake.check(replace(envelope, origin=replace(envelope.origin, returning=True)), found)

    def content(self) -> ContentWriter:
        return self._intake.content()

    async def accept(self, message: Message, *, report: bool = False) -> Receipt:
        return await self.submit(message, report=report)

    def submit(self, message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
        try:
            message = self._without_srs(message)
        except Rejected as refused:
            future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
            future.set_exception(refused)
            return future
        return self._intake.submit(message, report=report)

    def take(self, message: Message, told: Taken, *, report: bool = False) -> None:
        try:
            message = self._without_srs(message)
        except Rejected as refused:
            asyncio.get_running_loop().call_soon(told, None, refused)
            return
        self._intake.take(message, told, report=report)

    def _without_srs(self, message: Message) -> Message:
        """Return a message whose envelope has no addresses of SRS. Raises: Rejected for one that leads nowhere."""
        envelope = message.envelope
        path = envelope.reverse_path
        returns = [recipient for recipient in envelope.recipients if self._is_srs(recipient.address)]
        if not returns and (path is None or not self._is_srs(path)):
            return message
        return replace(message, envelope=self._undone(envelope))

    def _undone(self, envelope: Envelope) -> Envelope:
        """Return an envelope without addresses of SRS. Raises: Rejected for one that leads nowhere."""
        path = envelope.reverse_path
        if path is not None and self._is_srs(path):
            # Somebody's own invention stays what it is: an address.
            with contextlib.suppress(SrsError):
                envelope = replace(envelope, reverse_path=self._address_of(path))
        recipients: list[Recipient] = []
        senders: set[str] = set()
        for recipient in envelope.recipients:
            if not self._is_srs(recipient.address):
                recipients.append(recipient)
                continue
            found = self._reversed(recipient)
            if isinstance(found, Status):
                raise Rejected(found)
            if found.address.key in senders:
                continue  # one sender has many forms of address here, and gets one message
            if not self._has_room(found.address.key):
                raise Rejected(TOO_OFTEN)
            senders.add(found.address.key)
            recipients.append(found)
        if not senders:
            return envelope
        # What opens the way to the sender must not open it to those who stand beside: they are asked about first.
        for recipient in envelope.recipients:
            if not self._is_srs(recipient.address):
                refused = self._intake.check(replace(envelope, recipients=()), recipient)
                if refused is not None:
                    raise Rejected(refused)
        for key in senders:
            self._use(key)
        return replace(envelope, recipients=tuple(recipients), origin=replace(envelope.origin, returning=True))

    def _is_srs(self, address: Address) -> bool:
        return address.network == "smtp" and self._srs.is_ours(address.value)

    def _reversed(self, recipient: Recipient) -> Recipient | Status:
        try:
            return replace(recipient, address=self._address_of(recipient.address))
        except SrsError as fault:
            return NOT_OURS.but(cause=str(fault))

    def _address_of(self, address: Address) -> Address:
        """Return what an address of ours stands for. Raises: SrsError."""
        local, _, domain = self._srs.reverse(address.value, self._clock()).rpartition("@")
        found = network("smtp").from_addr_spec(local, domain)
        if found is None:
            raise SrsError("it stands for nothing that is an address")
        return found

    def _has_room(self, key: str) -> bool:
        return self._load(key) + 1 <= self._per_hour

    def _load(self, key: str) -> float:
        used, at = self._used.get(key, (0.0, 0.0))
        now = self._clock()
        if used and now < at:  # the clock was put back
            self._used[key] = used, now
            return used
        return max(0.0, used - (now - at) * self._per_hour / _HOUR_S)

    def _use(self, key: str) -> None:
        self._used[key] = (self._load(key) + 1, self._clock())
        self._used.move_to_end(key)
        if len(self._used) > _MOST:
            self._used.popitem(last=False)
