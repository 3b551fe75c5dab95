"""Digests on their way: what was held back becomes one mail a window, handed over until it is accepted.

Promises: a digest is forgotten only after its mail is committed; one that comes again after a crash has the same dedupe
key, so that it is known; one that nobody takes is told to the operator at each try, and kept.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import Any, Final

from connectors.mqtt.calm import Calm
from connectors.mqtt.digest import Digest
from connectors.mqtt.rulebook import Inward, InwardBook
from connectors.mqtt.topics import Filled, Pattern
from gateway.contract import (
    Address,
    AddressError,
    Content,
    Context,
    Envelope,
    Intake,
    Mailbox,
    Message,
    Origin,
    Recipient,
    Rejected,
    Unavailable,
    compose,
)
from mappings.network import network, parse

MAX_RECIPIENTS: Final = 100
_RETRY_S: Final = 5.0
_LONGEST_S: Final = 300.0


class Digests:
    """Hands digests over, as they become due."""

    def __init__(self, name: str, context: Context, book: InwardBook, calm: Calm, intake: Intake) -> None:
        self._name = name
        self._context = context
        self._log = context.log
        self._book = book
        self._calm = calm
        self._intake = intake

    async def run(self) -> None:
        """Serve until cancelled."""
        pause_s = _RETRY_S
        while True:
            await self._calm.wait()
            try:
                done = all([await self._hand_over(each) for each in await self._calm.due()])
            except OSError as e:
                self._log.error("digests wait", cause=str(e))
                done = False
            if not done:
                await asyncio.sleep(pause_s)
                pause_s = min(_LONGEST_S, pause_s * 2)
            else:
                pause_s = _RETRY_S

    async def _hand_over(self, digest: Digest) -> bool:
        """Have one accepted; False where it waits. Raises: OSError."""
        try:
            message = self.message(digest)
            receipt = await self._intake.accept(message, report=True)
        except (Rejected, Unavailable) as e:
            self._log.error("a digest is not accepted; it waits", rule=digest.rule, status=str(e.status))
            return False
        except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral
            self._log.error("a digest cannot be handed over; it waits", rule=digest.rule, cause=repr(e), exc_info=e)
            return False
        await self._calm.sent(digest)
        self._context.count("digests")
        self._log.info("a digest is sent", rule=digest.rule, messages=digest.count, duplicate=receipt.duplicate)
        return True

    def message(self, digest: Digest) -> Message:
        """Return a digest's mail."""
        hostname = self._context.hostname
        inward = self._book.named(digest.rule)
        recipients = self._recipients(digest, inward)
        sender = Mailbox("", network("smtp").parse(f"gatepost@{hostname}"))
        fields: list[tuple[str, Any]] = [
            ("From", [sender]),
            ("To", [Mailbox("", each) for each in recipients]),
            ("Subject", digest.subject()),
            ("Message-ID", digest.message_id(hostname)),
            ("Date", _date(digest.last_at)),
            ("Auto-Submitted", "auto-generated"),
            ("X-Auto-Response-Suppress", "All"),
        ]
        pieces = compose(fields, digest.text(), hostname=hostname)
        origin = Origin(self._name, peer=digest.rule, protocol="MQTT", trusted=True)
        envelope = Envelope(
            None, tuple(Recipient(each) for each in recipients), origin, dedupe_key=f"mqtt:{self._name}:{digest.key}"
        )
        return Message(envelope, Content(b"".join(pieces)))

    def _recipients(self, digest: Digest, inward: Inward | None) -> tuple[Address, ...]:
        """Return those the rule names, filled by each topic; the postmaster where the rule is no more."""
        found: dict[Address, None] = {}
        if inward is not None:
            calm, pattern = inward.rule.calm, Pattern(inward.rule.topic)
            texts = (calm.recipients if calm is not None else []) or inward.rule.recipients
            for topic, _ in digest.topics:
                values = pattern.values(topic) or {}
                for text in texts:
                    address = _address(Filled(text).fill(values))
                    if address is not None and len(found) < MAX_RECIPIENTS:
                        found.setdefault(address)
        return tuple(found) or (network("smtp").parse(f"postmaster@{self._context.hostname}"),)


def _address(text: str) -> Address | None:
    try:
        return parse(text)
    except AddressError:
        return None


def _date(at: float) -> str:
    return formatdate(at, localtime=True)
