"""The source side: from claimed files to accepted messages.

Promises: a file is deleted or archived only after its messages' commit; a crash before that repeats the hand-over
under the same dedupe keys; what cannot be taken is kept where an operator finds it, with the reason; one bad file,
or message of a file, stops no other. Bounded: `batch` claimed names, eight slices of `max_in_flight / 8` files and
16 MiB in memory, of a larger file no more than the next messages, larger contents streamed a few at a time.
Where an order is asked for, one message is accepted after the other, and one that must wait holds up the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, ParamSpec, TypeVar

from watchfiles import awatch

from connectors.filedrop.acceptance import Acceptance, refused
from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.enclosed import Enclosed, NotThere
from connectors.filedrop.files import Changed, Claimed
from connectors.filedrop.formats import Bad
from connectors.filedrop.inbox import Done, Inbox, Large, Loaded, Slot
from connectors.filedrop.reading import Found, Reading
from connectors.filedrop.reasons import TOO_MUCH_MEMORY
from gateway.contract import Context, Intake, Rejected, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

SLICES: Final = 8
SLICE_OCTETS: Final = 2 * 1024 * 1024
STREAMS: Final = 4
MAX_BAD_ITEMS: Final = 1000
"""So many bad messages of a file are kept each as a file; one with more is kept whole: no small file fills a disk."""
STEP_MESSAGES: Final = 100
STEP_OCTETS: Final = 4 * 1024 * 1024
"""Of a large file so much is decoded in one go."""

FAULT_RETRY_S: Final = 60.0
STRAYS_S: Final = 60.0
"""So often an idle inbox looks for files that are claimed and in nobody's hands: a share may do a rename and tell of a
failure, and who lost the inbox to another node may have claimed one more."""
UNWATCHED_S: Final = 30.0
PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(slots=True)
class _Later:
    """Files that stay claimed and are tried again: at which time of the loop's clock."""

    files: list[tuple[float, Claimed]] = field(default_factory=list)
    paused_until: float = 0.0
    pause_s: float = PAUSE_S

    def due(self, now: float) -> list[Claimed]:
        ready = [one for at, one in self.files if at <= now]
        self.files = [(at, one) for at, one in self.files if at > now]
        return ready

    def wait_s(self, now: float) -> float | None:
        return max(0.0, min(at for at, _ in self.files) - now) if self.files else None


class InboxSource:
    """Runs one inbox until cancelled."""

    def __init__(
        self,
        name: str,
        config: FileDropConfig,
        context: Context,
        inbox: Inbox,
        executor: Executor,
        trouble: Callable[[str | None], None],
    ) -> None:
        self._name = name
        self._config = config
        self._context = context
        self._log = context.log
        self._inbox = inbox
        self._executor = executor
        self._trouble = trouble
        self._wake = asyncio.Event()
        self._resting = asyncio.Event()
        self._is_watched = False
        self._stopping = False
        self._large = asyncio.Semaphore(STREAMS)
        self._later = _Later()
        self._starved: set[str] = set()
        self._told: set[str] = set()
        """Files that it was told of that they wait; forgotten now and then, and told again."""

    async def run(self, intake: Intake) -> None:
        self._stopping = False
        self._later = _Later()  # what an earlier run put off is found again among the claimed files
        serving = asyncio.ensure_future(self._serve(intake))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            # What is being accepted is finished, within the bound; the rest stays claimed for the next start.
            self._stopping = True
            self._wake.set()
            await asyncio.wait((serving,), timeout=self._context.stop_s * 0.8)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            raise

    async def _serve(self, intake: Intake) -> None:
        acceptance = Acceptance(self._name, self._config, self._context, intake, self._thread)
        ordered = self._config.order != "none"
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            waiting: list[Claimed] = []
            begun: set[asyncio.Task[None]] = set()
            strays_at = 0.0
            slots = asyncio.Semaphore(1 if ordered else SLICES)
            limit = max(1, self._config.max_in_flight // SLICES)
            while not self._stopping:
                self._wake.clear()
                now = asyncio.get_running_loop().time()
                try:
                    if now >= strays_at and not (waiting or begun):
                        known = {one.token for _, one in self._later.files}
                        found = await self._thread(self._inbox.leftovers)
                        waiting += [one for one in found if one.token not in known]
                        strays_at = now + STRAYS_S
                    waiting += self._later.due(now)
                    if not waiting and self._may_claim(now):
                        waiting += await self._thread(self._inbox.take, min(self._config.batch, limit))
                    self._trouble(None)
                except OSError as e:
                    self._trouble(f"the inbox {self._inbox.folder} cannot be read: {e.strerror or e}")
                if not waiting or (ordered and now < self._later.paused_until):
                    await self._rest()
                    continue
                await slots.acquire()
                if self._stopping:
                    break
                chosen, waiting = waiting[:limit], waiting[limit:]
                loaded = await self._thread(self._inbox.load_some, chosen, SLICE_OCTETS)
                waiting = chosen + waiting
                if ordered:
                    waiting = await self._hand_over_in_order(acceptance, loaded) + waiting
                    slots.release()
                    continue
                task = group.create_task(self._hand_over(acceptance, loaded))
                begun.add(task)
                task.add_done_callback(begun.discard)
                task.add_done_callback(lambda _: slots.release())
            watching.cancel()

    def _may_claim(self, now: float) -> bool:
        return now >= self._later.paused_until and len(self._later.files) < self._config.max_in_flight

    async def _rest(self) -> None:
        """Wait for an event, the next look or the next retry, whichever comes first."""
        if not self._is_watched:
            self._resting.set()
            for _ in range(2):  # until the watching has begun; what came before is seen by another look
                await asyncio.sleep(0)
            return
        now = asyncio.get_running_loop().time()
        wait_s = self._later.wait_s(now)
        wait_s = self._config.poll_s if wait_s is None else min(self._config.poll_s, wait_s)
        paused_s = self._later.paused_until - now
        if paused_s > 0:
            wait_s = min(wait_s, paused_s)
        try:
            async with asyncio.timeout(max(0.01, wait_s)):
                await self._wake.wait()
        except TimeoutError:
            return
        if paused_s > 0 and not self._stopping:
            await asyncio.sleep(0.05)  # events do not cut a pause short, nor spin

    async def _watch(self) -> None:
        """Wake on file events. A hint only: a share raises none, and then polling is all there is.

        The folder is watched while the source rests, and until the first event: at work each claim would be one.
        """
        while True:
            await self._resting.wait()
            self._resting.clear()
            self._is_watched = True
            try:
                events = awatch(
                    *self._inbox.watched(), watch_filter=None, recursive=False, debounce=50, step=10, rust_timeout=1000
                )
                async with aclosing(events):
                    await anext(events, None)
            except* (OSError, RuntimeError) as e:
                # A name that is no UTF-8 ends the watching too (RuntimeError), and is an event all the same.
                self._log.debug("no file events, polling alone", folder=str(self._inbox.folder), cause=str(e))
                self._wake.set()
                await asyncio.sleep(UNWATCHED_S)
            finally:
                self._is_watched = False
            self._wake.set()

    # -- handing over

    async def _hand_over(self, acceptance: Acceptance, loaded: list[Slot]) -> None:
        done: list[Done] = []
        small: list[Slot] = []
        many: list[tuple[Reading, Found]] = []
        async with asyncio.TaskGroup() as group:
            for slot in loaded:
                match slot[1]:
                    case Loaded(found=[Found(content=bytes()) as only]):  # nearly every file there is
                        small.append(slot)
                        many.append((slot[1].reading, only))
                    case _:
                        group.create_task(self._hand_over_one(acceptance, slot, done))
            for slot, (reading, _), failed in zip(small, many, await acceptance.accept_many(many), strict=True):
                if failed is None:
                    done.append(_done(reading))
                else:
                    await self._hand_over_one(acceptance, slot, done, failed)
        if done:
            self._later.pause_s = PAUSE_S
        await self._finish(done)

    async def _hand_over_in_order(self, acceptance: Acceptance, loaded: list[Slot]) -> list[Claimed]:
        """Hand files over one after the other; return those held up by one that must wait, itself the first."""
        done: list[Done] = []
        held: list[Claimed] = []
        for number, slot in enumerate(loaded):
            before = len(self._later.files)
            if self._stopping or await self._hand_over_one(acceptance, slot, done):
                held = [claimed for claimed, _ in loaded[number:]]
                del self._later.files[before:]
                break
        await self._finish(done)
        return held

    async def _hand_over_one(
        self, acceptance: Acceptance, slot: Slot, done: list[Done], failed: Exception | None = None
    ) -> bool:
        """Hand one file over: then it is done, bad, or to be tried again. True where the order has it wait.

        `failed`: what has come of its one message already.
        """
        claimed, what = slot
        try:
            match what:
                case Loaded(found=[Found() as only]):
                    try:
                        if failed is not None:
                            raise failed
                        await acceptance.accept_one(what.reading, only)
                    except Rejected as e:
                        await self._close_up(what.reading, what.found, [(0, refused(e, only))], done)
                    else:
                        done.append(_done(what.reading))
                case Loaded():
                    bad = await acceptance.accept_all(what.reading, what.found)
                    await self._close_up(what.reading, what.found, bad, done)
                case Large():
                    async with self._large:
                        await self._hand_over_large(acceptance, claimed, done)
                case Bad():
                    await self._set_aside(claimed, [what])
                case Exception():
                    raise what
        except Unavailable as e:
            self._pause(claimed, e)
            return True
        except (Changed, EOFError):
            self._log.info("a file is still being written; it waits", file=claimed.shown)
            return self._wait(claimed)
        except NotThere as e:
            if claimed.token not in self._told:
                self._log.info("a file waits for another that it names", file=claimed.shown, named=str(e.filename))
                if len(self._told) >= self._config.batch:
                    self._told.clear()
                self._told.add(claimed.token)
            return self._wait(claimed)
        except FileNotFoundError as e:
            if await self._thread(claimed.path.exists):
                self._fault(claimed, e)
            else:
                self._log.warning("a claimed file is gone; somebody removed it", file=claimed.shown)
        except MemoryError as e:
            await self._starve(claimed, e)
        except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral: the file stays and is tried again
            self._fault(claimed, e)
        return False

    async def _starve(self, claimed: Claimed, e: MemoryError) -> None:
        """Put off a file that took more memory than there is; keep one apart that does so again."""
        if claimed.token not in self._starved:
            self._starved.add(claimed.token)
            self._fault(claimed, e)
            return
        self._starved.discard(claimed.token)
        try:
            await self._set_aside(claimed, [TOO_MUCH_MEMORY])
        except OSError as fault:
            self._fault(claimed, fault)

    async def _hand_over_large(self, acceptance: Acceptance, claimed: Claimed, done: list[Done]) -> None:
        """Accept a large file's messages as they are decoded, step by step."""
        reading = await self._thread(self._inbox.open, claimed)
        if isinstance(reading, Bad):
            await self._set_aside(claimed, [reading])
            return
        try:
            bad: list[tuple[int, Bad]] = []
            count = bad_count = 0
            while found := await self._thread(reading.some, STEP_MESSAGES, STEP_OCTETS):
                more = await acceptance.accept_all(reading, found)
                bad_count += len(more)
                bad += [(count + n, one) for n, one in more[: MAX_BAD_ITEMS + 1 - len(bad)]]
                count += len(found)
            reading.check_unchanged()
            await self._close_up(reading, range(count), bad, done, accepted=count - bad_count)
        finally:
            reading.close()

    async def _close_up(
        self,
        reading: Reading,
        found: Sequence[object],
        bad: list[tuple[int, Bad]],
        done: list[Done],
        accepted: int | None = None,
    ) -> None:
        """Settle a file whose messages are all accepted or bad: keep what is bad, note it as done else.

        `accepted`: how many were, where `bad` does not hold all others.
        """
        claimed = reading.claimed
        if not bad:
            done.append(_done(reading))
            return
        if len(found) > 1 and len(bad) <= MAX_BAD_ITEMS and all(one.item is not None for _, one in bad):
            for number, one in bad:
                where = await self._thread(self._inbox.set_aside_item, reading, number, one)
                self._tell_bad(claimed, one, str(where))
            done.append(_done(reading))
            return
        only_bad = [one for _, one in bad]
        if accepted is None:
            accepted = len(found) - len(bad)
        await self._set_aside(claimed, only_bad, accepted=accepted, enclosed=reading.enclosed)

    async def _set_aside(
        self, claimed: Claimed, bad: list[Bad], accepted: int = 0, enclosed: Enclosed | None = None
    ) -> None:
        where = await self._thread(self._inbox.set_aside, claimed, bad, accepted=accepted, enclosed=enclosed)
        self._tell_bad(claimed, bad[0], str(where))

    def _tell_bad(self, claimed: Claimed, bad: Bad, where: str) -> None:
        self._context.count("files_bad")
        self._log.warning("a file was not taken", file=claimed.shown, rule=bad.rule, why=bad.text, kept_as=where)

    async def _finish(self, done: list[Done]) -> None:
        if not done:
            return
        self._context.count("files_accepted", len(done))
        for one, e in await self._thread(self._inbox.finish, done):
            if isinstance(e, Changed | BlockingIOError):
                self._log.info("a mailbox was added to while it was read", file=one.claimed.shown)
                self._try_later(one.claimed, self._config.poll_s)
                continue
            # It is in the spool under its token; another try finds that out, and removes it then.
            self._log.error("an accepted file cannot be removed", file=one.claimed.shown, cause=str(e))
            self._try_later(one.claimed, FAULT_RETRY_S)

    # -- putting off

    def _pause(self, claimed: Claimed, e: Unavailable) -> None:
        later = self._later
        self._log.warning("the spool takes nothing now; the file waits", file=claimed.shown, status=str(e.status))
        now = asyncio.get_running_loop().time()
        if later.paused_until <= now:  # one pause for all that failed together
            later.pause_s = min(_LONGEST_PAUSE_S, later.pause_s * 2)
            later.paused_until = now + later.pause_s
        later.files.append((later.paused_until, claimed))

    def _wait(self, claimed: Claimed) -> bool:
        """Put a file off until the next look; where an order is kept, all others too."""
        if self._config.order != "none":
            self._later.paused_until = asyncio.get_running_loop().time() + self._config.poll_s
        self._try_later(claimed, self._config.poll_s)
        return True

    def _fault(self, claimed: Claimed, e: Exception) -> None:
        self._log.error("a file cannot be handed over; it waits", file=claimed.shown, cause=repr(e), exc_info=e)
        self._try_later(claimed, FAULT_RETRY_S)

    def _try_later(self, claimed: Claimed, after_s: float) -> None:
        self._later.files.append((asyncio.get_running_loop().time() + after_s, claimed))

    async def _thread(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: call(*args, **kwargs))


def _done(reading: Reading) -> Done:
    return Done(reading.claimed, tuple(reading.enclosed.taken.values()), reading.size)
