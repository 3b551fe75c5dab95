"""A node: one worker process of the gateway, its parts put together, started, reloaded and stopped.

The order of a stop is a promise: sources take no new work and finish what they accept; lanes finish what is in
flight within a bound and give back the rest; connectors let go; the spool commits and closes. A reload replaces the
snapshot of table and routes as a whole, and touches only connectors whose own options changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from sqlalchemy.exc import SQLAlchemyError

from gateway import config as configuration
from gateway import dsn, learning, operate
from gateway.absent import ABSENT_HOP, Absent
from gateway.adapt.adapter import Adapter
from gateway.adapt.fitted import Fitted
from gateway.config import Config, ConfigErrors, ConnectorSection
from gateway.contract import Address, Capabilities, Context, MailRules
from gateway.control import ControlError, ask_all
from gateway.dispatch.backoff import Backoff
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.lane import Limits
from gateway.dispatch.lanebook import Hooks
from gateway.dispatch.settings import Settings
from gateway.faces import desk, faces
from gateway.hosting import Hosting
from gateway.ids import IdSource
from gateway.intake import Expansions, GatewayIntake, Refusals
from gateway.learner import Learner, traced
from gateway.limiter import Limiter
from gateway.log import configure, get_log, hide
from gateway.mapping import FollowedMapping, MappingDatabase
from gateway.moving import Mover
from gateway.person import person_of
from gateway.planned import EXPANDED, REFUSALS
from gateway.planner import Planner, PlannerSettings
from gateway.report import Report
from gateway.reports_again import send_again
from gateway.route import glob
from gateway.sources import Sources
from gateway.spool.api import Delivery, LeaseLost, SpoolError, SpoolUnusable, Stored, TraceEvent
from gateway.spool.durable import DurableSpool
from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from gateway.stall import StallWatch
from gateway.status import SPOOL_DOWN
from gateway.stored_report import with_report
from gateway.supervisor import Supervisor
from gateway.sync.child import WatchChild
from gateway.sync.figures import Figures
from gateway.upkeep import drop_parked
from mappings.checks import MappingError
from mappings.directory import Directory
from mappings.mail_rules import rules_of
from mappings.networks.smtp import domain_key
from mappings.table import Table

_SWITCH_INTERVAL_S: Final = 0.0005
"""The spool's writer and the event loop take turns on the interpreter; the default of 5 ms would make each commit
wait for the loop that long."""
_LOOK_S: Final = 5.0
_WARN_EVERY_S: Final = 300.0
_DROP_PARKED_EVERY_S: Final = 3600.0


class Node:
    """One worker's parts. `run` returns after `stop` was asked for and everything is put away."""

    def __init__(
        self, config: Config, worker: int = 0, clock: Callable[[], float] = time.time, *, workers: int | None = None
    ) -> None:
        """`workers`: how many there are, of which this is one; absent, as many as the configuration wants."""
        self.config = config
        self.worker = worker
        self.workers = workers or config.workers
        self.clock = clock
        self.log = get_log("node")
        self.hosting = Hosting(
            self._context_for,
            self.log,
            stop_s=lambda: self.config.gateway.stop_after,
            back=self._connector_back,
            reload=self.reload,
        )
        self.connectors = self.hosting.connectors
        self.destinations = self.hosting.destinations
        self.counters: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
        """Connectors' own counters: (connector, name, labels) -> value."""
        self.sync_figures = Figures(config, clock)
        self._watching = WatchChild(config, get_log("sync"))
        self._limiter = Limiter()
        self.started_at = clock()
        self.reloads = 0
        self.oldest_age_s = 0.0
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self.spool: DurableSpool
        self.mapping: FollowedMapping
        self.table: Table
        self.ids: IdSource
        self.planner: Planner
        self.dispatcher: Dispatcher
        self.intake: GatewayIntake
        self.learner: Learner
        self.mover: Mover
        self.sources: Sources
        self.stalls: StallWatch

    # -- life

    async def run(self) -> None:
        """Start, serve until `stop`, and put everything away in order.

        Raises: SpoolUnusable, SpoolError, OSError or ValueError where the start fails; nothing is left open then.
        """
        async with contextlib.AsyncExitStack() as stack:
            self.spool = await open_spool(
                self.config.spool_url, self.config.base_dir, self.worker, self.clock, spool_options(self.config)
            )
            stack.push_async_callback(self.spool.close)
            self.ids = IdSource(self.spool.node_number, self.clock)
            self.table = await self._open_mapping()
            stack.push_async_callback(self.mapping.close)
            await self._build()
            self.stalls = StallWatch(self.connectors, self.log)
            self.stalls.start()
            stack.callback(self.stalls.stop)
            stack.push_async_callback(self.learner.close)
            stack.push_async_callback(self.hosting.stop)
            stack.callback(self.sync_figures.close)
            await stack.enter_async_context(faces(self))
            for name in self.connectors:
                await self.hosting.start(name, first=True)
            if self.worker == 0:
                self.hosting.remember(self.config.state_dir)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            await self.mover.begin()
            await self._send_reports_again()
            dispatching = tasks.create_task(self.dispatcher.run(), name="dispatch")
            stack.push_async_callback(self.dispatcher.stop, self.config.gateway.stop_after)
            looking = tasks.create_task(self._look(), name="look")
            following = tasks.create_task(self.mapping.follow(self._mapping_changed), name="mapping")
            stack.callback(following.cancel)
            moving = tasks.create_task(self.mover.run(), name="moving")
            stack.callback(moving.cancel)
            if self.worker == 0:
                adopting = tasks.create_task(self._adopt(), name="adopt")
                stack.callback(adopting.cancel)
                watching = tasks.create_task(self._watching.run(), name="sync")
                stack.callback(watching.cancel)
            for name in self.connectors:
                await self._lead_on(name)
                self._start_source(name)
            self.log.info("started", name=self.config.gateway.name, connectors=sorted(self.connectors))
            await self._stop.wait()
            self.log.info("stopping")
            await self.sources.stop(within_s=self.config.gateway.stop_after + 1.0)
            looking.cancel()
            following.cancel()
            moving.cancel()
            await self.dispatcher.stop(self.config.gateway.stop_after)
            await dispatching
        self.log.info("stopped")

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stop.set()

    # -- the mapping

    async def _open_mapping(self) -> Table:
        """Open the stored mapping, take the configured files over where it is empty, and make the table.

        Raises: ValueError with every mistake; SpoolUnusable, SpoolError where the database cannot be used.
        """
        config = self.config
        if config.encapsulation is None:
            raise ValueError("the configuration was loaded without its mapping")
        self.mapping = FollowedMapping(
            MappingDatabase(config.spool_url, config.base_dir),
            config.state_dir,
            config.encapsulation.derived_key("tokens"),
            self.clock,
            get_log("mapping"),
        )
        try:
            directory = await self.mapping.open(lambda: configuration.load(config.path, isolate=True).identities)
            return config.compile(directory, version=1, tokens=self.mapping.tokens)
        except BaseException as fault:
            await self.mapping.close()
            if isinstance(fault, SQLAlchemyError):
                raise SpoolError(SPOOL_DOWN.but(cause=f"the mapping cannot be read: {fault}")) from fault
            raise

    def _mapping_changed(self, directory: Directory) -> None:
        """Put a new state of the mapping in force, whole; the old one stays where it does not fit the configuration."""
        try:
            table = self.config.compile(directory, version=self.table.version + 1, tokens=self.mapping.tokens)
        except MappingError as fault:
            self.log.error("mapping_refused", error=str(fault), text="the mapping in force stays")
            return
        self._put_in_force(table)
        self.log.info("mapping_changed", identities=len(table), version=table.version)

    def _put_in_force(self, table: Table) -> None:
        self.table = table
        self.planner = self._plan(self.config)
        self.intake.planner = self.planner
        self.mover.in_force(self.mapping.head, self.mapping.cutting)
        self.intake.learner = self.learner if self.config.mapping.learn else None

    # -- building

    async def _build(self) -> None:
        for section in self.config.connectors.values():
            self.hosting.add(section)
        self.planner = self._plan(self.config)
        self.dispatcher = Dispatcher(
            self.spool,
            self.destinations,
            self._adapt,
            self._make_report,
            clock=self.clock,
            rng=random.Random(),
            log=get_log("dispatch"),
            settings=dispatch_settings(self.config),
            hooks=Hooks(on_lease_lost=self._lease_lost, instead=self._instead),
            node=self.spool.node_number,
            disclosures=self.mapping,
        )
        self.spool.on_fenced(self.dispatcher.lose_lease)
        self.intake = GatewayIntake(self.spool, self.planner, self.dispatcher.hand_over)
        self.learner = Learner(
            self.spool, self.mapping, self._trace, lambda: self.planner, self.dispatcher.hand_over, self.clock
        )
        self.intake.learner = self.learner if self.config.mapping.learn else None
        self.mover = Mover(
            self.spool, self.mapping, self.dispatcher, lambda: self.planner, self.clock, get_log("moving")
        )
        self.mover.in_force(self.mapping.head, self.mapping.cutting)
        self.sources = Sources(self.intake, self.spool.hold_singleton, self.log)

    def _context_for(self, section: ConnectorSection) -> Context:
        name = section.name
        state = self.config.state_dir / name
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        context = Context(
            hostname=self.config.gateway.name,
            state_dir=state,
            base_dir=self.config.base_dir,
            log=get_log("connector", connector=name),
            clock=self.clock,
            stop_s=self.config.gateway.stop_after,
            worker=self.worker,
            workers=self.workers,
            count=self._counter(name),
            rules=self._rules,
            is_ours=lambda address: self.table.is_ours(address),
            person=lambda address: person_of(self.table, address, self.clock()),
        )
        if section.deprecation is not None:
            context.log.warning("contract_deprecated", text=section.deprecation)
        return context

    def _rules(self, address: Address) -> MailRules | None:
        """Return what the mapping in force says of somebody's mail. Raises: RuleMistake."""
        who = self.table.identity_of(address)
        return None if who is None else rules_of(who)

    def _counter(self, connector: str) -> Callable[..., None]:
        counters = self.counters

        def count(name: str, value: float = 1, **labels: str) -> None:
            key = (connector, name, tuple(sorted(labels.items())))
            if key in counters or len(counters) < 10_000:  # labels may hold a peer's words: bounded
                counters[key] = counters.get(key, 0) + value

        return count

    def _plan(self, config: Config) -> Planner:
        gateway, mapping = config.gateway, config.mapping
        settings = PlannerSettings(
            hostname=gateway.name,
            max_hops=gateway.max_hops,
            max_recipients=gateway.max_recipients,
            max_message_bytes=gateway.max_message_bytes,
            expire_after_s=gateway.expire_after,
            shared={domain_key(each.domain): each.systems for each in mapping.shared},
            secret=self.table.derived_key("trace"),
            tell_moved=mapping.tell_moved,
            learn=mapping.learn,
            paid_networks=frozenset(mapping.paid_networks),
            paid_senders=tuple(glob(pattern) for pattern in mapping.paid_senders),
        )
        self._limiter.per_hour = mapping.encapsulation.per_hour
        networks = self.hosting.networks()
        self.destinations[REFUSALS] = Refusals()
        self.destinations[EXPANDED] = Expansions()
        self.adapter = Adapter(networks, hostname=gateway.name)
        return Planner(
            settings, self.table, config.routes, self.destinations, networks, self.ids, self.clock, self._limiter,
            lambda lane, sender: self.dispatcher.waits(lane, sender),
        )  # fmt: skip

    def _adapt(self, message: Stored, deliveries: Sequence[Delivery], capabilities: Capabilities) -> Fitted:
        return self.adapter.adapt(message, deliveries, capabilities, self.planner.table)

    async def _instead(self, report: Report, about: Stored) -> Stored | None:
        return await self.learner.instead(report, about) if self.config.mapping.learn else None

    async def _trace(self, message_id: int) -> list[TraceEvent]:
        """Return the trace of a message that any worker took."""
        alone = self.config.spool_dir is None or self.workers == 1
        return await traced(message_id, self.spool.trace, None if alone else partial(ask_all, self.config.state_dir))

    def _make_report(self, report: Report, about: Stored) -> Stored | None:
        if learning.message_of(self.planner.envid_key, report.envid) is not None:
            report = replace(report, envid=None)  # the sender gave none; see `learning.envid`
        content = dsn.build(report, about, hostname=self.config.gateway.name, now=self.clock())
        source = about.envelope.origin.connector if self.planner.takes_reports(about.envelope) else ""
        if source:
            content = with_report(content, report)
        return self.planner.plan_report(report.reverse_path, content, source)

    async def _send_reports_again(self) -> None:
        """Send the reports on that wait for a connector which does not take them any more."""
        try:
            await send_again(
                self.spool, self.planner, self.destinations, self.clock(),
                hand_over=self.dispatcher.hand_over, forget=self.dispatcher.forget, log=self.log,
            )  # fmt: skip
        except (SpoolError, LeaseLost) as fault:
            self.log.warning("reports_wait", error=str(fault), text="they are looked at again at the next start")

    def _lease_lost(self) -> None:
        self.log.error("lease_lost", text="another node may have taken over; what was in memory is dropped")

    # -- connectors

    def _start_source(self, name: str) -> None:
        if self.hosting.is_at_work(name):
            self.sources.start(name, self.connectors[name])

    async def _connector_back(self, name: str) -> None:
        """Have a connector that was not at work do what waited for it."""
        self._put_in_force(self.table)  # what it carries may be known only now
        self.dispatcher.reconnect()
        with contextlib.suppress(SpoolError, LeaseLost):  # else at the deliveries' own times
            await operate.requeue(desk(self), {"where": {"connector": name}})
        self.sources.start(name, self.connectors[name])

    async def _lead_on(self, name: str) -> None:
        """Give what waited for a plugin that could not be asked for next hops the way that it says now."""
        if isinstance(self.connectors[name], Absent) or name not in self.destinations:
            return
        where = {"connector": name, "next_hop": ABSENT_HOP}
        try:
            while (await operate.reroute(desk(self), {"where": where, "to": name}))["changed"]:
                self.log.info("led_on", connector=name)
        except (SpoolError, LeaseLost, ControlError) as fault:
            self.log.error("not_led_on", connector=name, error=str(fault))

    # -- reload

    async def reload(self) -> None:
        """Read the configuration again and put it in force; keep the one in force where it has mistakes.

        Connectors whose options are unchanged are not touched: no connection is lost.
        """
        async with self._reloading:
            try:
                new = await asyncio.to_thread(configuration.load, self.config.path, identities=False, isolate=True)
                directory = self.mapping.directory
                table = new.compile(self.mapping.directory, version=self.table.version + 1, tokens=self.mapping.tokens)
            except (ConfigErrors, MappingError, OSError) as fault:
                self.log.error("reload_refused", error=str(fault))
                return
            hide(new.secrets)
            await self._replace_connectors(new, table)
            if self.mapping.directory is not directory:  # a change came in between, and the older table over it
                self._mapping_changed(self.mapping.directory)
            self.reloads += 1
            self.log.info("reloaded", version=self.table.version)

    async def _replace_connectors(self, new: Config, table: Table) -> None:
        old = self.config
        kept = {
            name
            for name, section in new.connectors.items()
            if name in old.connectors and (_same(old.connectors[name], section) or self._reconfigure(name, section))
        }
        gone = [name for name in old.connectors if name not in kept]
        fresh = [name for name in new.connectors if name not in kept]
        await self.sources.stop(gone, within_s=old.gateway.stop_after + 1.0)
        await self.hosting.stop(gone)
        self.config = new
        for name in fresh:
            self.hosting.add(new.connectors[name])
            await self.hosting.start(name, first=False)
        if self.worker == 0:
            self.hosting.remember(new.state_dir)
        self._put_in_force(table)
        self.sync_figures.put_in_force(new)
        self._watching.put_in_force(new)
        await self._send_reports_again()
        self.dispatcher.reconnect()
        for name in fresh:
            await self._lead_on(name)
            self._start_source(name)

    def _reconfigure(self, name: str, section: ConnectorSection) -> bool:
        connector = self.connectors[name]
        if type(connector) is not section.cls:
            return False
        if not self.hosting.is_at_work(name):
            return False
        try:
            return connector.reconfigure(section.config)
        except (OSError, ValueError) as fault:
            self.log.error("reload_refused", connector=name, error=str(fault), text="its former options stay in force")
            return True

    # -- watching

    async def _adopt(self) -> None:
        """Take over the spool files of workers that this configuration has no more."""
        try:
            adopted = await self.spool.adopt_orphans(range(self.workers))
        except (SpoolError, SpoolUnusable) as fault:
            self.log.error("adoption_failed", error=str(fault))
        else:
            if adopted:
                self.log.info("adopted", messages=adopted)

    async def _look(self) -> None:
        """Look now and then whether the spool still works, and whether the queue's age is worth a warning.

        Raises: RuntimeError where the spool has stopped for good; whoever started the process starts it anew.
        """
        warn_at = drop_at = 0.0
        while True:
            if (broken := self.spool.fault) is not None:
                raise RuntimeError(f"the spool has stopped: {broken}")
            try:
                stats = await self.spool.stats()
                oldest = stats.get("oldest_arrived_at", 0.0)
                self.oldest_age_s = max(0.0, self.clock() - oldest) if oldest else 0.0
                if self.oldest_age_s > self.config.gateway.age_alarm and self.clock() >= warn_at:
                    warn_at = self.clock() + _WARN_EVERY_S
                    self.log.warning(
                        "queue_old", oldest_age_s=round(self.oldest_age_s), alarm_s=self.config.gateway.age_alarm
                    )
                if stats.get("moving"):
                    self.mover.look()
                if stats.get("parked") and self.clock() >= drop_at:
                    drop_at = self.clock() + _DROP_PARKED_EVERY_S
                    await drop_parked(self.spool, self.clock(), self.config.gateway.parked_days, self.log)
            except SpoolError as fault:
                self.log.warning("spool_unavailable", error=str(fault))
            await asyncio.sleep(_LOOK_S)


def _same(one: ConnectorSection, other: ConnectorSection) -> bool:
    return one.cls is other.cls and one.config == other.config


def spool_options(config: Config) -> SpoolOptions:
    """Return the spool's part of the configuration."""
    gateway = config.gateway
    return replace(
        SpoolOptions(),
        min_free_bytes=gateway.min_free_bytes,
        keep_delivered_s=gateway.keep_delivered,
        keep_delivered_bytes=gateway.keep_delivered_bytes,
        trace_days=gateway.trace_days,
    )


def dispatch_settings(config: Config) -> Settings:
    """Return dispatch's part of the configuration."""
    gateway = config.gateway
    backoff = Backoff(least_s=gateway.retry_min, most_s=max(gateway.retry_min, gateway.retry_max))
    return replace(
        Settings(),
        retry=backoff,
        limits=Limits(window_limit=gateway.max_concurrency, backoff=backoff),
        delay_warning_s=gateway.delay_warning,
    )


def prepare_process() -> None:
    """Set what a worker process needs: turns of the interpreter, no search of what is loaded, many open files."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    # What was made until now lives as long as the process; of its 80,000 objects 60 are garbage, which is not worth
    # looking for. How seldom the others are walked is set where the process begins.
    gc.freeze()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def serve(node: Node) -> None:
    """Run a node with its signals: SIGTERM and SIGINT stop it, SIGHUP reloads."""
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(node.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await node.run()


def main(path: Path, *, worker: int | None = None, workers: int | None = None) -> None:
    """Run the gateway of this configuration until it is told to stop.

    With several workers this process starts one child per worker and watches over them; `worker` says which
    one of `workers` this process is. Raises: ConfigErrors, SpoolUnusable, SpoolError, OSError, ValueError.
    """
    config = configuration.load(path, identities=False, isolate=True)
    gateway = config.gateway
    workers = workers or config.workers
    several = workers > 1
    sink = configure(
        format=gateway.log_format,
        level=gateway.log_level,
        secrets=config.secrets,
        fields={"worker": worker or 0} if several else None,
    )
    try:
        prepare_process()
        if several and worker is None:
            uvloop.run(Supervisor(config, workers).run())
        else:
            uvloop.run(serve(Node(config, worker or 0, workers=workers)))
    finally:
        sink.close()
