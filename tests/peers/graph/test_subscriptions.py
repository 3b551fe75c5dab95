"""Change notifications: only to who has asked for them, and never more than a hint."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.peers.graph.client import IMMUTABLE, Client
from tests.peers.graph.message import moment
from tests.peers.process import wait_until


class Listener:
    """Where notifications go; answers the validation token, or something else."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.is_honest = True
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

            def do_POST(self) -> None:
                """Answer the token, or keep what is told."""
                octets = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
                said = query.get("validationToken", "") if listener.is_honest else "something"
                if octets:
                    listener.got += json.loads(octets)["value"]
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                self.wfile.write(said.encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/told?of=mail"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


def _wanted(graph: Client, listener: Listener, **changed: object) -> dict[str, object]:
    return {
        "changeType": "created,deleted", "notificationUrl": listener.url, "clientState": "secret",
        "resource": f"/{graph.user()}/mailFolders/inbox/messages", "expirationDateTime": moment(time.time() + 3600),
        **changed,
    }  # fmt: skip


def test_a_subscriber_is_told_of_what_it_wants(graph: Client, listener: Listener) -> None:
    made = graph.ask("POST", "subscriptions", json=_wanted(graph, listener), headers=IMMUTABLE, status=201)
    id = graph.company.put("ann", b"Subject: a\r\n\r\n")
    graph.company.put("ann", b"Subject: b\r\n\r\n", folder="archive")
    graph.company.put("bob", b"Subject: c\r\n\r\n")
    graph.company.alter("ann", id, is_read=True)
    graph.company.alter("ann", id, delete=True)
    wait_until(lambda: len(listener.got) >= 2, 60, "both changes are told")
    assert [(each["changeType"], each["resourceData"]["id"]) for each in listener.got] == [
        ("created", id),
        ("deleted", id),
    ]
    assert {(each["clientState"], each["subscriptionId"]) for each in listener.got} == {("secret", made["id"])}


def test_an_address_that_does_not_answer_the_token_gets_none(graph: Client, listener: Listener) -> None:
    listener.is_honest = False
    for url in (listener.url, "http://127.0.0.1:9/"):
        body = _wanted(graph, listener, notificationUrl=url)
        assert graph.ask("POST", "subscriptions", json=body, status=400)["error"]["code"] == "ValidationError"
    assert graph.ask("GET", "subscriptions")["value"] == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"expirationDateTime": moment(time.time() + 8 * 86_400)}, "ExtensionError"),
        ({"expirationDateTime": moment(time.time() - 60)}, "ExtensionError"),
        ({"changeType": "seen"}, "InvalidRequest"),
        ({"resource": "/teams"}, "InvalidRequest"),
        ({"clientState": "x" * 129}, "InvalidRequest"),
    ],
)
def test_what_is_not_to_be_had_is_refused(
    graph: Client, listener: Listener, changed: dict[str, object], code: str
) -> None:
    found = graph.ask("POST", "subscriptions", json=_wanted(graph, listener, **changed), status=400)
    assert found["error"]["code"] == code


def test_a_subscription_is_renewed_and_ended(graph: Client, listener: Listener) -> None:
    made = graph.ask("POST", "subscriptions", json=_wanted(graph, listener), status=201)
    later = moment(time.time() + 7200)
    here = f"subscriptions/{made['id']}"
    assert graph.ask("PATCH", here, json={"expirationDateTime": later})["expirationDateTime"] == later
    assert graph.ask("GET", here)["changeType"] == "created,deleted"
    graph.ask("DELETE", here, status=204)
    assert graph.ask("GET", here, status=404)["error"]["code"] == "ResourceNotFound"
    graph.company.put("ann", b"Subject: a\r\n\r\n")
    time.sleep(0.2)
    assert listener.got == []


def test_notifications_can_be_missed(graph: Client, listener: Listener) -> None:
    graph.ask("POST", "subscriptions", json=_wanted(graph, listener), status=201)
    graph.company.fault("Notify", "miss_events", nth=1)
    graph.company.put("ann", b"Subject: a\r\n\r\n")
    graph.company.put("ann", b"Subject: b\r\n\r\n")
    wait_until(lambda: listener.got, 60, "the second is told")
    time.sleep(0.2)
    assert len(listener.got) == 1
