"""From an item to a mail in the spool: the envelope, what stays inside the organisation, and the hand-over itself.

Promises: the octets are those that the server gave, but for the organisation's own header fields where these are to be
left out; of a journal report it is the message within. The same item is handed over under the same key.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from connectors.exchange import envelope, journal_report
from connectors.exchange.common_config import ExchangeConfig, Watched
from connectors.exchange.envelope import BadItem, Recovered
from connectors.exchange.organisation import Addressed, Organisation, Person, Ref, Seen
from gateway.contract import (
    Content,
    Context,
    Envelope,
    Intake,
    Message,
    Origin,
    Recipient,
    Rejected,
    Status,
    Unavailable,
    notify_within,
    suppression_of,
    without_fields,
)

INLINE: Final = 256 * 1024
PIECE: Final = 256 * 1024
SMALL: Final = 64 * 1024
"""Octets that are looked through at once: a thread of one's own would cost more than that."""


class HandOver:
    """Makes the mails of items, and has them accepted."""

    def __init__(
        self,
        name: str,
        config: ExchangeConfig,
        organisation: Organisation,
        context: Context,
        protocol: str,
        intake: Intake,
    ) -> None:
        self._name = name
        self._config = config
        self._organisation = organisation
        self._context = context
        self._protocol = protocol
        self._intake = intake
        self._log = context.log
        self._journal_senders = frozenset(config.journal_senders)

    async def accept(
        self,
        rule: Watched,
        seen: Seen,
        content: Content,
        addressed: Addressed | None,
        known: Mapping[str, Person | None],
    ) -> None:
        """Have an item's mail accepted. Raises: BadItem, Rejected, Unavailable, OSError."""
        config = self._config
        if content.size > config.max_message_bytes:
            raise BadItem(self.over(content.size))
        pieces, recovered, content = await self._read(rule, seen, content, addressed, known)
        recipients = recovered.recipients
        if config.trust_suppression:
            suppressed = suppression_of(content)
            recipients = tuple(
                Recipient(each.address, notify_within(each.notify, suppressed), each.orcpt) for each in recipients
            )
        made = Envelope(
            recovered.reverse_path,
            recipients,
            Origin(self._name, peer=rule.mailbox, protocol=self._protocol, trusted=rule.trusted),
            dedupe_key=dedupe_key(self._name, seen.ref),
        )
        made = self._taken_for(made, rule)
        if pieces is None:
            await self._intake.accept(Message(made, content), report=rule.trusted)
            return
        writer = self._intake.content()
        try:
            for piece in pieces:
                if not writer.write(piece):
                    await writer.drain()
            await self._intake.accept(Message(made, await writer.finish()), report=rule.trusted)
        except (Rejected, Unavailable):
            await writer.abandon()
            raise

    async def _read(
        self,
        rule: Watched,
        seen: Seen,
        content: Content,
        addressed: Addressed | None,
        known: Mapping[str, Person | None],
    ) -> tuple[Iterator[bytes] | None, Recovered, Content]:
        """Return what is handed over: pieces where it is long, the envelope, and the content itself."""
        if rule.journal or (journal_report.is_marked(content) and self._is_trusted(seen, content, addressed, known)):
            report = await asyncio.to_thread(journal_report.read, content)
            if report is None:
                raise BadItem(envelope.NO_REPORT)
            names = [each.address for each in report.recipients if each.address[:3].lower() == "/o="]
            resolved = await self._organisation.resolve(names) if names else {}
            content = Content(await asyncio.to_thread(lambda: b"".join(report.octets())))
            recovered = envelope.of_report(report.sender, report.recipients, resolved)
        else:
            recovered = envelope.of_item(content, seen.item_class, rule, addressed, known)
        if self._config.organization_headers == "strip":
            if content.size <= SMALL:
                content, notes = without_fields(content)
            else:
                content, notes = await asyncio.to_thread(without_fields, content)
            if notes:
                self._context.count("headers_stripped", len(notes))
        return (_pieces(content) if content.size > INLINE else None), recovered, content

    def _is_trusted(
        self, seen: Seen, content: Content, addressed: Addressed | None, known: Mapping[str, Person | None]
    ) -> bool:
        path = envelope.reverse_path(content, seen.item_class, addressed, known)
        return path is not None and path.value.lower() in self._journal_senders

    def _taken_for(self, made: Envelope, rule: Watched) -> Envelope:
        """Leave out recipients who would be refused for good beside others, where there is nobody to be told."""
        if rule.trusted or len(made.recipients) == 1:
            return made
        alone = replace(made, recipients=())
        answers = [self._intake.check(alone, each) for each in made.recipients]
        refused = [status for status in answers if status is not None and status.is_permanent]
        if not refused or len(refused) == len(answers):
            return made
        self._log.warning("some recipients are refused", mailbox=rule.mailbox, status=str(refused[0]))
        kept = [
            each
            for each, status in zip(made.recipients, answers, strict=True)
            if status is None or not status.is_permanent
        ]
        return replace(made, recipients=tuple(kept))

    def over(self, size: int) -> Status:
        """Return why a message of so many octets is not taken."""
        return Status("5.3.4", f"it has {size} octets; at most {self._config.max_message_bytes} are taken")


def dedupe_key(name: str, ref: Ref) -> str:
    """Return what names the hand-over of an item: the same after a crash, another for every other item."""
    item = hashlib.sha256(b"\0".join((ref.mailbox.encode(), ref.id.encode()))).hexdigest()
    return f"{name}:{item[:40]}"


def _pieces(content: Content) -> Iterator[bytes]:
    for chunk in content.chunks():
        for at in range(0, len(chunk), PIECE):
            yield chunk[at : at + PIECE]
