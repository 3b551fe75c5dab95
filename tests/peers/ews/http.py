"""HTTP/1.1 for the peer: keep-alive, answers in one write, and connections that can be cut where a test wants it.

Written here rather than taken from http.server, whose header parser costs more than an operation.
"""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

_REASONS: Final = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    500: "Internal Server Error",
}
_MAX_BODY: Final = 256 * 1024 * 1024


@dataclass(slots=True)
class Asked:
    """A request: header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Cut(Exception):
    """The connection is to end without an answer."""


class Connection(socketserver.StreamRequestHandler):
    """One client's connection; `state` is for what lasts as long as it does (NTLM)."""

    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        self.state: dict[str, Any] = {}
        self.server.opened(self)

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (asked := self._read()) is not None:
                try:
                    self.server.serve(self, asked)
                except Cut:
                    self.cut()
                    return
                if asked.headers.get("connection", "").lower() == "close":
                    return

    def finish(self) -> None:
        self.server.closed(self)
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def cut(self) -> None:
        """End the connection at once, with a reset."""
        with contextlib.suppress(OSError):
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)
        self.wfile = _Nowhere()  # type: ignore[assignment]

    def _read(self) -> Asked | None:
        line = self.rfile.readline(65537)
        if not line.strip():
            return None
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers: dict[str, str] = {}
        while (line := self.rfile.readline(65537)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return Asked(method, path, headers, self._chunks())
        length = int(headers.get("content-length") or 0)
        if length > _MAX_BODY:
            raise ValueError(length)
        body = self.rfile.read(length) if length else b""
        return Asked(method, path, headers, body) if len(body) == length else None

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while size := int(self.rfile.readline(64).split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline(8)
        while self.rfile.readline(65537).strip():
            pass
        return b"".join(parts)

    def answer(
        self,
        status: int,
        body: bytes = b"",
        kind: str = "text/xml; charset=utf-8",
        *,
        sent: int | None = None,
        also: Sequence[tuple[str, str]] = (),
        **headers: str,
    ) -> None:
        """Send an answer; `sent`: only so many octets of the body, and then the end. `also`: fields given again."""
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'As Told')}", f"Content-Length: {len(body)}"]
        lines += [f"Content-Type: {kind}"] if body else []
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in (*headers.items(), *also)]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.wfile.write(head + (body if sent is None else body[:sent]))
        self.wfile.flush()
        if sent is not None:
            raise Cut
        if headers.get("Connection") == "close":
            self.rfile.close()

    def begin_chunks(self) -> None:
        """Begin an answer that comes in pieces."""
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.wfile.flush()

    def chunk(self, octets: bytes) -> None:
        """Send a piece; nothing: the last."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(octets), octets))
        self.wfile.flush()

    def is_gone(self) -> bool:
        """Say whether the client has ended the connection."""
        try:
            if self.server.tls is not None:
                # A client says nothing more while it listens: what can be read is its farewell.
                return bool(select.select([self.request], [], [], 0)[0])
            return self.request.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class _Nowhere:
    closed = True

    def flush(self) -> None:
        return

    def close(self) -> None:
        return


class Server(socketserver.ThreadingTCPServer):
    """Listens on loopback; `refuse` stops that, and begins it anew on the same port."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(
        self, port: int, serve: Callable[[Connection, Asked], None], tls: ssl.SSLContext | None = None
    ) -> None:
        self.serve = serve
        self.tls = tls
        self._open: set[Connection] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        super().__init__(("127.0.0.1", port), Connection)
        self.port = int(self.server_address[1])
        self.begin()

    def begin(self) -> None:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def refuse(self, on: bool) -> None:
        """Stop listening and cut what is connected, or listen again."""
        if on == (self._thread is None):
            return
        if on:
            self.shutdown()
            self.socket.close()
            self._thread = None
            self.cut_all()
            return
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()
        self.server_activate()
        self.begin()

    def cut_all(self) -> None:
        """Cut every connection."""
        with self._lock:
            still_open = list(self._open)
        for each in still_open:
            each.cut()

    def opened(self, connection: Connection) -> None:
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: Connection) -> None:
        with self._lock:
            self._open.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that clients cut, or whose handshake failed."""
