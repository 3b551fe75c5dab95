"""Mail through a whole gateway and an Exchange organisation (the EWS peer), both ways, with a kill on each."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.ews.process import EwsCompany
from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.sink import Sink

Start = Callable[..., Gateway]
PATIENCE_S = 90
QUICK = 'retry_min = "1s"\nretry_max = "2s"\n'
EXCHANGE = """
[mapping]
domains = ["gw.example"]

[connector.office]
type = "ews"
url = "{url}"
auth = "{auth}"
username = "{username}"
password = "{password}"
poll_s = 2

[[connector.office.watch]]
mailbox = "ann@{domain}"
folder = "Out"
envelope = "headers"
trusted = true

[[route]]
match = "smtp:*@{domain}"
to = "office"
"""


def config(company: EwsCompany) -> str:
    access = {key: str(value) for key, value in company.access().items()}
    return EXCHANGE.format(domain=company.domain, **access)


def outward(company: EwsCompany, number: int) -> bytes:
    lines = [
        f"From: Ann <{company.address('ann')}>",
        f"To: Olga <olga{number}@out.example>",
        f"Subject: outward {number}",
        f"Message-ID: <out{number}@{company.domain}>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "",
        f"This goes out as number {number}.",
        "",
    ]
    return "\r\n".join(lines).encode()


def send(gateway: Gateway, to: str, number: int) -> None:
    lines = ["From: Olga <olga@out.example>", f"To: {to}", f"Subject: inward {number}", "", f"Number {number}.", ""]
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
        client.sendmail("olga@out.example", [to], "\r\n".join(lines))


def subjects(company: EwsCompany, name: str = "ann") -> list[str]:
    return sorted(item.subject for item in company.items(name))


def is_held(company: EwsCompany, operation: str) -> bool:
    return any(request.answered == "never" for request in company.log(operation))


@pytest.fixture
def gateway(tmp_path: Path, company: EwsCompany, sink: Sink, start_gateway: Start) -> Gateway:
    company.put("ann", outward(company, 0), folder="Out")
    return start_gateway(sink.port, folder=tmp_path, connector=config(company), gateway=QUICK)


def test_a_mail_lies_in_its_recipients_mailbox(company: EwsCompany, gateway: Gateway) -> None:
    send(gateway, company.address("ann"), 1)
    wait_until(lambda: bool(company.items("ann", whole=False)), PATIENCE_S, "the mail is in the mailbox")
    (item,) = company.items("ann")
    assert item.subject == "inward 1"
    assert not item.is_draft
    assert not item.is_read
    assert item.octets.startswith(b"Return-Path: <olga@out.example>\r\nReceived: ")
    assert item.octets.endswith(b"\r\n\r\nNumber 1.\r\n")


def test_an_item_goes_out_and_then_lies_among_those_taken(company: EwsCompany, gateway: Gateway, sink: Sink) -> None:
    wait_until(lambda: bool(sink.taken()), PATIENCE_S, "the mail is at the next hop")
    (taken,) = sink.taken()
    assert taken.recipients == ["olga0@out.example"]
    assert b"This goes out as number 0." in (taken.octets or b"")
    wait_until(
        lambda: bool(company.items("ann", "Gatepost/Taken", whole=False)), PATIENCE_S, "the item is among those taken"
    )
    assert company.items("ann", "Out", whole=False) == []


def recipients_of(sink: Sink) -> list[str]:
    """Return the recipient of each message of the gateway's that the sink has.

    What a kill found on its way may be handed over again, as SMTP leaves open; then it is the same message.
    """
    taken = {(each.recipients[0], re.findall(rb"\bid (\w+)", each.octets or b"")[0]) for each in sink.taken()}
    return sorted(recipient for recipient, _ in taken)


def test_a_kill_each_way_loses_and_doubles_nothing(company: EwsCompany, gateway: Gateway, sink: Sink) -> None:
    """Each kill comes when something is done and its answer is not there yet."""
    company.fault("CreateItem", "held", nth=1)
    company.fault("MoveItem", "held", nth=1)
    for number in range(1, 6):
        send(gateway, company.address("ann"), number)
        company.put("ann", outward(company, number), folder="Out")
    wait_until(lambda: is_held(company, "CreateItem"), PATIENCE_S, "a mail is in the mailbox, and nobody knows")
    gateway.kill()
    gateway.start(60)
    wait_until(lambda: is_held(company, "MoveItem"), PATIENCE_S, "an item is among those taken, and nobody knows")
    gateway.kill()
    gateway.start(60)
    wait_until(lambda: len(company.items("ann", whole=False)) >= 5, PATIENCE_S, "all mails are in the mailbox")
    wait_until(lambda: len(company.items("ann", "Gatepost/Taken", whole=False)) >= 6, PATIENCE_S, "all items are taken")
    wait_until(lambda: len(recipients_of(sink)) >= 6, PATIENCE_S, "all items are at the next hop")
    assert subjects(company) == [f"inward {n}" for n in range(1, 6)]
    assert recipients_of(sink) == [f"olga{n}@out.example" for n in range(6)]
    assert company.items("ann", "Out", whole=False) == []
