"""Which folders of a mailbox without a server's word are for what: by the names that mail programs give them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from gateway.contract import Folder, FolderRole

_ROLES: Final[dict[str, FolderRole]] = {
    "sent": "sent",
    "sent items": "sent",
    "sent messages": "sent",
    "sent mail": "sent",
    "sent-mail": "sent",
    "drafts": "drafts",
    "draft": "drafts",
    "trash": "trash",
    "deleted items": "trash",
    "deleted messages": "trash",
    "junk": "junk",
    "junk e-mail": "junk",
    "junk mail": "junk",
    "spam": "junk",
    "archive": "archive",
    "archives": "archive",
    "unsent messages": "outbox",
    "outbox": "outbox",
}


def with_roles(folders: Iterable[Folder]) -> list[Folder]:
    """Return folders, parents first, each role given to the first folder of the top that has its name, or to one right
    below the inbox."""
    folders = list(folders)
    given: set[FolderRole] = {folder.role for folder in folders if folder.role is not None}
    made: list[Folder] = []
    for folder in sorted(folders, key=lambda folder: (len(folder.path), folder.path)):
        top = folder.path[1:] if len(folder.path) > 1 and folder.path[0].upper() == "INBOX" else folder.path
        role = _ROLES.get(top[0].casefold()) if len(top) == 1 and folder.role is None else None
        if role is not None and role not in given:
            given.add(role)
            folder = replace(folder, role=role)
        made.append(folder)
    return made
