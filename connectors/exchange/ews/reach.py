"""Reach: the way to the server: its address, its connections, its threads, and what the last request said of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from connectors.exchange.ews.answer import Answer, HttpFault, SoapFault, fault
from connectors.exchange.ews.autodiscovery import Autodiscovery
from connectors.exchange.ews.config import EwsConfig, is_open
from connectors.exchange.ews.session import Line, line
from connectors.exchange.ews.tokens import Tokens
from connectors.exchange.ews.workers import Stopped, Workers
from connectors.exchange.organisation import Fault
from gateway.contract import Context, Scope

_SLACK_S: Final = 10.0
_AGAIN_S: Final = 30.0
"""Seconds between two looks for a server that autodiscovery did not find."""
_STOP_S: Final = 4.0
_UNAUTHORIZED: Final = 401
_MOVED_AFTER: Final = 3
"""Requests in a row that reach nobody, after which a server that was discovered is looked for anew."""


class Reach:
    """Asks the server, in threads; one Line for questions, and further ones for streams."""

    def __init__(self, name: str, config: EwsConfig, context: Context) -> None:
        self._name = name
        self._config = config
        self._context = context
        self._log = context.log
        self._tokens: Tokens | None = None
        self._autodiscovery: Autodiscovery | None = None
        self._line: Line | None = None
        self._lines: dict[str, Line] = {}
        self._workers = Workers(config.max_connections, longest_s(config), self._cut, name)
        self._finding = asyncio.Lock()
        self._not_before = 0.0
        self._trouble: str | None = None
        self._failed = 0

    async def start(self) -> None:
        """Make ready. Raises: ValueError, OSError that name a mistake in the configuration; Fault where the server is
        to be discovered and is not found."""
        config = self._config
        for each in (config.ca_file, config.certificate, config.certificate_key):
            if each is not None:
                _readable(self._file(each))
        bearer = None
        if config.auth == "oauth":
            self._tokens = Tokens(config, self._file)
            bearer = self._tokens.bearer
        if config.autodiscover is not None:
            self._autodiscovery = Autodiscovery(config, self._context, self._file, bearer)
            await self._found()
        else:
            self._open(config.service or "")

    def _file(self, path: str) -> Path:
        return self._context.base_dir / path

    def _open(self, url: str) -> Line:
        made = self._lines.get(url)
        if made is None:
            made = self._lines[url] = self.new_line(url, self._config.max_connections)
        self._line = made
        return made

    def new_line(self, url: str, limit: int) -> Line:
        """Return connections of one's own, as streams need them: one that streams is not there for questions
        (exchangelib issue #906)."""
        bearer = None if self._tokens is None else self._tokens.bearer(url)
        ca_file = None if self._config.ca_file is None else str(self._file(self._config.ca_file))
        return line(url, self._config, limit, self._log, bearer, ca_file)

    async def url(self) -> str:
        """Return the address of the service. Raises: Fault."""
        found: str = (await self._found()).service_endpoint
        return found

    async def _found(self) -> Line:
        """Return the connections to the server, whose address is discovered where it isn't known. Raises: Fault."""
        if self._line is not None:
            return self._line
        if self._autodiscovery is None:
            raise Fault("NotSent", "the connector has not been started", "unreachable", scope=Scope.HOP)
        async with self._finding:
            if self._line is not None:
                return self._line
            if time.monotonic() < self._not_before:
                raise Fault("NotSent", self._trouble or "the server is not found", "unreachable", scope=Scope.HOP)
            try:
                url = await self._workers.call(self._autodiscovery.find)
                if is_open(url) and not self._config.password_without_tls:
                    raise Fault("NotSent", "autodiscovery names an address without TLS", "unreachable", scope=Scope.HOP)
            except Stopped:
                raise _stopping() from None
            except Exception as e:  # noqa: BLE001 - whatever it is, the server was not found
                self._not_before = time.monotonic() + _AGAIN_S
                told = e if isinstance(e, Fault) else fault(e)
                self._note(told)
                raise told from None
            return self._open(url)

    async def ask(self, mailbox: str, service: Any, *args: Any, **kwargs: Any) -> list[Answer]:
        """Return what the server answers to one request. Raises: Fault."""
        found = await self._found()
        try:
            answers = await self._workers.call(self._once, found, mailbox, service, args, kwargs)
        except Stopped:
            raise _stopping() from None
        except Exception as e:  # noqa: BLE001 - an unknown fault is an unknown result
            told = fault(e)
            if told.code == "Unexpected":
                self._log.error("request failed by a fault of ours", operation=service.SERVICE_NAME, exc_info=e)
            self._note(told)
            raise told from None
        self._trouble = None
        self._failed = 0
        return answers

    def _once(self, found: Line, mailbox: str, service: Any, args: Any, kwargs: Any) -> list[Answer]:
        """Runs in a thread."""
        try:
            answers: list[Answer] = service(found.account(mailbox)).ask(*args, **kwargs)
        except HttpFault as e:
            if e.status != _UNAUTHORIZED or self._tokens is None:
                raise
            # The token may have been revoked before its time; what is unauthorized has not been done.
            self._tokens.drop()
            answers = service(found.account(mailbox)).ask(*args, **kwargs)
        except SoapFault as e:
            if not found.falls_back(e.code):
                raise
            answers = service(found.account(mailbox)).ask(*args, **kwargs)
        return answers

    def _note(self, told: Fault) -> None:
        if told.why == "unreachable" and self._autodiscovery is not None:
            self._failed += 1
            if self._failed >= _MOVED_AFTER:
                self._failed = 0
                self._autodiscovery.forget()
                self._line = None
        if told.why in {"unreachable", "denied"} or told.everywhere:
            self._trouble = f"{told.code}: {told.text}" if told.text else told.code

    def trouble(self) -> str | None:
        """Say what the last request said of the server, None where it answered."""
        return self._trouble

    def _cut(self, thread: int) -> None:
        for each in list(self._lines.values()):
            each.cut(thread)

    async def stop(self) -> None:
        """End every request; returns within some seconds."""
        for each in self._lines.values():
            each.cut_all()
        if not await self._workers.stop(_STOP_S):
            self._log.warning("a request to the server did not end in time")
        for each in self._lines.values():
            each.close()
        self._lines.clear()
        self._line = None


def longest_s(config: EwsConfig) -> float:
    """Return how long a request may last in all: a server that says a little now and then is not waited for."""
    return 3 * config.timeout_s + config.connect_timeout_s + _SLACK_S


def _stopping() -> Fault:
    return Fault("NotSent", "the connector is being stopped", "unreachable", scope=Scope.HOP)


def _readable(path: Path) -> None:
    with suppress(IsADirectoryError), path.open("rb"):
        return
    raise ValueError(f"{path} is a folder; name a PEM file")
