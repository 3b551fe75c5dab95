"""HTTP/1.1 over TLS before the service, and the control before the tests, each on a port of its own."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.peers.graph import attachments, batch, delta, folders, messages, sending, subscriptions, uploads  # noqa: F401
from tests.peers.graph.call import Answer
from tests.peers.graph.control import Control
from tests.peers.graph.service import Service
from tests.peers.graph.trouble import Cut


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    server: Front

    def setup(self) -> None:
        self.server.opened(self.request)
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
            self.server.opened(self.request)
        super().setup()

    def finish(self) -> None:
        self.server.closed(self.request)
        try:
            super().finish()
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:
        """The service keeps a log of its own."""

    def do_GET(self) -> None:
        """Answer any method."""
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        origin = f"{'https' if self.server.context else 'http'}://{headers.get('host', '127.0.0.1')}"
        try:
            answer = self.server.service.serve(self.command, self.path, headers, body, origin)
        except Cut as cut:
            self._break(cut, headers)
            return
        self._send(answer)

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            found = bytearray()
            while size := int(self.rfile.readline().split(b";")[0], 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return bytes(found)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, answer: Answer) -> None:
        octets, kind = answer.octets()
        self.send_response(answer.status)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(octets)))
        if kind:
            self.send_header("Content-Type", kind)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(octets)
        self.wfile.flush()
        if answer.headers.get("Connection") == "close":
            self.close_connection = True

    def _break(self, cut: Cut, headers: dict[str, str]) -> None:
        """Cut the connection; of a truncated answer, a head that says more than comes, and some octets."""
        self.close_connection = True
        try:
            if cut.at is not None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(cut.octets)))
                self.end_headers()
                self.wfile.write(cut.octets[: cut.at])
                self.wfile.flush()
            self.request.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


class Front(ThreadingHTTPServer):
    """A listener that knows its connections, so that it can cut them all."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], service: Service, context: ssl.SSLContext | None) -> None:
        self.service, self.context = service, context
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, Handler)

    def opened(self, connection: socket.socket) -> None:
        with self._guard:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._guard:
            self._open.discard(connection)

    def cut(self) -> None:
        """Cut all connections."""
        with self._guard:
            found, self._open = self._open, set()
        for each in found:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or does not trust the certificate, is no error of the peer's; others are."""
        import sys

        error = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.service.violation(f"the peer failed: {type(error).__name__}: {error}")
            super().handle_error(request, client_address)


class Peer:
    """The listeners of one process."""

    def __init__(self, service: Service, port: int, control_port: int, context: ssl.SSLContext | None) -> None:
        self.service, self.port, self._context = service, port, context
        self._front: Front | None = None
        self.listen()
        control = Control(service, self.refuse)

        class Tests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = 65536

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

            def do_POST(self) -> None:
                """Do what a test orders."""
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                try:
                    told, status = control.do(urllib.parse.urlsplit(self.path).path.removeprefix("/peer/"), said), 200
                except Exception as error:  # noqa: BLE001  (a test gets to see whatever it was)
                    told, status = {"error": f"{type(error).__name__}: {error}"}, 500
                octets = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(octets)))
                self.end_headers()
                self.wfile.write(octets)

        self._control = ThreadingHTTPServer(("127.0.0.1", control_port), Tests)
        self._control.daemon_threads = True

    def listen(self) -> None:
        """Listen for clients."""
        self._front = Front(("127.0.0.1", self.port), self.service, self._context)
        threading.Thread(target=self._front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def refuse(self, on: bool) -> None:
        """Stop listening and cut all connections, or listen again."""
        if on and self._front is not None:
            front, self._front = self._front, None
            front.shutdown()
            front.server_close()
            front.cut()
        elif not on and self._front is None:
            self.listen()

    def run(self) -> None:
        """Serve tests until the process ends."""
        self._control.serve_forever()
