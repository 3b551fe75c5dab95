"""What a mailbox store promises: what it declares, changes by tokens, and a value for each item's trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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
    Flag,
    Folder,
    Holds,
    ItemState,
    MailboxStore,
    NewItem,
    OpenMailbox,
    Scope,
    Status,
    StoreFault,
)
from gateway.testing.bench import PATIENCE_S, Bench, MailboxDriver, promise
from gateway.testing.samples import names, numbered, sample
from gateway.testing.suites.connector import ConnectorSuite

DECLARED: Final = "a store holds what it declares, and nothing that it declares absent"
EACH: Final = "per-item trouble is a Status in the list, in the order asked; the others are done"
FAULTS: Final = "a call that fails as a whole raises StoreFault, and nothing else"
TOKENS: Final = "changes() with a token tells what happened since, and nothing that happened is left out"
RECEIVED_AT: Final = 1_600_000_000.0


def item(number: int, **more: Any) -> NewItem:
    """Return a numbered item to be appended."""
    return NewItem(f"kit.{number}", Content(numbered(number)), **more)


def _held(word: str, holds: Holds) -> str:
    """Return a keyword as a store holds it."""
    return "".join("_" if each in holds.forbidden_in_keywords else each for each in word)


class MailboxStoreSuite(ConnectorSuite):
    """Tests of `MailboxStore`."""

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

    def test_items_come_back_in_order(self, connector: Bench) -> None:
        driver: MailboxDriver = connector.driver

        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                folder = await self._inbox(opened)
                ids = await self._append(opened, folder, [item(n) for n in range(7)])
                promise(len(set(ids)) == 7, "each item has an id of its own", f"{ids}")
                asked = [ids[5], "kit-no-such-item", *reversed(ids[:5])]
                found = [pair async for pair in opened.fetch(asked)]
                promise(
                    [id for id, _ in found] == asked, EACH, f"fetch() answered {[id for id, _ in found]} to {asked}"
                )
                promise(isinstance(found[1][1], Status), EACH, f"fetch() of what is not there gave {found[1][1]!r}")
                for id, content in found[:1] + found[2:]:
                    number = ids.index(id)
                    octets = b"" if isinstance(content, Status) else b"".join(content.chunks())
                    exact = holds.exact and holds.writable
                    same = octets == numbered(number) if exact else driver.carried(numbered(number), octets)
                    promise(same, DECLARED, f"gave {octets[:300]!r} for item {number}")

        connector.run(body())

    @pytest.mark.parametrize("name", names())
    def test_octets_are_kept_as_declared(self, connector: Bench, name: str) -> None:
        driver: MailboxDriver = connector.driver

        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                folder = await self._inbox(opened)
                if not holds.writable:
                    await self._put(opened, folder, [sample(name), numbered(2)])
                    return
                odd = NewItem("kit.odd", Content(sample(name)))
                first, second = await opened.append(folder, [odd, item(2)])
                promise(isinstance(second, Appended), "one odd item never stops the others", f"gave {second!r}")
                if isinstance(first, Status):
                    most = holds.max_item_bytes
                    over = most is not None and len(sample(name)) > most
                    promise(over or not holds.exact, DECLARED, f"refused {name}: {first}")
                    return
                ((_, content),) = [pair async for pair in opened.fetch([first.id])]
                octets = b"" if isinstance(content, Status) else b"".join(content.chunks())
                same = octets == sample(name) if holds.exact else driver.carried(sample(name), octets)
                promise(same, DECLARED, f"gave {octets[:300]!r} for {name}")

        connector.run(body())

    def test_flags_keywords_and_dates_are_held_as_declared(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                if not holds.writable:
                    return
                folder = await self._inbox(opened)
                kinds: list[Flag] = sorted(FLAGS)
                items = [item(n, flags=frozenset([flag]), received_at=RECEIVED_AT + n) for n, flag in enumerate(kinds)]
                words = frozenset(["Rot & Blau", "kit"])
                held = frozenset(_held(word, holds) for word in words) if holds.keywords else frozenset[str]()
                made = await opened.append(folder, [*items, item(90, keywords=words, received_at=RECEIVED_AT)])
                sound = [each for each in made if isinstance(each, Appended)]
                promise(len(sound) == len(items) + 1, EACH, f"answered {made!r} to {len(items) + 1} sound items")
                ids = [each.id for each in sound]
                undated = {each.id for each in sound if any("date" in note.what for note in each.notes)}
                states = {state.id: state for state in (await self._all(opened, folder)).items}
                for n, (flag, id) in enumerate(zip(kinds, ids, strict=False)):
                    state = states[id]
                    expected = {flag} & holds.flags
                    promise(state.flags == expected, DECLARED, f"appended with {flag}, told as {set(state.flags)}")
                    if holds.internal_date and id not in undated:
                        told = state.received_at
                        promise(told == RECEIVED_AT + n, DECLARED, f"received at {told}, not {RECEIVED_AT + n}")
                told_words = states[ids[-1]].keywords
                promise(told_words == held, DECLARED, f"keywords {told_words}")

        connector.run(body())

    def test_flags_change(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                if not holds.writable:
                    return
                folder = await self._inbox(opened)
                one, two = await self._append(opened, folder, [item(1), item(2)])
                before = await self._state(opened, folder, two)
                words = frozenset(["kit", "seen"] if holds.keywords else ["seen"])
                answers = await opened.set_flags([one, "kit-no-such-item", two], words, frozenset())
                promise(
                    isinstance(answers[0], str) and isinstance(answers[1], Status) and isinstance(answers[2], str),
                    EACH,
                    f"set_flags() answered {answers!r}",
                )
                after = await self._state(opened, folder, two)
                promise("seen" in after.flags, "flags that are added are there", f"has {set(after.flags)}")
                promise(after.version != before.version, "a version changes with what is told", f"is {after.version}")
                promise(after.version == answers[2], "set_flags() tells the new version", f"told {answers[2]!r}")
                promise("kit" in after.keywords or not holds.keywords, DECLARED, f"keywords {after.keywords}")
                flagged = frozenset(["flagged"]) & holds.flags
                await opened.set_flags([two], flagged, words)
                last = await self._state(opened, folder, two)
                promise(last.flags == flagged and not last.keywords, "flags are added and removed at once", f"{last!r}")

        connector.run(body())

    def test_what_was_appended_is_found_by_its_key(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                if not holds.writable:
                    promise(not opened.holds().finds, DECLARED, "finds appends, and takes none")
                    return
                folder = await self._inbox(opened)
                other = await opened.create_folder(("Other",))
                ids = await self._append(opened, folder, [item(n) for n in range(30)])
                if not opened.holds().finds:
                    promise(await opened.find(folder, ["kit.1"]) == {}, DECLARED, "found it")
                    return
                found = await opened.find(folder, [f"kit.{n}" for n in range(31)])
                expected = {f"kit.{n}": id for n, id in enumerate(ids)}
                promise(found == expected, "find() returns what appends made, by key", f"found {found}")
                promise(await opened.find(other.id, ["kit.1"]) == {}, "find() looks into one folder", "found it in two")

        connector.run(body())

    def test_changes_tell_everything_and_then_what_changed(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                folder = await self._inbox(opened)
                ids = await self._append(opened, folder, [item(n) for n in range(12)])
                pages = await opened.changes(folder, None, 5)
                promise(pages.more and len(pages.items) < 12, "a page has about `limit` items", f"{len(pages.items)}")
                first = await self._all(opened, folder, None, 5)
                promise({s.id for s in first.items} == set(ids), TOKENS, "leaves items out")
                if not holds.change_tokens:
                    return
                nothing = await self._all(opened, folder, first.token)
                promise(not nothing.items and not nothing.removed and not nothing.reset, TOKENS, f"tells {nothing!r}")
                (new,) = await self._append(opened, folder, [item(20)])
                await opened.set_flags([ids[3]], frozenset(["seen"]), frozenset())
                await opened.remove([ids[4]], purge=True)
                since = await self._all(opened, folder, nothing.token, 2)
                told = {state.id: state for state in since.items}
                promise({new, ids[3]} <= told.keys() and ids[4] in since.removed, TOKENS, f"tells {since!r}")
                promise("seen" in told[ids[3]].flags, "a change is told with the whole state", f"{told[ids[3]]!r}")
                promise(told.keys() <= {new, ids[3]}, "what did not change is not told", f"tells {sorted(told)}")
                again = await self._all(opened, folder, nothing.token)
                promise({s.id for s in again.items} == told.keys(), "a token may be used again", f"tells {again!r}")

        connector.run(body())

    def test_a_token_that_is_not_known_starts_anew(self, connector: Bench) -> None:
        driver: MailboxDriver = connector.driver

        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                if not holds.change_tokens:
                    return
                folder = await self._inbox(opened)
                ids = await self._append(opened, folder, [item(n) for n in range(3)])
                before = await self._all(opened, folder)
                driver.forget_tokens()
                anew = await self._all(opened, folder, before.token)
                promise(anew.reset, "a token that is not known any more is answered with reset", "does not say so")
                # Ids may be others after what makes a store forget them; what is told of an item is the same.
                everything = len({state.id for state in anew.items}) == len(ids)
                same = {state.message_id for state in anew.items} == {state.message_id for state in before.items}
                promise(everything and same, "and with everything", f"tells {anew!r}")

        connector.run(body())

    def test_items_move(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                if not holds.writable:
                    return
                folder = await self._inbox(opened)
                other: Folder = await opened.create_folder(("Other",))
                one, two = await self._append(opened, folder, [item(1, received_at=RECEIVED_AT), item(2)])
                before = await self._state(opened, folder, one)
                token = (await self._all(opened, folder)).token
                moved = await opened.move([one, "kit-no-such-item"], other.id)
                promise(isinstance(moved[0], str) and isinstance(moved[1], Status), EACH, f"move() answered {moved!r}")
                assert isinstance(moved[0], str)
                state = await self._state(opened, other.id, moved[0])
                if holds.internal_date:
                    promise(state.received_at == RECEIVED_AT, "a moved item keeps its date", f"{state!r}")
                promise(moved[0] == one or not holds.stable_ids, DECLARED, f"{one} became {moved[0]}")
                same = state.object == before.object
                promise(same, "a moved item is the same object", f"{before.object} became {state.object}")
                left = [s.id for s in (await self._all(opened, folder)).items]
                promise(left == [two], "a moved item is where it was no more", f"has {left}")
                if holds.change_tokens:
                    gone = (await self._all(opened, folder, token)).removed
                    promise(one in gone, TOKENS, f"tells {gone} as removed")

        connector.run(body())

    def test_items_are_removed(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (_, opened):
                folder = await self._inbox(opened)
                one, two, three = await self._append(opened, folder, [item(n) for n in range(3)])
                for purge in (False, True):
                    answers = await opened.remove([one if purge else two, "kit-no-such-item"], purge=purge)
                    promise(answers == [None, None], "remove() of what is gone already is done", f"{answers!r}")
                left = [s.id for s in (await self._all(opened, folder)).items]
                promise(left == [three], "what is removed is gone", f"has {left}")

        connector.run(body())

    def test_a_broken_store_is_a_fault(self, connector: Bench) -> None:
        driver: MailboxDriver = connector.driver

        async def body() -> None:
            async with self._opened(connector) as (_, opened):
                folder = await self._inbox(opened)
                (id,) = await self._append(opened, folder, [item(1)])
                calls: list[Callable[[], Awaitable[Any]]] = [
                    lambda: opened.changes(folder, None),
                    lambda: opened.remove([id]),
                ]
                if opened.holds().writable:  # without, these know their answers, and ask nobody
                    calls.append(lambda: opened.append(folder, [item(2)]))
                    calls.append(lambda: opened.set_flags([id], frozenset(["seen"]), frozenset()))
                if opened.holds().finds:  # without, find() knows its answer, and asks nobody
                    calls.append(lambda: opened.find(folder, ["kit.1"]))
                driver.break_peer()
                try:
                    for call in calls:
                        try:
                            async with asyncio.timeout(PATIENCE_S):
                                answer = await call()
                        except StoreFault as e:
                            promise(not e.status.is_success, FAULTS, f"raised {e.status}")
                        except Exception as e:  # noqa: BLE001 - whatever it is, it is what the contract forbids
                            promise(False, FAULTS, f"raised {e!r}")
                        else:
                            statuses = isinstance(answer, list) and all(isinstance(a, Status) for a in answer)
                            promise(statuses, FAULTS, f"answered {answer!r} from a store that is away")
                finally:
                    driver.mend_peer()
                if not opened.holds().finds:
                    return
                end = time.monotonic() + PATIENCE_S
                while True:
                    try:
                        found = await opened.find(folder, ["kit.1", "kit.2"])
                        break
                    except StoreFault:
                        promise(time.monotonic() < end, "a store that is back is used again", "still fails")
                        await asyncio.sleep(0.2)
                promise(found == {"kit.1": id}, "what failed was not done, unless it said `unknown`", f"found {found}")

        connector.run(body())

    def test_what_is_only_read_refuses_to_be_written(self, connector: Bench) -> None:
        says = "a store that is not writable refuses each item by a Status, and a folder by a StoreFault"

        async def body() -> None:
            async with self._opened(connector) as (holds, opened):
                if holds.writable:
                    return
                folder = await self._inbox(opened)
                (id,) = await self._append(opened, folder, [item(1)])
                for answers in (
                    await opened.append(folder, [item(2), item(3)]),
                    await opened.set_flags([id, id], frozenset(["seen"]), frozenset()),
                    await opened.move([id, id], folder),
                ):
                    refused = [each for each in answers if isinstance(each, Status) and each.is_permanent]
                    promise(len(refused) == len(answers) == 2, says, f"answered {answers!r}")
                try:
                    made = await opened.create_folder(("Kit",))
                except StoreFault as fault:
                    promise(fault.scope is Scope.MESSAGE, says, f"raised {fault.scope.name} {fault.status}")
                else:
                    promise(False, says, f"made {made!r}")
                left = [state.id for state in (await self._all(opened, folder)).items]
                promise(left == [id], says, f"has {left}, and had {id}")

        connector.run(body())

    def test_watching_ends_when_it_is_closed(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (_, opened):
                hints = opened.watch([await self._inbox(opened)])
                first = asyncio.ensure_future(anext(hints))
                await asyncio.sleep(0.2)
                first.cancel()
                await asyncio.wait([first], timeout=PATIENCE_S)
                promise(first.done(), "watch() ends when it is closed", "goes on")

        connector.run(body())

    def test_items_are_copied_in_the_native_form(self, connector: Bench) -> None:
        async def body() -> None:
            async with self._opened(connector) as (holds, opened), self._opened(connector) as (_, other):
                if holds.native is None:
                    return
                folder, target = await self._inbox(opened), await self._inbox(other)
                flags = frozenset(["seen", "flagged"]) & holds.flags
                words = frozenset(["kit"]) if holds.keywords else frozenset[str]()
                (id,) = await self._append(
                    opened, folder, [item(1, flags=flags, keywords=words, received_at=RECEIVED_AT)]
                )
                ((_, native),) = [pair async for pair in opened.fetch([id], "native")]
                promise(isinstance(native, Content), "what a store has, it gives in its native form", f"{native!r}")
                assert isinstance(native, Content)
                (copy,) = await self._append(other, target, [NewItem("kit.copy", native, form="native")])
                state = await self._state(other, target, copy)
                same = (state.flags, state.keywords, state.received_at) == (flags, words, RECEIVED_AT)
                promise(same, "the native form loses nothing", f"made {state!r}")
                ((_, before),) = [pair async for pair in opened.fetch([id])]
                ((_, after),) = [pair async for pair in other.fetch([copy])]
                assert isinstance(before, Content)
                assert isinstance(after, Content)
                promise(before.octets() == after.octets(), "the native form loses nothing", f"{after.octets()!r}")

        connector.run(body())
