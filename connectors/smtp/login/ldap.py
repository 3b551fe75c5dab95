"""Accounts of a directory: the entry is searched for, and its password checked by a bind as that entry.

ldap3 blocks, so it runs in a few threads of its own; who comes while all of them are busy for long is asked to come
again. Promises: a password goes over TLS only; an empty one is never tried, which a directory would take for an
anonymous bind (RFC 4513 §5.1.2); what the client gave is quoted in the filter (RFC 4515 §3).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from connectors.smtp.login.accounts import Account, Unready, folded
from connectors.smtp.login.config import LdapAccounts
from connectors.smtp.login.scram import usual_form
from connectors.smtp.login.steps import ScramKeys

R = TypeVar("R")

THREADS: Final = 4
WAITING: Final = 64
"""Log-ins that may wait for a thread; further ones are asked to come again."""
_INVALID_CREDENTIALS: Final = 49


class Ldap:
    """The accounts. `base_dir` is where the path of `ca_file` starts."""

    scram = False

    def __init__(self, config: LdapAccounts, base_dir: Path) -> None:
        self._config = config
        self._base_dir = base_dir
        self._threads: ThreadPoolExecutor | None = None
        self._under_way = 0

    async def start(self) -> None:
        """Look whether the library and the certificates are there; the directory itself may come later.

        Raises: ValueError that names what is missing.
        """
        try:
            import ldap3  # type: ignore[import-untyped]  # noqa: F401
        except ImportError:
            raise ValueError("login.ldap needs ldap3: install gatepost[ldap]") from None
        if self._config.ca_file and not (self._base_dir / self._config.ca_file).is_file():
            raise ValueError(f"login.ldap.ca_file {self._config.ca_file}: there is no such file")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ldap login")

    async def stop(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def check(self, login: str, password: str) -> Account | None:
        return await self._in_thread(partial(self._check, login, password)) if password else None

    async def keys(self, login: str) -> tuple[ScramKeys, Account] | None:
        return None

    def counted_as(self, login: str) -> str:
        return folded(_one_form(login))

    def scram_form(self, number: int) -> tuple[int, int]:
        return usual_form(number)

    async def find(self, login: str) -> Account | None:
        return await self._in_thread(partial(self._find, login))

    async def _in_thread(self, work: Callable[[], R]) -> R:
        if self._threads is None or self._under_way >= WAITING:
            raise Unready("too many log-ins wait for the directory")
        self._under_way += 1
        try:
            return await asyncio.wrap_future(self._threads.submit(self._tell_faults, work))
        finally:
            self._under_way -= 1

    def _tell_faults(self, work: Callable[[], R]) -> R:
        from ldap3.core.exceptions import LDAPException  # type: ignore[import-untyped]

        try:
            return work()
        except (LDAPException, OSError, ssl.SSLError) as e:
            raise Unready(f"{self._config.url}: {type(e).__name__}: {e}") from None

    def _check(self, login: str, password: str) -> Account | None:
        found = self._search(login)
        if found is None:
            return None
        name, account = found
        with self._connected(name, password) as connection:
            if connection.bind():
                return account
            if connection.result["result"] == _INVALID_CREDENTIALS:
                return None
            raise Unready(f"{self._config.url}: the bind as an account gave {connection.result['description']}")

    def _find(self, login: str) -> Account | None:
        found = self._search(login)
        return None if found is None else found[1]

    def _search(self, login: str) -> tuple[str, Account] | None:
        """Return the name of the entry that an account is, and the account; None for none, or for several."""
        from ldap3 import SUBTREE
        from ldap3.utils.conv import escape_filter_chars  # type: ignore[import-untyped]

        config = self._config
        login = _one_form(login)
        sought = config.filter.replace("{login}", escape_filter_chars(login))
        with self._connected(config.user, config.password) as connection:
            if not connection.bind():
                raise Unready(f"{config.url}: the bind for the search gave {connection.result['description']}")
            connection.search(config.base, sought, SUBTREE, attributes=list(config.addresses), size_limit=2)
            entries = [e for e in connection.response or () if e.get("type") == "searchResEntry"]
        if len(entries) != 1:
            return None
        addresses = [
            str(value).removeprefix("SMTP:").removeprefix("smtp:")
            for name in config.addresses
            for value in _values(entries[0]["attributes"].get(name))
        ]
        return entries[0]["dn"], Account(login, tuple(dict.fromkeys(a for a in addresses if "@" in a and "*" not in a)))

    def _connected(self, user: str, password: str) -> Any:
        """Return a connection, under TLS before anything is said, to be closed by `with`."""
        import ldap3

        config = self._config
        tls = ldap3.Tls(
            validate=ssl.CERT_REQUIRED,
            version=ssl.PROTOCOL_TLS_CLIENT,
            ca_certs_file=str(self._base_dir / config.ca_file) if config.ca_file else None,
            valid_names=[urlsplit(config.url).hostname or ""],
        )
        server = ldap3.Server(config.url, tls=tls, connect_timeout=config.timeout_s, get_info=ldap3.NONE)
        connection = ldap3.Connection(
            server,
            user or None,
            password or None,
            receive_timeout=ceil(config.timeout_s),
            raise_exceptions=False,
            auto_referrals=False,
        )
        return _Opened(connection, start_tls=config.start_tls and config.url.startswith("ldap://"))


class _Opened:
    def __init__(self, connection: Any, *, start_tls: bool) -> None:
        self._connection = connection
        self._start_tls = start_tls

    def __enter__(self) -> Any:
        self._connection.open()
        if self._start_tls and not self._connection.start_tls():
            raise OSError("the server did not begin TLS")
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.unbind()


def _one_form(login: str) -> str:
    """Return a name as a directory compares it, to which blanks around it and several in a row mean nothing (RFC 4518
    §2.6.1): nobody has the limits of several accounts for writing their name in several ways."""
    return " ".join(login.split())


def _values(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple | set) else [value]
