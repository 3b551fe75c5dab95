"""The log: one line per event with the message's id, as JSON or for people, on standard error.

Promises: a line costs the event loop some microseconds and never waits for whoever reads the log; where the reader
is too slow, lines are dropped, counted, and the number is logged; secrets that were named never leave; a line holds
no line break, whatever a peer said.
Known limit: a kill takes up to 50 ms of lines along.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Final, Literal, Self

from gateway import ids

MAX_BUFFERED_LINES: Final = 20_000
MAX_LINE_CHARACTERS: Final = 16 * 1024
_FLUSH_S: Final = 0.05
_MIN_SECRET: Final = 3

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_INFO: Final = _LEVELS["info"]
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN: Final = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\"'=\\]+")
_is_plain: Final = _PLAIN.fullmatch
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z")
_ID: Final = "\ue000"
_VALUE: Final = "\ue001"
"""Marks of a form: private characters, which a line shows as they are."""

Event = MutableMapping[str, Any]

_sink: LogSink | None = None
"""Where the lines of this process go, since `configure`."""


class LogSink:
    """Takes lines without waiting, and writes them from a thread of its own.

    `descriptor` is where the lines go. At most `max_lines` wait; what comes beyond is dropped and counted. `render`
    makes a line of level, event and fields; `common` fields stand on every line; lines below `level` are not made.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        secrets: Iterable[str] = (),
        max_lines: int = MAX_BUFFERED_LINES,
        render: Callable[[str, str, Event], str] | None = None,
        level: int = 0,
        common: Mapping[str, Any] | None = None,
    ) -> None:
        self._descriptor = descriptor
        self.render = render or _as_json
        self.level = level
        self.common = dict(common or {})
        self._max_lines = max_lines
        self._lines: deque[str] = deque()  # append and popleft are atomic
        self._writing = False
        self._work = threading.Event()
        self._hurry = threading.Event()
        self._closed = False
        self._secrets: tuple[str, ...] = ()
        self.dropped = 0
        self._told = 0
        self.hide(secrets)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def hide(self, secrets: Iterable[str]) -> None:
        """Keep these texts out of every later line, also as they look inside JSON; those of a reload come on top.

        Texts under three characters are passed over: they would only blot out ordinary words.
        """
        texts = set(self._secrets)
        for secret in secrets:
            if len(secret) >= _MIN_SECRET:
                shown = {secret, repr(secret)[1:-1]}
                shown |= {_encode(text)[1:-1] for text in shown}
                texts |= shown | {_encode(text)[1:-1] for text in shown}
        # The longest first, or a secret that holds another one would be told in part.
        self._secrets = tuple(sorted(texts, key=len, reverse=True))

    def put(self, line: str, *, urgent: bool = False) -> None:
        """Take one line, without its line end."""
        if len(line) > MAX_LINE_CHARACTERS:
            line = line[:MAX_LINE_CHARACTERS] + "…"
        for secret in self._secrets:
            if secret in line:
                line = line.replace(secret, "***")
        lines = self._lines
        if len(lines) >= self._max_lines:
            self.dropped += 1
            return
        lines.append(line)
        if urgent:
            self._hurry.set()
        if not self._work.is_set():
            self._work.set()

    def flush(self, timeout_s: float = 1.0) -> bool:
        """Wait until all lines are written, at most so long; tells whether they are."""
        end = time.monotonic() + timeout_s
        while self._lines or self._writing:
            if time.monotonic() > end:
                return False
            self._hurry.set()
            time.sleep(0.001)
        return True

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits and end the thread, within the time-out. Safe to call twice."""
        self.flush(timeout_s)
        self._closed = True
        self._work.set()
        self._hurry.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closed:
            self._work.wait()
            self._hurry.wait(_FLUSH_S)  # one write serves all lines of this time
            self._hurry.clear()
            self._work.clear()
            # A line that is put from here on sets `_work` again, so none is left behind.
            self._writing = True
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if self.dropped != self._told:
                dropped = self.dropped
                lines.append(self.render("warning", "log_lines_dropped", {"lines": dropped - self._told}))
                self._told = dropped
            if lines:
                self._write(("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))
            self._writing = False

    def _write(self, octets: bytes) -> None:
        view = memoryview(octets)
        while view:
            try:
                written = os.write(self._descriptor, view)
            except BlockingIOError:
                time.sleep(_FLUSH_S)  # somebody made the pipe non-blocking; this thread may wait
            except OSError:
                return  # nobody reads any more; the gateway goes on
            else:
                view = view[written:]


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=2)
def _millisecond(ms: int) -> str:
    return f"{_second(ms // 1000)}.{ms % 1000:03d}Z"


def _iso(now: float) -> str:
    """Return UTC with milliseconds. Lines come many at a time, and one of these serves them."""
    return _millisecond(int(now * 1000))


def _as_json(level: str, name: str, fields: Event) -> str:
    return _json_text({"time": _iso(time.time()), "level": level, "event": name, **fields})


def _json_text(value: object) -> str:
    # json escapes all control characters but these, which some readers take for line ends.
    return _encode(value).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")


def _as_text(level: str, name: str, fields: Event) -> str:
    where = fields.pop("connector", None) or fields.pop("part", "")
    exception = fields.pop("exception", None)
    begun = f"{where}: {_event(name)}" if where else _event(name)
    line = f"{_iso(time.time())} {level:<7} {begun}"
    for key, value in fields.items():
        kind = type(value)
        # Asked anew for each: of a line's texts the most are its own, and would only push each other out of a memory.
        if kind is int or (kind is str and _is_plain(value)):
            line += f" {key}={value}"
        else:
            line += f" {key}={_text(value)}"
    return f"{line} {_unbroken(exception)}" if exception else line


def _text(value: object) -> str:
    text = value if type(value) is str else str(value)
    return text if _is_plain(text) else _encode(_unbroken(text))


def _unbroken(text: str) -> str:
    return _UNSAFE.sub(lambda c: " | " if c[0] == "\n" else f"\\x{ord(c[0]):02x}", text)


_event = lru_cache(maxsize=1024)(_unbroken)  # the events are few


def _with_exception(fields: Event) -> Event:
    info = fields.pop("exc_info")
    if info is True:
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if info and info[0] is not None:
        fields["exception"] = logging.Formatter().formatException(info)
    return fields


class Logger:
    """The logger that all parts get: its context and a line's own fields go to the process's sink, rendered.

    Two lines are written for each message, so there is no chain of processors, which took most of a line's time; and
    no library of them, which took a twentieth of a start's. Until `configure`, lines go to standard error at once.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._context = dict(context)

    @property
    def context(self) -> Mapping[str, Any]:
        """The fields on each line."""
        return self._context

    def bind(self, **fields: Any) -> Self:
        """Return a logger with further fields on each line."""
        return type(self)({**self._context, **fields})

    def new(self, **fields: Any) -> Self:
        """Return a logger with these fields on each line, and no others."""
        return type(self)(fields)

    def _tell(self, level: str, event: object, fields: Event) -> None:
        sink = _sink
        if sink is None:
            fields = {**self._context, **fields}
        elif _LEVELS[level] < sink.level:
            return
        else:
            fields = {**sink.common, **self._context, **fields}
        message_id = fields.get("message_id")
        if type(message_id) is int:
            fields["message_id"] = ids.text(message_id)  # the form that commands take
        if "exc_info" in fields:
            fields = _with_exception(fields)
        if sink is None:
            print(_as_text(level, str(event), fields), file=sys.stderr)
        else:
            sink.put(sink.render(level, str(event), fields), urgent=level not in ("info", "debug"))

    def debug(self, event: object = "", **fields: Any) -> None:
        self._tell("debug", event, fields)

    def info(self, event: object = "", **fields: Any) -> None:
        self._tell("info", event, fields)

    def warning(self, event: object = "", **fields: Any) -> None:
        self._tell("warning", event, fields)

    warn = warning

    def error(self, event: object = "", **fields: Any) -> None:
        self._tell("error", event, fields)

    def critical(self, event: object = "", **fields: Any) -> None:
        self._tell("critical", event, fields)

    fatal = critical

    def form(self, event: str, name: str, **fields: Any) -> Form:
        """Return a form of lines on level info, each with a message's id in front of the fields, and behind them one
        value by this name."""
        return Form(self, event, name, fields)

    def exception(self, event: object = "", **fields: Any) -> None:
        self._tell("error", event, {"exc_info": True, **fields})


class Form:
    """Lines that say the same but for a message's id and one value; made by `Logger.form`, at a third of a line's cost.

    The line is rendered once, with marks in place of what varies, and cut there.
    """

    __slots__ = ("_event", "_fields", "_logger", "_name", "_pieces", "_sink")

    def __init__(self, logger: Logger, event: str, name: str, fields: Mapping[str, Any]) -> None:
        self._logger = logger
        self._event = event
        self._name = name
        self._fields = dict(fields)
        self._sink: LogSink | None = None
        self._pieces: tuple[str, str, str, str] | None = None
        """What stands before the time, the id and the value, and behind that; None where a field holds a mark."""

    def tell(self, message_id: int, value: int | str) -> None:
        """Write a line, as `Logger.info` would."""
        sink = _sink
        if sink is not None and sink is not self._sink:
            self._sink, self._pieces = sink, self._cut(sink)
        if sink is None or self._pieces is None:
            self._logger.info(self._event, message_id=message_id, **self._fields, **{self._name: value})
        elif sink.level <= _INFO:
            begun, before_id, before_value, rest = self._pieces
            if type(value) is not int:
                value = _json_text(value) if sink.render is _as_json else _text(value)
            sink.put(f"{begun}{_iso(time.time())}{before_id}{ids.text(message_id)}{before_value}{value}{rest}")

    def _cut(self, sink: LogSink) -> tuple[str, str, str, str] | None:
        fields = {**sink.common, **self._logger.context, "message_id": _ID, **self._fields, self._name: _VALUE}
        line = sink.render("info", self._event, fields)
        if sink.render is _as_json:
            line = line.replace(f'"{_VALUE}"', _VALUE)  # the quotes of a text are its own
        at = _TIME.search(line)
        if at is None or line.count(_ID) != 1 or line.count(_VALUE) != 1:
            return None
        before_id, _, rest = line[at.end() :].partition(_ID)
        before_value, _, rest = rest.partition(_VALUE)
        return line[: at.start()], before_id, before_value, rest


class Silence(Logger):
    """A logger that says nothing, for parts that are built to be asked and never started."""

    __slots__ = ()

    def _tell(self, level: str, event: object, fields: Event) -> None:
        pass


class _FromLibraries(logging.Handler):
    """Brings the lines of libraries that use `logging` into the same log."""

    def __init__(self, sink: LogSink) -> None:
        super().__init__()
        self.sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: Event = {**self.sink.common, "part": record.name}
            if record.exc_info:
                fields = _with_exception({**fields, "exc_info": record.exc_info})
            self.sink.put(self.sink.render(record.levelname.lower(), record.getMessage(), fields), urgent=True)
        except Exception:  # noqa: BLE001  a library's broken log call must not break what it logged about
            self.handleError(record)


def configure(
    *,
    format: Literal["console", "json"] = "console",
    level: str = "info",
    secrets: Iterable[str] = (),
    descriptor: int = 2,
    fields: Mapping[str, Any] | None = None,
) -> LogSink:
    """Set up the log of this process, and return its sink, which is closed at the end.

    `fields` stand on every line, such as the worker's number. Libraries' lines come from level warning on.
    """
    global _sink
    sink = LogSink(
        descriptor,
        secrets=secrets,
        render=_as_json if format == "json" else _as_text,
        level=_LEVELS[level],
        common=fields or {},
    )
    _sink = sink
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _FromLibraries)]:
        root.removeHandler(handler)
    root.addHandler(_FromLibraries(sink))
    root.setLevel(logging.WARNING)
    return sink


def hide(secrets: Iterable[str]) -> None:
    """Keep further texts out of this process's log from now on, as after a reload of the configuration."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _FromLibraries):
            handler.sink.hide(secrets)


def lines_dropped() -> int:
    """Return how many lines of this process's log were dropped, its reader being too slow."""
    return sum(handler.sink.dropped for handler in logging.getLogger().handlers if isinstance(handler, _FromLibraries))


def get_log(part: str, **fields: Any) -> Logger:
    """Return a logger for a part of the gateway. Give `message_id=` (the number) with every line about a message."""
    return Logger({"part": part, **fields})
