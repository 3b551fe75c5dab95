"""What happens to an item after its mail's commit: moved, marked or deleted; or put where an operator finds it.

Promises: an item that is gone already is done; a folder that somebody removed is made again.
"""

from __future__ import annotations

from typing import Final

from connectors.exchange.common_config import Watched
from connectors.exchange.organisation import Delete, Fault, Finish, Mark, Move, Organisation, Ref, where
from connectors.exchange.properties import REFUSED, TAKEN

NO_FOLDER: Final = frozenset({"ErrorFolderNotFound", "ErrorToFolderNotFound", "ErrorMoveCopyFailed"})
"""Codes that may mean that the folder to move into is not there any more."""


class Finishing:
    """Finishes items. The ids of folders to move into are remembered, a mailbox each."""

    def __init__(self, organisation: Organisation, refused_folder: str) -> None:
        self._organisation = organisation
        self._refused = refused_folder
        self._folders: dict[tuple[str, str], str] = {}

    async def prepare(self, rule: Watched) -> None:
        """Find out early that the folder for taken items can't be had. Raises: Fault."""
        if rule.finish == "move":
            await self._folder(rule.mailbox, rule.to)

    async def finish(self, rule: Watched, ref: Ref) -> None:
        """Do with a taken item what its folder's rule says. Raises: Fault."""
        if rule.finish == "mark":
            await self._organisation.finish(ref, Mark(TAKEN))
        elif rule.finish == "delete":
            await self._organisation.finish(ref, Delete(rule.purge))
        else:
            await self._move(ref, rule.to)

    async def refuse(self, ref: Ref) -> None:
        """Put an item that can't be taken where an operator finds it. Raises: Fault."""
        # Marked first: the move may change its id. A category that can't be set must not keep it where it is.
        try:
            await self._organisation.finish(ref, Mark(REFUSED))
        except Fault as e:
            if e.why != "refused":
                raise
        # The mark made a new version of the item; its id alone names it in any.
        await self._move(Ref(ref.mailbox, ref.id), self._refused)

    async def _move(self, ref: Ref, name: str) -> None:
        try:
            await self._finish(ref, Move(await self._folder(ref.mailbox, name)))
        except Fault as e:
            if e.code not in NO_FOLDER or self._folders.pop((ref.mailbox, name), None) is None:
                raise
            await self._finish(ref, Move(await self._folder(ref.mailbox, name)))

    async def _finish(self, ref: Ref, how: Finish) -> None:
        await self._organisation.finish(ref, how)

    async def _folder(self, mailbox: str, name: str) -> str:
        found = self._folders.get((mailbox, name))
        if found is None:
            found = await self._organisation.folder(mailbox, where(name), create=True)
            self._folders[mailbox, name] = found
        return found
