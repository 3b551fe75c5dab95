"""Whether a 250 is honest: strace of the whole gateway shows the spool's fsync returned before the answer is written.

Messages go one at a time, so that each answer has a sync of its own to show: between the read that brought the end
of a message's data and the write of its 250, an fsync or fdatasync of a file below the spool began and returned 0.
"""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.peers.gateway import Gateway

MESSAGES: Final = 10
CALLS: Final = "read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg,fsync,fdatasync,sync_file_range"
_LINE: Final = re.compile(r"^(\d+)\s+(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")


@dataclass(frozen=True)
class Event:
    """`kind` is data-end (read), answer (about to be written), sync-begin or sync-end; `pid` the thread."""

    kind: str
    pid: str


def events(trace: str, spool: Path) -> Iterator[Event]:
    """Yield what matters of strace's lines, in their order."""
    waiting: set[str] = set()
    for line in trace.splitlines():
        found = _LINE.match(line)
        if not found:
            continue
        pid, resumed, started, rest = found.groups()
        call = resumed or started
        if call in ("fsync", "fdatasync"):
            if started and str(spool) in rest:
                yield Event("sync-begin", pid)
                waiting.add(pid)
            if "unfinished" not in rest and pid in waiting:
                waiting.discard(pid)
                if re.search(r"= 0\b", rest):
                    yield Event("sync-end", pid)
        elif call in ("read", "recvfrom", "recvmsg", "readv"):
            if r"\r\n.\r\n" in rest:
                yield Event("data-end", pid)
        elif started and re.search(r'"250[ -]2\.0\.0|"250 2\.6\.0', rest) and "queued" in rest:
            # The answer counts from the moment its write is called.
            yield Event("answer", pid)


def count_honest(found: list[Event]) -> tuple[int, int]:
    """Return how many answers had a whole sync between them and the data they answer, of how many."""
    honest = seen = 0
    begun: set[str] = set()
    synced = in_message = False
    for event in found:
        match event.kind:
            case "data-end":
                begun, synced, in_message = set(), False, True
            case "sync-begin":
                begun.add(event.pid)
            case "sync-end":
                # Only a sync that began after the data was read can have covered it.
                synced = synced or event.pid in begun
            case "answer" if in_message:
                seen += 1
                honest += synced
                in_message = False
    return honest, seen


def send_one_by_one(port: int, messages: int) -> None:
    """Send messages on one connection, each after the answer to the last."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s, s.makefile("rb") as answers:

        def say(octets: bytes, wanted: bytes) -> None:
            if octets:
                s.sendall(octets)
            while (line := answers.readline())[3:4] == b"-":
                pass
            if not line.startswith(wanted):
                raise AssertionError(f"{octets[:60]!r}: {line!r}")

        say(b"", b"220")
        say(b"EHLO honest.example\r\n", b"250")
        for n in range(messages):
            say(b"MAIL FROM:<a@source.example>\r\n", b"250")
            say(b"RCPT TO:<b@target.example>\r\n", b"250")
            say(b"DATA\r\n", b"354")
            say(b"Subject: %d\r\n\r\nhonest\r\n.\r\n" % n, b"250")
        say(b"QUIT\r\n", b"221")


def honest_answers(folder: Path, next_hop: int, spool: str | None = None, messages: int = MESSAGES) -> tuple[int, int]:
    """Trace a gateway while it takes messages; return (honest answers, answers)."""
    home = Path(tempfile.mkdtemp(prefix="honest-", dir=folder))
    trace = home / "trace"
    strace = ["strace", "-f", "-y", "-s", "256", "-o", str(trace), "-e", f"trace={CALLS}"]
    try:
        with Gateway(home, next_hop, spool=spool, wrapper=strace) as gateway:
            send_one_by_one(gateway.port, messages)
            gateway.stop()
        return count_honest(list(events(trace.read_text(errors="replace"), gateway.spool)))
    finally:
        shutil.rmtree(home, ignore_errors=True)
