"""Mail by UUCP, through Taylor UUCP's own programs and the `rmail` of Postfix, by the programs that the page shows."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Options, Part, Stamp
from connectors.filedrop.formats.uucp import Uucp, UucpSettings
from gateway.contract import Address, Blob
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import content_of, parcel
from tests.docs.sandbox import ROOT, blocks
from tests.integration.conftest import StartGateway
from tests.peers.postfix import Postfix
from tests.peers.process import AS_ROOT, wait_until
from tests.peers.sink import Sink
from tests.peers.uucp import Site, Sites, environment

PAGE = ROOT / "docs" / "connectors" / "filedrop" / "uucp.md"
PROGRAMS = {block.title: block.text for block in blocks(PAGE) if block.title is not None}
CONTENT = (
    b"Received: by gw.example\r\nFrom: <ann@acme.example>\r\nTo: <bob@peer.example>\r\n"
    b"Message-ID: <1@acme.example>\r\nDate: Tue, 24 Nov 2026 01:02:03 +0000\r\nSubject: caf\xc3\xa9\r\n\r\n"
    b".dot\r\nFrom here\r\n\r\nend\r\n"
)


def codec(**options: Any) -> Uucp:
    return Uucp("uucp", Options(hostname="gate.example"), UucpSettings(system="gate", neighbor="beta", **options))


def put(outbox: Path, made: Uucp, sender: Address | None, *to: str) -> None:
    """Put a job into the outbox, as the connector does."""
    sent = parcel(sender, [parse(each) for each in to], CONTENT)
    encoded = made.encode(sent, sent.items, "20261124T010203000Z-1-0")
    for each in encoded.enclosures:
        (outbox / each.name).write_bytes(b"".join(each.octets()))
    (outbox / f"20261124T010203000Z-1-0{made.extension}").write_bytes(b"".join(encoded.octets()))


def hand_over(site: Site, outbox: Path, other: Site) -> None:
    """Run the page's program for cron."""
    program = site.program("to-uux", PROGRAMS["to-uux"])
    uux = site.program("uux", f'#!/bin/sh\nexec uux -I {site.config} "$@"\n')
    command = [*AS_ROOT, "env", f"UUX={uux}", "sh", str(program), str(outbox), other.name]
    subprocess.run(command, check=True, timeout=60, env=environment())


def taken(inbox: Path, **options: Any) -> list[tuple[Address | None, list[str], bytes]]:
    """Read the jobs of an inbox, as the connector does."""
    found = []
    for path in sorted(inbox.glob("X.*")):

        def beside(name: str) -> Blob:
            return InMemory((inbox / name).read_bytes())

        files = {each.name: each.read_bytes() for each in inbox.glob("D.*")}
        octets = path.read_bytes()
        for part in codec(**options).decode(InMemory(octets), Stamp("t", 0.0, path.name, beside)):
            assert isinstance(part, Part), part
            to = [str(each.address) for each in part.recipients]
            found.append((part.reverse_path, to, content_of(part, octets, files)))
    return found


def receiver(site: Site, inbox: Path, name: str) -> None:
    """Let the site run the page's program as `name`, which puts what comes into the inbox."""
    program = PROGRAMS["rmail"].replace("/srv/gatepost/drop/from-uucp", str(inbox))
    assert str(inbox) in program
    site.program(name, program)


@pytest.mark.parametrize("command", ["rmail", "rsmtp"])
def test_from_us_to_the_neighbour_and_back(command: str) -> None:
    """What we give to uux comes to the neighbour's rmail, and what its program puts into an inbox is ours again."""
    with Sites() as sites:
        outbox, inbox = sites.folder / "out", sites.folder / "in"
        outbox.mkdir()
        inbox.mkdir()
        receiver(sites.beta, inbox, command)
        made = codec(command=command)
        put(
            outbox,
            made,
            parse("smtp:ann@acme.example"),
            "uucp:beta!bob",
            "smtp:al+x@x.example",
            "uucp:beta!delta!o'hara",
        )
        hand_over(sites.gate, outbox, sites.beta)
        assert list(outbox.iterdir()) == []
        sites.own()
        sites.gate.call(sites.beta)
        [(name, job)] = sites.beta.spooled("X.").items()
        sites.beta.execute()
        assert sites.beta.spooled("X.") == {}, sites.beta.said()
        found = taken(inbox)
    assert name.startswith("X.gate")
    assert job.splitlines()[0].endswith(b" gate")
    ours = "uucp:gate!acme.example!ann" if command == "rmail" else "smtp:ann@acme.example"
    there = ["smtp:bob@gate.example", "smtp:al+x@x.example", "uucp:delta!o'hara"]
    if command == "rsmtp":
        there = ["uucp:beta!bob", "smtp:al+x@x.example", "uucp:beta!delta!o'hara"]
    assert found == [(parse(ours), there, CONTENT)]


def test_from_the_neighbour_to_us() -> None:
    """What somebody there gives to uux comes to our rmail; and UUCP's own files read the same."""
    text = b"From alpha!ann Tue Nov 24 01:02:03 2026 remote from beta\n"
    text += b">From ann Tue Nov 24 01:00:00 2026 remote from alpha\n"
    with Sites() as sites:
        inbox, spool = sites.folder / "in", sites.folder / "spool-copy"
        inbox.mkdir()
        spool.mkdir()
        receiver(sites.gate, inbox, "rmail")
        sites.own()
        words = ("-", "-r", "gate!rmail", "(bob@gw.example)", "(delta!eve)")
        sites.beta.run("uux", *words, stdin=text + CONTENT.replace(b"\r\n", b"\n"))
        sites.beta.call(sites.gate)
        for name, octets in {**sites.gate.spooled("X."), **sites.gate.spooled("D.")}.items():
            (spool / name).write_bytes(octets)
        sites.gate.execute()
        by_rmail, by_spool = taken(inbox), taken(spool)
    expected = [(parse("uucp:beta!alpha!ann"), ["smtp:bob@gw.example", "uucp:delta!eve"], CONTENT)]
    assert by_rmail == expected
    assert by_spool == expected


def test_an_inbox_that_is_not_there_loses_nothing() -> None:
    with Sites() as sites:
        inbox = sites.folder / "in"
        receiver(sites.gate, inbox, "rmail")
        sites.own()
        sites.beta.run("uux", "-", "-r", "gate!rmail", "(bob)", stdin=b"From ann date remote from beta\n\nt\n")
        sites.beta.call(sites.gate)
        sites.gate.execute()
        assert len(sites.gate.spooled("X.")) == 1, "uuxqt tries it again"
        inbox.mkdir()
        sites.own()
        sites.gate.execute()
        assert [found[1] for found in taken(inbox)] == [["smtp:bob@gate.example"]]


def test_to_the_rmail_of_postfix() -> None:
    """What uuxqt gives to rmail, Postfix's own takes; as root, for no other user may choose its configuration."""
    with Postfix(mailboxes=("bob@peer.example", "eve@peer.example")) as postfix, Sites() as sites:
        outbox = sites.folder / "out"
        outbox.mkdir()
        kept = sites.beta.folder / "given"
        sites.beta.program("rmail", f'#!/bin/sh\nPATH=/bin; printf "%s\\n" "$@" >{kept}.words; cat >{kept}\n')
        put(outbox, codec(), parse("smtp:ann@acme.example"), "smtp:bob@peer.example", "smtp:eve@peer.example")
        hand_over(sites.gate, outbox, sites.beta)
        sites.own()
        sites.gate.call(sites.beta)
        sites.beta.execute()
        words = Path(f"{kept}.words").read_text().split()
        command = [*AS_ROOT, "env", f"MAIL_CONFIG={postfix.folder}/etc", "rmail", *words]
        subprocess.run(command, input=kept.read_bytes(), check=True, timeout=60, env=environment())
        for box in ("bob@peer.example", "eve@peer.example"):
            wait_until(lambda box=box: postfix.mailbox(box), 60, f"the message is in the mailbox {box}")  # type: ignore[misc]  # mypy cannot tell the type of a default
        text = postfix.mailbox("bob@peer.example")[0].read_bytes()
    assert words == ["peer.example!bob", "peer.example!eve"]
    assert text.endswith(CONTENT.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n"))
    assert b"Subject: caf\xc3\xa9\n" in text
    assert text.startswith(b"Return-Path: <acme.example!ann@gate>\n"), "gate!acme.example!ann, as Postfix has it"


DROP = """
[connector.uucp]
type = "filedrop"
format = "uucp"
network = "uucp"
inbox = "in"
outbox = "out"
create_folders = true
ready = "rename"
poll_s = 0.2
[connector.uucp.uucp]
system = "gate"
neighbor = "beta"
[[route]]
match = "uucp:*"
to = "uucp"
"""


def test_through_the_gateway(tmp_path: Path, sink: Sink, start_gateway: StartGateway) -> None:
    """From uux at the neighbour's by rmail, inbox, gateway and outbox to uux again, and out to the internet."""
    with Sites() as sites:
        home = sites.folder / "gatepost"
        home.mkdir()
        start_gateway(sink.port, folder=home, more=DROP)
        receiver(sites.gate, home / "in", "rmail")
        back = sites.folder / "back"
        back.mkdir()
        receiver(sites.beta, back, "rmail")
        for folder in (sites.gate.folder, sites.beta.folder, home / "in", back):
            sites.own(folder)
        text = b"From alpha!ann Tue Nov 24 01:02:03 2026 remote from beta\n" + CONTENT.replace(b"\r\n", b"\n")
        sites.beta.run("uux", "-", "-r", "gate!rmail", "(bob@target.example)", "(beta!eve)", stdin=text)
        sites.beta.call(sites.gate)
        sites.gate.execute()
        wait_until(lambda: list((home / "out").glob("*.X")), 60, "the job for the neighbour is in the outbox")
        hand_over(sites.gate, home / "out", sites.beta)
        sites.own(sites.gate.folder)
        sites.gate.call(sites.beta)
        sites.beta.execute()
        [(sender, recipients, content)] = taken(back)
        sink.wait_for(1)
        [there] = sink.taken()
        left = [path.name for path in (home / "in").iterdir() if not path.name.startswith(".")]
    assert (str(sender), recipients) == ("uucp:gate!beta!alpha!ann", ["smtp:eve@gate.example"])
    assert content.startswith(b"Received: ")
    assert content.endswith(CONTENT)
    assert there.octets is not None
    assert there.octets.endswith(CONTENT)
    assert there.recipients == ["bob@target.example"]
    assert left == [], "the data file is finished with its job"
