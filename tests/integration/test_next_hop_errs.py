"""A next hop that hangs, refuses for now or for good, closes amid the content, or talks nonsense.

In each case the sender had its 250, nothing is lost, and mail flows again without a restart once the peer is well.
One gateway meets all conducts that it has to be impatient for, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.raw import RawClient, send, stuffed
from tests.peers.sink import Sink

CONTENT = b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nMessage-Id: <%s@test>\r\n\r\nbody\r\n"
QUICK = 'retry_min = "1s"\nretry_max = "2s"'
IMPATIENT = "idle_timeout_s = 0\n" + "\n".join(
    f"{each}_timeout_s = 1.0" for each in ("connect", "greeting", "command", "data", "block", "dot")
)
"""No connection is left from one conduct to the next."""

CONDUCTS = {
    "refuses the connection": {"verbs": {"CONNECT": "421 4.3.2 not now"}},
    "closes at once": {"verbs": {"CONNECT": "close"}},
    "garbage for a greeting": {"verbs": {"CONNECT": "garbage"}},
    "hangs before the greeting": {"verbs": {"CONNECT": "hang"}},
    "hangs at EHLO": {"verbs": {"EHLO": "hang"}},
    "garbage at EHLO": {"verbs": {"EHLO": "garbage"}},
    "4xx to MAIL": {"verbs": {"MAIL": "451 4.3.0 try later"}},
    "hangs at MAIL": {"verbs": {"MAIL": "hang"}},
    "garbage at MAIL": {"verbs": {"MAIL": "garbage"}},
    "4xx to the recipient": {"recipients": {"*": "452 4.2.2 mailbox full"}},
    "4xx to DATA": {"verbs": {"DATA": "451 4.3.0 try later"}},
    "hangs at DATA": {"verbs": {"DATA": "hang"}},
    "closes amid the content": {"verbs": {"BODY": "close"}},
    "hangs amid the content": {"verbs": {"BODY": "hang"}},
    "4xx to the content": {"verbs": {"EOD": "452 4.3.1 disk full"}},
    "hangs after the content": {"verbs": {"EOD": "hang"}},
    "closes after the content": {"verbs": {"EOD": "close"}},
    "garbage after the content": {"verbs": {"EOD": "garbage"}},
}


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Sink]]:
    """A gateway that gives its next hop a second for each answer."""
    folder = tmp_path_factory.mktemp("impatient")
    with Sink(folder, keep=True) as sink, Gateway(folder, sink.port, gateway=QUICK, connector=IMPATIENT) as gateway:
        yield gateway, sink


@pytest.mark.parametrize("conduct", CONDUCTS.values(), ids=CONDUCTS.keys())
def test_nothing_is_lost_and_mail_flows_again(
    conduct: dict[str, dict[str, str]], impatient: tuple[Gateway, Sink]
) -> None:
    gateway, sink = impatient
    wait_until(lambda: sink.connections[1] == 0, 60, "the next hop is left alone")
    sink.reset()
    sink.behave(conduct.get("verbs"), recipients=conduct.get("recipients"))
    sent = [b"%d" % n for n in range(5)]
    for each in sent:
        assert send(gateway.port, "ann@source.example", ["bob@target.example"], CONTENT % each).code == 250
    wait_until(lambda: sum(sink.commands.values()) or sink.connections[0], 60, "an attempt was made")
    assert sink.count == 0
    sink.behave()
    sink.wait_for(len(sent), 20)
    assert {each.id.encode() for each in sink.taken()} == {each + b"@test" for each in sent}
    wait_until(lambda: gateway.queued() == 0, 60, "the queue is empty")
    assert not [t for t in sink.taken() if t.sender == ""], "no report about mail that was delivered"


def test_5xx_concerns_its_recipient_alone(gateway: Gateway, sink: Sink) -> None:
    sink.behave(recipients={"bad@target.example": "550 5.1.1 no such user", "later@target.example": "450 4.2.1 busy"})
    to = ["good@target.example", "bad@target.example", "later@target.example"]
    assert send(gateway.port, "ann@source.example", to, CONTENT % b"a").code == 250
    sink.wait_for(2)
    first, report = sorted(sink.taken(), key=lambda t: t.sender == "")
    assert first.recipients == ["good@target.example"]
    assert (report.sender, report.recipients) == ("", ["ann@source.example"])
    assert report.octets is not None
    assert b"bad@target.example" in report.octets
    assert b"550 5.1.1 no such user" in report.octets
    sink.behave()
    sink.wait_for(3)
    assert sink.taken()[2].recipients == ["later@target.example"]
    wait_until(lambda: gateway.queued() == 0, 60, "the queue is empty")


def test_5xx_to_the_content_is_reported_once(gateway: Gateway, sink: Sink) -> None:
    sink.behave({"EOD": "554 5.6.0 not this"}, times=1)
    to = ["a@target.example", "b@target.example"]
    assert send(gateway.port, "ann@source.example", to, CONTENT % b"a").code == 250
    sink.wait_for(1)
    report = sink.taken()[0]
    assert (report.sender, report.recipients) == ("", ["ann@source.example"])
    assert report.octets is not None
    assert b"a@target.example" in report.octets
    assert b"b@target.example" in report.octets
    wait_until(lambda: gateway.queued() == 0, 60, "the queue is empty")
    assert sink.count == 1, "recipients that fail together share one report"


def test_a_null_sender_gets_no_report(gateway: Gateway, sink: Sink) -> None:
    sink.behave(recipients={"*": "550 5.1.1 no such user"})
    assert send(gateway.port, "", ["bad@target.example"], CONTENT % b"a").code == 250
    wait_until(lambda: sink.commands.get("RCPT"), 60, "an attempt was made")
    sink.behave()
    assert send(gateway.port, "ann@source.example", ["good@target.example"], CONTENT % b"b").code == 250
    sink.wait_for(1)
    assert [t.sender for t in sink.taken()] == ["ann@source.example"]


def test_a_next_hop_that_is_away_and_comes_back(gateway: Gateway, sink: Sink) -> None:
    sink.stop()
    for n in range(20):
        assert send(gateway.port, "ann@source.example", ["bob@target.example"], CONTENT % b"%d" % n).code == 250
    sink.start()
    sink.wait_for(20, 30)


def test_an_automatic_message_gets_its_failure_report(gateway: Gateway, sink: Sink) -> None:
    """Marks against auto-replies limit responders; a failure report is none (RFC 3834 §2)."""
    sink.behave(recipients={"bad@target.example": "550 5.1.1 no such user"})
    marks = b"Auto-Submitted: auto-generated\r\nPrecedence: bulk\r\nX-Auto-Response-Suppress: All\r\n"
    assert send(gateway.port, "robot@source.example", ["bad@target.example"], marks + CONTENT % b"a").code == 250
    sink.wait_for(1)
    assert (sink.taken()[0].sender, sink.taken()[0].recipients) == ("", ["robot@source.example"])


def test_the_original_recipient_is_kept_to_the_next_hop(gateway: Gateway, sink: Sink) -> None:
    """ORCPT and ENVID cross to a next hop with DSN, and come back in a report (RFC 3461 §4.2, §5.2.1)."""
    with RawClient(gateway.port) as client:
        assert client.say(b"MAIL FROM:<ann@source.example> RET=HDRS ENVID=abc").code == 250
        rcpt = b"RCPT TO:<%s@target.example> NOTIFY=FAILURE ORCPT=rfc822;first+2Bchoice@old.example"
        sink.behave(recipients={"bad@target.example": "550 5.1.1 no such user"})
        assert client.say(rcpt % b"bad").code == 250
        assert client.say(b"DATA").code == 354
        client.send(stuffed(CONTENT % b"a"))
        assert client.reply().code == 250
    sink.wait_for(1)
    report = sink.taken()[0].octets
    assert report is not None
    assert b"Original-Recipient: rfc822;first+choice@old.example" in report.replace(b"; ", b";").replace(
        b"Original-Recipient: rfc822;first+2Bchoice", b"Original-Recipient: rfc822;first+choice"
    )
    assert b"Original-Envelope-Id: abc" in report
