"""No recipient of the envelope ever shows in a header: a Bcc stays blind."""

from __future__ import annotations

import pytest

from tests.peers.gateway import Gateway
from tests.peers.raw import send
from tests.peers.sink import Sink

HEAD = b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nSubject: quarterly\r\n"


@pytest.mark.parametrize(
    "recipients",
    [["secret@target.example"], ["bob@target.example", "secret@target.example", "secret2@other.example"]],
    ids=["alone", "among others"],
)
def test_envelope_recipients_are_in_no_header(recipients: list[str], gateway: Gateway, sink: Sink) -> None:
    assert send(gateway.port, "ann@source.example", recipients, HEAD + b"\r\nhello\r\n").code == 250
    sink.wait_for(1)
    while sum(len(t.recipients) for t in sink.taken()) < len(recipients):
        sink.wait_for(sink.count + 1)
    for taken in sink.taken():
        assert taken.octets is not None
        assert b"secret" not in taken.octets


def test_a_report_names_only_the_recipients_that_failed(gateway: Gateway, sink: Sink) -> None:
    sink.behave(recipients={"gone@target.example": "550 5.1.1 no such user"})
    to = ["secret@target.example", "gone@target.example"]
    assert send(gateway.port, "ann@source.example", to, HEAD + b"\r\nhello\r\n").code == 250
    sink.wait_for(2)
    report = next(t for t in sink.taken() if t.sender == "")
    assert report.octets is not None
    assert b"gone@target.example" in report.octets
    assert b"secret" not in report.octets
