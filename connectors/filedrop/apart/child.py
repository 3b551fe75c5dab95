"""The reading process: `python -m connectors.filedrop.apart.child NAME FD FD`, started by `parent.py` alone.

Everything runs in one thread, file calls too: nobody else's work waits here. Bounded by the kernel, whatever the
interpreter is at: it ends where one call uses the processor for too long, and gets no more than so much memory; the
gateway then starts another. It ends at once when the gateway does, whatever it is at, so that it claims no file that
the next one does not find.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Final, ParamSpec, TypeVar, cast

from connectors.filedrop.apart.note import Note
from connectors.filedrop.apart.spec import Spec
from connectors.filedrop.apart.wire import (
    Answer,
    Ask,
    Frames,
    Values,
    content_out,
    envelope_out,
    fault_in,
    frame,
    outcome_in,
)
from connectors.filedrop.connector import FileDrop
from connectors.filedrop.files import Claimed
from connectors.filedrop.formats import Bad
from connectors.filedrop.inbox import Inbox
from connectors.filedrop.reading import Reading
from gateway.contract import Content, Context, Envelope, Message, Receipt, Recipient, Status, Taken, Traits

P = ParamSpec("P")
R = TypeVar("R")

BROKEN: Final = 70
"""EX_SOFTWARE of sysexits.h: the source ended by a fault, which the gateway's log tells of."""

BEAT_S: Final = 1.0
_FLUSH_S: Final = 5.0
_UNDRAINED: Final = 1024 * 1024
_PIECE: Final = 1024 * 1024
_TOGETHER: Final = 64 * 1024
"""Octets of the contents that one frame holds, where it holds several."""


class Inline(Executor):
    """Runs each call at once, in the thread that asks."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as e:  # noqa: BLE001  it is raised where the result is asked for
            future.set_exception(e)
        return future


class Line(asyncio.BufferedProtocol):
    """The connection to the gateway."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._calls = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._transport: asyncio.WriteTransport | None = None
        self._out: list[bytes] = []
        self._closing: asyncio.Future[None] | None = None
        self.stop = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._closing is None:
            # Whatever is under way here is taken up by the next process, or was answered.
            os._exit(0)
        if not self._closing.done():
            self._closing.set_result(None)

    async def close(self) -> None:
        """Send what waits to be sent, and close."""
        self._closing = asyncio.get_running_loop().create_future()
        self._flush()
        assert self._transport is not None
        self._transport.close()
        await asyncio.wait((self._closing,), timeout=_FLUSH_S)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._frames.space()

    def buffer_updated(self, nbytes: int) -> None:
        for values in self._frames.taken(nbytes):
            kind = values[0]
            if kind == Answer.STOP:
                self.stop.set()
                continue
            waiting = self._waiting.pop(values[1], None)
            if waiting is None or waiting.done():
                continue
            if kind == Answer.OUTCOMES:
                waiting.set_result([outcome_in(outcome) for outcome in values[2]])
            elif kind == Answer.DONE:
                waiting.set_result(None)
            else:
                waiting.set_exception(fault_in(values))

    def say(self, *values: Any) -> None:
        """Send a frame that is not answered, with those of the same turn of the loop."""
        octets = frame(values)
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(octets)

    def _flush(self) -> None:
        assert self._transport is not None
        octets = b"".join(self._out)
        self._out.clear()
        if octets and not self._transport.is_closing():
            self._transport.write(octets)

    def ask(self, kind: Ask, *values: Any) -> asyncio.Future[Any]:
        """Send a frame; the future gives its answer, or raises what the gateway raised."""
        self._calls += 1
        call = self._calls
        self.say(kind.value, call, *values)
        answer = self._waiting[call] = asyncio.get_running_loop().create_future()
        return answer


class _Written(Content):
    """A content that the gateway has by now, piece by piece, under a number."""

    writer: int


class Writer:
    """A ContentWriter whose octets go to the gateway's."""

    def __init__(self, line: Line, number: int) -> None:
        self._line = line
        self._number = number
        self._undrained = 0
        self.size = 0

    def write(self, piece: bytes) -> bool:
        for start in range(0, len(piece), _PIECE):
            self._line.say(Ask.WRITE.value, self._number, piece[start : start + _PIECE])
        self.size += len(piece)
        self._undrained += len(piece)
        return self._undrained < _UNDRAINED

    async def drain(self) -> None:
        self._undrained = 0
        await self._line.ask(Ask.DRAIN, self._number)

    async def finish(self, traits: Traits | None = None) -> Content:
        content = _Written(b"", traits=traits)
        content.writer = self._number
        return content

    async def abandon(self) -> None:
        self._line.say(Ask.ABANDON.value, self._number)


class ProxyIntake:
    """The gateway's Intake, at the other end of the line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._writers = 0

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        raise NotImplementedError("a folder's writers are not answered recipient by recipient")

    def content(self) -> Writer:
        self._writers += 1
        return Writer(self._line, self._writers)

    def submit(self, message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
        return asyncio.ensure_future(self.accept(message, report=report))

    def take(self, message: Message, told: Taken, *, report: bool = False) -> None:
        raise NotImplementedError("a folder's files are handed over many at once")

    async def accept(self, message: Message, *, report: bool = False) -> Receipt:
        [outcome] = await self.accept_many((message,), report=report)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def accept_many(self, messages: Sequence[Message], *, report: bool = False) -> list[Receipt | Exception]:
        """Accept messages; return of each what `accept` returns or raises. A frame holds several of them."""
        answers: list[asyncio.Future[list[Receipt | Exception]]] = []
        together: list[Values] = []
        room = _TOGETHER
        for message in messages:
            content = message.content
            writer = content.writer if isinstance(content, _Written) else None
            size = content.size if writer is None else _TOGETHER
            if size > room and together:
                answers += self._ask(report, together)
                together, room = [], _TOGETHER
            together.append((envelope_out(message.envelope), content_out(content, writer)))
            room -= size
        answers += self._ask(report, together)
        return [outcome for answer in answers for outcome in await answer]

    def _ask(self, report: bool, together: list[Values]) -> list[asyncio.Future[list[Receipt | Exception]]]:
        try:
            return [self._line.ask(Ask.ACCEPT, report, together)]
        except Exception as e:  # noqa: BLE001  what cannot be said of one message stops none of the others
            if len(together) > 1:
                return [answer for one in together for answer in self._ask(report, [one])]
            failed: asyncio.Future[list[Receipt | Exception]] = asyncio.get_running_loop().create_future()
            failed.set_result([e])
            return [failed]


class Log:
    """The gateway's log, at the other end of the line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def _say(self, level: str, event: str, keywords: dict[str, Any]) -> None:
        fault = keywords.pop("exc_info", None)
        said = {key: value if type(value) in (bool, int, float, str) else str(value) for key, value in keywords.items()}
        if isinstance(fault, BaseException):
            said["traceback"] = "".join(traceback.format_exception(fault))
        self._line.say(Ask.LOG.value, level, event, said)

    def debug(self, event: str, **keywords: Any) -> None:
        self._say("debug", event, keywords)

    def info(self, event: str, **keywords: Any) -> None:
        self._say("info", event, keywords)

    def warning(self, event: str, **keywords: Any) -> None:
        self._say("warning", event, keywords)

    def error(self, event: str, **keywords: Any) -> None:
        self._say("error", event, keywords)

    def exception(self, event: str, **keywords: Any) -> None:
        self._say("error", event, {**keywords, "exc_info": sys.exception()})


class NotingInbox(Inbox):
    """An Inbox that notes which file it looks at, and leaves alone those that ended processes before this one."""

    note: Note
    suspects: frozenset[str]
    _noted: str = ""

    def open(self, one: Claimed) -> Reading | Bad:
        return _ENDS_READER if one.token in self.suspects else super().open(one)

    def looking_at(self, one: Claimed) -> None:
        if one.token == self._noted:
            return
        self.note.write(one.token)
        if not self._noted:
            # By the next turn of the loop whatever was looked at is behind us.
            asyncio.get_running_loop().call_soon(self._forget)
        self._noted = one.token

    def _forget(self) -> None:
        self._noted = ""
        self.note.write("")


_ENDS_READER: Final = Bad(
    "filedrop.ends-reader",
    0,
    0,
    "reading the file ended the process that reads, twice: it took too much memory or time, or broke it",
    "mend the file, or report the fault with it",
)


_UNTOLD: Final = object()


class Apart(FileDrop):
    """The connector as it runs in this process: its source alone."""

    line: Line
    began_with: Spec
    note: Note
    _told: object = _UNTOLD

    def inbox(self, kind: type[Inbox] = NotingInbox) -> Inbox:
        made = super().inbox(NotingInbox)
        assert isinstance(made, NotingInbox)
        made.note, made.suspects = self.note, self.began_with.suspects
        return made

    def readers(self) -> Executor:
        return Inline()

    def _tell_in(self, trouble: str | None) -> None:
        # Also that there is none: the gateway may know of one from before this process.
        if trouble != self._told:
            self._told = trouble
            self.line.say(Ask.TROUBLE.value, trouble)


async def serve(sock: socket.socket, spec: Spec, note: Note) -> int:
    """Run the source until the gateway says stop; return the exit status."""
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(Line, sock=sock)
    _beat(loop, line, spec.cpu_limit_s)

    def count(name: str, value: float = 1, **labels: str) -> None:
        line.say(Ask.COUNT.value, name, value, labels)

    log = Log(line)
    context = Context(
        hostname=spec.hostname,
        state_dir=spec.state_dir,
        base_dir=spec.base_dir,
        log=log,
        clock=time.time,
        stop_s=spec.stop_s,
        worker=spec.worker,
        workers=spec.workers,
        count=count,
    )
    connector = Apart(spec.name, spec.config.model_copy(update={"isolate": False}), context)
    connector.line, connector.began_with, connector.note = line, spec, note
    running = asyncio.ensure_future(connector.run(ProxyIntake(line)))
    stopping = asyncio.ensure_future(line.stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    status = 0
    try:
        await running
    except asyncio.CancelledError:
        pass
    except Exception as e:
        log.error("the source of an inbox fell over", exc_info=e)
        status = BROKEN
    await line.close()
    return status


def _beat(loop: asyncio.AbstractEventLoop, line: Line, cpu_limit_s: float) -> None:
    """Tell that the loop comes round, and have the kernel end the process where it does not come round again before
    it has used so much of the processor. A thread could not: an expression that never ends keeps the interpreter."""
    signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
    line.say(Ask.BEAT.value)
    loop.call_later(BEAT_S, _beat, loop, line, cpu_limit_s)


def _end_with_gateway(handle: int) -> None:
    """End the process as soon as the other end of the line is closed, also while a call blocks the loop."""
    poll = select.poll()
    poll.register(handle, 0)
    poll.poll()
    os._exit(0)


def _start(sock: socket.socket) -> Spec:
    """Return what the gateway sends first, and take nothing else off the line."""
    octets = _exactly(sock, int.from_bytes(_exactly(sock, 4), "little"))
    spec: Spec = pickle.loads(octets)
    return spec


def _exactly(sock: socket.socket, length: int) -> bytes:
    octets = b""
    while len(octets) < length:
        piece = sock.recv(length - len(octets))
        if not piece:
            os._exit(0)  # the gateway has ended
        octets += piece
    return octets


def _limit_memory(octets: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = octets if hard == resource.RLIM_INFINITY else min(octets, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A service manager sends them to every process; they are the gateway's to answer, which tells us.
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _, _, line, note = sys.argv
    sock = socket.socket(fileno=int(line))
    sock.setblocking(True)
    threading.Thread(target=_end_with_gateway, args=(sock.fileno(),), name="gateway", daemon=True).start()
    spec = _start(sock)
    sock.setblocking(False)
    # What was made until now stays, and holds next to no garbage; messages are freed by count of references.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    _limit_memory(spec.data_octets)
    try:
        import uvloop
    except ImportError:  # not made for every platform
        status = asyncio.run(serve(sock, spec, Note(int(note))))
    else:
        status = uvloop.run(serve(sock, spec, Note(int(note))))
    sys.exit(status)


if __name__ == "__main__":
    # By its own name, so that what is pickled here and there is of one module.
    from connectors.filedrop.apart.child import main as run

    run()
