"""What is done to parcels before they leave, and a Batch of those that are ready.

Signing is done in threads, some parcels at a time, while others are on the wire; each batch keeps its order. Without
these options none of this is in the way of a message.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from connectors.smtp.authentication.dns_lookup import DnsLookup
from connectors.smtp.authentication.lookup import Resolver
from connectors.smtp.border import stripped
from connectors.smtp.client_config import ClientConfig
from connectors.smtp.forwarding import Forwarding, Plan
from connectors.smtp.signing import USUAL, Names, signed
from connectors.smtp.signing_keys import KeyRing, KeyStore
from connectors.smtp.srs import srs_of
from gateway.contract import (
    Batch,
    Capabilities,
    Context,
    Deferred,
    Delivered,
    Note,
    Outcome,
    Parcel,
    Scope,
    Status,
)

_AT_ONCE: Final = 8
"""Parcels that are signed one after the other in one thread: few enough that the first ones leave soon."""
_DAY_S: Final = 86400
_LOOKUP_S: Final = 20.0

UNREAD: Final = Status("4.3.0", "the content cannot be read")
UNSIGNED: Final = Status("4.3.5", "the message could not be signed")


class Outward:
    """What a destination does to what leaves, under one set of options. `resolver` replaces DNS, for tests."""

    def __init__(
        self,
        config: ClientConfig,
        context: Context,
        *,
        name: str = "",
        former: Outward | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """`name` is the connector's. Read the keys, and take over the threads of the options before. Blocks.

        Raises: OSError, ValueError that names what is wrong and its mend.
        """
        self._strip = config.remove_headers
        self._clock = context.clock
        self._log = context.log
        self._count = context.count
        dkim, arc = config.dkim, config.arc
        self._names = USUAL if dkim is None else Names.of(dkim.headers, dkim.oversign)
        self._expire_s = None if dkim is None or dkim.expire_days is None else int(dkim.expire_days * _DAY_S)
        self._ring: KeyRing | None = None
        named: list[tuple[str, str]] = []
        if dkim is not None and dkim.default_domain is not None:
            named.append(("dkim.default_domain", dkim.default_domain))
        if arc is not None:
            named.append(("arc.domain", arc.domain))
        if dkim is not None or arc is not None:
            keys = dkim.keys if dkim is not None else (arc.keys if arc is not None else None) or "dkim"
            if arc is not None and arc.keys not in (None, keys):
                raise ValueError("dkim.keys and arc.keys name two folders: keep all keys in one")
            folder = context.base_dir / keys
            ring = None if former is None else former._ring
            if ring is not None and ring.folder == folder and all(ring.has(each) for _, each in named):
                self._ring = ring  # what was read of it stays, so that a reload holds up nothing
            else:
                self._ring = KeyRing(KeyStore(folder), context.clock)
                self._ring.load()
        if self._ring is not None and self._ring.is_empty:
            raise ValueError(f"{self._ring.folder} holds no key to sign by: make one with `gatepost dkim new DOMAIN`")
        for option, domain in named:
            if self._ring is not None and not self._ring.has(domain):
                raise ValueError(f"{option} {domain} has no key: make one with `gatepost dkim new {domain}`")
        self._loading: asyncio.Future[None] | None = None
        self._threads: ThreadPoolExecutor | None = None if former is None else former._threads
        if self._ring is not None and self._threads is None:
            count = min(4, os.cpu_count() or 1)
            self._threads = ThreadPoolExecutor(count, thread_name_prefix="signing")
        self._asks_dns = config.unsigned_from != "keep"
        if self._asks_dns and resolver is None:
            resolver = _Asking(DnsLookup(config.nameservers, config.nameserver_port))
        self._forwarding = Forwarding(
            config,
            (arc.authserv_id if arc is not None else None) or _server(config) or context.hostname,
            context.is_ours,
            context.clock,
            judge=name if getattr(config, "authentication", None) is not None else "",
            judges=() if arc is None else arc.judged_by,
            ring=self._ring,
            srs=srs_of(config.srs) if config.srs is not None else None,
            resolver=resolver,
        )

    def batch(self, batch: Batch) -> OutwardBatch:
        """Return a batch whose parcels are made ready, beginning now."""
        return OutwardBatch(batch, self.prepare)

    def close(self) -> None:
        """Let the threads end; what is being signed is not waited for."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def prepare(self, parcels: Sequence[Parcel]) -> list[tuple[Parcel, tuple[Note, ...], Outcome | None]]:
        """Return parcels as they leave, with what was done to them; one with an outcome does not leave."""
        if self._ring is not None and self._ring.is_due:
            await self._reload()
        if self._asks_dns:  # one that waits for an answer must not hold up those beside it
            plans = await asyncio.gather(*map(self._plan, parcels))
        else:
            plans = [await self._plan(parcel) for parcel in parcels]
        if self._threads is not None and any(plan.signing for plan in plans):
            loop = asyncio.get_running_loop()
            plans = await loop.run_in_executor(self._threads, self._sign, plans)
            for name, done in (
                ("messages_signed", sum(bool(plan.signing.keys) for plan in plans)),
                ("messages_sealed", sum(plan.signing.seal is not None for plan in plans)),
            ):
                if done:
                    self._count(name, done)
        return [(plan.parcel, plan.notes, plan.outcome) for plan in plans]

    async def _plan(self, parcel: Parcel) -> Plan:
        notes: tuple[Note, ...] = ()
        try:
            if self._strip:
                content, notes = await stripped(parcel.content, self._strip)
                if notes:
                    parcel = replace(parcel, content=content)
            plan = await self._forwarding.plan(parcel)
        except OSError as fault:
            return Plan(parcel, outcome=Deferred(UNREAD.but(cause=str(fault)), Scope.MESSAGE))
        except Exception as fault:  # noqa: BLE001  a message that trips it up must not hold up those beside it
            return self._tripped(parcel, fault)
        return replace(plan, notes=notes + plan.notes) if notes else plan

    def _sign(self, plans: list[Plan]) -> list[Plan]:
        """Sign in a thread, one parcel after the other."""
        now = int(self._clock())
        expires = None if self._expire_s is None else now + self._expire_s
        return [self._signed(plan, now, expires) if plan.signing else plan for plan in plans]

    def _signed(self, plan: Plan, now: int, expires: int | None) -> Plan:
        parcel = plan.parcel
        try:
            content = signed(parcel.content, plan.signing, self._names, now, expires)
        except OSError as fault:
            return replace(plan, outcome=Deferred(UNREAD.but(cause=str(fault)), Scope.MESSAGE))
        except Exception as fault:  # noqa: BLE001  as above
            return self._tripped(parcel, fault)
        return replace(plan, parcel=replace(parcel, content=content))

    def _tripped(self, parcel: Parcel, fault: Exception) -> Plan:
        self._log.error("not_signed", message_id=parcel.message_id, error=repr(fault), exc_info=fault)
        return Plan(parcel, outcome=Deferred(UNSIGNED.but(cause=repr(fault)), Scope.MESSAGE))

    async def _reload(self) -> None:
        """Read what has changed of the keys, once for all who wait; those in force stay where that fails."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
            self._loading.add_done_callback(self._loaded)
        await asyncio.shield(self._loading)

    def _load(self) -> None:
        assert self._ring is not None
        try:
            self._ring.load()
        except (OSError, ValueError) as fault:
            self._log.error("dkim_keys_unread", error=str(fault), text="those in force stay")

    def _loaded(self, _: asyncio.Future[None]) -> None:
        self._loading = None


def _server(config: ClientConfig) -> str:
    """Return the name under which the source of the same connector writes its results; empty where it has none."""
    authentication = getattr(config, "authentication", None)
    return "" if authentication is None else str(authentication.name)


class _Asking:
    """Questions to DNS with a bound each."""

    def __init__(self, lookup: DnsLookup) -> None:
        self._lookup = lookup

    def _questions(self) -> Resolver:
        return self._lookup.until(asyncio.get_running_loop().time() + _LOOKUP_S)

    async def txt(self, name: str) -> Sequence[bytes]:
        return await self._questions().txt(name)

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        return await self._questions().addresses(name, ipv6=ipv6)

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        return await self._questions().mx(name)

    async def ptr(self, name: str) -> Sequence[str]:
        return await self._questions().ptr(name)


Prepared = Sequence[tuple[Parcel, tuple[Note, ...], Outcome | None]]
Prepare = Callable[[Sequence[Parcel]], Awaitable[Prepared]]


class OutwardBatch:
    """A Batch whose parcels are made ready while others are sent; `more` gives those that are, in order."""

    def __init__(self, batch: Batch, prepare: Prepare) -> None:
        self._batch = batch
        self._prepare = prepare
        self._pending: deque[tuple[asyncio.Task[Any], Sequence[Parcel]]] = deque()
        self._notes: dict[int, tuple[Note, ...]] = {}
        """By message's id."""
        self._begin(batch.parcels)

    @property
    def next_hop(self) -> str:
        return self._batch.next_hop

    @property
    def parcels(self) -> Sequence[Parcel]:
        """None at first: all come by `more`."""
        return ()

    @property
    def is_preparing(self) -> bool:
        """Whether parcels come that `more` does not give yet."""
        return bool(self._pending)

    def _begin(self, parcels: Sequence[Parcel]) -> None:
        for at in range(0, len(parcels), _AT_ONCE):
            some = parcels[at : at + _AT_ONCE]
            self._pending.append((asyncio.ensure_future(self._prepare(some)), some))

    async def wait(self) -> None:
        """Wait until `more` gives something, or nothing comes any more."""
        if self._pending:
            await asyncio.wait((self._pending[0][0],))

    def more(self) -> Sequence[Parcel]:
        ready: list[Parcel] = []
        while self._pending and self._pending[0][0].done():
            task, parcels = self._pending.popleft()
            ready += self._taken(task, parcels)
        if not self._pending:
            # The next ones are made ready while these are sent.
            self._begin(self._batch.more())
        return ready

    def _taken(self, task: asyncio.Task[Any], parcels: Sequence[Parcel]) -> list[Parcel]:
        fault = None if task.cancelled() else task.exception()
        if task.cancelled() or fault is not None:
            self._settle_all(parcels, Deferred(UNSIGNED.but(cause=repr(fault)), Scope.MESSAGE))
            return []
        return self._kept(task.result())

    def _kept(self, prepared: Prepared) -> list[Parcel]:
        kept = []
        for parcel, notes, outcome in prepared:
            if outcome is not None:
                self._settle_all((parcel,), outcome)
                continue
            if notes:
                self._notes[parcel.message_id] = notes
            else:
                self._notes.pop(parcel.message_id, None)
            kept.append(parcel)
        return kept

    def settle(self, id: tuple[int, int], outcome: Outcome) -> None:
        notes = self._notes.get(id[0], ()) if self._notes else ()
        if notes and isinstance(outcome, Delivered):
            outcome = replace(outcome, notes=outcome.notes + notes)
        self._batch.settle(id, outcome)

    def _settle_all(self, parcels: Sequence[Parcel], outcome: Outcome) -> None:
        for parcel in parcels:
            for item in parcel.items:
                self._batch.settle(item.id, outcome)

    async def refit(self, parcel: Parcel, capabilities: Capabilities) -> Parcel | None:
        # A message is adapted as it came: what was done to it is to be done anew, and what was signed is another form.
        made = await self._batch.refit(parcel, capabilities)
        if made is None:
            return None
        kept = self._kept(await self._prepare((made,)))
        return kept[0] if kept else None

    def give_up(self, outcome: Outcome | None) -> None:
        """End what is being made ready; it gets this outcome where there is one."""
        while self._pending:
            task, parcels = self._pending.popleft()
            if task.done():
                parcels = self._taken(task, parcels)
            else:
                task.cancel()
            if outcome is not None:
                self._settle_all(parcels, outcome)
