"""Change notifications: hints by POST, from Graph alone, and nothing depends on them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from connectors.exchange.graph import notify
from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.graph.notify import BODY_OCTETS, HEAD_OCTETS, Notices, Unfit, head, response
from tests.connectors.exchange.graph.conftest import Opened
from tests.connectors.exchange.graph.kit import Log, graph, told
from tests.peers.graph.process import GraphCompany
from tests.peers.process import free_port

ANN = ("ann@x.example", "F1")
BOB = ("bob@x.example", "F2")


@asynccontextmanager
async def watching(answering: Any, *places: tuple[str, str]) -> AsyncIterator[SimpleNamespace]:
    """Watch places at a Graph that is a function; `next` waits for a hint."""
    peer = graph(answering)
    port = free_port()
    context = SimpleNamespace(clock=time.time, log=Log())
    notices = Notices("https://gw.example/graph/in", f"127.0.0.1:{port}", peer.client, context)  # type: ignore[arg-type]
    hints = notices.watch(places)

    async def next_(timeout_s: float = 60.0) -> tuple[str, str] | None:
        async with asyncio.timeout(timeout_s):
            return await anext(hints)

    async def post(octets: bytes, path: str = "/graph/in", method: str = "POST") -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.request(method, f"http://127.0.0.1:{port}{path}", content=octets)

    try:
        yield SimpleNamespace(seen=peer.seen, next=next_, post=post, port=port, notices=notices, log=context.log)
    finally:
        await hints.aclose()


def subscribing(request: httpx.Request) -> httpx.Response:
    body = json.loads(request.content)
    return httpx.Response(201, json={"id": "sub-" + body["resource"].split("'")[1], **body})


def state(seen: list[httpx.Request], number: int = 0) -> str:
    return str(json.loads(seen[number].content)["clientState"])


def posted(subscription: str, secret: str) -> bytes:
    return json.dumps({"value": [{"subscriptionId": subscription, "clientState": secret}]}).encode()


async def test_each_place_is_told_once_it_is_subscribed() -> None:
    async with watching(subscribing, ANN, BOB) as at:
        assert {await at.next(), await at.next()} == {ANN, BOB}
        first = json.loads(at.seen[0].content)
        assert first["changeType"] == "created"
        assert first["notificationUrl"] == "https://gw.example/graph/in"
        assert first["resource"] == "users/ann@x.example/mailFolders('F1')/messages"
        assert len(state(at.seen)) >= 32
        assert state(at.seen) != state(at.seen, 1)


async def test_a_notification_is_a_hint_for_its_place() -> None:
    async with watching(subscribing, ANN, BOB) as at:
        await at.next()
        await at.next()
        answer = await at.post(posted("sub-F2", state(at.seen, 1)))
        assert answer.status_code == 202
        assert await at.next() == BOB


@pytest.mark.parametrize(
    "octets",
    [
        b'{"value": [{"subscriptionId": "sub-F1", "clientState": "guessed"}]}',
        b'{"value": [{"subscriptionId": "sub-F1"}]}',
        b'{"value": [{"subscriptionId": "another"}, 7, null]}',
        b'{"value": [{"subscriptionId": ["sub-F1"], "clientState": {"a": 1}}]}',
        b'{"value": []}',
    ],
)
async def test_what_does_not_know_the_secret_leads_to_nothing(octets: bytes) -> None:
    async with watching(subscribing, ANN) as at:
        await at.next()
        assert (await at.post(octets)).status_code == 202
        with pytest.raises(TimeoutError):
            await at.next(0.3)


@pytest.mark.parametrize("octets", [b"", b"{", b"[]", b'{"value": 7}', b"\xff"])
async def test_what_is_no_notification_is_refused(octets: bytes) -> None:
    async with watching(subscribing, ANN) as at:
        await at.next()
        assert (await at.post(octets)).status_code == 400


async def test_the_validation_is_answered_with_its_token_as_text() -> None:
    async with watching(subscribing, ANN) as at:
        await at.next()
        answer = await at.post(b"", "/graph/in?validationToken=Validation%3A+a%3Cb%3E+%C3%A9")
        assert (answer.status_code, answer.text) == (200, "Validation: a<b> é")
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await at.post(b"{}", "/other?validationToken=x")).status_code == 404
        assert (await at.post(b"", "/graph/in?validationToken=x", "GET")).status_code == 405


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\n", ("POST", "/x", 5)),
        (b"POST /x?a=b HTTP/1.0\r\n\r\n", ("POST", "/x?a=b", 0)),
        (b"GET / HTTP/1.1\r\nHost: a\r\ncontent-length:  7 \r\n\r\n", ("GET", "/", 7)),
        (b"POST /x HTTP/2.0\r\n\r\n", "400"),
        (b"POST http://a/ HTTP/1.1\r\n\r\n", "400"),
        (b"POST /\r\n\r\n", "400"),
        (b"\0\xff\r\n\r\n", "400"),
        (b"POST /x HTTP/1.1\r\nContent-Length: -5\r\n\r\n", "400"),
        (b"POST /x HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", "400"),
        (b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_OCTETS + 1), "413"),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
    ],
)
def test_the_head_of_a_request(octets: bytes, said: object) -> None:
    if isinstance(said, str):
        with pytest.raises(Unfit, match=said):
            head(octets)
    else:
        assert head(octets) == said


def test_an_answer_says_how_long_it_is() -> None:
    assert b"\r\nContent-Length: 0\r\n" in response("202 Accepted")
    assert response("200 OK", b"abc").endswith(b"Content-Length: 3\r\nConnection: close\r\n\r\nabc")


async def test_who_says_too_much_or_too_little_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "PATIENCE_S", 0.3)
    async with watching(subscribing, ANN) as at:
        await at.next()
        for octets in (b"POST /x HTTP/1.1\r\nX: " + b"a" * 2 * HEAD_OCTETS, b"POST /x HT", b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
            writer.write(octets)
            async with asyncio.timeout(60):
                assert await reader.read() in (b"", response("400 Bad Request"))
            writer.close()
        await at.post(posted("sub-F1", state(at.seen)))
        assert await at.next() == ANN


async def test_more_than_so_many_connections_are_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "CONNECTIONS", 2)
    async with watching(subscribing, ANN) as at:
        await at.next()
        held = [await asyncio.open_connection("127.0.0.1", at.port) for _ in range(2)]
        await asyncio.sleep(0.05)
        with contextlib.suppress(httpx.ReadError):  # the connection is closed with what was said on it unread
            assert (await at.post(b"{}")).status_code == 503
        for _, writer in held:
            writer.close()


async def test_a_subscription_is_renewed_and_made_anew_where_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "LIFETIME_S", 0.4)
    patches = 0

    def answering(request: httpx.Request) -> httpx.Response:
        nonlocal patches
        if request.method == "PATCH":
            patches += 1
            return httpx.Response(200, json={}) if patches < 3 else told(404, "ResourceNotFound")
        return subscribing(request)

    async with watching(answering, ANN) as at:
        assert await at.next() == ANN
        assert await at.next() == ANN, "told again, since nothing was told in between"
        assert patches == 3


async def test_what_cannot_be_subscribed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "RETRY_S", 0.05)
    tries = 0

    def answering(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        return told(400, "ValidationError") if tries < 4 else subscribing(request)

    async with watching(answering, ANN) as at:
        assert await at.next() == ANN
        assert [event for event, _ in at.log.told] == ["no notifications of a folder for now"]


async def test_a_port_in_use_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "RETRY_S", 0.2)
    taken = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    peer = graph(subscribing)
    context = SimpleNamespace(clock=time.time, log=Log())
    notices = Notices("https://gw.example/", f"127.0.0.1:{port}", peer.client, context)  # type: ignore[arg-type]
    hints = notices.watch([ANN])
    waiting = asyncio.ensure_future(anext(hints))
    await asyncio.sleep(0.1)
    assert str(port) in str(notices.trouble)
    taken.close()
    async with asyncio.timeout(60):
        assert await waiting == ANN
    assert notices.trouble is None
    await hints.aclose()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"notify_url": "http://gw.example/x"}, "https:// alone"),
        ({"notify_url": "gw.example"}, "not a URL"),
        ({"notify_listen": "8480"}, "no address and port"),
        ({"notify_listen": "127.0.0.1:0"}, "no address and port"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GraphConfig.model_validate({"tenant": "t.example", "client_id": "c", "client_secret": "s", **options})


# -- against the peer, which asks the address before it subscribes


MAIL = b"From: a@b.example\r\nSubject: x\r\n\r\nhello\r\n"


async def test_mail_that_comes_is_notified_within_moments(company: GraphCompany, opened: Opened) -> None:
    port = free_port()
    options = {"notify_url": f"http://127.0.0.1:{port}/hook", "notify_listen": f"127.0.0.1:{port}"}
    organisation, ann = await opened(**options), company.address("ann")
    place = (ann, await organisation.folder(ann, "inbox"))
    hints = organisation.watch([place])
    async with asyncio.timeout(60):
        assert await anext(hints) == place
        waiting = asyncio.ensure_future(anext(hints))
        await asyncio.sleep(0.1)
        company.put("ann", MAIL)
        assert await waiting == place
    await hints.aclose()  # type: ignore[attr-defined]


async def test_without_notifications_nothing_is_hinted(company: GraphCompany, opened: Opened) -> None:
    organisation = await opened()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await anext(organisation.watch([ANN]))
    assert company.log("Subscribe") == []
