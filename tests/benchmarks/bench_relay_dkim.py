"""Relay with DKIM beside Postfix: verifying what comes in with a mapping in force, and signing what goes out.

Each round has, in another order: the gateway verifying signed messages of strangers to identities of its mapping, side
by side with Postfix as plain relay; the gateway signing by one RSA key of 2048 bits, side by side with Postfix and
OpenDKIM that sign by it, too; and by themselves the gateway as plain relay, the gateway verifying with one worker (what
ships has one a processor), and Postfix with OpenDKIM as its milter that verifies the same. TLS is off. smtp-source
sends over 20 sessions; time ends when the sink has the last message. Verification is held against Postfix by the bars
of every relay: 4 KiB with connections reused, 4 KiB with a connection a message, 100 KiB; signing against Postfix with
OpenDKIM. The others have no bar.

Side by side: both are up, and take turns by half a row (ours, peer, peer, ours, the next round the other way round), so
that a machine that grows slower or faster meanwhile does so for both. The ratio is taken within a round, and the worst
is told; where that is within a tenth of its bar, the median of seven further pairs is held against it (see `pairs`).

Exit status 1 where a bar is missed, a message was lost, doubled or changed, or was not signed or verified right.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connectors.smtp.signing_keys import KeyStore
from mappings.identity import Held, Identity, Role
from mappings.network import registry
from tests.benchmarks.bench_relay import SESSIONS, Measured, OnlyInMemory, WrongRun, work_folder
from tests.benchmarks.pairs import judge
from tests.peers import smtp_source
from tests.peers.gateway import Gateway
from tests.peers.opendkim import OpenDkim
from tests.peers.postfix import Postfix
from tests.peers.sink import Sink
from tests.peers.zone_dns import ZoneDns

ROUNDS: Final = 3
WARM_UP: Final = 200
CROWD: Final = 10_000
DOMAIN: Final = "source.example"
LIMITS: Final = "max_messages_per_minute = 1000000\n"
"""A stranger's allowance would be over in a second."""


@dataclass(frozen=True)
class Row:
    """One kind of traffic. `bar` is for the gateway verifying, as a ratio to Postfix."""

    name: str
    size: int
    reuse: bool
    messages: int
    bar: float


REUSED: Final = Row("4k reused", 4096, True, 4000, 3.0)
ROWS: Final = (
    REUSED,
    Row("4k per connection", 4096, False, 2000, 2.0),
    Row("100k reused", 100 * 1024, True, 800, 1.5),
)
SIGN_BAR: Final = 1.0
SLOW_MESSAGES: Final = 1500
"""Of what does not get far in a second."""


class Runs(Protocol):
    @property
    def port(self) -> int: ...

    def cpu_s(self) -> float: ...


@dataclass
class Filtered:
    """Postfix and its filter, counted together."""

    postfix: Postfix
    filter: OpenDkim

    @property
    def port(self) -> int:
        return self.postfix.port

    def cpu_s(self) -> float:
        return self.postfix.cpu_s() + self.filter.cpu_s()


class Field:
    """What all contestants share: the sink, keys, a name server, and a signed message as a file."""

    def __init__(self, folder: Path, sink: Sink) -> None:
        self.folder = folder
        self.sink = sink
        keys = folder / "keys"
        keys.mkdir()
        self.store = KeyStore(keys)
        self.store.make(DOMAIN, "rsa", 0, 0, selector="s")
        self.record = self.store.record(DOMAIN, "s")
        key = self.store.key(DOMAIN, "s")
        self.pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        self.signed = {}
        for row in ROWS:
            self.signed[row.size] = made = folder / f"signed-{row.size}.eml"
            made.write_bytes(self._message(row.size))

    def _message(self, size: int) -> bytes:
        import dkim  # type: ignore[import-untyped]  # dkimpy ships no types

        head = b"From: load@source.example\r\nTo: sink@target.example\r\nDate: Mon, 30 Nov 2026 04:00:00 +0000\r\n"
        head += b"Message-Id: <1@source.example>\r\nSubject: load\r\n\r\n"
        body = (b"X" * 78 + b"\r\n") * ((size - len(head)) // 80)
        made = dkim.sign(
            head + body, b"s", DOMAIN.encode(), self.pem, canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[b"from", b"to", b"subject", b"date", b"message-id"],
        )  # fmt: skip
        return bytes(made + head + body).replace(b"\r\n", b"\n")

    @contextmanager
    def running(self, name: str) -> Iterator[Runs]:
        """Start a contestant afresh, and end it and its spool afterwards."""
        home = Path(tempfile.mkdtemp(prefix="contestant-", dir=self.folder))
        home.chmod(0o755)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            if name == "Postfix":
                yield stack.enter_context(Postfix(next_hop=self.sink.port, folder=home))
            elif name in (VERIFYING_MILTER, SIGNING_MILTER):
                record = self.record if name == VERIFYING_MILTER else ""
                filter = stack.enter_context(OpenDkim(home, DOMAIN, "s", self.pem, record=record))
                postfix = stack.enter_context(Postfix(next_hop=self.sink.port, folder=home, settings=filter.settings))
                yield Filtered(postfix, filter)
            elif name in (PLAIN, SIGNING):
                lines = 'tls = "none"\n'
                if name == SIGNING:
                    lines += f'[connector.internet.dkim]\nkeys = "{self.store.folder}"\n'
                gateway = Gateway(home, self.sink.port, connector=lines)
                yield stack.enter_context(gateway)
                gateway.stop()
            else:
                zone = stack.enter_context(ZoneDns({(f"s._domainkey.{DOMAIN}", "TXT"): [self.record]}))
                lines = (
                    f'tls = "none"\n{LIMITS}nameservers = ["127.0.0.1"]\nnameserver_port = {zone.port}\n'
                    "[connector.internet.authentication]\n"
                )
                gateway = Gateway(home, self.sink.port, connector=lines, workers=None if name == VERIFYING else 1)
                strangers = gateway.config.read_text().replace('["127.0.0.0/8"]', '["192.0.2.0/24"]')
                gateway.config.write_text(strangers)
                fill_people(gateway)
                yield stack.enter_context(gateway)
                gateway.stop()

    def measure(self, name: str, relay: Runs, row: Row, messages: int) -> Measured:
        """Send so many messages of a row through and return the rate. Raises: WrongRun."""
        sink = self.sink
        sink.reset()
        cpu = relay.cpu_s()
        started = time.monotonic()
        file = None if name in (SIGNING, SIGNING_MILTER) else self.signed[row.size]
        smtp_source.send(smtp_source.args(relay.port, messages=messages, sessions=SESSIONS, reuse=row.reuse, file=file))
        sink.wait_for(messages, 180)
        _, ended = sink.times()
        # The last outcomes are committed after the sink's answer; that work is part of the cost.
        time.sleep(0.5)
        cpu = relay.cpu_s() - cpu
        taken = sink.taken()
        if len(taken) != messages or len({each.body for each in taken}) != 1:
            raise WrongRun(f"{name}: sent {messages}, the sink has {len(taken)}, not all of one body")
        return Measured(messages / (ended - started), cpu / messages * 1000)

    def check(self, name: str, relay: Runs) -> None:
        """See that a contestant does what it is measured for. Raises: WrongRun."""
        wanted = {
            VERIFYING: b"dkim=pass",
            VERIFYING_BY_ONE: b"dkim=pass",
            VERIFYING_MILTER: b"dkim=pass",
            SIGNING: b"DKIM-Signature: ",
            SIGNING_MILTER: b"DKIM-Signature: ",
        }.get(name)
        if wanted is None:
            return
        self.sink.reset()
        self.sink.keep(True)
        file = self.signed[REUSED.size] if name in (VERIFYING, VERIFYING_BY_ONE, VERIFYING_MILTER) else None
        smtp_source.send(smtp_source.args(relay.port, messages=1, sessions=1, file=file))
        self.sink.wait_for(1, 60)
        octets = self.sink.taken()[0].octets or b""
        self.sink.keep(False)
        if wanted not in octets.partition(b"\r\n\r\n")[0]:
            raise WrongRun(f"{name}: no {wanted.decode()} in the header: {octets[:400]!r}")


def fill_people(gateway: Gateway) -> None:
    """Store the recipient and a crowd beside it."""
    from gateway.mapping import MappingDatabase
    from mappings import store
    from tests.benchmarks.bench_relay_mapped import people

    sink = registry().parse("smtp:sink@target.example")
    mine = Identity("Sink", (Held(sink, Role.PRIMARY),), home="internet")
    database = MappingDatabase("sqlite:///spool", gateway.folder)
    try:
        with database.connect() as connection:
            puts = [store.Put(mine), *map(store.Put, people(CROWD))]
            store.apply(connection, puts, who="bench", why="a crowd", at=time.time())
    finally:
        database.close()


PLAIN: Final = "gatepost"
VERIFYING: Final = "gatepost verifying"
VERIFYING_BY_ONE: Final = "gatepost verifying, 1 worker"
SIGNING: Final = "gatepost signing"
VERIFYING_MILTER: Final = "Postfix, OpenDKIM verifying"
SIGNING_MILTER: Final = "Postfix, OpenDKIM signing"
TURNS: Final = ((VERIFYING, "Postfix"), (PLAIN,), (SIGNING, SIGNING_MILTER), (VERIFYING_BY_ONE,), (VERIFYING_MILTER,))
"""What a round has: a contestant by itself, or one with the peer that it is held against."""

Results = dict[tuple[int, str, str], Measured]


def rows_of(name: str) -> tuple[Row, ...]:
    """Return what a contestant is measured at."""
    return ROWS if name in ("Postfix", VERIFYING, VERIFYING_BY_ONE) else (REUSED,)


def bench(folder: Path, rounds: int, scale: float) -> int:
    """Run it all, print, and return the exit status."""
    results: Results = {}

    def messages(name: str, row: Row) -> int:
        most = SLOW_MESSAGES if name in (VERIFYING_MILTER, SIGNING_MILTER) else row.messages
        return max(100, int(most * scale))

    with Sink(folder) as sink:
        field = Field(folder, sink)
        for round in range(rounds):
            shift = round % len(TURNS)
            for names in TURNS[shift:] + TURNS[:shift]:
                with ExitStack() as stack:
                    relays = {name: stack.enter_context(field.running(name)) for name in names}
                    for name, relay in relays.items():
                        field.check(name, relay)
                        field.measure(name, relay, REUSED, WARM_UP)
                    there = names if round % 2 == 0 else names[::-1]
                    for row in rows_of(names[0]):
                        halves: dict[str, list[Measured]] = {name: [] for name in names}
                        for name in there + there[::-1]:
                            half = messages(name, row) // 2
                            halves[name].append(field.measure(name, relays[name], row, half))
                        for name in names:
                            results[round, name, row.name] = got = both(*halves[name])
                            print(
                                f"round {round + 1}  {name:29} {row.name:18}"
                                f"{got.rate:8.0f} msg/s {got.cpu_ms:7.3f} ms CPU a message",
                                flush=True,
                            )

        def rate(name: str, row: Row) -> float:
            with field.running(name) as relay:
                field.measure(name, relay, REUSED, WARM_UP)
                return field.measure(name, relay, row, messages(name, row)).rate

        return verdict(results, rounds, rate)


def both(first: Measured, second: Measured) -> Measured:
    """Return what two runs of as many messages each come to together."""
    rate = 2 / (1 / first.rate + 1 / second.rate)
    return Measured(rate, (first.cpu_ms + second.cpu_ms) / 2)


def verdict(results: Results, rounds: int, rate: Callable[[str, Row], float]) -> int:
    """Print the worst ratio of each row, those with a bar last, run again by `rate` where that is near to it; return 1
    where one is under its bar."""
    print()
    for name in (VERIFYING, SIGNING):
        more = min(results[n, name, REUSED.name].cpu_ms - results[n, PLAIN, REUSED.name].cpu_ms for n in range(rounds))
        plain, _ = worst(results, rounds, REUSED, PLAIN, "Postfix")
        print(f"{name}: {more:.3f} ms CPU a message more than as a plain relay, which is {plain:.1f}x Postfix")
    ratio, cpu = worst(results, rounds, REUSED, VERIFYING, VERIFYING_MILTER)
    print(f"relay {REUSED.name} verifying: {ratio:.1f}x {VERIFYING_MILTER} (no bar), {cpu:.2f}x its CPU")
    for row in ROWS:
        ratio, cpu = worst(results, rounds, row, VERIFYING_BY_ONE, "Postfix")
        print(f"relay {row.name} verifying, 1 worker: {ratio:.1f}x Postfix (no bar), {cpu:.2f}x its CPU")
    judged = [(f"relay {row.name} verifying", row, VERIFYING, "Postfix", row.bar) for row in ROWS]
    judged.append((f"relay {REUSED.name} signing", REUSED, SIGNING, SIGNING_MILTER, SIGN_BAR))
    lines, ok = [], True
    for title, row, ours, theirs, bar in judged:
        ratio, cpu = worst(results, rounds, row, ours, theirs)
        found = judge(ratio, bar, partial(rate, ours, row), partial(rate, theirs, row), partial(print, title))
        ok = ok and found.is_met
        lines.append(f"{found.line(title, theirs)}, {cpu:.2f}x its CPU")
    print("\n".join(lines))
    return 0 if ok else 1


def worst(results: Results, rounds: int, row: Row, ours: str, theirs: str) -> tuple[float, float]:
    """Return the lowest ratio of the rates within a round, and the highest of the CPU time a message."""
    pairs = [(results[n, ours, row.name], results[n, theirs, row.name]) for n in range(rounds)]
    return min(our.rate / their.rate for our, their in pairs), max(our.cpu_ms / their.cpu_ms for our, their in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of messages")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    asked = parser.parse_args()
    try:
        with work_folder(asked.folder) as folder:
            return bench(folder, asked.rounds, asked.scale)
    except (OnlyInMemory, WrongRun) as fault:
        print(fault, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
