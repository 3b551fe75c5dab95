"""How sessions with the mailboxes of a server are opened, by what an operator has set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from connectors.imap.pool import Pool
from connectors.imap.session import Session, open_session
from connectors.imap.wire.tokens import Spill
from gateway.mailbox import Status, StoreFault
from gateway.mailbox_login import Login, read_passwords

if TYPE_CHECKING:
    import ssl


class Options(Protocol):
    """What is needed of the options; each is described in `config.ImapConfig`."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls(self) -> Literal["implicit", "starttls", "none"]: ...
    @property
    def ca_file(self) -> str | None: ...
    @property
    def auth(self) -> str: ...
    @property
    def username(self) -> str: ...
    @property
    def act_as(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def passwords(self) -> str | None: ...
    @property
    def token_file(self) -> str | None: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def connect_timeout_s(self) -> float: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def compress(self) -> bool: ...


def port_of(options: Options) -> int:
    """Return the port to connect to."""
    return options.port or (993 if options.tls == "implicit" else 143)


class Sessions:
    """Opens sessions. Files are found relative to `base`; `spill` is where a large content goes."""

    def __init__(self, options: Options, base: Path, spill: Callable[[bytes, int], Spill | None] | None = None) -> None:
        self._options = options
        self._base = base
        self._spill = spill
        self._tls: ssl.SSLContext | None = None
        self._passwords: dict[str, str] = {}

    async def start(self) -> None:
        """Read the authorities and the passwords. Raises: OSError or ValueError that names what is wrong."""
        options = self._options
        if options.tls != "none":
            from gateway.client_tls import client_tls

            self._tls = await asyncio.to_thread(client_tls, options.ca_file, self._base)
        if options.passwords is not None:
            self._passwords = await asyncio.to_thread(read_passwords, self._base / options.passwords)

    async def pool(self, mailbox: str, made: Callable[[], None] = lambda: None) -> Pool:
        """Return the pool of a mailbox's sessions; `made` hears of each new one. Raises: StoreFault."""
        options = self._options
        await self._login(mailbox)

        async def make() -> Session:
            session = await open_session(
                options.host,
                port_of(options),
                await self._login(mailbox),
                tls=self._tls,
                starttls=options.tls == "starttls",
                connect_timeout_s=options.connect_timeout_s,
                timeout_s=options.timeout_s,
                compress=options.compress,
                spill=self._spill,
            )
            made()
            return session

        return Pool(make, options.max_connections)

    async def _login(self, mailbox: str) -> Login:
        """Return how to log in now. Raises: StoreFault."""
        options = self._options
        if options.token_file is not None:
            path = self._base / options.token_file
            try:
                secret: str | None = (await asyncio.to_thread(path.read_text, "utf-8")).strip()
            except (OSError, ValueError) as fault:
                raise StoreFault(Status("4.7.8", f"token_file {options.token_file} can't be read: {fault}")) from None
        else:
            secret = options.password if options.password is not None else self._passwords.get(mailbox)
        if not secret:
            source = options.passwords or options.token_file or "password"
            raise StoreFault(Status("4.7.8", f"{source} has nothing to log in to {mailbox} by"))
        name = options.username.replace("{mailbox}", mailbox)
        return Login(name, secret, (options.act_as or "").replace("{mailbox}", mailbox), options.auth)
