"""Mail into mailboxes and out of them by EWS, beside DavMail doing the same: `make bench-exchange`.

All of a round against one process of the EWS peer, which neither validates nor logs then, in another order each round,
with messages of 4 KB in one mailbox:

    DavMail SMTP in     mail by SMTP into DavMail, which sends it as its mailbox: 4 sessions that each send one message
                        after the other (more of them make it no quicker)
    SMTP to mailbox     mail by SMTP into the gateway (smtp-source, 20 sessions), which puts it into the mailbox; from
                        its start to the last message in the mailbox
    DavMail IMAP out    what a mail fetcher does: 20 messages fetched by IMAP, given to the recording SMTP sink, and
                        moved to another folder, and so on; from the first to the last message at the sink
    mailbox to SMTP     the gateway watches the folder, from the first to the last message at the sink

Every message must be there once. Ratios are taken within a round, and the worst round is told. The share of one
processor that the peer had shows whether it was the peer that was measured.

Exit status 1 where a bar is missed, or a message was lost or doubled.
"""

from __future__ import annotations

import argparse
import base64
import imaplib
import os
import re
import smtplib
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.bench_relay import OnlyInMemory, WrongRun, file_system, fsync_ms, work_folder
from tests.peers import davmail, smtp_source
from tests.peers.davmail import DavMail
from tests.peers.ews.process import EwsCompany, EwsPeer
from tests.peers.gateway import Gateway
from tests.peers.process import cpu_s, free_port, wait_until
from tests.peers.sink import Sink

ROUNDS: Final = 3
SIZE: Final = 4096
SESSIONS: Final = 20
DAVMAIL_SESSIONS: Final = 4
BATCH: Final = 20
TIMEOUT_S: Final = 300.0
BAR: Final = 1.0
"""At least as quick as DavMail, both ways, with mapping, routing, the commits of the spool and the trace besides."""
GOAL: Final = 8.0

OFFICE: Final = """
[mapping]
domains = ["gw.example"]

[connector.office]
type = "ews"
url = "{url}"
auth = "basic"
username = "{username}"
password = "{password}"
{watch}
[[route]]
match = "smtp:*@{domain}"
to = "office"
"""

WATCH: Final = """
[[connector.office.watch]]
mailbox = "{mailbox}"
folder = "Out"
recipients = ["olga@out.example"]
trusted = true
"""


@dataclass(frozen=True)
class Measured:
    """Messages a second, CPU milliseconds a message, and the peer's share of one processor meanwhile."""

    rate: float
    cpu_ms: float
    peer: float


class Clock:
    """The time and the CPU of two processes, from now to `ends`."""

    def __init__(self, peer: int, ours: int) -> None:
        self._peer, self._ours = peer, ours
        self._at, self._peer_s, self._ours_s = time.monotonic(), cpu_s(peer), cpu_s(ours)

    def ends(self, count: int, took_s: float | None = None) -> Measured:
        seconds = time.monotonic() - self._at
        peer, ours = cpu_s(self._peer) - self._peer_s, cpu_s(self._ours) - self._ours_s
        return Measured(count / (took_s or seconds), ours / count * 1000, peer / seconds)


def message(number: int, sender: str, recipient: str) -> bytes:
    lines = [
        f"From: <{sender}>",
        f"To: <{recipient}>",
        f"Subject: bench {number}",
        f"Message-ID: <{number}@{sender.partition('@')[2]}>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "",
    ]
    lines += ["x" * 72] * (SIZE // 74)
    return "\r\n".join([*lines, ""]).encode()


def held(company: EwsCompany, name: str) -> int:
    """Return how many items a mailbox's inbox holds, by its own word."""
    body = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" '
        'xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><s:Body><m:GetFolder><m:FolderShape>'
        "<t:BaseShape>Default</t:BaseShape></m:FolderShape><m:FolderIds>"
        '<t:DistinguishedFolderId Id="inbox"/></m:FolderIds></m:GetFolder></s:Body></s:Envelope>'
    )
    login = base64.b64encode(f"{company.address(name)}:{company.password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "text/xml"}
    request = urllib.request.Request(company.peer.url, body.encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = re.search(rb"TotalCount>(\d+)<", answer.read())
    if found is None:
        raise WrongRun("the peer tells no count")
    return int(found[1])


class Bench:
    """The peers of a run; each row is a method that measures so many messages."""

    def __init__(self, folder: Path, peer: EwsPeer, dav: DavMail, sink: Sink) -> None:
        self._folder = folder
        self._peer = peer
        self._dav = dav
        self._sink = sink
        assert peer.process is not None
        assert dav.process is not None
        self._peer_pid = peer.process.pid
        self._dav_pid = dav.process.pid

    # -- in

    def davmail_in(self, count: int) -> Measured:
        company = self._peer.organisation("ann", "bob", honest=False)
        ann, bob = company.address("ann"), company.address("bob")
        clients = [self._smtp(ann, company.password) for _ in range(DAVMAIL_SESSIONS)]
        clock = Clock(self._peer_pid, self._dav_pid)

        def send(number: int) -> None:
            for each in range(number, count, DAVMAIL_SESSIONS):
                clients[number].sendmail(ann, [bob], message(each, ann, bob))

        threads = [threading.Thread(target=send, args=(n,)) for n in range(DAVMAIL_SESSIONS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        wait_until(lambda: held(company, "bob") >= count, TIMEOUT_S, f"{count} messages are in the mailbox", 0.05)
        measured = clock.ends(count)
        for client in clients:
            client.close()
        _all_there(company, "bob", count)
        return measured

    def _smtp(self, user: str, password: str) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self._dav.smtp_port, timeout=120)
        client.ehlo("bench.example")
        client.login(user, password)
        return client

    def ours_in(self, count: int) -> Measured:
        company = self._peer.organisation("ann", honest=False)
        with self._gateway(company, free_port(), "") as gateway:
            file = self._folder / "message"
            file.write_bytes(message(0, "load@source.example", company.address("ann")).replace(b"\r\n", b"\n"))
            command = smtp_source.args(
                gateway.port, messages=count, sessions=SESSIONS, recipient=company.address("ann"), file=file
            )
            clock = Clock(self._peer_pid, gateway.pid)
            smtp_source.send(command, TIMEOUT_S)
            wait_until(lambda: held(company, "ann") >= count, TIMEOUT_S, f"{count} messages are in the mailbox", 0.05)
            measured = clock.ends(count)
            wait_until(lambda: not gateway.queued(), TIMEOUT_S, "the queue is empty")
            gateway.stop()
        if held(company, "ann") != count:
            raise WrongRun(f"SMTP to mailbox: {count} messages became {held(company, 'ann')}")
        return measured

    # -- out

    def davmail_out(self, count: int) -> Measured:
        company = self._filled(count)
        client = imaplib.IMAP4("127.0.0.1", self._dav.imap_port, timeout=TIMEOUT_S)
        client.login(company.address("ann"), company.password)
        client.create("Taken")
        client.select("Out")
        uids = client.uid("SEARCH", "ALL")[1][0].split()
        if len(uids) != count:
            raise WrongRun(f"DavMail shows {len(uids)} of {count} messages")
        clock = Clock(self._peer_pid, self._dav_pid)
        with smtplib.SMTP("127.0.0.1", self._sink.port) as out:
            for start in range(0, count, BATCH):
                some = b",".join(uids[start : start + BATCH]).decode()
                for part in client.uid("FETCH", some, "(BODY.PEEK[])")[1]:
                    if isinstance(part, tuple):
                        out.sendmail(company.address("ann"), ["olga@out.example"], part[1])
                client.uid("MOVE", some, "Taken")
        self._sink.wait_for(count, TIMEOUT_S)
        return self._ended("DavMail IMAP out", clock, count)

    def ours_out(self, count: int) -> Measured:
        company = self._filled(count)
        watch = WATCH.format(mailbox=company.address("ann"))
        with self._gateway(company, self._sink.port, watch) as gateway:
            clock = Clock(self._peer_pid, gateway.pid)
            self._sink.wait_for(count, TIMEOUT_S)
            measured = self._ended("mailbox to SMTP", clock, count)
            wait_until(lambda: not _listed(company, "Out"), TIMEOUT_S, "all is moved out of the folder", 0.5)
            gateway.stop()
        return measured

    def _filled(self, count: int) -> EwsCompany:
        company = self._peer.organisation("ann", honest=False)
        for number in range(count):
            company.put("ann", message(number, company.address("ann"), "olga@out.example"), "Out")
        return company

    def _ended(self, what: str, clock: Clock, count: int) -> Measured:
        first, last = self._sink.times()
        measured = clock.ends(count, (last - first) * count / (count - 1))
        ids = Counter(each.id for each in self._sink.taken())
        self._sink.reset()
        if len(ids) != count or ids.total() != count:
            raise WrongRun(f"{what}: of {count} messages {len(ids)} came, {ids.total() - len(ids)} of them twice")
        return measured

    def _gateway(self, company: EwsCompany, next_hop: int, watch: str) -> Gateway:
        home = Path(tempfile.mkdtemp(prefix="gatepost-", dir=self._folder))
        access = {key: str(value) for key, value in company.access().items()}
        office = OFFICE.format(domain=company.domain, watch=watch, **access)
        return Gateway(home, next_hop, connector=office)


def _listed(company: EwsCompany, folder: str) -> int:
    return len(company.items("ann", folder))


def _all_there(company: EwsCompany, name: str, count: int) -> None:
    subjects = Counter(each.subject for each in company.items(name))
    if len(subjects) != count or subjects.total() != count:
        raise WrongRun(f"of {count} messages {len(subjects)} are there, {subjects.total() - len(subjects)} twice")


@dataclass(frozen=True)
class Row:
    """One thing that is measured with so many messages, and the row that it is beside."""

    name: str
    count: int
    measure: Callable[[Bench, int], Measured]
    beside: str | None = None


ROWS: Final = (
    Row("DavMail SMTP in", 200, Bench.davmail_in),
    Row("SMTP to mailbox", 2000, Bench.ours_in, "DavMail SMTP in"),
    Row("DavMail IMAP out", 200, Bench.davmail_out),
    Row("mailbox to SMTP", 1500, Bench.ours_out, "DavMail IMAP out"),
)


def bench(folder: Path, rounds: int, scale: float, only: str) -> int:
    """Run it all, print, and return the exit status."""
    median, high = fsync_ms(folder)
    print(
        f"{os.cpu_count()} cores, {file_system(folder)} at {folder}, "
        f"fdatasync of 4 KiB: {median:.2f} ms, 95 % {high:.2f}",
        flush=True,
    )
    rows = [each for each in ROWS if only in each.name]
    got: dict[tuple[int, str], Measured] = {}
    with Sink(folder) as sink, EwsPeer(lean=True) as peer, DavMail(peer.url) as dav:
        runs = Bench(folder, peer, dav, sink)
        for round in range(rounds):
            shift = round * len(rows) // rounds
            for row in rows[shift:] + rows[:shift]:
                measured = got[round, row.name] = row.measure(runs, max(40, int(row.count * scale)))
                print(
                    f"round {round + 1}  {row.name:18} {measured.rate:7.0f} msg/s  {measured.cpu_ms:7.2f} ms CPU a "
                    f"message, the peer at {measured.peer:4.0%} of a processor",
                    flush=True,
                )
    return verdict(got, rows, rounds)


def verdict(got: dict[tuple[int, str], Measured], rows: list[Row], rounds: int) -> int:
    """Print the worst ratio of each row that has another beside it; return 1 where one is under the bar."""
    ok = True
    print()
    names = {each.name for each in rows}
    for row in rows:
        if row.beside is None or row.beside not in names:
            continue
        ratio = min(got[n, row.name].rate / got[n, row.beside].rate for n in range(rounds))
        ok = ok and ratio >= BAR
        print(f"exchange {row.name}: {ratio:.2f}x {row.beside} (bar {BAR:g}x, goal {GOAL:g}x)")
    return 0 if ok else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of messages")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    asked = parser.parse_args()
    why_not = davmail.missing()
    if why_not is not None:
        print(why_not, file=sys.stderr)
        return 1
    try:
        with work_folder(asked.folder) as folder:
            return bench(folder, asked.rounds, asked.scale, asked.only)
    except (OnlyInMemory, WrongRun, TimeoutError) as fault:
        print(fault, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
