"""What a mailbox store promises: what it declares, changes by tokens, and a value for each item's trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from gateway.contract import (
    FLAGS,
    Appended,
    Content,
    Flag,
    Folder,
    Holds,
    NewItem,
    Scope,
    Status,
    StoreFault,
)
from gateway.testing.bench import PATIENCE_S, Bench, MailboxDriver, promise
from gateway.testing.samples import names, numbered, sample
from gateway.testing.suites.mailbox_folders import DECLARED, EACH, TOKENS, item
from gateway.testing.suites.mailbox_killed import MailboxKilled

FAULTS: Final = "a call that fails as a whole raises StoreFault, and nothing else"
RECEIVED_AT: Final = 1_600_000_000.0


def _held(word: str, holds: Holds) -> str:
    """Return a keyword as a store holds it."""
    return "".join("_" if each in holds.forbidden_in_keywords else each for each in word)


class MailboxStoreSuite(MailboxKilled):
    """Tests of `MailboxStore`."""

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
