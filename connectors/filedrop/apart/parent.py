"""The gateway's side of a reading process: starts it, answers it, and starts it anew where it ended by itself."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

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
)
from gateway.contract import Content, ContentWriter, Context, Intake, Receipt, Rejected, Unavailable

_BUFFER: Final = 64 * 1024
"""Octets taken off the line in one go; the loop's other work waits no longer than their messages take."""

_RESTART_MIN_S: Final = 0.5
_RESTART_MAX_S: Final = 30.0
_LONG_LIFE_S: Final = 60.0
_STRIKES: Final = 2
_PATHS: Final = Path(__file__).parents[3]


class ReadingProcess:
    """Runs one inbox's source in a process of its own, until cancelled."""

    def __init__(self, spec: Spec, context: Context, tell: Callable[[str | None], None]) -> None:
        self._spec = spec
        self._context = context
        self._log = context.log
        self._tell = tell
        self._strikes: Counter[str] = Counter()

    async def run(self, intake: Intake) -> None:
        pause_s = _RESTART_MIN_S
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            line, process = await self._start(intake)
            try:
                await line.ended
            except asyncio.CancelledError:
                await self._stop(line, process)
                raise
            finally:
                line.close()
            status = await process.wait()
            self._log.error("the reading process ended; it is started anew", status=status)
            self._tell(f"the process that reads the inbox ended with status {status}, and is started anew")
            if line.loading is not None:
                self._strikes[line.loading] += 1
            suspects = frozenset(token for token, n in self._strikes.items() if n >= _STRIKES)
            self._spec = replace(self._spec, careful=True, suspects=suspects)
            pause_s = _RESTART_MIN_S if loop.time() - started > _LONG_LIFE_S else min(_RESTART_MAX_S, pause_s * 2)
            await asyncio.sleep(pause_s)

    async def _start(self, intake: Intake) -> tuple[_Line, asyncio.subprocess.Process]:
        ours, theirs = socket.socketpair()
        with theirs:
            path = os.pathsep.join([str(_PATHS), *filter(None, [os.environ.get("PYTHONPATH")])])
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "connectors.filedrop.apart.child", str(theirs.fileno()),
                pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # a Ctrl-C is the gateway's to answer
            )  # fmt: skip
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: _Line(intake, self._context, self._tell), sock=ours)
        spec = pickle.dumps(self._spec)
        line.write(len(spec).to_bytes(4, "little") + spec)
        return line, process

    async def _stop(self, line: _Line, process: asyncio.subprocess.Process) -> None:
        """Let it finish what is being accepted, within the bound."""
        line.write(frame((Answer.STOP.value,)))
        try:
            async with asyncio.timeout(self._context.stop_s * 0.9):
                await line.ended
                await process.wait()
        except TimeoutError:
            process.kill()


class _Line(asyncio.BufferedProtocol):
    """The connection to the process: what it asks is done here, in the order in which it asked."""

    def __init__(self, intake: Intake, context: Context, tell: Callable[[str | None], None]) -> None:
        self._intake = intake
        self._context = context
        self._tell = tell
        self._frames = Frames()
        self._buffer = bytearray(_BUFFER)
        self._writers: dict[int, ContentWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.WriteTransport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.loading: str | None = None
        self._answers: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        for writer in self._writers.values():
            self._start(writer.abandon())
        self._writers.clear()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        with memoryview(self._buffer) as view:
            octets = bytes(view[:nbytes])
        for values in self._frames.feed(octets):
            self._take(values)

    def write(self, octets: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

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
            self._tell(values[1])
        elif kind == Ask.LOADING:
            self.loading = values[1]

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

    def _accept(self, call: int, envelope: Values, packed: Values, report: bool) -> None:
        source, attributes, traits = packed
        if traits is None:
            self._start(self._accept_written(call, envelope, source, attributes, report))
            return
        message = message_in(envelope, inline_content(source, traits), attributes)
        receipt = self._intake.submit(message, report=report)
        receipt.add_done_callback(lambda done: self._accepted(call, done))

    def _accepted(self, call: int, done: asyncio.Future[Receipt]) -> None:
        if done.cancelled():
            return  # the gateway stops: nothing was accepted, and nothing is answered
        fault = done.exception()
        if fault is not None:
            self._answer(fault_out(call, fault))
            return
        receipt = done.result()
        self._answer((Answer.RECEIPT.value, call, receipt.message_id, receipt.duplicate))

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
            self._answer(fault_out(call, e))
            return
        if writer is not None and receipt.duplicate:
            await writer.abandon()
        self._answer((Answer.RECEIPT.value, call, receipt.message_id, receipt.duplicate))

    def _answer(self, values: Values) -> None:
        """Send an answer, with those that are due in the same turn of the loop."""
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._flush)
        self._answers.append(frame(values))

    def _flush(self) -> None:
        octets = b"".join(self._answers)
        self._answers.clear()
        self.write(octets)
