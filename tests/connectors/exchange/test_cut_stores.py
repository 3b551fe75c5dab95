"""A connection cut at any operation of a store, a look-up or the directory: in the end each thing is done, and once.

A day of a mailbox store: folders made, renamed, moved and removed; items put in, marked, moved and removed, and items
whole; people looked up and listed. Of each operation that it needs, the first three requests end in the three ways in
which a connection can, and what was not done is asked for again. What mail needs beside is in test_faults_everywhere.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from connectors.exchange.ews.call import Single
from connectors.exchange.graph import mime
from connectors.exchange.organisation import Fault, Organisation
from connectors.exchange.store import ExchangeMailbox
from gateway.contract import Content, Folder, NewItem, Status, StoreFault
from gateway.testing.samples import numbered
from tests.connectors.exchange import test_faults_everywhere as of_mail
from tests.connectors.exchange.graph import test_faults_everywhere_graph as of_mail_by_graph
from tests.connectors.exchange.graph.test_killed_graph import files_of, large
from tests.connectors.exchange.test_store_faults import opened
from tests.peers.ews.process import EwsPeer
from tests.peers.graph.process import GraphPeer

T = TypeVar("T")

NOT_OF_STORES: Final = frozenset({"SendItem", "SendMessage", "Subscribe", "GetStreamingEvents"})

TRIES: Final = 6
EWS = ["GetFolder", "UpdateFolder", "MoveFolder", "DeleteFolder", "ExportItems", "UploadItems"]
EWS += ["ResolveNames", "FindPeople"]
GRAPH = ["UpdateFolder", "MoveFolder", "DeleteFolder", "GetMessage", "DeleteMessage"]
GRAPH += ["ListUsers", "ListGroups", "ListContacts"]
"""What a store, a look-up and the directory need beside what mail needs; with `make soak` that is cut here as well."""
LARGE = ["AddAttachment", "CreateUploadSession", "Upload"]
"""What only a large mail needs: it is cut here with `make soak`, and always in graph/test_organisation.py."""
IS_SOAK: Final = os.environ.get("GATEPOST_KILLS") == "every"


async def again(ask: Callable[[], Awaitable[T]]) -> T:
    """Do as who copies mailboxes does: ask again for what was not done."""
    for _ in range(TRIES):
        try:
            return await ask()
        except (StoreFault, Fault):
            continue
    return await ask()


async def each_done(ask: Callable[[], Awaitable[Sequence[str | Status | None]]]) -> None:
    """Ask until nothing says of its item that it could not be done."""
    for _ in range(TRIES):
        if not any(isinstance(answer, Status) for answer in await again(ask)):
            return
    raise AssertionError("not done")


async def put(box: ExchangeMailbox, folder: str, items: Sequence[NewItem]) -> dict[str, str]:
    """Put items in, each once: what may be there is looked for before it is put in again."""
    keys = [each.key for each in items]
    for _ in range(TRIES):
        there = await again(lambda: box.find(folder, keys))
        left = [each for each in items if each.key not in there]
        if not left:
            return there
        try:
            await box.append(folder, left)
        except StoreFault:
            continue
    raise AssertionError(f"{len(left)} items can't be put in")


async def move(box: ExchangeMailbox, id: str, key: str, folder: str) -> str:
    for _ in range(TRIES):
        with contextlib.suppress(StoreFault):
            await box.move([id], folder)
        if there := await again(lambda: box.find(folder, [key])):
            return there[key]
    raise AssertionError("an item can't be moved")


async def a_day(box: ExchangeMailbox, native: bool, big: Callable[[], bytes] | None) -> None:
    inbox = next(folder for folder in await again(box.folders) if folder.role == "inbox")
    made = await again(lambda: box.create_folder(("One", "Two")))
    await again(lambda: box.rename_folder(made.id, ("Three", "Four")))
    gone = await again(lambda: box.create_folder(("Gone",)))
    await again(lambda: box.remove_folder(gone.id))

    bodies = {f"k.{n}": numbered(n) for n in range(3)}
    if big is not None:
        bodies["k.big"] = big()
    ids = await put(box, made.id, [NewItem(key, Content(octets)) for key, octets in bodies.items()])
    await each_done(lambda: box.set_flags(list(ids.values()), frozenset(("seen", "flagged", "red")), frozenset()))
    for key in ("k.0", "k.big"):
        if key in ids:
            ids[key] = await move(box, ids[key], key, inbox.id)
    await each_done(lambda: box.remove([ids["k.1"]], purge=True))
    await each_done(lambda: box.remove([ids["k.2"]]))
    (whole,) = await again(lambda: _fetched(box, [ids["k.0"]], "mime"))
    assert isinstance(whole, Content)
    if native:
        (export,) = await again(lambda: _fetched(box, [ids["k.0"]], "native"))
        assert isinstance(export, Content)
        await put(box, inbox.id, [NewItem("n.0", export, form="native")])
    found = await again(lambda: box.changes(inbox.id, None))
    assert len(found.items) == 1 + native + (big is not None)
    assert all(state.flags >= {"seen", "flagged"} and state.keywords == {"red"} for state in found.items)


async def _fetched(box: ExchangeMailbox, ids: list[str], form: Any) -> list[Content | Status]:
    found = [each async for _, each in box.fetch(ids, form)]
    if any(isinstance(each, Status) and each.code.startswith("4") for each in found):
        raise Fault("again")
    return found


async def people(organisation: Organisation, dn: str) -> None:
    """A list that broke off is no list: who reads it is told, and begins anew."""

    async def listed() -> list[str]:
        return [person.smtp async for person in organisation.people()]

    assert len(await again(listed)) == 2
    person = (await again(lambda: organisation.resolve([dn])))[dn]
    assert person is not None
    assert person.smtp.startswith("ann@")


def shown(folders: Sequence[Folder]) -> set[tuple[str, ...]]:
    return {folder.path for folder in folders if folder.role is None and folder.path[0] in ("One", "Three", "Gone")}


async def day_of(peer: EwsPeer | GraphPeer, kind: str, folder: Path, cut: str | None) -> set[str]:
    """Have a day with cuts at an operation; return the operations that it needed."""
    company: Any = peer.organisation("ann", "bob")
    big = (lambda: large(9, company, to="ann@acme.example")) if cut in LARGE else None
    watch = [{"mailbox": company.address("ann"), "folder": "Out"}]
    async with opened(kind, company, folder, watch=watch) as box:
        if cut is not None:
            for nth, way in enumerate(of_mail.CUTS, 1):
                company.fault(cut, way, nth=nth)
        await a_day(box, kind == "ews", big if kind == "graph" else None)
        await people(box._organisation, company.legacy_dn("ann"))
        company.calm()
        assert shown(await box.folders()) == {("One",), ("Three",), ("Three", "Four")}
    items = company.items("ann")
    assert len(items) == 1 + (kind == "ews") + (kind == "graph" and big is not None)
    if kind == "graph" and big is not None:
        assert {"big.bin", "small.bin"} == {name for item in items for name in files_of(item.shown)}
    assert company.items("ann", "Three/Four") == company.items("ann", "drafts") == []
    assert len(company.items("ann", "deleteditems")) == 1
    if cut is not None:
        assert "cut" in {request.answered for request in company.log(cut)}, "it is asked for at all"
    return {request.operation for request in company.log()}


def here(own: Sequence[str], of_others: Sequence[str]) -> list[str]:
    """Return the operations that are cut here; in `make soak` with those of mail that a store needs too."""
    return [*own, *(each for each in of_others if IS_SOAK and each not in NOT_OF_STORES)]


@pytest.mark.parametrize("operation", here(EWS, of_mail.OPERATIONS))
async def test_a_cut_at_an_operation_of_ews(tmp_path: Path, ews_peer: EwsPeer, operation: str) -> None:
    await day_of(ews_peer, "ews", tmp_path, operation)


@pytest.fixture
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file of some 100 KB follow its mail by itself, as one of some MB does."""
    monkeypatch.setattr(mime, "REQUEST_OCTETS", 150_000)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("small_requests")
@pytest.mark.parametrize("operation", here(GRAPH, [*LARGE, *of_mail_by_graph.OPERATIONS]))
async def test_a_cut_at_an_operation_of_graph(tmp_path: Path, graph_peer: GraphPeer, operation: str) -> None:
    await day_of(graph_peer, "graph", tmp_path, operation)


@pytest.mark.timeout(300)
async def test_no_operation_is_left_out(tmp_path: Path, ews_peer: EwsPeer, graph_peer: GraphPeer) -> None:
    """Each that is needed is cut here or where mail is taken and put; each that is cut here is needed."""
    asked = await day_of(ews_peer, "ews", tmp_path, None)
    assert set(EWS) <= asked <= {*EWS, *of_mail.OPERATIONS}
    assert {each.SERVICE_NAME for each in _services(Single)} <= {*EWS, *of_mail.OPERATIONS}
    asked = await day_of(graph_peer, "graph", tmp_path, None) - {"Discovery"}
    assert set(GRAPH) <= asked <= {*GRAPH, *of_mail_by_graph.OPERATIONS}


def _services(kind: type[Single]) -> list[type[Single]]:
    """Return the classes of calls that name an operation."""
    found = [each for each in kind.__subclasses__() if "SERVICE_NAME" in vars(each)]
    return [*found, *(one for each in kind.__subclasses__() for one in _services(each))]
