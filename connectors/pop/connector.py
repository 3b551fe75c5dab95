"""pop: the mailboxes of a POP3 server, as a store that is read, and as a source that mail is fetched from."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, cast

from connectors.pop.config import PopConfig
from connectors.pop.mailbox import HOLDS, PopMailbox
from connectors.pop.session import Session, open_session
from gateway.client_tls import client_tls
from gateway.contract import (
    Connector,
    ConnectorConfig,
    Context,
    Health,
    Holds,
    Intake,
    OpenMailbox,
    Scope,
    Status,
    StoreFault,
    unreadable,
)
from gateway.mailbox_login import Login, read_passwords
from gateway.retrieval.source import Retrieval, Way


class Pop(Connector):
    """A POP3 server's mailboxes."""

    Config: ClassVar[type[ConnectorConfig]] = PopConfig

    def __init__(self, name: str, config: PopConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self._tls: ssl.SSLContext | None = None
        self._passwords: dict[str, str] = {}
        self._trouble: str | None = None
        # Two that fetch from one mailbox would be in each other's way.
        self.singleton = bool(config.fetch)
        ways = [
            # A deletion counts once the session is over, so that each costs a log-in: all are made at the end.
            Way(each, ("INBOX",), _delete if each.after == "delete" else None, at_end=True)
            for each in config.fetch
        ]
        self._retrieval = Retrieval(name, context, ways, self.open, peer=config.host, protocol="POP3")

    def health(self) -> Health:
        trouble = self._trouble or self._retrieval.trouble()
        return Health(trouble is None, trouble or "ok")

    def missing(self) -> Sequence[str]:
        file = cast(PopConfig, self.config).passwords
        return () if file is None else unreadable("passwords", self.context.base_dir / file)

    async def start(self) -> None:
        """Read the authorities and the passwords. Raises: OSError or ValueError that names what is wrong."""
        config = cast(PopConfig, self.config)
        if config.tls != "none":
            self._tls = await asyncio.to_thread(client_tls, config.ca_file, self.context.base_dir)
        if config.passwords is not None:
            self._passwords = await asyncio.to_thread(read_passwords, self.context.base_dir / config.passwords)

    async def stop(self) -> None:
        return

    async def run(self, intake: Intake) -> None:
        """Fetch from the mailboxes that are configured, until cancelled."""
        await self._retrieval.run(intake)

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


async def _delete(box: OpenMailbox, ids: Sequence[str]) -> Sequence[Status | None]:
    return await box.remove(ids, purge=True)


__all__ = ["Pop"]
