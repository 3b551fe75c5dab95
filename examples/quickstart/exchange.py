"""A tour of Gatepost in front of an Exchange: a mailbox is filled and emptied, and opened by a mail program.

    python exchange.py           then stays up, for messages of your own
    python exchange.py --once    ends with status 0 only if every message arrived as it should

The Exchange is played by the EWS peer of the tests (`tests/peers/ews`), the internet by `internet.py`. DavMail stands
between the mailbox and mail programs, as it does for people who use one that speaks no EWS. Needs DavMail.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import imaplib
import re
import shutil
import smtplib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from run import (
    GATEPOST,
    HERE,
    PATIENCE_S,
    Course,
    Seen,
    Tour,
    Wrong,
    answers,
    expect,
    free_ports,
    relative_to_here,
    shown,
    tour_in,
)

# The peers are of the tests; they are found beside this checkout's other folders, and nowhere else.
sys.path.insert(0, str(HERE.parents[1]))

from tests.peers import davmail
from tests.peers.davmail import DavMail
from tests.peers.ews.process import EwsCompany, EwsPeer

DOMAIN = "office.example"
EVE = f"eve@{DOMAIN}"
ZOE = "zoe@partner.example"
PASSWORD = "secret"
PORTS = (2535, 2536, 2580, 8035, 2543, 2587)


@dataclass
class Office(Tour):
    """The gateway, the internet on one side of it, and an Exchange with Eve's mailbox on the other."""

    ews_port: int = 0
    imap_port: int = 0
    submission_port: int = 0
    office: EwsCompany | None = None
    opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def config(self) -> Path:
        return self.folder / "exchange.toml"

    @property
    def log(self) -> Path:
        return self.folder / "var" / "exchange" / "gatepost.log"

    async def start(self) -> None:
        for name, port in (
            ("the internet of this tour", self.internet_port),
            ("the gateway", self.smtp_port),
            ("the Exchange of this tour", self.ews_port),
            ("DavMail's IMAP", self.imap_port),
            ("DavMail's SMTP", self.submission_port),
        ):
            if answers(port):
                raise Wrong(f"{name} needs port {port}, and something listens there already; end it first")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        await self.internet.start(self.internet_port)
        peer = await asyncio.to_thread(self.opened.enter_context, EwsPeer(port=self.ews_port))
        self.office = await asyncio.to_thread(peer.organisation, "eve", domain=DOMAIN)
        program = DavMail(peer.url, imap_port=self.imap_port, smtp_port=self.submission_port)
        await self.start_gateway()
        await asyncio.to_thread(self.opened.enter_context, program)

    async def stop(self) -> None:
        await super().stop()
        await asyncio.to_thread(self.opened.close)

    @property
    def exchange(self) -> EwsCompany:
        assert self.office is not None
        return self.office

    def in_the_mailbox(self) -> Iterator[Seen]:
        """Read Eve's inbox as her mail program does: by IMAP. Blocks."""
        client = imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=PATIENCE_S)
        try:
            client.login(EVE, PASSWORD)
            client.select("INBOX", readonly=True)
            _, said = client.fetch("1:*", "(BODY.PEEK[])")
        finally:
            client.shutdown()
        for each in said:
            if isinstance(each, tuple):
                message = message_from_bytes(each[1])
                sender = re.sub(r"^.*<|>.*$", "", str(message["From"]))
                yield Seen(sender, (EVE,), message)

    async def in_the_inbox(self, subject: str) -> Seen:
        """Wait for a message in Eve's inbox. Raises: Wrong."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for seen in await asyncio.to_thread(lambda: list(self.in_the_mailbox())):
                if seen.message["Subject"] == subject:
                    return seen
            if self.gateway is not None and self.gateway.returncode is not None:
                raise Wrong(f"the gateway has ended; its last words:\n{self.last_words()}")
            await asyncio.sleep(0.2)
        raise Wrong(f"the message did not arrive within {PATIENCE_S:.0f} s")

    def send_as_eve(self, to: str, subject: str, answers_to: str = "") -> None:
        """Send as Eve's mail program does: by SMTP to DavMail, which writes it into her mailbox's way out. Blocks."""
        extra = f"In-Reply-To: {answers_to}\r\nReferences: {answers_to}\r\n" if answers_to else ""
        text = f"From: Eve <{EVE}>\r\nTo: {to}\r\nSubject: {subject}\r\n{extra}\r\nHello,\r\n\r\n{subject}.\r\n"
        with smtplib.SMTP("127.0.0.1", self.submission_port, timeout=PATIENCE_S) as client:
            client.login(EVE, PASSWORD)
            client.sendmail(EVE, [to], text)


async def legs(tour: Office) -> None:
    """Send the messages of the tour, one after the other."""
    tag = f"{int(time.time()) % 1_000_000:06d}"
    inward, outward = "internet -> Exchange", "Exchange -> internet"
    offer: Seen | None = None

    async def send(leg_subject: str, to: str = EVE) -> None:
        answer = await asyncio.to_thread(tour.send_from_the_internet, ZOE, to, leg_subject)
        expect("the answer", "250", answer)

    with tour.leg("Zoe writes to Eve", inward) as leg:
        leg.before = shown(ZOE, EVE)
        tour.show()
        await send(f"Offer {tag}")
        offer = await tour.in_the_inbox(f"Offer {tag}")
        leg.after = shown(offer.shown_from, EVE)
        leg.note = "seen by IMAP through DavMail, in Eve's mailbox"
        expect("the From field", ZOE, offer.sender)
    with tour.leg("Eve answers in her mail program", outward) as leg:
        if offer is None:
            raise Wrong("there is no message to answer")
        leg.before = shown(EVE, ZOE)
        tour.show()
        subject, asked = f"Re: Offer {tag}", str(offer.message["Message-ID"])
        await asyncio.to_thread(tour.send_as_eve, ZOE, subject, asked)
        seen = await tour.arrival(tour.on_the_internet, lambda seen: seen.message["Subject"] == subject)
        leg.after = shown(seen.shown_from, ", ".join(seen.recipients))
        leg.note = "taken from the mailbox of what leaves, and then out of the way"
        expect("the recipient", (ZOE,), seen.recipients)
        expect("the sender", EVE, seen.sender)
        expect("what it answers", asked, str(seen.message["In-Reply-To"]))
        await tour.until(
            lambda: [each.subject for each in tour.exchange.items("outside", "Gatepost/Taken")] == [subject],
            "the item among those taken",
        )
    with tour.leg("Exchange says that it is busy", inward) as leg:
        leg.before = shown(ZOE, EVE)
        tour.exchange.fault("CreateItem", "busy", nth=1, ms=1500)
        tour.show()
        await send(f"Later {tag}")
        seen = await tour.in_the_inbox(f"Later {tag}")
        refused = [each for each in tour.exchange.log("CreateItem") if "ErrorServerBusy" in each.codes]
        expect("how often it was asked in vain", 1, len(refused))
        leg.after = shown(seen.shown_from, EVE)
        leg.note = "it waits as long as Exchange asked for, and arrives"
    with tour.leg("Zoe writes to somebody without a mailbox", inward) as leg:
        nobody = f"nobody@{DOMAIN}"
        leg.before = shown(ZOE, nobody)
        tour.show()
        await send(f"Typo {tag}", nobody)
        report = await tour.arrival(
            tour.on_the_internet,
            lambda seen: seen.sender == "" and f"Typo {tag}".encode() in seen.message.as_bytes(),
        )
        leg.after = shown("", ", ".join(report.recipients))
        leg.note = "a report to Zoe, by what Exchange answered"
        expect("the recipient", (ZOE,), report.recipients)
        if b"5.1.1" not in report.message.as_bytes():
            raise Wrong("the report does not say 5.1.1")


def what_next(tour: Office) -> Panel:
    config = relative_to_here(tour.config)
    return Panel(
        f"""Open Eve's mailbox in a mail program: IMAP at 127.0.0.1 port {tour.imap_port}, SMTP at port
{tour.submission_port}, without TLS, user [bold]{EVE}[/], password [bold]{PASSWORD}[/]. Or:

  curl --user {EVE}:{PASSWORD} 'imap://127.0.0.1:{tour.imap_port}/INBOX;MAILINDEX=1'

Write to her from the internet:

  swaks --server 127.0.0.1:{tour.smtp_port} --from {ZOE} --to {EVE}

Ask where a message went, and why:

  {relative_to_here(GATEPOST)} trace {ZOE} -c {config}

The log is [bold]{relative_to_here(tour.log)}[/]. Ctrl-C ends the tour.""",
        title="It stays up. Try next",
    )


async def stay_up(tour: Office, console: Console) -> None:
    """Tell what arrives, until the gateway ends or Ctrl-C comes."""
    mail, items = len(tour.internet.arrived), len(tour.exchange.items("eve"))
    while tour.gateway is not None and tour.gateway.returncode is None:
        for one in tour.internet.arrived[mail:]:
            console.print(f"[green]the internet got[/] {escape(shown(one.sender, ', '.join(one.recipients)))}")
        mail = len(tour.internet.arrived)
        now = await asyncio.to_thread(tour.exchange.items, "eve")
        for item in now[items:]:
            console.print(f"[green]Eve got[/] {escape(item.subject)}")
        items = len(now)
        await asyncio.sleep(0.5)


COURSE: Final = Course(legs, EVE, what_next, stay_up, told=(Wrong, OSError, RuntimeError))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="end after the tour; fresh folder, free ports")
    once = parser.parse_args().once
    why_not = davmail.missing()
    if why_not is not None:
        print(f"this tour opens a mailbox through DavMail, and {why_not}", file=sys.stderr)
        return 1
    if not once:
        # What an earlier tour left in the spool is of a mailbox that is gone.
        shutil.rmtree(HERE / "var" / "exchange", ignore_errors=True)
        return asyncio.run(tour_in(_office(HERE, PORTS), COURSE, once=False))
    with tempfile.TemporaryDirectory(prefix="gatepost-tour-") as made:
        folder, ports = Path(made), free_ports(len(PORTS))
        config = (HERE / "exchange.toml").read_text()
        for port, free in zip(PORTS, ports, strict=True):
            config = config.replace(f":{port}", f":{free}")
        (folder / "exchange.toml").write_text(config)
        return asyncio.run(tour_in(_office(folder, ports), COURSE, once=True))


def _office(folder: Path, ports: tuple[int, ...] | list[int]) -> Office:
    smtp, internet, ews, _, imap, submission = ports
    return Office(folder, smtp, internet, 0, ews_port=ews, imap_port=imap, submission_port=submission)


if __name__ == "__main__":
    sys.exit(main())
