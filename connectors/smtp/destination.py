"""SmtpDestination: mail out over SMTP or LMTP, to MX hosts or a smart host.

Promises: every recipient of a batch gets its own outcome as soon as it is known; Delivered only on the peer's 2xx
after the content; a connection lost between our dot and that answer is a deferral, counted as
`duplicates_possible`; what could not be sent since nobody answers defers the whole next hop; a message fails for what
a peer does not offer only where no form of it fits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectors.smtp.border import without_headers
from connectors.smtp.client_config import ClientConfig
from connectors.smtp.courier import Courier
from connectors.smtp.faults import HopFault
from connectors.smtp.mx import Finder, Resolver, resolver_for
from connectors.smtp.offers import Offers
from connectors.smtp.opening import open_connection
from connectors.smtp.pool import Pool
from connectors.smtp.tls import TlsOptions, build
from gateway.contract import Address, Batch, Capabilities, Context, Deferred, Health, Intake, Scope, Status

if TYPE_CHECKING:
    from connectors.smtp.domain_tls import DomainTls
    from connectors.smtp.outward import Outward, OutwardBatch
    from connectors.smtp.tls_guard import GuardedFinder

_FAULT = Status("4.3.5", "a fault in the connector; the message stays queued")


class SmtpDestination:
    """The sending side of the SMTP connector.

    Assumes: `start` before `deliver`, in the node's loop. `resolver` replaces DNS, for tests.
    """

    def __init__(self, name: str, config: ClientConfig, context: Context, *, resolver: Resolver | None = None) -> None:
        self.name = name
        self._config = config
        self._context = context
        self._resolver = resolver
        self._offers = Offers(config, context.clock)
        self._pool: Pool | None = None
        self._former: list[Pool] = []
        """Pools under options of before, until what they lent is back."""
        self._trouble: dict[str, str] = {}
        """Next hop -> what an operator must mend; only of a smart host, so one entry at most."""
        self._domain_tls: DomainTls | None = None
        self._outward: Outward | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What any peer of ours can carry; what one peer cannot is found out when it says so."""
        return self._offers.most

    def capabilities_for(self, next_hop: str) -> Capabilities:
        """Return what the hosts of a next hop carry that were met of late, by their own word."""
        return self._offers.known(next_hop)

    def next_hop(self, address: Address) -> str:
        """Return the smart host, or the address's domain in lower case."""
        if self._config.smart_host is not None:
            return self._config.smart_host
        return address.value.rpartition("@")[2].lower()

    async def start(self) -> None:
        """Read the authorities, and the keys. Raises: OSError or ValueError that names what is wrong."""
        self._outward = self._make_outward(self._config)
        self._pool = self._make_pool(self._config)

    def _make_outward(self, config: ClientConfig) -> Outward | None:
        if config.dkim is None and config.arc is None and config.srs is None and config.unsigned_from == "keep":
            return None
        from connectors.smtp.outward import Outward  # slow to import, and few ask for it

        return Outward(config, self._context, name=self.name, former=self._outward)

    def _make_pool(self, config: ClientConfig) -> Pool:
        context = self._context
        tls = build(config.tls, context.base_dir / config.ca_file if config.ca_file else None)
        name = config.ehlo_name or context.hostname
        finder = Finder(config, self._resolver or resolver_for(config), own_name=context.hostname, clock=context.clock)
        most, idle_s = config.max_connections_per_hop, config.idle_timeout_s
        if config.mta_sts or config.dane or config.tls_reports_from is not None:
            guarded = self._guarded(finder, config, tls)
            return Pool(
                guarded,
                lambda target, on_end: guarded.open(target, name, on_end),
                max_per_hop=most,
                idle_timeout_s=idle_s,
            )
        return Pool(
            finder,
            lambda target, on_end: open_connection(target, config, tls, name, on_end),
            max_per_hop=most,
            idle_timeout_s=idle_s,
        )

    def _guarded(self, finder: Finder, config: ClientConfig, tls: TlsOptions) -> GuardedFinder:
        """Put what domains ask of TLS in front of a finder."""
        from connectors.smtp.domain_tls import DomainTls  # slow to import, and few ask for it

        if self._domain_tls is None:
            self._domain_tls = DomainTls(self._context)
        return self._domain_tls.guard(finder, config, tls, self._resolver)

    async def report_tls(self, intake: Intake) -> None:
        """Send TLS reports while there are any to be sent; until cancelled."""
        if self._domain_tls is not None:
            await self._domain_tls.report(intake, self.name)

    def reconfigure(self, config: ClientConfig) -> None:
        """Send by these options from the next batch on; what is under way goes on by the old ones.

        Raises: OSError or ValueError as `start` does; the old options stay in force then.
        """
        outward = self._make_outward(config)
        pool = self._make_pool(config)
        self._outward = outward
        self._former = [former for former in self._former if former.size]
        if self._pool is not None:
            self._former.append(self._pool)
        self._pool, self._config = pool, config
        self._offers = Offers(config, self._context.clock)
        self._trouble.clear()

    async def stop(self) -> None:
        """End all connections, within 2 s or the node's bound."""
        for pool in (*self._former, self._pool):
            if pool is not None:
                await pool.close(min(2.0, self._context.stop_s / 2))
        if self._outward is not None:
            self._outward.close()
        if self._domain_tls is not None:
            await self._domain_tls.stop()

    def health(self) -> Health:
        """Say what only an operator can mend: a smart host that wants other credentials or TLS."""
        if self._trouble:
            return Health(False, "; ".join(f"{hop}: {text}" for hop, text in self._trouble.items()))
        return Health(True)

    async def deliver(self, batch: Batch) -> None:
        """Send a batch, and what `batch.more` adds to it, over one connection after the other.

        Raises nothing but cancellation; every item sent or not is settled when it returns.
        """
        if self._outward is not None:
            await self._work(coming := self._outward.batch(batch), coming)
            return
        if self._config.remove_headers:
            batch = await without_headers(batch, self._config.remove_headers)
        await self._work(batch)

    async def _work(self, batch: Batch, coming: OutwardBatch | None = None) -> None:
        courier = Courier(
            batch, self._config, self._offers, lambda name, n: self._context.count(name, n, hop=batch.next_hop), coming
        )
        try:
            await self._send(batch.next_hop, courier)
        except Exception as fault:  # the contract: a fault of ours is an outcome, and is logged
            self._context.log.exception("deliver failed", next_hop=batch.next_hop)
            courier.fault = Deferred(_FAULT.but(cause=f"{type(fault).__name__}: {fault}"), Scope.MESSAGE)
        finally:
            if coming is not None:
                coming.give_up(courier.fault)
        courier.finish()

    async def _send(self, next_hop: str, courier: Courier) -> None:
        pool = self._pool  # a reload may put another one in its place meanwhile
        if pool is None:
            raise RuntimeError("deliver before start")
        while courier.has_work:
            try:
                connection = await pool.acquire(next_hop)
            except HopFault as fault:
                courier.fault = fault.outcome
                self._note(next_hop, fault)
                return
            self._trouble.pop(next_hop, None)
            courier.use(connection)
            try:
                await connection.run(courier)
            finally:
                pool.release(connection)

    def _note(self, next_hop: str, fault: HopFault) -> None:
        status = fault.outcome.status
        if self._config.smart_host is not None and status.code.startswith("4.7."):
            self._trouble[next_hop] = str(status)
