"""Relay with DKIM beside Postfix: verifying what comes in with a mapping in force, and signing what goes out.

Each round has, in another order: Postfix and the gateway as plain relays, the gateway verifying signed messages of
strangers to identities of its mapping, Postfix with OpenDKIM as its milter, and the gateway signing, by one RSA key of
2048 bits as OpenDKIM does. TLS is off. smtp-source sends 4 KiB over 20 sessions, connections reused; time ends when the
sink has the last message. Verification is held against Postfix as plain relay by the bar of every relay, signing
against Postfix with OpenDKIM. The ratio is taken within a round, and the worst is told.

Exit status 1 where a bar is missed, a message was lost, doubled or changed, or was not signed or verified right.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connectors.smtp.signing_keys import KeyStore
from mappings.identity import Held, Identity, Role
from mappings.network import registry
from tests.benchmarks.bench_relay import SESSIONS, Measured, OnlyInMemory, WrongRun, work_folder
from tests.peers import smtp_source
from tests.peers.gateway import Gateway
from tests.peers.opendkim import OpenDkim
from tests.peers.postfix import Postfix
from tests.peers.sink import Sink
from tests.peers.zone_dns import ZoneDns

ROUNDS: Final = 3
MESSAGES: Final = 4000
WARM_UP: Final = 200
CROWD: Final = 10_000
VERIFY_BAR: Final = 3.0
SIGN_BAR: Final = 1.0
DOMAIN: Final = "source.example"
LIMITS: Final = "max_messages_per_minute = 1000000\n"
"""A stranger's allowance would be over in a second."""


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
        self.signed = folder / "signed.eml"
        self.signed.write_bytes(self._message())

    def _message(self) -> bytes:
        import dkim

        head = b"From: load@source.example\r\nTo: sink@target.example\r\nDate: Mon, 30 Nov 2026 04:00:00 +0000\r\n"
        head += b"Message-Id: <1@source.example>\r\nSubject: load\r\n\r\n"
        body = (b"X" * 78 + b"\r\n") * ((4096 - len(head)) // 80)
        made = dkim.sign(
            head + body, b"s", DOMAIN.encode(), self.pem, canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[b"from", b"to", b"subject", b"date", b"message-id"],
        )  # fmt: skip
        return (made + head + body).replace(b"\r\n", b"\n")

    @contextmanager
    def running(self, name: str) -> Iterator[Runs]:
        """Start a contestant afresh, and end it and its spool afterwards."""
        home = Path(tempfile.mkdtemp(prefix="contestant-", dir=self.folder))
        home.chmod(0o755)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            if name == "Postfix":
                yield stack.enter_context(Postfix(next_hop=self.sink.port, folder=home))
            elif name == "Postfix, OpenDKIM":
                filter = stack.enter_context(OpenDkim(home, DOMAIN, "s", self.pem))
                postfix = stack.enter_context(Postfix(next_hop=self.sink.port, folder=home, settings=filter.settings))
                yield Filtered(postfix, filter)
            elif name in ("gatepost", "gatepost signing"):
                lines = 'tls = "none"\n'
                if name == "gatepost signing":
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
                gateway = Gateway(home, self.sink.port, connector=lines)
                strangers = gateway.config.read_text().replace('["127.0.0.0/8"]', '["192.0.2.0/24"]')
                gateway.config.write_text(strangers)
                fill_people(gateway)
                yield stack.enter_context(gateway)
                gateway.stop()

    def measure(self, name: str, relay: Runs, messages: int) -> Measured:
        """Send messages through and return the rate. Raises: WrongRun."""
        sink = self.sink
        sink.reset()
        cpu = relay.cpu_s()
        started = time.monotonic()
        file = None if name in ("Postfix, OpenDKIM", "gatepost signing") else self.signed
        smtp_source.send(smtp_source.args(relay.port, messages=messages, sessions=SESSIONS, file=file))
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
            "gatepost verifying": b"dkim=pass",
            "gatepost signing": b"DKIM-Signature: ",
            "Postfix, OpenDKIM": b"DKIM-Signature: ",
        }.get(name)
        if wanted is None:
            return
        self.sink.reset()
        self.sink.keep(True)
        file = self.signed if name == "gatepost verifying" else None
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


CONTESTANTS: Final = ("Postfix", "gatepost", "gatepost verifying", "Postfix, OpenDKIM", "gatepost signing")
PAIRS: Final = (
    ("relay 4k verifying", "gatepost verifying", "Postfix", VERIFY_BAR),
    ("relay 4k signing", "gatepost signing", "Postfix, OpenDKIM", SIGN_BAR),
)


def bench(folder: Path, rounds: int, messages: int) -> int:
    """Run it all, print, and return the exit status."""
    results: dict[tuple[int, str], Measured] = {}
    with Sink(folder) as sink:
        field = Field(folder, sink)
        for round in range(rounds):
            shift = round % len(CONTESTANTS)
            for name in CONTESTANTS[shift:] + CONTESTANTS[:shift]:
                with field.running(name) as relay:
                    field.check(name, relay)
                    field.measure(name, relay, WARM_UP)
                    got = results[round, name] = field.measure(name, relay, messages)
                print(
                    f"round {round + 1}  {name:20}{got.rate:8.0f} msg/s {got.cpu_ms:7.3f} ms CPU a message", flush=True
                )
    ok = True
    print()
    for name in ("gatepost verifying", "gatepost signing"):
        more = min(results[n, name].cpu_ms - results[n, "gatepost"].cpu_ms for n in range(rounds))
        plain = min(results[n, "gatepost"].rate / results[n, "Postfix"].rate for n in range(rounds))
        print(f"{name}: {more:.3f} ms CPU a message more than as a plain relay, which is {plain:.1f}x Postfix")
    for row, ours, theirs, bar in PAIRS:
        ratio = min(results[n, ours].rate / results[n, theirs].rate for n in range(rounds))
        cpu = max(results[n, ours].cpu_ms / results[n, theirs].cpu_ms for n in range(rounds))
        ok = ok and ratio >= bar
        print(f"{row}: {ratio:.1f}x {theirs} (bar {bar:g}x), {cpu:.2f}x its CPU")
    return 0 if ok else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    asked = parser.parse_args()
    try:
        with work_folder(asked.folder) as folder:
            return bench(folder, asked.rounds, asked.messages)
    except (OnlyInMemory, WrongRun) as fault:
        print(fault, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
