"""A tour of Gatepost: starts it on the example beside this file and sends messages through, in every direction.

    python run.py           then stays up, for messages of your own
    python run.py --once    ends with status 0 only if every message arrived as it should

Needs no root and no other server: the internet is played by `internet.py`, the machines and their MQTT broker by
`broker.py`, the old MHS system by two folders.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shutil
import signal
import smtplib
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.utils import parseaddr
from pathlib import Path
from typing import Final, Generic, TypeVar

from broker import Command, Machines
from internet import Internet
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

HERE = Path(__file__).resolve().parent
GATEPOST = Path(sys.executable).parent / "gatepost"
AMQTT_PUB = GATEPOST.with_name("amqtt_pub")
PATIENCE_S = 60.0
GONE = "gone@partner.example"
ALERT = "Alert: boiler in plant7"
BOILER = "boiler@plant7.bolt.example"
ALERTS = "alerts/plant7/boiler"
COMMANDS = "cmnd/plant7/boiler"


@dataclass
class Leg:
    """One message of the tour: what was sent, what arrived, and whether it is what should have."""

    title: str
    way: str
    before: str = ""
    after: str = ""
    note: str = ""
    took_s: float | None = None
    failed: bool = False


@dataclass(frozen=True)
class Seen:
    """What arrived somewhere: envelope and header addresses, as the ones there see them."""

    sender: str
    recipients: tuple[str, ...]
    message: Message

    @property
    def shown_from(self) -> str:
        return str(self.message["From"])


class Wrong(Exception):
    """A message did not arrive, or not as it should."""


@dataclass
class Tour:
    """The gateway in a folder, both sides of it, and the legs so far."""

    folder: Path
    smtp_port: int
    internet_port: int
    broker_port: int
    internet: Internet = field(default_factory=lambda: Internet(frozenset([GONE])))
    machines: Machines = field(default_factory=lambda: Machines("cmnd", "alerts"))
    legs: list[Leg] = field(default_factory=list)
    gateway: asyncio.subprocess.Process | None = None
    live: Live | None = None

    @property
    def config(self) -> Path:
        return self.folder / "gatepost.toml"

    @property
    def inbox(self) -> Path:
        return self.folder / "var" / "drop" / "in"

    @property
    def outbox(self) -> Path:
        return self.folder / "var" / "drop" / "out"

    @property
    def log(self) -> Path:
        return self.folder / "var" / "gatepost.log"

    async def start(self) -> None:
        """Start the internet, the machines and the gateway; return when it takes mail. Raises: Wrong, OSError."""
        for name, port in (
            ("the internet of this tour", self.internet_port),
            ("the broker of this tour", self.broker_port),
            ("the gateway", self.smtp_port),
        ):
            if answers(port):
                raise Wrong(f"{name} needs port {port}, and something listens there already; end it first")
        await self.internet.start(self.internet_port)
        await self.machines.start(f"127.0.0.1:{self.broker_port}")
        await self.start_gateway()

    async def start_gateway(self) -> None:
        """Start the gateway alone; return when it takes mail. Raises: Wrong, OSError."""
        self.log.parent.mkdir(exist_ok=True)
        log = await asyncio.to_thread(open, self.log, "ab")
        with log:
            self.gateway = await asyncio.create_subprocess_exec(
                GATEPOST, "run", "-c", self.config, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
            )
        end = time.monotonic() + PATIENCE_S
        while not answers(self.smtp_port):
            if self.gateway.returncode is not None or time.monotonic() > end:
                raise Wrong(f"the gateway did not start; its last words:\n{self.last_words()}")
            await asyncio.sleep(0.05)

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    async def stop(self) -> None:
        if self.gateway is not None and self.gateway.returncode is None:
            self.gateway.terminate()
            try:
                await asyncio.wait_for(self.gateway.wait(), PATIENCE_S)
            except TimeoutError:
                self.gateway.kill()
        await self.machines.stop()
        await self.internet.stop()

    # Sending

    def send_from_the_internet(
        self, sender: str, to: str, subject: str, body: str = "", answers: str | None = None
    ) -> str:
        """Send over SMTP; return the answer to the recipient, `250 ...` or the refusal. Blocks."""
        body = body or f"Hello,\r\n\r\n{subject}.\r\n"
        extra = f"In-Reply-To: {answers}\r\n" if answers else ""
        text = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n{extra}\r\n{body}"
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=PATIENCE_S) as client:
            try:
                client.sendmail(sender, [to], text.encode())
            except smtplib.SMTPRecipientsRefused as refused:
                code, words = refused.recipients[to]
                return f"{code} {words.decode()}"
        return "250"

    def send_from_mhs(self, sender: str, to: str, subject: str) -> None:
        """Put a file into the folder, as the MHS system does: under another name first."""
        name = re.sub(r"\W+", "-", subject.lower())
        text = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nHello,\r\n\r\n{subject}.\r\n"
        (self.inbox / f"{name}.tmp").write_bytes(text.encode())
        (self.inbox / f"{name}.tmp").rename(self.inbox / f"{name}.eml")

    # Seeing what arrived

    def on_the_internet(self) -> Iterator[Seen]:
        for one in self.internet.arrived:
            yield Seen(one.sender, one.recipients, message_from_bytes(one.octets))

    def in_the_folder(self) -> Iterator[Seen]:
        for path in sorted(self.outbox.glob("*.eml")):
            message = message_from_bytes(path.read_bytes())
            to = tuple(str(value).strip("<>") for value in message.get_all("X-Receiver", []))
            yield Seen(str(message["X-Sender"]).strip("<>"), to, message)

    async def arrival(self, where: Callable[[], Iterator[Seen]], matches: Callable[[Seen], bool]) -> Seen:
        """Wait for a message. Raises: Wrong."""
        await self.until(lambda: any(matches(seen) for seen in where()), "the message")
        return next(seen for seen in where() if matches(seen))

    async def until(self, there: Callable[[], bool], what: str) -> None:
        """Wait until something is there; folders and the little internet set no events. Raises: Wrong."""
        for _ in range(int(PATIENCE_S / 0.02)):
            if there():
                return
            if self.gateway is not None and self.gateway.returncode is not None:
                raise Wrong(f"the gateway has ended; its last words:\n{self.last_words()}")
            await asyncio.sleep(0.02)
        raise Wrong(f"{what} did not arrive within {PATIENCE_S:.0f} s")

    # Showing

    @contextlib.contextmanager
    def leg(self, title: str, way: str) -> Iterator[Leg]:
        """Show one leg while it runs; a Wrong inside marks it, and the tour goes on."""
        leg = Leg(title, way)
        self.legs.append(leg)
        self.show()
        began = time.monotonic()
        try:
            yield leg
        except (Wrong, OSError, smtplib.SMTPException) as wrong:
            leg.failed, leg.note = True, str(wrong)
        leg.took_s = time.monotonic() - began
        self.show()

    def show(self) -> None:
        if self.live is not None:
            self.live.update(self.table(), refresh=True)

    def table(self) -> Table:
        table = Table(title="Messages crossing", expand=True, show_lines=True)
        table.add_column("", width=2)
        for column, ratio in (("message", 14), ("way", 10), ("as it was sent", 15), ("as it arrived", 20)):
            table.add_column(column, ratio=ratio, overflow="fold")
        table.add_column("ms", justify="right")
        for leg in self.legs:
            sign = "[red]x[/]" if leg.failed else "[green]ok[/]" if leg.took_s is not None else "[yellow]..[/]"
            took = "" if leg.took_s is None else f"{leg.took_s * 1000:.0f}"
            after = escape(leg.after) + (
                f"\n[{'red' if leg.failed else 'dim'}]{escape(leg.note)}[/]" if leg.note else ""
            )
            table.add_row(sign, leg.title, leg.way, escape(leg.before), after.strip(), took)
        return table


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def expect(what: str, wanted: object, got: object) -> None:
    if wanted != got:
        raise Wrong(f"{what} should be {wanted}, and is {got}")


def shown(sender: str, recipient: str) -> str:
    return f"from {sender or '<>'}\nto   {recipient}"


async def legs(tour: Tour) -> None:
    """Send the messages of the tour, one after the other."""
    tag = f"{int(time.time()) % 1_000_000:06d}"  # so that a folder with an earlier tour's files does no harm
    zoe, ann, carl = "zoe@partner.example", "ann@sales", "carl@plant"
    inward, outward = "internet -> oldmhs", "oldmhs -> internet"

    async def cross(leg: Leg, sender: str, to: str, subject: str, came_from: str, came_to: str, how: str) -> Seen:
        """Send one message; see that it arrives under the addresses it should; return it."""
        subject = f"{subject} {tag}"
        leg.before = shown(sender, to)
        tour.show()
        if leg.way == inward:
            answer = await asyncio.to_thread(tour.send_from_the_internet, sender, to, subject)
            expect("the answer", "250", answer)
        else:
            tour.send_from_mhs(sender, to, subject)
        where = tour.in_the_folder if leg.way == inward else tour.on_the_internet
        seen = await tour.arrival(where, lambda seen: seen.message["Subject"] == subject)
        leg.after = shown(seen.shown_from, ", ".join(seen.recipients))
        leg.note = how
        expect("the recipient", (came_to,), seen.recipients)
        if came_from:
            expect("the sender", came_from, seen.sender)
            expect("the From field", came_from, seen.shown_from)
        return seen

    with tour.leg("Zoe writes to Ann's old internet address", inward) as leg:
        await cross(leg, zoe, "ann@acme.example", "Offer", zoe, ann, "Ann is in people.csv")
    with tour.leg("Ann replies from the old system", outward) as leg:
        await cross(leg, ann, zoe, "Re Offer", "ann.lee@merged.example", zoe, "shown under her primary address")
    with tour.leg("Ann writes to Bob, by the MHS address she knows", outward) as leg:
        how = "Bob's home is internet mail"
        await cross(leg, ann, "bob@bolt", "Lunch", "ann.lee@merged.example", "bob.ray@merged.example", how)
    with tour.leg("Bob replies to what he saw", inward) as leg:
        bob = "bob.ray@merged.example"
        await cross(leg, bob, "ann.lee@merged.example", "Re Lunch", "bob@bolt", ann, "Ann sees Bob as she knows him")
    with tour.leg("Zoe writes to somebody at a store", inward) as leg:
        await cross(leg, zoe, "joe@stores.acme.example", "Stock", zoe, "joe@stores", "by the rule for all stores")

    stranger = ""
    with tour.leg("Carl, whom no table names, writes out", outward) as leg:
        seen = await cross(leg, carl, zoe, "Order", "", zoe, "a signed address that leads back to him")
        stranger = seen.sender
        if not re.fullmatch(r"GP[^@]+-MHS-[^@]+@gw\.merged\.example", stranger, re.IGNORECASE):
            raise Wrong(f"{stranger} is no signed address of the gateway's")
        expect("the From field", stranger, seen.shown_from)
    with tour.leg("Zoe replies to Carl", inward) as leg:
        if not stranger:
            raise Wrong("there is no message to reply to")
        await cross(leg, zoe, stranger, "Re Order", zoe, carl, "read back from the address itself")

    with tour.leg("Zoe mistypes an address", inward) as leg:
        nobody = "nobody@acme.example"
        leg.before = shown(zoe, nobody)
        leg.after = await asyncio.to_thread(tour.send_from_the_internet, zoe, nobody, f"Typo {tag}")
        leg.note = "refused while Zoe's server still has it: no bounce"
        expect("the code", "550", leg.after[:3])
    with tour.leg("Ann writes to an address that is gone", outward) as leg:
        leg.before = shown(ann, GONE)
        tour.send_from_mhs(ann, GONE, f"Gone {tag}")
        seen = await tour.arrival(
            tour.in_the_folder,
            lambda seen: seen.sender == "" and f"Gone {tag}".encode() in seen.message.as_bytes(),
        )
        leg.after = shown("", ", ".join(seen.recipients))
        leg.note = "a report in Ann's folder, in plain words"
        expect("the recipient", (ann,), seen.recipients)
        expect("the report's type", "multipart/report", seen.message.get_content_type())
        if GONE.encode() not in seen.message.as_bytes():
            raise Wrong(f"the report does not name {GONE}")
    with tour.leg("A broken file lies in the folder", "oldmhs") as leg:
        name = f"broken-{tag}.eml"
        leg.before = f"{name}, without a sender"
        (tour.inbox / f"{name}.tmp").write_bytes(b"Subject: who wrote this?\r\n\r\nNobody knows.\r\n")
        (tour.inbox / f"{name}.tmp").rename(tour.inbox / name)
        why = tour.inbox / f"{name}.reason.txt"
        await tour.until((tour.inbox / f"{name}.bad").exists, f"{name}.bad")
        leg.after = f"{name}.bad\n{name}.reason.txt"
        leg.note = next(line for line in why.read_text().splitlines() if line.startswith("why:")).split(None, 1)[1]

    await machine_legs(tour, tag)


async def machine_legs(tour: Tour, tag: str) -> None:
    """Send an alert to a person, and the person's answer and a stranger's to the machine."""
    bob, zoe = "bob.ray@merged.example", "zoe@partner.example"
    alert: Seen | None = None
    with tour.leg("The boiler at plant 7 reports 92 degrees", "machines -> internet") as leg:
        leg.before = f"topic {ALERTS}\n92 degrees"
        tour.show()
        await tour.until(lambda: tour.machines.is_heard("alerts/+/+"), "the gateway's subscription")
        await tour.machines.report(ALERTS, "92 degrees")
        seen = await tour.arrival(tour.on_the_internet, lambda seen: seen.message["Subject"] == ALERT)
        leg.after = f"{shown(seen.shown_from, ', '.join(seen.recipients))}\nSubject: {ALERT}"
        leg.note = "a mail to Bob, by the rule for alerts"
        expect("the recipient", (bob,), seen.recipients)
        expect("the sender", BOILER, seen.sender)
        expect("the From field's address", BOILER, parseaddr(seen.shown_from)[1])
        expect("the text", b"92 degrees", (seen.message.get_payload(decode=True) or b"").strip())
        alert = seen
    with tour.leg("Bob answers", "internet -> machines") as leg:
        if alert is None:
            raise Wrong("there is no alert to answer")
        leg.before = f"{shown(bob, BOILER)}\nvalve close"
        tour.show()
        body = f"valve close\r\n\r\n{BOILER} wrote:\r\n> 92 degrees\r\n"
        answer = await asyncio.to_thread(
            tour.send_from_the_internet,
            bob,
            BOILER,
            f"Re: {ALERT}",
            body,
            alert.message["Message-ID"],
        )
        expect("the answer", "250", answer)
        await tour.until(lambda: bool(tour.machines.got), "the command")
        command = tour.machines.got[-1]
        leg.after = f"topic {command.topic}\n{command.payload.decode()}"
        leg.note = "the first line of an answer is a command"
        expect("the command", Command(COMMANDS, b"valve close"), command)
    with tour.leg("A stranger commands the boiler", "internet -> machines") as leg:
        leg.before = f"{shown(zoe, BOILER)}\nvalve open"
        tour.show()
        known = len(tour.machines.got) + len(tour.machines.reported)
        answer = await asyncio.to_thread(tour.send_from_the_internet, zoe, BOILER, f"Open {tag}", "valve open\r\n")
        expect("the answer", "250", answer)

        def reports() -> list[Seen]:
            return [
                seen
                for seen in tour.on_the_internet()
                if seen.sender == "" and f"Open {tag}".encode() in seen.message.as_bytes()
            ]

        def published() -> list[Command]:
            return (tour.machines.got + tour.machines.reported)[known:]

        await tour.until(lambda: bool(reports() or published()), "a report to Zoe")
        expect("what the stranger's mail published", [], published())
        report = reports()[0]
        leg.after = shown("", ", ".join(report.recipients))
        leg.note = "a report to Zoe: nobody may command a machine but by an answer"
        expect("the recipient", (zoe,), report.recipients)
        if b"5.7.1" not in report.message.as_bytes():
            raise Wrong("the report does not say 5.7.1")


async def trace_of(tour: Tour, text: str) -> str:
    """Return what `gatepost trace` says of the messages of an address."""
    asked = await asyncio.create_subprocess_exec(
        GATEPOST, "trace", text, "-c", tour.config, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asked.communicate()
    if asked.returncode:
        raise Wrong(f"gatepost trace ended with {asked.returncode}: {said.decode()}")
    return said.decode()


def what_next(tour: Tour) -> Panel:
    relative = relative_to_here(tour.config)
    drop = relative.parent / "var" / "drop"
    return Panel(
        f"""Write from the internet to Ann, whose mail is in [bold]{drop}/out[/]:

  swaks --server 127.0.0.1:{tour.smtp_port} --from zoe@partner.example --to ann@acme.example

Write as somebody on the old system; what leaves for the internet is shown here:

  printf 'From: joe@stores\\nTo: zoe@partner.example\\nSubject: Hi\\n\\nHello.\\n' > {drop}/in/hi.tmp
  mv {drop}/in/hi.tmp {drop}/in/hi.eml

Report as a machine; the mail to Bob is shown here:

  {relative_to_here(AMQTT_PUB)} --url mqtt://127.0.0.1:{tour.broker_port} -q 1 -t {ALERTS} -m '97 degrees'

Ask where a message went, and why:

  {relative_to_here(GATEPOST)} trace zoe@partner.example -c {relative}
  {relative_to_here(GATEPOST)} queue -c {relative}

Change [bold]{relative}[/] or [bold]{relative.parent}/people.csv[/], and try them:

  {relative_to_here(GATEPOST)} check -c {relative}

The log is [bold]{relative.parent}/var/gatepost.log[/]. Ctrl-C ends the tour.""",
        title="It stays up. Try next",
    )


def relative_to_here(path: Path) -> Path:
    with contextlib.suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path


async def stay_up(tour: Tour, console: Console) -> None:
    """Tell what arrives, until the gateway ends or Ctrl-C comes."""
    mail, commands = len(tour.internet.arrived), len(tour.machines.got)
    files = {path.name for path in tour.outbox.iterdir()}
    while tour.gateway is not None and tour.gateway.returncode is None:
        for one in tour.internet.arrived[mail:]:
            console.print(f"[green]the internet got[/] {escape(shown(one.sender, ', '.join(one.recipients)))}")
        mail = len(tour.internet.arrived)
        for command in tour.machines.got[commands:]:
            console.print(f"[green]a machine got[/] {escape(str(command))}")
        commands = len(tour.machines.got)
        there = {path.name for path in tour.outbox.iterdir() if not path.name.startswith(".")}
        for name in sorted(there - files):
            console.print(f"[green]the old system got[/] {escape(name)}")
        files |= there
        await asyncio.sleep(0.2)


T = TypeVar("T", bound=Tour)


@dataclass(frozen=True)
class Course(Generic[T]):
    """What a tour shows: its legs, whose way `gatepost trace` tells then, what a person can try, and until when."""

    legs: Callable[[T], Awaitable[None]]
    traced: str
    what_next: Callable[[T], Panel]
    stay_up: Callable[[T, Console], Awaitable[None]]
    told: tuple[type[Exception], ...] = (Wrong, OSError)
    """Faults that are told in their own words alone."""


async def tour_in(tour: T, course: Course[T], *, once: bool) -> int:
    """Have a tour, and return the exit status; it stays up afterwards, unless it is for `once`."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    this = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)  # type: ignore[union-attr]  # we are a task
    try:
        await tour.start()
        with Live(tour.table(), console=console, auto_refresh=False, transient=False) as tour.live:
            await course.legs(tour)
        tour.live = None
        traced = await trace_of(tour, course.traced)
        console.print(f"\n[bold]gatepost trace {course.traced}[/]\n{escape(traced)}")
        failed = [leg for leg in tour.legs if leg.failed]
        if failed:
            console.print(f"[red]{len(failed)} of {len(tour.legs)} did not arrive as they should.[/]")
            console.print(escape(tour.last_words()))
        else:
            console.print(f"[green]All {len(tour.legs)} arrived as they should.[/]")
        if not once:
            console.print(course.what_next(tour))
            await course.stay_up(tour, console)
        return 1 if failed else 0
    except course.told as wrong:
        console.print(f"[red]{escape(str(wrong))}[/]")
        return 1
    except asyncio.CancelledError:
        return 130 if once else 0
    finally:
        await tour.stop()


COURSE: Final = Course(legs, "carl@plant", what_next, stay_up)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="end after the tour; fresh folder, free ports")
    if not parser.parse_args().once:
        return asyncio.run(tour_in(Tour(HERE, 2525, 2526, 2883), COURSE, once=False))
    with tempfile.TemporaryDirectory(prefix="gatepost-tour-") as made:
        folder = Path(made)
        shutil.copy(HERE / "people.csv", folder)
        config = (HERE / "gatepost.toml").read_text()
        smtp, internet, broker, _ = ports = free_ports(4)
        for port, free in zip((2525, 2526, 2883, 8025), ports, strict=True):
            config = config.replace(f":{port}", f":{free}")
        (folder / "gatepost.toml").write_text(config)
        return asyncio.run(tour_in(Tour(folder, smtp, internet, broker), COURSE, once=True))


if __name__ == "__main__":
    sys.exit(main())
