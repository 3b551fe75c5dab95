"""What the tests of the receiving side share: an intake in memory, a running source, a client that does as told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.smtp.config import SmtpConfig
from connectors.smtp.source import SmtpSource
from gateway.contract import Content, Context, Envelope, Message, Receipt, Recipient, Status, Taken, Traits
from gateway.log import get_log

OURS = ("acme.example", "sales.example", "gw.example")


class MemoryWriter:
    """A ContentWriter that counts what it holds; `full` makes it ask for a drain on each write."""

    def __init__(self, intake: MemoryIntake) -> None:
        self._intake = intake
        self.octets = bytearray()
        self.abandoned = False
        self.finished = False

    @property
    def size(self) -> int:
        return len(self.octets)

    def write(self, piece: bytes) -> bool:
        assert not self.abandoned
        self.octets += piece
        return False

    async def drain(self) -> None:
        await self._intake.before("drain")

    async def finish(self, traits: Traits | None = None) -> Content:
        await self._intake.before("finish")
        self.finished = True
        return Content(bytes(self.octets), traits=traits)

    async def abandon(self) -> None:
        self.abandoned = True


@dataclass
class MemoryIntake:
    """Takes mail for OURS from anyone, for others from those who are trusted.

    `faults` maps an await (`accept`, `drain`, `finish`) to what it does before it goes on: raise, or wait.
    """

    refused: dict[str, Status] = field(default_factory=dict)
    faults: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    writers: list[MemoryWriter] = field(default_factory=list)
    taking: set[asyncio.Task[None]] = field(default_factory=set)

    async def before(self, what: str) -> None:
        if what in self.faults:
            await self.faults[what]()

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        value = recipient.address.value
        if value in self.refused:
            return self.refused[value]
        if value.lower() == "postmaster" or value.rpartition("@")[2] in OURS or envelope.origin.trusted:
            return None
        return Status("5.7.1", "relaying denied")

    def content(self) -> MemoryWriter:
        self.writers.append(MemoryWriter(self))
        return self.writers[-1]

    async def accept(self, message: Message, *, report: bool = False) -> Receipt:
        await self.before("accept")
        self.messages.append(message)
        return Receipt(len(self.messages))

    def submit(self, message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
        return asyncio.ensure_future(self.accept(message, report=report))

    def take(self, message: Message, told: Taken, *, report: bool = False) -> None:
        task = asyncio.create_task(self._take(message, told))
        self.taking.add(task)
        task.add_done_callback(self.taking.discard)

    async def _take(self, message: Message, told: Taken) -> None:
        try:
            receipt = await self.accept(message)
        except Exception as fault:  # noqa: BLE001  told, as the gateway's intake tells it
            told(None, fault)
        else:
            told(receipt, None)

    @property
    def bodies(self) -> list[bytes]:
        return [message.content.octets() for message in self.messages]

    @property
    def paths(self) -> list[tuple[str, list[str]]]:
        return [
            (
                m.envelope.reverse_path.value if m.envelope.reverse_path else "",
                [r.address.value for r in m.envelope.recipients],
            )
            for m in self.messages
        ]


@dataclass
class Served:
    """A source that runs."""

    source: SmtpSource
    intake: MemoryIntake
    counts: Counter[str]
    task: asyncio.Task[None]
    ports: list[int]

    @property
    def port(self) -> int:
        return self.ports[0]

    async def dial(self, *, tls: ssl.SSLContext | None = None, port: int | None = None) -> Dial:
        return await Dial.to(port or self.port, tls=tls)

    async def stopped(self) -> None:
        """Stop it, and wait until it has stopped."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


class Lines:
    """A log that keeps its lines: the event, and its fields."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **fields: self.lines.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for told, fields in self.lines if told == event]


def context(tmp: Path, counts: Counter[str], log: Any = None, **more: Any) -> Context:
    def count(name: str, value: int = 1, **_: object) -> None:
        counts[name] += value

    return Context("gw.example", tmp, tmp, log or get_log("smtp"), time.time, count=count, **more)


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, at most 5 s."""
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends, "it did not come about"
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def serving(
    tmp: Path = Path("/nonexistent"),
    *,
    intake: MemoryIntake | None = None,
    stop_s: float = 5.0,
    log: Lines | None = None,
    **config: Any,
) -> AsyncIterator[Served]:
    """Run a source on a free loopback port until the block ends."""
    counts: Counter[str] = Counter()
    made = SmtpConfig(**{"listen": ("127.0.0.1:0",), **config})
    source = SmtpSource("internet", made, context(tmp, counts, log, stop_s=stop_s))
    intake = intake or MemoryIntake()
    await source.start()
    ports = [port for _, port in source.addresses]
    task = asyncio.create_task(source.run(intake))
    await settled(lambda: source.health().text != "not serving")
    served = Served(source, intake, counts, task, ports)
    try:
        yield served
    finally:
        await served.stopped()
        await source.stop()
        for each in intake.taking:
            each.cancel()


class Dial:
    """A client that adds nothing and waits for nothing of its own accord."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, port: int, *, tls: ssl.SSLContext | None = None) -> Dial:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname="gw.example" if tls else None
        )
        return cls(reader, writer)

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def reply(self) -> list[str]:
        """Return the lines of the next reply; [] at the end of the connection."""
        lines: list[str] = []
        while True:
            octets = await asyncio.wait_for(self.reader.readline(), 10)
            if not octets:
                return lines
            line = octets.decode("ascii")
            assert line.endswith("\r\n"), line
            lines.append(line[:-2])
            if line[3] != "-":
                return lines

    async def code(self) -> int:
        lines = await self.reply()
        return int(lines[-1][:3]) if lines else 0

    async def say(self, *lines: str) -> list[int]:
        """Send command lines in one go, and return the codes of their replies."""
        await self.send("".join(f"{line}\r\n" for line in lines).encode())
        return [await self.code() for _ in lines]

    async def greeted(self, name: str = "client.example") -> Dial:
        assert await self.code() == 220
        assert await self.say(f"EHLO {name}") == [250]
        return self

    async def ready(self, sender: str = "ann@other.example", *to: str) -> Dial:
        """Go as far as 354."""
        await self.greeted()
        recipients = to or ("bob@acme.example",)
        codes = await self.say(f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{r}>" for r in recipients), "DATA")
        assert codes == [250] + [250] * len(recipients) + [354]
        return self

    async def is_closed(self) -> bool:
        """Wait for the end of the connection; nothing may come before it."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


def certificate(folder: Path, name: str = "gw.example") -> tuple[Path, Path, ssl.SSLContext]:
    """Make a certificate; return its file, its key's file, and a client's context that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file, ssl.create_default_context(cafile=str(cert_file))
