"""Folders: found by name, made, and told by their ids (MS-OXWSFOLD)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.exchange.ews.answer import Answer
from connectors.exchange.ews.call import Single
from connectors.exchange.ews.calls.paths import Place, equals, field, shape
from connectors.exchange.ews.xml import Element, M, T, element, truth


@dataclass(frozen=True, slots=True)
class FolderRow:
    """A folder as a list shows it; `role` is the name that every mailbox has it by, "" for others."""

    id: str
    version: str = ""
    parent: str = ""
    name: str = ""
    folder_class: str = ""
    role: str = ""
    total: int | None = None
    unread: int | None = None


ROW = ("folder:ParentFolderId", "folder:FolderClass", "folder:DisplayName", "folder:TotalCount", "folder:UnreadCount")


class GetFolder(Single):
    """Asks for folders; one answer a folder."""

    SERVICE_NAME = "GetFolder"

    def ask(self, places: Sequence[Place], fields: Sequence[str] = ()) -> list[Answer]:
        return self._answers(
            element(
                "m:GetFolder",
                shape(*(field(each) for each in fields), name="m:FolderShape"),
                element("m:FolderIds", *(each.element() for each in places)),
            )
        )


class FindFolder(Single):
    """Asks for the folders under one; one answer."""

    SERVICE_NAME = "FindFolder"

    def ask(self, parent: Place, name: str | None = None, *, deep: bool = False, offset: int = 0) -> list[Answer]:
        return self._answers(
            element(
                "m:FindFolder",
                shape(*(field(each) for each in ROW), name="m:FolderShape"),
                element("m:IndexedPageFolderView", MaxEntriesReturned="500", Offset=str(offset), BasePoint="Beginning"),
                None if name is None else element("m:Restriction", equals(field("folder:DisplayName"), name)),
                element("m:ParentFolderIds", parent.element()),
                Traversal="Deep" if deep else "Shallow",
            )
        )


class CreateFolder(Single):
    """Makes a folder under another; one answer."""

    SERVICE_NAME = "CreateFolder"

    def ask(self, parent: Place, name: str, folder_class: str = "IPF.Note") -> list[Answer]:
        made = element("t:Folder", element("t:FolderClass", text=folder_class), element("t:DisplayName", text=name))
        return self._answers(
            element("m:CreateFolder", element("m:ParentFolderId", parent.element()), element("m:Folders", made))
        )


def read_folders(message: Element) -> list[FolderRow]:
    """Return the folders of a GetFolder, CreateFolder or FindFolder answer."""
    holder = message.find(f"{M}Folders")
    if holder is None:
        holder = message.find(f"{M}RootFolder/{T}Folders")
    return [] if holder is None else [row for each in holder.iterchildren(tag="*") if (row := read_folder(each))]


def read_folder(folder: Element) -> FolderRow | None:
    """Return one folder; None where it has no id."""
    found = folder.find(f"{T}FolderId")
    if found is None or not found.get("Id"):
        return None
    parent = folder.find(f"{T}ParentFolderId")
    return FolderRow(
        id=found.get("Id", ""),
        version=found.get("ChangeKey", ""),
        parent="" if parent is None else parent.get("Id", ""),
        name=folder.findtext(f"{T}DisplayName") or "",
        folder_class=folder.findtext(f"{T}FolderClass") or "",
        role=folder.findtext(f"{T}DistinguishedFolderId") or "",
        total=_number(folder.findtext(f"{T}TotalCount")),
        unread=_number(folder.findtext(f"{T}UnreadCount")),
    )


def read_more(message: Element) -> int | None:
    """Return where the next part of a list begins; None where this was the last."""
    root = message.find(f"{M}RootFolder")
    if root is None or truth(root.get("IncludesLastItemInRange", "true")):
        return None
    return _number(root.get("IndexedPagingOffset"))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None
