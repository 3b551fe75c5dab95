"""The writer: one thread that owns the database connection, and group commit.

It takes everything that waits, does it in one transaction with one fsync, and then tells all callers by one call
into the event loop. While a commit waits for the disk, the next group gathers. Outcomes alone wait up to
`settle_delay_s` for company, since nobody's peer waits for them; accepts wait until none has come for `accept_gap_s`,
and only where others came at the same time: clients that go in step, as all do that a commit has answered together,
stay in step that way, however long it takes until each of their messages is accepted. They wait in the loop: a thread
that is woken for each of them takes turns on the interpreter with the loop so often that both lose a third of their
time.

An item that the database refuses fails alone: its group is rolled back and done again one by one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from queue import Empty, SimpleQueue
from typing import Any, Final

from gateway.spool.api import DuplicateHandOver, SpoolError
from gateway.spool.jobs import Accept, Job, Settle, Told, Work
from gateway.spool.options import SpoolOptions
from gateway.spool.store import Fenced, Store
from gateway.status import SPOOL_DOWN

_GROUP_JOBS: Final = 512
_ENOUGH_JOBS: Final = 100
"""What a commit costs is little by so many accepts, and while more of them come they can be written."""
_GROUP_BYTES: Final = 8 * 1024 * 1024
_TICK_S: Final = 1.0
_HALF_MS: Final = 0.0005
"""uvloop's clock knows whole milliseconds."""

Result = tuple[Job, object, BaseException | None]


class Writer:
    """Owns `store` from `start` to `stop`. `put` is called in the event loop alone."""

    def __init__(
        self, store: Store, loop: asyncio.AbstractEventLoop, on_fenced: Callable[[], None], name: str = "spool"
    ) -> None:
        self.store = store
        self._loop = loop
        # One turn of the loop later, like whoever awaits a result: so what was leased before is in the dispatcher's
        # memory when it hears of the loss, and what is leased afterwards is not there yet.
        store.fenced = lambda: self._call(loop.call_soon, on_fenced)
        store.between = self._between
        # A group at a time: a thread that is woken by the first of many takes turns with the loop for the rest.
        self._queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._inbox: list[Job] = []
        """What waits in the loop for company."""
        self._inbox_accepts = self._inbox_outcomes = self._inbox_bytes = 0
        self._last_accepts = 0
        self._awaits_others = False
        self._first_came = self._last_came = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # uvloop's timer of under a millisecond does not know its time
        self._pending: deque[Job] = deque()
        self._next_tick = 0.0
        self._stopping = False
        self._dead: BaseException | None = None
        self._waiting = 0
        self._waiting_bytes = 0
        self._opened: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    async def start(self) -> None:
        """Open the database in the thread. Raises: SpoolUnusable, SpoolError."""
        self._thread.start()
        await self._opened

    async def stop(self) -> None:
        """Commit what waits, close the database, end the thread."""
        if not self._stopping:
            self._post()  # before the thread may see that it is to end
            self._stopping = True
            self._queue.put(None)
        await asyncio.shield(self._ended)

    @property
    def fault(self) -> BaseException | None:
        """Return the fault of our own that ended the thread, None while all is well."""
        return self._dead

    @property
    def waiting(self) -> tuple[int, int]:
        """Return the accepts that wait, and their octets."""
        return self._waiting, self._waiting_bytes

    def put(self, job: Settle | Work[Any]) -> None:
        """Hand a job over; its caller is told after the commit. Raises: SpoolError where the writer is gone."""
        self._check_open()
        self._inbox.append(job)
        options = self.store.options
        if isinstance(job, Settle):
            self._inbox_outcomes += len(job.done) + len(job.again)
            self._gather_company(options.settle_delay_s)
        else:
            self._gather_company(options.settle_delay_s if job.patient else 0.0)

    def put_accepts(self, accepts: Sequence[Accept]) -> int:
        """Hand accepts over that came together; return how many of them there is room for, from the first on.

        Raises: SpoolError where the writer is gone.
        """
        self._check_open()
        options = self.store.options
        octets = self._waiting_bytes
        taken = 0
        for accept in accepts[: max(0, options.max_waiting - self._waiting)]:
            if octets > options.max_waiting_bytes:
                break
            octets += accept.size_bytes
            taken += 1
        if not taken:
            return 0
        self._inbox += accepts[:taken]
        self._inbox_accepts += taken
        self._inbox_bytes += octets - self._waiting_bytes
        self._waiting += taken
        self._waiting_bytes = octets
        if self._waiting == 1 and self._last_accepts < 2:
            self._post()
        else:
            self._await_others(options)
        return taken

    def _await_others(self, options: SpoolOptions) -> None:
        """Post the accepts once no further one has come for a while, or there are so many that others add nothing."""
        if len(self._inbox) >= _ENOUGH_JOBS or self._inbox_bytes >= _GROUP_BYTES:
            self._post()
            return
        now = self._loop.time()
        self._last_came = now
        if not self._awaits_others:
            self._awaits_others = True
            self._first_came = now
            self._loop.call_at(now + options.accept_gap_s, self._gap_over)

    def _gap_over(self) -> None:
        # A busy loop's timer is late: what has arrived by now is looked at before anything is concluded from it.
        self._loop.call_soon(self._look_for_others)

    def _look_for_others(self) -> None:
        self._awaits_others = False
        if not self._inbox_accepts:
            return
        options, now = self.store.options, self._loop.time() + _HALF_MS
        if now - self._last_came >= options.accept_gap_s or now - self._first_came >= options.accept_delay_s:
            self._post()
        else:
            self._awaits_others = True
            self._loop.call_at(self._last_came + options.accept_gap_s, self._gap_over)

    def _check_open(self) -> None:
        if self._stopping or self._dead is not None:
            raise SpoolError(SPOOL_DOWN.but(cause=f"the spool is closed: {self._dead or 'stopped'}"))

    def _gather_company(self, delay: float) -> None:
        """Let what came last wait so long for others, or post all that wait."""
        if (
            delay <= 0
            or len(self._inbox) >= _GROUP_JOBS
            or self._inbox_bytes >= _GROUP_BYTES
            or self._inbox_outcomes >= self.store.options.settle_group
        ):
            self._post()
            return
        due = self._loop.time() + delay
        if self._timer is None:
            self._timer, self._due = self._loop.call_at(due, self._post), due
        elif due < self._due:
            self._timer.cancel()
            self._timer, self._due = self._loop.call_at(due, self._post), due

    def _post(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inbox_accepts:
            self._last_accepts = self._inbox_accepts
        inbox, self._inbox = self._inbox, []
        self._inbox_accepts = self._inbox_outcomes = self._inbox_bytes = 0
        if inbox:
            self._queue.put(inbox)

    # -- the thread

    def _main(self) -> None:
        try:
            self.store.connect()
        except BaseException as error:  # noqa: BLE001  # handed on to the caller of start()
            self.store.close()
            self._call(_fail, self._opened, error)
            self._call(_done, self._ended)
            return
        self._call(_done, self._opened)
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001  # a fault of our own: nobody may wait for ever
            self._dead = error
            self._fail_rest(error)
        finally:
            try:
                self.store.close()
            finally:
                self._fail_rest(None)
                self._call(_done, self._ended)

    def _serve(self) -> None:
        while True:
            self._tick()
            group = self._gather(self._next_tick)
            if group:
                self._send(self._outside(group) if _is_outside(group[0]) else self._commit(group))
            elif self._stopping and not self._pending and self._queue.empty():
                return

    def _between(self) -> None:
        """Commit what waits by now, between two steps of a long piece of work outside of transactions."""
        self._tick()
        if self._pending and _is_outside(self._pending[0]):
            return
        group = self._gather(0.0)
        if group and _is_outside(group[0]):
            self._pending.appendleft(group[0])
        elif group:
            self._send(self._commit(group))

    def _outside(self, group: list[Job]) -> list[Result]:
        (job,) = group
        assert isinstance(job, Work)
        try:
            return [(job, job.run(self.store), None)]
        except Exception as error:  # noqa: BLE001  # told to whom it concerns
            return [(job, None, self._verdict(error) or error)]

    def _gather(self, until: float) -> list[Job]:
        """Return the next group, all that waits; empty where nothing came until then."""
        pending = self._pending
        group: list[Job] = []
        size = 0
        while len(group) < _GROUP_JOBS and size < _GROUP_BYTES:
            if not pending:
                try:
                    if group or self._stopping:
                        posted = self._queue.get_nowait()
                    else:
                        posted = self._queue.get(timeout=max(0.0, until - time.monotonic()))
                except Empty:
                    return group
                if posted is None:  # stop() has called
                    if group:
                        continue
                    return group
                pending.extend(posted)
            job = pending.popleft()
            if type(job) is Accept:  # nearly all are
                group.append(job)
                size += job.size_bytes
                continue
            if _is_outside(job):
                if group:
                    pending.appendleft(job)
                    return group
                return [job]
            group.append(job)
        return group

    def _commit(self, group: list[Job]) -> list[Result]:
        try:
            values = self._transaction(group)
        except Exception as error:  # noqa: BLE001  # sorted by the store, and told to whom it concerns
            verdict = self._verdict(error)
            if verdict is None and len(group) > 1:
                return [self._alone(job) for job in group]
            return [(job, None, verdict or error) for job in group]
        return list(zip(group, values, repeat(None)))

    def _alone(self, job: Job) -> Result:
        try:
            return job, self._transaction([job])[0], None
        except Exception as error:  # noqa: BLE001  # as above
            return job, None, self._verdict(error) or error

    def _transaction(self, group: Sequence[Job]) -> list[object]:
        store = self.store
        durable = False
        ids: list[int] = []
        reports: list[int] = []
        for job in group:
            if isinstance(job, Work):
                durable = durable or job.durable
            else:
                durable = True
                if isinstance(job, Accept):
                    ids.append(job.packed.id)
                    if job.more:
                        ids.extend([p.id for p in job.more])
                else:
                    reports.extend(p.id for p in job.new)
        try:
            values = store.commit(group, durable, ids, reports)
        except Fenced:
            store.fenced()
            store.rejoin()
            values = store.commit(group, durable, ids, reports)
        figures = store.figures
        figures.accepted += store.aftermath.accepted
        figures.settled += store.aftermath.settled
        figures.commits += durable
        figures.largest_group = max(figures.largest_group, len(group))
        return values

    def _verdict(self, error: Exception) -> Exception | None:
        return self.store.fault(error)

    def _tick(self) -> None:
        if time.monotonic() < self._next_tick:
            return
        try:
            self.store.tick()
        except Exception as error:  # noqa: BLE001  # the next tick tries again; those who wait are told by their own jobs
            self._verdict(error)
        self._next_tick = time.monotonic() + _TICK_S

    def _send(self, results: list[Result]) -> None:
        self._call(self._resolve, results)

    def _call(self, function: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _fail_rest(self, error: BaseException | None) -> None:
        rest = list(self._pending)
        self._pending.clear()
        while True:
            try:
                posted = self._queue.get_nowait()
            except Empty:
                break
            if posted is not None:
                rest.extend(posted)
        cause = SpoolError(SPOOL_DOWN.but(cause=f"the spool is closed: {error or 'stopped'}"))
        self._send([(job, None, cause) for job in rest])
        self._call(self._fail_inbox, cause)

    # -- back in the loop

    def _fail_inbox(self, cause: SpoolError) -> None:
        inbox, self._inbox = self._inbox, []
        self._resolve([(job, None, cause) for job in inbox])

    def _resolve(self, results: list[Result]) -> None:
        accepts: list[tuple[Told, DuplicateHandOver | None, BaseException | None]] = []
        for job, value, error in results:
            if error is None and isinstance(value, Exception):
                error = value
            if isinstance(job, Accept):
                self._waiting -= 1
                self._waiting_bytes -= job.size_bytes
                accepts.append((job.told, value if isinstance(value, DuplicateHandOver) else None, error))
                continue
            future: asyncio.Future[Any] = job.future
            if future.done():  # its caller was cancelled; what is committed stays committed
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        if accepts:
            # In the turn of the loop in which those who await a future go on; see `__init__` for why.
            self._loop.call_soon(self._tell, accepts)

    def _tell(self, accepts: list[tuple[Told, DuplicateHandOver | None, BaseException | None]]) -> None:
        for told, duplicate, error in accepts:
            try:
                told(duplicate, error)
            except Exception as fault:  # noqa: BLE001  # the others of its group are told all the same
                self._loop.call_exception_handler({"message": "a fault after a commit", "exception": fault})


def _is_outside(job: Job) -> bool:
    return isinstance(job, Work) and job.outside


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
