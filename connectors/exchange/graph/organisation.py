"""An Exchange Online organisation by Microsoft Graph: what both sides of the connector ask, in Graph's requests.

Promises: received mail is created by one request that carries its key, or, where its files do not fit into that one,
beside the mailbox's drafts until it is whole, and only then moved to where it belongs. A draft carries its key in a
field from its first moment. Nothing is created twice here; an unknown result is told as one.
Known limits: Graph has one look-up for a whole mailbox, and takes any folder but the drafts for the place of what was
delivered; sent copies stay in Sent Items, where they are told from others by their key. A page of changes tells no
sizes: an item is measured while it is read.

Sources: learn.microsoft.com "Outlook mail API overview", "Get MIME content of an Outlook message", "message: send",
"message: move", "List users"; graph-docs #14843.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable, Sequence
from typing import Any, Final
from urllib.parse import quote

import httpx

from connectors.exchange.gather import Gather
from connectors.exchange.graph.answers import Malformed, unread
from connectors.exchange.graph.batch import PARTS, Batches, Part, Result
from connectors.exchange.graph.client import Client, Request
from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.graph.creation import Creation
from connectors.exchange.graph.delta import SELECT, item, lost, page, time
from connectors.exchange.graph.directory import Directory, addressed
from connectors.exchange.graph.folders import NOT_THERE, Folders, literal, user
from connectors.exchange.graph.mime import KEY, KEY_OF_DRAFT
from connectors.exchange.graph.notify import Notices
from connectors.exchange.graph.pacing import Pacing
from connectors.exchange.graph.shelf import UNDELETABLE, GraphShelf
from connectors.exchange.graph.token import Authority, TokenSource
from connectors.exchange.graph.transport import open_blocking_client, open_client, tls_context
from connectors.exchange.graph.upload import Uploads
from connectors.exchange.lookup import SENT
from connectors.exchange.organisation import (
    Addressed,
    Fault,
    Finish,
    Made,
    Mark,
    Move,
    New,
    Page,
    Person,
    Ref,
    Seen,
    Where,
)
from gateway.contract import Content, Context, Scope

GONE: Final = "ErrorItemNotFound"
COPIES: Final = "copies of what we sent"
"""The id of a folder that Graph does not have: what we sent is kept in Sent Items, and known by its key."""
COPIES_S: Final = 2 * 86400.0
"""Older copies were left by a gateway that was not there to sweep."""
_DRAFT_PAGES: Final = 10
"""Of a hundred drafts each that are looked through for ours at one time."""
_NOT_THERE: Final = frozenset({GONE, NOT_THERE, "ErrorInvalidIdMalformed", "ErrorFolderNotFound"})
_PARTIES: Final = "from,sender,toRecipients,ccRecipients,bccRecipients"
_REPLY: Final = "singleValueExtendedProperties($filter=id eq 'String 0x1042')"


class GraphOrganisation:
    """An organisation of Exchange Online. Built by the connector; nothing is asked before it is needed."""

    def __init__(
        self,
        name: str,
        config: GraphConfig,
        context: Context,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        tokens: TokenSource | None = None,
    ) -> None:
        self._name = name
        self._config = config
        self._context = context
        self._transport = transport
        self._tokens = tokens
        self._blocking: httpx.Client | None = None
        self._client: Client | None = None
        self._notices: Notices | None = None
        self._gather: Gather[Part, dict[str, Any]] | None = None

    async def start(self) -> None:
        config, context = self._config, self._context
        tls = await asyncio.to_thread(tls_context, config, context.base_dir)
        if self._tokens is None:
            self._blocking = open_blocking_client(config, tls)
            authority = await asyncio.to_thread(Authority, config, context.base_dir, self._blocking)
            self._tokens = TokenSource(authority.ask, context.clock)
        loop = asyncio.get_running_loop()
        self._pacing = Pacing(config.per_mailbox, config.max_connections, loop.time)
        http = open_client(config, tls, self._transport)
        client = Client(config.url, http, self._tokens, self._pacing, context.clock, config.timeout_s)
        self._client = client
        self._batches = Batches(client, self._pacing, context.clock)
        self._gather = Gather(self._together, PARTS)
        self._folders = Folders(client)
        self._directory = Directory(client, self._batches, context.log)
        self._creation = Creation(config, client, self._batches, self._folders, Uploads(client, config.url))
        self._large = asyncio.Semaphore(config.large_at_once)
        if config.notify_url is not None:
            self._notices = Notices(config.notify_url, config.notify_listen, client, context)

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.stop()
        if self._tokens is not None:
            self._tokens.close()
        blocking, self._blocking = self._blocking, None
        if blocking is not None:
            blocking.close()

    def trouble(self) -> str | None:
        if self._tokens is not None and self._tokens.trouble is not None:
            return self._tokens.trouble
        if self._notices is not None and self._notices.trouble is not None:
            return self._notices.trouble
        return None if self._client is None else self._client.trouble

    # -- folders and what is in them

    async def folder(self, mailbox: str, where: Where, *, create: bool = False) -> str:
        return COPIES if where == SENT else await self._folders.id(mailbox, where, create=create)

    async def page(self, mailbox: str, folder: str, token: str | None, limit: int = 100) -> Page:
        if folder == COPIES:
            return await self._copies(mailbox, token, limit)
        prefer = (f"odata.maxpagesize={limit}",)
        if token is None:
            path = f"{user(mailbox)}/mailFolders/{_quoted(folder)}/messages/delta"
            request = Request("GET", path, mailbox, {"$select": SELECT}, prefer=prefer)
        else:
            request = Request("GET", token, mailbox, prefer=prefer)
        try:
            return page(await self._asked.ask(request), mailbox)
        except Malformed as e:
            raise unread(e, is_safe=True) from e
        except Fault as e:
            found = lost(e)
            if found.code in _NOT_THERE:
                self._folders.forget(mailbox)
            raise found from e

    async def _copies(self, mailbox: str, token: str | None, limit: int) -> Page:
        """Return a part of the copies of what we sent, which lie among others in Sent Items."""
        request = Request("GET", token or "", mailbox)
        if token is None:
            params = {
                "$filter": f"receivedDateTime ge {time(self._context.clock() - COPIES_S)}",
                "$select": SELECT,
                "$expand": f"singleValueExtendedProperties($filter=id eq {literal(KEY)})",
                "$top": str(limit),
            }
            request = Request("GET", f"{user(mailbox)}/mailFolders/sentitems/messages", mailbox, params)
        return await self._ours(request, mailbox)

    async def _ours(self, request: Request, mailbox: str) -> Page:
        """Return a part of a list, of which those count that have the property that was asked for."""
        answer = await self._asked.ask(request)
        listed = answer.get("value")
        rows = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        ours = tuple(item(each, mailbox) for each in rows if each.get("singleValueExtendedProperties"))
        more = answer.get("@odata.nextLink")
        return Page(ours, (), (), more if isinstance(more, str) else "", isinstance(more, str))

    async def mime(self, refs: Sequence[Seen]) -> AsyncIterator[tuple[Ref, Content | Fault]]:
        waiting = {asyncio.ensure_future(self._octets(each)) for each in refs}
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    yield each.result()
        finally:
            for each in waiting:
                each.cancel()
            if waiting:
                await asyncio.wait(waiting)

    async def _octets(self, seen: Seen) -> tuple[Ref, Content | Fault]:
        ref = seen.ref
        request = Request(
            "GET", f"{_message(ref)}/$value", ref.mailbox, limit=self._config.max_message_bytes, large=self._large
        )
        try:
            return ref, Content((await self._asked.send(request)).octets)
        except Fault as e:
            return ref, e

    async def addressed(self, refs: Sequence[Ref]) -> dict[Ref, Addressed | Fault]:
        params = {"$select": _PARTIES, "$expand": _REPLY}
        found: dict[Ref, Addressed | Fault] = {}
        for mailbox in dict.fromkeys(ref.mailbox for ref in refs):
            own = [ref for ref in refs if ref.mailbox == mailbox]
            results = await self._batches.ask(mailbox, [Part("GET", _message(ref), params) for ref in own])
            for ref, result in zip(own, results, strict=True):
                found[ref] = result if isinstance(result, Fault) else addressed(result)
        return found

    # -- creating, finding, sending

    async def create(self, mailbox: str, folder: str, items: Sequence[New]) -> list[Made | Fault]:
        try:
            results = await self._creation.create(mailbox, folder, items)
        except Fault as e:
            self._look_for_folders(mailbox, e)
            raise
        for each in results:
            if isinstance(each, Fault):
                self._look_for_folders(mailbox, each)
        return results

    def _look_for_folders(self, mailbox: str, e: Fault) -> None:
        """An item cannot be missing where one is created, so it is the folder that is."""
        if e.code in _NOT_THERE:
            self._folders.forget(mailbox)
            e.code = NOT_THERE

    async def find(self, mailbox: str, folders: Sequence[Where], keys: Sequence[str]) -> dict[str, tuple[Ref, str]]:
        drafts = await self._folders.id(mailbox, "drafts")
        among_drafts = "drafts" in folders
        among_others = any(each != "drafts" for each in folders)
        properties = (KEY, KEY_OF_DRAFT) if among_drafts else (KEY,)
        asked = [(key, _with(mailbox, name, key)) for key in keys for name in properties]
        results = await self._batches.ask(mailbox, [part for _, part in asked])
        found: dict[str, tuple[Ref, str]] = {}
        for (key, _), result in zip(asked, results, strict=True):
            for ref, folder, is_draft in _listed(mailbox, result):
                if folder != drafts:
                    if among_others:
                        found.setdefault(key, (ref, folder))
                elif is_draft:
                    if among_drafts:
                        found.setdefault(key, (ref, folder))
                elif not among_drafts:
                    await self._remove(ref)  # a delivery that broke off before it was whole
        return found

    async def _remove(self, ref: Ref) -> None:
        with contextlib.suppress(Fault):  # the next look-up sees it again
            await self._asked.send(Request("DELETE", _message(ref), ref.mailbox))

    async def send(self, ref: Ref, *, copy_to: Where) -> None:
        await self._asked.send(Request("POST", f"{_message(ref)}/send", ref.mailbox, octets=b""))

    async def left_over(self, mailbox: str, before: float) -> list[Ref]:
        ours = " or ".join(f"id eq {literal(name)}" for name in (KEY, KEY_OF_DRAFT))
        params = {
            "$filter": f"receivedDateTime lt {time(before)}",
            "$select": SELECT,
            "$expand": f"singleValueExtendedProperties($filter={ours})",
            "$top": "100",
        }
        request = Request("GET", f"{user(mailbox)}/mailFolders/drafts/messages", mailbox, params)
        found: list[Ref] = []
        for _ in range(_DRAFT_PAGES):
            some = await self._ours(request, mailbox)
            found += [seen.ref for seen in some.seen]
            if not some.more:
                break
            request = Request("GET", some.token, mailbox)
        return found

    async def finish(self, ref: Ref, how: Finish) -> None:
        try:
            if isinstance(how, Move):
                await self._move(ref, how.folder)
            elif isinstance(how, Mark):
                await self._mark(ref, how.category)
            elif how.purge:
                await self._delete(ref)
            else:
                await self._move(ref, "deleteditems")
        except Fault as e:
            if e.code != GONE:
                raise

    async def _one(self, ref: Ref, method: str, tail: str = "", **told: Any) -> dict[str, Any]:
        """Ask something of an item, together with what else is asked of its mailbox at the moment. All of it can be
        asked twice, which happens to those whose companion gives up waiting."""
        if self._gather is None:
            raise _not_started()
        return await self._gather(ref.mailbox, Part(method, _message(ref) + tail, **told))

    async def _together(self, mailbox: Hashable, parts: Sequence[Part]) -> Sequence[dict[str, Any] | Exception]:
        return await self._batches.ask(str(mailbox), parts)

    async def _delete(self, ref: Ref) -> None:
        """Delete an item past the deleted items; the mailbox keeps it among the recoverable ones for its time."""
        try:
            await self._one(ref, "DELETE")
        except Fault as e:
            if e.code != UNDELETABLE:
                raise
            # So says Graph of one that is there already, and of one that may not be deleted.
            lies = await self._one(ref, "GET", params={"$select": "parentFolderId"})
            path = f"{user(ref.mailbox)}/mailFolders/recoverableitemsdeletions"
            recoverable = await self._asked.ask(Request("GET", path, ref.mailbox, {"$select": "id"}))
            if lies.get("parentFolderId") != recoverable.get("id"):
                raise

    async def _move(self, ref: Ref, folder: str) -> None:
        await self._one(ref, "POST", "/move", json={"destinationId": folder})

    async def _mark(self, ref: Ref, category: str) -> None:
        had = await self._one(ref, "GET", params={"$select": "categories"})
        categories = [each for each in had.get("categories") or () if isinstance(each, str)]
        if category not in categories:
            await self._one(ref, "PATCH", json={"categories": [*categories, category]})

    # -- a mailbox store's

    def shelf(self) -> GraphShelf:
        return GraphShelf(self._asked, self._batches, self._folders, self._config.max_message_bytes)

    # -- hints, and the directory

    async def watch(self, watched: Sequence[tuple[str, str]]) -> AsyncIterator[tuple[str, str]]:
        if self._notices is None:
            await asyncio.Event().wait()  # the folders are looked at from time to time
            return
        async with contextlib.aclosing(self._notices.watch(watched)) as hints:
            async for place in hints:
                yield place

    async def resolve(self, names: Sequence[str]) -> dict[str, Person | None]:
        return await self._directory.resolve(names)

    def people(self) -> AsyncIterator[Person]:
        return self._directory.people()

    @property
    def _asked(self) -> Client:
        if self._client is None:
            raise _not_started()
        return self._client


def _not_started() -> Fault:
    return Fault("not started", "the connector has not started", "unreachable", scope=Scope.HOP)


def _quoted(id: str) -> str:
    return quote(id, safe="")


def _message(ref: Ref) -> str:
    return f"{user(ref.mailbox)}/messages/{_quoted(ref.id)}"


def _with(mailbox: str, name: str, key: str) -> Part:
    """Return the question which items of a mailbox, in whatever folder, have this value in a property."""
    params = {
        "$filter": f"singleValueExtendedProperties/any(ep: ep/id eq {literal(name)} and ep/value eq {literal(key)})",
        "$select": "id,changeKey,parentFolderId,isDraft",
        "$top": "5",
    }
    return Part("GET", f"{user(mailbox)}/messages", params)


def _listed(mailbox: str, result: Result) -> list[tuple[Ref, str, bool]]:
    """Return the items of a list: which, in which folder, and whether each is a draft. Raises: Fault."""
    if isinstance(result, Fault):
        raise result
    items = result.get("value")
    if not isinstance(items, list):
        raise unread(Malformed("a list of messages has no messages"), is_safe=True)
    return [_item(mailbox, each) for each in items if isinstance(each, dict) and isinstance(each.get("id"), str)]


def _item(mailbox: str, each: dict[str, Any]) -> tuple[Ref, str, bool]:
    ref = Ref(mailbox, each["id"], str(each.get("changeKey") or ""))
    return ref, str(each.get("parentFolderId") or ""), each.get("isDraft") is True
