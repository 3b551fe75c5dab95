"""mbsync (isync), another program that keeps IMAP mailboxes in step: a configuration of its own, run once at a time."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.peers.dovecot import PASSWORD
from tests.peers.process import vm_hwm_bytes

_CONFIG: Final = """\
IMAPAccount far
Host 127.0.0.1
Port {far}
User {far_user}
Pass {password}
SSLType None
AuthMechs LOGIN

IMAPStore far
Account far

IMAPAccount near
Host 127.0.0.1
Port {near}
User {near_user}
Pass {password}
SSLType None
AuthMechs LOGIN

IMAPStore near
Account near

Channel all
Far :far:
Near :near:
Patterns *
Sync {sync}
Create {create}
CopyArrivalDate yes
SyncState {folder}/state/
"""


@dataclass(frozen=True)
class Ran:
    """What a run took: seconds from its start to its end, and the most memory it held, in octets."""

    seconds: float
    memory: int


def timed(command: Sequence[str | Path], log: Path, timeout_s: float) -> Ran:
    """Run a command, and tell what it took. Raises: RuntimeError with what it said where it failed, or did not end."""
    started = time.perf_counter()
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    deadline = time.monotonic() + timeout_s
    memory = 0
    while child.poll() is None:
        with contextlib.suppress(OSError, ProcessLookupError):
            memory = vm_hwm_bytes(child.pid)
        if time.monotonic() > deadline:
            child.kill()
            child.wait()
            break
        time.sleep(0.002)
    seconds = time.perf_counter() - started
    if child.returncode:
        said = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{command[0]} ended with {child.returncode} after {seconds:.0f} s: {said}")
    return Ran(seconds, memory)


class Mbsync:
    """A pair of mailboxes, on two servers by their ports. `both`: both ways, else from the far one to the near one."""

    def __init__(self, folder: Path, far: tuple[int, str], near: tuple[int, str], *, both: bool = False) -> None:
        if shutil.which("mbsync") is None:
            raise RuntimeError("there is no mbsync here (Debian: apt-get install isync)")
        self.state = folder / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        self._config = folder / "mbsyncrc"
        self._log = folder / "mbsync.out"
        self._config.write_text(
            _CONFIG.format(
                far=far[0],
                far_user=far[1],
                near=near[0],
                near_user=near[1],
                password=PASSWORD,
                sync="All" if both else "Pull",
                create="Both" if both else "Near",
                folder=folder,
            )
        )

    def adopt(self, mailbox: str, far: tuple[int, int], near: tuple[int, int]) -> None:
        """Write the state of a folder at the top that is the same on both sides, UID for UID: its UIDVALIDITY, and how
        many messages it has."""
        assert far[1] == near[1]
        lines = [
            f"FarUidValidity {far[0]}",
            f"NearUidValidity {near[0]}",
            f"MaxPulledUid {far[1]}",
            "MaxPushedUid 0",
            "",
        ]
        lines += [f"{uid} {uid} S" for uid in range(1, far[1] + 1)]
        (self.state / mailbox).write_text("\n".join([*lines, ""]))

    def run(self, timeout_s: float = 1800.0) -> Ran:
        """Run it once. Raises: RuntimeError with what it said where it failed, or did not end in time."""
        return timed(["mbsync", "-q", "-c", self._config, "-a"], self._log, timeout_s)
