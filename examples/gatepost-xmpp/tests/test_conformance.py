"""XMPP keeps the connector contract, both ways, against a real server."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterator

import pytest
from chatter import Chatter, Said
from gatepost_xmpp import Xmpp
from gatepost_xmpp.stanzas import clean
from prosody import COMPONENT, HOST, SECRET, Prosody
from proxy import Proxy

from gateway.contract import Address, compose, memo
from gateway.contract import Content as Octets
from gateway.testing import Bench, DestinationDriver, DestinationSuite, Got, SourceDriver, SourceSuite, fixture_of
from mappings.network import network

_NUMBERS = itertools.count(1)
_SERVER: list[Prosody] = []
_MARK = re.compile(rb"(?i)^x-kit: (\d+)\r?$", re.MULTILINE)
TO = f"bob\\40target.example@{COMPONENT}"


@pytest.fixture(scope="module", autouse=True)
def server(prosody: Prosody) -> Iterator[None]:
    _SERVER.append(prosody)
    yield
    _SERVER.clear()


def chat_of(octets: bytes) -> str:
    """Return what somebody would say in chat in place of a body."""
    return clean(octets.decode("utf-8", "replace")).strip("\n") or " "


class Driver(SourceDriver, DestinationDriver):
    in_flight_bound = 8

    def __init__(self, bench: Bench) -> None:
        self.server = _SERVER[0]
        self.proxy = Proxy(bench.peer_port, self.server.port)
        self._run = next(_NUMBERS)
        self._ann: Chatter | None = None
        self._users: dict[str, Chatter] = {}
        self._lock = threading.Lock()
        self._pending: dict[int, tuple[str, dict[str, str]]] = {}
        self._taken: set[int] = set()
        self._refused: set[int] = set()
        self._closed = threading.Event()

    # mail from chat users

    def submit(self, number: int, octets: bytes) -> None:
        head, _, body = octets.partition(b"\r\n\r\n") if not octets.startswith(b"\r\n") else (b"", b"", octets[2:])
        mark = _MARK.search(head)
        headers = {"X-Kit": mark[1].decode()} if mark else {}
        if self._ann is None:
            self.server.user(f"ann{self._run}")
            self._ann = Chatter(self.server.c2s, f"ann{self._run}")
            self._ann.on_said = self._answered
            self.proxy.on_lost = self._repeat
        with self._lock:
            self._pending[number] = (chat_of(body), headers)
        self._say(number)

    def _say(self, number: int) -> None:
        assert self._ann is not None
        with self._lock:
            said = self._pending.get(number)
        if said is not None:
            self._ann.message(TO, said[0], id=f"kit-{self._run}-{number}", receipt=True, headers=said[1])

    def _repeat(self) -> None:
        """Say again what nobody has answered: there is no telling whether a component that was killed had it."""
        if not self._closed.wait(0.2):
            for number in list(self._pending):
                self._again(number)

    def _answered(self, said: Said) -> None:
        id = said.receipt or said.id
        if not id.startswith(f"kit-{self._run}-"):
            return
        number = int(id.rpartition("-")[2])
        if said.error in ("resource-constraint", "remote-server-timeout"):
            threading.Timer(0.2, self._again, (number,)).start()
            return
        with self._lock:
            if self._pending.pop(number, None) is not None:
                (self._refused if said.error else self._taken).add(number)

    def _again(self, number: int) -> None:
        try:
            self._say(number)
        except OSError:
            return

    def acknowledged(self) -> set[int]:
        with self._lock:
            return set(self._taken)

    def refused(self) -> set[int]:
        with self._lock:
            return set(self._refused)

    def body_carried(self, body: bytes) -> bytes:
        octets = b"".join(compose([], chat_of(body).replace("\r\n", "\n"), hostname="x"))
        return octets.partition(b"\r\n\r\n")[2]

    # mail to chat users

    def _user(self, name: str) -> Address:
        own = f"{name}-{self._run}"
        if own not in self._users:
            self.server.user(own)
            self._users[own] = Chatter(self.server.c2s, own)
        return network("xmpp").parse(f"{own}@{HOST}")

    def recipient(self, number: int) -> Address:
        return self._user(f"user{number}")

    def utf8_recipient(self) -> Address:
        return self._user("jürgen")

    def refused_recipient(self) -> Address:
        return network("xmpp").parse(f"nobody@{HOST}")

    def received(self) -> list[Got]:
        found = []
        for name, user in self._users.items():
            user.sync()
            for said in user.said:
                head = "".join(f"{key}: {value}\r\n" for key, value in said.headers.items())
                octets = f"{head}\r\n{said.body}".encode()
                found.append(Got(frozenset([f"{name}@{HOST}"]), octets))
        return found

    def made_anew(self, sent: bytes, got: bytes) -> bool:
        text = clean(memo(Octets(sent)).text).strip("\n")
        body = got[2:] if got.startswith(b"\r\n") else got.partition(b"\r\n\r\n")[2]
        return body.decode().endswith(text)

    def break_peer(self) -> None:
        self.proxy.cut()

    def mend_peer(self) -> None:
        self.proxy.mend()

    def close(self) -> None:
        self._closed.set()
        for each in [*self._users.values(), *([self._ann] if self._ann is not None else [])]:
            each.close()
        self.proxy.cut()
        time.sleep(0.01)  # the server frees the component's name


class TestXmpp(SourceSuite, DestinationSuite):
    connector = fixture_of(
        Xmpp,
        config={
            "domain": COMPONENT,
            "secret": SECRET,
            "server": "127.0.0.1:{peer_port}",
            "receipts": "accepted",
            "max_at_once": 8,
            "timeout_s": 10,
            "headers": ["message-id", "in-reply-to", "x-kit"],
            "max_text_bytes": 4 * 1024 * 1024,
        },
        driver=Driver,
    )
