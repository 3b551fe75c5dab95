"""Synchronisation: SyncFolderItems and SyncFolderHierarchy ([MS-OXWSSYNC])."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.peers.ews import ids, shapes
from tests.peers.ews.call import Call, Payload
from tests.peers.ews.properties import View
from tests.peers.ews.soap import Element, M, T, element, under

_MOST: Final = 512
"""The most changes of one answer, whatever is asked for ([MS-OXWSSYNC])."""


def sync_folder_items(call: Call) -> Element:
    most = min(_MOST, int(call.need("m:MaxChangesReturned").text or 1))
    shape = shapes.asked(call.find("m:ItemShape"))
    ignored = {each.get("Id") for each in call.body.iterfind(f"{M}Ignore/{T}ItemId")}

    def changed(folder_id: Element) -> Payload:
        folder = call.folder(folder_id)
        generation = call.store.generation(call.domain)
        state = call.find("m:SyncState")
        if state is not None and state.text:
            after, until = ids.of_sync_state(state.text, folder.id, generation)
        else:
            after, until = 0, call.store.last_change() + 1
        changes = element(f"{M}Changes")
        if until:
            # The first time: what there is, in pages by its number; then what happened since the first page.
            numbers = [each for each in call.store.ids_in(folder.id) if each > after]
            some = numbers[:most]
            is_last = len(some) == len(numbers)
            for item in call.store.items(some):
                if ids.identifier("item", item.id) not in ignored:
                    changes.append(
                        under(element(f"{T}Create"), [shapes.item(View(call.store, item), shape, whole=False)])
                    )
            token = (until - 1, 0) if is_last else (some[-1], until)
        else:
            happened = call.store.changes(folder.id, after, most + 1)
            is_last = len(happened) <= most
            happened = happened[:most]
            for made in _told(call, folder.id, happened, shape):
                if made[-1].get("Id") not in ignored:
                    changes.append(made)
            token = (happened[-1][0] if happened else after, 0)
        said = element(f"{M}SyncState", ids.sync_state(folder.id, generation, *token))
        return (said, element(f"{M}IncludesLastItemInRange", "true" if is_last else "false"), changes)

    return call.answer([call.need("m:SyncFolderId")[0]], changed)


def _told(call: Call, folder: int, happened: list[tuple[int, int, str]], shape: shapes.Shape) -> list[Element]:
    """Return one change for each item that something happened to: what it comes to in the end."""
    kinds: dict[int, list[str]] = {}
    for _, item, kind in happened:
        kinds.setdefault(item, []).append(kind)
    here = {each.id: each for each in call.store.items(kinds) if each.folder == folder}
    told: list[Element] = []
    for number, of in kinds.items():
        item = here.get(number)
        if item is None:
            if "create" not in of or of[0] != "create":
                told.append(under(element(f"{T}Delete"), [shapes.item_id(number, 1)]))
        elif "create" in of:
            told.append(under(element(f"{T}Create"), [shapes.item(View(call.store, item), shape, whole=False)]))
        elif set(of) == {"read"}:
            read = element(f"{T}IsRead", "true" if item.is_read else "false")
            told.append(under(element(f"{T}ReadFlagChange"), [shapes.item_id(number, item.version), read]))
        else:
            told.append(under(element(f"{T}Update"), [shapes.item(View(call.store, item), shape, whole=False)]))
    return told


def sync_folder_hierarchy(call: Call) -> Element:
    shape = shapes.asked(call.find("m:FolderShape"))

    def changed(folder_id: Element) -> Payload:
        top = call.folder(folder_id)
        state = call.find("m:SyncState")
        generation = call.store.generation(call.domain)
        after = ids.of_sync_state(state.text, top.id, generation)[0] if state is not None and state.text else 0
        changes = element(f"{M}Changes")
        here = call.store.children(top.id, deep=True)
        if not after:
            for each in here:
                changes.append(under(element(f"{T}Create"), [shapes.folder(call.store, each, shape)]))
        else:
            known = {each.id: each for each in here}
            for number, made_since in call.store.folder_changes(top.mailbox, after).items():
                each = known.get(number)
                if each is None:
                    changes.append(under(element(f"{T}Delete"), [shapes.folder_id(number)]))
                else:
                    tag = "Create" if made_since else "Update"
                    changes.append(under(element(f"{T}{tag}"), [shapes.folder(call.store, each, shape)]))
        said = element(f"{M}SyncState", ids.sync_state(top.id, generation, max(1, call.store.last_change())))
        return (said, element(f"{M}IncludesLastFolderInRange", "true"), changes)

    named = call.find("m:SyncFolderId")
    if named is None:
        named = under(element(f"{M}SyncFolderId"), [element(f"{T}DistinguishedFolderId", Id="msgfolderroot")])
    return call.answer([named[0]], changed)


HANDLERS: Final[dict[str, Callable[[Call], Element]]] = {
    "SyncFolderItems": sync_folder_items,
    "SyncFolderHierarchy": sync_folder_hierarchy,
}
