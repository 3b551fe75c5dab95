"""local: the last stop of a message: a mailbox of this machine, or a program, as each person's rules say.

Promises: Delivered once the message is in every place that the rules name, durably; what an earlier attempt put is
found again and put no second time, but for a program, which may get a message again where the gateway died meanwhile;
a program is the last to get it. An answer of somebody who is away follows the delivery, and its failure never touches
it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar, cast

from connectors.folders.local import program as programs
from connectors.folders.local import vacation
from connectors.folders.local.answered import Answered
from connectors.folders.local.boxes import NO_MAILBOX, Boxes, Letter, Unreadable
from connectors.folders.local.config import LocalConfig
from connectors.folders.local.fields import comes_round, delivered
from connectors.folders.local.places import Mailbox, mailbox_of, path_of
from gateway.contract import (
    Address,
    Batch,
    Capabilities,
    Connector,
    ConnectorConfig,
    Content,
    Context,
    Deferred,
    Delivered,
    Envelope,
    Failed,
    Health,
    Intake,
    Item,
    MailRules,
    MailTarget,
    Message,
    Note,
    Notify,
    Origin,
    Outcome,
    Parcel,
    Recipient,
    Rejected,
    RuleMistake,
    Scope,
    Status,
    Unavailable,
    id_text,
)
from gateway.formats.from_line import write
from gateway.formats.lines import to_lf
from gateway.formats.maildir import folder_name
from gateway.formats.mbox import Dialect
from gateway.mailbox_post import stem_of

_T = TypeVar("_T")
HOP: Final = "mailboxes"
WRITERS: Final = 8
"""Threads that write: a disk syncs many files at once faster than one after the other."""
GROUP: Final = 64
PLACED: Final = Delivered(Status("2.1.5", "put into the mailbox"))
_LOOP: Final = Failed(Status("5.4.6", "mail loop: the message was delivered to this address before"))
_NO_INTAKE_S: Final = 5.0


@dataclass(slots=True)
class _Job:
    """One recipient of a parcel on its way through the places that its rules name; `places` are those that are left."""

    parcel: Parcel
    item: Item
    mailbox: Mailbox
    rules: MailRules | None
    places: list[MailTarget]
    content: Content
    notes: tuple[Note, ...]

    @property
    def stem(self) -> str:
        return stem_of(self.parcel.arrived_at, *self.item.id)


class Local(Connector):
    """Mailboxes and programs of this machine."""

    Config: ClassVar[type[ConnectorConfig]] = LocalConfig

    def __init__(self, name: str, config: LocalConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self._boxes = Boxes(config, context.base_dir, context.hostname)
        self._places = tuple(_place(text) for text in config.deliver)
        self._answered = Answered(context.state_dir / "answered.sqlite")
        self._executor: ThreadPoolExecutor | None = None
        self._programs: ThreadPoolExecutor | None = None
        self._intake: asyncio.Future[Intake] | None = None
        self._trouble: str | None = None

    @property
    def capabilities(self) -> Capabilities:
        config = cast(LocalConfig, self.config)
        return Capabilities(eight_bit=config.format != "mbox" or config.dialect is not Dialect.RFC4155)

    def health(self) -> Health:
        return Health(self._trouble is None, self._trouble or "ok")

    def cannot(self, rules: MailRules) -> Sequence[str]:
        return [why for place in rules.deliver if (why := self._unfit(place)) is not None]

    async def start(self) -> None:
        """Look whether the mailboxes' folder and the programs are there. Raises: OSError that names what is not."""
        config = cast(LocalConfig, self.config)
        await asyncio.to_thread(self._boxes.check)
        await asyncio.to_thread(programs.check, config.programs)
        self._executor = ThreadPoolExecutor(WRITERS, thread_name_prefix=f"local-{self.name}")
        self._programs = ThreadPoolExecutor(config.max_programs, thread_name_prefix=f"program-{self.name}")
        self._intake = asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        executors = (self._executor, self._programs)
        self._executor = self._programs = None
        for executor in executors:
            if executor is not None:
                executor.shutdown(wait=False, cancel_futures=True)

    async def run(self, intake: Intake) -> None:
        """Lend the intake to the answers of those who are away, which is all that comes in here."""
        assert self._intake is not None
        if self._intake.done():
            self._intake = asyncio.get_running_loop().create_future()
        self._intake.set_result(intake)
        await asyncio.get_running_loop().create_future()

    def next_hop(self, address: Address) -> str:
        return HOP

    async def deliver(self, batch: Batch) -> None:
        """Put every parcel of the batch, and what waits behind it, a group at a time."""
        parcels: Sequence[Parcel] = batch.parcels
        running: set[asyncio.Task[None]] = set()
        try:
            while parcels:
                items = [(parcel, item) for parcel in parcels for item in parcel.items]
                for at in range(0, len(items), GROUP):
                    running |= await self._deliver_group(batch, items[at : at + GROUP])
                    running = {task for task in running if not task.done()}
                parcels = batch.more()
            if running:
                await asyncio.wait(running)
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running, timeout=self.context.stop_s)

    async def _deliver_group(self, batch: Batch, items: Sequence[tuple[Parcel, Item]]) -> set[asyncio.Task[None]]:
        """Put messages into mailboxes and settle them; return what is left to do: programs, and answers."""
        jobs: list[_Job] = []
        for found in await self._in_thread(lambda: [self._job(parcel, item) for parcel, item in items]):
            if isinstance(found, _Job):
                jobs.append(found)
            else:
                batch.settle(*found)
        groups: dict[tuple[Mailbox, str], list[_Job]] = {}
        for job in jobs:
            for place in job.places:
                if place.kind != "program":
                    groups.setdefault((job.mailbox, place.name), []).append(job)
        outcomes: dict[tuple[int, int], Outcome] = {}
        work = list(groups.items())
        shares = [work[n::WRITERS] for n in range(min(WRITERS, len(work)))]
        for put in await asyncio.gather(*(self._in_thread(self._putting(share)) for share in shares)):
            for id, outcome in put:
                if not isinstance(outcomes.get(id), Deferred | Failed):
                    outcomes[id] = outcome
        self._tell(outcomes)
        tasks = set()
        for job in jobs:
            outcome = outcomes.get(job.item.id, PLACED)
            if isinstance(outcome, Delivered):
                if any(place.kind == "program" for place in job.places):
                    tasks.add(asyncio.create_task(self._finish(batch, job), name=f"program {job.stem}"))
                    continue
                outcome = Delivered(outcome.status, notes=job.notes) if job.notes else outcome
                if job.rules is not None and job.rules.vacation is not None:
                    await self._answer(job)
            batch.settle(job.item.id, outcome)
        return tasks

    def _job(self, parcel: Parcel, item: Item) -> _Job | tuple[tuple[int, int], Outcome]:
        """Say what is to be done for a recipient, or what becomes of it where nothing can be. Blocks."""
        config = cast(LocalConfig, self.config)
        try:
            rules = self.context.rules(item.address)
        except RuleMistake as mistake:
            text = "the rules of this mailbox cannot be read; tell the postmaster"
            return item.id, Deferred(Status("4.3.5", text, cause=str(mistake)))
        mailbox = mailbox_of(item.address, config.subaddress, "" if rules is None else rules.mailbox)
        if mailbox is None:
            return item.id, NO_MAILBOX
        places = list((rules.deliver if rules is not None else ()) or self._places)
        for place in places:
            if (why := self._unfit(place)) is not None:
                # A rule that somebody has to mend keeps the mail, whatever it asks for.
                return item.id, Deferred(Status("4.3.5", why, cause=f"{place.kind}:{place.name}"))
        try:
            lacking = self._lacking(parcel.content)
            if lacking:
                # The core fits every content to what is declared; what is not fitted is not written all the same.
                return item.id, Failed(Status("5.6.3", f"a mailbox of this kind holds no {lacking}"))
            if comes_round(parcel.content, item.address):
                return item.id, _LOOP
            content, notes = delivered(
                parcel.content,
                parcel.envelope.reverse_path,
                item.address,
                item.original,
                is_file=config.format != "maildir",
            )
        except OSError as fault:
            return item.id, _unreadable(fault.strerror or str(fault))
        return _Job(parcel, item, mailbox, rules, places, content, notes)

    def _unfit(self, place: MailTarget) -> str | None:
        """Return why a rule asks for what cannot be, None where it does not."""
        config = cast(LocalConfig, self.config)
        if place.kind == "program" and place.name not in config.programs:
            return "a rule names a program that is not configured"
        if place.kind != "folder":
            return None
        if config.format != "maildir":
            return None if config.folders else "a rule names a folder, and no place for folders is configured"
        try:
            folder_name(place.name.split("/"))
        except ValueError as mistake:
            return f"a rule names a folder that cannot be: {mistake}"
        return None

    def _lacking(self, content: Content) -> str:
        traits = content.traits
        if not traits.crlf_only:
            return "line ends other than CRLF"
        return "octets over 127" if traits.eight_bit and not self.capabilities.eight_bit else ""

    def _putting(
        self, share: Sequence[tuple[tuple[Mailbox, str], list[_Job]]]
    ) -> Callable[[], list[tuple[tuple[int, int], Outcome]]]:
        """Return what puts messages into some mailboxes, one after the other."""

        def put() -> list[tuple[tuple[int, int], Outcome]]:
            found: list[tuple[tuple[int, int], Outcome]] = []
            for (mailbox, folder), jobs in share:
                try:
                    outcomes = self._boxes.put(mailbox, folder, [_letter(job) for job in jobs])
                except Unreadable as fault:
                    outcomes = [_unreadable(str(fault))] * len(jobs)
                except Exception as fault:  # noqa: BLE001 - an unknown fault is a deferral, never a bounce
                    outcomes = [_unreadable(repr(fault))] * len(jobs)
                found += [
                    (job.item.id, PLACED if outcome is None else outcome)
                    for job, outcome in zip(jobs, outcomes, strict=True)
                ]
            return found

        return put

    async def _finish(self, batch: Batch, job: _Job) -> None:
        """Give a message to the program that its rules name, answer for who is away, and settle."""
        config = cast(LocalConfig, self.config)
        name = next(place.name for place in job.places if place.kind == "program")
        program, envelope = config.programs[name], job.parcel.envelope
        home = path_of(config.path, job.mailbox, self.context.base_dir)
        call = programs.Call(job.mailbox, home, envelope.reverse_path, job.item.address, job.item.original)

        def message() -> Iterator[bytes]:
            if program.from_line:
                sender = envelope.reverse_path
                yield write(None if sender is None else sender.value, job.parcel.arrived_at)
            yield from (piece for piece in to_lf(job.content.chunks()) if piece)

        stopped = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(
            self._programs, lambda: programs.run(name, program, call, message(), stopped.is_set)
        )
        try:
            outcome: Outcome = await asyncio.shield(work)
        except asyncio.CancelledError:
            stopped.set()
            await asyncio.wait((work,), timeout=self.context.stop_s / 2)
            raise
        except Exception as fault:  # noqa: BLE001 - an unknown fault is a deferral, never a bounce
            outcome = _unreadable(repr(fault))
        if isinstance(outcome, Deferred | Failed):
            self.context.log.warning("program", program=name, mailbox=job.mailbox.name, status=str(outcome.status))
        elif job.rules is not None and job.rules.vacation is not None:
            await self._answer(job)
        batch.settle(job.item.id, outcome)

    async def _answer(self, job: _Job) -> None:
        """Tell the sender that somebody is away, where they are to be told; a courtesy, whose failure is logged."""
        try:
            await self._tell_sender(job)
        except Exception as fault:
            # The message is where it belongs, whatever becomes of its answer.
            self.context.log.error("answer_fault", mailbox=job.mailbox.name, error=repr(fault), exc_info=fault)

    async def _tell_sender(self, job: _Job) -> None:
        config, rules, item = cast(LocalConfig, self.config), job.rules, job.item
        assert rules is not None
        assert rules.vacation is not None
        sender, now = job.parcel.envelope.reverse_path, self.context.clock()
        reason = await self._in_thread(
            lambda: vacation.why_not(job.parcel.content, sender, rules, (item.address, item.original), now)
        )
        if reason is not None or sender is None:
            return
        delivery = f"{id_text(item.id[0])}-{item.id[1]}"
        days = rules.vacation.days or config.vacation_days
        try:
            if not await self._in_thread(
                lambda: self._answered.take(job.mailbox.name, sender.key, delivery, now, days)
            ):
                return
        except (sqlite3.Error, OSError) as fault:
            self.context.log.error(
                "answers_not_known", error=str(fault), text="nobody is told; mend the state's folder"
            )
            return
        own = next((each for each in rules.addresses if each.network == "smtp"), item.address)
        id = f"{delivery}.away@{self.context.hostname}"
        try:
            content = vacation.answer(job.parcel.content, sender, rules, rules.vacation, own, now, id)
        except Exception:
            await self._in_thread(lambda: self._answered.give_back(job.mailbox.name, sender.key, delivery))
            raise
        envelope = Envelope(
            reverse_path=None,
            recipients=(Recipient(sender, Notify.NEVER),),
            origin=Origin(connector=self.name, protocol="local", trusted=True),
            smtputf8=not (sender.value.isascii() and own.value.isascii()),
            dedupe_key=f"{self.name} away {delivery}",
        )
        try:
            intake = await _within(self._intake, _NO_INTAKE_S)
            await intake.accept(Message(envelope, content))
        except (Rejected, Unavailable, TimeoutError) as fault:
            self.context.log.warning("answer_not_sent", mailbox=job.mailbox.name, reason=str(fault))
            await self._in_thread(lambda: self._answered.give_back(job.mailbox.name, sender.key, delivery))

    def _tell(self, outcomes: dict[tuple[int, int], Outcome]) -> None:
        """Remember what is wrong with the whole store, for health; nothing where something was put."""
        for outcome in outcomes.values():
            if isinstance(outcome, Delivered):
                self._trouble = None
            elif isinstance(outcome, Deferred):
                self.context.log.warning("not_delivered", status=str(outcome.status), cause=outcome.status.cause)
                if outcome.scope is Scope.HOP:
                    self._trouble = f"{outcome.status} ({outcome.status.cause})"

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _place(text: str) -> MailTarget:
    kind, _, name = text.partition(":")
    return MailTarget("program" if kind == "program" else "mailbox", name)


def _letter(job: _Job) -> Letter:
    sender = job.parcel.envelope.reverse_path
    return Letter(
        job.stem, job.content, None if sender is None else sender.value, job.parcel.arrived_at, job.item.fresh
    )


def _unreadable(cause: str) -> Deferred:
    return Deferred(Status("4.3.5", "the message cannot be read now", cause=cause), Scope.MESSAGE)


async def _within(future: Awaitable[_T] | None, seconds: float) -> _T:
    """Raises: TimeoutError."""
    if future is None:
        raise TimeoutError("the connector is not started")
    async with asyncio.timeout(seconds):
        return await asyncio.shield(future)


__all__ = ["Local"]
