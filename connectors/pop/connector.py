"""pop: the mailboxes of a POP3 server, as a store that is read."""

from __future__ import annotations

import asyncio
import csv
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final, cast

from connectors.pop.config import PopConfig
from connectors.pop.mailbox import HOLDS, PopMailbox
from connectors.pop.session import Login, Session, open_session
from gateway.contract import Connector, ConnectorConfig, Context, Health, Holds, Scope, Status, StoreFault

MOST_PASSWORDS: Final = 1_000_000


class Pop(Connector):
    """A POP3 server's mailboxes."""

    Config: ClassVar[type[ConnectorConfig]] = PopConfig

    def __init__(self, name: str, config: PopConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self._tls: ssl.SSLContext | None = None
        self._passwords: dict[str, str] = {}
        self._trouble: str | None = None

    def health(self) -> Health:
        return Health(self._trouble is None, self._trouble or "")

    async def start(self) -> None:
        """Read the authorities and the passwords. Raises: OSError or ValueError that names what is wrong."""
        config = cast(PopConfig, self.config)
        if config.tls != "none":
            self._tls = await asyncio.to_thread(_context, config, self.context.base_dir)
        if config.passwords is not None:
            self._passwords = await asyncio.to_thread(_read_passwords, self.context.base_dir / config.passwords)

    async def stop(self) -> None:
        return

    def holds(self) -> Holds:
        return HOLDS

    @asynccontextmanager
    async def open(self, mailbox: str) -> AsyncIterator[PopMailbox]:
        config = cast(PopConfig, self.config)
        login = self._login(mailbox)

        async def connect() -> Session:
            session = await open_session(
                config.host,
                config.port_to_use,
                login,
                tls=self._tls,
                starttls=config.tls == "starttls",
                connect_timeout_s=config.connect_timeout_s,
                timeout_s=config.timeout_s,
                pipelining=config.pipelining,
            )
            self._trouble = None
            return session

        opened = PopMailbox(connect, self.context.state_dir, config.poll_s)
        try:
            await opened.start()
        except StoreFault as fault:
            if fault.scope is Scope.HOP:
                self._trouble = str(fault.status)
            raise
        try:
            yield opened
        finally:
            await opened.close()

    def _login(self, mailbox: str) -> Login:
        config = cast(PopConfig, self.config)
        secret = config.password if config.password is not None else self._passwords.get(mailbox)
        if secret is None:
            raise StoreFault(Status("4.7.8", f"{config.passwords} has no password for {mailbox}"))
        name = config.username.replace("{mailbox}", mailbox)
        return Login(name, secret, (config.act_as or "").replace("{mailbox}", mailbox), config.auth)


def _context(config: PopConfig, base: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(base / config.ca_file) if config.ca_file else None)
    except (OSError, ssl.SSLError) as fault:
        raise ValueError(f"ca_file {config.ca_file}: {fault}; it must be a PEM file of certificates") from fault


def _read_passwords(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            if rows.fieldnames is None or not {"mailbox", "password"} <= set(rows.fieldnames):
                raise ValueError(f"{path}: its first line must name the columns mailbox,password")
            for row in rows:
                if len(found) >= MOST_PASSWORDS:
                    raise ValueError(f"{path}: more than {MOST_PASSWORDS} mailboxes")
                found[(row["mailbox"] or "").strip()] = row["password"] or ""
    except UnicodeDecodeError:  # its own words show octets of passwords
        raise ValueError(f"{path}: it must be text in UTF-8") from None
    except csv.Error as fault:
        raise ValueError(f"{path}: {fault}; a quotation mark may be without another one") from None
    return found


__all__ = ["Pop"]
