"""Streams: hints of what happened, whatever becomes of the stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.ews.answer import answers
from connectors.exchange.ews.calls.notify import read_events
from connectors.exchange.ews.organisation import EwsOrganisation
from connectors.exchange.ews.stream import groups, pause
from tests.connectors.exchange.ews.canned import Asked, answer, canned, http, message
from tests.connectors.exchange.ews.kit import mail, organisation
from tests.peers.ews.process import EwsCompany, EwsPeer

PATIENCE_S = 90.0


@asynccontextmanager
async def watching(exchange: EwsOrganisation, watched: list[tuple[str, str]]) -> AsyncIterator[list[tuple[str, str]]]:
    """Collect hints while within."""
    hints: list[tuple[str, str]] = []

    async def collect() -> None:
        async for each in exchange.watch(watched):
            hints.append(each)

    task = asyncio.create_task(collect())
    try:
        yield hints
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - what another process holds
            await asyncio.sleep(0.05)


async def test_each_folder_is_hinted_once_subscribed_and_when_mail_comes(company: EwsCompany, tmp_path: Path) -> None:
    ann, bob = company.address("ann"), company.address("bob")
    async with organisation(tmp_path, **company.access()) as exchange:
        watched = [(ann, await exchange.folder(ann, "inbox")), (bob, await exchange.folder(bob, "inbox"))]
        watched.append((bob, await exchange.folder(bob, ("Out",), create=True)))
        async with watching(exchange, watched) as hints:
            await until(lambda: len(hints) >= 3)
            assert set(hints) == set(watched)
            await until(lambda: company.log("GetStreamingEvents", whole=False))
            hints.clear()
            await asyncio.to_thread(company.put, "bob", mail("a"), "Out")
            await until(lambda: hints)
            assert set(hints) == {watched[2]}
            await asyncio.to_thread(company.put, "ann", mail("a"))
            await until(lambda: watched[0] in hints)
            assert exchange.trouble() is None
    assert len(company.log("Subscribe")) == 2, "one subscription a mailbox"
    assert len(company.log("GetStreamingEvents")) == 1, "and one stream"
    assert not [each for each in threading.enumerate() if each.name.startswith("ews")]


async def test_a_stream_that_drops_is_made_anew_and_all_its_folders_are_hinted(
    company: EwsCompany, tmp_path: Path
) -> None:
    ann = company.address("ann")
    async with organisation(tmp_path, **company.access()) as exchange:
        watched = [(ann, await exchange.folder(ann, "inbox"))]
        company.fault("GetStreamingEvents", "drop_stream", nth=1)
        async with watching(exchange, watched) as hints:
            await until(lambda: len(hints) >= 2)
            await until(lambda: len(company.log("GetStreamingEvents", whole=False)) >= 2)
            await asyncio.to_thread(company.put, "ann", mail("a"))
            await until(lambda: len(hints) >= 3)
    assert len(company.log("Subscribe")) == 2


async def test_what_is_busy_is_left_alone_as_long_as_it_says(company: EwsCompany, tmp_path: Path) -> None:
    ann, bob = company.address("ann"), company.address("bob")
    async with organisation(tmp_path, **company.access()) as exchange:
        watched = [(ann, await exchange.folder(ann, "inbox")), (bob, await exchange.folder(bob, "inbox"))]
        company.fault("Subscribe", "busy", nth=2, ms=2000)
        async with watching(exchange, watched) as hints:
            await until(lambda: len(hints) == 2)
    _, second, third = company.log("Subscribe")
    assert third.at - second.at >= 2.0
    assert third.mailbox == second.mailbox, "the one before it is subscribed already"


async def test_a_mailbox_that_cannot_be_subscribed_does_not_keep_the_others(
    company: EwsCompany, tmp_path: Path
) -> None:
    ann, bob = company.address("ann"), company.address("bob")
    async with organisation(tmp_path, **company.access()) as exchange:
        watched = [(ann, await exchange.folder(ann, "inbox")), (bob, await exchange.folder(bob, "inbox"))]
        company.fault("Subscribe", "refuse", code="ErrorAccessDenied", mailbox=ann)
        async with watching(exchange, watched) as hints:
            await until(lambda: len(company.log("GetStreamingEvents", whole=False)))
            await asyncio.to_thread(company.put, "bob", mail("a"))
            await until(lambda: len(hints) >= 2)
            assert exchange.trouble() == "1 mailboxes are polled, since notifications of them do not come"
    assert set(hints) == {watched[1]}


async def test_a_subscription_that_is_not_known_any_more_is_made_anew(ews_peer: EwsPeer, tmp_path: Path) -> None:
    company = ews_peer.organisation("ann", "bob")
    ann, bob = company.address("ann"), company.address("bob")
    async with organisation(tmp_path, **company.access()) as exchange:
        watched = [(ann, await exchange.folder(ann, "inbox")), (bob, await exchange.folder(bob, "inbox"))]
        async with watching(exchange, watched) as hints:
            await until(lambda: company.log("GetStreamingEvents", whole=False))
            await asyncio.to_thread(ews_peer.cut)
            await until(lambda: len(company.log("GetStreamingEvents", whole=False)) >= 2)
            await until(lambda: len(hints) >= 4)
    assert [hints.count(each) for each in watched] == [2, 2]


async def test_streams_are_read_in_whatever_pieces_they_come(tmp_path: Path) -> None:
    def told(subscription: str, folder: str) -> str:
        event = f'<t:NewMailEvent><t:ParentFolderId Id="{folder}"/></t:NewMailEvent>'
        named = f"<t:SubscriptionId>{subscription}</t:SubscriptionId>"
        return f"<m:Notifications><t:Notification>{named}{event}</t:Notification></m:Notifications>"

    def status(text: str) -> str:
        return f"<m:ConnectionStatus>{text}</m:ConnectionStatus>"

    def stream(*payloads: str) -> bytes:
        return b"".join(answer("GetStreamingEvents", message("GetStreamingEvents", each)) for each in payloads)

    streams: list[list[str]] = []

    def reply(asked: Asked) -> bytes | None:
        if asked.operation == "Subscribe":
            return http(200, answer("Subscribe", message("Subscribe", "<m:SubscriptionId>S1</m:SubscriptionId>")))
        number = len(streams)
        streams.append([])
        asked.handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n")
        if number == 0:  # octet by octet, and two documents at once
            for each in stream(status("OK"), told("S1", "F1")):
                asked.handler.wfile.write(b"1\r\n%c\r\n" % each)
            whole = stream(told("S1", "other"), status("Closed"))
            asked.handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(whole), whole))
            return b""
        asked.state["gate"].wait(PATIENCE_S)
        return None

    with canned(reply) as server:
        options: dict[str, Any] = {"auth": "basic", "username": "u", "password": "p", "url": server.url}
        watched = [("ann@acme.example", "F1"), ("ann@acme.example", "F2")]
        async with organisation(tmp_path, **options) as exchange, watching(exchange, watched) as hints:
            await until(lambda: len(streams) == 2)
            await until(lambda: len(hints) >= 4)
    assert hints[:2] == [("ann@acme.example", "F1"), ("ann@acme.example", "F2")]
    assert set(hints[2:]) == {("ann@acme.example", "F1"), ("ann@acme.example", "F2")}, "of an unknown folder: all"


async def test_the_groups_mailboxes_are_kept_at_one_server(tmp_path: Path) -> None:
    def reply(asked: Asked) -> bytes | None:
        if asked.operation == "Subscribe":
            done = answer("Subscribe", message("Subscribe", "<m:SubscriptionId>S1</m:SubscriptionId>"))
            return http(200, done, Set_Cookie="X-BackEndOverrideCookie=backend7~1; path=/; HttpOnly")
        asked.state["gate"].wait(PATIENCE_S)
        return None

    with canned(reply) as server:
        options: dict[str, Any] = {"auth": "basic", "username": "u", "password": "p", "url": server.url}
        watched = [("bob@acme.example", "F2"), ("ann@acme.example", "F1")]
        async with organisation(tmp_path, **options) as exchange, watching(exchange, watched):
            await until(lambda: any(each.operation == "GetStreamingEvents" for each in server.asked))
    assert [each.headers["x-anchormailbox"] for each in server.asked] == ["ann@acme.example"] * 3
    assert [each.headers.get("cookie") for each in server.asked] == [
        None,
        "X-BackEndOverrideCookie=backend7~1",
        "X-BackEndOverrideCookie=backend7~1",
    ]
    assert {each.headers["x-preferserveraffinity"] for each in server.asked} == {"True"}


@pytest.mark.parametrize(
    ("mailboxes", "size", "most", "sizes", "left"),
    [(0, 200, 3, [], 0), (1, 200, 3, [1], 0), (500, 200, 3, [167, 167, 166], 0), (700, 200, 3, [200] * 3, 100),
     (5, 200, 0, [], 5)],
)  # fmt: skip
def test_mailboxes_are_dealt_to_streams(mailboxes: int, size: int, most: int, sizes: list[int], left: int) -> None:
    watched = [(f"u{n}@x.example", "F") for n in range(mailboxes)] + [("u0@x.example", "G")] * (mailboxes > 0)
    made, polled = groups(watched, size, most)
    assert [len(each.folders) for each in made] == sizes
    assert polled == left
    if made:
        assert made[0].anchor == "u0@x.example"
        assert made[0].folders["u0@x.example"] == ("F", "G")


def test_events_are_read_and_what_is_not_asked_for_is_not() -> None:
    events = (
        "<m:Notifications><t:Notification><t:SubscriptionId>S</t:SubscriptionId>"
        '<t:StatusEvent/><t:MovedEvent><t:ParentFolderId Id="A"/><t:OldParentFolderId Id="B"/></t:MovedEvent>'
        '<t:DeletedEvent><t:ParentFolderId Id="C"/></t:DeletedEvent></t:Notification></m:Notifications>'
    )
    first = read_events(
        answers(answer("GetStreamingEvents", message("GetStreamingEvents", events)), "GetStreamingEvents")[0][0]
    )
    assert first.happened == (("S", "A"),)
    ids = "<m:ErrorSubscriptionIds><t:SubscriptionId>S1</t:SubscriptionId></m:ErrorSubscriptionIds>"
    lost = message("GetStreamingEvents", ids, "ErrorSubscriptionNotFound")
    second = read_events(answers(answer("GetStreamingEvents", lost), "GetStreamingEvents")[0][0])
    assert (second.refused, second.code) == (("S1",), "ErrorSubscriptionNotFound")


def test_pauses_grow_to_a_minute() -> None:
    assert [round(pause(n) / 2 ** (n - 1)) for n in (1, 2, 3)] == [1, 1, 1]
    assert pause(100) <= 75
