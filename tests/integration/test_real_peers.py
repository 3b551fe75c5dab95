"""Mail of real senders crosses the gateway to real next hops."""

from __future__ import annotations

from pathlib import Path

from tests.integration.conftest import StartGateway
from tests.peers import smtp_source
from tests.peers.gateway import Gateway
from tests.peers.postfix import Postfix
from tests.peers.process import wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink
from tests.peers.smtp_sink import SmtpSink
from tests.peers.swaks import swaks

CONTENT = (
    b"From: <ann@source.example>\r\nTo: <bob@peer.example>\r\nSubject: hello\r\n\r\n.dots\r\n..and more\r\nend\r\n"
)


def test_postfix_to_gateway_to_postfix(start_gateway: StartGateway) -> None:
    with Postfix(mailboxes=("bob@peer.example",)) as receiver:
        gateway = start_gateway(receiver.port)
        with Postfix(next_hop=gateway.port, hostname="sender.example") as sender:
            assert send(sender.port, "ann@source.example", ["bob@peer.example"], CONTENT).code == 250
            wait_until(lambda: receiver.mailbox("bob@peer.example"), 60, "the message is in bob's mailbox")
            wait_until(sender.is_empty, 60, "the sender's queue is empty")
        text = receiver.mailbox("bob@peer.example")[0].read_bytes()
    assert text.endswith(b"\n\n.dots\n..and more\nend\n")
    assert text.count(b"gw.example") >= 1, "the Received field of the gateway"
    assert b"sender.example" in text


def test_postfix_refuses_a_recipient_and_the_sender_is_told(start_gateway: StartGateway) -> None:
    boxes = ("bob@peer.example", "ann@source.example")
    with Postfix(mailboxes=boxes) as receiver:
        gateway = start_gateway(receiver.port)
        to = ["bob@peer.example", "nobody@peer.example"]
        assert send(gateway.port, "ann@source.example", to, CONTENT).code == 250
        wait_until(lambda: receiver.mailbox("ann@source.example"), 60, "the report is in ann's mailbox")
        assert len(receiver.mailbox("bob@peer.example")) == 1
        report = receiver.mailbox("ann@source.example")[0].read_text()
    assert "Return-Path: <>" in report
    assert "nobody@peer.example" in report
    assert "bob@peer.example" not in report.partition("message/rfc822")[0].partition("text/rfc822-headers")[0]
    assert "Action: failed" in report
    assert "5.1.1" in report


def test_smtp_source_to_gateway_to_smtp_sink(tmp_path: Path, start_gateway: StartGateway) -> None:
    with SmtpSink(tmp_path) as sink:
        gateway = start_gateway(sink.port)
        smtp_source.send(smtp_source.args(gateway.port, messages=500, sessions=20, reuse=False))
        wait_until(lambda: gateway.queued() == 0, 60, "the queue is empty")


def test_swaks(gateway: Gateway, sink: Sink) -> None:
    said = swaks(gateway.port, "--h-Subject", "by swaks", "--body", ".\nplain\n")
    assert said.status == 0, said.dialog
    for extension in ("PIPELINING", "8BITMIME", "SIZE", "DSN", "ENHANCEDSTATUSCODES", "SMTPUTF8"):
        assert extension in said.dialog
    sink.wait_for(1)
    taken = sink.taken()[0]
    assert taken.octets is not None
    assert b"\r\nSubject: by swaks\r\n" in taken.octets
    assert b"\r\n\r\n.\r\nplain\r\n" in taken.octets


def test_swaks_pipelining_and_chunked_recipients(gateway: Gateway, sink: Sink) -> None:
    to = ",".join(f"p{n}@target.example" for n in range(30))
    said = swaks(gateway.port, "--pipeline", to=to)
    assert said.status == 0, said.dialog
    sink.wait_for(1)
    wait_until(lambda: sum(len(t.recipients) for t in sink.taken()) >= 30, 60, "all recipients were served")
    served = [r for t in sink.taken() for r in t.recipients]
    assert sorted(served) == sorted(to.split(","))
