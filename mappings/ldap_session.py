"""A session with a directory server: one connection, bound, whose searches are streamed within bounds.

A certificate is verified, and its name is the server's. Everything blocks, no longer than the server's time-outs say.
Source: RFC 4511, RFC 4513, RFC 2696; Microsoft's "Searching Using Range Retrieval".
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from mappings import ldap_wire as wire
from mappings.ldap_server import DirectoryError, Server, parts_of

_ROOT: Final = ("supportedControl", "supportedCapabilities", "highestCommittedUSN", "dsServiceName")
_CHUNK: Final = 1 << 16
_MAX_MESSAGE: Final = 256 * 1024 * 1024
"""A group of a million members."""
_MAX_RANGES: Final = 10_000
_RANGED: Final = re.compile(r"([^;]+);range=(\d+)-(\d+|\*)", re.IGNORECASE)


class Session:
    """One connection, bound; searches are streamed, so that no more than a message is held."""

    def __init__(self, server: Server, clock: Callable[[], float]) -> None:
        try:
            import ldap3  # type: ignore[import-untyped]
            from ldap3.core.exceptions import LDAPException  # type: ignore[import-untyped]
            from ldap3.operation.search import search_operation  # type: ignore[import-untyped]
            from ldap3.protocol.rfc2696 import paged_search_control  # type: ignore[import-untyped]
        except ImportError as e:
            raise DirectoryError(
                f"reading a live directory needs the extra gatepost[ldap] (pip install 'gatepost[ldap]'): {e}"
            ) from None
        self._ldap3 = ldap3
        self._fault = LDAPException
        self._request = search_operation
        self._page = paged_search_control
        self._server = server
        self._clock = clock
        self._until = clock() + server.total_timeout_s
        self._buffer = bytearray()
        self.referred = 0
        scheme, host, port = parts_of(server.url)
        self._where = f"{host}:{port}"
        self._connection = self._connect(scheme, host, port)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(self._fault, OSError):
            self._connection.unbind()

    def root(self) -> dict[str, list[str]]:
        """Return what the server says of itself, by names in small letters."""
        found: dict[str, list[str]] = {name.lower(): [] for name in _ROOT}
        for answer in self.search("", "(objectClass=*)", _ROOT, scope="BASE"):
            if isinstance(answer, wire.Found):
                for name, values in answer.values:
                    found[name.lower()] = [value.decode("utf-8", "replace") for value in values]
        return found

    def pages(self, base: str, filter_: str, attributes: Sequence[str]) -> Iterator[wire.Found]:
        """Yield the entries that match, asking for one page after the other. Raises: DirectoryError."""
        cookie = b""
        while True:
            request = self._page(False, self._server.page_size, cookie)
            done: wire.Done | None = None
            held = []
            for answer in self.search(base, filter_, attributes, (request,)):
                if isinstance(answer, wire.Found) and any(_RANGED.fullmatch(name) for name, _ in answer.values):
                    held.append(answer)  # the rest is asked for when the answers to this search are all there
                elif isinstance(answer, wire.Found):
                    yield answer
                elif isinstance(answer, wire.Done):
                    done = answer
            if done is None:
                raise DirectoryError(f"{self._where} ended the search without saying so")
            self.check(done)
            for found in held:
                yield self._whole(found)
            try:
                cookie = wire.paged_cookie(done)
            except wire.WireError as e:
                raise DirectoryError(f"{self._where} does not speak LDAP: {e}") from None
            if not cookie:
                return

    def _whole(self, found: wire.Found) -> wire.Found:
        """Return an entry with the rest of those values that the server gives in ranges."""
        whole = []
        for name, values in found.values:
            ranged = _RANGED.fullmatch(name)
            if ranged is None:
                whole.append((name, values))
                continue
            gathered = list(values)
            for _ in range(_MAX_RANGES):
                if ranged is None or ranged[3] == "*":
                    break
                wanted = f"{ranged[1]};range={int(ranged[3]) + 1}-*"
                ranged = None
                for answer in self.search(found.dn, "(objectClass=*)", (wanted,), scope="BASE"):
                    for more_name, more in answer.values if isinstance(answer, wire.Found) else ():
                        ranged = _RANGED.fullmatch(more_name)
                        gathered += more
            whole.append((name.partition(";")[0], gathered))
        return wire.Found(found.dn, whole, found.controls)

    def search(
        self,
        base: str,
        filter_: str,
        attributes: Sequence[str],
        controls: Sequence[Any] = (),
        *,
        scope: str = "SUBTREE",
    ) -> Iterator[wire.Answer]:
        """Yield the answers to one search; the last one is Done. Raises: DirectoryError."""
        ldap3 = self._ldap3
        try:
            request = self._request(
                base, filter_, getattr(ldap3, scope), ldap3.DEREF_NEVER, list(attributes), 0, 0, False, False, False
            )
        except self._fault as e:
            raise DirectoryError(f"the filter {filter_!r} or the base {base!r} cannot be sent: {e}") from None
        try:
            number = self._connection.send("searchRequest", request, list(controls) or None)
            self._connection.strategy._outstanding.pop(number, None)  # the answers are read here
        except (self._fault, OSError) as e:
            raise DirectoryError(f"{self._where} does not take a search: {e}") from None
        try:
            while True:
                to, answer = wire.read(self._message())
                if isinstance(answer, wire.Other):
                    raise DirectoryError(f"{self._where} ends the session: {answer.text or 'it does not say why'}")
                if to != number:
                    raise DirectoryError(f"{self._where} answers what was not asked")
                if isinstance(answer, wire.Referred):
                    self.referred += 1
                    continue
                yield answer
                if isinstance(answer, wire.Done):
                    return
        except wire.WireError as e:
            raise DirectoryError(f"{self._where} does not speak LDAP: {e}") from None

    def check(self, done: wire.Done) -> None:
        """Raises: DirectoryError where a search did not give all."""
        if done.code == 0:
            return
        why = {
            3: "it took longer than the server allows",
            4: "the server gives no more entries to this user; raise its limit for the user, or narrow the filter",
            11: "the server gives no more entries to this user; raise its limit for the user, or narrow the filter",
            32: f"there is no entry {self._server.base!r}; correct the base",
            34: f"{self._server.base!r} is no name of an entry; correct the base",
            50: "this user may not read it",
        }.get(done.code, f"the server says {done.code}")
        raise DirectoryError(f"the search at {self._where} failed: {why}{f' ({done.text})' if done.text else ''}")

    def _message(self) -> bytes:
        """Return the next whole message. Raises: DirectoryError, WireError."""
        while True:
            size = wire.size_of(self._buffer)
            if size is not None:
                if size > _MAX_MESSAGE:
                    raise DirectoryError(
                        f"{self._where} sends a message of {size} octets, at most {_MAX_MESSAGE} are read"
                    )
                if len(self._buffer) >= size:
                    octets = bytes(self._buffer[:size])
                    del self._buffer[:size]
                    return octets
            left = self._until - self._clock()
            if left <= 0:
                raise DirectoryError(f"{self._where} took more than {self._server.total_timeout_s:g} s in all")
            socket = self._connection.socket
            try:
                socket.settimeout(min(left, self._server.answer_timeout_s))
                piece = socket.recv(_CHUNK)
            except TimeoutError:
                raise DirectoryError(
                    f"{self._where} did not answer within {min(left, self._server.answer_timeout_s):g} s"
                ) from None
            except OSError as e:
                raise DirectoryError(f"the connection to {self._where} broke: {e}") from None
            if not piece:
                raise DirectoryError(f"{self._where} closed the connection")
            self._buffer += piece

    def _connect(self, scheme: str, host: str, port: int) -> Any:
        ldap3, server = self._ldap3, self._server
        tls = _tls(ldap3, host, server.ca_file)
        asked = ldap3.Server(
            host,
            port,
            use_ssl=scheme == "ldaps",
            tls=tls,
            get_info=ldap3.NONE,
            connect_timeout=server.connect_timeout_s,
        )
        connection = ldap3.Connection(
            asked,
            user=server.user or None,
            password=server.password or None,
            authentication=ldap3.SIMPLE if server.user else ldap3.ANONYMOUS,
            receive_timeout=max(1, round(server.answer_timeout_s)),
            auto_referrals=False,
            check_names=False,
            raise_exceptions=False,
            read_only=True,
        )
        try:
            connection.open(read_server_info=False)
            if server.start_tls and scheme == "ldap":
                connection.start_tls(read_server_info=False)
            is_bound = connection.bind(read_server_info=False)
        except (self._fault, OSError) as e:
            connection.strategy.close()
            raise DirectoryError(f"no connection to {self._where}: {e}") from None
        if not is_bound:
            said = connection.result or {}
            connection.strategy.close()
            why = said.get("message") or said.get("description") or "no reason given"
            raise DirectoryError(f"{self._where} does not take the user {server.user!r} and the password: {why}")
        return connection


def _tls(ldap3: Any, host: str, ca_file: str | None) -> Any:
    """Return a Tls that lets the standard library verify certificate and name, which also sends the name (SNI).

    Raises: DirectoryError.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as e:
        raise DirectoryError(f"the certificates in {ca_file} cannot be read: {e}") from None

    class Tls(ldap3.Tls):  # type: ignore[misc]
        def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
            connection.socket = context.wrap_socket(connection.socket, server_hostname=host)

    return Tls(validate=ssl.CERT_REQUIRED)
