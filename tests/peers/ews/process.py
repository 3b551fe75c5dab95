"""The EWS peer as a process, and the fixture `ews_peer`: one for the whole session, an organisation for each test."""

from __future__ import annotations

import atexit
import base64
import http.client
import itertools
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

import orjson
import pytest

from tests.peers.ews.auth import PASSWORD, SERVICE
from tests.peers.organisation import Company, Kind, Request, Stored
from tests.peers.process import Process, answers, free_port, wait_until
from tests.scratch import SCRATCH

_NUMBER: Final = itertools.count(1)


class EwsPeer:
    """The process; `with` starts it."""

    def __init__(self, *, lean: bool = False, port: int | None = None) -> None:
        """`lean`: it neither validates nor logs. `port`: of EWS without TLS, else a free one."""
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-ews-", dir=SCRATCH))
        self.port, self.tls_port, self.control_port = port or free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}/EWS/Exchange.asmx"
        self.tls_url = f"https://localhost:{self.tls_port}/EWS/Exchange.asmx"
        self.token_url = f"https://localhost:{self.tls_port}/TENANT/oauth2/v2.0/token"
        self.ca_file = self.folder / "ca.pem"
        self._lean = lean
        self._local = threading.local()
        self.process: Process | None = None

    def __enter__(self) -> EwsPeer:
        args = [sys.executable, "-m", "tests.peers.ews", "--port", str(self.port), "--control", str(self.control_port)]
        args += ["--tls-port", str(self.tls_port), "--folder", str(self.folder), *(["--lean"] if self._lean else [])]
        root = Path(__file__).parents[3]
        self.process = Process(args, self.folder / "peer.log", env={"PYTHONPATH": str(root)})
        wait_until(lambda: answers(self.control_port) or not self.process_alive(), 60, "the EWS peer listens")
        if not self.process_alive():
            raise RuntimeError(f"the EWS peer did not start:\n{self.process.said()}")
        return self

    def process_alive(self) -> bool:
        return self.process is not None and self.process.is_alive

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def tell(self, name: str, /, **how: Any) -> Any:
        """Call one of the control's methods. Raises: RuntimeError with what it says."""
        connection = getattr(self._local, "connection", None)
        if connection is None or self._local.pid != os.getpid():  # a fork's own words are not to mix with its parent's
            connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=120)
            self._local.connection, self._local.pid = connection, os.getpid()
        try:
            connection.request("POST", f"/peer/{name}", orjson.dumps(how))
            answer = connection.getresponse()
            said = orjson.loads(answer.read() or b"null")
        except BaseException:
            connection.close()
            raise
        if answer.status != 200:
            raise RuntimeError(f"the EWS peer's control says of {name}: {said}")
        return said

    def organisation(self, *names: str, domain: str | None = None, honest: bool = True) -> EwsCompany:
        made = (domain or f"org{os.getpid():x}n{next(_NUMBER)}{uuid.uuid4().hex[:4]}.example").lower()
        self.tell("organisation", domain=made, names=list(names), honest=honest)
        return EwsCompany(self, made)

    def violations(self) -> list[str]:
        found: list[str] = self.tell("violations")
        return found

    def refuse(self, on: bool) -> None:
        self.tell("refuse", on=on)

    def cut(self) -> None:
        """Cut every connection once."""
        self.tell("cut")


class EwsCompany:
    """One organisation of the process."""

    def __init__(self, peer: EwsPeer, domain: str) -> None:
        self.peer = peer
        self.domain = domain
        self.username = f"{SERVICE}@{domain}"
        self.password = PASSWORD

    def address(self, name: str) -> str:
        return f"{name}@{self.domain}".lower()

    def legacy_dn(self, name: str) -> str:
        return str(self.peer.tell("mailbox", address=self.address(name))["legacy_dn"])

    def access(self, **changed: object) -> dict[str, object]:
        return {
            "url": self.peer.url,
            "auth": "basic",
            "username": self.username,
            "password": self.password,
            **changed,
        }

    def oauth(self, **changed: object) -> dict[str, object]:
        """Return the options with which a connector reaches it by tokens: over TLS, its certificate by `ca_file`."""
        return {
            "url": self.peer.tls_url,
            "auth": "oauth",
            "authority": f"https://localhost:{self.peer.tls_port}",
            "tenant": self.domain,
            "client_id": f"client@{self.domain}",
            "client_secret": PASSWORD,
            "ca_file": str(self.peer.ca_file),
            **changed,
        }

    def add(self, name: str) -> str:
        """Make one more mailbox; return its address."""
        return str(self.peer.tell("add_mailbox", domain=self.domain, name=name))

    def put(self, name: str, octets: bytes, folder: str = "inbox", **properties: object) -> str:
        said = base64.b64encode(octets).decode()
        return str(self.peer.tell("put", address=self.address(name), octets=said, folder=folder, **properties))

    def items(self, name: str, folder: str = "inbox", whole: bool = True) -> list[Stored]:
        found = self.peer.tell("items", address=self.address(name), folder=folder, whole=whole)
        return [_stored(each) for each in found]

    def folders(self, name: str) -> list[str]:
        found: list[str] = self.peer.tell("folders", address=self.address(name))
        return found

    def alter(self, name: str, id: str, **changes: object) -> str:
        return str(self.peer.tell("alter", address=self.address(name), id=id, **changes))

    def edit(self, name: str, id: str, octets: bytes) -> None:
        """Give an item another content, as its owner does with an appointment."""
        self.alter(name, id, octets=base64.b64encode(octets).decode())

    def log(self, operation: str | None = None, whole: bool = True) -> list[Request]:
        found = self.peer.tell("log", domain=self.domain, operation=operation, whole=whole)
        octets = ("body", "answer")
        return [
            Request(
                **{k: base64.b64decode(v) if k in octets else tuple(v) if k == "codes" else v for k, v in each.items()}
            )
            for each in found
        ]

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
        plan = {"nth": nth, "every": every, "chance": chance}
        self.peer.tell("fault", domain=self.domain, operation=operation, kind=kind, **plan, **how)

    def calm(self) -> None:
        self.peer.tell("calm", domain=self.domain)

    def expire_sync(self) -> None:
        self.peer.tell("expire_sync", domain=self.domain)

    def forget_subscriptions(self) -> None:
        """Let no subscription be known any more, as when the server is started anew."""
        self.peer.tell("forget_subscriptions", domain=self.domain)

    def streams(self) -> int:
        """Return how many streams are open."""
        return int(self.peer.tell("streams", domain=self.domain))

    def quota(self, name: str, octets: int | None) -> None:
        self.peer.tell("quota", address=self.address(name), octets=octets)

    def disable(self, name: str, on: bool = True) -> None:
        self.peer.tell("disable", address=self.address(name), on=on)

    def group(self, name: str, *members: str) -> str:
        known = [each if "@" in each else self.address(each) for each in members]
        self.peer.tell(
            "person", domain=self.domain, address=self.address(name), name=name, kind="PublicDL", members=known
        )
        return self.address(name)

    def contact(self, name: str, address: str) -> None:
        self.peer.tell("person", domain=self.domain, address=address, name=name, kind="Contact", members=[])

    def grant(self, name: str, author: str) -> None:
        """Let a mailbox send as another address, or as any (`*`)."""
        self.peer.tell("grant", address=self.address(name), author=author)

    def proxy(self, name: str, address: str) -> None:
        """Give a mailbox another address: `smtp:…` or `X500:…`."""
        self.peer.tell("proxy", address=self.address(name), proxy=address)

    def outside(self) -> list[Stored]:
        return [_stored(each) for each in self.peer.tell("outside", domain=self.domain)]


def _stored(said: dict[str, Any]) -> Stored:
    octets = {key: base64.b64decode(said[key]) for key in ("octets", "shown")}
    return Stored(**{**said, **octets, "categories": tuple(said["categories"])})


@cache
def shared() -> EwsPeer:
    """Return the one of all tests and drivers of this process; it ends with it."""
    peer = EwsPeer().__enter__()
    atexit.register(peer.__exit__)
    return peer


@pytest.fixture(scope="session")
def ews_process() -> EwsPeer:
    """The process of the session."""
    return shared()


@pytest.fixture
def ews_peer(ews_process: EwsPeer) -> Iterator[EwsPeer]:
    """The peer; a test in which something was asked or answered against the schema fails."""
    ews_process.refuse(False)
    ews_process.violations()
    yield ews_process
    ews_process.refuse(False)
    found = ews_process.violations()
    assert not found, "\n".join(found)


@pytest.fixture
def company(ews_peer: EwsPeer) -> Company:
    """An organisation with Ann and Bob."""
    return ews_peer.organisation("ann", "bob")
