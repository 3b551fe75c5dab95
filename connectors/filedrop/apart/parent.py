"""The gateway's side of a reading process: starts it, answers it, and starts it anew where it ended by itself."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, cast

from connectors.filedrop.apart.note import new_note, read_note
from connectors.filedrop.apart.spec import Spec
from connectors.filedrop.apart.wire import (
    Answer,
    Ask,
    Frames,
    Values,
    fault_out,
    frame,
    inline_content,
    message_in,
    outcome_out,
    receipt_out,
)
from gateway.contract import Content, ContentWriter, Context, Intake, Receipt, Rejected, Unavailable

RESTART_MIN_S: Final = 0.5
RESTART_MAX_S: Final = 30.0
_LONG_LIFE_S: Final = 60.0
STRIKES: Final = 2
"""So many processes ended while they looked at one file; the next leaves it alone."""
_LOOK_S: Final = 5.0
_SILENT_LOOKS: Final = 12
_END_S: Final = 5.0
_GRACE_S: Final = 1.0

GATEWAYS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that a service manager sends to every process, and the gateway alone answers."""

_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "TZ", "TZDIR", "LANG", "LANGUAGE")
_PASSED_ON_PREFIXES: Final = ("LC_", "LD_", "MALLOC_", "PYTHON")


class ReadingProcess:
    """Runs one inbox's source in a process of its own, until cancelled."""

    def __init__(self, spec: Spec, context: Context, tell: Callable[[str | None], None]) -> None:
        self._spec = spec
        self._context = context
        self._log = context.log
        self._tell = tell
        self._strikes: Counter[str] = Counter()

    async def run(self, intake: Intake) -> None:
        pause_s = RESTART_MIN_S
        loop = asyncio.get_running_loop()
        note = new_note()
        try:
            while True:
                started = loop.time()
                status = await self._run_one(intake, note)
                if isinstance(status, int) and -status in GATEWAYS:
                    # One that had only begun does not ignore it yet; ours will come, and nothing is to be told.
                    await asyncio.sleep(_GRACE_S)
                ended = status if isinstance(status, str) else how_ended(status)
                self._log.error("the process that reads an inbox ended; it is started anew", how=ended)
                self._tell(f"the process that reads the inbox {ended}; it is started anew")
                await asyncio.sleep(pause_s)
                pause_s = RESTART_MIN_S if loop.time() - started > _LONG_LIFE_S else min(RESTART_MAX_S, pause_s * 2)
        finally:
            os.close(note)

    async def _run_one(self, intake: Intake, note: int) -> int | str:
        """Run one process until it ends by itself; return its status, or why there is none."""
        try:
            child = await self._start(intake, note)
        except OSError as e:
            return f"cannot be started: {e.strerror or e}"
        try:
            await child.watch()
        except asyncio.CancelledError:
            await child.stop()
            raise
        finally:
            child.line.close()
        status = await child.end()
        looked_at = read_note(note)
        if looked_at is not None:
            self._strikes[looked_at] += 1
            suspects = frozenset(token for token, n in self._strikes.items() if n >= STRIKES)
            self._spec = replace(self._spec, suspects=suspects)
        return status

    async def _start(self, intake: Intake, note: int) -> _Child:
        loop = asyncio.get_running_loop()
        line = _Line(intake, self._context, self._tell)
        ours, theirs = socket.socketpair()
        process: Process | None = None
        try:
            with theirs:
                handles = (theirs.fileno(), note)
                process = await asyncio.create_subprocess_exec(
                    # -P: whoever can write into the folder that we run in has no say in what is imported.
                    sys.executable, "-P", "-m", "connectors.filedrop.apart.child", self._spec.name, *map(str, handles),
                    pass_fds=handles, stdin=asyncio.subprocess.DEVNULL, env=environment(os.environ),
                    start_new_session=True,  # a Ctrl-C is the gateway's to answer
                )  # fmt: skip
            ours.setblocking(False)
            await loop.create_connection(lambda: line, sock=ours)
        except BaseException:
            line.close()
            ours.close()
            if process is not None:
                _kill(process)
            raise
        os.pwrite(note, bytes(64), 0)
        spec = pickle.dumps(self._spec)
        line.write(len(spec).to_bytes(4, "little") + spec)
        return _Child(line, process, self._context)


class _Child:
    """One process and the line to it."""

    def __init__(self, line: _Line, process: Process, context: Context) -> None:
        self.line = line
        self._process = process
        self._context = context

    async def watch(self) -> None:
        """Return when the line has ended. Tells while the process does not answer, as where a share hangs."""
        line = self.line
        silent = 0
        while not line.ended.done():
            await asyncio.wait((line.ended,), timeout=_LOOK_S)
            silent = 0 if line.was_heard() else silent + 1
            line.hangs(silent >= _SILENT_LOOKS)

    async def stop(self) -> None:
        """Let it finish what is being accepted, within the bound."""
        self.line.write(frame((Answer.STOP.value,)))
        try:
            async with asyncio.timeout(self._context.stop_s * 0.9):
                await self._process.wait()
        except TimeoutError:
            self._context.log.warning(
                "the process that reads an inbox did not stop in time", after_s=self._context.stop_s
            )
        finally:
            _kill(self._process)

    async def end(self) -> int:
        """Wait for its end once the line has ended; return its status."""
        try:
            async with asyncio.timeout(_END_S):
                return await self._process.wait()
        except TimeoutError:
            _kill(self._process)
            return await self._process.wait()


class _Line(asyncio.BufferedProtocol):
    """The connection to the process: what it asks is done here, in the order in which it asked."""

    def __init__(self, intake: Intake, context: Context, tell: Callable[[str | None], None]) -> None:
        self._intake = intake
        self._context = context
        self._tell = tell
        self._frames = Frames()
        self._writers: dict[int, ContentWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.WriteTransport | None = None
        self._heard = True
        self._hangs = False
        self._trouble: str | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        for writer in self._writers.values():
            self._start(writer.abandon())
        self._writers.clear()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._frames.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._heard = True
        for values in self._frames.taken(nbytes):
            self._take(values)

    def write(self, octets: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def was_heard(self) -> bool:
        """Tell whether anything came since the last call."""
        heard, self._heard = self._heard, False
        return heard

    def hangs(self, hangs: bool) -> None:
        """Take over whether the process answers; in between, its own word of the inbox's health stands."""
        if hangs is not self._hangs:
            self._hangs = hangs
            silent = "the process that reads the inbox does not answer; its folder may hang"
            self._tell(silent if hangs else self._trouble)

    def _take(self, values: Values) -> None:
        kind = values[0]
        if kind == Ask.ACCEPT:
            self._accept(*values[1:])
        elif kind == Ask.WRITE:
            number, piece = values[1:]
            writer = self._writers.get(number)
            if writer is None:
                writer = self._writers[number] = self._intake.content()
            writer.write(piece)
        elif kind == Ask.DRAIN:
            self._start(self._drain(*values[1:]))
        elif kind == Ask.ABANDON:
            dropped = self._writers.pop(values[1], None)
            if dropped is not None:
                self._start(dropped.abandon())
        elif kind == Ask.LOG:
            _, level, event, keywords = values
            getattr(self._context.log, level)(event, **keywords)
        elif kind == Ask.COUNT:
            _, name, value, labels = values
            self._context.count(name, value, **labels)
        elif kind == Ask.TROUBLE:
            self._trouble = values[1]
            self._tell(values[1])

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, call: int, number: int) -> None:
        try:
            await self._writers[number].drain()
        except Exception as e:  # noqa: BLE001  told to the process, which puts the file off
            self._answer(fault_out(call, e))
        else:
            self._answer((Answer.DONE.value, call))

    def _accept(self, call: int, report: bool, messages: Values) -> None:
        receipts: list[asyncio.Future[Receipt]] = []
        for envelope, (source, attributes, traits) in messages:
            if traits is None:
                self._start(self._accept_written(call, envelope, source, attributes, report))
                return
            try:
                message = message_in(envelope, inline_content(source, traits), attributes)
                receipts.append(self._intake.submit(message, report=report))
            except Exception as e:  # noqa: BLE001  this message's alone: the process puts its file off, and goes on
                failed: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
                failed.set_exception(e)
                receipts.append(failed)
        self._accepted(call, receipts)

    def _accepted(self, call: int, receipts: list[asyncio.Future[Receipt]]) -> None:
        """Answer for messages that came together, once there is something to tell of each."""
        # From the end: they are committed in order, so that most times the last is the only one to be waited for.
        for receipt in reversed(receipts):
            if not receipt.done():
                receipt.add_done_callback(lambda _: self._accepted(call, receipts))
                return
        outcomes = [outcome_out(receipt) for receipt in receipts if not receipt.cancelled()]
        if len(outcomes) == len(receipts):  # else the gateway stops: of some there is nothing to tell
            self._answer((Answer.OUTCOMES.value, call, outcomes))

    async def _accept_written(
        self, call: int, envelope: Values, number: int, attributes: dict[str, str], report: bool
    ) -> None:
        # Whatever it comes to, the writer is no longer the line's, which abandons those it has when it ends.
        writer = self._writers.pop(number, None)
        try:
            content = Content(b"") if writer is None else await writer.finish()
            receipt = await self._intake.accept(message_in(envelope, content, attributes), report=report)
        except Exception as e:  # noqa: BLE001  told to the process, which puts the file off
            # After any other fault the content may be in use: it may have come after the commit.
            if writer is not None and isinstance(e, Rejected | Unavailable):
                await writer.abandon()
            self._answer((Answer.OUTCOMES.value, call, [fault_out(call, e)]))
            return
        if writer is not None and receipt.duplicate:
            await writer.abandon()
        self._answer((Answer.OUTCOMES.value, call, [receipt_out(receipt)]))

    def _answer(self, values: Values) -> None:
        """Send an answer, with those that are due in the same turn of the loop."""
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._flush)
        self._answers.append(frame(values))

    def _flush(self) -> None:
        octets = b"".join(self._answers)
        self._answers.clear()
        self.write(octets)


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return what the process needs of our environment: not its secrets, for it decodes what strangers wrote.

    It imports from where we do, in the same order.
    """
    kept = {k: v for k, v in ours.items() if k in _PASSED_ON or k.startswith(_PASSED_ON_PREFIXES)}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path and os.pathsep not in path)}


def how_ended(status: int) -> str:
    """Return a process's status in words."""
    if status >= 0:
        return f"ended with status {status}"
    if -status == signal.SIGPROF:
        return "used the processor for too long over one call"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        if process.returncode is None:
            process.kill()
