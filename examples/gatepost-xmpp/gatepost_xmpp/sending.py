"""The destination side: mail as message stanzas to chat users.

Promises: Delivered is settled when the server has dealt with the message, by a barrier behind it; an error that the
server has answered by then is the outcome. The server keeps what is for somebody who is not there. A message is sent
again under its id, should it be tried again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from gatepost_xmpp.config import XmppConfig
from gatepost_xmpp.faults import LinkDown, outcome_of
from gatepost_xmpp.link import Component, Link
from gatepost_xmpp.reports import stanzas_of
from gatepost_xmpp.stanzas import Arrived, clean, message
from gateway.contract import (
    AddressError,
    Batch,
    Context,
    Deferred,
    Delivered,
    Failed,
    Fate,
    Item,
    Memo,
    Note,
    Notify,
    Outcome,
    Parcel,
    Status,
    id_text,
    memo,
)
from mappings.network import network

TOGETHER: Final = 32
"""Messages behind which one barrier is put."""
_THREAD_OCTETS: Final = 64 * 1024
_MAC: Final = 12


@dataclass(slots=True)
class _Sent:
    """One message that is out: the error that came for it, and its receipt."""

    item: Item
    notes: tuple[Note, ...]
    error: Arrived | None
    received: asyncio.Future[None]


class Ids:
    """The ids of our messages, by which an answer is known to be for one of them: whoever got one can send it back, and
    nobody else can, nor to anybody but its sender."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, item: Item, sender: str) -> str:
        """Return the id of a delivery's message: the same at each attempt. `sender` is its JID; of what is not to come
        back, since it is a report itself, it is empty."""
        text = f"gp-{id_text(item.id[0])}-{item.id[1]}"
        return f"{text}-{self._mac(text, item.address.key, _key(sender))}"

    def is_ours(self, id: str, by: str, to: str) -> bool:
        """Tell whether `by` got a message of this id from `to`."""
        text, _, mac = id.rpartition("-")
        if not text.startswith("gp-") or not (sender := _key(to)):
            return False
        return hmac.compare_digest(mac.encode(), self._mac(text, _key(by), sender).encode())

    def _mac(self, *parts: str) -> str:
        return hmac.digest(self._key, "\0".join(parts).encode("utf-8", "replace"), hashlib.sha256).hex()[:_MAC]


def _key(jid: str) -> str:
    """Return a JID as it is compared, empty for what is none."""
    try:
        return network("xmpp").parse(jid).key if jid else ""
    except AddressError:
        return ""


class Sender:
    """Sends by a link; `answered` is told of errors and receipts that come."""

    def __init__(self, config: XmppConfig, context: Context, link: Link, ids: Ids) -> None:
        self._config = config
        self._context = context
        self._link = link
        self._ids = ids
        self._out: dict[str, _Sent] = {}

    def answered(self, arrived: Arrived) -> bool:
        """Take an error or a receipt for a message that is waited for; False where it is none."""
        sent = self._out.get(arrived.receipt or arrived.id)
        if sent is None or arrived.bare.lower() not in (sent.item.address.value.lower(), sent.item.address.key):
            return False
        if arrived.receipt:
            if not sent.received.done():
                sent.received.set_result(None)
        elif arrived.type == "error":
            sent.error = arrived
        return True

    async def deliver(self, batch: Batch) -> None:
        work = _work(batch)
        while True:
            chunk = [each for _, each in zip(range(TOGETHER), work, strict=False)]
            if not chunk:
                return
            try:
                await self._send(batch, chunk)
            except LinkDown as e:
                self._link.failed(e)
                for _, item in [*chunk, *work]:
                    batch.settle(item.id, e.outcome)  # one that is settled already stays as it is
                return

    async def _send(self, batch: Batch, chunk: Sequence[tuple[Parcel, Item]]) -> None:
        """Send some messages and settle them. Raises: LinkDown; what is settled by then stays."""
        component = await self._link.opened()
        mine: dict[str, _Sent] = {}
        settled: set[tuple[int, int]] = set()
        try:
            for parcel, item in chunk:
                try:
                    await self._say(component, parcel, item, mine)
                except (OSError, ValueError) as e:
                    fault = Deferred(Status("4.3.0", "the message cannot be read now", cause=repr(e)))
                    batch.settle(item.id, fault)
                    settled.add(item.id)
                except _Refused as e:
                    batch.settle(item.id, Failed(e.status))
                    settled.add(item.id)
            await component.barrier()
            await self._receipts(mine)
        except LinkDown as e:
            for _, item in chunk:
                if item.id not in settled:
                    batch.settle(item.id, e.outcome)
                    settled.add(item.id)
            raise
        finally:
            for id in mine:
                self._out.pop(id, None)
        for sent in mine.values():
            batch.settle(sent.item.id, _outcome(sent))

    async def _say(self, component: Component, parcel: Parcel, item: Item, mine: dict[str, _Sent]) -> None:
        received: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if parcel.report is not None:
            id, sent = self._ids.make(item, ""), _Sent(item, (), None, received)
            stanzas = stanzas_of(parcel.report, item, id, self._config)
        else:
            content = parcel.content
            if content.is_inline and content.size <= _THREAD_OCTETS:
                found = memo(content)
            else:
                found = await asyncio.to_thread(memo, content)
            sender = self._sender(parcel, found)
            id = self._ids.make(item, sender)
            stanza, notes = self._letter(sender, item, id, found)
            sent, stanzas = _Sent(item, notes, None, received), [stanza]
        mine[id] = self._out[id] = sent
        for each in stanzas:
            component.send_xml(each)

    def _letter(self, sender: str, item: Item, id: str, found: Memo) -> tuple[ElementTree.Element, tuple[Note, ...]]:
        """Return a mail as a message, and what of it has no place there. Raises: _Refused."""
        config = self._config
        notes = []
        text = clean(found.text).strip("\n")
        subject = clean(found.subject)
        lines = []
        if subject and config.subject_in_text:
            lines += [subject, ""]
        if sender == config.domain and (shown := clean(found.get(b"from"))):
            lines.insert(0, f"From: {shown}")
            notes.append(Note(Fate.MAPPED, "From", "it stands in the text: there is no JID for this sender"))
        lines.append(text)
        body = "\n".join(lines).rstrip("\n")
        if len(body.encode()) > config.max_text_bytes:
            raise _Refused(Status("5.3.4", f"the text is longer than the {config.max_text_bytes} octets of a chat"))
        headers = [(name.title(), value) for name in config.headers if (value := clean(found.get(name.encode())))]
        files = [each.name for each in found.attachments if each is not found.page]
        if files:
            notes.append(Note(Fate.DROPPED, "attachments", f"a chat has no place for them: {', '.join(files)[:500]}"))
        if found.page is not None:
            notes.append(Note(Fate.DROPPED, "HTML", "a chat has the text alone"))
        notes.append(Note(Fate.DROPPED, "header", "a chat has no place for its other fields"))
        asks = bool(item.notify & Notify.SUCCESS)
        stanza = message(
            item.address.value, sender, id, type=config.type, body=body or " ", subject=subject, headers=headers,
            asks=asks,
        )  # fmt: skip
        return stanza, tuple(notes)

    def _sender(self, parcel: Parcel, found: Memo) -> str:
        """Return the JID that a message comes from: the author's below the component, else the component itself."""
        boxes = found.mailboxes(b"from", ("xmpp",))
        candidates = [box.address for box in boxes]
        if parcel.envelope.reverse_path is not None:
            candidates.append(parcel.envelope.reverse_path)
        for address in candidates:
            if address.network == "xmpp" and address.value.rpartition("@")[2] == self._config.domain:
                return address.value
        return self._config.domain

    async def _receipts(self, mine: dict[str, _Sent]) -> None:
        """Give chat clients a moment for the receipts that senders are to hear of."""
        wait_s = self._config.receipt_wait_s
        asked = [s.received for s in mine.values() if s.item.notify & Notify.SUCCESS and s.error is None]
        if asked and wait_s:
            await asyncio.wait(asked, timeout=wait_s)


class _Refused(Exception):
    def __init__(self, status: Status) -> None:
        super().__init__(str(status))
        self.status = status


def _work(batch: Batch) -> Iterator[tuple[Parcel, Item]]:
    parcels = list(batch.parcels)
    while parcels:
        for parcel in parcels:
            for item in parcel.items:
                yield parcel, item
        parcels = list(batch.more())


def _outcome(sent: _Sent) -> Outcome:
    if sent.error is not None:
        return outcome_of(sent.error.condition, sent.error.kind, sent.error.text)
    if sent.received.done():
        return Delivered(Status("2.1.5", "the chat client has it"), notes=sent.notes)
    return Delivered(Status("2.1.9", "the chat server has it"), relayed=True, notes=sent.notes)
