"""`exim -bS` takes our batches, and we take those that Exim writes by `use_bsmtp`: every octet of each message."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Options, Part, Stamp
from connectors.filedrop.formats.bsmtp import Bsmtp, BsmtpSettings
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import content_of, parcel
from tests.integration.conftest import StartGateway
from tests.peers.exim import Exim
from tests.peers.process import wait_until
from tests.peers.sink import Sink

HEAD = "From: <ann@source.example>\nDate: Tue, 24 Nov 2026 01:02:03 +0000\nMessage-ID: <{}@source.example>\n"
BODIES = (
    "Subject: dots\n\n.\n..\n.text\n\n.\n",
    "Subject: what looks like commands\n\nDATA\nQUIT\nMAIL FROM:<x@y.example>\nFrom here\n>From there\n",
    "Subject: =?utf-8?q?caf=C3=A9?=\nContent-Type: text/plain; charset=utf-8\n\nné ü 你好\n",
    "Subject: long lines\n\n" + "x" * 998 + "\n" + "." * 998 + "\n",
    "Subject: nothing\n\n",
)
MESSAGES = [(HEAD.format(number) + body).encode() for number, body in enumerate(BODIES)]
ANN = parse("smtp:ann@source.example")


def codec(**options: Any) -> Bsmtp:
    return Bsmtp("bsmtp", Options(hostname="gw.example"), BsmtpSettings(**options))


def batch_of(made: Bsmtp, *recipients: str) -> bytes:
    """Return one file of all messages; the last has no sender."""
    found = []
    for message in MESSAGES:
        sender = None if message is MESSAGES[-1] else ANN
        sent = parcel(sender, [parse(f"smtp:{each}") for each in recipients], message.replace(b"\n", b"\r\n"))
        found.append(made.encode(sent, sent.items, "stem"))
    return made.opening(found[0]) + b"".join(b"".join(each.octets()) for each in found) + made.closing()


@pytest.mark.parametrize("options", [{"dialect": "exim"}, {"dialect": "classic"}], ids=str)
def test_exim_takes_ours(options: dict[str, Any]) -> None:
    boxes = ("bob@here.example", "eve@here.example")
    with Exim(mailboxes=boxes) as exim:
        said = exim.take(batch_of(codec(**options), *boxes))
        assert (said.status, said.out) == (0, ""), exim.said()
        for box in boxes:
            assert sorted(exim.mailbox(box)) == sorted(MESSAGES)


def test_exim_takes_no_parameters() -> None:
    """Why a batch for Exim has none: they are refused behind EHLO too."""
    octets = batch_of(codec(dialect="exim", esmtp_parameters=True), "bob@here.example")
    assert octets.startswith(b"EHLO ")
    with Exim() as exim:
        said = exim.take(octets)
        assert (said.status, said.out[:4]) == (2, "501 "), said.out
        assert exim.mailbox("bob@here.example") == []


def test_exim_takes_a_batch_cut_off_as_we_do() -> None:
    whole = batch_of(codec(dialect="exim"), "bob@here.example")
    cut = whole[: whole.rindex(b"Subject")]
    with Exim() as exim:
        assert exim.take(cut).status == 1, "some were taken, and an error ended it"
        theirs = exim.mailbox("bob@here.example")
    found = list(codec(dialect="exim").decode(InMemory(cut), Stamp("t", 0.0)))
    ours = [content_of(each, cut).replace(b"\r\n", b"\n") for each in found if isinstance(each, Part)]
    assert sorted(theirs) == sorted(ours) == sorted(MESSAGES[:-1])
    assert len(found) == len(ours) + 1


@pytest.mark.parametrize(("one_file", "batch_max"), [(True, 100), (False, 100), (True, 1)])
def test_we_take_exims(one_file: bool, batch_max: int) -> None:
    to = ["x@far.example", "y@far.example"]
    with Exim(one_file=one_file, batch_max=batch_max) as exim:
        for message in MESSAGES:
            exim.send("" if message is MESSAGES[-1] else "ann@source.example", to, message)
        files = exim.batches()
    assert len(files) == (1 if one_file else len(MESSAGES))
    found = []
    for file in files:
        for part in codec(dialect="exim").decode(InMemory(file), Stamp("t", 0.0)):
            assert isinstance(part, Part), part
            recipients = [recipient.address.value for recipient in part.recipients]
            found.append((part.reverse_path, recipients, content_of(part, file)))
    crlf = [message.replace(b"\n", b"\r\n") for message in MESSAGES]
    groups = [to] if batch_max > 1 else [to[:1], to[1:]]
    expected = [(None if m is crlf[-1] else ANN, group, m) for m in crlf for group in groups]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


DROP = """
[connector.site]
type = "filedrop"
format = "bsmtp"
inbox = "in"
outbox = "out"
create_folders = true
poll_s = 0.2
max_messages_per_file = 100
[connector.site.bsmtp]
dialect = "exim"
"""
ROUTE = """
[[route]]
match = "smtp:*@far.example"
to = "site"
"""


def test_from_exim_through_the_gateway_to_exim(tmp_path: Path, sink: Sink, start_gateway: StartGateway) -> None:
    """The files go by the connector's folders; the gateway adds its Received field, and nothing else changes."""
    box = "x@far.example"
    start_gateway(sink.port, folder=tmp_path, gateway=ROUTE, more=DROP)
    with Exim() as sender, Exim(mailboxes=(box,), batched="nowhere.example") as receiver:
        for message in MESSAGES:
            sender.send("ann@source.example", [box], message)
        [batch] = sender.batches()
        (tmp_path / "in" / "batch.tmp").write_bytes(batch)
        os.rename(tmp_path / "in" / "batch.tmp", tmp_path / "in" / "batch.bsmtp")
        done: set[Path] = set()

        def arrived() -> bool:
            for path in set((tmp_path / "out").glob("*.bsmtp")) - done:
                assert receiver.take(path.read_bytes()).status == 0
                done.add(path)
            return len(receiver.mailbox(box)) >= len(MESSAGES)

        wait_until(arrived, 60, "all messages are in the mailbox", pause_s=0.2)
        found = receiver.mailbox(box)
    without_trace = [text[text.index(b"From: <ann@") :] for text in found]
    assert sorted(without_trace) == sorted(MESSAGES)
    assert all(text.startswith(b"Received: ") and b"by gw.example" in text for text in found)
    assert [path.name for path in (tmp_path / "in").iterdir() if not path.name.startswith(".")] == []
