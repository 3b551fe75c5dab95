"""What can be made to go wrong, and what is done all the same when it does."""

from __future__ import annotations

import contextlib
import threading
import time

import httpx
import pytest

from tests.peers.graph.client import Client, client, token
from tests.peers.process import wait_until


def _make(graph: Client, **how: object) -> httpx.Response:
    return graph.raw("POST", f"{graph.user()}/messages", json={"subject": "s"})


def test_busy_says_for_how_long(graph: Client) -> None:
    graph.company.fault("CreateMessage", "busy", nth=1, ms=2500)
    graph.company.fault("CreateMessage", "busy", nth=2)
    first, second, third = _make(graph), _make(graph), _make(graph)
    assert (first.status_code, first.headers["Retry-After"]) == (429, "3")
    assert (second.status_code, "Retry-After" in second.headers) == (429, False)
    assert (third.status_code, len(graph.company.items("ann", "drafts"))) == (201, 1)


def test_any_status_and_any_code(graph: Client) -> None:
    graph.company.fault("CreateMessage", "http", nth=1, status=503, retry_after=9, close=True)
    graph.company.fault("CreateMessage", "code", nth=2, code="ErrorMailboxMoveInProgress", status=503)
    graph.company.fault("CreateMessage", "refuse", nth=3, code="ErrorAccessDenied")
    first, second, third = _make(graph), _make(graph), _make(graph)
    assert (first.status_code, first.headers["Retry-After"], first.headers["Connection"]) == (503, "9", "close")
    assert (second.status_code, second.json()["error"]["code"]) == (503, "ErrorMailboxMoveInProgress")
    assert (third.status_code, third.json()["error"]["code"]) == (403, "ErrorAccessDenied")


@pytest.mark.parametrize(
    ("kind", "done"), [("cut_before", 0), ("cut_after", 1), ("truncate", 1)], ids=["before", "after", "truncated"]
)
def test_a_cut_before_does_nothing_and_one_after_all(graph: Client, kind: str, done: int) -> None:
    graph.company.fault("CreateMessage", kind, nth=1)  # type: ignore[arg-type]
    with pytest.raises(httpx.RemoteProtocolError):
        _make(graph)
    assert len(graph.company.items("ann", "drafts")) == done
    assert [each.answered for each in graph.company.log("CreateMessage")] == ["cut"]
    assert _make(graph).status_code == 201


@pytest.mark.parametrize(("kind", "done"), [("never", 0), ("held", 1)])
def test_no_answer_until_calm(graph: Client, kind: str, done: int) -> None:
    graph.company.fault("CreateMessage", kind, nth=1)  # type: ignore[arg-type]
    raised: list[Exception] = []

    def ask() -> None:
        try:
            _make(graph)
        except httpx.HTTPError as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    if done:
        wait_until(lambda: graph.company.items("ann", "drafts"), 60, "it is done")
    time.sleep(0.2)
    assert (thread.is_alive(), len(graph.company.items("ann", "drafts"))) == (True, done)
    graph.company.calm()
    thread.join(60)
    assert (len(raised), len(graph.company.items("ann", "drafts"))) == (1, done)


def test_each_third_and_by_chance_and_of_one_mailbox(graph: Client) -> None:
    graph.company.fault("CreateMessage", "busy", every=3)
    assert [_make(graph).status_code for _ in range(6)] == [201, 201, 429, 201, 201, 429]
    graph.company.calm()
    graph.company.fault("*", "busy", chance=0.5)
    answers = [_make(graph).status_code for _ in range(60)]
    assert 10 < answers.count(429) < 50
    graph.company.calm()
    graph.company.fault("*", "busy", mailbox="bob")
    assert _make(graph).status_code == 201
    assert graph.raw("GET", f"{graph.user('bob')}/messages").status_code == 429


def test_a_fifth_request_at_a_time_in_a_mailbox_is_refused(graph: Client) -> None:
    graph.company.fault("GetFolder", "slow", seconds=1.0)
    answers: list[httpx.Response] = []
    path = f"{graph.user()}/mailFolders/inbox"
    threads = [threading.Thread(target=lambda: answers.append(graph.raw("GET", path))) for _ in range(4)]
    for each in threads:
        each.start()
    wait_until(lambda: graph.company.most_at_once("ann") == 4, 60, "four are running")
    fifth, other = graph.raw("GET", path), graph.raw("GET", f"{graph.user('bob')}/messages")
    for each in threads:
        each.join(60)
    assert [each.status_code for each in answers] == [200] * 4
    assert (fifth.status_code, fifth.headers["Retry-After"], other.status_code) == (429, "1", 200)
    assert fifth.json()["error"]["message"] == "Application is over its MailboxConcurrency limit."


def test_the_login_can_fail_too(graph: Client) -> None:
    graph.company.fault("Token", "http", nth=1, status=503)
    with pytest.raises(KeyError), client(graph.company):
        pass
    with client(graph.company) as again:
        again.ask("GET", "users")


def test_the_peer_can_stop_listening_and_come_back(graph: Client) -> None:
    graph.ask("GET", "users")
    graph.company.peer.refuse(True)
    with pytest.raises(httpx.HTTPError):
        graph.ask("GET", "users")
    graph.company.peer.refuse(False)
    graph.ask("GET", "users")


def test_the_log_has_all_but_the_password(graph: Client) -> None:
    _make(graph)
    found = graph.company.log("CreateMessage")[0]
    assert (found.user, found.mailbox) == (graph.company.client_id, graph.company.address("ann"))
    assert (found.body, found.answered, found.codes) == (b'{"subject":"s"}', "201", ())
    assert found.headers[":target"] == f"POST /v1.0/{graph.user()}/messages"
    assert "authorization" not in found.headers
    assert graph.company.log("Nothing") == []


@pytest.mark.parametrize("kind", ["never", "held"])
def test_a_request_that_is_held_is_in_the_log_meanwhile(graph: Client, kind: str) -> None:
    for operation in ("CreateMessage", "Token"):
        graph.company.fault(operation, kind, nth=1)  # type: ignore[arg-type]

        def ask(operation: str = operation) -> None:
            with contextlib.suppress(httpx.HTTPError):
                _make(graph) if operation == "CreateMessage" else token(graph.company, graph.http)

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda name=operation: graph.company.log(name)[-1:], 60, "it is there")  # type: ignore[misc]
        wait_until(lambda name=operation: graph.company.log(name)[-1].answered == "never", 60, "held")  # type: ignore[misc]
        graph.company.calm()
        thread.join(60)
        assert [each.answered for each in graph.company.log(operation)].count("never") == 1
