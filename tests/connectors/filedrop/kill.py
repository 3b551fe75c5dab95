"""Runs something in a child process that dies at the n-th call that changes a disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

from gateway.mailbox_files import Operations

KILLED: Final = 9
DONE: Final = 0

UNSYNCED: Final = Operations(fsync=lambda handle: None)
"""What a dead process had written is the kernel's: only a power cut asks for syncs, and they take their time."""


def dies_at(call: int) -> Operations:
    """Return operations that end the process at a call, counted from 1: a write is half done then, others are not."""
    left = [call]

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                if name in ("write", "pwrite"):
                    handle, octets, *rest = args
                    real(handle, octets[: len(octets) // 2], *rest)
                os._exit(KILLED)
            return real(*args)

        return operation

    real = UNSYNCED
    return Operations(**{f.name: counted(f.name, getattr(real, f.name)) for f in fields(Operations)})


def run(what: Callable[[Operations], object], call: int) -> bool:
    """Run it in a child; tell whether it came to its end. Raises: AssertionError where it raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            what(dies_at(call))
            code = DONE
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (DONE, KILLED), f"the child ended with {code}"
    return code == DONE


def fails_at(call: int, error: OSError) -> Operations:
    """Return operations of which the n-th that changes something fails; reading and tidying up go on."""
    left = [call]

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                if name in ("write", "pwrite"):
                    handle, octets, *rest = args
                    real(handle, octets[: len(octets) // 2], *rest)
                raise error
            return real(*args)

        return operation

    real = UNSYNCED
    changing = ("open", "write", "pwrite", "fsync", "rename", "rename_new", "link", "mkdir")
    return Operations(**{name: counted(name, getattr(real, name)) for name in changing})
