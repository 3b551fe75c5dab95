"""Probes: what the connector takes for granted of Exchange, asked of a mailbox, so that an operator knows it of theirs.

Everything is done in a folder of its own, which is removed at the end. Nothing is sent.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from connectors.exchange.organisation import Fault
from connectors.exchange.store import ExchangeMailbox
from connectors.exchange.store_side import ExchangeStore
from gateway.contract import Appended, Content, Folder, ItemState, NewItem, Status, StoreFault

FOLDER: Final = ("Gatepost", "Check")
RECEIVED_AT: Final = 1_577_934_245.0  # 2020-01-02T03:04:05Z
_KEY: Final = "check.{}"
_WORDS: Final = frozenset(("Gatepost check",))
_MAIL: Final = (
    b"From: Gatepost check <check@gatepost.invalid>\r\n"
    b"To: {to}\r\n"
    b"Subject: =?utf-8?q?Gatepost_check_=E2=9C=93?=\r\n"
    b"Date: Thu, 02 Jan 2020 03:04:05 +0000\r\n"
    b"Message-ID: <{key}@gatepost.invalid>\r\n"
    b"X-Gatepost-Check: a field of our own\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Gr\xc3\xbc\xc3\x9fe.\r\n"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing. `ok` is None where it is neither good nor bad, but worth knowing."""

    what: str
    ok: bool | None
    text: str = ""

    def plain(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {"what": self.what, "ok": self.ok, "text": self.text}


class Probe:
    """The probes of one mailbox, in their order."""

    def __init__(self, connector: ExchangeStore, mailbox: str) -> None:
        self._connector = connector
        self._mailbox = mailbox

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield what is found. Ends where the next step needs what did not work."""
        async with self._connector.open(self._mailbox) as box:
            try:
                began = time.monotonic()
                folders = await box.folders()
                took = time.monotonic() - began
                yield Finding("the mailbox opens", True, f"{len(folders)} folders, {took:.1f} s")
                folder = await box.create_folder(FOLDER)
            except StoreFault as e:
                yield Finding("the mailbox opens", False, _words(e.status))
                return
            try:
                async for each in self._in(box, folder):
                    yield each
            except StoreFault as e:
                yield Finding("the probes come to their end", False, _words(e.status))
            finally:
                try:
                    await box.remove_folder(folder.id)
                except StoreFault as e:
                    yield Finding("the folder of the check is removed", False, _words(e.status))
        yield await self._directory()

    async def _in(self, box: ExchangeMailbox, folder: Folder) -> AsyncIterator[Finding]:
        key = _KEY.format(int(time.time()))
        octets = _MAIL.replace(b"{to}", self._mailbox.encode()).replace(b"{key}", key.encode())
        start = await box.changes(folder.id, None)
        (made,) = await box.append(
            folder.id,
            [NewItem(key, Content(octets), frozenset(("seen", "flagged")), _WORDS, RECEIVED_AT)],
        )
        if isinstance(made, Status):
            yield Finding("an item is created from MIME", False, _words(made))
            return
        yield Finding("an item is created from MIME", True)
        yield await self._found(box, folder, key, made)
        changes = await box.changes(folder.id, start.token)
        state = next((each for each in changes.items if each.id == made.id), None)
        yield Finding("the new item is among the changes", state is not None and not changes.reset)
        if state is not None:
            for each in told(state):
                yield each
        yield await self._octets(box, made.id, octets)
        if self._connector.holds().native is not None:
            ((_, content),) = [pair async for pair in box.fetch([made.id], "native")]
            yield Finding("the item is exported whole", isinstance(content, Content), _words(content))
        other = await box.create_folder((*FOLDER, "Moved"))
        (moved,) = await box.move([made.id], other.id)
        if isinstance(moved, Status):
            yield Finding("an item moves", False, _words(moved))
            return
        yield Finding("an item moves", True, "it keeps its id" if moved == made.id else "it has another id there")
        yield Finding("it is found by its key where it was moved", await box.find(other.id, [key]) == {key: moved})
        gone = (await box.changes(folder.id, changes.token)).removed
        yield Finding("the move is among the changes", made.id in gone)
        (removed,) = await box.remove([moved], purge=True)
        yield Finding("an item is removed for good", removed is None, "" if removed is None else _words(removed))

    async def _found(self, box: ExchangeMailbox, folder: Folder, key: str, made: Appended) -> Finding:
        began = time.monotonic()
        found = await box.find(folder.id, [key])
        text = f"{time.monotonic() - began:.1f} s"
        if found != {key: made.id}:
            text = "it is not: an unknown result could not be settled, and mail might be doubled"
        return Finding("it is found by its key at once", found == {key: made.id}, text)

    async def _octets(self, box: ExchangeMailbox, id: str, sent: bytes) -> Finding:
        ((_, content),) = [pair async for pair in box.fetch([id])]
        if not isinstance(content, Content):
            return Finding("its MIME is given", False, _words(content))
        octets = b"".join(content.chunks())
        kept = "octet for octet" if octets == sent else f"made anew: {len(octets)} octets for {len(sent)}"
        own = b"x-gatepost-check:" in octets.lower()
        return Finding("its MIME is given", None, f"{kept}; a field of our own is {'kept' if own else 'lost'}")

    async def _directory(self) -> Finding:
        organisation = self._connector.organisation_in_use
        try:
            person = (await organisation.resolve([self._mailbox]))[self._mailbox]
        except Fault as e:
            return Finding("the directory knows the mailbox", False, str(e))
        if person is None:
            return Finding("the directory knows the mailbox", False, "it does not")
        return Finding("the directory knows the mailbox", True, person.legacy_dn or "without an X.500 name")


def told(state: ItemState) -> list[Finding]:
    """Return what a new item's state says of what was asked for. Pure."""
    date = "" if state.received_at == RECEIVED_AT else f"it has {state.received_at}, not {RECEIVED_AT}"
    return [
        Finding("it is no draft", "draft" not in state.flags),
        Finding("it has the date it was given", state.received_at == RECEIVED_AT, date),
        Finding("it has its flags", {"seen", "flagged"} <= state.flags, ", ".join(sorted(state.flags))),
        Finding("it has its category", state.keywords == _WORDS, ", ".join(sorted(state.keywords))),
    ]


def _words(found: object) -> str:
    if not isinstance(found, Status):
        return ""
    return f"{found} ({found.reply or found.cause})" if found.reply or found.cause else str(found)
