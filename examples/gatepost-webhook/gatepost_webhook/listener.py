"""A listener with bounds that the library has not: of connections, and of how long one may say nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

_KEEP_ALIVE_S: Final = 75.0
_LINGER_S: Final = 2.0


class Listener:
    """Serves `answer` on a socket. `quiet_s` is how long a connection may be open before its first request."""

    def __init__(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        most: int,
        quiet_s: float,
        log: Any,
    ) -> None:
        self._answer = answer
        self._most = most
        self._quiet_s = quiet_s
        self._log = log
        self._asked: set[Any] = set()
        """The connections that have made a request."""
        self._server: asyncio.Server | None = None
        self._http: web.Server | None = None
        self._full = False

    async def start(self, made: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Begin to serve. Raises: OSError."""
        self._http = web.Server(
            self._served,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_KEEP_ALIVE_S,
            lingering_time=_LINGER_S,
        )
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, sock=made, ssl=tls)

    def refuse(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()

    async def stop(self, *, within_s: float) -> None:
        """Close every connection, those whose request is under way after `within_s`."""
        self.refuse()
        if self._http is not None:
            await self._http.shutdown(within_s)

    async def _served(self, request: web.BaseRequest) -> web.StreamResponse:
        self._asked.add(request.protocol)
        return await self._answer(request)

    def _protocol(self) -> asyncio.BaseProtocol:
        assert self._http is not None
        connections = self._http.connections
        if len(connections) >= self._most:
            if not self._full:
                self._log.warning("connections_full", most=self._most)
            self._full = True
            return _Refused()
        self._full = False
        if len(self._asked) > 2 * self._most:
            self._asked.intersection_update(connections)
        made = self._http()
        asyncio.get_running_loop().call_later(self._quiet_s, self._look, made)
        return made

    def _look(self, connection: Any) -> None:
        if connection in self._asked:
            self._asked.discard(connection)
        elif connection.transport is not None:
            connection.transport.abort()


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
