"""What a mailbox store asks beyond mail: states of items, changes of them, folders changed, items whole.

Sources: MS-OXWSSYNC, MS-OXWSCORE (UpdateItem), MS-OXWSFOLD, MS-OXWSBTRF (ExportItems, UploadItems); MS-OXOMSG §2.2.1.57
(the last thing done with an item), MS-OXOFLAG §2.2.1.1.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

from connectors.exchange.ews.answer import Answer, when
from connectors.exchange.ews.call import Single
from connectors.exchange.ews.calls.items import items_of, read_categories
from connectors.exchange.ews.calls.paths import (
    FOLLOW_UP,
    Place,
    delivery,
    field,
    item_ids,
    read_item_id,
    shape,
    tagged,
    valued,
)
from connectors.exchange.ews.calls.sync import MOST
from connectors.exchange.ews.xml import Element, M, T, element, local, truth
from connectors.exchange.shelf import CLASSES, VERBS, Change, Lossless
from gateway.contract import Flag, ItemState, Kind

LAST_VERB: Final = ("0x1081", "Integer")
_STATE: Final = (
    "item:ItemClass",
    "item:DateTimeReceived",
    "item:Size",
    "item:Categories",
    "item:IsDraft",
    "message:IsRead",
    "message:InternetMessageId",
)
_FLAGGED: Final = 2
_CODES: Final = {"answered": "102", "forwarded": "104"}
_KINDS: Final[tuple[tuple[str, Kind], ...]] = (
    ("IPM.Appointment", "calendar"),
    ("IPM.Contact", "contacts"),
    ("IPM.DistList", "contacts"),
    ("IPM.Task", "tasks"),
    ("IPM.StickyNote", "notes"),
)
_FOLDERS: Final[dict[Kind, str]] = {
    "calendar": "t:CalendarFolder",
    "contacts": "t:ContactsFolder",
    "tasks": "t:TasksFolder",
}
_ITEMS: Final[dict[Kind, str]] = {"calendar": "t:CalendarItem", "contacts": "t:Contact", "tasks": "t:Task"}


def _state_shape() -> Element:
    return shape(*(field(each) for each in _STATE), tagged(FOLLOW_UP), tagged(LAST_VERB))


class SyncStates(Single):
    """Asks what changed in a folder, with the whole state of each item; one answer."""

    SERVICE_NAME = "SyncFolderItems"

    def ask(self, folder: Place, token: str | None, limit: int) -> list[Answer]:
        return self._answers(
            element(
                "m:SyncFolderItems",
                _state_shape(),
                element("m:SyncFolderId", folder.element()),
                element("m:SyncState", text=token) if token else None,
                element("m:MaxChangesReturned", text=str(max(1, min(limit, MOST)))),
            )
        )


class GetStates(Single):
    """Asks for the state of items; one answer an item."""

    SERVICE_NAME = "GetItem"

    def ask(self, ids: Sequence[str]) -> list[Answer]:
        return self._answers(element("m:GetItem", _state_shape(), item_ids([(each, "") for each in ids])))


class UpdateStates(Single):
    """Changes items that have not changed since; one answer an item."""

    SERVICE_NAME = "UpdateItem"

    def ask(self, changes: Sequence[tuple[ItemState, Change]]) -> list[Answer]:
        made = [_item_change(state.id, state.version, updates(change)) for state, change in changes]
        return self._answers(_update(made))


class SetKey(Single):
    """Writes our key on items; one answer an item."""

    SERVICE_NAME = "UpdateItem"

    def ask(self, keys: Sequence[tuple[str, str, str]]) -> list[Answer]:
        return self._answers(
            _update(
                [
                    _item_change(id, version, [_set(delivery(), "t:Item", valued(delivery(), key))])
                    for id, version, key in keys
                ]
            )
        )


def _update(changes: Sequence[Element]) -> Element:
    return element(
        "m:UpdateItem",
        element("m:ItemChanges", *changes),
        MessageDisposition="SaveOnly",
        ConflictResolution="NeverOverwrite",
        SendMeetingInvitationsOrCancellations="SendToNone",
    )


def _item_change(id: str, version: str, updates: Sequence[Element]) -> Element:
    return element(
        "t:ItemChange", element("t:ItemId", Id=id, ChangeKey=version or None), element("t:Updates", *updates)
    )


def _set(path: Element, kind: str, value: Element) -> Element:
    return element("t:SetItemField", path, element(kind, value))


def updates(change: Change) -> list[Element]:
    """Return what an update changes."""
    made: list[Element] = []
    if change.keywords is not None:
        if change.keywords:
            value = element("t:Categories", *(element("t:String", text=each) for each in change.keywords))
            made.append(_set(field("item:Categories"), "t:Item", value))
        else:
            made.append(element("t:DeleteItemField", field("item:Categories")))
    if change.flagged is not None:
        value = valued(tagged(FOLLOW_UP), str(_FLAGGED if change.flagged else 0))
        made.append(_set(tagged(FOLLOW_UP), "t:Item", value))
    if change.verb:
        made.append(_set(tagged(LAST_VERB), "t:Item", valued(tagged(LAST_VERB), _CODES[change.verb])))
    elif change.verb is not None:
        made.append(element("t:DeleteItemField", tagged(LAST_VERB)))
    if change.seen is not None:
        value = element("t:IsRead", text="true" if change.seen else "false")
        made.append(_set(field("message:IsRead"), "t:Message", value))
    return made


class ExportItems(Single):
    """Asks for items as Exchange keeps them; one answer an item."""

    SERVICE_NAME = "ExportItems"

    def ask(self, ids: Sequence[str]) -> list[Answer]:
        return self._answers(element("m:ExportItems", item_ids([(each, "") for each in ids])))


class UploadItems(Single):
    """Creates items from what was exported; one answer an item."""

    SERVICE_NAME = "UploadItems"

    def ask(self, folder: Place, items: Sequence[Lossless]) -> list[Answer]:
        made = [
            element(
                "t:Item",
                element("t:ParentFolderId", Id=folder.id),
                element("t:Data", text=b64encode(b"".join(each.content.chunks())).decode("ascii")),
                CreateAction="CreateNew",
            )
            for each in items
        ]
        return self._answers(element("m:UploadItems", element("m:Items", *made)))


class CreateObjects(Single):
    """Creates appointments, contacts and tasks from iCalendar objects and vCards; one answer an item.

    Nobody is invited: what is copied was agreed on before.
    """

    SERVICE_NAME = "CreateItem"

    def ask(self, folder: Place, items: Sequence[Lossless]) -> list[Answer]:
        made = [
            element(
                _ITEMS.get(each.kind, "t:Message"),
                element("t:MimeContent", text=b64encode(b"".join(each.content.chunks())).decode("ascii")),
                valued(delivery(), each.key),
            )
            for each in items
        ]
        return self._answers(
            element(
                "m:CreateItem",
                element("m:SavedItemFolderId", folder.element()),
                element("m:Items", *made),
                MessageDisposition="SaveOnly",
                SendMeetingInvitations="SendToNone",
            )
        )


class MakeFolder(Single):
    """Makes a folder of a kind under another; one answer."""

    SERVICE_NAME = "CreateFolder"

    def ask(self, parent: Place, name: str, kind: Kind) -> list[Answer]:
        made = element(
            _FOLDERS.get(kind, "t:Folder"),
            element("t:FolderClass", text=CLASSES[kind]),
            element("t:DisplayName", text=name),
        )
        return self._answers(
            element("m:CreateFolder", element("m:ParentFolderId", parent.element()), element("m:Folders", made))
        )


class RenameFolder(Single):
    """Gives a folder another name; one answer."""

    SERVICE_NAME = "UpdateFolder"

    def ask(self, id: str, version: str, name: str) -> list[Answer]:
        set_name = element(
            "t:SetFolderField",
            field("folder:DisplayName"),
            element("t:Folder", element("t:DisplayName", text=name)),
        )
        change = element(
            "t:FolderChange",
            element("t:FolderId", Id=id, ChangeKey=version or None),
            element("t:Updates", set_name),
        )
        return self._answers(element("m:UpdateFolder", element("m:FolderChanges", change)))


class MoveFolder(Single):
    """Puts a folder under another; one answer."""

    SERVICE_NAME = "MoveFolder"

    def ask(self, id: str, parent: Place) -> list[Answer]:
        return self._answers(
            element(
                "m:MoveFolder",
                element("m:ToFolderId", parent.element()),
                element("m:FolderIds", element("t:FolderId", Id=id)),
            )
        )


class DeleteFolder(Single):
    """Removes a folder with all in it, for good; one answer."""

    SERVICE_NAME = "DeleteFolder"

    def ask(self, id: str) -> list[Answer]:
        return self._answers(
            element("m:DeleteFolder", element("m:FolderIds", element("t:FolderId", Id=id)), DeleteType="HardDelete")
        )


# -- reading


def read_states(message: Element) -> tuple[list[ItemState], list[str], list[str], str, bool]:
    """Return the items that changed, those of which only the read mark did, those that are gone, the new state, and
    whether there is more."""
    items: list[ItemState] = []
    marked: list[str] = []
    gone: list[str] = []
    holder = message.find(f"{M}Changes")
    for change in () if holder is None else holder.iterchildren(tag="*"):
        kind = local(change)
        if kind in {"Delete", "ReadFlagChange"}:
            found = read_item_id(change)
            if found is not None:
                (gone if kind == "Delete" else marked).append(found[0])
        elif kind in {"Create", "Update"}:
            for item in change.iterchildren(tag="*"):
                state = read_state(item)
                if state is not None:
                    items.append(state)
    more = not truth(message.findtext(f"{M}IncludesLastItemInRange", "true"))
    return items, marked, gone, message.findtext(f"{M}SyncState") or "", more


def read_state(item: Element) -> ItemState | None:
    """Return an item's state; None where it has no id."""
    ids = read_item_id(item)
    if ids is None:
        return None
    size = item.findtext(f"{T}Size") or ""
    item_class = item.findtext(f"{T}ItemClass") or ""
    flags: set[Flag] = set()
    if truth(item.findtext(f"{T}IsRead")):
        flags.add("seen")
    if truth(item.findtext(f"{T}IsDraft")) and item_class.startswith("IPM.Note"):
        flags.add("draft")
    if _number(item, FOLLOW_UP) == _FLAGGED:
        flags.add("flagged")
    verb = VERBS.get(_number(item, LAST_VERB), "")
    if verb:
        flags.add(verb)
    return ItemState(
        id=ids[0],
        version=ids[1],
        size=int(size) if size.isascii() and size.isdigit() and len(size) < 19 else None,
        flags=frozenset(flags),
        keywords=frozenset(read_categories(item)),
        received_at=when(item.findtext(f"{T}DateTimeReceived")),
        message_id=item.findtext(f"{T}InternetMessageId"),
        kind=next((kind for prefix, kind in _KINDS if item_class.startswith(prefix)), "mail"),
        item_class=item_class,
    )


def _number(item: Element, tag: tuple[str, str]) -> int:
    for each in item.iterfind(f"{T}ExtendedProperty"):
        path = each.find(f"{T}ExtendedFieldURI")
        if path is not None and (path.get("PropertyTag") or "").lower() == tag[0].lower():
            text = each.findtext(f"{T}Value") or ""
            return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    return 0


def read_exported(message: Element) -> bytes | None:
    """Return what an item was exported as; None where it can't be read."""
    try:
        return b64decode("".join((message.findtext(f"{M}Data") or "").split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def read_uploaded(message: Element) -> tuple[str, str] | None:
    """Return id and version of an item that was uploaded."""
    found = message.find(f"{M}ItemId")
    if found is None or not found.get("Id"):
        return None
    return found.get("Id", ""), found.get("ChangeKey", "")


def read_made(message: Element) -> tuple[str, str] | None:
    """Return id and version of the item that an answer shows."""
    for item in items_of(message):
        found = read_item_id(item)
        if found is not None:
            return found
    return None
