"""Line: the connections to one Exchange server, and the account object of each mailbox.

Promises: TLS, credentials, limits and time-outs of one connector never reach another; nothing is read from the
environment; every connection can be cut from another thread; the library's loggers, which write headers and bodies, are
silent.
exchangelib keeps one Protocol a process for an endpoint and its credentials, and TLS as an attribute of its class; so a
Line is made past that cache, with sessions of its own. See exchangelib issues #647 and #906 for what happens to a pool
that shrinks, and to one that streams.
"""

from __future__ import annotations

import itertools
import logging
import socket
import ssl
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import requests
import urllib3
from exchangelib import DELEGATE, IMPERSONATION, UTC, Account, Build, Configuration, Version
from exchangelib.errors import SessionPoolMinSizeReached
from exchangelib.protocol import FailFast, Protocol
from exchangelib.transport import NOAUTH
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests_ntlm import HttpNtlmAuth
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from connectors.exchange.ews.answer import HttpFault, retry_after
from connectors.exchange.ews.config import EwsConfig

AGENT: Final = "gatepost"
_ACCOUNTS: Final = 10_000
"""Account objects that are kept, about 2 KB each."""
_BUILDS: Final = {"2013": Build(15, 0, 516, 32), "2013_SP1": Build(15, 0, 847, 32), "2016": Build(15, 1, 225, 42)}
_API: Final = {"2013": "Exchange2013", "2013_SP1": "Exchange2013_SP1", "2016": "Exchange2016"}
_VERSION_CODES: Final = frozenset(
    {"ErrorInvalidServerVersion", "ErrorIncorrectSchemaVersion", "ErrorInvalidSchemaVersionForMailboxVersion"}
)
_ANSWER_ROOM: Final = 8 * 1024 * 1024

for _name in ("exchangelib", "requests_ntlm", "spnego", "oauthlib", "requests_oauthlib"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class Once(FailFast):  # type: ignore[misc]  # exchangelib has no types
    """Take what HTTP says for what it is: the library takes a closed connection, and a 401, for a busy server."""

    def raise_response_errors(self, response: Any) -> None:
        if response.status_code in {200, 500}:  # a SOAP fault comes with 500 (SOAP 1.1 §6.2)
            return
        hint = retry_after(response.headers.get("Retry-After"), time.time())
        raise HttpFault(response.status_code, str(response.reason or "")[:100], hint)


class _Connections:
    """What a Line's connections are at: which thread has which, and whether its request has gone."""

    def __init__(self) -> None:
        self.closed = False
        self._here = threading.local()
        self._at: dict[int, weakref.ref[Any]] = {}
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()

    def begin(self) -> None:
        self._here.sent = False

    def has_sent(self) -> bool:
        return bool(getattr(self._here, "sent", False))

    def sends(self, connection: Any) -> None:
        self._here.sent = True
        self.uses(connection)

    def uses(self, connection: Any) -> None:
        if self.closed:
            raise OSError("the connector is being stopped")
        with self._lock:
            self._at[threading.get_ident()] = weakref.ref(connection)
            self._all.add(connection)

    def end(self) -> None:
        with self._lock:
            self._at.pop(threading.get_ident(), None)

    def cut(self, thread: int) -> None:
        with self._lock:
            found = self._at.get(thread)
            connection = found() if found is not None else None
        if connection is not None:
            _shut(connection)

    def cut_all(self) -> None:
        self.closed = True
        with self._lock:
            connections = list(self._all)
        for each in connections:
            _shut(each)


def _shut(connection: Any) -> None:
    sock = connection.sock
    if sock is not None:
        # A shutdown wakes the thread that reads; to close would leave it waiting for a number that is reused.
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _pools(connections: _Connections) -> dict[str, type[HTTPConnectionPool]]:
    """Return urllib3's pools with connections that tell what they are at."""

    class Telling:
        def connect(self) -> None:
            connections.uses(self)
            super().connect()  # type: ignore[misc]  # urllib3's, which comes next in the order

        def send(self, data: Any) -> None:
            if self.sock is None:  # type: ignore[attr-defined]
                self.connect()
            connections.sends(self)
            super().send(data)  # type: ignore[misc]

    class Plain(Telling, HTTPConnection):
        pass

    class Tls(Telling, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


class Adapter(HTTPAdapter):
    """One connection to one server; no retries. A session is one thread's, so that nobody waits for the connection."""

    def __init__(self, connections: _Connections) -> None:
        self._connections = connections
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._connections)


def trusted(config: EwsConfig, ca_file: str | None) -> str | bool:
    """Return what requests is to trust: our file (its whole path) alone, the system's authorities, or anything.

    Of a path requests takes just what is there; of True it takes a list of its own, and of an SSL context it takes
    that and adds its list.
    """
    if not config.tls_verify:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return False
    if ca_file is not None:
        return ca_file
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def plain_session(verify: str | bool, connections: _Connections | None = None) -> requests.Session:
    """Return a session that takes nothing from the environment."""
    session = requests.Session()
    session.trust_env = False
    session.verify = verify
    session.headers.clear()
    session.headers["User-Agent"] = AGENT
    if connections is not None:
        session.mount("https://", Adapter(connections))
        session.mount("http://", Adapter(connections))
    return session


def authentication(config: EwsConfig, bearer: AuthBase | None) -> AuthBase:
    """Return what logs in: a new one for each connection, since NTLM speaks for a connection."""
    if config.auth == "oauth":
        assert bearer is not None
        return bearer
    user, password = config.username or "", config.password or ""
    if config.auth == "ntlm":
        # NTLM takes DOMAIN\user; of an address the domain is empty, or its part after the @ would be cut off.
        return HttpNtlmAuth(user if "\\" in user else f"\\{user}", password)
    return HTTPBasicAuth(user.encode(), password.encode())  # RFC 7617 §2.1: UTF-8


class Line(Protocol):  # type: ignore[misc]  # exchangelib has no types
    """The connections to one server, as many as threads use them; made by `line`, never by a call of the class."""

    def __init__(self, config: Configuration, ours: EwsConfig, bearer: Any, log: Any, ca_file: str | None) -> None:
        super().__init__(config=config)
        self.ours = ours
        self.log = log
        self.bearer = bearer
        self.connect_timeout_s = ours.connect_timeout_s
        self.timeout_s = ours.timeout_s
        # base64 takes 4/3, and an answer holds one large message or a batch of small ones.
        self.max_answer_bytes = ours.max_message_bytes * 2 + _ANSWER_ROOM
        self.api_version = _API["2013_SP1" if ours.version == "auto" else ours.version]
        self.connections = _Connections()
        self._verify = trusted(ours, ca_file)
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def falls_back(self, code: str) -> bool:
        """Ask for the oldest version from now on, where the server says by `code` that it does not know ours."""
        oldest = _API["2013"]
        if self.ours.version != "auto" or code not in _VERSION_CODES or self.api_version == oldest:
            return False
        self.api_version = oldest
        self.log.info("the server is an Exchange 2013 before SP1")
        return True

    def raw_session(self, prefix: str, *args: Any, **kwargs: Any) -> requests.Session:
        # The library's is a method of the class, with the class's adapter.
        session = plain_session(self._verify, self.connections)
        session.headers["Content-Type"] = "text/xml; charset=utf-8"
        session.headers["Accept"] = "text/xml"
        session.headers["Accept-Encoding"] = "identity"
        return session

    def create_session(self) -> requests.Session:
        session: Any = self.raw_session(self.service_endpoint)
        session.auth = authentication(self.ours, self.bearer)
        session.session_id = next(self._numbers)
        session.usage_count = 0
        return session  # type: ignore[no-any-return]

    def decrease_poolsize(self) -> None:
        # The library's waits for a session while it holds the lock that giving one back needs, and its pool never
        # grows again. Ours is bounded by the threads.
        raise SessionPoolMinSizeReached("bounded by threads")

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Within, this thread's request is one that can be cut, and whether it has gone is known."""
        self.connections.begin()
        try:
            yield
        finally:
            self.connections.end()

    def has_sent(self) -> bool:
        """Say whether any octet of this thread's request has gone."""
        return self.connections.has_sent()

    def cut(self, thread: int) -> None:
        """End what a thread waits for."""
        self.connections.cut(thread)

    def cut_all(self) -> None:
        """End everything; no connection is made any more."""
        self.connections.cut_all()

    def account(self, mailbox: str) -> Account:
        """Return the account object of a mailbox, made at first use; those used longest ago go."""
        with self._lock:
            found = self._accounts.get(mailbox)
            if found is not None:
                self._accounts.move_to_end(mailbox)
                return found
            made = self._accounts[mailbox] = self._new_account(mailbox)
            if len(self._accounts) > _ACCOUNTS:
                self._accounts.popitem(last=False)
            return made

    def _new_account(self, mailbox: str) -> Account:
        # An Account wants a Protocol from the library's cache, which is to know nothing of ours.
        with _CACHE:
            account = Account(
                mailbox,
                config=self.config,
                autodiscover=False,
                access_type=IMPERSONATION if self.ours.access == "impersonation" else DELEGATE,
                locale="en_US",
                default_timezone=UTC,
            )
            with suppress(KeyError):
                del Protocol[self.config]
        account.protocol = self
        return account


_CACHE: Final = threading.Lock()


def line(
    url: str, config: EwsConfig, limit: int, log: Any, bearer: AuthBase | None = None, ca_file: str | None = None
) -> Line:
    """Return a new Line of at most `limit` connections, past the library's cache."""
    build = _BUILDS["2013_SP1" if config.version == "auto" else config.version]
    settings = Configuration(
        service_endpoint=url,
        auth_type=NOAUTH,  # sessions get what logs in from us; so no credentials are in what the library may print
        version=Version(build=build),
        retry_policy=Once(),
        max_connections=limit,
    )
    made: Line = type.__call__(Line, config=settings, ours=config, bearer=bearer, log=log, ca_file=ca_file)
    return made
