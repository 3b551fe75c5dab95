"""A name server of a test's own: answers from a table, over UDP and TCP on a free loopback port."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

MOST_UDP = 1232


def quoted(text: str | bytes) -> str:
    """Return a TXT record's text as a zone file has it, in strings of 200 octets."""
    octets = text if isinstance(text, bytes) else text.encode()
    pieces = [octets[n : n + 200] for n in range(0, len(octets), 200)] or [b""]
    return " ".join(
        '"' + "".join(f"\\{c:03d}" if c in b'"\\' or not 32 <= c < 127 else chr(c) for c in p) + '"' for p in pieces
    )


class ZoneDns:
    """Answers by (name, type): records as a zone file has them, TXT as plain text; None is a SERVFAIL."""

    def __init__(
        self, records: Mapping[tuple[str, str], Sequence[str] | None], *, address: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self.records = {(name.lower(), kind): value for (name, kind), value in records.items()}
        self.asked: Counter[tuple[str, str]] = Counter()
        self._address = address
        self._servers: list[socketserver.BaseServer] = []

    def __enter__(self) -> ZoneDns:
        zone = self

        class Datagram(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                octets, reply = self.request
                answer = zone.answer(octets, MOST_UDP)
                if answer:
                    reply.sendto(answer, self.client_address)

        class Stream(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(60)
                head = self.request.recv(2, socket.MSG_WAITALL)
                if len(head) == 2:
                    octets = self.request.recv(struct.unpack("!H", head)[0], socket.MSG_WAITALL)
                    answer = zone.answer(octets, 65535)
                    self.request.sendall(struct.pack("!H", len(answer)) + answer)

        class Streams(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        host, port = self._address
        for tries in range(50):
            datagrams = socketserver.UDPServer((host, port), Datagram)
            self.port = datagrams.server_address[1]
            try:
                streams = Streams((host, self.port), Stream)
            except OSError:  # somebody has the port of this number for TCP
                datagrams.server_close()
                if port or tries == 49:
                    raise
                continue
            break
        self._servers = [datagrams, streams]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def answer(self, octets: bytes, most: int) -> bytes:
        try:
            asked = dns.message.from_wire(octets)
        except dns.exception.DNSException:
            return b""
        answer = dns.message.make_response(asked)
        answer.flags |= dns.flags.RA
        question = asked.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        found = self.records.get((name, kind), ())
        if found is None:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif found:
            texts = [quoted(each) for each in found] if kind == "TXT" else list(found)
            answer.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, *texts))
        elif not any(known == name or known.endswith("." + name) for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        wire = answer.to_wire(max_size=65535)
        if len(wire) > most:
            answer.answer.clear()
            answer.flags |= dns.flags.TC
            wire = answer.to_wire()
        return wire
