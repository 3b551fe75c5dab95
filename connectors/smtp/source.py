"""SmtpSource: mail in over SMTP or LMTP.

Promises: `start` binds, `run` serves until cancelled; then no new connection or transaction is taken, content under
way is finished and answered, everyone else is told 421, and all is over within `context.stop_s`. One sweep looks at
the deadlines of all connections, so that ten thousand idle ones cost no timer each.
"""

from __future__ import annotations

import asyncio
import math
import resource
import socket
import ssl
from collections.abc import Coroutine, Mapping
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal

from connectors.smtp.abreast import Abreast
from connectors.smtp.border import InwardBorder
from connectors.smtp.check_chain import CheckSet
from connectors.smtp.check_list import check_makers
from connectors.smtp.checked_session import CheckedSession
from connectors.smtp.clients import Clients, Limits
from connectors.smtp.config import SmtpConfig
from connectors.smtp.server_config import listen_at, networks
from connectors.smtp.server_events import WireSettings
from connectors.smtp.server_tls import end_point, server_context
from connectors.smtp.server_wire import ServerWire
from connectors.smtp.session import Session
from connectors.smtp.sharing import Sharing
from connectors.smtp.tally import Tally
from gateway.contract import Context, Health, Intake

if TYPE_CHECKING:
    from connectors.smtp.login.desk import LoginDesk
    from connectors.smtp.reverse_dns import ReverseDns

SWEEP_S: Final = 1.0
NAME_S: Final = 5.0
"""How long a client waits for its name to be found, where a check asks for it."""
BACKLOG: Final = 4096
SPARE_FILES: Final = 512
"""Open files that are left to the rest of the process."""


class SmtpSource:
    """The receiving side of the SMTP connector."""

    def __init__(self, name: str, config: SmtpConfig, context: Context) -> None:
        self._name = name
        self._config = config
        self._context = context
        self._clients = Clients(_limits(config))
        self._tally: Tally | None = None
        self._intake: Intake | None = None
        self._sharing: Sharing | None = None
        """What new sessions get; those under way keep what they began with."""
        self._sockets: list[tuple[socket.socket, bool]] = []
        self._tls: ssl.SSLContext | None = None
        self._names: ReverseDns | None = None
        self._checks: CheckSet | None = None
        self._login: LoginDesk | None = None
        self._kind: type[Session] = Session
        self._sessions: set[Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._serves = False

    @property
    def is_wanted(self) -> bool:
        """Whether the configuration has anything to listen at."""
        return bool(self._config.listen or self._config.tls_listen)

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it listens, after `start`: host and port, those of `listen` first."""
        return tuple(listener.getsockname()[:2] for listener, _ in self._sockets)

    def health(self) -> Health:
        if self.is_wanted and not self._serves:
            return Health(False, "not serving")
        if self._checks is not None and (trouble := self._checks.trouble):
            return Health(False, trouble)
        return Health(True, f"{len(self._sessions)} connections")

    async def start(self) -> None:
        """Read the certificate and bind. Raises: OSError or ValueError that names the option and its mend."""
        config = self._config
        self._tls = self._read_certificate(config)
        if self._context.workers > 1 and self.is_wanted:
            self._tally = self._make_tally()
            self._clients = Clients(_limits(config), self._tally)
        if config.login is not None and self.is_wanted:
            # Only here, since what few configure need not slow the start of all.
            from connectors.smtp.login.desk import LoginDesk
            from connectors.smtp.login.session import LoginSession

            self._login, self._kind = LoginDesk(config.login, self._context, self._tally), LoginSession
            await self._login.start()
        self._checks = self._make_checks(config)
        if self.is_wanted:
            _raise_file_limit(config.max_connections + SPARE_FILES)
        try:
            for place in config.listen:
                self._sockets += [(made, False) for made in self._bind("listen", place)]
            for place in config.tls_listen:
                self._sockets += [(made, True) for made in self._bind("tls_listen", place)]
        except OSError:
            await self.stop()
            raise

    def reconfigure(self, config: SmtpConfig) -> bool:
        """Give new sessions these options; False where the places to listen at, or the accounts, differ.

        Raises: OSError or ValueError as `start` does; the old options stay in force then.
        """
        was = self._config
        if (config.listen, config.tls_listen, config.login) != (was.listen, was.tls_listen, was.login):
            return False
        tls = self._read_certificate(config)
        dns = (config.nameservers, config.nameserver_port)
        same_dns = dns == (was.nameservers, was.nameserver_port)
        checks, before = self._make_checks(config, same_dns=same_dns), self._checks
        if not same_dns:
            self._names = None
        self._tls, self._checks = tls, checks
        self._config = config
        self._clients.limits = _limits(config)
        if self._sharing is not None and self._intake is not None:
            self._sharing = self._share(self._intake)
        if before is not None:
            before.close(kept=checks.makers if checks is not None else ())
        return True

    def _make_checks(self, config: SmtpConfig, *, same_dns: bool = True) -> CheckSet | None:
        """Return what clients and mail are judged by; None where nothing is configured.

        Raises: OSError or ValueError that names the option and its mend.
        """
        before = self._checks.makers if self._checks is not None else ()
        makers = check_makers(self._name, config, self._context, before, same_dns) if self.is_wanted else []
        if self._login is not None:
            from connectors.smtp.login.submission import SubmissionMaker

            # The first, so that the others see what will leave; who has sent how much outlives a change of options.
            kept = next((maker for maker in before if isinstance(maker, SubmissionMaker)), None)
            makers.insert(0, kept or SubmissionMaker(self._login, self._context))
        return CheckSet(makers, self._context.log, self._context.count) if makers else None

    def _make_tally(self) -> Tally | None:
        context = self._context
        try:
            return Tally(context.state_dir, context.worker, context.workers)
        except OSError as fault:  # mail goes on
            context.log.warning("limits_not_shared", error=str(fault), then="each worker counts for itself")
            return None

    def _read_certificate(self, config: SmtpConfig) -> ssl.SSLContext | None:
        if config.tls_cert is None:
            return None
        base = self._context.base_dir
        return server_context(base / config.tls_cert, base / config.tls_key if config.tls_key else None)

    def _bind(self, option: str, place: str) -> list[socket.socket]:
        host, port = listen_at(place)
        made = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                listener = socket.socket(family, kind, protocol)
                made.append(listener)
                listener.setblocking(False)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if self._context.workers > 1:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(address)
        except OSError as fault:
            for listener in made:
                listener.close()
            raise OSError(
                fault.errno, f"{option} {place!r}: {fault.strerror}; choose a free address and port"
            ) from fault
        return made

    async def run(self, intake: Intake) -> None:
        """Serve until cancelled; see the contract's Source."""
        loop = asyncio.get_running_loop()
        self._intake = intake
        self._sharing = self._share(intake)
        servers: list[asyncio.Server] = []
        try:
            for listener, implicit_tls in self._sockets:
                factory = partial(self._session, loop, implicit_tls)
                servers.append(await loop.create_server(factory, sock=listener, backlog=BACKLOG))
            self._serves = True
            while True:
                if self._checks is not None:
                    self._checks.look(loop.time())
                await asyncio.sleep(min(SWEEP_S, self._config.client_timeout_s / 4))
                self._sweep(loop.time())
        finally:
            self._serves = False
            for server in servers:
                server.close()
            self._sockets.clear()
            await self._drain(loop)

    def _session(self, loop: asyncio.AbstractEventLoop, implicit_tls: bool) -> Session:
        assert self._sharing is not None
        kind = self._kind if self._sharing.checks is None or self._login is not None else CheckedSession
        return kind(self._sharing, loop, implicit_tls=implicit_tls)

    async def stop(self) -> None:
        """Close what `start` opened; `run` ends by cancellation."""
        for listener, _ in self._sockets:
            listener.close()
        self._sockets.clear()
        if self._checks is not None:
            self._checks.close()
            self._checks = None
        login, self._login = self._login, None
        if login is not None:
            await login.stop()

    def _sweep(self, now: float) -> None:
        for session in [s for s in self._sessions if s.deadline < now]:
            session.expire()

    async def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let what is under way come to its end, within four fifths of the time the node gives."""
        ends = loop.time() + self._context.stop_s * 0.8
        for session in list(self._sessions):
            session.stop()
        while (self._sessions or self._tasks) and (left := ends - loop.time()) > 0:
            self._sweep(loop.time())
            await asyncio.sleep(min(left, 0.02))
        # What did not come to its end gets no reply, so that the client keeps it; what was stored of it is removed.
        for task in list(self._tasks):
            task.cancel()
        await self._wait_for_tasks()
        for session in list(self._sessions):
            session.kill()
        await self._wait_for_tasks()

    async def _wait_for_tasks(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._context.stop_s * 0.1)

    async def _name_of(self, peer: str) -> str:
        """Return a client's confirmed name, for the checks that ask. Raises: LookupFault."""
        if self._names is None:
            from connectors.smtp.reverse_dns import ReverseDns

            config = self._config
            self._names = ReverseDns(config.nameservers, config.nameserver_port, timeout_s=NAME_S)
        return await self._names.name_of(peer)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _share(self, intake: Intake) -> Sharing:
        config = self._config
        # A client's address is looked at once for each connection; the answers are few and repeat.
        is_trusted = lru_cache(maxsize=4096)(partial(_is_in, networks(config.relay_networks)))
        is_fixed = lru_cache(maxsize=4096)(partial(_is_in, networks(config.fix_bare_newlines_from)))
        starttls: Literal["offer", "require"] | None = None
        if self._tls is not None and config.starttls != "off":
            starttls = config.starttls
        login = self._login
        bindings: Mapping[str, bytes] = {}
        if login is not None and self._tls is not None and config.tls_cert is not None:
            bindings = end_point(self._context.base_dir / config.tls_cert)
        settings = WireSettings(
            hostname=self._context.hostname,
            lmtp=config.protocol_in == "lmtp",
            max_message_bytes=config.max_message_bytes,
            max_recipients=config.max_recipients,
            max_errors=config.max_errors,
            starttls=starttls,
            auth=() if login is None else login.mechanisms(binds=bool(bindings)),
            auth_in_clear=() if login is None or not login.config.in_clear else login.mechanisms(binds=False),
            needs_auth=login is not None and login.config.required,
        )

        def new_wire(peer: str) -> ServerWire:
            return ServerWire(settings, trusted=is_trusted(peer), fix_newlines=is_fixed(peer))

        return Sharing(
            name=self._name,
            intake=InwardBorder(intake, config.remove_headers) if config.remove_headers else intake,
            context=self._context,
            clients=self._clients,
            sessions=self._sessions,
            spawn=self._spawn,
            tls=self._tls,
            client_timeout_s=config.client_timeout_s,
            receive_timeout_s=config.receive_timeout_s,
            greet_delay_s=config.greet_delay_s,
            is_trusted=is_trusted,
            new_wire=new_wire,
            checks=self._checks,
            find_name=self._name_of,
            abreast=Abreast(self._sessions.__len__),
            login=login,
            bindings=bindings,
        )


def _limits(config: SmtpConfig) -> Limits:
    return Limits(config.max_connections, config.max_connections_per_client, config.max_messages_per_minute)


def _is_in(among: tuple[Any, ...], peer: str) -> bool:
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    return any(address in network for network in among)


def _raise_file_limit(wanted: int) -> None:
    """Raise the soft limit of open files as far as the hard one lets; a lower one shows as refused connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = math.inf if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(min(wanted, most)), hard))
