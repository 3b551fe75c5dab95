"""A chat client of a few lines, with a thread that reads: an independent peer, and quick to start."""

from __future__ import annotations

import base64
import itertools
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from prosody import HOST, PASSWORD

CLIENT = "{jabber:client}"
RECEIPTS = "{urn:xmpp:receipts}"
SHIM = "{http://jabber.org/protocol/shim}"
_STREAM = (
    f"<?xml version='1.0'?><stream:stream to='{HOST}' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)


@dataclass(frozen=True)
class Said:
    """One message stanza that came."""

    sender: str
    id: str
    type: str
    body: str
    subject: str
    headers: dict[str, str]
    receipt: str
    """The id that it is a receipt for."""
    wants_receipt: bool
    error: str
    """The condition, where it is an error."""
    error_text: str


class Chatter:
    """A user at a client. What comes is in `said`; `on_said` is called in the reading thread."""

    def __init__(self, port: int, user: str, resource: str = "desk", *, receipts: bool = False) -> None:
        self.jid = f"{user}@{HOST}/{resource}"
        self.said: list[Said] = []
        self.on_said: Callable[[Said], None] | None = None
        self._receipts = receipts
        self._answers: dict[str, threading.Event] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._parser: Any = ElementTree.XMLPullParser(("start", "end"))
        self._depth = 0
        self._root: ElementTree.Element | None = None
        self._open()
        self._read_until("{http://etherx.jabber.org/streams}features")
        plain = base64.b64encode(f"\0{user}\0{PASSWORD}".encode()).decode()
        self._write(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>")
        self._read_until("{urn:ietf:params:xml:ns:xmpp-sasl}success")
        self._open()
        self._read_until("{http://etherx.jabber.org/streams}features")
        self._write(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            f"<resource>{resource}</resource></bind></iq>"
        )
        self._read_until(CLIENT + "iq")
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._write("<presence/>")

    def message(
        self,
        to: str,
        body: str,
        *,
        id: str | None = None,
        receipt: bool = False,
        subject: str = "",
        headers: dict[str, str] | None = None,
        type: str = "chat",
    ) -> None:
        """Send a message. Raises: OSError where the connection is lost."""
        parts = [f"<message type={quoteattr(type)} to={quoteattr(to)}"]
        if id is not None:
            parts.append(f" id={quoteattr(id)}")
        parts.append(">")
        if subject:
            parts.append(f"<subject>{escape(subject)}</subject>")
        parts.append(f"<body>{escape(body)}</body>")
        if receipt:
            parts.append("<request xmlns='urn:xmpp:receipts'/>")
        if headers:
            told = "".join(f"<header name={quoteattr(n)}>{escape(v)}</header>" for n, v in headers.items())
            parts.append(f"<headers xmlns='http://jabber.org/protocol/shim'>{told}</headers>")
        parts.append("</message>")
        self._write("".join(parts))

    def sync(self, timeout_s: float = 30.0) -> None:
        """Wait until everything that the server had for this client has been read."""
        id = f"sync-{next(self._ids)}"
        answered = self._answers[id] = threading.Event()
        self._write(f"<iq type='get' id='{id}' to='{HOST}'><ping xmlns='urn:xmpp:ping'/></iq>")
        assert answered.wait(timeout_s), "the server does not answer"
        del self._answers[id]

    def wait(self, found: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        end = time.monotonic() + timeout_s
        while not found():
            assert time.monotonic() < end, f"{what}: not within {timeout_s} s; said: {self.said[-5:]}"
            time.sleep(0.01)

    def close(self) -> None:
        try:
            self._write("</stream:stream>")
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def _open(self) -> None:
        self._parser = ElementTree.XMLPullParser(("start", "end"))
        self._depth = 0
        self._write(_STREAM)

    def _write(self, text: str) -> None:
        with self._lock:
            self._socket.sendall(text.encode())

    def _read_until(self, tag: str) -> None:
        while True:
            for stanza in self._stanzas(self._socket.recv(65536)):
                if stanza.tag == tag:
                    return
                assert "failure" not in stanza.tag, ElementTree.tostring(stanza)

    def _stanzas(self, octets: bytes) -> list[ElementTree.Element]:
        if not octets:
            raise ConnectionError("the server hung up")
        self._parser.feed(octets)
        found = []
        for event, element in self._parser.read_events():
            assert isinstance(element, ElementTree.Element)
            if event == "start":
                if self._depth == 0:
                    self._root = element
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 1:
                    found.append(element)
                    if self._root is not None:
                        self._root.remove(element)
        return found

    def _listen(self) -> None:
        try:
            while True:
                for stanza in self._stanzas(self._socket.recv(65536)):
                    self._take(stanza)
        except (OSError, ElementTree.ParseError):
            return

    def _take(self, stanza: ElementTree.Element) -> None:
        if stanza.tag == CLIENT + "iq" and stanza.get("id") in self._answers:
            self._answers[stanza.get("id") or ""].set()
        if stanza.tag != CLIENT + "message":
            return
        receipt = stanza.find(RECEIPTS + "received")
        error = stanza.find(CLIENT + "error")
        said = Said(
            stanza.get("from") or "",
            stanza.get("id") or "",
            stanza.get("type") or "normal",
            stanza.findtext(CLIENT + "body") or "",
            stanza.findtext(CLIENT + "subject") or "",
            {h.get("name") or "": h.text or "" for h in stanza.iter(SHIM + "header")},
            "" if receipt is None else receipt.get("id") or "",
            stanza.find(RECEIPTS + "request") is not None,
            "" if error is None else next(iter(error)).tag.partition("}")[2],
            "" if error is None else error.findtext("{urn:ietf:params:xml:ns:xmpp-stanzas}text") or "",
        )
        self.said.append(said)
        if self._receipts and said.wants_receipt:
            self._write(
                f"<message to={quoteattr(said.sender)}><received xmlns='urn:xmpp:receipts' id={quoteattr(said.id)}/>"
                "</message>"
            )
        if self.on_said is not None:
            self.on_said(said)
