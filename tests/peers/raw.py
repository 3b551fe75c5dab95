"""A raw SMTP client that sends what you typed, octet for octet: for what no well-behaved client would send."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_DOT: Final = re.compile(rb"(?:\A|(?<=\r\n))\.")


@dataclass(frozen=True)
class Reply:
    """A whole reply; `code` is 0 where the peer closed instead."""

    code: int
    text: str

    def __str__(self) -> str:
        return self.text


def stuffed(content: bytes) -> bytes:
    """Return a content as it stands on the wire, its end included (RFC 5321 §4.5.2)."""
    end = b"" if content.endswith(b"\r\n") or not content else b"\r\n"
    return _DOT.sub(b"..", content) + end + b".\r\n"


class RawClient:
    """One connection, greeted and past EHLO. Use it as a context."""

    def __init__(self, port: int, *, ehlo: bool = True, timeout_s: float = 30.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply()
        if ehlo:
            self.say(b"EHLO raw.example")

    def reply(self) -> Reply:
        """Read one reply, of several lines perhaps."""
        lines: list[str] = []
        while True:
            try:
                line = self.file.readline()
            except ConnectionError:
                line = b""
            if not line:
                return Reply(0, "(closed) " + "\n".join(lines))
            lines.append(line.decode("latin-1").rstrip("\r\n"))
            if line[3:4] != b"-":
                return Reply(int(line[:3]) if line[:3].isdigit() else -1, "\n".join(lines))

    def send(self, octets: bytes) -> None:
        """Send octets as they are."""
        self.socket.sendall(octets)

    def say(self, command: bytes) -> Reply:
        """Send one command with its CRLF and return the reply."""
        self.send(command + b"\r\n")
        return self.reply()

    def envelope(self, sender: str, recipients: Sequence[str], *, options: str = "") -> list[Reply]:
        """Send MAIL and each RCPT; return the replies."""
        space = " " if options else ""
        replies = [self.say(f"MAIL FROM:<{sender}>{space}{options}".encode())]
        return replies + [self.say(f"RCPT TO:<{each}>".encode()) for each in recipients]

    def message(self, sender: str, recipients: Sequence[str], content: bytes, *, options: str = "") -> Reply:
        """Send one message; return the last reply: that to the content, or what stopped it before."""
        for reply in self.envelope(sender, recipients, options=options):
            if reply.code != 250:
                return reply
        reply = self.say(b"DATA")
        if reply.code != 354:
            return reply
        self.send(stuffed(content))
        return self.reply()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def send(port: int, sender: str, recipients: Sequence[str], content: bytes, *, options: str = "") -> Reply:
    """Send one message over a connection of its own."""
    with RawClient(port) as client:
        return client.message(sender, recipients, content, options=options)
