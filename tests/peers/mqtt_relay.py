"""A TCP relay before an MQTT broker, which sees what was handed over and acknowledged, and can break connections.

It reads the packets that pass (MQTT 5.0 and 3.1.1 alike: all it needs stands before the properties, or is found in
the payload), adds nothing and holds nothing back. A packet is noted before it is passed on, so that whatever the
other side has made of it was noted before. Messages are known by the Message-Id in their payload.
Source: OASIS MQTT 5.0 §2.1, §3.1, §3.3, §3.4, §3.5, §3.7.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Final

from tests.peers.process import free_port

CONNECT, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 3, 4, 5, 6, 7
ID: Final = re.compile(rb"message-id:[ \t]*<([^>\r\n]+)>", re.IGNORECASE)


def packets(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take whole packets off the buffer: first octet and body."""
    while len(buffer) >= 2:
        length, at = 0, 1
        while True:
            if at >= len(buffer):
                return
            length |= (buffer[at] & 0x7F) << 7 * (at - 1)
            at += 1
            if not buffer[at - 1] & 0x80:
                break
        if len(buffer) < at + length:
            return
        body = bytes(buffer[at : at + length])
        first = buffer[0]
        del buffer[: at + length]
        yield first, body


class Way:
    """Messages of one direction, over all sessions and connections."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        """How often each was published as a new message: without DUP, or once more after it was released (PUBREL) or
        its exchange had ended, which who sends it must have forgotten."""
        self.taken: set[str] = set()
        """Those whose taker has said so: PUBACK or PUBREC."""
        self.released_again: Counter[str] = Counter()
        """How often one was released (PUBREL) whose exchange had ended: a taker that forgot its end takes it anew."""
        self._ended: dict[tuple[str, int], set[str]] = {}
        self._open: dict[tuple[str, int], str] = {}
        self._released: set[tuple[str, int]] = set()
        self._watched: set[str] | None = None
        self._lock = threading.Lock()

    def published(self, client: str, first: int, body: bytes) -> None:
        found = ID.search(body)
        if not first & 0x06 or found is None:
            return
        topic = 2 + int.from_bytes(body[:2], "big")
        id = found[1].decode("latin-1")
        key = (client, int.from_bytes(body[topic : topic + 2], "big"))
        with self._lock:
            if not first & 0x08 or self._open.get(key) != id or key in self._released:
                self.begun[id] += 1
            self._open[key] = id
            self._released.discard(key)
            if self._watched is not None:
                self._watched.add(id)

    def released(self, client: str, body: bytes) -> None:
        key = (client, int.from_bytes(body[:2], "big"))
        with self._lock:
            self._released.add(key)
            if key not in self._open:
                self.released_again.update(self._ended.get(key, ()))

    def answered(self, client: str, kind: int, body: bytes) -> None:
        key = (client, int.from_bytes(body[:2], "big"))
        with self._lock:
            id = self._open.get(key) if kind == PUBREC else self._open.pop(key, None)
            if id is not None and kind == PUBCOMP:
                self._ended.setdefault(key, set()).add(id)
            if id is not None and (len(body) < 3 or body[2] < 0x80):
                self.taken.add(id)

    def watch(self) -> None:
        """From now on remember what is in flight at any moment: begun, and its exchange not ended."""
        with self._lock:
            self._watched = set(self._open.values())

    def watched(self) -> set[str]:
        """Return what was in flight since `watch`, which ends."""
        with self._lock:
            found, self._watched = self._watched or set(), None
            return found


class MqttRelay:
    """Listens on `port`, passes on to `broker`; a thread each way for every connection. Use it as a context."""

    def __init__(self, broker: int) -> None:
        self.broker = broker
        self.port = free_port()
        self.to_client, self.to_broker = Way(), Way()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self._pairs: list[_Pair] = []

    def cut(self) -> None:
        """Reset all connections, both ways."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.reset()

    def go_silent(self) -> None:
        """Pass nothing on any more by the connections there are, and leave them open. New ones are as ever."""
        for pair in self._pairs:
            pair.go_silent()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self.broker), timeout=5)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            for each in (client, broker):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(self, client, broker)
            self._pairs.append(pair)
            for up in (True, False):
                threading.Thread(target=pair.pump, args=(up,), daemon=True).start()

    def __enter__(self) -> MqttRelay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


class _Pair:
    def __init__(self, relay: MqttRelay, client: socket.socket, broker: socket.socket) -> None:
        self.relay = relay
        self.client, self.broker = client, broker
        self.name = ""
        self.is_silent = False
        self._locks = {True: threading.Lock(), False: threading.Lock()}

    def go_silent(self) -> None:
        """From now on pass nothing on; what was read before is noted, and passed on, when this returns."""
        with self._locks[True], self._locks[False]:
            self.is_silent = True

    def pump(self, up: bool) -> None:
        source, target = (self.client, self.broker) if up else (self.broker, self.client)
        note = self._up if up else self._down
        buffer = bytearray()
        try:
            while octets := source.recv(65536):
                with self._locks[up]:
                    if self.is_silent:
                        continue
                    buffer += octets
                    for first, body in packets(buffer):
                        note(first >> 4, first, body)
                    target.sendall(octets)
        except OSError:
            pass
        if not self.is_silent:
            self.reset()

    def _up(self, kind: int, first: int, body: bytes) -> None:
        if kind == CONNECT:
            self.name = _client_id(body)
        elif kind == PUBLISH:
            self.relay.to_broker.published(self.name, first, body)
        elif kind == PUBREL:
            self.relay.to_broker.released(self.name, body)
        elif kind in (PUBACK, PUBREC, PUBCOMP):
            self.relay.to_client.answered(self.name, kind, body)

    def _down(self, kind: int, first: int, body: bytes) -> None:
        if kind == PUBLISH:
            self.relay.to_client.published(self.name, first, body)
        elif kind == PUBREL:
            self.relay.to_client.released(self.name, body)
        elif kind in (PUBACK, PUBREC, PUBCOMP):
            self.relay.to_broker.answered(self.name, kind, body)

    def reset(self) -> None:
        for each in (self.client, self.broker):
            try:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()


def _client_id(body: bytes) -> str:
    at = 2 + int.from_bytes(body[:2], "big") + 1 + 1 + 2  # protocol name, version, flags, keep alive
    if body[at - 4] == 5:
        length = shift = 0
        while True:
            octet = body[at]
            length |= (octet & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not octet & 0x80:
                break
        at += length
    size = int.from_bytes(body[at : at + 2], "big")
    return body[at + 2 : at + 2 + size].decode("utf-8", "replace")
