"""A stand-in for the internet: takes all mail on one port, refuses one address, remembers what came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

MAX_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message: its envelope and octets."""

    sender: str
    recipients: tuple[str, ...]
    octets: bytes


class Internet:
    """An SMTP server that answers `550` for the addresses in `gone` and takes everything else."""

    def __init__(self, gone: frozenset[str]) -> None:
        self.arrived: list[Arrived] = []
        self._gone = gone
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        """Listen on 127.0.0.1. Raises: OSError."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=MAX_LINE)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, recipients = "", list[str]()
        writer.write(b"220 internet.example ESMTP\r\n")
        try:
            while line := await reader.readline():
                verb = line[:4].upper().strip()
                reply = b"250 2.0.0 ok\r\n"
                if verb == b"EHLO":
                    reply = b"250-internet.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n"
                elif verb == b"MAIL":
                    sender, recipients = _path(line), []
                elif verb == b"RCPT" and _path(line) in self._gone:
                    reply = b"550 5.1.1 nobody of that name lives here any more\r\n"
                elif verb == b"RCPT":
                    recipients.append(_path(line))
                elif verb == b"DATA" and not recipients:
                    reply = b"554 5.5.1 no recipients\r\n"
                elif verb == b"DATA":
                    writer.write(b"354 go ahead\r\n")
                    self.arrived.append(Arrived(sender, tuple(recipients), await _content(reader)))
                elif verb == b"QUIT":
                    writer.write(b"221 2.0.0 bye\r\n")
                    break
                writer.write(reply)
                await writer.drain()
        except (OSError, ValueError):
            pass  # a peer that goes away, or a line without end: the gateway sees to the rest
        finally:
            writer.close()


async def _content(reader: asyncio.StreamReader) -> bytes:
    lines = []
    while (line := await reader.readline()) not in (b".\r\n", b""):
        lines.append(line.removeprefix(b"."))
    return b"".join(lines)


def _path(line: bytes) -> str:
    return line.partition(b"<")[2].rpartition(b">")[0].decode("utf-8", "replace")
