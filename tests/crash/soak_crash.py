"""kill -9 at random moments under load, beside Postfix: `make soak-crash KILLS=50`.

Two loads run all the while: our pipelining generator and a real smtp-source behind a witness. Both know every
message that was answered 250, and neither sends one again. Every now and then all processes of the server get
SIGKILL, and it is started again on what is left. At the end the queue runs empty, and the sink's records tell what
was lost (answered 250, never taken) and what was doubled (taken more than once).

After each kill, once the sink has read all that was on its way, the dead server's spool is read: a message that
the sink has and the spool still holds was in flight, and may come again. More doubles than that are a fault.

Exit status 1 if the gateway lost a message, doubled more than were in flight, had more in flight at one kill than
its bound, or accepted fewer than the floor. Postfix's line is for comparison.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from tests.peers import smtp_source
from tests.peers.gateway import Gateway
from tests.peers.load import Load
from tests.peers.postfix import Postfix
from tests.peers.process import wait_until
from tests.peers.sink import Sink
from tests.peers.witness import Witness

FLOOR_PER_KILL: Final = 50
SESSIONS_OUT: Final = 20
PIPELINE_DEPTH: Final = 8
COMMIT_GROUP: Final = 256
IN_FLIGHT_BOUND: Final = SESSIONS_OUT * PIPELINE_DEPTH + COMMIT_GROUP
"""What design and defaults allow to be in flight at one kill: sessions x pipeline depth + one commit group."""

_ID: Final = re.compile(rb"message-id:[ \t]*<([^>\r\n]+)>", re.IGNORECASE)


class Server(Protocol):
    """What is killed. `left` are the ids of whole messages in the spool of a server that is down."""

    @property
    def port(self) -> int: ...

    def start(self) -> object: ...

    def kill(self) -> None: ...

    def left(self) -> set[str]: ...


def ids_in(octets: bytes) -> set[str]:
    return {each.decode("latin-1") for each in _ID.findall(octets)}


class KilledGateway(Gateway):
    """A gateway whose spool is read from a copy while it is down, as any tool that opened it would recover it."""

    def left(self) -> set[str]:
        found: set[str] = set()
        for database in self.spool.glob("worker-*.db"):
            with tempfile.TemporaryDirectory() as folder:
                for each in self.spool.glob(f"{database.name}*"):
                    shutil.copy(each, folder)
                with closing(sqlite3.connect(Path(folder) / database.name)) as copy:
                    rows = copy.execute(
                        "SELECT content, content_ref FROM messages WHERE id IN (SELECT message_id FROM deliveries)"
                    )
                    for content, ref in rows:
                        for beside in self.spool.rglob(ref) if ref else ():
                            content = beside.read_bytes()
                        found |= ids_in(content[:4096])
        return found


class KilledPostfix(Postfix):
    """A Postfix whose queue files are read while it is down."""

    def left(self) -> set[str]:
        found: set[str] = set()
        for each in self.queue_files():
            # A queue file that cleanup has finished is executable; any other was never answered 250.
            if each.stat().st_mode & 0o100:
                found |= ids_in(each.read_bytes()[:8192])
        return found


@dataclass
class Count:
    """What one server's run came to."""

    kills: int = 0
    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: int = 0
    in_flight: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        flight = f"in flight at kill at most {sum(self.in_flight)}"
        return f"kills {self.kills}, accepted {self.accepted}, lost {len(self.lost)}, doubled {self.doubled} ({flight})"

    @property
    def is_good(self) -> bool:
        return (
            not self.lost
            and self.doubled <= sum(self.in_flight)
            and max(self.in_flight, default=0) <= IN_FLIGHT_BOUND
            and self.accepted >= FLOOR_PER_KILL * self.kills
        )


class SourceLoop:
    """smtp-source over and over through the witness: it gives up when its server dies, and is started again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.child: subprocess.Popen[bytes] | None = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.stopping.is_set():
            command = smtp_source.args(self.port, messages=100_000, size=2048, sessions=5, reuse=False)
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=smtp_source.environment(),
            )
            self.child.wait()
            self.stopping.wait(0.2)

    def stop(self) -> None:
        self.stopping.set()
        if self.child is not None:
            self.child.terminate()
        self.thread.join(10)


def soak(server: Server, sink: Sink, folder: Path, kills: int, seed: int, pause_s: float = 0.0) -> Count:
    """Run one server through `kills` and return the count. `pause_s`: between the messages of one of our sessions."""
    chance = random.Random(seed)
    count = Count()
    server.start()
    with ExitStack() as stack:
        load = stack.enter_context(Load(folder, server.port, pause_s=pause_s))
        witness = stack.enter_context(Witness(server.port))
        source = SourceLoop(witness.port)
        stack.callback(source.stop)
        for _ in range(kills):
            time.sleep(chance.uniform(0.3, 1.5))
            server.kill()
            count.kills += 1
            wait_until(lambda: sink.connections[1] == 0, 60, "the sink has read what was under way")
            taken = {each.id for each in sink.taken()}
            count.in_flight.append(len(server.left() & taken))
            server.start()
        time.sleep(1)
        source.stop()
        load.stop()
        accepted = {each.id for each in [*load.accepted(), *witness.accepted]}
    _settle(sink, accepted)
    copies = Counter(each.id for each in sink.taken())
    count.accepted = len(accepted)
    count.lost = sorted(accepted - copies.keys())
    count.doubled = sum(copies.values()) - len(copies)
    return count


def _settle(sink: Sink, accepted: set[str], timeout_s: float = 120.0, quiet_s: float = 4.0) -> None:
    """Return when the sink has all that was accepted and then stays quiet, or when time is up."""
    deadline = time.monotonic() + timeout_s
    last, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        now = sink.count
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > quiet_s and accepted <= {each.id for each in sink.taken()}:
            return
        time.sleep(0.2)


def soak_gateway(folder: Path, kills: int, seed: int, pause_s: float = 0.0) -> Count:
    """Soak a gateway with shipped defaults."""
    home = Path(tempfile.mkdtemp(prefix="gatepost-", dir=folder))
    with Sink(home) as sink:
        gateway = KilledGateway(home, sink.port)
        try:
            count = soak(gateway, sink, home, kills, seed, pause_s)
            gateway.stop()
        finally:
            gateway.kill()
    return count


def soak_postfix(folder: Path, kills: int, seed: int, pause_s: float = 0.0) -> Count:
    """Soak Postfix in the same way."""
    home = Path(tempfile.mkdtemp(prefix="sink-", dir=folder))
    with Sink(home) as sink:
        postfix = KilledPostfix(next_hop=sink.port, folder=folder)
        try:
            return soak(postfix, sink, home, kills, seed, pause_s)
        finally:
            postfix.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--without-postfix", action="store_true")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gatepost-soak-", dir="/var/tmp"))
    folder.chmod(0o755)
    print(f"seed {asked.seed}", flush=True)
    try:
        if not asked.without_postfix:
            print(f"Postfix: {soak_postfix(folder, asked.kills, asked.seed)}", flush=True)
        count = soak_gateway(folder, asked.kills, asked.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for each in count.lost[:20]:
        print(f"lost: {each}")
    print(
        f"floor of accepted {FLOOR_PER_KILL * count.kills}; in flight at one kill: most {max(count.in_flight)}, ",
        end="",
    )
    print(f"bound {IN_FLIGHT_BOUND}")
    print(count)
    return 0 if count.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
