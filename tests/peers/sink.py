"""A recording SMTP sink in a process of its own: takes all mail, keeps what proves it, and errs on command.

It is quick (one pass over the octets, replies written together) so that a benchmark measures what is before it.
What it keeps of a message: when, envelope, Message-Id, octets, SHA-256 of the body; the octets too where told so.

    python -m tests.peers.sink --port 2526 --control 2527

Its client, `Sink`, starts it and asks it over the control port, one JSON line each way.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from tests.peers.process import Process, answers, cpu_s, free_port, wait_until

HELD: Final = 4
"""Octets kept back from the hash while the end of data may begin in them."""
_LOOK_S: Final = 0.1
EXTENSIONS: Final = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 0", "DSN", "ENHANCEDSTATUSCODES")
GARBAGE: Final = b"\x00\xff\xfenonsense\r\n999-\r\n\x80\r\n"
_ID: Final = re.compile(rb"^message-id:[ \t]*<?([^>\r\n]*)", re.IGNORECASE | re.MULTILINE)


@dataclass
class Taken:
    """One message that was answered 250. `at` is CLOCK_MONOTONIC, the same in all processes."""

    at: float
    id: str
    size: int
    body: str
    sender: str
    recipients: list[str]
    port: int
    octets: bytes | None = None
    wire: bytes | None = None
    """The octets before the dots were taken away."""
    options: str = ""
    """What stood after the path in the MAIL command."""


@dataclass
class Conduct:
    """How the sink errs. An action is a reply (`550 5.1.1 no`), or `hang`, `close`, `garbage`.

    `verbs` gives actions by verb: CONNECT, EHLO, MAIL, DATA, BODY (after the first octets), EOD, RSET, QUIT;
    `recipients` by address, `*` for all. `times` ends the misconduct after so many actions.
    """

    verbs: dict[str, str] = field(default_factory=dict)
    recipients: dict[str, str] = field(default_factory=dict)
    times: int | None = None
    eod_delay_s: float = 0.0

    def action(self, verb: str, recipient: str = "") -> str | None:
        found = self.verbs.get(verb)
        if verb == "RCPT":
            found = self.recipients.get(recipient, self.recipients.get("*"))
        if found is None or self.times == 0:
            return None
        if self.times is not None:
            self.times -= 1
        return found


class Records:
    """All that was taken, and how the sink is told to behave."""

    def __init__(self, extensions: tuple[str, ...], keep: bool) -> None:
        self.extensions = extensions
        self.keep = keep
        self.taken: list[Taken] = []
        self.conduct = Conduct()
        self.connections = 0
        self.open = 0
        self.commands: Counter[str] = Counter()


class Session(asyncio.Protocol):
    """One connection. Assumes a client that is right; strict only in that CRLF.CRLF alone ends data."""

    transport: asyncio.Transport

    def __init__(self, records: Records) -> None:
        self.records = records
        self.buffer = b""
        self.in_data = False
        self.stuck = False
        self.sender: str | None = None
        self.options = ""
        self.recipients: list[str] = []
        self.kept: list[bytes] = []
        self.wire: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.records.connections += 1
        self.records.open += 1
        self.port = transport.get_extra_info("peername")[1]
        replies: list[bytes] = []
        if self._errs(self.records.conduct.action("CONNECT"), replies):
            self.transport.write(b"".join(replies))
            return
        self.transport.write(b"220 sink.example ESMTP\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self.records.open -= 1

    def data_received(self, data: bytes) -> None:
        if self.stuck:
            return
        self.buffer = self.buffer + data if self.buffer else data
        replies: list[bytes] = []
        while self.buffer and not self.stuck:
            if not (self._take_data(replies) if self.in_data else self._take_command(replies)):
                break
        if replies and not self.transport.is_closing():
            self.transport.write(b"".join(replies))

    def _errs(self, action: str | None, replies: list[bytes]) -> bool:
        """Do `action`; True where it stands for the normal reply."""
        if action is None:
            return False
        if action == "hang":
            self.stuck = True
        elif action == "close":
            self.stuck = True
            self.transport.write(b"".join(replies))
            self.transport.abort()
        elif action == "garbage":
            replies.append(GARBAGE)
        else:
            replies.append(action.encode() + b"\r\n")
        return True

    def _take_command(self, replies: list[bytes]) -> bool:
        line, found, rest = self.buffer.partition(b"\r\n")
        if not found:
            return False
        self.buffer = rest
        verb = line[:4].upper().decode("latin-1")
        records = self.records
        records.commands[verb] += 1
        recipient = _path(line) if verb == "RCPT" else ""
        if verb == "RCPT" and self.sender is None:
            replies.append(b"503 5.5.1 no sender\r\n")
            return True
        if self._errs(records.conduct.action(verb, recipient), replies):
            return True
        if verb == "MAIL":
            self.sender, self.recipients = _path(line), []
            self.options = line.rpartition(b">")[2].strip().decode("latin-1")
            replies.append(b"250 2.1.0 ok\r\n")
        elif verb == "RCPT":
            self.recipients.append(recipient)
            replies.append(b"250 2.1.5 ok\r\n")
        elif verb == "DATA":
            if not self.recipients:
                replies.append(b"554 5.5.1 no valid recipients\r\n")
                return True
            self.in_data = True
            self.hash, self.size, self.head, self.kept, self.wire = hashlib.sha256(), 0, b"", [], []
            self.in_head, self.start = True, True
            replies.append(b"354 go ahead\r\n")
        elif verb == "EHLO":
            lines = ("sink.example", *records.extensions)
            replies.append(b"".join(b"250-%s\r\n" % each.encode() for each in lines[:-1]))
            replies.append(b"250 %s\r\n" % lines[-1].encode())
        elif verb == "QUIT":
            self.transport.write(b"".join(replies) + b"221 2.0.0 bye\r\n")
            self.transport.close()
            self.stuck = True
        else:
            if verb == "RSET":
                self.sender, self.recipients = None, []
            replies.append(b"250 2.0.0 ok\r\n")
        return True

    def _take_data(self, replies: list[bytes]) -> bool:
        if self.records.conduct.verbs.get("BODY") and self._errs(self.records.conduct.action("BODY"), replies):
            return False
        buffer = self.buffer
        if self.start:
            # The line before the first is the DATA command's: a dot may come at once.
            if buffer.startswith(b".\r\n"):
                return self._finish(b"", buffer[3:], replies)
            if len(buffer) < 3:
                return False
            if buffer.startswith(b"."):
                buffer = buffer[1:]
            self.start = False
        end = buffer.find(b"\r\n.\r\n")
        if end >= 0:
            return self._finish(buffer[: end + 2], buffer[end + 5 :], replies)
        if len(buffer) <= HELD:
            self.buffer = buffer
            return False
        # A dot to take away must not stand at the seam.
        cut = len(buffer) - HELD
        seam = buffer.rfind(b"\r", cut - HELD, cut)
        cut = seam if seam > 0 else cut
        self._feed(buffer[:cut])
        self.buffer = buffer[cut:]
        return False

    def _feed(self, piece: bytes) -> None:
        if self.records.keep:
            self.wire.append(piece)
        # RFC 5321 §4.5.2: of any line that begins with a dot, the dot is removed.
        if b"\r\n." in piece:
            piece = piece.replace(b"\r\n.", b"\r\n")
        self.size += len(piece)
        if self.records.keep:
            self.kept.append(piece)
        if not self.in_head:
            self.hash.update(piece)
            return
        self.head += piece
        end = self.head.find(b"\r\n\r\n")
        if end >= 0:
            self.in_head = False
            self.hash.update(self.head[end + 4 :])
            self.head = self.head[:end]

    def _finish(self, last: bytes, rest: bytes, replies: list[bytes]) -> bool:
        if last:
            self._feed(last)
        self.buffer = rest
        self.in_data = False
        delay_s = self.records.conduct.eod_delay_s
        if delay_s:
            self.stuck = True
            self.transport.write(b"".join(replies))
            replies.clear()
            loop = asyncio.get_running_loop()
            loop.call_later(min(delay_s, _LOOK_S), self._late, loop.time())
            return False
        self._answer_end(replies)
        return True

    def _late(self, since: float) -> None:
        """Answer when the delay that holds now is over, which may have been shortened meanwhile."""
        loop = asyncio.get_running_loop()
        left = since + self.records.conduct.eod_delay_s - loop.time()
        if left > 0.001:
            loop.call_later(min(left, _LOOK_S), self._late, since)
            return
        self.stuck = False
        if not self.transport.is_closing():
            replies: list[bytes] = []
            self._answer_end(replies)
            if not self.transport.is_closing():
                self.transport.write(b"".join(replies))
                self.data_received(b"")

    def _answer_end(self, replies: list[bytes]) -> None:
        if self._errs(self.records.conduct.action("EOD"), replies):
            self.sender, self.recipients = None, []
            return
        self._record()
        replies.append(b"250 2.0.0 taken\r\n")

    def _record(self) -> None:
        found = _ID.search(self.head)
        self.records.taken.append(
            Taken(
                at=time.monotonic(),
                id=found.group(1).decode("latin-1") if found else "",
                size=self.size,
                body=self.hash.hexdigest(),
                sender=self.sender or "",
                recipients=self.recipients,
                port=self.port,
                octets=b"".join(self.kept) if self.records.keep else None,
                wire=b"".join(self.wire) if self.records.keep else None,
                options=self.options,
            )
        )
        self.sender, self.recipients = None, []


def _path(line: bytes) -> str:
    """Return what stands between the angle brackets; a quoted local part may hold one itself."""
    start = line.find(b"<")
    end = line.find(b"> ", start) if b"> " in line else line.rfind(b">")
    return line[start + 1 : end].decode("utf-8", "surrogateescape")


class Control(asyncio.Protocol):
    """Answers the test: `{"do": "count"}` and the like."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\n" in self.buffer:
            line, _, self.buffer = self.buffer.partition(b"\n")
            self.transport.write(json.dumps(self._answer(json.loads(line))).encode() + b"\n")

    def _answer(self, ask: dict[str, Any]) -> Any:
        records = self.records
        match ask["do"]:
            case "count":
                return len(records.taken)
            case "times":
                return [records.taken[0].at, records.taken[-1].at] if records.taken else []
            case "connections":
                return [records.connections, records.open]
            case "commands":
                return dict(records.commands)
            case "reset":
                records.taken.clear()
                records.commands.clear()
                records.connections = 0
                return None
            case "conduct":
                records.conduct = Conduct(**ask["conduct"])
                return None
            case "keep":
                records.keep = ask["keep"]
                return None
            case "taken":
                return [
                    [
                        *(t.at, t.id, t.size, t.body, t.sender, t.recipients, t.port, _text(t.octets), _text(t.wire)),
                        t.options,
                    ]
                    for t in records.taken[ask["start"] :]
                ]
        raise ValueError(ask["do"])


def _text(octets: bytes | None) -> str | None:
    return None if octets is None else base64.b64encode(octets).decode()


def _octets(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


async def serve(port: int, control: int, extensions: tuple[str, ...], keep: bool) -> None:
    records = Records(extensions, keep)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Session(records), "127.0.0.1", port, backlog=1024)
    await loop.create_server(lambda: Control(records), "127.0.0.1", control)
    await asyncio.Event().wait()


class Sink:
    """The sink's process and the questions to it. Use it as a context."""

    def __init__(self, folder: Path, *, keep: bool = False, extensions: tuple[str, ...] = EXTENSIONS) -> None:
        self.port = free_port()
        self.control_port = free_port()
        args = ["--port", str(self.port), "--control", str(self.control_port), *(["--keep"] if keep else [])]
        args += [f"--extension={each}" for each in extensions]
        self._args, self._log = args, folder / f"sink-{self.port}.log"
        self.control: socket.socket | None = None
        self.start()

    def start(self) -> None:
        """Start it, empty, on the same port as before."""
        self.process = Process.of_module("tests.peers.sink", self._args, self._log)
        wait_until(lambda: answers(self.control_port), 60, f"the sink runs: {self.process.said()}")
        self.control = socket.create_connection(("127.0.0.1", self.control_port), timeout=120)
        self._reader = self.control.makefile("rb")

    def _ask(self, do: str, **more: Any) -> Any:
        assert self.control is not None
        self.control.sendall(json.dumps({"do": do, **more}).encode() + b"\n")
        line = self._reader.readline()
        if not line:
            raise RuntimeError(f"the sink has ended: {self.process.said()}")
        return json.loads(line)

    @property
    def count(self) -> int:
        """Return how many messages it has taken."""
        return int(self._ask("count"))

    @property
    def connections(self) -> tuple[int, int]:
        """Return how many connections there were since the last reset, and how many are open."""
        total, now = self._ask("connections")
        return total, now

    @property
    def commands(self) -> dict[str, int]:
        """Return how often each verb came."""
        return {str(key): int(value) for key, value in self._ask("commands").items()}

    def times(self) -> tuple[float, float]:
        """Return when the first and the last message came (CLOCK_MONOTONIC)."""
        first, last = self._ask("times")
        return first, last

    def taken(self, start: int = 0) -> list[Taken]:
        """Return what it has taken, in order, from the `start`-th on."""
        return [
            Taken(at, id, size, body, sender, to, port, _octets(octets), _octets(wire), options)
            for at, id, size, body, sender, to, port, octets, wire, options in self._ask("taken", start=start)
        ]

    def reset(self) -> None:
        self._ask("reset")

    def keep(self, keep: bool) -> None:
        """Say whether the octets of messages are kept from now on."""
        self._ask("keep", keep=keep)

    def behave(
        self,
        verbs: Mapping[str, str] | None = None,
        *,
        recipients: Mapping[str, str] | None = None,
        times: int | None = None,
        eod_delay_s: float = 0.0,
    ) -> None:
        """Err from now on as `Conduct` says; without arguments, do right again."""
        conduct = {"verbs": dict(verbs or {}), "recipients": dict(recipients or {})}
        self._ask("conduct", conduct={**conduct, "times": times, "eod_delay_s": eod_delay_s})

    def wait_for(self, count: int, timeout_s: float = 90.0) -> None:
        """Return once it has taken `count` messages."""
        wait_until(lambda: self.count >= count, timeout_s, f"the sink has {count} messages (it has {self.count})")

    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)

    def stop(self) -> None:
        if self.control is not None:
            self._reader.close()
            self.control.close()
            self.control = None
        self.process.kill()

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--extension", action="append", default=[])
    asked = parser.parse_args()
    uvloop.run(serve(asked.port, asked.control, tuple(asked.extension), asked.keep))


if __name__ == "__main__":
    main()
