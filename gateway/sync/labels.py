"""A mailbox whose folders are labels, shown so that each message is in one folder: the one that says most of it.

There, a message is in every folder that it has the label of, and in one more that has all. Copied folder by folder it
would be as many messages; here it is in the inbox, else in the first of the users' own labels, else among what was
sent, else in the folder of all, and its further labels are keywords. Folders that are views (starred, important) show
nothing of their own, for their messages have flags that say so.
Source: Gmail IMAP extensions (X-GM-LABELS, X-GM-MSGID); RFC 6154 (\\All); RFC 8457 ($Important).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.mailbox import Changes, Folder, FolderRole, ItemState, OpenMailbox
from gateway.sync.folders import is_wanted
from gateway.sync.values import Policy

VIEWS: Final = frozenset(("[Gmail]", "[Google Mail]"))
"""Below these are the folders of the system's own labels."""
ALONE: Final[frozenset[FolderRole]] = frozenset(("trash", "junk", "drafts"))
"""What is in one of these is in no other that matters."""
_LABELS: Final[Mapping[FolderRole, str]] = {"inbox": "\\Inbox", "sent": "\\Sent", "archive": ""}
_KEYWORDS: Final[Mapping[str, str]] = {"\\Important": "$Important"}
_ROLES: Final[Mapping[str, FolderRole]] = {
    "\\Draft": "drafts",
    "\\Drafts": "drafts",
    "\\Trash": "trash",
    "\\Spam": "junk",
}


def label_of(folder: Folder) -> str | None:
    """Return the label that a folder is, "" for the one that has all; None for one that is a view."""
    if folder.role is not None and folder.role in _LABELS:
        return _LABELS[folder.role]
    if folder.role == "view" or (folder.role is None and folder.path[0] in VIEWS):
        return None
    return "/".join(folder.path)


def _rank(label: str) -> tuple[int, str]:
    return {"\\Inbox": 0, "\\Sent": 2, "": 3}.get(label, 1), label


def keywords_at_home(
    own: str, role: FolderRole | None, labels: Iterable[str], known: frozenset[str]
) -> frozenset[str] | None:
    """Return the keywords that an item's further labels make; None where its home is another folder.

    `own` and `role`: of the folder in which it was listed. `known`: the labels whose folders are kept in step.
    """
    labels = frozenset(labels)
    others = (labels & known) - {own}
    if role not in ALONE:
        if any(_ROLES.get(label) in ALONE for label in labels):
            return None
        if any(_rank(label) < _rank(own) for label in others):
            return None
    said = {_KEYWORDS[label] for label in labels if label in _KEYWORDS}
    return frozenset(said | {label for label in labels - {own} if label and not label.startswith("\\")})


class ByLabels:
    """The mailbox, shown so. What is not named here is the mailbox's own."""

    def __init__(self, box: OpenMailbox, policy: Policy) -> None:
        self._box = box
        self._policy = policy
        self._folders: dict[str, Folder] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._box, name)

    async def folders(self) -> list[Folder]:
        """Return the folders that may be a message's home, without how much is in them."""
        found = await self._box.folders()
        if not self._box.holds().labels:
            return found
        self._folders = {folder.id: folder for folder in found}
        return [replace(folder, total=None, unread=None) for folder in found if label_of(folder) is not None]

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        """Return what changed of what has its home in the folder; an item that has another one is told as gone."""
        told = await self._box.changes(folder, token, limit)
        if not self._box.holds().labels:
            return told
        if folder not in self._folders:
            await self.folders()
        here = self._folders.get(folder)
        own = label_of(here) if here is not None else None
        if here is None or own is None:
            return told
        wanted = (each for each in self._folders.values() if is_wanted(each.path, self._policy))
        known = frozenset(label for each in wanted if (label := label_of(each)) is not None)
        kept: list[ItemState] = []
        gone = list(told.removed)
        for item in told.items:
            further = keywords_at_home(own, here.role, item.labels, known)
            if further is None:
                gone.append(item.id)
            else:
                kept.append(replace(item, keywords=item.keywords | further))
        return replace(told, items=tuple(kept), removed=tuple(gone))


def by_labels(box: OpenMailbox, across: OpenMailbox, policy: Policy) -> OpenMailbox:
    """Return the mailbox that is copied from as the policy wants its labels.

    In `mirror` and `two-way`, and where both sides have labels, each label is a folder like any.
    """
    if policy.labels != "keywords" or policy.mode != "copy" or across.holds().labels:
        return box
    made: Any = ByLabels(box, policy)
    shown: OpenMailbox = made
    return shown
