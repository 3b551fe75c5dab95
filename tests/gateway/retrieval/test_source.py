"""Fetching by a store that is all in memory: what is done with a message, when, and what is known after a crash."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import (
    Changes,
    Content,
    Context,
    Envelope,
    Folder,
    ItemState,
    Message,
    Receipt,
    Recipient,
    Scope,
    Status,
    StoreFault,
)
from gateway.retrieval import source
from gateway.retrieval.config import FetchConfig
from gateway.retrieval.source import AT_ONCE, Retrieval, Way
from gateway.retrieval.taken import Taken
from gateway.testing.peers import Journal, KitLog, RecordingIntake

MESSAGE = b"Return-Path: <bob@far.example>\r\nMessage-ID: <%d@far.example>\r\nX-Kit: %d\r\n\r\nbody\r\n"


class Store:
    """A mailbox in memory; `dies_at` counts the calls until one of them breaks."""

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}
        self.aside: dict[str, bytes] = {}
        self.opened = 0
        self.fails: list[Exception] = []
        self.odd: dict[str, Status] = {}
        self.asked: Counter[str] = Counter()
        self.gone: tuple[str, ...] = ()
        self.changed = asyncio.Event()
        self.on_call: Callable[[str], None] = lambda name: None

    def put(self, *numbers: int) -> None:
        self.items |= {f"id{n}": MESSAGE % (n, n) for n in numbers}
        self.changed.set()

    @asynccontextmanager
    async def open(self, mailbox: str) -> AsyncIterator[Any]:
        self.opened += 1
        if self.fails:
            raise self.fails.pop()
        yield self

    async def folders(self) -> list[Folder]:
        return [Folder("1", ("INBOX",), "mail", "inbox", len(self.items))]

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        self.on_call("changes")
        return Changes(
            tuple(ItemState(id, "-", len(each)) for id, each in self.items.items()), self.gone, "t", False, True
        )

    async def fetch(self, ids: Sequence[str], form: str = "mime") -> AsyncIterator[tuple[str, Content | Status]]:
        self.on_call("fetch")
        for id in ids:
            await asyncio.sleep(0)
            self.asked[id] += 1
            if id in self.odd:
                yield id, self.odd[id]
            elif id in self.items:
                yield id, Content(self.items[id])
            else:
                yield id, Status("4.2.0", "gone")

    async def create_folder(self, path: tuple[str, ...], kind: str = "mail") -> Folder:
        return Folder("/".join(path), path, "mail", None, 0)

    async def move(self, ids: Sequence[str], folder: str) -> list[str | Status]:
        self.aside |= {id: self.items.pop(id) for id in ids}
        return list(ids)

    async def remove(self, ids: Sequence[str], *, purge: bool = False) -> list[Status | None]:
        self.on_call("remove")
        for id in ids:
            self.items.pop(id, None)
        return [None for _ in ids]

    async def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self.changed.wait()
            self.changed.clear()
            yield folders[0]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "FIRST_PAUSE_S", 0.05)


class Desk:
    """A retrieval from that store into a recording intake."""

    def __init__(self, folder: Path, store: Store, *, keep: bool = False, refused_to: str = "", **options: Any) -> None:
        self.store = store
        self.log = KitLog()
        context = Context("gw.kit.example", folder, folder, self.log, lambda: 0.0, stop_s=2.0)
        fetch = FetchConfig.model_validate({"mailbox": "acme", **(options or {"recipients": ["ann@acme.example"]})})
        way = Way(fetch, ("INBOX",), None if keep else _remove, refused_to=(refused_to,) if refused_to else ())
        self.retrieval = Retrieval("isp", context, [way], store.open, peer="isp.example", protocol="IMAP")

    @asynccontextmanager
    async def running(self, intake: RecordingIntake) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.retrieval.run(intake))
        try:
            async with asyncio.timeout(30):
                yield
        finally:
            task.cancel()
            await asyncio.wait((task,))


async def _remove(box: Any, ids: Sequence[str]) -> Sequence[Status | None]:
    found: Sequence[Status | None] = await box.remove(ids, purge=True)
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_the_envelope_and_the_key(tmp_path: Path) -> None:
    store, intake = Store(), RecordingIntake()
    store.put(1)
    async with Desk(tmp_path, store).running(intake):
        await until(lambda: not store.items)
    (one,) = intake.accepted
    envelope = one.message.envelope
    assert envelope.reverse_path is not None
    assert envelope.reverse_path.value == "bob@far.example"
    assert [each.address.value for each in envelope.recipients] == ["ann@acme.example"]
    origin = envelope.origin
    # Whoever wrote it may be anybody: it may go where the operator says, and nothing else is believed of it.
    assert (origin.connector, origin.peer, origin.trusted, origin.returning) == ("isp", "isp.example", False, True)
    assert envelope.dedupe_key is not None
    assert envelope.dedupe_key.endswith(" id1")
    assert one.octets == (MESSAGE % (1, 1)).partition(b"\r\n")[2]


async def test_many_are_taken_some_at_a_time(tmp_path: Path) -> None:
    store, intake = Store(), RecordingIntake()
    store.put(*range(100))
    async with Desk(tmp_path, store).running(intake):
        await until(lambda: not store.items)
    assert sorted(intake.marks) == list(range(100))
    assert intake.in_flight_peak <= AT_ONCE


async def test_what_is_kept_there_comes_once(tmp_path: Path) -> None:
    store, intake = Store(), RecordingIntake()
    store.put(1, 2)
    for number in (3, 4):
        async with Desk(tmp_path, store, keep=True).running(intake):  # a start, and another
            await until(lambda: len(intake.accepted) == len(store.items))
            store.put(number)
            await until(lambda: len(intake.accepted) == len(store.items))
            await asyncio.sleep(0.2)
    assert sorted(intake.marks) == [1, 2, 3, 4]
    assert len(store.items) == 4


async def test_one_that_cannot_be_told_goes_otherwise_or_stays(tmp_path: Path) -> None:
    store, intake = Store(), RecordingIntake()
    store.put(1)
    many = {"domains": ["acme.example"]}
    desk = Desk(tmp_path, store, **many)
    async with desk.running(intake):
        await until(lambda: desk.retrieval.trouble())
    assert desk.retrieval.trouble() == "acme: 1 messages are refused, and stay on the server"
    assert not intake.accepted
    async with Desk(tmp_path, store, **many, otherwise="postmaster@acme.example").running(intake):
        await until(lambda: not store.items)
    (one,) = intake.accepted
    assert one.message.envelope.recipients[0].address.value == "postmaster@acme.example"
    assert not one.message.envelope.origin.trusted


async def test_one_of_several_whom_nobody_has_keeps_it_from_no_other(tmp_path: Path) -> None:
    class Knows(RecordingIntake):
        def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
            return Status("5.1.1", "nobody") if recipient.address.value.startswith("no") else None

    many = {"domains": ["acme.example"], "fields": ["envelope-to"]}
    found = []
    for more in ({}, {"otherwise": "postmaster@acme.example"}):
        store, intake = Store(), Knows()
        store.items["id1"] = b"Envelope-To: ann@acme.example, no@acme.example, ned@acme.example\r\n" + MESSAGE % (1, 1)
        async with Desk(tmp_path, store, **many, **more).running(intake):
            await until(lambda store=store: not store.items)
        (one,) = intake.accepted
        found.append([each.address.value for each in one.message.envelope.recipients])
    assert found == [
        ["ann@acme.example", "ned@acme.example"],
        ["ann@acme.example", "ned@acme.example", "postmaster@acme.example"],
    ]


async def test_one_that_is_refused_for_now_is_tried_again(tmp_path: Path) -> None:
    store, intake = Store(), RecordingIntake()
    store.put(1)
    intake.rejects = Status("4.7.1", "too many, try again later")
    desk = Desk(tmp_path, store, recipients=["ann@acme.example"], otherwise="postmaster@acme.example")
    async with desk.running(intake):
        await until(lambda: intake.calls)
        intake.rejects = None
        await until(lambda: not store.items)
    (one,) = intake.accepted
    assert [each.address.value for each in one.message.envelope.recipients] == ["ann@acme.example"]


async def test_a_refused_one_is_put_aside_and_stops_no_other(tmp_path: Path) -> None:
    store, intake = Store(), RecordingIntake()
    store.put(1)
    intake.rejects = Status("5.1.1", "nobody")
    async with Desk(tmp_path, store, refused_to="Refused").running(intake):
        await until(lambda: store.aside)
        intake.rejects = None
        store.put(2)
        await until(lambda: not store.items)
    assert list(store.aside) == ["id1"]
    assert intake.marks == [2]


async def test_a_mailbox_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    store, intake = Store(), RecordingIntake()
    store.fails = [StoreFault(Status("4.7.8", "wrong password"), Scope.RECIPIENT), OSError("no route")]
    store.put(1)
    desk = Desk(tmp_path, store)
    async with desk.running(intake):
        await until(lambda: desk.retrieval.trouble())
        await until(lambda: not store.items)
        await until(lambda: desk.retrieval.trouble() is None)
    assert store.opened == 3


async def test_one_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    store, intake = Store(), RecordingIntake()
    store.put(1, 2, 3)
    store.odd = {"id1": Status("5.3.0", "the server cannot read it"), "id2": Status("4.3.0", "not now")}
    desk = Desk(tmp_path, store)
    async with desk.running(intake):
        await until(lambda: "id3" not in store.items)
        store.odd.pop("id2")
        await until(lambda: "id2" not in store.items)
        told = "acme: the server does not give out 1 messages, such as id1: 5.3.0 the server cannot read it"
        assert desk.retrieval.trouble() == told
        store.put(4)
        await until(lambda: "id4" not in store.items)
        assert store.asked["id1"] == 1, "it is not asked for at every look"
        store.gone = ("id1",)
        store.changed.set()
        await until(lambda: desk.retrieval.trouble() is None)
    assert sorted(intake.marks) == [2, 3, 4]
    assert list(store.items) == ["id1"]


async def test_a_large_one_leaves_no_content_where_it_is_refused(tmp_path: Path) -> None:
    store, intake = Store(), RecordingIntake()
    store.items["id1"] = MESSAGE % (1, 1) + b"x" * 300_000
    intake.rejects = Status("5.3.4", "too large")
    desk = Desk(tmp_path, store)
    async with desk.running(intake):
        await until(lambda: desk.retrieval.trouble())
    assert [writer.abandoned for writer in intake.writers] == [True]
    intake.rejects = None
    async with Desk(tmp_path, store).running(intake):
        await until(lambda: not store.items)
    assert [writer.abandoned for writer in intake.writers] == [True, False]
    assert intake.accepted[0].octets.endswith(b"x" * 300_000)


async def test_a_stop_while_one_goes_otherwise_leaves_its_content(tmp_path: Path) -> None:
    store = Store()
    store.items["id1"] = b"Delivered-To: no@acme.example\r\n" + MESSAGE % (1, 1) + b"x" * 300_000
    begun = asyncio.Event()

    class Slow(RecordingIntake):
        def submit(self, message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
            return asyncio.ensure_future(super().accept(message, report=report))

        async def accept(self, message: Message, *, report: bool = False) -> Receipt:
            begun.set()  # whether it is in the spool is not known from here on
            return await asyncio.get_running_loop().create_future()

    intake = Slow()
    intake.rejects = Status("5.1.1", "nobody")
    desk = Desk(tmp_path, store, domains=["acme.example"], fields=["delivered-to"], otherwise="postmaster@acme.example")
    async with desk.running(intake):
        await begun.wait()
    assert [writer.abandoned for writer in intake.writers] == [False]


async def test_another_message_under_an_id_of_one_that_is_gone_is_another(tmp_path: Path) -> None:
    """RFC 1939 section 7 lets a server give the id of a message that is removed to another; some count messages."""
    store, intake = Store(), RecordingIntake()
    async with Desk(tmp_path, store).running(intake):
        for number in (1, 2):
            store.items["id1"] = MESSAGE % (number, number)
            await until(lambda: not store.items)
    store.items["id1"] = MESSAGE % (3, 3)
    async with Desk(tmp_path, store).running(intake):
        await until(lambda: not store.items)
    assert intake.marks == [1, 2, 3]


class Killed(BaseException):
    """Stands for a kill -9: nothing that runs afterwards counts."""


@pytest.mark.parametrize("at", range(1, 12))
async def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends before the step; the next one has the files, the spool's keys and the server, and no more."""
    store, journal = Store(), Journal(tmp_path / "journal")
    store.put(1, 2, 3)
    steps = 0

    def step(name: str) -> None:
        nonlocal steps
        steps += 1
        if steps == at:
            raise Killed(name)

    add = Taken.add

    def added(self: Taken, ids: Sequence[str]) -> None:
        step("before it is remembered")
        add(self, ids)
        step("after it is remembered")

    monkeypatch.setattr(Taken, "add", added)
    store.on_call = step
    desk = Desk(tmp_path, store)
    intake = RecordingIntake(journal)
    accept = intake.submit

    def submit(message: Any, *, report: bool = False) -> Any:
        step("before it is accepted")
        return accept(message, report=report)

    monkeypatch.setattr(intake, "submit", submit)
    with suppress(Killed, BaseExceptionGroup):
        async with asyncio.timeout(20):
            task = asyncio.ensure_future(desk.retrieval.run(intake))
            await until(lambda: not store.items or task.done())
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    monkeypatch.setattr(Taken, "add", add)
    store.on_call = lambda name: None
    async with Desk(tmp_path, store).running(RecordingIntake(journal)):
        await until(lambda: not store.items)
    by_key = {(line["mark"], line["key"]) for line in journal.lines()}
    assert sorted(mark for mark, _ in by_key) == [1, 2, 3]
    ids = {(line["mark"], line["id"]) for line in journal.lines()}
    assert len(ids) == 3


def test_taken_outlives_a_torn_line_and_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    taken = Taken(path)
    taken.read()
    taken.add(["a", "b"])
    with path.open("ab") as file:
        file.write(b'"c')
    again = Taken(path)
    again.read()
    assert again.ids == {"a", "b"}
    again.add([f"n{n}" for n in range(2000)])
    again.forget([f"n{n}" for n in range(1999)])
    assert path.stat().st_size < 100
    last = Taken(path)
    last.read()
    assert last.ids == {"a", "b", "n1999"}
