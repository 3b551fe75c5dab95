"""An application at the other end: it takes what is posted, and posts. With the standard library alone."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    headers: dict[str, str]
    octets: bytes

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.octets)
        return found

    @property
    def raw(self) -> bytes:
        return base64.b64decode(self.told["raw"])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *given: Any) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(*given)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)


class Application:
    """Listens at `port`. `answer` says, by what came, with which status and headers it is answered."""

    def __init__(self, port: int = 0) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], tuple[int, dict[str, str]]] = lambda asked: (204, {})
        self._lock = threading.Lock()
        self._server = self._open(port)
        self.port: int = self._server.server_address[1]

    def _open(self, port: int) -> _Server:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                octets = self.rfile.read(int(self.headers["Content-Length"]))
                asked = Asked({name.lower(): value for name, value in self.headers.items()}, octets)
                status, headers = outer.answer(asked)
                if 200 <= status < 300:
                    with outer._lock:
                        outer.asked.append(asked)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        server = _Server(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for each in list(self._server.open):  # kept connections, too
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def open_again(self) -> None:
        self._server = self._open(self.port)


def post(
    port: int,
    octets: bytes,
    *,
    path: str = "/messages",
    headers: dict[str, str] | None = None,
    timeout_s: float = 60.0,
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Post once; return the status, the JSON that came back and its headers. Raises: OSError, HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", path, octets, headers or {})
        answer = connection.getresponse()
        said = answer.read()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(said) if said else {}, fields
    finally:
        connection.close()


class Poster:
    """Hands numbered messages over as an application does: until each is taken or refused."""

    def __init__(self, port: int, token: str, sender: str, to: str) -> None:
        self.port = port
        self._path = f"/messages?from={quote(sender)}&to={quote(to)}"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "message/rfc822"}
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._refused: set[int] = set()
        self._closed = False

    def submit(self, number: int, octets: bytes) -> None:
        threading.Thread(target=self._hand_over, args=(number, octets), daemon=True).start()

    def taken(self) -> set[int]:
        with self._lock:
            return set(self._taken)

    def refused(self) -> set[int]:
        with self._lock:
            return set(self._refused)

    def close(self) -> None:
        self._closed = True

    def _hand_over(self, number: int, octets: bytes) -> None:
        headers = {**self._headers, "Idempotency-Key": f"kit-{number}"}
        while not self._closed:
            try:
                status, _, _ = post(self.port, octets, path=self._path, headers=headers, timeout_s=20)
            except (OSError, http.client.HTTPException):
                status = 0
            if 200 <= status < 300 or (400 <= status < 500 and status != 408):
                with self._lock:
                    (self._taken if status < 300 else self._refused).add(number)
                return
            time.sleep(0.1)
