"""Folders made, renamed and removed so that both sides have the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from gateway.mailbox import Folder, OpenMailbox, StoreFault
from gateway.sync.acting import Actor
from gateway.sync.ends import End
from gateway.sync.folders import Paired, all_escaped
from gateway.sync.state import State
from gateway.sync.values import SIDES, FolderPair, Policy, Side, other

_NO_NAME: Final = "5.3.3"


class FolderWork:
    """Works on folders of one pairing; raises StoreFault."""

    def __init__(
        self,
        pairing: str,
        ends: dict[Side, End],
        state: State,
        policy: Policy,
        folders: dict[int, FolderPair],
        actor: Actor,
    ) -> None:
        self._pairing = pairing
        self._ends = ends
        self._state = state
        self._policy = policy
        self._folders = folders
        self._actor = actor
        self._renamed: dict[Side, dict[tuple[str, ...], tuple[str, ...]]] = {"left": {}, "right": {}}
        """Folders that could not be made under their names, and where they are."""

    async def rename(self, made: Paired) -> None:
        """Give the right's folders the names that the left's have now."""
        for place, path in made.renamed:
            pair = made.pairs[place]
            assert pair.right is not None
            id = pair.right
            if made.paths[place]["right"] != path:
                renamed = await self._named("right", path, lambda box, path, id=id: box.rename_folder(id, path))  # type: ignore[misc]  # mypy takes no default of a lambda
                made.paths[place]["right"] = renamed.path
                if renamed.id != id:  # the ids of its items are others, too
                    pair = replace(pair, right=renamed.id, right_token=None, right_mark=None)
            made.pairs[place] = pair
            await self._state.put_folder(self._pairing, pair)

    async def make(
        self, pair: FolderPair, paths: dict[Side, tuple[str, ...]], subscribed: Mapping[Side, Mapping[str, bool]]
    ) -> FolderPair:
        """Return a new pair of folders with the one that is missing made; `paths` is brought to where it is."""
        kind = pair.kind
        for side in SIDES:
            source, id = (pair.right, pair.left) if side == "left" else (pair.left, pair.right)
            wanted = subscribed[other(side)].get(source or "", True)
            if id is None:
                made = await self._named(side, paths[side], lambda box, path: box.create_folder(path, kind))
                paths[side], id, is_subscribed = made.path, made.id, made.subscribed
                pair = replace(pair, left=id) if side == "left" else replace(pair, right=id)
            elif side == "left":
                continue
            else:
                is_subscribed = subscribed[side].get(id, True)
                wanted = wanted or is_subscribed  # nobody loses one that was there
            end = self._ends[side]
            if end.mailbox.holds().subscriptions and is_subscribed != wanted:
                await end.pace.ask(
                    lambda end=end, id=id, on=wanted: end.mailbox.subscribe(id, on)  # type: ignore[misc]  # as above
                )
        return replace(pair, id=await self._state.put_folder(self._pairing, pair))

    async def _named(
        self, side: Side, path: tuple[str, ...], call: Callable[[OpenMailbox, tuple[str, ...]], Awaitable[Folder]]
    ) -> Folder:
        """Give a folder a path, below where those above it are; a name that is refused is written without any sign that
        may be why."""
        end, renamed, planned = self._ends[side], self._renamed[side], path
        for depth in range(len(path) - 1, 0, -1):
            if path[:depth] in renamed:
                path = (*renamed[path[:depth]], *path[depth:])
                break
        try:
            return await end.pace.ask(lambda: call(end.mailbox, path))
        except StoreFault as fault:
            plain = (*path[:-1], all_escaped(path[-1]))
            if fault.status.code != _NO_NAME or plain == path:
                raise
        made = await end.pace.ask(lambda: call(end.mailbox, plain))
        renamed[planned] = made.path
        return made

    async def drop_lost(self, lost: Mapping[int, set[Side]]) -> None:
        """Remove folders across that were removed on one side, once nothing is in them, and forget them."""
        for number, sides in lost.items():
            folder = self._folders[number]
            if await self._state.count(self._pairing, number):
                continue
            here = [side for side in SIDES if side not in sides and self._actor.folder_of(number, side) is not None]
            if sides == {"left"} and self._policy.mode == "copy":
                continue
            if sides == {"right"} and self._policy.mode != "two-way":
                continue
            if here and self._policy.delete != "keep":
                side = here[0]
                id, end = self._actor.folder_of(number, side), self._ends[side]
                assert id is not None
                found = next((each for each in await end.pace.ask(end.mailbox.folders) if each.id == id), None)
                has_children = found is not None and any(
                    paths[side][: len(found.path)] == found.path
                    for at, paths in self._actor.paths.items()
                    if at != number and at not in lost
                )
                if found is None or found.role is not None or has_children or found.total != 0:
                    continue
                await end.pace.ask(lambda end=end, id=id: end.mailbox.remove_folder(id))  # type: ignore[misc]  # as above
            elif here:
                continue
            await self._state.drop_folder(folder.id)
