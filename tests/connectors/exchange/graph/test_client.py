"""One request: its token, its faults by what is known of it, its bounds."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import httpx
import pytest

from connectors.exchange.faults import outcome
from connectors.exchange.graph.answers import PATIENCE_S, Answer, fault, retry_after_s
from connectors.exchange.graph.client import IMMUTABLE, LARGE_OCTETS, Request
from connectors.exchange.organisation import Fault
from gateway.contract import Deferred, Failed
from tests.connectors.exchange.graph.conftest import Opened
from tests.connectors.exchange.graph.kit import URL, graph, told
from tests.peers.graph.process import GraphCompany

GET = Request("GET", "/users/a@b.example/messages", "a@b.example")
POST = Request("POST", "/users/a@b.example/messages", "a@b.example", json={"subject": "x"})


async def failing(answer: httpx.Response | Exception, request: Request = POST) -> Fault:
    def answering(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    peer = graph(answering)
    with pytest.raises(Fault) as caught:
        await peer.client.ask(request)
    return caught.value


async def test_each_request_has_the_token_and_asks_for_ids_that_stay() -> None:
    peer = graph(lambda _: httpx.Response(200, json={"value": []}))
    await peer.client.ask(GET)
    await peer.client.ask(Request("GET", "/users", prefer=("odata.maxpagesize=5",)))
    assert [each.headers["authorization"] for each in peer.seen] == ["Bearer t1", "Bearer t1"]
    assert peer.seen[0].headers["prefer"] == IMMUTABLE
    assert peer.seen[1].headers["prefer"] == f"{IMMUTABLE}, odata.maxpagesize=5"
    assert str(peer.seen[0].url) == f"{URL}/users/a@b.example/messages"


async def test_after_401_the_request_goes_once_more_with_a_new_token() -> None:
    peer = graph(
        lambda r: (
            told(401, "InvalidAuthenticationToken")
            if r.headers["authorization"] == "Bearer t1"
            else httpx.Response(201, json={"id": "1"})
        )
    )
    assert await peer.client.ask(POST) == {"id": "1"}
    assert len(peer.seen) == 2


async def test_a_second_401_is_told_and_not_repeated() -> None:
    peer = graph(lambda _: told(401, "InvalidAuthenticationToken"))
    with pytest.raises(Fault) as caught:
        await peer.client.ask(POST)
    assert (caught.value.why, caught.value.everywhere, len(peer.seen)) == ("denied", True, 2)
    assert peer.client.trouble is not None


@pytest.mark.parametrize(
    ("status", "code", "why", "safe_why", "class_"),
    [
        (400, "ErrorMimeContentInvalidBase64String", "refused", "refused", Failed),
        (400, "ErrorInvalidRecipients", "refused", "refused", Failed),
        (400, "SomethingNew", "refused", "refused", Deferred),
        (403, "ErrorAccessDenied", "denied", "denied", Deferred),
        (403, "ErrorSendAsDenied", "refused", "refused", Failed),
        (404, "ErrorInvalidUser", "refused", "refused", Failed),
        (404, "MailboxNotEnabledForRESTAPI", "refused", "refused", Failed),
        (409, "ErrorIrresolvableConflict", "refused", "refused", Deferred),
        (413, "RequestEntityTooLarge", "refused", "refused", Failed),
        (423, "", "refused", "refused", Deferred),
        (429, "ApplicationThrottled", "busy", "busy", Deferred),
        (500, "ErrorInternalServerError", "unknown", "unreachable", Deferred),
        (502, "", "unknown", "unreachable", Deferred),
        (503, "ServiceUnavailable", "busy", "busy", Deferred),
        (504, "GatewayTimeout", "unknown", "unreachable", Deferred),
        (507, "ErrorQuotaExceeded", "refused", "refused", Deferred),
        (302, "", "unreachable", "unreachable", Deferred),
    ],
)
async def test_what_each_answer_means(
    status: int, code: str, why: str, safe_why: str, class_: type[Deferred | Failed]
) -> None:
    found = await failing(told(status, code))
    assert found.why == why
    assert (await failing(told(status, code), GET)).why == safe_why
    assert isinstance(outcome(found), class_)
    assert found.code in (code, f"HTTP {status}", "ErrorMessageSizeExceeded")


@pytest.mark.parametrize(
    ("raised", "why", "safe_why"),
    [
        (httpx.ConnectError("refused"), "unreachable", "unreachable"),
        (httpx.ConnectTimeout("late"), "unreachable", "unreachable"),
        (httpx.ReadTimeout("late"), "unknown", "unreachable"),
        (httpx.ReadError("reset"), "unknown", "unreachable"),
        (httpx.WriteError("reset"), "unknown", "unreachable"),
        (httpx.RemoteProtocolError("cut"), "unknown", "unreachable"),
    ],
)
async def test_what_a_broken_connection_means(raised: Exception, why: str, safe_why: str) -> None:
    assert (await failing(raised)).why == why
    assert (await failing(raised, GET)).why == safe_why


async def test_what_changes_something_is_sent_once_and_a_question_twice() -> None:
    def cut(_: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")

    peer = graph(cut)
    for request, times in ((POST, 1), (GET, 2)):
        peer.seen.clear()
        with pytest.raises(Fault):
            await peer.client.ask(request)
        assert len(peer.seen) == times


async def test_retry_after_is_obeyed_without_a_request() -> None:
    peer = graph(lambda _: told(429, "TooManyRequests", Retry_After="20"))
    for _ in range(5):
        with pytest.raises(Fault) as caught:
            await peer.client.ask(POST)
        assert caught.value.why == "busy"
        assert 18 < (caught.value.retry_after_s or 0) <= 20
    assert len(peer.seen) == 1
    other = Request("GET", "/users/c@b.example/messages", "c@b.example")
    with pytest.raises(Fault):
        await peer.client.ask(other)
    assert len(peer.seen) == 2, "another mailbox is asked"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), (" 0 ", 0.0), ("", None), ("soon", None), ("-3", None), (formatdate(1_000_060, usegmt=True), 60.0)],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": text}, 1_000_000.0) == seconds


def test_a_busy_answer_without_a_hint_has_ours() -> None:
    assert fault(Answer(429, {}, b""), is_safe=True, now=0.0).retry_after_s == PATIENCE_S


@pytest.mark.parametrize("octets", [b"<html>", b"[1]", b"\xff\xfe", b'{"a":', b"null"])
async def test_an_answer_that_cannot_be_read_may_have_been_done(octets: bytes) -> None:
    assert (await failing(httpx.Response(201, content=octets))).why == "unknown"
    assert (await failing(httpx.Response(200, content=octets), GET)).why == "unreachable"


async def test_an_answer_over_its_limit_is_not_read_on() -> None:
    read = 0

    async def pieces() -> object:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield bytes(10_000)

    peer = graph(lambda _: httpx.Response(200, content=pieces(), headers={"transfer-encoding": "chunked"}))  # type: ignore[arg-type]
    with pytest.raises(Fault, match="ErrorMessageSizeExceeded"):
        await peer.client.send(Request("GET", "/x", limit=50_000))
    assert read < 20


async def test_an_answer_that_could_be_cut_anywhere_is_not_believed() -> None:
    async def pieces() -> object:
        yield b"From: half a mail"

    peer = graph(lambda _: httpx.Response(200, content=pieces(), headers={}))  # type: ignore[arg-type]

    async def unframed(request: httpx.Request) -> httpx.Response:
        answer = httpx.Response(200, content=pieces())  # type: ignore[arg-type]
        del answer.headers["transfer-encoding"]
        return answer

    peer = graph(unframed)
    with pytest.raises(Fault, match="unframed"):
        await peer.client.send(GET)


async def test_large_answers_are_in_memory_one_after_the_other() -> None:
    inside = most = 0

    async def pieces() -> object:
        nonlocal inside, most
        yield bytes(LARGE_OCTETS + 1)
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        yield b"x"
        inside -= 1

    peer = graph(lambda _: httpx.Response(200, content=pieces(), headers={"transfer-encoding": "chunked"}))  # type: ignore[arg-type]
    large = asyncio.Semaphore(1)
    await asyncio.gather(*(peer.client.send(Request("GET", "/x", f"m{n}@x.example", large=large)) for n in range(4)))
    assert most == 1


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.test/v1.0/users",
        "http://graph.test/v1.0/users",
        "https://graph.test:444/v1.0",
        "https://",
        "x:",
    ],
)
async def test_a_token_goes_nowhere_else(link: str) -> None:
    peer = graph(lambda _: httpx.Response(200, json={}))
    with pytest.raises(Fault, match="foreign link"):
        await peer.client.ask(Request("GET", link))
    assert peer.seen == []
    await peer.client.ask(Request("GET", "https://GRAPH.test:443/v1.0/users?$skiptoken=1"))
    assert len(peer.seen) == 1


async def test_stop_ends_what_is_never_answered() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    peer = graph(never, per_mailbox=1)
    waiting = [asyncio.ensure_future(peer.client.send(POST)) for _ in range(3)]
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await peer.client.stop()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert time.monotonic() - began < 5
    assert all(isinstance(each, Fault) and each.why == "unknown" for each in results)
    await peer.client.stop()
    with pytest.raises(Fault, match="stopping"):
        await peer.client.send(GET)


async def test_a_server_that_drips_is_given_up() -> None:
    async def drip() -> object:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    peer = graph(
        lambda _: httpx.Response(200, content=drip(), headers={"transfer-encoding": "chunked"}),  # type: ignore[arg-type]
        timeout_s=0.02,
    )
    with pytest.raises(Fault, match="took too long"):
        await peer.client.send(GET)


# -- against the peer


async def test_a_peer_that_stalls_holds_up_no_stop(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    company.fault("*", "never", mailbox="ann")
    waiting = asyncio.ensure_future(organisation.folder(ann, "inbox"))
    await asyncio.sleep(1.0)
    began = time.monotonic()
    await organisation.stop()
    with pytest.raises(Fault):
        await waiting
    assert time.monotonic() - began < 10
    company.calm()


@pytest.mark.parametrize("kind", ["cut_before", "cut_after", "truncate"])
async def test_a_cut_connection_is_told_as_what_it_is(company: GraphCompany, opened: Opened, kind: str) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    company.fault("Delta", kind)  # type: ignore[arg-type]
    with pytest.raises(Fault) as caught:
        await organisation.page(ann, inbox, None)
    assert caught.value.why == "unreachable"
    company.calm()
    assert (await organisation.page(ann, inbox, None)).seen == ()
    assert organisation.trouble() is None


async def test_a_peer_that_is_away_is_found_again(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    await organisation.folder(ann, "inbox")
    company.peer.refuse(True)
    try:
        with pytest.raises(Fault) as caught:
            await organisation.folder(ann, "drafts")
        assert caught.value.why == "unreachable"
        assert organisation.trouble() is not None
    finally:
        company.peer.refuse(False)
    await organisation.folder(ann, "drafts")
    assert organisation.trouble() is None
