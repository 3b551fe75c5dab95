"""What the tests of the sending side share: parcels, a batch that records outcomes, a context."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from connectors.smtp.client_config import ClientConfig
from connectors.smtp.destination import SmtpDestination
from connectors.smtp.mx import Absent, Family, LookupFault, Resolver
from gateway.contract import Address, Capabilities, Content, Context, Envelope, Item, Notify, Origin, Outcome, Parcel
from gateway.log import get_log
from gateway.testing.peers import refitted

BODY = b"From: a@x.example\r\nTo: b@y.example\r\nSubject: t\r\n\r\nhello\r\n.dot\r\n"


def address(text: str, network: str = "smtp") -> Address:
    return Address(network, text, text.lower())


def parcel(
    n: int = 1,
    to: str | Sequence[str] = "b@y.example",
    *,
    sender: str | None = "a@x.example",
    content: bytes | Content = BODY,
    **envelope: Any,
) -> Parcel:
    """Return message `n` for these recipients; its item ids are (n, 0), (n, 1), …"""
    names = [to] if isinstance(to, str) else to
    items = tuple(Item((n, i), address(name), address(name)) for i, name in enumerate(names))
    path = None if sender is None else address(sender)
    made = content if isinstance(content, Content) else Content(content)
    return Parcel(n, Envelope(path, (), Origin("test"), **envelope), made, items, 0.0)


def item(to: str, *, notify: Notify = Notify.UNSET, orcpt: str | None = None, original: str | None = None) -> Item:
    return Item((1, 0), address(to), address(original or to), notify, orcpt)


class RecordingBatch:
    """A Batch over some parcels; `later` come by `more`, a list a call. A second outcome for one id is an error."""

    def __init__(
        self, parcels: Iterable[Parcel], later: Iterable[Sequence[Parcel]] = (), next_hop: str = "y.example"
    ) -> None:
        self.parcels = list(parcels)
        self.next_hop = next_hop
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self.refits = 0
        self._later = iter(later)

    def settle(self, id: tuple[int, int], outcome: Outcome) -> None:
        assert id not in self.outcomes, f"{id} settled twice: {self.outcomes[id]}, {outcome}"
        self.outcomes[id] = outcome

    def more(self) -> Sequence[Parcel]:
        return next(self._later, ())

    async def refit(self, parcel: Parcel, capabilities: Capabilities) -> Parcel | None:
        self.refits += 1
        # As the gateway does it: of the message as it came, not as a destination has changed it since.
        stored = next((each for each in self.parcels if each.message_id == parcel.message_id), parcel)
        parcel = replace(stored, items=parcel.items)
        made, refused = await asyncio.to_thread(refitted, parcel, capabilities)
        for id, outcome in refused:
            self.settle(id, outcome)
        return made

    def codes(self) -> list[str]:
        """Return `Outcome 5.1.1` per item, in the order of ids; with the scope of a deferral."""
        return [word(self.outcomes[id]) for id in sorted(self.outcomes)]


def word(outcome: Outcome) -> str:
    scope = getattr(outcome, "scope", None)
    kind = type(outcome).__name__.lower()
    return f"{kind} {outcome.status.code}" + (f" {scope.value}" if scope else "")


@dataclass
class Counts:
    """Counters as a Context's `count` adds to them."""

    values: dict[str, float] = field(default_factory=dict)

    def __call__(self, name: str, value: float = 1, **labels: str) -> None:
        self.values[name] = self.values.get(name, 0) + value


def context(counts: Counts | None = None, base: Path = Path("/")) -> Context:
    return Context(
        hostname="gw.test",
        state_dir=base,
        base_dir=base,
        log=get_log("smtp"),
        clock=time.time,
        stop_s=4.0,
        count=counts or Counts(),
    )


def config(smart_port: int | None = None, /, **options: Any) -> ClientConfig:
    """Return a configuration, with a smart host on loopback where its port is given, and short time-outs."""
    base: dict[str, Any] = {} if smart_port is None else {"smart_host": f"127.0.0.1:{smart_port}"}
    short = dict.fromkeys(
        ("connect_timeout_s", "greeting_timeout_s", "command_timeout_s", "data_timeout_s", "dot_timeout_s"), 5.0
    )
    return ClientConfig(**(base | short | options))


async def deliver(
    batch: RecordingBatch, settings: ClientConfig, *, resolver: Resolver | None = None, counts: Counts | None = None
) -> None:
    """Deliver one batch with a destination of its own."""
    destination = SmtpDestination("out", settings, context(counts), resolver=resolver)
    await destination.start()
    try:
        async with asyncio.timeout(20):
            await destination.deliver(batch)
    finally:
        await destination.stop()


class FakeDns:
    """A Resolver over two dicts; an absent name is NXDOMAIN, None is no answer at all."""

    def __init__(
        self,
        mx: Mapping[str, Sequence[tuple[int, str]] | None] | None = None,
        hosts: Mapping[str, Sequence[str] | None] | None = None,
    ) -> None:
        self._mx = mx or {}
        self._hosts = hosts or {}
        self.asked: list[str] = []

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        self.asked.append(domain)
        if domain in self._mx:
            records = self._mx[domain]
            if records is None:
                raise LookupFault("SERVFAIL")
            return records
        raise Absent(domain_exists=domain in self._hosts)

    async def addresses(self, host: str, family: Family) -> Sequence[str]:
        if host not in self._hosts:
            raise Absent(domain_exists=False)
        known = self._hosts[host]
        if known is None:
            raise LookupFault("time-out")
        fit = [text for text in known if (":" in text) == (family == "ipv6")]
        if not fit:
            raise Absent(domain_exists=True)
        return fit
