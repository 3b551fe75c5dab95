"""From a Target to a Connection that is ready for work: connect, greeting, EHLO, STARTTLS, AUTH.

One command after the other, since each answer decides the next. Whatever goes wrong is a HopFault that says at
which step, so that the next target can be tried.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Callable
from typing import Final

from connectors.smtp import faults
from connectors.smtp.client_config import ClientConfig
from connectors.smtp.client_wire import Reply, Stage
from connectors.smtp.connection import Connection
from connectors.smtp.faults import HopFault
from connectors.smtp.mx import Target
from connectors.smtp.tls import TlsOptions
from gateway.contract import Deferred, Outcome, Scope, Status

NO_TLS: Final = Status("4.7.4", "the next hop offers no TLS, which is required")
BAD_TLS: Final = Status("4.7.5", "no trusted TLS connection to the next hop")
NO_AUTH: Final = Status("4.7.0", "the next hop offers no AUTH that can be used")
AUTH_IN_CLEAR: Final = Status("4.7.11", "AUTH is not done without TLS")


async def open_connection(
    target: Target, config: ClientConfig, tls: TlsOptions, name: str, on_end: Callable[[Connection], None]
) -> Connection:
    """Connect, greet, and where asked for start TLS and authenticate. The connection is ready for `run`.

    Raises: HopFault.
    """
    try:
        return await _open(target, config, tls, name, on_end, use_tls=tls.policy != "none")
    except _TlsFault as fault:
        if tls.is_needed:
            raise HopFault(Deferred(BAD_TLS.but(cause=str(fault)), Scope.HOP)) from fault
    # RFC 7435 §3: better in the clear than not at all, where the operator asked for no more.
    return await _open(target, config, tls, name, on_end, use_tls=False)


class _TlsFault(Exception):
    """STARTTLS came to nothing; the connection is gone."""


async def _open(
    target: Target,
    config: ClientConfig,
    tls: TlsOptions,
    name: str,
    on_end: Callable[[Connection], None],
    *,
    use_tls: bool,
) -> Connection:
    connection = Connection(target, config, on_end)
    try:
        await _connect(connection, target, config, tls)
        await _greet(connection, name)
        if use_tls and not connection.tls:
            await _start_tls(connection, tls, name)
        if config.auth_user is not None and config.auth_password is not None:
            await _authenticate(connection, config, config.auth_user, config.auth_password)
    except BaseException:
        connection.abort("not opened")
        raise
    return connection


async def _connect(connection: Connection, target: Target, config: ClientConfig, tls: TlsOptions) -> None:
    loop = asyncio.get_running_loop()
    context = tls.context if tls.from_the_start else None
    server = target.name if context is not None else None
    try:
        async with asyncio.timeout(config.connect_timeout_s):
            if target.address.startswith("unix:"):
                path = target.address.removeprefix("unix:")
                await loop.create_unix_connection(lambda: connection, path, ssl=context, server_hostname=server)
            else:
                await loop.create_connection(
                    lambda: connection, target.address, target.port, ssl=context, server_hostname=server
                )
    except ssl.SSLError as fault:
        raise HopFault(Deferred(BAD_TLS.but(cause=str(fault)), Scope.HOP)) from fault
    except (OSError, TimeoutError) as fault:
        where = target.address if not target.port else f"{target.address}:{target.port}"
        cause = str(fault) or f"no connection in {config.connect_timeout_s:g} s"
        said = Status("4.4.1", f"no connection to {target.name}", cause=f"{where}: {cause}", remote=target.name)
        raise HopFault(Deferred(said, Scope.HOP)) from fault


async def _greet(connection: Connection, name: str) -> None:
    remote = connection.target.name
    greeting = await connection.reply()
    if greeting.code != 220:
        raise HopFault(_refusal(Stage.GREETING, greeting, remote))
    connection.wire.hello(name)
    said = await connection.reply()
    if said.code >= 500 and not connection.wire.lmtp:
        # RFC 5321 §3.2: a host that knows no EHLO.
        connection.wire.hello(name, extended=False)
        said = await connection.reply()
    if said.code != 250:
        raise HopFault(_refusal(Stage.HELLO, said, remote))


async def _start_tls(connection: Connection, tls: TlsOptions, name: str) -> None:
    wire = connection.wire
    remote = connection.target.name
    if not wire.extensions.starttls:
        if tls.is_needed:
            raise HopFault(Deferred(NO_TLS, Scope.HOP))
        return
    wire.command(Stage.STARTTLS, b"STARTTLS")
    said = await connection.reply()
    if said.code != 220:
        if tls.is_needed:
            raise HopFault(_refusal(Stage.STARTTLS, said, remote))
        return
    try:
        await connection.start_tls(tls)
    except (OSError, TimeoutError) as fault:
        raise _TlsFault(f"{remote}: {str(fault) or 'the TLS handshake timed out'}") from fault
    wire.hello(name)
    said = await connection.reply()
    if said.code != 250:
        raise HopFault(_refusal(Stage.HELLO, said, remote))


async def _authenticate(connection: Connection, config: ClientConfig, user: str, password: str) -> None:
    wire = connection.wire
    if not connection.tls and not config.auth_without_tls:
        raise HopFault(Deferred(AUTH_IN_CLEAR, Scope.HOP))
    offered = wire.extensions.auth
    if "PLAIN" in offered:
        # RFC 4616
        steps = [b"AUTH PLAIN " + b64encode(b"\0".join((b"", user.encode(), password.encode())))]
    elif "LOGIN" in offered:
        steps = [b"AUTH LOGIN", b64encode(user.encode()), b64encode(password.encode())]
    else:
        raise HopFault(Deferred(NO_AUTH.but(cause=f"offered: {' '.join(sorted(offered)) or 'none'}"), Scope.HOP))
    for n, step in enumerate(steps, 1):
        wire.command(Stage.AUTH, step)
        said = await connection.reply()
        if said.code != (235 if n == len(steps) else 334):
            raise HopFault(_refusal(Stage.AUTH, said, connection.target.name))


def _refusal(stage: Stage, reply: Reply, remote: str) -> Outcome:
    if reply.code < 400:
        cause = f"{reply} in answer to {stage.value}"
        return Deferred(Status("4.5.0", "the next hop broke the mail protocol", cause=cause, remote=remote), Scope.HOP)
    return faults.refused(stage, reply, remote)
