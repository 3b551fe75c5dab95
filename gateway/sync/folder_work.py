"""Folders made, renamed and removed so that both sides have the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.sync.acting import Actor
from gateway.sync.folders import Paired
from gateway.sync.state import State
from gateway.sync.transfer import End
from gateway.sync.values import SIDES, FolderPair, Policy, Side


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

    async def rename(self, made: Paired) -> None:
        end = self._ends["right"]
        for place, path in made.renamed:
            pair = made.pairs[place]
            assert pair.right is not None
            id = pair.right
            if made.paths[place]["right"] != path:
                renamed = await end.pace.ask(lambda id=id, path=path: end.mailbox.rename_folder(id, path))  # type: ignore[misc]  # mypy takes no default of a lambda
                pair = replace(pair, right=renamed.id)
            made.pairs[place] = pair
            await self._state.put_folder(self._pairing, pair)

    async def make(
        self, pair: FolderPair, paths: Mapping[Side, tuple[str, ...]], subscribed: Mapping[str, bool]
    ) -> FolderPair:
        for side in SIDES:
            if (pair.left if side == "left" else pair.right) is not None:
                continue
            end, path = self._ends[side], paths[side]
            made = await end.pace.ask(lambda end=end, path=path: end.mailbox.create_folder(path))  # type: ignore[misc]  # as above
            pair = replace(pair, left=made.id) if side == "left" else replace(pair, right=made.id)
            source = pair.right if side == "left" else pair.left
            wanted = subscribed.get(source or "", True)
            if end.mailbox.holds().subscriptions and made.subscribed != wanted:
                await end.pace.ask(
                    lambda end=end, id=made.id, on=wanted: end.mailbox.subscribe(id, on)  # type: ignore[misc]  # as above
                )
        return replace(pair, id=await self._state.put_folder(self._pairing, pair))

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
