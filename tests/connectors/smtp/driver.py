"""SMTP's other side for the conformance kit: clients that try again, and the recording sink."""

from __future__ import annotations

import smtplib
import threading
from contextlib import closing, suppress
from typing import ClassVar

from gateway.contract import Address
from gateway.testing import Bench, DestinationDriver, Got, SourceDriver
from mappings.network import network
from tests.peers.sink import Sink

RETRY_S = 0.1


class SmtpDriver(SourceDriver, DestinationDriver):
    """Each message has a client of its own, a thread, which ends with an answer for good."""

    in_flight_bound = 20  # the connections that the tests' configuration allows
    flood = 60
    sink: ClassVar[Sink]

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        bench.peer_port = self.sink.port
        self.sink.reset()
        self._lock = threading.Lock()
        self._acknowledged: set[int] = set()
        self._refused: set[int] = set()
        self._closed = threading.Event()
        self._clients: list[threading.Thread] = []

    def submit(self, number: int, octets: bytes) -> None:
        client = threading.Thread(target=self._send, args=(number, octets), daemon=True)
        client.start()
        self._clients.append(client)

    def _send(self, number: int, octets: bytes) -> None:
        while not self._closed.is_set():
            # A connection that is refused, cut or told to come back is what a client tries again after.
            with suppress(OSError, smtplib.SMTPException):
                code = self._try(octets)
                if code // 100 != 4:
                    with self._lock:
                        (self._acknowledged if code == 250 else self._refused).add(number)
                    return
            self._closed.wait(RETRY_S)

    def _try(self, octets: bytes) -> int:
        # Closed without QUIT: its answer could be lost, and that of the content must not be lost with it.
        with closing(smtplib.SMTP("127.0.0.1", self._bench.port, timeout=20)) as client:
            client.ehlo("client.example")
            for command in ("MAIL FROM:<kit@origin.example>", "RCPT TO:<ann@target.example>", "DATA"):
                code, _ = client.docmd(command)
                if code // 100 not in (2, 3):
                    return code
            stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]  # RFC 5321 §4.5.2
            end = b".\r\n" if octets.endswith(b"\r\n") else b"\r\n.\r\n"
            client.send(stuffed + end)
            return client.getreply()[0]

    def acknowledged(self) -> set[int]:
        with self._lock:
            return set(self._acknowledged)

    def refused(self) -> set[int]:
        with self._lock:
            return set(self._refused)

    def body_carried(self, body: bytes) -> bytes:
        """A message of SMTP ends with a line end."""
        return body if not body or body.endswith(b"\r\n") else body + b"\r\n"

    def recipient(self, number: int) -> Address:
        return network("smtp").parse(f"user{number}@target.example")

    def utf8_recipient(self) -> Address:
        return network("smtp").parse("jürgen@target.example")

    def refused_recipient(self) -> Address:
        self.sink.behave(recipients={"nobody@target.example": "550 5.1.1 no such user"})
        return network("smtp").parse("nobody@target.example")

    def received(self) -> list[Got]:
        return [Got(frozenset(one.recipients), one.octets or b"") for one in self.sink.taken()]

    def break_peer(self) -> None:
        self.sink.stop()

    def mend_peer(self) -> None:
        self.sink.start()

    def close(self) -> None:
        self._closed.set()
        for client in self._clients:
            client.join(5)
        self.sink.behave()
