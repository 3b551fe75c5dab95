"""The folders of a Maildir: beside `cur` as `.Name.Sub`, or each in the one above; its quota file too.

A folder's id is its folder's name below the Maildir, empty for the inbox.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from connectors.folders import keywords as table
from connectors.folders.backend import FRESH_S, bad_name, no_folder
from connectors.folders.paths import untaken
from connectors.folders.reading import owned, synced
from connectors.folders.roles import with_roles
from gateway.contract import Folder, Holds, Status, StoreFault
from gateway.formats.flags import Mark
from gateway.formats.maildir import (
    FOLDERS,
    Quota,
    folder_name,
    folder_path,
    from_utf7,
    quota_line,
    read_name,
    read_quota,
    to_utf7,
)

QUOTA_FILE: Final = "maildirsize"
_QUOTA_OCTETS: Final = 1024 * 1024
_DEEPEST: Final = 32
_INBOX: Final = ("INBOX",)


class MaildirFolders:
    """The folders below `root`."""

    def __init__(self, root: Path, *, nested: bool, utf7: bool, mark: str) -> None:
        self._root = root
        self._nested = nested
        self._utf7 = utf7
        self._mark = mark

    def holds(self, holds: Holds) -> Holds:
        """Return what folders' names can hold in this layout."""
        return replace(holds, forbidden_in_names="/\0") if self._nested else holds

    def check(self, *, create: bool) -> None:
        """See that the mailbox is there; make it where that is wanted. Raises: StoreFault, OSError.

        A share that is not mounted shows an empty folder, so that one is no mailbox without a message.
        """
        if (self._root / "cur").is_dir() or (self._nested and any(self._nested_below(self._root, "", 1))):
            return
        if not create:
            text = "there is no mailbox" if not self._root.exists() else "there is no Maildir in the folder"
            raise StoreFault(Status("4.2.1", text, str(self._root)))
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        owned(self._root)
        self._made(self._root)

    def at(self, folder: str) -> Path:
        """Return where a folder is. Raises: StoreFault where that is no folder's id."""
        parts = folder.split("/") if self._nested else [folder]
        if folder and any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
            raise no_folder()
        if folder and not self._nested and not folder.startswith("."):
            raise no_folder()
        return self._root / folder if folder else self._root

    def folders(self) -> list[Folder]:
        self.check(create=False)
        found: dict[tuple[str, ...], Folder] = {}
        if (self._root / "cur").is_dir():
            found[_INBOX] = self._folder("", _INBOX)
        for name in sorted(self._names()):
            # `.INBOX` may be beside the inbox itself, and two names may tell the same.
            path = untaken(self._path(name), found)
            if not found and self._nested and path[-1].upper() == "INBOX" and len(path) == 1:
                found[path] = self._folder(name, path)
                continue
            found[path] = self._folder(name, path)
        if not any(folder.role == "inbox" for folder in found.values()):
            inbox = next((path for path in found if len(path) == 1 and path[0].upper() == "INBOX"), None)
            if inbox is not None:
                found[inbox] = replace(found[inbox], role="inbox")
        return with_roles(found.values())

    def _names(self) -> Iterator[str]:
        if self._nested:
            yield from self._nested_below(self._root, "", _DEEPEST)
            return
        with os.scandir(self._root) as entries:
            for entry in entries:
                is_folder = entry.name.startswith(".") and entry.name.strip(".") and entry.is_dir(follow_symlinks=False)
                if is_folder and (self._root / entry.name / "cur").is_dir():
                    yield entry.name

    def _nested_below(self, folder: Path, prefix: str, depth: int) -> Iterator[str]:
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return
        for name in names:
            if name in FOLDERS or name.startswith("."):
                continue
            if (folder / name / "cur").is_dir():
                yield prefix + name
            if depth > 1:
                yield from self._nested_below(folder / name, f"{prefix}{name}/", depth - 1)

    def _path(self, name: str) -> tuple[str, ...]:
        return tuple(from_utf7(part) for part in name.split("/")) if self._nested else folder_path(name)

    def _folder(self, id: str, path: tuple[str, ...]) -> Folder:
        root = self.at(id)
        total = unread = 0
        times: list[int] = []
        for place in ("cur", "new"):
            with suppress(FileNotFoundError):
                times.append(os.stat(root / place).st_mtime_ns)  # before what it is the time of
                for text in os.listdir(root / place):
                    if not text.startswith("."):
                        total += 1
                        unread += Mark.SEEN not in read_name(text, self._mark).marks
        with suppress(FileNotFoundError):
            times.append(os.stat(root / table.FILE).st_mtime_ns)
        is_settled = max(times, default=0) / 1e9 < time.time() - FRESH_S
        mark = ".".join(map(str, times)) if is_settled else None
        return Folder(id, path, "mail", "inbox" if not id else None, total, unread, mark=mark)

    # -- made, renamed and removed

    def _id(self, path: tuple[str, ...]) -> str:
        """Return the id that a folder of this path has. Raises: StoreFault where it can't be."""
        if self._nested:
            for name in path:
                if not name or "/" in name or "\0" in name or name.startswith(".") or name in FOLDERS:
                    raise bad_name(f"{name!r} can be no folder's name in a Maildir")
            return "/".join(to_utf7(name) if self._utf7 else name for name in path)
        try:
            name = folder_name(path)
        except ValueError as fault:
            raise bad_name(str(fault)) from None
        return name if self._utf7 else "".join("." + part for part in path)

    def make(self, path: tuple[str, ...]) -> Folder:
        id = self._id(path)
        if path == _INBOX and not self._nested:
            id = ""
        folder = self.at(id)
        try:
            folder.mkdir(exist_ok=True)
            self._made(folder)
        except OSError as fault:
            if fault.errno in (36, 22, 84):  # too long a name, or one the file system can't have
                raise bad_name(f"{'/'.join(path)!r} can be no folder's name here: {fault.strerror}") from None
            raise
        return self._folder(id, path)

    def _made(self, folder: Path) -> None:
        """Make what a Maildir has."""
        self.own(folder)
        if folder != self._root and not self._nested:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(folder / "maildirfolder", flags, 0o600))
            self.own(folder / "maildirfolder")
        for name in FOLDERS:
            with suppress(FileExistsError):
                os.mkdir(folder / name, 0o700)
                self.own(folder / name)
        synced(folder)
        synced(folder.parent)

    def rename(self, folder: str, path: tuple[str, ...]) -> Folder:
        source, id = self.at(folder), self._id(path)
        if not folder:
            raise bad_name("the inbox keeps its name")
        if not (source / "cur").is_dir():
            raise no_folder()
        if os.path.lexists(self.at(id)):
            raise bad_name(f"there is a folder {'/'.join(path)} already")
        os.rename(source, self.at(id))
        if not self._nested:
            for name in list(self._names()):
                if name.startswith(folder + "."):
                    os.rename(self._root / name, self._root / (id + name[len(folder) :]))
        synced(self._root)
        return self._folder(id, path)

    def drop(self, folder: str) -> None:
        if not folder:
            raise bad_name("the inbox can't be removed")
        root = self.at(folder)
        if self._nested and any(self._nested_below(root, "", 1)):
            for name in FOLDERS:  # what is below stays
                shutil.rmtree(root / name, ignore_errors=True)
        else:
            shutil.rmtree(root)
        synced(root.parent)

    # -- on the disk

    def own(self, what: Path | int) -> None:
        """Give what we made the owner and the rights that the Maildir has."""
        root = os.stat(self._root)
        made = os.stat(what)
        mode = stat.S_IMODE(root.st_mode) & (0o777 if stat.S_ISDIR(made.st_mode) else 0o666)
        if stat.S_IMODE(made.st_mode) != mode:
            os.chmod(what, mode)
        if os.geteuid() == 0 and (made.st_uid, made.st_gid) != (root.st_uid, root.st_gid):
            os.chown(what, root.st_uid, root.st_gid)

    def quota(self) -> Quota | None:
        """Return what the quota file tells; None where there is none."""
        try:
            with open(self._root / QUOTA_FILE, "rb") as file:
                return read_quota(file.read(_QUOTA_OCTETS))
        except FileNotFoundError:
            return None

    def count(self, octets: int, messages: int) -> None:
        """Tell the quota file, where there is one, what was added or taken."""
        if not messages:
            return
        with suppress(OSError):  # what is there is there: a count that is wrong is made anew by the server
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(self._root / QUOTA_FILE, flags)
            try:
                os.write(handle, quota_line(octets, messages))
            finally:
                os.close(handle)
