"""The drop folder: hand-overs that came while no daemon answered. Everything here blocks; call it in a thread.

`drop/` is the gateway's, mode 3733: everybody may put files in, nobody else may list it; the sticky bit leaves a file
to its owner and to the gateway, and the set-group-ID bit gives it the gateway's group, so that 0640 lets the gateway
read it and nobody beside. `claimed/` and `bad/` lie beside it, 0700, on the same file system: a claim is a rename.

Who handed a file in is its owner. A hard link to a file of somebody else would lie about that, so a file with two names
is put aside (Linux lets nobody make such links, where fs.protected_hardlinks is 1).
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.sendmail.handover import MOST_HEAD, Malformed
from gateway.sendmail.way import BEGUN, DONE

MODE: Final = 0o3733
CLAIMED: Final = "claimed"
BAD: Final = "bad"
MOST_AT_ONCE: Final = 100
STALE_S: Final = 86_400.0
"""Age at which what was begun and never finished is removed."""
_NAME: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Bad:
    """A file that is no hand-over, and where it was put aside."""

    name: str
    why: str
    kept: Path


class Dropped:
    """One claimed hand-over, open for reading."""

    def __init__(self, name: str, uid: int, file: int) -> None:
        self.name = name
        self.id = name.removesuffix(DONE)
        self.uid = uid
        self._file = file
        self._rest = b""

    def head(self) -> bytes:
        """Return what stands before the empty line; `read` goes on behind it. Raises: Malformed, OSError."""
        octets = bytearray()
        while b"\n\n" not in octets:
            piece = os.read(self._file, 65536)
            if not piece or len(octets) > MOST_HEAD:
                raise Malformed("its head has no end")
            octets += piece
        head, _, rest = bytes(octets).partition(b"\n\n")
        self._rest = rest
        return head

    def read(self, most: int) -> bytes:
        rest, self._rest = self._rest, b""
        return rest or os.read(self._file, most)

    def close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


class Folder:
    """The drop folder `path`, with its neighbours. `most` is the largest file taken."""

    def __init__(self, path: Path, most: int) -> None:
        self.path = path
        self.claimed = path.parent / CLAIMED
        self.bad = path.parent / BAD
        self._most = most

    def make(self) -> None:
        """Make the folders and set their modes. Raises: OSError."""
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for folder, mode in ((self.path, MODE), (self.claimed, 0o700), (self.bad, 0o700)):
            folder.mkdir(mode=0o700, exist_ok=True)
            if stat.S_IMODE(folder.stat().st_mode) != mode:
                folder.chmod(mode)

    def claim(self, put_off: Container[str] = ()) -> list[Dropped | Bad]:
        """Claim what lies there, and take up what was claimed before, but for what is put off. Raises: OSError."""
        names = []
        with os.scandir(self.path) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    self._clear_away(entry.name)
                elif entry.name.endswith(DONE):
                    names.append(entry.name)
                elif entry.name.endswith(BEGUN):
                    self._remove_stale(entry)
                if len(names) >= MOST_AT_ONCE:
                    break
        for name in names:
            with suppress(FileNotFoundError):  # its owner has taken it back
                os.rename(self.path / name, self.claimed / name)
        with os.scandir(self.claimed) as found:
            mine = sorted(
                (entry.stat(follow_symlinks=False).st_mtime_ns, entry.name)
                for entry in found
                if entry.name not in put_off
            )
        return [self._open(name) for _, name in mine[:MOST_AT_ONCE]]

    def _clear_away(self, name: str) -> None:
        """Move a folder to where it is put aside; one that only its owner can move stays, and is in nobody's way."""
        if name.endswith(DONE):
            with suppress(OSError):
                os.rename(self.path / name, self.claimed / name)

    def _remove_stale(self, entry: os.DirEntry[str]) -> None:
        with suppress(FileNotFoundError):  # it was finished meanwhile
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE_S:
                os.unlink(entry.path)

    def _open(self, name: str) -> Dropped | Bad:
        if not _NAME.fullmatch(name.removesuffix(DONE)):
            return self._bad(name, "its name is not one that gatepost-sendmail gives")
        try:
            file = os.open(self.claimed / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as fault:
            return self._bad(name, f"it cannot be opened: {fault.strerror}")
        found = os.fstat(file)
        why = ""
        if not stat.S_ISREG(found.st_mode):
            why = "it is no regular file"
        elif found.st_nlink != 1:
            why = "it has another name elsewhere, so that its owner may not be who put it here"
        elif found.st_size > self._most:
            why = f"it has {found.st_size} octets, and {self._most} are the most"
        if why:
            os.close(file)
            return self._bad(name, why)
        return Dropped(name, found.st_uid, file)

    def _bad(self, name: str, why: str) -> Bad:
        return Bad(name, why, self.put_aside(name))

    def put_aside(self, name: str) -> Path:
        """Put a claimed file where an operator finds it. Raises: OSError."""
        kept = self.bad / name
        if os.path.lexists(kept):  # perhaps a folder, which nothing can take the place of
            kept = self.bad / f"{name}.{time.time_ns():x}"
        os.rename(self.claimed / name, kept)
        return kept

    def remove(self, name: str) -> None:
        """Remove a claimed file whose message is in the spool. Raises: OSError."""
        os.unlink(self.claimed / name)
