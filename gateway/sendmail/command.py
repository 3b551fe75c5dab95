"""The command `gatepost-sendmail`: one call, from its arguments to its exit status (sysexits.h)."""

from __future__ import annotations

import os
import sys

from gateway.sendmail import handover, options
from gateway.sendmail.way import Kept, Unkept, Unreachable, ask, drop, folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

OK, USAGE, NOINPUT, UNAVAILABLE, IOERR, TEMPFAIL = 0, 64, 66, 69, 74, 75


def main() -> None:
    """Run the command, and exit."""
    try:
        status = run(sys.argv[1:], os.path.basename(sys.argv[0]))
    except options.Refused as refused:
        tell(str(refused))
        status = refused.status
    except KeyboardInterrupt:
        status = TEMPFAIL
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass  # nobody reads it: `mailq | head`
    # Nothing is left to be done, and to free what the system frees costs a fifth of the time.
    os._exit(status)


def run(arguments: list[str], program: str) -> int:
    """Do what is asked for; return the exit status. Raises: options.Refused."""
    call = options.parse(arguments, program)
    if call.mode == options.SMTP:
        from gateway.sendmail.dialogue import converse

        return converse(call, folder())
    if call.mode in (options.QUEUE, options.VERIFY):
        return _ask(call)
    kept = Kept()
    try:
        read_message(kept, ends_at_dot=call.ends_at_dot)
    except Unkept as fault:
        tell(str(fault))
        return TEMPFAIL
    except OSError as fault:
        tell(f"the message could not be read: {fault.strerror}")
        return NOINPUT
    status, text = post(call, kept)
    if status or call.verbose:
        tell(text)
    return status


def tell(text: str) -> None:
    """Write to standard error, which is what the caller, or cron's mail, shows."""
    sys.stderr.write(f"gatepost-sendmail: {text.rstrip()}\n")


def _ask(call: options.Call) -> int:
    words = [("do", call.mode), *_envelope(call)]
    try:
        status, text = ask(folder(), [handover.write(words)])
    except Unreachable as fault:
        tell(f"the gateway does not run, or cannot be asked now: {fault}")
        return TEMPFAIL
    sys.stdout.write(text)
    return status


def _envelope(call: options.Call) -> list[tuple[str, str]]:
    words = [("name", call.name), ("notify", call.notify), ("ret", call.ret), ("envid", call.envid)]
    words = [(word, value) for word, value in words if value]
    if call.sender is not None:
        words.append(("sender", call.sender))
    if call.reads_header:
        words.append(("header", ""))
    return words + [("to", recipient) for recipient in call.recipients]


def post(call: options.Call, kept: Kept) -> tuple[int, str]:
    """Hand a message over to the daemon, or leave it in the drop folder; return exit status and words.

    Durable when this returns with status 0.
    """
    id = os.urandom(16).hex()
    where = folder()
    head = handover.write([("do", "mail"), ("id", id), ("size", str(kept.size)), *_envelope(call)])

    def pieces() -> Iterator[bytes]:
        yield head
        yield from kept.pieces()

    try:
        status, text = ask(where, pieces())
        if status != TEMPFAIL:
            return status, text
    except Unreachable as fault:
        text = str(fault)
    try:
        drop(where, id, pieces())
    except OSError as fault:
        return TEMPFAIL, f"the gateway cannot take it now ({text.rstrip()}), nor can {where}: {fault.strerror}"
    return OK, f"left for the gateway, which cannot take it now: {text}"


def read_message(kept: Kept, *, ends_at_dot: bool, file: int = 0) -> None:
    """Read standard input to its end, or to a line that is a single dot. Raises: OSError."""
    held = b""  # the begin of a line, as far as it may become a single dot
    fresh = True
    while octets := os.read(file, 65536):
        if not ends_at_dot:
            kept.add(octets)
            continue
        octets = held + octets
        end = _dot(octets, fresh)
        if end >= 0:
            kept.add(octets[:end])
            return
        cut = octets.rfind(b"\n") + 1
        held = octets[cut:]
        if (fresh or cut) and held in (b"", b".", b".\r"):
            kept.add(octets[:cut])
            fresh = True
        else:
            kept.add(octets)
            held, fresh = b"", False


def _dot(octets: bytes, fresh: bool) -> int:
    """Return where a line begins that is a single dot, -1 where there is none; `fresh` where a line begins at 0."""
    if fresh and octets.startswith((b".\n", b".\r\n")):
        return 0
    found = [at for at in (octets.find(b"\n.\n"), octets.find(b"\n.\r\n")) if at >= 0]
    return min(found) + 1 if found else -1
