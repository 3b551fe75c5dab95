"""What a mailbox store promises of its folders, and how its suite meets one; the rest is in `mailbox`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from gateway.contract import (
    FLAGS,
    KINDS,
    ROLES,
    Appended,
    Changes,
    Content,
    Folder,
    Holds,
    ItemState,
    MailboxStore,
    NewItem,
    OpenMailbox,
    Scope,
    StoreFault,
)
from gateway.testing.bench import Bench, MailboxDriver, promise
from gateway.testing.samples import numbered
from gateway.testing.suites.connector import ConnectorSuite

DECLARED: Final = "a store holds what it declares, and nothing that it declares absent"
EACH: Final = "per-item trouble is a Status in the list, in the order asked; the others are done"
TOKENS: Final = "changes() with a token tells what happened since, and nothing that happened is left out"


def item(number: int, **more: Any) -> NewItem:
    """Return a numbered item to be appended."""
    return NewItem(f"kit.{number}", Content(numbered(number)), **more)


class MailboxFolders(ConnectorSuite):
    """What the tests of mailbox stores share, and those of folders."""

    _driver: MailboxDriver
    _name: str

    @asynccontextmanager
    async def _opened(self, connector: Bench) -> AsyncIterator[tuple[Holds, OpenMailbox]]:
        made = connector.make()
        await made.start()
        self._driver, self._name = connector.driver, connector.driver.mailbox()
        try:
            async with made.open(self._name) as opened:
                yield opened.holds(), opened
        finally:
            await made.stop()

    async def _append(self, opened: OpenMailbox, folder: str, items: Sequence[NewItem]) -> list[str]:
        """Put items into a folder, by the store or, where it takes none, by its peer; return their ids in order."""
        if not opened.holds().writable:
            return await self._put(opened, folder, [b"".join(each.content.chunks()) for each in items])
        made = await opened.append(folder, items)
        bad = [each for each in made if not isinstance(each, Appended)]
        promise(not bad and len(made) == len(items), EACH, f"answered {made!r} to {len(items)} sound items")
        return [each.id for each in made if isinstance(each, Appended)]

    async def _put(self, opened: OpenMailbox, folder: str, items: Sequence[bytes]) -> list[str]:
        before = {state.id for state in (await self._all(opened, folder)).items}
        self._driver.put(self._name, items)
        new = [state.id for state in (await self._all(opened, folder)).items if state.id not in before]
        promise(len(new) == len(items), "changes() tells every item once", f"tells {len(new)} new ones of {len(items)}")
        left = [(id, b"".join(found.chunks())) async for id, found in opened.fetch(new) if isinstance(found, Content)]
        ids = []
        for octets in items:
            at = next((n for n, (_, got) in enumerate(left) if self._driver.carried(octets, got)), None)
            promise(at is not None, DECLARED, f"has no item that is what came in: {octets[:200]!r}")
            assert at is not None
            ids.append(left.pop(at)[0])
        return ids

    async def _inbox(self, opened: OpenMailbox) -> str:
        return next(folder.id for folder in await opened.folders() if folder.role == "inbox")

    async def _all(self, opened: OpenMailbox, folder: str, token: str | None = None, limit: int = 500) -> Changes:
        """Return all pages as one."""
        items: dict[str, ItemState] = {}
        removed: dict[str, None] = {}
        reset = False
        for _ in range(1000):
            page = await opened.changes(folder, token, limit)
            reset = reset or page.reset
            for state in page.items:
                items[state.id] = state
                removed.pop(state.id, None)
            for id in page.removed:
                removed[id] = None
                items.pop(id, None)
            token = page.token
            if not page.more:
                return Changes(tuple(items.values()), tuple(removed), token, False, reset)
        raise AssertionError("changes() has no end")

    async def _state(self, opened: OpenMailbox, folder: str, id: str) -> ItemState:
        found = [state for state in (await self._all(opened, folder)).items if state.id == id]
        promise(len(found) == 1, "changes() without a token tells every item once", f"tells {id} {len(found)} times")
        return found[0]

    def test_it_is_a_mailbox_store(self, connector: Bench) -> None:
        made = connector.make()
        promise(isinstance(made, MailboxStore), "a mailbox store has holds() and open()", f"is {made!r}")
        holds = made.holds()
        promise(made.holds() == holds, "holds() is pure", "answers differently each time")
        promise(holds.flags <= FLAGS and holds.kinds <= KINDS, "holds() names what the contract knows", f"{holds!r}")

    def test_folders_are_told_with_their_parents_first(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                made = await self._deep_folder(opened) if holds.writable else None
                told = await opened.folders()
                paths = [folder.path for folder in told]
                for path in paths:
                    known = len(path) == 1 or path[:-1] in paths[: paths.index(path)]
                    promise(known, "each parent comes before its children", f"tells {path} too early")
                promise(len(set(paths)) == len(paths) == len({f.id for f in told}), "a folder is told once", f"{paths}")
                ids = {folder.id for folder in told}
                promise(made is None or made.id in ids, "a folder that was made is told", f"{paths}")
                roles = [folder.role for folder in told if folder.role is not None]
                promise("inbox" in roles and len(set(roles)) == len(roles), "a role is one folder's", f"{roles}")
                promise(set(roles) <= ROLES, "roles are those of the contract", f"{roles}")
                kinds = {folder.kind for folder in told}
                promise(kinds <= holds.kinds, DECLARED, f"tells folders of {kinds}")

        connector.run(body())

    async def _deep_folder(self, opened: OpenMailbox) -> Folder:
        path = ("Kit", "Süd & Söhne", "2026")
        made = await opened.create_folder(path)
        promise(made.path == path, "a folder's path is as it was asked", f"{made!r}")
        again = await opened.create_folder(path)
        promise(again.id == made.id, "create_folder() returns the folder that is there", f"{again!r}")
        return made

    @pytest.mark.parametrize("name", ["a/b", "a.b", "a\\b", "%", "*", "~", "INBOX x", "& ü €", "日本", " x", "'\"<>"])
    def test_any_name_is_a_folders_name(self, connector: Bench, name: str) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                if set(name) & set(holds.forbidden_in_names) or not holds.writable:
                    return
                try:
                    made = await opened.create_folder((name,))
                except StoreFault as fault:
                    promise(
                        fault.status.code == "5.3.3" and fault.scope is Scope.MESSAGE,
                        "a name that the store can't have is refused by 5.3.3 in the scope MESSAGE",
                        f"raised {fault.scope.name} {fault.status}",
                    )
                    return
                told = {folder.id: folder for folder in await opened.folders()}
                promise(told[made.id].path == (name,), "a folder's name is as it was given", f"{told[made.id]!r}")

        connector.run(body())

    def test_folders_are_renamed_moved_and_removed(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                if not holds.writable:
                    return
                one = await opened.create_folder(("One",))
                (id,) = await self._append(opened, one.id, [item(1)])
                await opened.create_folder(("Two",))
                moved = await opened.rename_folder(one.id, ("Two", "Uno"))
                promise(moved.path == ("Two", "Uno"), "a folder is renamed and moved as asked", f"{moved!r}")
                listed = [state.id for state in (await self._all(opened, moved.id)).items]
                same = listed == [id] if holds.stable_ids else len(listed) == 1
                promise(same, "a renamed folder keeps its items, and stable ids", f"has {listed}, had {id}")
                await opened.remove_folder(moved.id)
                await opened.remove_folder(moved.id)  # done already
                gone = moved.id not in {folder.id for folder in await opened.folders()}
                promise(gone, "a removed folder is told no more", "still tells it")

        connector.run(body())

    def test_folders_are_subscribed_as_declared(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                if not holds.writable:
                    return
                made = await opened.create_folder(("Subscribed",))
                for on in (False, True):
                    await opened.subscribe(made.id, on)
                    told = {folder.id: folder.subscribed for folder in await opened.folders()}
                    expected = on if opened.holds().subscriptions else True
                    promise(told[made.id] == expected, DECLARED, f"told {told[made.id]} of a folder that was set {on}")

        connector.run(body())

    def test_what_is_told_of_a_mailbox(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                less = opened.holds()
                fits = less.flags <= holds.flags and less.kinds <= holds.kinds and less.native in (holds.native, None)
                promise(fits, "an open mailbox holds what its store does, or less", f"{less!r}")
                facts = await opened.facts()
                sizes = (facts.used_bytes, facts.limit_bytes)
                promise(all(size is None or size >= 0 for size in sizes), "facts() tells sizes in octets", f"{facts!r}")
                promise(all("\n" not in line for line in facts.rights), "rights are a line each", f"{facts!r}")

        connector.run(body())
