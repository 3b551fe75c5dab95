"""A reply to old mail, written to the directory name of an Exchange that is gone, arrives; and the next one at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.conftest import StartGateway
from tests.peers.gateway import Gateway
from tests.peers.ndr import ndr
from tests.peers.process import wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink, Taken

PEOPLE = """name,smtp
Ann Lee,ann.lee@merged.example;alee@merged.example
Bob Ray,bob@merged.example
"""
MORE = """
[connector.exchange]
type = "smtp"
smart_host = "127.0.0.1:{port}"

[mapping]
domains = ["merged.example", "acme.example"]
import = ["people.csv"]
learn = {learn}

[[mapping.shared]]
domain = "acme.example"
systems = ["exchange"]
"""
BOB = "bob@merged.example"
NAME = "IMCEAEX-_O=ACME_OU=HQ_CN=RECIPIENTS_CN=0A1B2C3D4E5F60718293A4B5C6D7E8F9-ALEE@acme.example"
X500 = "x500:/o=ACME/ou=HQ/cn=RECIPIENTS/cn=0A1B2C3D4E5F60718293A4B5C6D7E8F9-ALEE"
CONTENT = b"From: <bob@merged.example>\r\nSubject: Re: lunch\r\nMessage-Id: <%s@test>\r\n\r\nSure. %s\r\n"


@pytest.fixture
def learning(sink: Sink, start_gateway: StartGateway, tmp_path: Path) -> Gateway:
    return begin(sink, start_gateway, tmp_path)


def begin(sink: Sink, start_gateway: StartGateway, tmp_path: Path, *, learn: str = "true", workers: int = 1) -> Gateway:
    folder = tmp_path / "gateway"
    folder.mkdir()
    (folder / "people.csv").write_text(PEOPLE)
    more = MORE.format(port=sink.port, learn=learn)
    return start_gateway(sink.port, folder=folder, more=more, workers=workers)


def written(sink: Sink, gateway: Gateway, number: int, body: bytes = b"") -> tuple[Taken, str]:
    """Write to the old name; return what the Exchange got, and the envelope identifier it came with."""
    before = sink.count
    assert send(gateway.port, BOB, [NAME], CONTENT % (b"%d" % number, body)).code == 250
    sink.wait_for(before + 1)
    (taken,) = sink.taken(before)
    assert taken.octets is not None
    found = re.fullmatch(r"(?:.* )?ENVID=(\S+)", taken.options)
    return taken, found[1] if found else ""


def test_a_reply_to_old_mail_arrives_and_the_next_one_at_once(learning: Gateway, sink: Sink) -> None:
    first, envid = written(sink, learning, 1)
    assert (first.recipients, envid[:3]) == ([NAME], "gp-")
    bounce = ndr(BOB, [NAME], first.octets or b"", envid=envid)
    assert send(learning.port, "", [BOB], bounce).code == 250
    sink.wait_for(2)
    (on,) = sink.taken(1)
    assert (on.sender, on.recipients, on.id) == (BOB, ["ann.lee@merged.example"], "1@test")
    assert on.body == first.body
    assert "ENVID" not in on.options

    (revision, _) = learning.cli("map", "log")["revisions"]
    assert revision["who"] == "bounce"
    assert X500 in revision["why"]
    said = [event["kind"] for m in learning.cli("trace", "1@test")["messages"] for event in m["events"]]
    assert {"learnt", "sent_on", "delivered"} <= set(said)
    wait_until(lambda: learning.queued() == 0, 60, "the bounce is gone")
    assert sink.count == 2, "the sender heard nothing of it"

    wait_until(lambda: written(sink, learning, 2)[0].recipients == ["ann.lee@merged.example"], 3, "the name is known")

    # What was learnt is undone, and is not learnt again: the next bounce goes to the sender.
    learning.cli("map", "rollback", str(revision["number"]))
    wait_until(lambda: written(sink, learning, 3)[0].recipients == [NAME], 3, "the name is forgotten")
    again, envid = written(sink, learning, 4)
    count = sink.count
    assert send(learning.port, "", [BOB], ndr(BOB, [NAME], again.octets or b"", envid=envid)).code == 250
    sink.wait_for(count + 1)
    assert (sink.taken(count)[0].sender, sink.taken(count)[0].recipients) == ("", [BOB])
    assert learning.cli("map", "log")["revisions"][0]["number"] == revision["number"] + 1


def test_a_name_that_the_next_hop_refuses_at_once_is_learnt_too(learning: Gateway, sink: Sink) -> None:
    sink.behave(recipients={NAME: "550 5.1.1 RESOLVER.ADR.ExRecipNotFound; not found"})
    assert send(learning.port, BOB, [NAME], CONTENT % (b"1", b"")).code == 250
    sink.wait_for(1)
    (on,) = sink.taken()
    assert (on.sender, on.recipients, on.id) == (BOB, ["ann.lee@merged.example"], "1@test")
    assert learning.cli("map", "log")["revisions"][0]["who"] == "bounce"
    wait_until(lambda: learning.queued() == 0, 60, "nothing is left")
    assert sink.count == 1


def test_a_large_message_is_sent_on_whole(learning: Gateway, sink: Sink) -> None:
    lines = b"".join(b"line %07d of a long report\r\n" % n for n in range(30_000))
    first, envid = written(sink, learning, 1, lines)
    assert first.size > 900_000
    assert send(learning.port, "", [BOB], ndr(BOB, [NAME], first.octets or b"", envid=envid)).code == 250
    sink.wait_for(2)
    (on,) = sink.taken(1)
    assert (on.sender, on.recipients, on.body) == (BOB, ["ann.lee@merged.example"], first.body)
    wait_until(lambda: learning.queued() == 0, 60, "the bounce is gone")
    wait_until(lambda: not contents(learning), 60, "no content is left behind")


def contents(gateway: Gateway) -> list[Path]:
    """Return the content files of its spool."""
    return [p for p in gateway.spool.rglob("*") if p.is_file() and p.suffix == "" and p.stat().st_size > 500_000]


def test_another_worker_than_the_messages_own_may_get_the_bounce(
    sink: Sink, start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = begin(sink, start_gateway, tmp_path, workers=3)
    first, envid = written(sink, gateway, 1)
    bounce = ndr(BOB, [NAME], first.octets or b"", envid=envid)
    assert send(gateway.port, "", [BOB], bounce).code == 250
    wait_until(lambda: "sent_on" in str(gateway.cli("trace", "1@test")), 60, "it is sent on")
    for n in range(3, 8):  # the kernel gives each connection to any worker
        assert send(gateway.port, "", [BOB], bounce).code == 250
        sink.wait_for(n)
    ways = [(t.sender, *t.recipients) for t in sink.taken(1)]
    assert sorted(ways) == [("", BOB)] * 5 + [(BOB, "ann.lee@merged.example")]
    assert [r["who"] for r in gateway.cli("map", "log")["revisions"]] == ["bounce", "configuration"]


def test_without_learn_a_bounce_is_a_bounce(sink: Sink, start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = begin(sink, start_gateway, tmp_path, learn="false")
    first, envid = written(sink, gateway, 1)
    assert envid == ""
    assert send(gateway.port, "", [BOB], ndr(BOB, [NAME], first.octets or b"")).code == 250
    sink.wait_for(2)
    assert (sink.taken(1)[0].sender, sink.taken(1)[0].recipients) == ("", [BOB])
