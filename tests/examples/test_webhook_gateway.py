"""Mail to an application and from it through one started gateway, the plugin in an environment of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.examples.plugin import Plugin
from tests.examples.started import PluginGateway, peer
from tests.peers.gateway import Gateway
from tests.peers.process import free_port, wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink

pytestmark = pytest.mark.xdist_group("webhook-gateway")  # one gateway, and an order of what happens to it
PLUGIN = Plugin("webhook")
application = peer(PLUGIN, "application")
LONG_S = 90.0
TOKEN = "a-token-of-24-characters"


@dataclass
class World:
    gateway: Gateway
    sink: Sink
    shop: Any
    port: int

    def post(self, told: dict[str, Any], key: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Idempotency-Key": key}
        found: tuple[int, dict[str, Any], dict[str, str]] = application.post(
            self.port, json.dumps(told).encode(), headers=headers
        )
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("shop")
    port = free_port()
    shop = application.Application()
    more = f"""
[mapping]
domains = ["people.example"]

[connector.shop]
type = "webhook"
url = "http://127.0.0.1:{shop.port}/mail"
secret = "a secret of 24 octets, or more"
listen = "127.0.0.1:{port}"

[[connector.shop.client]]
name = "orders"
token = "{TOKEN}"
from = ["smtp:*@shop.example"]

[[mapping.rule]]
match = "smtp:{{local}}@people.example"
to = "smtp:{{local}}@inside.example"
"""
    with Sink(folder, keep=True) as sink:
        gateway = PluginGateway(PLUGIN, folder, sink.port, gateway='retry_min = "1s"\nretry_max = "2s"', more=more)
        text = gateway.config.read_text()
        shops = '[[route]]\nmatch = "smtp:*@shop.example"\nto = "shop"\n\n[[route]]'
        gateway.config.write_text(text.replace("[[route]]", shops, 1))
        try:
            with gateway:
                yield World(gateway, sink, shop, port)
        finally:
            shop.close()
            print(gateway.said()[-4000:])


def test_mail_is_posted_until_it_is_taken(world: World) -> None:
    answers = iter([(503, {"Retry-After": "1"}), (204, {})])
    world.shop.answer = lambda asked: next(answers)
    content = b"From: <bob@outside.example>\r\nTo: <orders@shop.example>\r\nSubject: one\r\n\r\nhello\r\n"
    assert send(world.gateway.port, "bob@outside.example", ["orders@shop.example"], content).code == 250
    wait_until(lambda: world.shop.asked, LONG_S, "it is posted")
    (asked,) = world.shop.asked
    told = asked.told
    assert (told["to"], told["from"]) == ("smtp:orders@shop.example", "smtp:bob@outside.example")
    assert asked.raw.endswith(content)
    assert told["parts"]["text"] == "hello\n"
    (trace,) = world.gateway.cli("trace", told["message"])["messages"]
    assert [event["kind"] for event in trace["events"]][-1] == "delivered"


def test_what_is_posted_is_mail_once(world: World) -> None:
    letter = {"from": "orders@shop.example", "to": ["ann@people.example"], "subject": "Your order", "text": "thanks\n"}
    status, told, _ = world.post(letter, "order-1")
    assert (status, told["duplicate"]) == (201, False)
    assert world.post(letter, "order-1")[:2] == (200, {"id": told["id"], "duplicate": True})
    wait_until(lambda: world.sink.taken(), LONG_S, "it is relayed")
    wait_until(lambda: world.gateway.queued() == 0, LONG_S, "its outcome is committed")
    (taken,) = world.sink.taken()
    assert (taken.sender, taken.recipients) == ("orders@shop.example", ["ann@inside.example"])
    assert b"Subject: Your order" in (taken.octets or b"")


def test_a_stranger_is_no_recipient(world: World) -> None:
    """The client may not relay."""
    status, told, _ = world.post({"from": "orders@shop.example", "to": ["joe@far.example"], "text": "x"}, "order-2")
    assert status == 422
    assert "relay" in told["error"]


def test_a_refusal_comes_back_to_the_sender(world: World) -> None:
    world.shop.answer = lambda asked: (422, {})
    content = b"From: <ann@people.example>\r\nMessage-Id: <refused@test>\r\n\r\nhello\r\n"
    assert send(world.gateway.port, "bob@outside.example", ["orders@shop.example"], content).code == 250
    wait_until(lambda: any(t.sender == "" for t in world.sink.taken()), LONG_S, "the report")
    (report,) = [t for t in world.sink.taken() if t.sender == ""]
    assert b"the application refuses the message (422)" in (report.octets or b"")
    assert world.gateway.stop() == 0
