"""The reading process: `python -m connectors.filedrop.apart.child FD`, started by `parent.py` alone.

Everything runs in one thread, file calls too: nobody else's work waits here. A watcher ends the process where one call
has used `CPU_LIMIT_S` of the processor without a pause, and the kernel where it wants more than `DATA_OCTETS`; the
gateway starts another. It ends at once when the gateway does.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final, ParamSpec, TypeVar, cast

from connectors.filedrop.apart.spec import Spec
from connectors.filedrop.apart.wire import (
    Answer,
    Ask,
    Frames,
    content_out,
    envelope_out,
    fault_in,
    frame,
)
from connectors.filedrop.connector import FileDrop
from connectors.filedrop.files import Claimed
from connectors.filedrop.formats import Bad
from connectors.filedrop.inbox import Inbox, Large, Loaded
from connectors.filedrop.reading import Reading
from gateway.contract import Content, Context, Envelope, Message, Receipt, Recipient, Status, Traits

P = ParamSpec("P")
R = TypeVar("R")

CPU_LIMIT_S: Final = 60.0
DATA_OCTETS: Final = 2 * 1024 * 1024 * 1024
BROKEN: Final = 70
"""EX_SOFTWARE of sysexits.h: the watcher has ended it."""

_UNDRAINED: Final = 1024 * 1024


class Inline(Executor):
    """Runs each call at once, in the thread that asks."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as e:  # noqa: BLE001  it is raised where the result is asked for
            future.set_exception(e)
        return future


class Line(asyncio.Protocol):
    """The connection to the gateway."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._calls = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._transport: asyncio.WriteTransport | None = None
        self._out: list[bytes] = []
        self.stop = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        # Whatever is under way here is taken up by the next process, or was answered.
        os._exit(0)

    def data_received(self, data: bytes) -> None:
        for values in self._frames.feed(data):
            kind = values[0]
            if kind == Answer.STOP:
                self.stop.set()
                continue
            waiting = self._waiting.pop(values[1], None)
            if waiting is None or waiting.done():
                continue
            if kind == Answer.RECEIPT:
                waiting.set_result(Receipt(values[2], values[3]))
            elif kind == Answer.DONE:
                waiting.set_result(None)
            else:
                waiting.set_exception(fault_in(values))

    def say(self, *values: Any) -> None:
        """Send a frame that is not answered, with those of the same turn of the loop."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(frame(values))

    def _flush(self) -> None:
        assert self._transport is not None
        octets = b"".join(self._out)
        self._out.clear()
        self._transport.write(octets)

    def ask(self, kind: Ask, *values: Any) -> asyncio.Future[Any]:
        """Send a frame; the future gives its answer, or raises what the gateway raised."""
        self._calls += 1
        call = self._calls
        answer = self._waiting[call] = asyncio.get_running_loop().create_future()
        self.say(kind.value, call, *values)
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
        self._line.say(Ask.WRITE.value, self._number, piece)
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
        content = message.content
        writer = content.writer if isinstance(content, _Written) else None
        return self._line.ask(Ask.ACCEPT, envelope_out(message.envelope), content_out(content, writer), report)

    async def accept(self, message: Message, *, report: bool = False) -> Receipt:
        return await self.submit(message, report=report)


class Log:
    """The gateway's log, at the other end of the line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def _say(self, level: str, event: str, keywords: dict[str, Any]) -> None:
        fault = keywords.pop("exc_info", None)
        said = {key: value if isinstance(value, int | float | str) else str(value) for key, value in keywords.items()}
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


class CarefulInbox(Inbox):
    """An Inbox that says which file it looks at, and leaves alone those that ended the process before."""

    line: Line
    suspects: frozenset[str]

    def load(self, one: Claimed) -> Loaded | Large | Bad:
        self.line.say(Ask.LOADING.value, one.token)
        return _ENDS_READER if one.token in self.suspects else super().load(one)

    def open(self, one: Claimed) -> Reading | Bad:
        self.line.say(Ask.LOADING.value, one.token)
        return _ENDS_READER if one.token in self.suspects else super().open(one)


_ENDS_READER: Final = Bad(
    "filedrop.ends-reader",
    0,
    0,
    "reading the file ended the process that reads, twice: it took too much memory or time, or broke it",
    "mend the file, or report the fault with it",
)


class Apart(FileDrop):
    """The connector as it runs in this process: its source alone."""

    line: Line
    spec: Spec
    _told: str | None = None

    def inbox(self, kind: type[Inbox] = Inbox) -> Inbox:
        if not self.spec.careful:
            return super().inbox(kind)
        made = super().inbox(CarefulInbox)
        assert isinstance(made, CarefulInbox)
        made.line, made.suspects = self.line, self.spec.suspects
        return made

    def readers(self) -> Executor:
        return Inline()

    def _tell_in(self, trouble: str | None) -> None:
        if trouble != self._told:
            self._told = trouble
            self.line.say(Ask.TROUBLE.value, trouble)


async def serve(sock: socket.socket, spec: Spec) -> None:
    """Run the source until the gateway says stop."""
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(Line, sock=sock)
    _Watcher(loop).start()

    def count(name: str, value: float = 1, **labels: str) -> None:
        line.say(Ask.COUNT.value, name, value, labels)

    context = Context(
        hostname=spec.hostname,
        state_dir=spec.state_dir,
        base_dir=spec.base_dir,
        log=Log(line),
        clock=time.time,
        stop_s=spec.stop_s,
        worker=spec.worker,
        workers=spec.workers,
        count=count,
    )
    connector = Apart(spec.name, spec.config.model_copy(update={"isolate": False}), context)
    connector.line, connector.spec = line, spec
    running = asyncio.ensure_future(connector.run(ProxyIntake(line)))
    stopping = asyncio.ensure_future(line.stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        return


class _Watcher(threading.Thread):
    """Ends the process where the loop does not come round while it uses the processor."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="watcher", daemon=True)
        self._loop = loop
        self._rounds = 0
        self._beat()

    def _beat(self) -> None:
        self._rounds += 1
        self._loop.call_later(1.0, self._beat)

    def run(self) -> None:
        seen, since = 0, time.process_time()
        while True:
            time.sleep(1.0)
            if self._rounds != seen:
                seen, since = self._rounds, time.process_time()
            elif time.process_time() - since > CPU_LIMIT_S:
                os._exit(BROKEN)


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.setblocking(True)
    with sock.makefile("rb") as start:
        spec: Spec = pickle.loads(start.read(int.from_bytes(start.read(4), "little")))
    sock.setblocking(False)
    # What was made until now stays; messages are freed by count of references.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_OCTETS, DATA_OCTETS))
    try:
        import uvloop
    except ImportError:  # not made for every platform
        asyncio.run(serve(sock, spec))
    else:
        uvloop.run(serve(sock, spec))


if __name__ == "__main__":
    # By its own name, so that what is pickled here and there is of one module.
    from connectors.filedrop.apart.child import main as run

    run()
