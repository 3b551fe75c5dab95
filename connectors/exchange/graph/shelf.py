"""The shelf by Microsoft Graph: hierarchy, states and changes of mail.

Known limits: mail alone (calendars, contacts and tasks have other interfaces in Graph, and no lossless form there but
in one that is not for copying mailboxes); folders are not told apart by their class. A change of categories is written
over one that another made in the same moment. Delta tells no sizes.
Sources: learn.microsoft.com "List mailFolders", "mailFolder: move", "Delete mailFolder" (to the deleted items at
first), "message: delta", "Update message", "message: move"; MS-OXOMSG §2.2.1.57.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from connectors.exchange.graph.answers import Malformed, unread
from connectors.exchange.graph.batch import Batches, Part, Result
from connectors.exchange.graph.client import Client, Request
from connectors.exchange.graph.delta import lost, seconds
from connectors.exchange.graph.folders import NAMES, NOT_THERE, Folders, literal, user
from connectors.exchange.graph.mime import KEY
from connectors.exchange.organisation import Fault
from connectors.exchange.shelf import VERBS, Change, Listing, Lossless, Row
from gateway.contract import Content, Flag, FolderRole, Form, Holds, ItemState, Kind

TOP: Final = "msgfolderroot"
LAST_VERB: Final = "Integer 0x1081"
_FOLDER: Final = "id,displayName,parentFolderId,childFolderCount,totalItemCount,unreadItemCount"
_STATE: Final = {
    "$select": "id,changeKey,receivedDateTime,internetMessageId,categories,isDraft,isRead,flag",
    "$expand": f"singleValueExtendedProperties($filter=id eq {literal(LAST_VERB)})",
}
_CODES: Final = {"answered": "102", "forwarded": "104", "": "0"}
UNDELETABLE: Final = "ErrorCannotDeleteObject"
_GONE: Final = frozenset({"ErrorItemNotFound", NOT_THERE, "ErrorInvalidIdMalformed"})
_NO_FORM: Final = "ErrorUnsupportedMimeConversion"
_MOST_FOLDERS: Final = 20_000
_MOST_PAGES: Final = 1000


def holds(max_item_bytes: int) -> Holds:
    """Return what a mailbox holds, as far as Graph shows it."""
    return Holds(
        flags=frozenset(("seen", "answered", "flagged", "draft", "forwarded")),
        keywords=True,
        internal_date=True,
        change_tokens=True,
        stable_ids=True,
        exact=False,
        max_item_bytes=max_item_bytes,
        max_depth=300,
    )


class GraphShelf:
    """Asks by a client and its batches; `folders` knows those that every mailbox has."""

    def __init__(self, client: Client, batches: Batches, folders: Folders, max_item_bytes: int) -> None:
        self._client = client
        self._batches = batches
        self._folders = folders
        self.holds = holds(max_item_bytes)
        self.dates_drafts = False

    # -- folders

    async def folders(self, mailbox: str) -> list[Row]:
        roles = await self._roles(mailbox)
        found: list[Row] = []
        waiting = [f"{user(mailbox)}/mailFolders"]
        while waiting and len(found) < _MOST_FOLDERS:
            for each in await self._listed(mailbox, waiting.pop(), {"$select": _FOLDER, "$top": "100"}):
                id = _text(each, "id")
                found.append(
                    Row(
                        id,
                        _text(each, "displayName"),
                        _text(each, "parentFolderId"),
                        "",
                        roles.get(id),
                        _number(each, "totalItemCount"),
                        _number(each, "unreadItemCount"),
                    )
                )
                if _number(each, "childFolderCount") != 0:
                    waiting.append(f"{_folder(mailbox, id)}/childFolders")
        return found

    async def _roles(self, mailbox: str) -> dict[str, FolderRole]:
        """Return which folders every mailbox has, by id; one that this mailbox lacks is left out."""
        found: dict[str, FolderRole] = {}
        for role in NAMES:
            try:
                found[await self._folders.id(mailbox, role)] = role
            except Fault as e:
                if e.code not in _GONE:
                    raise
        return found

    async def _listed(self, mailbox: str, path: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        request = Request("GET", path, mailbox, params)
        for _ in range(_MOST_PAGES):
            answer = await self._client.ask(request)
            found += [each for each in answer.get("value") or () if isinstance(each, dict)]
            link = answer.get("@odata.nextLink")
            if not isinstance(link, str):
                break
            request = Request("GET", link, mailbox)
        return found

    async def make_folder(self, mailbox: str, parent: str, name: str, kind: Kind) -> str:
        if kind != "mail":
            raise Fault("ErrorInvalidOperation", "Graph shows folders of mail alone")
        path = f"{_folder(mailbox, parent)}/childFolders" if parent else f"{user(mailbox)}/mailFolders"
        return _text(await self._client.ask(Request("POST", path, mailbox, json={"displayName": name})), "id")

    async def change_folder(self, mailbox: str, id: str, *, name: str | None, parent: str | None) -> None:
        if name is not None:
            await self._client.ask(Request("PATCH", _folder(mailbox, id), mailbox, json={"displayName": name}))
        if parent is not None:
            where = {"destinationId": parent or TOP}
            await self._client.ask(Request("POST", f"{_folder(mailbox, id)}/move", mailbox, json=where))

    async def drop_folder(self, mailbox: str, id: str) -> None:
        try:
            # Deleting a folder moves it to the deleted items, and from there removes it. Its id may change on the way.
            moved = await self._client.ask(
                Request("POST", f"{_folder(mailbox, id)}/move", mailbox, json={"destinationId": "deleteditems"})
            )
            await self._client.send(Request("DELETE", _folder(mailbox, _text(moved, "id")), mailbox))
        except Fault as e:
            if e.code not in _GONE:
                raise
        self._folders.forget(mailbox)

    # -- items

    async def listing(self, mailbox: str, folder: str, token: str | None, limit: int) -> Listing:
        prefer = (f"odata.maxpagesize={max(1, limit)}",)
        path = token if token is not None else f"{_folder(mailbox, folder)}/messages/delta"
        request = Request("GET", path, mailbox, _STATE if token is None else None, prefer=prefer)
        try:
            answer = await self._client.ask(request)
        except Fault as e:
            raise lost(e) from e
        link = answer.get("@odata.nextLink")
        end = answer.get("@odata.deltaLink")
        told = answer.get("value")
        next_token = link if isinstance(link, str) else end
        if not isinstance(next_token, str) or not isinstance(told, list):
            raise unread(Malformed("a page of changes has no list of items, or no link"), is_safe=True)
        items: list[ItemState] = []
        gone: list[str] = []
        partial: list[str] = []
        for each in told:
            if not isinstance(each, dict) or not isinstance(each.get("id"), str):
                raise unread(Malformed("a page of changes lists something without an id"), is_safe=True)
            if "@removed" in each:
                gone.append(each["id"])
            elif "isRead" not in each or "changeKey" not in each:
                partial.append(each["id"])
            else:
                items.append(state(each))
        for found in await self.states(mailbox, partial) if partial else ():
            if not isinstance(found, Fault):
                items.append(found)
            elif found.code not in _GONE:
                raise found  # a listing is whole or it is none
        return Listing(tuple(items), tuple(gone), next_token, isinstance(link, str))

    async def states(self, mailbox: str, ids: Sequence[str]) -> list[ItemState | Fault]:
        results = await self._batches.ask(mailbox, [Part("GET", _message(mailbox, id), _STATE) for id in ids])
        return [each if isinstance(each, Fault) else state(each) for each in results]

    async def change(self, mailbox: str, changes: Sequence[tuple[ItemState, Change]]) -> list[str | Fault]:
        parts = [Part("PATCH", _message(mailbox, of.id), json=patch(change)) for of, change in changes]
        results = await self._batches.ask(mailbox, parts)
        return [each if isinstance(each, Fault) else _text(each, "changeKey") for each in results]

    async def found(self, mailbox: str, folder: str, keys: Sequence[str]) -> dict[str, str]:
        path = f"{_folder(mailbox, folder)}/messages"
        parts = [
            Part(
                "GET",
                path,
                {
                    "$filter": f"singleValueExtendedProperties/any(ep: ep/id eq {literal(KEY)} and "
                    f"ep/value eq {literal(key)})",
                    "$select": "id",
                    "$top": "1",
                },
            )
            for key in keys
        ]
        found: dict[str, str] = {}
        for key, result in zip(keys, await self._batches.ask(mailbox, parts), strict=True):
            if isinstance(result, Fault):
                raise result  # a look-up is whole or it is none
            for each in result.get("value") or ():
                if isinstance(each, dict):
                    found[key] = _text(each, "id")
        return found

    async def move(self, mailbox: str, ids: Sequence[str], folder: str) -> list[str | Fault]:
        return [
            each if isinstance(each, Fault) else _text(each, "id") for each in await self._moved(mailbox, ids, folder)
        ]

    async def _moved(self, mailbox: str, ids: Sequence[str], folder: str) -> list[Result]:
        where = {"destinationId": folder}
        parts = [Part("POST", f"{_message(mailbox, id)}/move", json=where) for id in ids]
        return await self._batches.ask(mailbox, parts)

    async def remove(self, mailbox: str, ids: Sequence[str], *, purge: bool) -> list[Fault | None]:
        if not purge:
            return [_fault(each) for each in await self._moved(mailbox, ids, "deleteditems")]
        results = await self._batches.ask(mailbox, [Part("DELETE", _message(mailbox, id)) for id in ids])
        found = {id: _fault(each) for id, each in zip(ids, results, strict=True)}
        refused = [id for id, fault in found.items() if fault is not None and fault.code == UNDELETABLE]
        if refused:
            # So says Graph of one that is among the recoverable ones already, and of one that may not be deleted.
            path = _folder(mailbox, "recoverableitemsdeletions")
            deleted = _text(await self._client.ask(Request("GET", path, mailbox, {"$select": "id"})), "id")
            lies = await self._batches.ask(
                mailbox, [Part("GET", _message(mailbox, id), {"$select": "parentFolderId"}) for id in refused]
            )
            for id, each in zip(refused, lies, strict=True):
                if not isinstance(each, Fault) and each.get("parentFolderId") == deleted:
                    found[id] = None
        return [found[id] for id in ids]

    # -- items whole, which Graph does not have

    async def lossless(self, mailbox: str, ids: Sequence[str], form: Form) -> list[Content | Fault]:
        return [Fault(_NO_FORM, f"Graph gives no item of a mailbox as {form}") for _ in ids]

    async def put(self, mailbox: str, folder: str, items: Sequence[Lossless]) -> list[str | Fault]:
        return [Fault(_NO_FORM, f"Graph makes no item of a mailbox from {each.form}") for each in items]


def _fault(result: Result) -> Fault | None:
    return result if isinstance(result, Fault) else None


def state(each: Mapping[str, Any]) -> ItemState:
    """Read an item of a list or a request of its own. Pure."""
    flags: set[Flag] = set()
    if each.get("isRead") is True:
        flags.add("seen")
    if each.get("isDraft") is True:
        flags.add("draft")
    flag = each.get("flag")
    if isinstance(flag, dict) and flag.get("flagStatus") == "flagged":
        flags.add("flagged")
    verb = VERBS.get(_verb(each), "")
    if verb:
        flags.add(verb)
    categories = each.get("categories")
    message_id = each.get("internetMessageId")
    return ItemState(
        id=_text(each, "id"),
        version=_text(each, "changeKey"),
        size=None,
        flags=frozenset(flags),
        keywords=frozenset(word for word in categories or () if isinstance(word, str)),
        received_at=seconds(each.get("receivedDateTime")),
        message_id=message_id if isinstance(message_id, str) else None,
        item_class="IPM.Note",
    )


def patch(change: Change) -> dict[str, Any]:
    """Return what a change is in Graph's words. Pure."""
    made: dict[str, Any] = {}
    if change.seen is not None:
        made["isRead"] = change.seen
    if change.flagged is not None:
        made["flag"] = {"flagStatus": "flagged" if change.flagged else "notFlagged"}
    if change.keywords is not None:
        made["categories"] = list(change.keywords)
    if change.verb is not None:
        made["singleValueExtendedProperties"] = [{"id": LAST_VERB, "value": _CODES[change.verb]}]
    return made


def _verb(each: Mapping[str, Any]) -> int:
    for one in each.get("singleValueExtendedProperties") or ():
        if isinstance(one, dict) and str(one.get("id", "")).lower() == LAST_VERB.lower():
            text = str(one.get("value"))
            return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    return 0


def _message(mailbox: str, id: str) -> str:
    return f"{user(mailbox)}/messages/{quote(id, safe='')}"


def _folder(mailbox: str, id: str) -> str:
    return f"{user(mailbox)}/mailFolders/{quote(id, safe='')}"


def _text(each: Mapping[str, Any], name: str) -> str:
    found = each.get(name)
    if not isinstance(found, str):
        raise Fault("malformed answer", f"there is no {name}", "unknown")
    return found


def _number(each: Mapping[str, Any], name: str) -> int | None:
    found = each.get(name)
    return found if isinstance(found, int) else None
