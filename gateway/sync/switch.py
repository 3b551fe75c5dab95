"""Switch: what a mailbox's course does to its identity, as revisions of the mapping, and the nodes' word that each is
in force.

Promises: each change is one revision, whole, and made twice changes nothing the second time; what else an operator
changed of the identity meanwhile stays. Nothing here blocks the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from gateway.config import Config
from gateway.mapping import MappingDatabase
from gateway.mapping_desk.desk import Desk, DeskError, whoami
from gateway.spool.nodes import live_nodes, stopped_workers
from mappings import followers, store
from mappings.address import Address
from mappings.checks import mistakes_of
from mappings.identity import Held, Identity, Role, Stage

T = TypeVar("T")
_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Turn:
    """How an identity is switched: its homes and stages before and after, and the address that is shown from then on
    with the one that was before. All that is needed to do it, to see whether it is done, and to take it back."""

    identity: int
    home: str | None
    stage: str | None
    to: str
    address: str | None = None
    was: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @staticmethod
    def from_json(detail: Mapping[str, Any]) -> Turn:
        """Return it as `as_json` gave it."""
        return Turn(*(detail.get(name) for name in Turn.__slots__))  # type: ignore[arg-type]  # what was written


class Switch:
    """Raises, from all but `wait`: DeskError, with words for the operator."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        self._desk = Desk(config, clock)
        self._clock = clock
        self._database = MappingDatabase(config.spool_url, config.base_dir)
        self._who = whoami()

    def close(self) -> None:
        self._database.close()

    async def plan(self, which: str, to: str, address: str | None) -> tuple[Identity, Turn]:
        """Return an identity, by its number or an address, and how it is switched; refuse what could not be done."""

        def act() -> tuple[Identity, Turn]:
            shown = None if address is None else self._desk.address(address)
            with self._desk.changing(dry=True) as connection:
                who = self._desk.one(connection, which)
                was = None if shown is None else who.primary(shown.network)
                turn = Turn(
                    who.id,
                    who.home,
                    None if who.stage is None else who.stage.value,
                    to,
                    None if shown is None else str(shown),
                    None if was is None or was == shown else str(was),
                )
                _refuse(self._desk, who, to)
                after = self._switched(who, turn)
                network = self._desk.config.homes[to]
                if after.primary(network) is None:
                    raise DeskError(f"{who.name!r} has no address on {network}, which {to} takes; give them one first")
                if mistakes := mistakes_of(after, self._desk.config.homes):
                    raise DeskError(*mistakes)
                store.apply(connection, [store.Put(after)], who=self._who, why="to try it", at=self._clock())
                return who, turn

        return await asyncio.to_thread(act)

    async def identity(self, turn: Turn) -> Identity:
        """Return the identity as it is now."""
        return await self._changing(lambda connection: self._desk.one(connection, str(turn.identity)))

    async def hold(self, turn: Turn, why: str) -> int:
        """Have what comes for the mailbox kept; returns the revision with which it is."""
        return await self._put(turn, lambda who: replace(who, stage=Stage.CUTTING), why)

    async def switch(self, turn: Turn, why: str) -> int:
        """Have mail go to the new home, what was kept with it; returns the revision with which it does."""
        return await self._put(turn, lambda who: self._switched(who, turn), why)

    async def release(self, turn: Turn, why: str, stage: str | None) -> int:
        """Have mail go to where the mailbox is, what was kept with it, and put the identity at a stage."""
        return await self._put(turn, lambda who: replace(who, stage=None if stage is None else Stage(stage)), why)

    async def switch_back(self, turn: Turn, why: str) -> int:
        """Have mail go to the old home again, what was kept with it; returns the revision with which it does."""
        return await self._put(turn, lambda who: self._back(who, turn), why)

    @staticmethod
    def is_switched(who: Identity, turn: Turn) -> bool:
        """Tell whether `switch` was done, and not taken back."""
        return who.home == turn.to and who.stage is not Stage.CUTTING

    @staticmethod
    def is_back(who: Identity, turn: Turn) -> bool:
        """Tell whether `switch_back` was done."""
        return who.home == turn.home and who.stage is not Stage.CUTTING

    async def wait(self, revision: int, within_s: float) -> list[str]:
        """Wait until every node that lives has its queue in accord with a revision; returns those that said nothing in
        time, by names for people. Raises: SQLAlchemyError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while True:
            silent = await asyncio.to_thread(self._silent, revision)
            if not silent or loop.time() >= end:
                return silent
            await asyncio.sleep(_LOOK_S)

    async def stopped(self) -> list[str]:
        """Return the workers that do not run, whose queues nobody has looked at."""
        return await asyncio.to_thread(stopped_workers, self._database.folder)

    def _silent(self, revision: int) -> list[str]:
        with self._database.read() as connection:
            alive = live_nodes(connection, self._database.folder)
            said = followers.confirmed(connection, revision)
        return [name for node, name in alive.items() if node not in said]

    async def _put(self, turn: Turn, change: Callable[[Identity], Identity], why: str) -> int:
        def act(connection: Connection) -> int:
            who = self._desk.one(connection, str(turn.identity))
            changes = [store.Put(change(who))]
            return store.apply(connection, changes, who=self._who, why=why, at=self._clock())

        return await self._changing(act)

    async def _changing(self, work: Callable[[Connection], T]) -> T:
        def act() -> T:
            with self._desk.changing() as connection:
                return work(connection)

        return await asyncio.to_thread(act)

    def _switched(self, who: Identity, turn: Turn) -> Identity:
        who = replace(who, home=turn.to, stage=Stage.MOVED)
        if turn.address is None:
            return who
        return _shown(who, self._desk.address(turn.address), Role.FORMER)

    def _back(self, who: Identity, turn: Turn) -> Identity:
        who = replace(who, home=turn.home, stage=None if turn.stage is None else Stage(turn.stage))
        if turn.was is None:
            return who
        # What was shown for a while stays an address of theirs: somebody may have it by now.
        return _shown(who, self._desk.address(turn.was), Role.ALIAS)


def _refuse(desk: Desk, who: Identity, to: str) -> None:
    """Raises: DeskError."""
    if to not in desk.config.homes:
        known = ", ".join(sorted(desk.config.homes)) or "none"
        raise DeskError(f"there is no connector {to!r}; there are: {known}")
    if who.home == to:
        raise DeskError(f"{who.name!r} has its home at {to} already")
    if who.stage is Stage.CUTTING:
        raise DeskError(f"{who.name!r} is being cut over already; `gatepost map set {who.id} stage=` ends that")
    if who.copy_home == to:
        raise DeskError(
            f"{who.name!r} gets a copy of all mail at {to}, which would come twice beside the mailbox's own copies; "
            f"take that away first: `gatepost map set {who.id} copy_home=`"
        )


def _shown(who: Identity, address: Address, before: Role) -> Identity:
    """Return an identity that is shown under an address, and holds the one it was shown under as `before`."""
    rest = []
    for held in who.addresses:
        if held.address == address and held.since is held.until is None:
            continue
        is_primary = held.role is Role.PRIMARY and held.address.network == address.network
        rest.append(replace(held, role=before) if is_primary else held)
    return replace(who, addresses=(Held(address, Role.PRIMARY), *rest))
