"""The connector class: a broker's two sides, each with a client of its own, and their life."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar, Final

from connectors.mqtt.acceptance import Acceptance, Sides
from connectors.mqtt.calm import Calm
from connectors.mqtt.client import Client
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.destination import NO_RULE, MqttDestination, Rules
from connectors.mqtt.digests import Digests
from connectors.mqtt.journal import SqliteJournal
from connectors.mqtt.opening import client_settings, tls_context
from connectors.mqtt.outgoing import capabilities
from connectors.mqtt.presence import Presence
from connectors.mqtt.quarantine import Quarantine
from connectors.mqtt.replies import Replies, own_key
from connectors.mqtt.rulebook import InwardBook
from connectors.mqtt.rules import PublishRule
from connectors.mqtt.source import MqttSource
from connectors.mqtt.store import Store
from connectors.mqtt.subscriptions import subscriptions
from connectors.mqtt.topics import Pattern
from gateway.contract import (
    Address,
    Batch,
    Capabilities,
    Connector,
    ConnectorConfig,
    Context,
    Health,
    Intake,
)

THREADS: Final = 4
SWEEP_S: Final = 3600.0
ANSWERS: Final = "answers to "
NETWORKS: Final = ("mqtt", "smtp")
"""Topics are what is delivered to; addresses of internet mail are shown as they are."""
IN_PLACE: Final = frozenset({"publish", "auth_servers", "trusted_peers"})
"""Options that take effect without a new connection."""


class Lanes:
    """The lanes of what goes out: one a rule, since each carries what its payload can."""

    def __init__(self, config: MqttConfig) -> None:
        ways = [(Pattern(rule.topic), rule.topic, rule) for rule in config.publish]
        ways += [
            (Pattern(rule.topic), f"{ANSWERS}{rule.label}", rule.reply.as_rule())
            for rule in config.subscribe
            if rule.reply is not None
        ]
        self._ways = tuple((pattern, name) for pattern, name, _ in ways)
        self._other = config.brokers[0]
        self.carried = {name: _carried(rule) for _, name, rule in reversed(ways)}

    def of(self, topic: str) -> str:
        """Return the lane for a topic."""
        return next((name for pattern, name in self._ways if pattern.matches(topic)), self._other)


def _carried(rule: PublishRule) -> Capabilities:
    return replace(capabilities(rule), header_networks=NETWORKS)


class Mqtt(Connector):
    """Messages of an MQTT broker as mail, and mail as messages."""

    Config: ClassVar[type[ConnectorConfig]] = MqttConfig

    def __init__(self, name: str, config: MqttConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self.singleton = not config.share
        self.takes_reports = config.status is not None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"{name}-mqtt")
        self._lanes = Lanes(config)
        self._presence = Presence(config.will)
        self._in_trouble: str | None = None
        self._spool_trouble: str | None = None
        self._out_trouble: str | None = None
        self._destination: MqttDestination | None = None
        self._replies: Replies | None = None
        self._store: Store | None = None
        self._client: Client | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None

    # -- what is told

    @property
    def _is_out(self) -> bool:
        """Whether anything goes out."""
        config: MqttConfig = self.config
        return bool(config.publish or config.status or any(rule.reply for rule in config.subscribe))

    @property
    def _client_id(self) -> str:
        config: MqttConfig = self.config
        return config.client_id or f"{self.context.hostname}-{self.name}"

    @property
    def capabilities(self) -> Capabilities:
        """Return what all rules carry, where they agree; else what the lane of each rule says for itself."""
        config: MqttConfig = self.config
        found = {_carried(rule) for rule in config.publish}
        return found.pop() if len(found) == 1 else Capabilities(header_networks=NETWORKS, bare_newlines=True)

    def capabilities_for(self, next_hop: str) -> Capabilities:
        return self._lanes.carried.get(next_hop) or self.capabilities

    def next_hop(self, address: Address) -> str:
        return self._lanes.of(address.value)

    def health(self) -> Health:
        stores = [store.trouble for store in (self._store,) if store is not None]
        found = [text for text in (self._in_trouble, self._spool_trouble, self._out_trouble, *stores) if text]
        return Health(False, "; ".join(dict.fromkeys(found))) if found else Health(True)

    # -- life

    async def start(self) -> None:
        """Read keys and certificates, and begin to connect; a broker that is away is told by `health`.

        Raises: OSError or ValueError that names what is wrong.
        """
        config: MqttConfig = self.config
        state = self.context.state_dir
        self._tls = await asyncio.to_thread(tls_context, config, self.context.base_dir)
        given = config.reply_key
        key = given.encode() if given is not None else await asyncio.to_thread(own_key, state / "reply.key")
        hostname, clock = self.context.hostname, self.context.clock
        self._replies = replies = Replies(config.subscribe, key, state / "replies", hostname, clock)
        if replies:
            self._keep(self._sweep(replies))
        if self._is_out:
            await self._start_sending(replies)

    async def _start_sending(self, replies: Replies) -> None:
        config: MqttConfig = self.config
        context = self.context
        self._destination = MqttDestination(self.name, context, Rules(config, replies, context.clock), self._threads)
        self._store = await Store.open(context.state_dir / f"out-{context.worker}.db")
        client_id = f"{self._client_id}-out-{context.worker}"
        presence = None if config.subscribe else self._presence
        settings = client_settings(config, client_id, self._tls, will=None if presence is None else presence.will)
        self._client = Client(
            settings,
            log=context.log,
            journal=await SqliteJournal.open(self._store, client_id, context.clock),
            tell=self._teller(self._tell_out, presence),
            count=context.count,
        )
        if presence is not None:
            presence.client = self._client
        self._keep(self._client.run())

    async def stop(self) -> None:
        """End the connection of what goes out, within the bound."""
        if self._client is not None and self._presence.client is self._client:
            await self._presence.leave()
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self.context.stop_s * 0.5)
        if self._store is not None:
            store, self._store = self._store, None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.context.stop_s * 0.3):
                    await store.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def reconfigure(self, config: MqttConfig) -> bool:
        """Take rules to publish without a new connection; all else asks for one."""
        old: MqttConfig = self.config
        kept = old.model_copy(update={name: getattr(config, name) for name in IN_PLACE})
        if kept != config or self._replies is None or (config.publish and self._destination is None):
            return False
        if self._destination is not None:
            self._destination.rules = Rules(config, self._replies, self.context.clock)
        self.config = config
        self._lanes = Lanes(config)
        return True

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Own a task until `stop`; one that falls over is told, and by `health`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._out_trouble = f"a fault in the connector: {fault!r}; reload or restart it"
            self.context.log.error("a task has ended", cause=repr(fault), exc_info=fault)

    async def _sweep(self, replies: Replies) -> None:
        while True:
            await asyncio.get_running_loop().run_in_executor(self._threads, replies.sweep)
            await asyncio.sleep(SWEEP_S)

    # -- the two sides

    async def run(self, intake: Intake) -> None:
        try:
            await self._run(intake)
        finally:
            # What waits for a broker that is away would hold up the node's end, for which sources are stopped first.
            if self._client is not None:
                self._client.stop_waiting()

    async def _run(self, intake: Intake) -> None:
        config: MqttConfig = self.config
        if not config.subscribe:
            await asyncio.Event().wait()  # nothing comes in here; to be cancelled like any source
            return
        context = self.context
        suffix = f"-{context.worker}" if config.share else ""
        try:
            store = await Store.open(context.state_dir / f"in{suffix}.db")
        except OSError as e:
            self._in_trouble = str(e)
            raise
        try:
            await self._receive(intake, store, f"{self._client_id}{suffix}")
        finally:
            async with asyncio.timeout(context.stop_s):
                await store.close()

    async def _receive(self, intake: Intake, store: Store, client_id: str) -> None:
        config: MqttConfig = self.config
        context = self.context
        assert self._replies is not None, "run() comes after start()"
        journal = await SqliteJournal.open(store, client_id, context.clock)
        calms = {rule.label: rule.calm for rule in config.subscribe if rule.calm is not None}
        calm = await Calm.open(store, calms, context.clock)
        book = InwardBook(config.subscribe, context.hostname, context.clock)
        source = MqttSource(self.name, config, context, book)
        presence = self._presence if not config.share or context.worker == 0 else None
        client = Client(
            client_settings(config, client_id, self._tls, will=None if presence is None else presence.will),
            log=context.log,
            journal=journal,
            subscriptions=subscriptions(config.subscribe, config.share_group if config.share else None),
            on_message=source.arrived,
            tell=self._teller(self._tell_in, presence),
            count=context.count,
        )
        if presence is not None:
            presence.client = client
        digests = Digests(self.name, context, book, calm, intake)
        acceptance = Acceptance(
            self.name,
            config,
            context,
            Sides(intake, client, calm, journal),
            self._replies,
            self._quarantine(),
            self._threads,
            self._tell_spool,
        )
        try:
            await source.run(intake, client, acceptance, (client.run(), digests.run()), presence)
        finally:
            self._presence.client = None

    def _quarantine(self) -> Quarantine:
        config: MqttConfig = self.config
        folder = self.context.state_dir / "quarantine"
        if config.quarantine is not None:
            folder = self.context.base_dir / config.quarantine
        return Quarantine(folder, config.quarantine_files, config.quarantine_bytes)

    async def deliver(self, batch: Batch) -> None:
        if self._destination is None or self._client is None:
            for parcel in batch.parcels:
                for item in parcel.items:
                    batch.settle(item.id, NO_RULE)
            return
        client = self._client
        await self._destination.deliver(batch, client, lambda: client.trouble)

    # -- what is told

    def _teller(self, tell: Callable[[str | None], None], presence: Presence | None) -> Callable[[str | None], None]:
        def told(trouble: str | None) -> None:
            tell(trouble)
            if trouble is None and presence is not None:
                presence.arrive()

        return told

    def _tell_in(self, trouble: str | None) -> None:
        self._in_trouble = trouble

    def _tell_spool(self, trouble: str | None) -> None:
        self._spool_trouble = trouble

    def _tell_out(self, trouble: str | None) -> None:
        self._out_trouble = trouble
