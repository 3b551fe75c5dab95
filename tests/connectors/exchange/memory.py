"""An Exchange organisation in memory, for tests of what the connector makes of what it is told.

It keeps mailboxes, folders and items, and fails as a test wishes: before it did what was asked, after it, or in part.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from connectors.exchange.organisation import (
    Addressed,
    Delete,
    Fault,
    Finish,
    Made,
    Mark,
    Move,
    New,
    Page,
    Party,
    Person,
    Ref,
    Seen,
    Where,
)
from gateway.contract import Content, memo


@dataclass(eq=False)
class Held:
    """An item: `folder` is the id of one."""

    ref: Ref
    folder: str
    new: New
    octets: bytes
    to: tuple[str, ...] = ()


@dataclass
class Planned:
    """A fault: of the `nth` call of `operation` from now; `done`: it is done all the same, and nobody hears of it."""

    operation: str
    fault: Fault | Exception
    nth: int = 1
    done: bool = False
    mailbox: str | None = None
    times: int = 1


@dataclass
class MemoryOrganisation:
    """`asked` is every request in order; `refuse` says why an item of a create is refused."""

    people_by_name: dict[str, Person] = field(default_factory=dict)
    items: list[Held] = field(default_factory=list)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
    refuse: Callable[[str, New], Fault | None] = lambda mailbox, new: None
    refuse_to_send: Callable[[Held], Fault | None] = lambda held: None
    sent_to: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)
    routing: str = "SMTP"
    number: int = 0
    wait: asyncio.Event | None = None
    gone_folders: set[str] = field(default_factory=set)

    def plan(self, operation: str, fault: Fault | Exception, **more: Any) -> None:
        self.planned.append(Planned(operation, fault, **more))

    def asked_for(self, operation: str) -> list[tuple[str, Any]]:
        return [(mailbox, what) for each, mailbox, what in self.asked if each == operation]

    def inside(self, mailbox: str, folder: str = "inbox") -> list[Held]:
        return [held for held in self.items if held.ref.mailbox == mailbox and held.folder == f"{mailbox}/{folder}"]

    def move(self, held: Held, folder: str) -> None:
        """Do what a user does: the item gets another id too."""
        self.number += 1
        held.folder = f"{held.ref.mailbox}/{folder}"
        held.ref = replace(held.ref, id=f"i{self.number}")

    def _asked(self, operation: str, mailbox: str, what: Any) -> Planned | None:
        self.asked.append((operation, mailbox, what))
        for plan in self.planned:
            if plan.operation == operation and plan.mailbox in (None, mailbox):
                plan.nth -= 1
                if plan.nth <= 0:
                    plan.times -= 1
                    if plan.times <= 0:
                        self.planned.remove(plan)
                    if not plan.done:
                        raise plan.fault
                    return plan
        return None

    # -- the protocol

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    def trouble(self) -> str | None:
        return None

    async def folder(self, mailbox: str, where: Where, *, create: bool = False) -> str:
        self._asked("folder", mailbox, where)
        self.gone_folders.discard(_id(mailbox, where))
        return _id(mailbox, where)

    async def page(self, mailbox: str, folder: str, token: str | None, limit: int = 100) -> Page:
        self._asked("page", mailbox, folder)
        seen = tuple(
            Seen(held.ref, len(held.octets), "IPM.Note", None, held.new.received_at)
            for held in self.items
            if held.folder == folder
        )
        return Page(seen, (), (), "1", False)

    async def mime(self, refs: Sequence[Seen]) -> AsyncIterator[tuple[Ref, Content | Fault]]:
        for seen in refs:
            yield seen.ref, Content(next(held.octets for held in self.items if held.ref == seen.ref))

    async def addressed(self, refs: Sequence[Ref]) -> dict[Ref, Addressed | Fault]:
        self._asked("addressed", refs[0].mailbox, tuple(refs))
        found: dict[Ref, Addressed | Fault] = {}
        for ref in refs:
            held = next((held for held in self.items if held.ref == ref), None)
            if held is None:
                found[ref] = Fault("ErrorItemNotFound")
            else:
                names = [self._shown(address) for address in held.to]
                found[ref] = Addressed(None, to=tuple(names))
        return found

    def _shown(self, address: str) -> Party:
        person = self.people_by_name.get(address)
        if self.routing == "SMTP" or person is None or person.legacy_dn is None:
            return Party("", address.title())
        return Party(person.name, person.legacy_dn, "EX")

    async def create(self, mailbox: str, folder: str, items: Sequence[New]) -> list[Made | Fault]:
        plan = self._asked("create", mailbox, tuple(new.key for new in items))
        if self.wait is not None:
            await self.wait.wait()
        if folder in self.gone_folders:
            raise Fault("ErrorFolderNotFound")
        made: list[Made | Fault] = []
        for new in items:
            fault = self.refuse(mailbox, new)
            if fault is not None:
                made.append(fault)
                continue
            self.number += 1
            ref = Ref(mailbox, f"i{self.number}", "v")
            octets = b"".join(new.mime.chunks())
            self.items.append(Held(ref, folder, new, octets, _recipients(octets)))
            made.append(Made(ref))
        if plan is not None:
            raise plan.fault
        return made

    async def find(self, mailbox: str, folders: Sequence[Where], keys: Sequence[str]) -> dict[str, tuple[Ref, str]]:
        self._asked("find", mailbox, (tuple(folders), tuple(keys)))
        found: dict[str, tuple[Ref, str]] = {}
        for where in folders:
            for held in self.items:
                if held.folder == _id(mailbox, where) and held.new.key in keys:
                    found.setdefault(held.new.key, (held.ref, held.folder))
        return found

    async def send(self, ref: Ref, *, copy_to: Where) -> None:
        plan = self._asked("send", ref.mailbox, ref)
        held = next((held for held in self.items if held.ref == ref), None)
        if held is None:
            raise Fault("ErrorItemNotFound")
        fault = self.refuse_to_send(held)
        if fault is not None:
            raise fault
        self.sent_to.append((held.to, held.octets))
        self.move(held, "/".join(copy_to) if isinstance(copy_to, tuple) else copy_to)
        if plan is not None:
            raise plan.fault

    async def left_over(self, mailbox: str, before: float) -> list[Ref]:
        self._asked("left_over", mailbox, before)
        return [
            held.ref
            for held in self.inside(mailbox, "drafts")
            if held.new.key and (held.new.received_at or 0.0) < before
        ]

    async def finish(self, ref: Ref, how: Finish) -> None:
        self._asked("finish", ref.mailbox, (ref, how))
        match how:
            case Delete():
                self.items = [held for held in self.items if held.ref != ref]
            case Move() | Mark():
                raise AssertionError("a destination only deletes")

    async def watch(self, watched: Sequence[tuple[str, str]]) -> AsyncIterator[tuple[str, str]]:
        await asyncio.Event().wait()
        yield "", ""

    async def resolve(self, names: Sequence[str]) -> dict[str, Person | None]:
        self._asked("resolve", "", tuple(names))
        by_dn = {person.legacy_dn: person for person in self.people_by_name.values()}
        return {name: self.people_by_name.get(name) or by_dn.get(name) for name in names}

    async def people(self) -> AsyncIterator[Person]:
        for person in self.people_by_name.values():
            yield person


def _id(mailbox: str, where: Where) -> str:
    return f"{mailbox}/{'/'.join(where) if isinstance(where, tuple) else where}"


def _recipients(octets: bytes) -> tuple[str, ...]:
    found = memo(Content(octets))
    return tuple(
        box.address.value.lower() for name in (b"to", b"cc", b"bcc") for box in found.mailboxes(name, ("smtp",))
    )
