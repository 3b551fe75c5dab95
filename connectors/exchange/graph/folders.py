"""Folders of mailboxes: their ids by role or path, asked once each and kept.

Sources: learn.microsoft.com "mailFolder resource type" (well-known names), "Create MailFolder", "Create child folder".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from connectors.exchange.graph.client import Client, Request
from connectors.exchange.organisation import Fault, Role, Where

NAMES: Final[Mapping[Role, str]] = {
    "inbox": "inbox",
    "sent": "sentitems",
    "drafts": "drafts",
    "outbox": "outbox",
    "trash": "deleteditems",
    "junk": "junkemail",
}
KEPT: Final = 20_000
"""Ids that are kept at most; the longest unused goes."""
NOT_THERE: Final = "ErrorFolderNotFound"


class Folders:
    """Ids of folders of one connector's mailboxes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept: OrderedDict[tuple[str, Where], str] = OrderedDict()

    async def id(self, mailbox: str, where: Where, *, create: bool = False) -> str:
        """Return a folder's id. Raises: Fault, ErrorFolderNotFound where it is not there and not to be made."""
        found = self._kept.get((mailbox, where))
        if found is not None:
            self._kept.move_to_end((mailbox, where))
            return found
        if isinstance(where, str):
            path = f"{user(mailbox)}/mailFolders/{NAMES[where]}"
            found = _id(await self._client.ask(Request("GET", path, mailbox, {"$select": "id"})))
        else:
            found = await self._by_path(mailbox, where, create=create)
        self._kept[mailbox, where] = found
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def forget(self, mailbox: str) -> None:
        """Ask anew for a mailbox's folders: one of them was not there any more."""
        for each in [each for each in self._kept if each[0] == mailbox]:
            del self._kept[each]

    async def _by_path(self, mailbox: str, path: tuple[str, ...], *, create: bool) -> str:
        parent = f"{user(mailbox)}/mailFolders"
        found = ""
        for name in path:
            told = await self._named(mailbox, parent, name)
            if told is None and create:
                told = await self._make(mailbox, parent, name)
            if told is None:
                raise Fault(NOT_THERE, f"no folder {'/'.join(path)}")
            found = told
            parent = f"{user(mailbox)}/mailFolders/{quote(found, safe='')}/childFolders"
        return found

    async def _named(self, mailbox: str, parent: str, name: str) -> str | None:
        params = {"$filter": f"displayName eq {literal(name)}", "$select": "id,displayName", "$top": "2"}
        answer = await self._client.ask(Request("GET", parent, mailbox, params))
        listed = answer.get("value")
        for each in listed if isinstance(listed, list) else ():
            if isinstance(each, dict):
                return _id(each)
        return None

    async def _make(self, mailbox: str, parent: str, name: str) -> str | None:
        try:
            return _id(await self._client.ask(Request("POST", parent, mailbox, json={"displayName": name})))
        except Fault as e:
            # Made by another in the meantime, or by this very request where only its answer was lost.
            if e.code != "ErrorFolderExists" and e.why != "unknown":
                raise
            return await self._named(mailbox, parent, name)


def user(mailbox: str) -> str:
    """Return the path of a mailbox."""
    return f"/users/{quote(mailbox, safe='@')}"


def literal(text: str) -> str:
    """Return a text as an OData string (OData 4.01 ABNF: a quote is doubled)."""
    return "'" + text.replace("'", "''") + "'"


def _id(answer: Mapping[str, Any]) -> str:
    found = answer.get("id")
    if not isinstance(found, str) or not found:
        raise Fault("malformed answer", "a folder has no id", "unreachable")
    return found
