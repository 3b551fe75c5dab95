"""Folders: [MS-OXWSFOLD], and FindFolder of [MS-OXWSSRCH]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.peers.ews import restrictions, shapes
from tests.peers.ews.call import Call, Payload, no_folders
from tests.peers.ews.paging import page, root_folder
from tests.peers.ews.properties import folder_value
from tests.peers.ews.soap import Element, ItemError, M, T, element, name, under
from tests.peers.ews.store import Folder

_CLASSES: Final = {
    "CalendarFolder": "IPF.Appointment",
    "ContactsFolder": "IPF.Contact",
    "TasksFolder": "IPF.Task",
    "Folder": "IPF.Note",
}


def get_folder(call: Call) -> Element:
    shape = shapes.asked(call.find("m:FolderShape"))
    return call.answer(
        call.need("m:FolderIds"), lambda each: _one(shapes.folder(call.store, call.folder(each), shape)), no_folders
    )


def find_folder(call: Call) -> Element:
    restriction = call.find("m:Restriction")
    shape = shapes.asked(call.find("m:FolderShape"))
    deep = call.body.get("Traversal") == "Deep"

    def found(parent: Element) -> Payload:
        inside = [
            each
            for each in call.store.children(call.folder(parent).id, deep)
            if restriction is None
            or restrictions.holds(restriction[0], lambda key, each=each: folder_value(call.store, each, key))
        ]
        some, last = page(call, inside, "IndexedPageFolderView", "FractionalPageFolderView")
        folders = under(element(f"{T}Folders"), [shapes.folder(call.store, each, shape) for each in some])
        return (under(root_folder(len(inside), last, len(inside)), [folders]),)

    return call.answer(call.need("m:ParentFolderIds"), found)


def create_folder(call: Call) -> Element:
    parent_id = call.need("m:ParentFolderId")[0]

    def made(new: Element) -> Payload:
        parent = call.folder(parent_id)
        title = new.findtext(f"{T}DisplayName") or ""
        if not title:
            raise ItemError("ErrorInvalidPropertySet", "A folder has a name.")
        _check_free(call, parent, title)
        kind = new.findtext(f"{T}FolderClass") or _CLASSES.get(name(new), "IPF.Note")
        return _bare(call, call.store.add_folder(parent.mailbox, parent.id, title, kind))

    return call.answer(call.need("m:Folders"), made, no_folders)


def update_folder(call: Call) -> Element:
    def changed(change: Element) -> Payload:
        folder = call.folder(change[0])
        for update in change[1]:
            new = update[1] if len(update) > 1 else None
            title = new.findtext(f"{T}DisplayName") if new is not None else None
            if title:
                if folder.role:
                    raise ItemError("ErrorDistinguishedFolderUpdate", "A folder of Exchange's own keeps its name.")
                _check_free(call, call.store.folder(folder.parent), title, but=folder.id)
                call.store.alter_folder(folder.id, name=title)
            kind = new.findtext(f"{T}FolderClass") if new is not None else None
            if kind:
                call.store.alter_folder(folder.id, kind=kind)
        return _bare(call, folder.id)

    return call.answer(call.need("m:FolderChanges"), changed, no_folders)


def move_folder(call: Call) -> Element:
    target_id = call.need("m:ToFolderId")[0]

    def moved(folder_id: Element) -> Payload:
        folder, target = call.folder(folder_id), call.folder(target_id)
        if folder.role:
            raise ItemError("ErrorMoveDistinguishedFolder", "A folder of Exchange's own stays where it is.")
        _check_free(call, target, folder.name)
        call.store.alter_folder(folder.id, parent=target.id)
        return _bare(call, folder.id)

    return call.answer(call.need("m:FolderIds"), moved, no_folders)


def delete_folder(call: Call) -> Element:
    how = call.body.get("DeleteType")

    def deleted(folder_id: Element) -> Payload:
        folder = call.folder(folder_id)
        if folder.role:
            raise ItemError("ErrorDeleteDistinguishedFolder", "A folder of Exchange's own cannot be deleted.")
        if how == "MoveToDeletedItems":
            trash = call.store.well_known(folder.mailbox, "deleteditems")
            call.store.alter_folder(folder.id, parent=trash.id if trash else folder.parent)
        else:
            call.store.remove_folder(folder.id)
        return ()

    return call.answer(call.need("m:FolderIds"), deleted)


def empty_folder(call: Call) -> Element:
    def emptied(folder_id: Element) -> Payload:
        folder = call.folder(folder_id)
        trash = call.store.well_known(folder.mailbox, "deleteditems")
        for each in call.store.ids_in(folder.id):
            if call.body.get("DeleteType") == "MoveToDeletedItems" and trash is not None:
                call.store.copy(each, trash.id, move=True)
            else:
                call.store.remove(each)
        if call.body.get("DeleteSubFolders") in ("true", "1"):
            for below in call.store.children(folder.id):
                call.store.remove_folder(below.id)
        return ()

    return call.answer(call.need("m:FolderIds"), emptied)


def _check_free(call: Call, parent: Folder | None, title: str, but: int = 0) -> None:
    inside = call.store.children(parent.id) if parent else ()
    if any(each.name.lower() == title.lower() and each.id != but for each in inside):
        raise ItemError("ErrorFolderExists", f"A folder with the specified name already exists., {title}")


def _one(folder: Element) -> Payload:
    return (under(element(f"{M}Folders"), [folder]),)


def _bare(call: Call, number: int) -> Payload:
    found = call.store.folder(number)
    assert found is not None
    return _one(shapes.folder(call.store, found, shapes.asked(None)))


HANDLERS: Final[dict[str, Callable[[Call], Element]]] = {
    "GetFolder": get_folder,
    "FindFolder": find_folder,
    "CreateFolder": create_folder,
    "UpdateFolder": update_folder,
    "MoveFolder": move_folder,
    "DeleteFolder": delete_folder,
    "EmptyFolder": empty_folder,
}
