"""What changed in a folder since a state that the server gave out (MS-OXWSSYNC)."""

from __future__ import annotations

from typing import Final

from connectors.exchange.ews.answer import Answer
from connectors.exchange.ews.call import Single
from connectors.exchange.ews.calls.items import LISTED, read_seen
from connectors.exchange.ews.calls.paths import Place, field, read_item_id, shape
from connectors.exchange.ews.xml import Element, M, element, local, truth
from connectors.exchange.organisation import Page, Seen

MOST: Final = 512
"""What Exchange returns at most (MS-OXWSSYNC §3.1.4.2.3.8)."""


class SyncFolderItems(Single):
    """Asks what changed in a folder; one answer."""

    SERVICE_NAME = "SyncFolderItems"

    def ask(self, folder: Place, state: str | None, limit: int) -> list[Answer]:
        return self._answers(
            element(
                "m:SyncFolderItems",
                shape(*(field(each) for each in LISTED)),
                element("m:SyncFolderId", folder.element()),
                element("m:SyncState", text=state) if state else None,
                element("m:MaxChangesReturned", text=str(max(1, min(limit, MOST)))),
            )
        )


def read_page(message: Element, mailbox: str) -> Page:
    """Return what changed. A change of the read flag alone is none of ours."""
    seen: list[Seen] = []
    changed: list[Seen] = []
    gone: list[str] = []
    holder = message.find(f"{M}Changes")
    for change in () if holder is None else holder.iterchildren(tag="*"):
        kind = local(change)
        if kind == "Delete":
            found = read_item_id(change)
            if found is not None:
                gone.append(found[0])
        elif kind in {"Create", "Update"}:
            for item in change.iterchildren(tag="*"):
                each = read_seen(item, mailbox)
                if each is not None:
                    (seen if kind == "Create" else changed).append(each)
    return Page(
        seen=tuple(seen),
        gone=tuple(gone),
        changed=tuple(changed),
        token=message.findtext(f"{M}SyncState") or "",
        more=not truth(message.findtext(f"{M}IncludesLastItemInRange", "true")),
    )
