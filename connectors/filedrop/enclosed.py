"""Files that a message names: claimed with it, read beside it, and finished with it.

Promises: only a regular file of the folder itself is opened, whatever its name or the folder's holds; what is claimed
has the message's token in its name, so that after a crash it is found again by the message's file, or, where that
has gone its way already, is known to be finished too. A file that a message says to keep is read where it is.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.filedrop.files import Claimed, NotRegular, OpenFile, is_token, short
from connectors.filedrop.formats import Beside
from connectors.filedrop.names import is_safe
from gateway.mailbox_files import REAL, Operations

MARK: Final = "+"
"""Stands behind the token in the name of a claimed file that a message names."""


class NotThere(FileNotFoundError):
    """A file that a message names is not in its folder, or its writer still holds it."""


class NotSafe(Exception):
    """A name that leads out of the folder, or to what is no plain file."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A file claimed for a message: where it is, and where it came from."""

    path: Path
    folder: Path
    name: str


class Enclosed:
    """The files that the messages of one claimed file name. `folder` is where they are where nothing else is said."""

    def __init__(self, claimed: Claimed, folder: Path, ops: Operations = REAL) -> None:
        self._claimed = claimed
        self._folder = folder
        self._ops = ops
        self._open: dict[Path, OpenFile] = {}
        self.taken: dict[Path, Taken] = {}

    def open(self, name: str) -> OpenFile:
        """Open a file by its name alone, and keep it open until `close`.

        Raises: NotThere, NotSafe, OSError.
        """
        path = self._path(Beside(name))
        if path not in self._open:
            self._open[path] = self._opened(path, name)
        return self._open[path]

    def opened(self, beside: Beside) -> OpenFile:
        """Open one of the files, to be closed by the caller. Raises: NotThere, NotSafe, OSError."""
        return self._opened(self._path(beside), beside.name)

    def size(self, beside: Beside) -> int:
        """Return a file's size in octets, claimed by now unless it is to be kept. Raises: as `opened`."""
        with self.opened(beside) as file:
            return file.size

    def _opened(self, path: Path, name: str) -> OpenFile:
        try:
            return OpenFile(path, self._ops)
        except FileNotFoundError as e:
            raise NotThere(errno.ENOENT, "not there", name) from e
        except NotRegular:
            raise NotSafe(f"{name} is a link, device, pipe or folder, not a file") from None

    def _path(self, beside: Beside) -> Path:
        """Return where the file is now, once it is claimed."""
        folder = self._checked(beside)
        if beside.keep:
            return folder / _name_there(folder, beside.name)
        digest = hashlib.sha256(os.fsencode(f"{beside.folder}/{beside.name}")).hexdigest()[:8]
        path = self._claimed.path.parent / short(f"{self._claimed.token}{MARK}{digest}.{beside.name}")
        if path in self.taken:
            return path
        if not os.path.lexists(path):
            name = _name_there(folder, beside.name)
            try:
                self._ops.rename(str(folder / name), str(path))
            except OSError as e:
                if e.errno in (errno.ENOENT, errno.EACCES, errno.EBUSY, errno.ETXTBSY):
                    raise NotThere(e.errno, "not there", beside.name) from e
                raise
        self.taken[path] = Taken(path, folder, beside.name)
        return path

    def _checked(self, beside: Beside) -> Path:
        if not is_safe(beside.name):
            raise NotSafe(f"{beside.name!r} is no name of a file alone")
        if not beside.folder:
            return self._folder
        base = self._folder.resolve()
        folder = Path(os.path.normpath(base / beside.folder))
        # Which folder it is the configuration says. Inside the inbox whoever writes there may have put a link in its
        # place that leads elsewhere.
        if folder.is_relative_to(base) and folder.resolve() != folder:
            raise NotSafe(f"{beside.folder!r} is a link")
        return folder

    def give_back(self) -> list[Taken]:
        """Put what was claimed back where it came from. Returns those whose name is taken there by now.

        Raises: OSError.
        """
        occupied = []
        for taken in self.taken.values():
            if os.path.lexists(taken.folder / taken.name):
                occupied.append(taken)
            elif os.path.lexists(taken.path):
                self._ops.rename(str(taken.path), str(taken.folder / taken.name))
        self.taken.clear()
        return occupied

    def check_unchanged(self) -> None:
        """Raises: Changed where one that is open is not what it was when opened."""
        for file in self._open.values():
            file.check_unchanged()

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()


def _name_there(folder: Path, name: str) -> str:
    """Return the name as it is in the folder: systems that mount it may not tell capitals from small letters."""
    if os.path.lexists(folder / name):
        return name
    small = name.lower()
    with suppress(OSError), os.scandir(folder) as found:
        return next((entry.name for entry in found if entry.name.lower() == small), name)
    return name


def belongs_to(name: str) -> tuple[str, str] | None:
    """Read the name of a file claimed for a message back: the message's token, the file's own name; None for others."""
    token, mark, rest = name.partition(MARK)
    digest, dot, own = rest.partition(".")
    if not (mark and dot and own and is_token(token) and len(digest) == 8):
        return None
    return token, own
