"""A proxy between smtp-source and a server that sees which message each 250 was for.

smtp-source sends one command at a time and does not say what was accepted; the octets that pass here do. The
proxy adds nothing and holds nothing back: an answer is written down, then passed on.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from typing import Final

from tests.peers.load import Accepted
from tests.peers.process import free_port

_ID: Final = re.compile(rb"^message-id:[ \t]*<([^>\r\n]*)", re.IGNORECASE | re.MULTILINE)


class Witness:
    """Listens on `port`, passes on to `server`; a thread each way for every connection. Use it as a context."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.port = free_port()
        self.accepted: list[Accepted] = []
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server), timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            seen = _Seen()
            threading.Thread(target=self._up, args=(client, server, seen), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client, seen), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, seen: _Seen) -> None:
        try:
            while octets := client.recv(65536):
                seen.sent(octets)
                server.sendall(octets)
        except OSError:
            pass
        finally:
            _shut(client, server)

    def _down(self, server: socket.socket, client: socket.socket, seen: _Seen) -> None:
        try:
            while octets := server.recv(65536):
                id = seen.answered(octets)
                if id is not None:
                    self.accepted.append(Accepted(id, time.monotonic(), octets.decode("latin-1").strip()))
                client.sendall(octets)
        except OSError:
            pass
        finally:
            _shut(client, server)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class _Seen:
    """What has passed on one connection: the id of a content that is whole, and still without an answer."""

    def __init__(self) -> None:
        self.content = b""
        self.in_data = False
        self.whole: str | None = None

    def sent(self, octets: bytes) -> None:
        if not self.in_data:
            return
        self.content += octets
        if self.content.endswith(b"\r\n.\r\n"):
            found = _ID.search(self.content)
            self.whole = found.group(1).decode("latin-1") if found else ""
            self.in_data = False
            self.content = b""

    def answered(self, octets: bytes) -> str | None:
        """Take what the server said; return the id of the message that it took with this."""
        if octets.startswith(b"354"):
            self.in_data = True
            return None
        id, self.whole = self.whole, None
        return id if octets.startswith(b"250") else None


def _shut(*sockets: socket.socket) -> None:
    for each in sockets:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
