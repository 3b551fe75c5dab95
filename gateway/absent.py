"""What stands for a connector that cannot be at work: its plugin cannot be imported, or it did not start.

Promises: mail for it is taken, kept and tried again; nothing of the plugin is called but what is pure; the lane says
what is wrong, where an operator looks.
Known limit: an absent plugin cannot be asked for next hops, so that its mail waits in a lane of the name `ABSENT_HOP`,
and is led on when the plugin is there again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from gateway.contract import (
    Address,
    Batch,
    Capabilities,
    Connector,
    ConnectorConfig,
    Deferred,
    Destination,
    Health,
    Holds,
    OpenMailbox,
    Outcome,
    Scope,
    Status,
    StoreFault,
)
from mappings.network import NetworkError, registry

ABSENT_HOP: Final = "(not loaded)"
REMEMBERED: Final = "connectors.json"
RETRY_S: Final = 30.0
_NOT_AT_WORK: Final = Status("4.3.5", "the connector for this destination is not at work")
_MOST_OCTETS: Final = 1024 * 1024


def deferral(reason: str) -> Outcome:
    """Return the outcome of whatever is sent by a connector that is not at work."""
    return Deferred(_NOT_AT_WORK.but(cause=reason), Scope.HOP, RETRY_S)


def defer_all(batch: Batch, reason: str) -> None:
    """Settle everything in a batch as deferred."""
    outcome = deferral(reason)
    for parcel in batch.parcels:
        for item in parcel.items:
            batch.settle(item.id, outcome)


class AbsentConfig(ConnectorConfig):
    """What is known of an absent connector; nobody writes it."""

    reason: str
    networks: tuple[str, ...]


class Absent(Connector):
    """Stands for a connector whose plugin cannot be used, in everything that names it."""

    Config: ClassVar[type[ConnectorConfig]] = AbsentConfig

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(header_networks=self.config.networks)

    def health(self) -> Health:
        return Health(False, self.config.reason)

    def next_hop(self, address: Address) -> str:
        return ABSENT_HOP

    async def deliver(self, batch: Batch) -> None:
        defer_all(batch, self.config.reason)

    def holds(self) -> Holds:
        return Holds(frozenset(), False, False, False, False, False)

    def open(self, mailbox: str) -> AbstractAsyncContextManager[OpenMailbox]:
        raise StoreFault(_NOT_AT_WORK.but(cause=self.config.reason), Scope.HOP, RETRY_S)


@dataclass(slots=True)
class NotStarted:
    """Stands as the destination of a connector that did not start; it says where mail goes, and sends none."""

    connector: Connector
    reason: str

    @property
    def takes_reports(self) -> bool:
        return self.connector.takes_reports

    @property
    def capabilities(self) -> Capabilities:
        return self.connector.capabilities

    def capabilities_for(self, next_hop: str) -> Capabilities:
        return self.connector.capabilities

    def next_hop(self, address: Address) -> str:
        assert isinstance(self.connector, Destination)
        return self.connector.next_hop(address)

    async def deliver(self, batch: Batch) -> None:
        defer_all(batch, self.reason)


def networks_of(kind: str, name: str, state: Path | None) -> tuple[str, ...]:
    """Return the networks whose addresses an absent connector of a type takes.

    As it said itself when it was last there; else the network of the type's own name; else the internet's.
    """
    if state is not None:
        known = remembered(state).get(name)
        if known is not None and known["type"] == kind:
            return tuple(known["networks"])
    try:
        return (kind,) if registry().is_installed(kind) else ("smtp",)
    except NetworkError:
        return ("smtp",)


def remembered(state: Path) -> dict[str, dict[str, Any]]:
    """Return by name the type and the networks of connectors that were at work; empty where nothing can be read."""
    try:
        with (state / REMEMBERED).open("rb") as file:
            found = json.loads(file.read(_MOST_OCTETS))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: each for name, each in found.items() if _is_sound(each)}


def _is_sound(each: Any) -> bool:
    return (
        isinstance(each, dict)
        and isinstance(each.get("type"), str)
        and isinstance(networks := each.get("networks"), list)
        and bool(networks)
        and all(isinstance(network, str) for network in networks)
    )


def remember(state: Path, found: Mapping[str, tuple[str, tuple[str, ...]]]) -> None:
    """Keep type and networks of the connectors that are at work, beside what is kept of others. Raises: OSError."""
    before = remembered(state)
    after = {**before, **{name: {"type": kind, "networks": list(nets)} for name, (kind, nets) in found.items()}}
    if after == before:
        return
    written = state / f".{REMEMBERED}.{os.getpid()}"
    written.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")
    written.rename(state / REMEMBERED)
