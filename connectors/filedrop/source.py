"""The source side: from claimed files to accepted messages.

Promises: a file is deleted or archived only after its message's commit; a crash before that repeats the hand-over
under the same dedupe key; a file that cannot be taken is kept where an operator finds it, with the reason; one bad
file stops no other. Bounded: `batch` claimed names, two slices of `max_in_flight / 2` messages and 16 MiB in
memory, larger files streamed a few at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final, ParamSpec, TypeVar

from watchfiles import awatch

from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.files import CHUNK, Changed, Claimed, OpenFile
from connectors.filedrop.formats import Bad, Part
from connectors.filedrop.inbox import Inbox, Loaded
from gateway.contract import (
    Content,
    ContentWriter,
    Context,
    Envelope,
    Intake,
    Message,
    Origin,
    Rejected,
    Unavailable,
)

P = ParamSpec("P")
R = TypeVar("R")

SLICES: Final = 2
SLICE_OCTETS: Final = 8 * 1024 * 1024
STREAMS: Final = 4
FAULT_RETRY_S: Final = 60.0
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(slots=True)
class _Later:
    """Files that stay claimed and are tried again: at which time of the loop's clock."""

    files: list[tuple[float, Claimed]] = field(default_factory=list)
    paused_until: float = 0.0
    pause_s: float = 0.5

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
        self._stopping = False
        self._streams = asyncio.Semaphore(STREAMS)
        self._later = _Later()

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
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            waiting: list[Claimed] = []
            started = False
            slots = asyncio.Semaphore(SLICES)
            limit = max(1, self._config.max_in_flight // SLICES)
            while not self._stopping:
                self._wake.clear()
                now = asyncio.get_running_loop().time()
                try:
                    if not started:
                        waiting += await self._thread(self._inbox.leftovers)
                        started = True
                    waiting += self._later.due(now)
                    if not waiting and self._may_claim(now):
                        waiting += await self._thread(self._inbox.take, self._config.batch)
                    self._trouble(None)
                except OSError as e:
                    self._trouble(f"the inbox {self._inbox.folder} cannot be read: {e.strerror or e}")
                if not waiting:
                    await self._rest()
                    continue
                await slots.acquire()
                chosen, waiting = waiting[:limit], waiting[limit:]
                loaded = await self._thread(self._inbox.load_some, chosen, SLICE_OCTETS)
                waiting = chosen + waiting
                task = group.create_task(self._hand_over(intake, loaded))
                task.add_done_callback(lambda _: slots.release())
            watching.cancel()

    def _may_claim(self, now: float) -> bool:
        return now >= self._later.paused_until and len(self._later.files) < self._config.max_in_flight

    async def _rest(self) -> None:
        """Wait for an event, the next look or the next retry, whichever comes first."""
        now = asyncio.get_running_loop().time()
        wait_s = self._later.wait_s(now)
        wait_s = self._config.poll_s if wait_s is None else min(self._config.poll_s, wait_s)
        paused_s = self._later.paused_until - now
        try:
            async with asyncio.timeout(max(0.01, wait_s)):
                await self._wake.wait()
        except TimeoutError:
            return
        if paused_s > 0 and not self._stopping:
            await asyncio.sleep(0.05)  # events do not cut a pause short, nor spin

    async def _watch(self) -> None:
        """Wake on file events. A hint only: a share raises none, and then polling is all there is."""
        while True:
            try:
                async for _ in awatch(
                    self._inbox.folder, watch_filter=None, recursive=False, debounce=50, step=10, rust_timeout=1000
                ):
                    self._wake.set()
                return  # it was told to stop
            except (OSError, RuntimeError) as e:
                self._log.debug("no file events, polling alone", folder=str(self._inbox.folder), cause=str(e))
            await asyncio.sleep(60)

    async def _hand_over(self, intake: Intake, loaded: list[Loaded | tuple[Claimed, Exception]]) -> None:
        done: list[Claimed] = []
        async with asyncio.TaskGroup() as group:
            for one in loaded:
                if isinstance(one, Loaded):
                    group.create_task(self._hand_over_file(intake, one, done))
                else:
                    self._postpone(*one)
        if done:
            self._context.count("files_accepted", len(done))
            for claimed, e in await self._thread(self._inbox.finish, done):
                # It is in the spool under its token; another try finds that out, and removes it then.
                self._log.error("an accepted file cannot be removed", file=claimed.name, cause=str(e))
                self._try_later(claimed, FAULT_RETRY_S)

    async def _hand_over_file(self, intake: Intake, file: Loaded, done: list[Claimed]) -> None:
        """Accept every message of a file; then it is done, bad, or to be tried again."""
        claimed = file.claimed
        bad = list(file.bad)
        try:
            for number, part in enumerate(file.parts):
                try:
                    await self._accept(intake, file, part, number)
                except Rejected as e:
                    mend = "mend the message, or the gateway's tables"
                    bad.append(Bad(f"refused.{e.status.code}", 0, 0, e.status.text or str(e.status), mend))
        except Unavailable as e:
            later = self._later
            self._log.warning("the spool takes nothing now; the file waits", file=claimed.name, status=str(e.status))
            now = asyncio.get_running_loop().time()
            if later.paused_until <= now:  # one pause for all that failed together
                later.pause_s = min(_LONGEST_PAUSE_S, later.pause_s * 2)
                later.paused_until = now + later.pause_s
            later.files.append((later.paused_until, claimed))
            return
        except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral: the file stays and is tried again
            self._postpone(claimed, e)
            return
        self._later.pause_s = 0.5
        if not bad:
            done.append(claimed)
            return
        try:
            where = await self._thread(self._inbox.set_aside, claimed, tuple(bad))
        except OSError as e:
            self._postpone(claimed, e)
            return
        self._context.count("files_bad")
        self._log.warning(
            "a file was not taken", file=claimed.name, rule=bad[0].rule, why=bad[0].text, kept_as=str(where)
        )

    async def _accept(self, intake: Intake, file: Loaded, part: Part, number: int) -> None:
        writer: ContentWriter | None = None
        if file.octets is not None:
            whole = not part.head and part.start == 0 and part.end == len(file.octets)
            octets = file.octets if whole else part.head + file.octets[part.start : part.end]
            content = Content(octets)
        else:
            async with self._streams:
                writer = intake.content()
                content = await self._stream(writer, file.claimed, part)
        envelope = Envelope(
            part.reverse_path,
            part.recipients,
            Origin(self._name, peer=file.claimed.name, protocol="file", trusted=self._config.trusted),
            ret=part.ret,
            envid=part.envid,
            dedupe_key=f"{self._name}:{file.claimed.token}:{number}",
        )
        try:
            receipt = await intake.accept(Message(envelope, content), report=True)
        except (Rejected, Unavailable):
            if writer is not None:
                await writer.abandon()
            raise
        # Any other end, cancellation too, may have come after the commit: the content is then in use.
        if receipt.duplicate:
            self._log.info("a file that was accepted before is not taken twice", file=file.claimed.name)
            if writer is not None:
                await writer.abandon()

    async def _stream(self, writer: ContentWriter, claimed: Claimed, part: Part) -> Content:
        try:
            file = await self._thread(OpenFile, claimed.path)
            try:
                if part.head and not writer.write(part.head):
                    await writer.drain()
                at = part.start
                while at < part.end:
                    piece = await self._thread(file.read, at, min(CHUNK, part.end - at))
                    if not piece:
                        raise Changed
                    if not writer.write(piece):
                        await writer.drain()
                    at += len(piece)
                file.check_unchanged()
            finally:
                file.close()
            return await writer.finish()
        except BaseException:
            await writer.abandon()
            raise

    def _postpone(self, claimed: Claimed, e: Exception) -> None:
        match e:
            case FileNotFoundError():
                self._log.warning("a claimed file is gone; somebody removed it", file=claimed.name)
            case Changed():
                self._log.info("a file is still being written; it waits", file=claimed.name)
                self._try_later(claimed, self._config.poll_s)
            case _:
                self._log.error("a file cannot be handed over; it waits", file=claimed.name, cause=repr(e), exc_info=e)
                self._try_later(claimed, FAULT_RETRY_S)

    def _try_later(self, claimed: Claimed, after_s: float) -> None:
        self._later.files.append((asyncio.get_running_loop().time() + after_s, claimed))

    async def _thread(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: call(*args, **kwargs))
