"""Giving a message to a program: bounded in time, processor time and memory, and answered by its exit status.

Promises: no shell reads any word of it; it gets the environment that is configured and nothing of the gateway's; it
and all that it started are killed at the bound, when it has ended, and where the gateway stops; its limits are set
before its first instruction, by prlimit(1) of util-linux. A word of a command that an address fills from its start
never begins with a dash.
Source: sysexits.h of 4.3BSD, as delivery agents use it; an unknown fault is a deferral.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.folders.local.config import ProgramConfig
from connectors.folders.local.places import Mailbox
from gateway.contract import Address, Deferred, Delivered, Failed, Outcome, Status

PRLIMIT: Final = "/usr/bin/prlimit"
PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_MOST_SAID: Final = 4096
_PIECE: Final = 64 * 1024
_LOOK_S: Final = 0.25

_FAILS: Final = {
    65: ("5.6.0", "says that the message is ill-formed"),
    67: ("5.1.1", "knows no such user"),
    68: ("5.1.2", "knows no such host"),
    69: ("5.3.0", "cannot do this"),
    76: ("5.5.0", "was spoken to in a way it does not understand"),
    77: ("5.7.1", "may not do this"),
}
_WAITS: Final = {
    64: ("4.3.5", "was called in a way it does not understand"),
    66: ("4.3.0", "cannot read its input"),
    70: ("4.3.0", "has a fault"),
    71: ("4.3.0", "gets something from the system that it needs"),
    72: ("4.3.5", "lacks a file of the system"),
    73: ("4.2.0", "cannot make its file"),
    74: ("4.3.0", "cannot read or write"),
    75: ("4.3.0", "asks to be tried later"),
    78: ("4.3.5", "is configured wrongly"),
    126: ("4.3.5", "cannot be run"),
    127: ("4.3.5", "is not there, or cannot be run"),
}
"""Exit statuses; those of a set-up that somebody has to mend keep the message."""


class BadWord(Exception):
    """An address that can be no argument of a program."""


@dataclass(frozen=True, slots=True)
class Call:
    """One message for one mailbox, as a program is told of it. `sender` is None for the null reverse-path."""

    mailbox: Mailbox
    home: Path
    sender: Address | None
    recipient: Address
    original: Address


def words_of(program: ProgramConfig, call: Call) -> list[str]:
    """Return the command's words, filled in. Raises: BadWord."""
    mailbox = call.mailbox
    values = {
        "{mailbox}": mailbox.name,
        "{user}": mailbox.user,
        "{domain}": mailbox.domain,
        "{sender}": "" if call.sender is None else call.sender.value,
    }
    return [program.command[0], *(_filled(word, values) for word in program.command[1:])]


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Fill one word, what stands for something in one pass: a value may read like a place itself."""
    word, rest = "", template
    while rest:
        place = next((each for each in values if rest.startswith(each)), None)
        word += rest[0] if place is None else values[place]
        rest = rest[1:] if place is None else rest[len(place) :]
    if template.startswith("{") and word.startswith("-"):
        raise BadWord(word)
    if "\0" in word:
        raise BadWord(word)
    return word


def environment_of(program: ProgramConfig, call: Call) -> dict[str, str]:
    """Return the whole environment that a program gets."""
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "HOME": str(call.home),
        "USER": call.mailbox.user,
        "LOGNAME": call.mailbox.user,
        "SENDER": "" if call.sender is None else call.sender.value,
        "RECIPIENT": call.recipient.value,
        "ORIGINAL_RECIPIENT": call.original.value,
        "DOMAIN": call.mailbox.domain,
        **program.environment,
    }


def outcome_of(name: str, status: int, said: str) -> Outcome:
    """Return what an exit status means, negative for a signal. Pure."""
    if status == 0:
        return Delivered(Status("2.0.0", f"taken by the program {name}"))
    cause = said.strip()[:500]
    if status in _FAILS:
        code, text = _FAILS[status]
        return Failed(Status(code, f"the program {name} {text}", cause=cause))
    code, text = _WAITS.get(status, ("4.3.0", f"ended with status {status}"))
    if status < 0:
        with suppress(ValueError):
            text = f"was ended by {signal.Signals(-status).name}"
    return Deferred(Status(code, f"the program {name} {text}", cause=cause))


def run(
    name: str, program: ProgramConfig, call: Call, message: Iterator[bytes], stopped: Callable[[], bool]
) -> Outcome:
    """Give a message to a program, and return what came of it; looks now and then whether the gateway is `stopped`.

    Blocks, at most for the program's bound. Raises: what reading the message raises.
    """
    try:
        words = words_of(program, call)
    except BadWord as bad:
        return Failed(Status("5.1.3", f"{str(bad)[:100]!r} can be no argument of a program"))
    limits = (
        f"--as={program.memory_bytes}",
        f"--cpu={program.cpu_s}",
        f"--fsize={program.file_bytes}",
        "--core=0",
    )
    try:
        process = subprocess.Popen(
            [PRLIMIT, *limits, "--", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment_of(program, call),
            cwd="/",
            start_new_session=True,
            umask=0o077,
            bufsize=0,
        )
    except OSError as fault:
        cause = f"{words[0]}: {fault.strerror or fault}"
        return Deferred(Status("4.3.5", f"the program {name} cannot be run", cause=cause))
    said = bytearray()
    try:
        has_ended = _converse(process, message, said, time.monotonic() + program.timeout_s, stopped)
    finally:
        status = _end(process)
    if not has_ended:
        text = "the gateway stops" if stopped() else f"it took longer than {program.timeout_s:g} s"
        cause = said.decode("utf-8", "replace").strip()[:500]
        return Deferred(Status("4.3.0", f"the program {name} was ended: {text}", cause=cause))
    return outcome_of(name, status, said.decode("utf-8", "replace"))


def _converse(
    process: subprocess.Popen[bytes],
    message: Iterator[bytes],
    said: bytearray,
    until: float,
    stopped: Callable[[], bool],
) -> int | None:
    """Feed a process and keep the beginning of what it says, until it has ended; None where it has not in time.

    Its end is told by the system and not by its pipes, which what it has started may hold open.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    into, out_of = process.stdin.fileno(), process.stdout.fileno()
    ended = os.pidfd_open(process.pid)
    os.set_blocking(into, False)
    os.set_blocking(out_of, False)
    held = memoryview(b"")
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(into, selectors.EVENT_WRITE)
            selector.register(out_of, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while (left := until - time.monotonic()) > 0 and not stopped():
                ready = {key.fd for key, _ in selector.select(min(left, _LOOK_S))}
                if out_of in ready and not _heard(out_of, said):
                    selector.unregister(out_of)
                if ended in ready:
                    _heard(out_of, said)
                    return True
                if into in ready:
                    if not held:
                        held = memoryview(next(message, b""))
                    try:
                        held = held[os.write(into, held[:_PIECE]) :]
                        is_over = not held and not (held := memoryview(next(message, b"")))
                    except BlockingIOError:
                        is_over = False
                    except BrokenPipeError:  # it does not read on: it may have seen enough
                        is_over = True
                    if is_over:
                        selector.unregister(into)
                        process.stdin.close()
    finally:
        os.close(ended)
    return False


def _heard(handle: int, said: bytearray) -> bool:
    """Read what a process says, and keep the beginning; say whether there may be more."""
    try:
        octets = os.read(handle, _PIECE)
    except BlockingIOError:
        return True
    said.extend(octets[: max(0, _MOST_SAID - len(said))])
    return bool(octets)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Kill a process and all of its group, which it leads, and return its status: its own where it has ended.

    Before it is waited for: until then its number is nobody else's.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    return status


def check(programs: Mapping[str, ProgramConfig]) -> None:
    """Look whether programs can be run. Raises: OSError that names the one that cannot."""
    wanted: Sequence[tuple[str, str]] = [(name, program.command[0]) for name, program in programs.items()]
    if wanted and not os.access(PRLIMIT, os.X_OK):
        raise FileNotFoundError(f"programs need {PRLIMIT}, which bounds them (Debian: apt-get install util-linux)")
    for name, path in wanted:
        if not os.access(path, os.X_OK) or not Path(path).is_file():
            raise FileNotFoundError(f"the program {name} is not there, or may not be run: {path}")
