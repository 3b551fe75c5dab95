"""Mail and chat through one started gateway: a real chat server, the plugin in an environment of its own."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.examples.plugin import Plugin
from tests.examples.started import PluginGateway, peer
from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink, Taken

pytestmark = pytest.mark.xdist_group("xmpp-gateway")  # one gateway, and an order of what happens to it
PLUGIN = Plugin("xmpp")
LONG_S = 90.0
WITHOUT_DSN = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 0", "ENHANCEDSTATUSCODES")
"""A next hop that gives no reports itself, so that the gateway does."""
HEAD = b"From: Bob Ray <bob@source.example>\r\nTo: <ann@people.example>\r\nMessage-Id: <%s@test>\r\n"


prosody = peer(PLUGIN, "prosody")
chatter = peer(PLUGIN, "chatter")


@dataclass
class World:
    gateway: Gateway
    sink: Sink
    server: Any
    ann: Any

    def mail(self, to: str, id: str, text: bytes = b"hello") -> None:
        content = HEAD % id.encode() + b"Subject: News\r\n\r\n" + text + b"\r\n"
        assert send(self.gateway.port, "bob@source.example", [to], content).code == 250

    def taken(self, marks: bytes) -> Taken:
        """Wait for a mail at the sink that holds these octets."""

        def found() -> list[Taken]:
            return [each for each in self.sink.taken() if marks in (each.octets or b"")]

        wait_until(found, LONG_S, f"{marks!r} came out", 0.1)
        return found()[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("chat")
    with prosody.Prosody() as server, Sink(folder, keep=True, extensions=WITHOUT_DSN) as sink:
        for name in ("ann", "carol", "dave"):
            server.user(name)
        more = f"""
[[route]]
match = "xmpp:*"
to = "chat"

[mapping]
domains = ["people.example"]
[mapping.gates]
xmpp = "xmpp:{prosody.COMPONENT}"
[[mapping.rule]]
match = "smtp:{{local}}@people.example"
to = "xmpp:{{local}}@{prosody.HOST}"

[connector.chat]
type = "xmpp"
domain = "{prosody.COMPONENT}"
secret = "{prosody.SECRET}"
server = "127.0.0.1:{server.port}"
receipt_wait_s = 3
relay_domains = ["{prosody.HOST}"]
"""
        gateway = PluginGateway(
            PLUGIN,
            folder,
            sink.port,
            gateway='retry_min = "1s"\nretry_max = "2s"',
            more=more,
        )
        ann = chatter.Chatter(server.c2s, "ann", receipts=True)
        try:
            with gateway:
                wait_until(lambda: "chat: connected" in gateway.said(), LONG_S, "the component is connected")
                yield World(gateway, sink, server, ann)
        finally:
            ann.close()
            print(gateway.said()[-6000:], server.said())


def test_mail_is_a_message_and_its_answer_is_mail(world: World) -> None:
    world.mail("ann@people.example", "one", "für dich\r\nund Karl".encode("latin-1"))
    world.ann.wait(lambda: world.ann.said, "the message")
    (said,) = world.ann.said
    assert said.sender == f"bob\\40source.example@{prosody.COMPONENT}"
    assert said.subject == "News"
    assert said.body == "News\n\nfür dich\nund Karl"
    assert said.headers["Message-Id"] == "<one@test>"
    world.ann.message(said.sender, "danke", id="back-1")
    taken = world.taken(b"danke")
    assert taken.recipients == ["bob@source.example"]
    assert taken.sender == "ann@people.example"
    assert b"ann@people.example" in (taken.octets or b"").partition(b"From: ")[2].partition(b"\r\n")[0]


def test_a_receipt_is_the_report_of_delivery(world: World) -> None:
    world.ann.message(f"joe\\40far.example@{prosody.COMPONENT}", "are you there?", id="ask-1", receipt=True)
    world.taken(b"are you there?")
    world.ann.wait(lambda: [s for s in world.ann.said if s.receipt == "ask-1"], "the receipt")
    (receipt,) = [s for s in world.ann.said if s.receipt == "ask-1"]
    assert receipt.sender == f"joe\\40far.example@{prosody.COMPONENT}"


def test_a_failure_is_an_error_and_a_line_of_text(world: World) -> None:
    world.sink.behave(recipients={"gone@far.example": "550 5.1.1 no such person"})
    to = f"gone\\40far.example@{prosody.COMPONENT}"
    world.ann.message(to, "hello?", id="ask-2")
    world.ann.wait(lambda: [s for s in world.ann.said if s.type == "error" and s.id == "ask-2"], "the error")
    world.ann.wait(lambda: [s for s in world.ann.said if "could not be delivered" in s.body], "the text")
    (error,) = [s for s in world.ann.said if s.type == "error" and s.id == "ask-2"]
    assert (error.sender, error.error) == (to, "item-not-found")
    world.sink.behave()


def test_who_is_not_there_gets_it_later(world: World) -> None:
    world.mail("carol@people.example", "later", b"for later")
    wait_until(lambda: world.server.offline("carol") == 1, LONG_S, "the server keeps it")
    carol = chatter.Chatter(world.server.c2s, "carol")
    try:
        carol.wait(lambda: carol.said, "what was kept")
        assert carol.said[0].body.endswith("for later")
    finally:
        carol.close()


def test_who_asks_hears_of_it(world: World) -> None:
    """A client's receipt is a report of delivery; where it is not there, the server's word is one of relaying."""
    notify = " NOTIFY=SUCCESS"
    for name, action in (("ann", b"Action: delivered"), ("dave", b"Action: relayed")):
        to = f"<{name}@people.example>{notify}"
        reply = _send_notified(world.gateway.port, to, HEAD % name.encode() + b"\r\n?\r\n")
        assert reply == 250
        report = world.taken(b"Message-Id: <" + name.encode() + b"@test>")
        assert report.recipients == ["bob@source.example"]
        assert action in (report.octets or b"")


def _send_notified(port: int, path: str, content: bytes) -> int:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo("raw.example")
        client.docmd("MAIL", "FROM:<bob@source.example>")
        client.docmd("RCPT", f"TO:{path}")
        return client.data(content)[0]


def test_nobody_of_that_name_comes_back(world: World) -> None:
    world.mail("nobody@people.example", "nobody", b"hello nobody")
    report = world.taken(b"Message-Id: <nobody@test>")
    assert (report.sender, report.recipients) == ("", ["bob@source.example"])
    assert b"Status: 5.1.1" in (report.octets or b"")


def test_a_server_that_is_away_is_waited_for(world: World) -> None:
    world.server.stop()
    world.mail("carol@people.example", "away", b"after the storm")

    def is_well() -> bool:
        return world.gateway.metrics()['gatepost_connector_healthy{connector="chat"}'] == 1.0

    wait_until(lambda: not is_well(), LONG_S, "it shows")
    (chat,) = [c for c in world.gateway.cli("connectors")["connectors"] if c["name"] == "chat"]
    assert "chat server" in chat["health"]
    (row,) = world.gateway.cli("queue", "list")["rows"]
    assert (row["connector"], row["next_hop"]) == ("chat", prosody.HOST)
    world.server.start()
    wait_until(lambda: world.server.offline("carol") == 1, LONG_S, "it went when the server was back", 0.1)
    wait_until(is_well, LONG_S, "it is well again")


def test_it_stops_in_its_time(world: World) -> None:
    (chat,) = [t for t in world.gateway.cli("connectors")["types"] if t["type"] == "xmpp"]
    assert (chat["distribution"], chat["version"], chat["contract"]) == ("gatepost-xmpp", "1.0.0", 1)
    assert (chat["sides"], chat["configured"]) == (["in", "out"], ["chat"])
    assert world.gateway.stop() == 0
