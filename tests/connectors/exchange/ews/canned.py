"""A web server that says what a test tells it to, octet for octet."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Reply = Callable[["Asked"], bytes | None]
"""What is sent in answer; None: the connection ends without a word."""


@dataclass
class Asked:
    """A request, and the connection that it came by (`state` lasts as long as that)."""

    path: str
    headers: dict[str, str]
    body: bytes
    state: dict[str, Any]
    handler: Any
    method: str = "POST"

    @property
    def operation(self) -> str:
        """The SOAP body's first element."""
        text = self.body.partition(b"Body>")[2].lstrip(b" <")
        return text[:60].split(b" ")[0].split(b">")[0].rpartition(b":")[2].decode().rstrip("/")


@dataclass
class Canned:
    """The running server."""

    port: int
    tls: bool
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        host = "localhost" if self.tls else "127.0.0.1"
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/EWS/Exchange.asmx"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        return  # a client that does not trust us, or was told to stop


@contextmanager
def canned(reply: Reply, tls: ssl.SSLContext | None = None) -> Iterator[Canned]:
    """Serve on loopback while within."""
    gate = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def setup(self) -> None:
            if tls is not None:
                self.request = tls.wrap_socket(self.request, server_side=True)
            super().setup()

        def handle(self) -> None:
            made.connections += 1
            state: dict[str, Any] = {"gate": gate}
            with suppress(OSError):
                while line := self.rfile.readline(65536):
                    headers: dict[str, str] = {}
                    while (each := self.rfile.readline(65536)) not in (b"\r\n", b""):
                        name, _, value = each.decode("latin-1").partition(":")
                        headers[name.lower()] = value.strip()
                    body = self.rfile.read(int(headers.get("content-length") or 0))
                    method, path, _ = line.decode("latin-1").split(" ", 2)
                    asked = Asked(path, headers, body, state, self, method)
                    made.asked.append(asked)
                    answer = reply(asked)
                    if answer is None:
                        return
                    self.wfile.write(answer)
                    if b"connection: close" in answer[:2000].lower():
                        return

    server = _Server(("127.0.0.1", 0), Handler)
    made = Canned(server.server_address[1], tls is not None)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield made
    finally:
        gate.set()
        server.shutdown()
        server.server_close()


def http(status: int, body: bytes = b"", kind: str = "text/xml; charset=utf-8", **headers: str) -> bytes:
    """Return an answer with its length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", f"Content-Type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


M = "http://schemas.microsoft.com/exchange/services/2006/messages"
T = "http://schemas.microsoft.com/exchange/services/2006/types"
S = "http://schemas.xmlsoap.org/soap/envelope/"
E = "http://schemas.microsoft.com/exchange/services/2006/errors"
VERSION = (
    '<t:ServerVersionInfo MajorVersion="15" MinorVersion="1" MajorBuildNumber="2507" MinorBuildNumber="57" '
    'Version="V2017_07_11"/>'
)


def envelope(body: str) -> bytes:
    """Return a SOAP envelope around a body (prefixes s, m, t, e)."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{S}" xmlns:m="{M}" xmlns:t="{T}" xmlns:e="{E}">'
        f"<s:Header>{VERSION}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def message(operation: str, payload: str = "", code: str = "NoError", text: str = "", result: str = "") -> str:
    """Return one response message."""
    kind = result or ("Success" if code == "NoError" else "Error")
    said = f"<m:MessageText>{text}</m:MessageText>" if text else ""
    return (
        f'<m:{operation}ResponseMessage ResponseClass="{kind}">{said}<m:ResponseCode>{code}</m:ResponseCode>{payload}'
        f"</m:{operation}ResponseMessage>"
    )


def answer(operation: str, *messages: str) -> bytes:
    """Return an envelope with response messages."""
    return envelope(
        f"<m:{operation}Response><m:ResponseMessages>{''.join(messages)}</m:ResponseMessages></m:{operation}Response>"
    )


def fault(code: str, text: str = "no", back_off_ms: int | None = None) -> bytes:
    """Return an envelope with a SOAP fault."""
    more = ""
    if back_off_ms is not None:
        more = f'<t:MessageXml><t:Value Name="BackOffMilliseconds">{back_off_ms}</t:Value></t:MessageXml>'
    return envelope(
        f'<s:Fault><faultcode xmlns:a="{T}">a:{code}</faultcode><faultstring xml:lang="en-US">{text}</faultstring>'
        f"<detail><e:ResponseCode>{code}</e:ResponseCode><e:Message>{text}</e:Message>{more}</detail></s:Fault>"
    )


def folder(id: str = "F1") -> str:
    """Return the payload of a GetFolder answer."""
    return f'<m:Folders><t:Folder><t:FolderId Id="{id}" ChangeKey="A"/></t:Folder></m:Folders>'


def a_folder(asked: Asked) -> bytes:
    """Answer any GetFolder."""
    return http(200, answer("GetFolder", message("GetFolder", folder())))
