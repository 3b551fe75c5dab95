"""A tree of mailbox files: a file is a folder, and what is below it lies in a folder beside it.

Read: `Name` with `Name.sbd` beside it (Thunderbird), `Name` within a plain folder (Dovecot, mutt), `Name.mbox/mbox`
(Apple Mail), `Name.mbox` and `Name.mbx`. Written as Thunderbird has it. What is no mailbox by its first octets is none.
A folder's id is its file's name below the top, empty for the inbox where that is apart, or the only one.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.folders.backend import bad_name, no_folder
from connectors.folders.paths import untaken
from connectors.folders.reading import opened, owned
from gateway.contract import Status, StoreFault

BELOW: Final = ".sbd"
INBOX: Final = "Inbox"
_APPLE: Final = ".mbox"
_ENDINGS: Final = (".mbox", ".mbx")
_OTHERS: Final = ("msf", "lock", "dat", "toc", "sqlite", "json", "html", "pce", "ini", "log", "txt", "js", "xml", "rc")
_NEVER: Final = tuple(f".{ending}" for ending in _OTHERS)
"""What files beside mailboxes are called."""
_DEEPEST: Final = 32
_TO_ESCAPE: Final = re.compile(rf"/|^\.|%(?=[0-9A-F]{{2}})|\.(?=(?:sbd|mbox|mbx|{'|'.join(_OTHERS)})$)", re.IGNORECASE)
_ESCAPED: Final = re.compile(r"%(2F|2E|25)")


@dataclass(frozen=True, slots=True)
class Place:
    """A folder: its id, its path, and its file."""

    id: str
    path: tuple[str, ...]
    file: Path


class Tree:
    """The mailbox files of one mailbox. `inbox` is the inbox's file, where that is apart."""

    def __init__(self, root: Path, inbox: Path | None, is_mailbox: Callable[[bytes], bool], *, create: bool) -> None:
        self._root = root
        self._inbox = inbox
        self._is_mailbox = is_mailbox
        if create and inbox is not None and not inbox.exists():
            _made(inbox)
        if create and not root.exists():
            root.mkdir(parents=True)
            owned(root)
            if inbox is None:
                _made(root / INBOX)
        self.check()

    def check(self) -> None:
        """See that the mailbox is there. Raises: StoreFault."""
        missing = next((each for each in (self._root, self._inbox) if each is not None and not each.exists()), None)
        if missing is not None:
            raise StoreFault(Status("4.2.1", "there is no mailbox", str(missing)))

    def places(self) -> list[Place]:
        """Return all folders, the inbox first where it is apart. Raises: OSError, StoreFault."""
        self.check()
        if not self._root.is_dir():
            return [Place("", ("INBOX",), self._root)]
        found: dict[tuple[str, ...], Place] = {}
        if self._inbox is not None:
            found["INBOX",] = Place("", ("INBOX",), self._inbox)
        for place in self._below(self._root, "", (), _DEEPEST):
            path = place.path
            if len(path) == 1 and path[0].upper() == "INBOX":
                path = ("INBOX",)
            elif path and path[0].upper() == "INBOX":
                path = ("INBOX", *path[1:])
            path = untaken(path, found)
            found[path] = Place(place.id, path, place.file)
        return sorted(found.values(), key=lambda place: (len(place.path), place.path))

    def _below(self, folder: Path, prefix: str, path: tuple[str, ...], depth: int) -> Iterator[Place]:
        with os.scandir(folder) as entries:
            there = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        for name, is_folder in there:
            if name.startswith(".") or name.lower().endswith(_NEVER):
                continue
            file = folder / name
            if not is_folder:
                if file != self._inbox and self._counts(file):
                    yield Place(prefix + name, (*path, name_of(name)), file)
                continue
            if depth <= 1:
                continue
            below = (*path, name_of(name.removesuffix(BELOW)))
            if name.endswith(_APPLE) and self._counts(file / "mbox"):
                yield Place(f"{prefix}{name}/mbox", below, file / "mbox")
            for each in self._below(file, f"{prefix}{name}/", below, depth - 1):
                if not (name.endswith(_APPLE) and each.file == file / "mbox"):
                    yield each

    def _counts(self, file: Path) -> bool:
        """Tell whether a file is a mailbox; an empty one is."""
        try:
            handle = opened(file)
        except OSError:
            return False
        try:
            start = os.pread(handle, 256, 0)
        finally:
            os.close(handle)
        return not start or self._is_mailbox(start.lstrip(b"\r\n"))

    def at(self, folder: str) -> Path:
        """Return a folder's file. Raises: StoreFault where that is no folder's id."""
        if not folder:
            return self._inbox or self._root
        if any(part in ("", ".", "..") or "\0" in part for part in folder.split("/")):
            raise no_folder()
        return self._root / folder

    def make(self, path: tuple[str, ...]) -> Place:
        """Make a folder, whose parent is there. Raises: StoreFault, OSError."""
        id = self._id(path)
        file = self._root / id
        try:
            file.parent.mkdir(exist_ok=True)
            owned(file.parent)
            _made(file)
        except OSError as fault:
            if fault.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR):
                raise bad_name(f"{'/'.join(path)!r} can be no folder's name here: {fault.strerror}") from None
            raise
        return Place(id, path, file)

    def _id(self, path: tuple[str, ...]) -> str:
        if not self._root.is_dir():
            raise bad_name("the mailbox is one file, which is the inbox")
        for name in path:
            if "\0" in name:
                raise bad_name(f"{name!r} can be no folder's name here")
        parents = {place.path: place for place in self.places()}
        parent = parents.get(path[:-1])
        if parent is not None and parent.id:
            return f"{parent.id}{BELOW}/{_disk_name(path[-1])}"
        names = [_disk_name(name) for name in path]
        if len(names) > 1 and self._root.joinpath(*names[:-1]).is_dir():  # one that holds folders alone
            return "/".join(names)
        return "/".join([*(_disk_name(name) + BELOW for name in path[:-1]), _disk_name(path[-1])])

    def rename(self, folder: str, path: tuple[str, ...]) -> Place:
        """Rename a folder with what is below it. Raises: StoreFault, OSError."""
        file, id = self.at(folder), self._id(path)
        if not folder:
            raise bad_name("the inbox keeps its name")
        target = self._root / id
        if os.path.lexists(target):
            raise bad_name(f"there is a folder {'/'.join(path)} already")
        target.parent.mkdir(exist_ok=True)
        owned(target.parent)
        os.rename(file, target)
        below = file.with_name(file.name + BELOW)
        if below.is_dir():
            os.rename(below, target.with_name(target.name + BELOW))
        return Place(id, path, target)

    def drop(self, folder: str) -> None:
        """Remove a folder with its messages; those below it stay."""
        if not folder:
            raise bad_name("the inbox can't be removed")
        file = self.at(folder)
        file.unlink(missing_ok=True)
        with suppress(OSError):
            file.with_name(file.name + BELOW).rmdir()


def name_of(name: str) -> str:
    """Return the name that a file's tells."""
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
            break
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name)


def _disk_name(name: str) -> str:
    return _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", name)


def _made(file: Path) -> None:
    """Make an empty file, unless there is one."""
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    owned(file)
