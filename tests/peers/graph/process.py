"""The peer as a process of its own, and the tests' face of it (`tests.peers.organisation`)."""

from __future__ import annotations

import atexit
import base64
import http.client
import itertools
import json
import os
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.peers.graph import tls
from tests.peers.organisation import Kind, Request, Stored
from tests.peers.process import Process, answers, free_port, wait_until
from tests.scratch import SCRATCH

START_S: Final = 60.0
_numbers = itertools.count(1)


class GraphPeer:
    """The server process. Use it as a context, or `start` and `stop` it."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: where its files are; absent, one of its own that goes with it."""
        self._is_own = folder is None
        folder = folder or Path(tempfile.mkdtemp(prefix="gatepost-graph-", dir=SCRATCH))
        self.folder = folder
        self.port, self.control_port = free_port(), free_port()
        self.origin = f"https://127.0.0.1:{self.port}"
        self.url = f"{self.origin}/v1.0"
        self.token_url = f"{self.origin}/{{tenant}}/oauth2/v2.0/token"
        self.ca_file = folder / "ca.pem"
        self._process: Process | None = None
        self._local = threading.local()

    def start(self) -> GraphPeer:
        """Start it, and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.peers.graph", "--port", str(self.port)]
        command += ["--control", str(self.control_port), "--folder", str(self.folder)]
        root = Path(__file__).parents[3]
        self._process = Process(command, self.folder / "peer.log", env={"PYTHONPATH": str(root)})
        wait_until(self._is_up, START_S, "the Graph peer answers")
        return self

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
        if self._is_own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> GraphPeer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process, for its cost."""
        assert self._process is not None
        return self._process.pid

    def organisation(self, *names: str, domain: str | None = None, honest: bool = True) -> GraphCompany:
        """Return a fresh organisation with these mailboxes."""
        domain = (domain or f"graph{os.getpid():x}n{next(_numbers)}{uuid.uuid4().hex[:4]}.example").lower()
        made = self.order("organisation", names=list(names), domain=domain, honest=honest)
        return GraphCompany(self, domain, made)

    def violations(self) -> list[str]:
        """Return what was asked or answered against the description of the service since the last call."""
        return list(self.order("violations"))

    def refuse(self, on: bool) -> None:
        """Stop listening and cut what is connected, or listen again."""
        self.order("refuse", on=on)

    def order(self, verb: str, **said: Any) -> Any:
        """Have the control do something. Raises: RuntimeError."""
        for attempt in (0, 1):
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = http.client.HTTPConnection(
                    "127.0.0.1", self.control_port, timeout=120
                )
            try:
                connection.request("POST", f"/peer/{verb}", json.dumps(said))
                answer = connection.getresponse()
                told = json.loads(answer.read())
                break
            except (OSError, http.client.HTTPException):
                connection.close()
                self._local.connection = None
                if attempt:
                    raise
        if answer.status != 200:
            raise RuntimeError(f"{verb}: {told['error']}")
        return told

    def _is_up(self) -> bool:
        assert self._process is not None
        if not self._process.is_alive:
            raise RuntimeError(f"the Graph peer ended:\n{self._process.said()[-2000:]}")
        return answers(self.control_port) and answers(self.port)


class GraphCompany:
    """One organisation of the peer."""

    def __init__(self, peer: GraphPeer, domain: str, made: dict[str, Any]) -> None:
        self.peer, self.domain = peer, domain
        self._number = made["company"]
        self.tenant, self.client_id, self.client_secret = made["tenant"], made["client_id"], made["client_secret"]
        self.authority = f"{peer.origin}/{self.tenant}"
        self._logs: dict[bool, list[Request]] = {True: [], False: []}
        self._last = {True: 0, False: 0}
        self._guard = threading.Lock()

    def address(self, name: str) -> str:
        """Return a mailbox's SMTP address."""
        return f"{name}@{self.domain}"

    def legacy_dn(self, name: str) -> str:
        """Return a mailbox's X.500 name."""
        return f"/o={self.domain}/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn={name}"

    def access(self, **changed: object) -> dict[str, object]:
        """Return the options with which a connector reaches it; one that is changed to None is left out."""
        options: dict[str, object] = {
            "url": self.peer.url, "authority": self.authority, "tenant": self.tenant, "client_id": self.client_id,
            "client_secret": self.client_secret, "ca_file": str(self.peer.ca_file), **changed,
        }  # fmt: skip
        return {name: value for name, value in options.items() if value is not None}

    def certificate(self, folder: Path) -> tuple[Path, Path]:
        """Make a certificate with its key, make it known to the directory, and return both files."""
        certificate, key = tls.application_certificate(folder)
        self.peer.order("certify", client_id=self.client_id, pem=certificate.read_text())
        return certificate, key

    def put(self, name: str, octets: bytes, folder: str = "inbox", **properties: object) -> str:
        """Lay a message into a folder."""
        return str(self._order("put", name=name, octets=_text(octets), folder=folder, properties=properties))

    def items(self, name: str, folder: str = "inbox", whole: bool = True) -> list[Stored]:
        """Return what lies in a folder."""
        return [_stored(each) for each in self._order("items", name=name, folder=folder, whole=whole)]

    def everything(self, name: str) -> list[Stored]:
        """Return what lies in a mailbox, in all folders."""
        return [_stored(each) for each in self._order("items", name=name, folder=None, whole=True)]

    def folders(self, name: str) -> list[str]:
        """Return the mailbox's folders."""
        return list(self._order("folders", name=name))

    def alter(self, name: str, id: str, **changes: object) -> str:
        """Do what a user would."""
        return str(self._order("alter", name=name, id=id, changes=changes))

    def log(self, operation: str | None = None, whole: bool = True) -> list[Request]:
        """Return the requests that came. Only new ones are fetched, for tests ask often and bodies are large."""
        with self._guard:
            log = self._logs[whole]
            for each in self._order("log", after=self._last[whole], whole=whole):
                self._last[whole] = each.pop("id")
                body, answer = base64.b64decode(each["body"]), base64.b64decode(each["answer"])
                log.append(Request(**{**each, "body": body, "answer": answer, "codes": tuple(each["codes"])}))
            return [each for each in log if operation in (None, each.operation)]

    def fault(
        self,
        operation: str,
        kind: Kind,
        *,
        nth: int | None = None,
        every: int | None = None,
        chance: float = 0.0,
        **how: object,
    ) -> None:
        """Let an operation fail."""
        if "mailbox" in how:
            how["mailbox"] = self.address(str(how["mailbox"])) if "@" not in str(how["mailbox"]) else how["mailbox"]
        self._order("fault", operation=operation, kind=kind, nth=nth, every=every, chance=chance, how=how)

    def calm(self) -> None:
        """Take all faults back."""
        self._order("calm")

    def expire_sync(self) -> None:
        """Let no delta token be known that was given out so far."""
        self._order("expire_sync")

    def quota(self, name: str, octets: int | None) -> None:
        """Let a mailbox hold no more than this."""
        self._order("quota", name=name, octets=octets)

    def disable(self, name: str, on: bool = True) -> None:
        """Take a mailbox out of service."""
        self._order("disable", name=name, on=on)

    def group(self, name: str, *members: str) -> str:
        """Make a distribution list."""
        full = [each if "@" in each else self.address(each) for each in members]
        return str(self._order("group", domain=self.domain, name=name, members=full))

    def contact(self, name: str, address: str) -> None:
        """Enter an outside address into the directory."""
        self._order("contact", domain=self.domain, name=name, address=address)

    def outside(self) -> list[Stored]:
        """Return what was sent to addresses outside."""
        return [
            Stored(each["id"], "", octets, octets, False, False, each["at"], (), {}, mailbox=each["mailbox"])
            for each in self._order("outside")
            for octets in (base64.b64decode(each["octets"]),)
        ]

    def revoke(self) -> None:
        """Let none of the tokens given so far be valid any more."""
        self._order("revoke")

    def add(self, name: str) -> str:
        """Make one more mailbox; return its address."""
        return str(self._order("add", domain=self.domain, name=name))

    def grant(self, name: str, author: str) -> None:
        """Let a mailbox send as another address, or as any (`*`)."""
        self._order("grant", name=name, author=author)

    def set(self, **options: object) -> None:
        """Set `sent_after_s` (how long what was sent stays in the outbox) or `token_lasts_s`."""
        self._order("set", **options)

    def most_at_once(self, name: str) -> int:
        """Return the most requests that ever ran in a mailbox at a time."""
        return int(self.peer.order("most_at_once", mailbox=self.address(name)))

    def _order(self, verb: str, **said: Any) -> Any:
        return self.peer.order(verb, company=self._number, **said)


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _stored(each: dict[str, Any]) -> Stored:
    octets = {name: base64.b64decode(each[name]) for name in ("octets", "shown")}
    return Stored(**{**each, **octets, "categories": tuple(each["categories"])})


@cache
def shared() -> GraphPeer:
    """Return the one of all tests and drivers of this process; it ends with it."""
    peer = GraphPeer().start()
    atexit.register(peer.stop)
    return peer


@pytest.fixture(scope="session")
def graph_process() -> GraphPeer:
    """The process of the session."""
    return shared()


@pytest.fixture
def graph_peer(graph_process: GraphPeer) -> Iterator[GraphPeer]:
    """The peer; a test in which something was asked or answered against the service's description fails."""
    graph_process.refuse(False)
    graph_process.violations()
    yield graph_process
    graph_process.refuse(False)
    found = graph_process.violations()
    assert not found, "\n".join(found)


@pytest.fixture
def graph_company(graph_peer: GraphPeer) -> GraphCompany:
    """An organisation with Ann and Bob."""
    return graph_peer.organisation("ann", "bob")
