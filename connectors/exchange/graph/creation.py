"""Creating items: received mail from properties, many by one batch; large mail file by file; drafts from MIME.

A large mail is made in the folder of drafts, where a look-up takes it for unfinished, and is moved to its folder once
its last file is there: the move is what makes it delivered. What breaks off before is removed by the next look-up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from connectors.exchange.graph.answers import TOO_LARGE
from connectors.exchange.graph.batch import Batches, Part
from connectors.exchange.graph.client import Client, Request
from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.graph.folders import Folders, user
from connectors.exchange.graph.mime import DRAFT_NOTES, KEY, Built, build, draft, file_json, is_sealed
from connectors.exchange.graph.upload import FROM, TOO_SMALL, Attachment, Uploads
from connectors.exchange.organisation import Fault, Made, New, Ref
from gateway.contract import Fate, Note, Scope

_TAKEN_APART: Final = Note(
    Fate.MAPPED, "the MIME structure", "a mail over Graph's size for MIME is sent as a text with files"
)


class Creation:
    """Creates items in mailboxes."""

    def __init__(
        self, config: GraphConfig, client: Client, batches: Batches, folders: Folders, uploads: Uploads
    ) -> None:
        self._config = config
        self._client = client
        self._batches = batches
        self._folders = folders
        self._uploads = uploads

    async def create(self, mailbox: str, folder: str, items: Sequence[New]) -> list[Made | Fault]:
        """Create items; results in the order asked. Raises: Fault where nothing is known of any."""
        results: dict[int, Made | Fault] = {}
        small: list[tuple[int, Built]] = []
        drafts = [(number, new) for number, new in enumerate(items) if new.draft]
        if drafts:
            made = await self._drafts(mailbox, folder, [new for _, new in drafts])
            results |= {number: each for (number, _), each in zip(drafts, made, strict=True)}
        for number, new in enumerate(items):
            if new.draft:
                continue
            try:
                built = await asyncio.to_thread(build, new)
            except OSError as e:
                results[number] = Fault("content", f"the mail cannot be read: {e}", scope=Scope.MESSAGE)
                continue
            if built.later:
                results[number] = await self._singly(self._large(mailbox, folder, built))
            else:
                small.append((number, built))
        if small:
            try:
                put = await self._small(mailbox, folder, [built for _, built in small])
            except Fault as e:
                if not results:
                    raise
                put = [e] * len(small)
            results |= {number: each for (number, _), each in zip(small, put, strict=True)}
        return [results[number] for number in range(len(items))]

    @staticmethod
    async def _singly(work: Any) -> Made | Fault:
        try:
            made: Made = await work
        except Fault as e:
            return e
        return made

    async def _small(self, mailbox: str, folder: str, built: Sequence[Built]) -> list[Made | Fault]:
        path = f"{user(mailbox)}/mailFolders/{quote(folder, safe='')}/messages"
        results = await self._batches.ask(mailbox, [Part("POST", path, json=each.json()) for each in built])
        return [
            each if isinstance(each, Fault) else _made(mailbox, each, own.notes)
            for each, own in zip(results, built, strict=True)
        ]

    async def _large(self, mailbox: str, folder: str, built: Built) -> Made:
        if self._config.large == "fail":
            raise Fault(TOO_LARGE, "it does not fit into one request of Graph's")
        drafts = await self._folders.id(mailbox, "drafts")
        path = f"{user(mailbox)}/mailFolders/{quote(drafts, safe='')}/messages"
        message = await self._whole(mailbox, path, built)
        moved = await self._client.ask(Request("POST", f"{message}/move", mailbox, json={"destinationId": folder}))
        return _made(mailbox, moved, built.notes)

    async def _whole(self, mailbox: str, path: str, built: Built) -> str:
        """Create a message and give it its files; return its path. What stays incomplete is removed, where it can."""
        body = built.json()
        made = _made(mailbox, await self._client.ask(Request("POST", path, mailbox, json=body)), ())
        if made.ref is None:
            raise Fault("malformed answer", "a created message has no id", "unknown", scope=Scope.HOP)
        message = f"{user(mailbox)}/messages/{quote(made.ref.id, safe='')}"
        try:
            for each in built.later:
                await self._attach(mailbox, message, each)
        except Fault as e:
            with contextlib.suppress(Fault):
                await self._client.send(Request("DELETE", message, mailbox))
                if e.why == "unknown":  # it is known now: nothing of it is left
                    raise Fault(e.code, e.text, "unreachable", scope=e.scope) from e
            raise
        return message

    async def _attach(self, mailbox: str, message: str, file: Attachment) -> None:
        if len(file.octets) >= FROM:
            try:
                await self._uploads.put(mailbox, message, file)
            except Fault as e:
                if e.code != TOO_SMALL:
                    raise
            else:
                return
        await self._client.send(Request("POST", f"{message}/attachments", mailbox, json=file_json(file)))

    async def _drafts(self, mailbox: str, folder: str, items: Sequence[New]) -> list[Made | Fault]:
        """Make drafts, as many at once as the mailbox takes; what each is to have besides follows by one batch."""
        made = list(await asyncio.gather(*(self._singly(self._draft(mailbox, folder, new)) for new in items)))
        changes = [
            (number, each.ref, _changes(new))
            for number, (each, new) in enumerate(zip(made, items, strict=True))
            if isinstance(each, Made) and each.ref is not None and _changes(new)
        ]
        parts = [Part("PATCH", _message(ref), json=changed) for _, ref, changed in changes]
        try:
            results = await self._batches.ask(mailbox, parts) if parts else []
        except Fault as e:
            results = [e] * len(parts)
        for (number, ref, _), result in zip(changes, results, strict=True):
            if isinstance(result, Fault):
                # The draft is there, without what it is to have: whoever looks for its key finds it by its field.
                made[number] = Fault(result.code, result.text, "unknown", retry_after_s=result.retry_after_s)
            else:
                made[number] = _made(mailbox, {"id": ref.id, **result}, _notes(made[number]))
        return made

    async def _draft(self, mailbox: str, folder: str, new: New) -> Made:
        octets = await asyncio.to_thread(draft, new)
        if octets is None:
            return await self._large_draft(mailbox, folder, new)
        path = f"{user(mailbox)}/messages"
        answer = await self._client.ask(Request("POST", path, mailbox, octets=octets, content_type="text/plain"))
        made = _made(mailbox, answer, DRAFT_NOTES if new.key else ())
        if made.ref is None:
            raise Fault("malformed answer", "a created message has no id", "unknown", scope=Scope.HOP)
        if folder != answer.get("parentFolderId") and folder != await self._folders.id(mailbox, "drafts"):
            where = {"destinationId": folder}
            answer = await self._client.ask(Request("POST", f"{_message(made.ref)}/move", mailbox, json=where))
        return _made(mailbox, answer, made.notes)

    async def _large_draft(self, mailbox: str, folder: str, new: New) -> Made:
        """Make a draft of properties and files. Its key comes last: until then nobody may find it and send it."""
        if self._config.large == "fail" or is_sealed(new.mime):
            raise Fault(TOO_LARGE, "it does not fit into one request of Graph's, and cannot be taken apart")
        built = await asyncio.to_thread(build, New("", new.mime, None, new.is_read, new.flagged, new.categories, True))
        path = f"{user(mailbox)}/mailFolders/{quote(folder, safe='')}/messages"
        message = await self._whole(mailbox, path, built)
        answer = await self._client.ask(Request("PATCH", message, mailbox, json=_changes(new)))
        return _made(mailbox, answer, (*built.notes, _TAKEN_APART))


def _changes(new: New) -> dict[str, Any]:
    """Return what a draft cannot be given while it is made of MIME."""
    found: dict[str, Any] = {}
    if new.key:
        found["singleValueExtendedProperties"] = [{"id": KEY, "value": new.key}]
        found["isRead"] = new.is_read  # what Graph makes of MIME is read
    if new.categories:
        found["categories"] = list(new.categories)
    if new.flagged:
        found["flag"] = {"flagStatus": "flagged"}
    return found


def _message(ref: Ref) -> str:
    return f"{user(ref.mailbox)}/messages/{quote(ref.id, safe='')}"


def _notes(made: Made | Fault) -> tuple[Note, ...]:
    return made.notes if isinstance(made, Made) else ()


def _made(mailbox: str, answer: dict[str, Any], notes: tuple[Note, ...]) -> Made:
    id = answer.get("id")
    if not isinstance(id, str) or not id:
        return Made(None, notes)
    return Made(Ref(mailbox, id, str(answer.get("changeKey") or "")), notes)
