"""The log of the calls between the kit and a connector, shown beside each failure.

Each line is a time since the test's beginning, and a call or what it gave. A process that is to be killed writes its
lines to a file as well, from which the test takes them over.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final

from gateway.contract import Deferred, Message, Outcome, Parcel
from gateway.testing.samples import MARK

MOST: Final = 400
_SHOWN: Final = 160
_MOST_ARGUMENTS: Final = 4


class Calls:
    """The last calls, oldest first."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lines: list[str] = []
        self._left_out = 0
        self._file: int | None = None

    def note(self, text: str) -> None:
        """Write one line."""
        line = f"{time.monotonic() - self._began:8.3f}  {text}"
        self._lines.append(line)
        if len(self._lines) > MOST:
            self._left_out += len(self._lines) - MOST
            del self._lines[:-MOST]
        if self._file is not None:
            os.write(self._file, line.encode(errors="replace") + b"\n")

    def into(self, path: Path) -> None:
        """Have each line from now on in a file too; for a process that will be killed."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take_over(self, path: Path, said: str) -> None:
        """Add the lines of a process that has ended, with what became of it."""
        if path.exists():
            self._lines += [f"{line}  [in the process]" for line in path.read_text(errors="replace").splitlines()]
        self.note(said)

    def text(self) -> str:
        """Return all lines; empty where there is none."""
        first = [f"({self._left_out} earlier calls are left out)"] if self._left_out else []
        return "\n".join([*first, *self._lines])

    def watch(self, made: Any) -> Any:
        """Log the calls of a connector from now on, and return it."""
        for name in ("start", "stop", "run", "deliver", "reconfigure", "next_hop"):
            if callable(getattr(made, name, None)):
                setattr(made, name, self.logged(name, getattr(made, name)))
        if callable(getattr(made, "open", None)):
            made.open = self._opened(made.open)
        return made

    def watch_peer(self, driver: Any) -> None:
        """Log what the test's peer is told to do."""
        for name in ("submit", "break_peer", "mend_peer", "forget_tokens"):
            if callable(getattr(driver, name, None)):
                setattr(driver, name, self.logged(f"the peer: {name}", getattr(driver, name)))

    def logged(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that is logged with what it is given, and with what it returns where that is awaited."""

        def called(*given: Any, **named: Any) -> Any:
            self.note(f"{name}({_arguments(given, named)})")
            return call(*given, **named)

        async def awaited(*given: Any, **named: Any) -> Any:
            for each in given:  # the kit's own intake or batch logs what the connector asks of it
                if hasattr(each, "calls_log"):
                    each.calls_log = self
            self.note(f"{name}({_arguments(given, named)})")
            try:
                found = await call(*given, **named)
            except BaseException as e:
                self.note(f"{name} raised {_short(e)}")
                raise
            self.note(f"{name} returned {_short(found)}")
            return found

        return awaited if iscoroutinefunction(call) else called

    def _opened(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @asynccontextmanager
        async def opened(*given: Any) -> AsyncIterator[Any]:
            self.note(f"open({_arguments(given, {})})")
            async with call(*given) as mailbox:
                yield _Watched(self, mailbox)
            self.note("the mailbox is closed")

        return opened


class _Watched:
    """An open mailbox whose calls are logged."""

    def __init__(self, calls: Calls, mailbox: Any) -> None:
        self._calls, self._mailbox = calls, mailbox

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._mailbox, name)
        return self._calls.logged(name, found) if callable(found) else found


def _arguments(given: tuple[Any, ...], named: dict[str, Any]) -> str:
    shown = [_short(each) for each in given[:_MOST_ARGUMENTS]]
    return ", ".join([*shown, *(f"{name}={_short(value)}" for name, value in named.items())])


def _short(value: Any) -> str:
    """Return a value as a line of the log has it: what it is, never all that is in it."""
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} octets"
    if isinstance(value, Message):
        return message(value)
    if isinstance(value, Parcel):
        return parcel(value)
    if hasattr(value, "calls_log"):
        return str(value)
    if isinstance(value, list | tuple) and value:
        rest = ", …" if len(value) > _MOST_ARGUMENTS else ""
        return f"[{', '.join(_short(each) for each in value[:_MOST_ARGUMENTS])}{rest}]"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def message(value: Message) -> str:
    """Return a message as a line of the log has it."""
    number = value.content.get(MARK)
    name = f"message {number.decode('ascii', 'replace').strip()}" if number is not None else "a message"
    return f"{name} of {value.content.size} octets, dedupe key {value.envelope.dedupe_key!r}"


def parcel(value: Parcel) -> str:
    """Return a parcel as a line of the log has it."""
    return f"parcel {value.message_id} to {', '.join(str(item.address) for item in value.items)}"


def outcome(value: object) -> str:
    """Return an outcome in words: what it is, its status, and the scope of a deferral; anything else as it is."""
    if not isinstance(value, Outcome):
        return repr(value)
    scope = f" (Scope.{value.scope.name})" if isinstance(value, Deferred) else ""
    return f"{type(value).__name__}{scope} {value.status}"
