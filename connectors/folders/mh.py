"""MH folders as a mailbox: a folder of files whose names are numbers, with sequences of some of them.

Flags are sequences: `unseen` names what is not read, `flagged`, `replied` and the other flags what their words say, and
every other sequence is a keyword, but for nmh's own. A message is known by its file (its time, size and number at the
file system), so that a folder that is packed or sorted keeps its messages. Octets come back as they went in, but for
lines that end in LF alone.
Sources: mh-sequence(5), mh-mail(5) of nmh.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.folders.backend import (
    FRESH_S,
    GONE,
    Backend,
    bad_name,
    folder_hash,
    item_id,
    no_folder,
    shown_version,
    unreadable,
)
from connectors.folders.headers import message_id
from connectors.folders.reading import content_of, opened, owned, pieces, sync_all, synced
from connectors.folders.roles import with_roles
from connectors.folders.sequences import FORBIDDEN, put, told, unheld, within
from gateway.contract import FLAGS, Appended, Content, Fate, Folder, Holds, ItemState, NewItem, Note, Status, StoreFault
from gateway.formats.lines import to_crlf, to_lf
from gateway.formats.mh import MOST, SEQUENCES, UNSEEN, Range, number, read_sequences, write_sequences
from gateway.mailbox_lock import Locking, MailboxLock

HOLDS: Final = Holds(
    flags=FLAGS,
    keywords=True,
    internal_date=True,
    change_tokens=False,
    stable_ids=False,
    exact=False,
    nearly_exact=True,
    finds=False,
    forbidden_in_names="/\0",
    forbidden_in_keywords=FORBIDDEN,
)
_NUMBER: Final = re.compile(r"[0-9]+")
_ESCAPED: Final = re.compile(r"%(?:25)*3[0-9]+")
_OCTETS: Final = 4 * 1024 * 1024
_DEEPEST: Final = 32
_TRIES: Final = 5
_ANSWERS: Final = (36, 22, 84)
"""ENAMETOOLONG, EINVAL, EILSEQ: a name that the file system can't have."""


@dataclass(frozen=True, slots=True)
class _File:
    number: int
    there: os.stat_result

    @property
    def base(self) -> str:
        return f"{self.there.st_ino:x}-{self.there.st_mtime_ns:x}-{self.there.st_size:x}"


class Mh(Backend):
    """The MH folders below `root`; `inbox` is the inbox's name."""

    def __init__(
        self, root: Path, *, inbox: str, scratch: Path, locks: Sequence[Locking], wait_s: float, create: bool
    ) -> None:
        self._root = root
        self._inbox = inbox
        self._scratch = scratch
        self._locks = locks
        self._wait_s = wait_s
        self._ids: dict[str, str | None] = {}
        if create and not (root / inbox).is_dir():
            (root / inbox).mkdir(parents=True, exist_ok=True)
            owned(root)
            owned(root / inbox)
        self._check()

    def _check(self) -> None:
        """See that the mailbox is there. Raises: StoreFault."""
        if not self._root.is_dir():
            raise StoreFault(Status("4.2.1", "there is no mailbox", str(self._root)))

    @property
    def holds(self) -> Holds:
        return HOLDS

    # -- folders

    def folders(self) -> list[Folder]:
        self._check()
        return with_roles([self._folder(name) for name in self._below(self._root, "", _DEEPEST)])

    def _below(self, folder: Path, prefix: str, depth: int) -> Iterator[str]:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
        for name in names:
            yield prefix + name
            if depth > 1:
                yield from self._below(folder / name, f"{prefix}{name}/", depth - 1)

    def _folder(self, id: str) -> Folder:
        root = self._at(id)
        times = [os.stat(root).st_mtime_ns]  # before what it is the time of
        with suppress(FileNotFoundError):
            times.append(os.stat(root / SEQUENCES).st_mtime_ns)
        numbers = [found for name in os.listdir(root) if (found := number(name)) is not None]
        unseen = self._sequences(root).get(UNSEEN, [])
        unread = sum(within(unseen, each) for each in numbers)
        is_settled = max(times) / 1e9 < time.time() - FRESH_S
        is_inbox = id.casefold() == self._inbox.casefold()
        path = ("INBOX",) if is_inbox else tuple(map(_name_of, id.split("/")))
        mark = ".".join(map(str, times)) if is_settled else None
        return Folder(id, path, "mail", "inbox" if is_inbox else None, len(numbers), unread, mark=mark)

    def _at(self, folder: str) -> Path:
        """Return where a folder is. Raises: StoreFault where that is no folder's id."""
        if not folder or any(part in ("", ".", "..") or "\0" in part for part in folder.split("/")):
            raise no_folder()
        return self._root / folder

    def _id(self, path: tuple[str, ...]) -> str:
        if path == ("INBOX",):
            return self._inbox
        for name in path:
            if not name or name.startswith(".") or "/" in name or "\0" in name:
                raise bad_name(f"{name!r} can be no folder's name among MH folders")
        return "/".join(map(_disk_name, path))

    def make(self, path: tuple[str, ...]) -> Folder:
        id = self._id(path)
        try:
            self._at(id).mkdir(exist_ok=True)
        except OSError as fault:
            if fault.errno in _ANSWERS:
                raise bad_name(f"{'/'.join(path)!r} can be no folder's name here: {fault.strerror}") from None
            raise
        owned(self._at(id))
        return self._folder(id)

    def rename(self, folder: str, path: tuple[str, ...]) -> Folder:
        id = self._id(path)
        if folder.casefold() == self._inbox.casefold():
            raise bad_name("the inbox keeps its name")
        if os.path.lexists(self._at(id)):
            raise bad_name(f"there is a folder {'/'.join(path)} already")
        self._at(folder).rename(self._at(id))
        return self._folder(id)

    def drop(self, folder: str) -> None:
        if folder.casefold() == self._inbox.casefold():
            raise bad_name("the inbox can't be removed")
        root = self._at(folder)
        for name in os.listdir(root):
            if not (root / name).is_dir():
                (root / name).unlink(missing_ok=True)
        with suppress(OSError):  # it has folders below, which stay
            root.rmdir()

    # -- what is there

    @contextmanager
    def _locked(self, folder: str) -> Iterator[int]:
        """Hold the lock of a folder's sequences; gives the file, open."""
        root = self._at(folder)
        if not root.is_dir():
            self._check()
            raise no_folder()
        with MailboxLock(root / SEQUENCES, self._locks, self._wait_s, create=True) as lock:
            yield lock.handle

    def _sequences(self, root: Path) -> dict[str, list[Range]]:
        try:
            handle = opened(root / SEQUENCES)
        except FileNotFoundError:
            return {}
        try:
            return read_sequences(os.pread(handle, _OCTETS, 0).decode("utf-8", "surrogateescape"))
        finally:
            os.close(handle)

    def _write(self, root: Path, handle: int, sequences: dict[str, list[Range]]) -> None:
        # In place, as the lock is on this very file.
        octets = write_sequences(sequences).encode("utf-8", "surrogateescape")
        at = 0
        while at < len(octets):
            at += os.pwrite(handle, octets[at:], at)
        os.ftruncate(handle, len(octets))
        os.fsync(handle)
        owned(root / SEQUENCES)

    def _files(self, folder: str) -> dict[str, _File]:
        """Return a folder's messages by their names, in the order of their numbers."""
        for _ in range(_TRIES):
            # What programs renumber while it is listed may be told twice, or not at all.
            changed, files = self._looked(self._at(folder))
            if not changed:
                break
        return files

    def _looked(self, root: Path) -> tuple[bool, dict[str, _File]]:
        """Return whether the folder has changed meanwhile, and its messages."""
        files: dict[str, _File] = {}
        try:
            before = os.stat(root).st_mtime_ns
            for each in sorted(found for name in os.listdir(root) if (found := number(name)) is not None):
                with suppress(FileNotFoundError):
                    file = _File(each, os.lstat(root / str(each)))
                    name, again = file.base, 1
                    while name in files:  # linked twice in one folder
                        again += 1
                        name = f"{file.base}-{again}"
                    if stat.S_ISREG(file.there.st_mode):
                        files[name] = file
            return os.stat(root).st_mtime_ns != before, files
        except FileNotFoundError:
            self._check()
            raise no_folder() from None

    def listing(self, folder: str) -> list[ItemState]:
        root, hash = self._at(folder), folder_hash(folder)
        files, sequences = self._files(folder), self._sequences(root)
        states: list[ItemState] = []
        for name, file in files.items():
            flags, keywords = told(sequences, file.number)
            named = self._message_id(root, file)
            states.append(
                ItemState(
                    item_id(hash, name),
                    shown_version(frozenset[str](flags) | keywords),
                    file.there.st_size,
                    flags,
                    keywords,
                    file.there.st_mtime_ns / 1e9,
                    named,
                )
            )
        return states

    def _message_id(self, root: Path, file: _File) -> str | None:
        if file.base not in self._ids:
            try:
                self._ids[file.base] = message_id(root / str(file.number))
            except OSError:
                return None  # gone this moment, or not to be read, which is told when it is fetched
        return self._ids[file.base]

    def contents(self, folder: str, names: Sequence[str]) -> Iterator[tuple[str, Content | Status]]:
        root = self._at(folder)
        files: dict[str, _File] | None = None
        for name in names:
            files = self._files(folder) if files is None else files
            file = files.get(name)
            content = None if file is None else self._content(root, file)
            if content is None and file is not None:  # renumbered since we looked
                files = self._files(folder)
                file = files.get(name)
                content = None if file is None else self._content(root, file)
            yield name, content or GONE

    def _content(self, root: Path, file: _File) -> Content | Status | None:
        try:
            handle = opened(root / str(file.number))
        except FileNotFoundError:
            return None
        except OSError as fault:
            return unreadable(fault)
        try:
            there = os.fstat(handle)
            if there.st_ino != file.there.st_ino:
                return None
            return content_of(pieces(handle, 0, there.st_size), there.st_size, to_crlf, self._scratch)
        except OSError as fault:
            return unreadable(fault)
        finally:
            os.close(handle)

    # -- what is put in and altered

    def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        root = self._at(folder)
        written: list[Path] = []
        handles: list[int] = []
        made: list[int] = []
        try:
            with self._locked(folder) as handle:
                for item in items:
                    self._stage(root, item, written, handles)
                sync_all(handles)
                sequences = self._sequences(root)
                there = self._files(folder)
                highest = max((file.number for file in there.values()), default=0)
                for path, item in zip(written, items, strict=True):
                    highest = _link(path, root, highest + 1)
                    made.append(highest)
                    put(sequences, highest, frozenset[str](item.flags) | item.keywords)
                self._write(root, handle, sequences)
                synced(root)
                files = {file.number: name for name, file in self._files(folder).items()}
        except BaseException:
            for each in made:
                with suppress(OSError):
                    (root / str(each)).unlink()
            raise
        finally:
            for each in handles:
                os.close(each)
            for path in written:
                with suppress(OSError):
                    path.unlink()
        answers: list[Appended | Status] = []
        for each, item in zip(made, items, strict=True):
            lost = sorted(unheld(item.keywords))
            notes = tuple(Note(Fate.DROPPED, f"keyword {word}", "no sequence can have that name") for word in lost)
            answers.append(Appended(files[each], notes) if each in files else GONE)
        return answers

    def _stage(self, root: Path, item: NewItem, written: list[Path], handles: list[int]) -> None:
        """Write a message into a file that no program takes for one. Raises: OSError."""
        path = root / f".gatepost-{secrets.token_hex(8)}.tmp"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        handles.append(handle)
        written.append(path)
        for piece in to_lf(item.content.chunks()):
            view = memoryview(piece)
            while view:
                view = view[os.write(handle, view) :]
        if item.received_at is not None:
            at = round(item.received_at * 1e9)
            os.utime(handle, ns=(at, at))
        owned(path)

    def set_flags(
        self, folder: str, names: Sequence[str], add: frozenset[str], remove: frozenset[str]
    ) -> list[str | Status]:
        root = self._at(folder)
        answers: list[str | Status] = []
        with self._locked(folder) as handle:
            files, sequences = self._files(folder), self._sequences(root)
            for name in names:
                file = files.get(name)
                if file is None:
                    answers.append(GONE)
                    continue
                flags, keywords = told(sequences, file.number)
                words = (frozenset[str](flags) | keywords | add) - remove
                put(sequences, file.number, words)
                flags, keywords = told(sequences, file.number)
                answers.append(shown_version(frozenset[str](flags) | keywords))
            self._write(root, handle, sequences)
        return answers

    def move(self, folder: str, names: Sequence[str], target: str) -> list[str | Status]:
        """Linked there first, and then removed here: after a crash between the two it is in both."""
        root, there = self._at(folder), self._at(target)
        files, sequences = self._files(folder), self._sequences(root)
        found = {name: files[name] for name in dict.fromkeys(names) if name in files}
        made: dict[str, int] = {}
        with self._locked(target) as handle:
            known = self._sequences(there)
            highest = max((file.number for file in self._files(target).values()), default=0)
            for name, file in found.items():
                with suppress(FileNotFoundError):
                    highest = _link(root / str(file.number), there, highest + 1)
                    made[name] = highest
                    flags, keywords = told(sequences, file.number)
                    put(known, highest, frozenset[str](flags) | keywords)
            self._write(there, handle, known)
            synced(there)
            placed = {file.number: name for name, file in self._files(target).items()}
        self.remove(folder, list(made))
        return [placed[made[name]] if name in made and made[name] in placed else GONE for name in names]

    def remove(self, folder: str, names: Sequence[str]) -> list[Status | None]:
        root = self._at(folder)
        with self._locked(folder) as handle:
            files, sequences = self._files(folder), self._sequences(root)
            for name in dict.fromkeys(names):
                file = files.get(name)
                if file is not None:
                    (root / str(file.number)).unlink(missing_ok=True)
                    put(sequences, file.number, frozenset(["seen"]))
            self._write(root, handle, sequences)
            synced(root)
        return [None for _ in names]


def _disk_name(name: str) -> str:
    """Return what a folder is called on the disk: a number alone would be a message's."""
    if _NUMBER.fullmatch(name) is None and _ESCAPED.fullmatch(name) is None:
        return name
    return f"%{ord(name[0]):02X}{name[1:]}"


def _name_of(name: str) -> str:
    return chr(int(name[1:3], 16)) + name[3:] if _ESCAPED.fullmatch(name) is not None else name


def _link(path: Path, folder: Path, first: int) -> int:
    """Give a file the first number that is free. Raises: OSError."""
    for each in range(first, min(first + 10_000, MOST + 1)):
        with suppress(FileExistsError):
            os.link(path, folder / str(each), follow_symlinks=False)
            return each
    raise OSError(f"no number is free from {first} on")
