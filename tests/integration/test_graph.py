"""Mail through a whole gateway and Exchange Online (the Graph peer), both ways, with a kill on each."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway
from tests.peers.graph.process import GraphCompany
from tests.peers.process import wait_until
from tests.peers.sink import Sink

Start = Callable[..., Gateway]
PATIENCE_S = 90
QUICK = 'retry_min = "1s"\nretry_max = "2s"\n'
ONLINE = """
[mapping]
domains = ["gw.example"]

[connector.online]
type = "graph"
url = "{url}"
authority = "{authority}"
tenant = "{tenant}"
client_id = "{client_id}"
certificate = "{certificate}"
certificate_key = "{key}"
ca_file = "{ca_file}"
poll_s = 2

[[connector.online.watch]]
mailbox = "ann@{domain}"
folder = "Out"
envelope = "headers"
trusted = true

[[route]]
match = "smtp:*@{domain}"
to = "online"
"""


def outward(company: GraphCompany, number: int) -> bytes:
    lines = [
        f"From: Ann <{company.address('ann')}>",
        f"To: Olga <olga{number}@out.example>",
        f"Subject: outward {number}",
        f"Message-ID: <out{number}@{company.domain}>",
        "",
        f"This goes out as number {number}.",
        "",
    ]
    return "\r\n".join(lines).encode()


def send(gateway: Gateway, to: str, number: int) -> None:
    lines = ["From: Olga <olga@out.example>", f"To: {to}", f"Subject: inward {number}", "", f"Number {number}.", ""]
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
        client.sendmail("olga@out.example", [to], "\r\n".join(lines))


@pytest.fixture
def gateway(tmp_path: Path, graph_company: GraphCompany, sink: Sink, start_gateway: Start) -> Gateway:
    """A gateway that logs in by certificate, and an item that goes out."""
    certificate, key = graph_company.certificate(tmp_path)
    key.chmod(0o600)
    access = {name: str(value) for name, value in graph_company.access(client_secret=None).items()}
    text = ONLINE.format(domain=graph_company.domain, certificate=certificate, key=key, **access)
    graph_company.put("ann", outward(graph_company, 0), folder="Out")
    return start_gateway(sink.port, folder=tmp_path, connector=text, gateway=QUICK)


def test_a_mail_lies_in_its_recipients_mailbox(graph_company: GraphCompany, gateway: Gateway) -> None:
    send(gateway, graph_company.address("ann"), 1)
    wait_until(lambda: bool(graph_company.items("ann", whole=False)), PATIENCE_S, "the mail is in the mailbox")
    (item,) = graph_company.items("ann")
    assert (item.subject, item.is_draft, item.is_read) == ("inward 1", False, False)
    assert b"Number 1." in item.shown
    assert b"client_assertion=" in graph_company.log("Token")[0].body


def test_an_item_goes_out_and_then_lies_among_those_taken(
    graph_company: GraphCompany, gateway: Gateway, sink: Sink
) -> None:
    wait_until(lambda: bool(sink.taken()), PATIENCE_S, "the mail is at the next hop")
    (taken,) = sink.taken()
    assert taken.recipients == ["olga0@out.example"]
    assert b"This goes out as number 0." in (taken.octets or b"")
    wait_until(
        lambda: bool(graph_company.items("ann", "Gatepost/Taken", whole=False)),
        PATIENCE_S,
        "the item is among those taken",
    )
    assert graph_company.items("ann", "Out", whole=False) == []


def test_a_kill_each_way_loses_and_doubles_nothing(graph_company: GraphCompany, gateway: Gateway, sink: Sink) -> None:
    graph_company.fault("CreateMessage", "held", nth=1)
    graph_company.fault("MoveMessage", "held", nth=1)
    for number in range(1, 6):
        send(gateway, graph_company.address("bob"), number)
        graph_company.put("ann", outward(graph_company, number), folder="Out")
    for operation in ("CreateMessage", "MoveMessage"):
        wait_until(lambda name=operation: bool(graph_company.log(name)), PATIENCE_S, operation)  # type: ignore[misc]
    gateway.kill()
    graph_company.calm()
    gateway.start(60)
    wait_until(lambda: len(graph_company.items("bob", whole=False)) >= 5, PATIENCE_S, "all mails are in the mailbox")
    wait_until(
        lambda: len(graph_company.items("ann", "Gatepost/Taken", whole=False)) >= 6, PATIENCE_S, "all items are taken"
    )
    wait_until(lambda: len(sink.taken()) >= 6, PATIENCE_S, "all items are at the next hop")
    assert sorted(item.subject for item in graph_company.items("bob")) == [f"inward {n}" for n in range(1, 6)]
    # SMTP may hand over again what the kill found under way; then it is the same message of the gateway's.
    handed_over = {(taken.recipients[0], re.findall(rb"\bid (\w+)", taken.octets or b"")[0]) for taken in sink.taken()}
    assert sorted(recipient for recipient, _ in handed_over) == [f"olga{n}@out.example" for n in range(6)]
    assert graph_company.items("ann", "Out", whole=False) == []
