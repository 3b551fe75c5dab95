"""A Maildir, or a Maildir++ with its folders, or Maildirs within folders, as a mailbox.

Promises: a message is seen whole or not at all by whoever else works in the Maildir; it is known by the unique part of
its name, which stays when programs rename it for its flags; what is put in is synced before it is told. Octets come
back as they went in: lines that end in CRLF throughout are written with LF, as every program of this field has them,
and a message with other line ends is written as it is, with a `v` in its name that says so.
Sources: https://cr.yp.to/proto/maildir.html; Courier's README.maildirquota.html; Dovecot's `dovecot-keywords`.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.folders import keywords as table
from connectors.folders.backend import GONE, Backend, folder_hash, item_id, no_folder, shown_version, unreadable
from connectors.folders.headers import message_id
from connectors.folders.maildir_folders import MaildirFolders
from connectors.folders.reading import content_of, opened, pieces, sync_all, synced
from connectors.folders.words import FORBIDDEN, clean, keywords_of, marks_of, told
from gateway.contract import (
    FLAGS,
    Appended,
    Content,
    Facts,
    Fate,
    Flag,
    Folder,
    Holds,
    ItemState,
    NewItem,
    Note,
    Status,
)
from gateway.formats.flags import Mark
from gateway.formats.lines import to_crlf, to_lf
from gateway.formats.maildir import Name, read_name, sized, unique_name

HOLDS: Final = Holds(
    flags=FLAGS,
    keywords=True,
    internal_date=True,
    change_tokens=False,
    stable_ids=False,
    exact=True,
    forbidden_in_names="./\0",
    forbidden_in_keywords=FORBIDDEN,
)
_LETTERS: Final = Mark.SEEN | Mark.ANSWERED | Mark.FLAGGED | Mark.DELETED | Mark.DRAFT
"""Those that all programs read; P, which mutt writes for what was forwarded, Dovecot does not."""
_KEY: Final = re.compile(r"\.[^.]*G([0-9a-f]{16})v?(?:\.|$)")
_VERBATIM: Final = re.compile(r"\.[^.]*G[0-9a-f]{16}v(?:\.|$)")
_HEAD: Final = 64 * 1024
_TRIES: Final = 5
_REMEMBERED: Final = 200_000
_numbers: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class _File:
    """A message's file: `place` is `new` or `cur`."""

    place: str
    text: str
    name: Name


@dataclass(frozen=True, slots=True)
class _Staged:
    """A file that is written: its handle, where it is, and where it is to be."""

    handle: int
    temporary: str
    target: Path


class Maildir(Backend):
    """One Maildir. `scratch` is a folder of ours for large messages while they are read."""

    def __init__(
        self, root: Path, *, host: str, scratch: Path, nested: bool, utf7: bool, mark: str, create: bool
    ) -> None:
        self._tree = MaildirFolders(root, nested=nested, utf7=utf7, mark=mark)
        self._host = host
        self._scratch = scratch
        self._mark = mark
        self._heads: dict[str, str | None] = {}
        """Message-IDs by the names that files have without their flags: what is in a file never changes."""
        self._tree.check(create=create)
        self._holds = self._tree.holds(HOLDS)

    @property
    def holds(self) -> Holds:
        return self._holds

    def facts(self) -> Facts:
        quota = self._tree.quota()
        return Facts() if quota is None else Facts(max(0, quota.octets), quota.max_octets)

    # -- folders

    def folders(self) -> list[Folder]:
        return self._tree.folders()

    def make(self, path: tuple[str, ...]) -> Folder:
        return self._tree.make(path)

    def rename(self, folder: str, path: tuple[str, ...]) -> Folder:
        return self._tree.rename(folder, path)

    def drop(self, folder: str) -> None:
        self._tree.drop(folder)

    # -- what is there

    def _files(self, folder: str) -> dict[str, _File]:
        """Return the messages of a folder by their names, in the order in which they came."""
        root = self._tree.at(folder)
        files: list[_File] = []
        for _ in range(_TRIES):
            # A folder that programs rename files in while it is listed may not tell of one, or tell of it twice.
            times = self._times(root)
            files = [file for place in ("new", "cur") for file in self._in(root, place)]
            if self._times(root) == times:
                break
        files.sort(key=lambda file: (_seconds(file.name.unique), file.text))
        found: dict[str, _File] = {}
        for file in files:
            name = file.name.unique
            number = 1
            while name in found:  # copied by hand within the folder: each is one of its own
                number += 1
                name = f"{file.name.unique}/{number}"
            found[name] = file
        return found

    def _times(self, root: Path) -> tuple[int, ...]:
        try:
            return tuple(os.stat(root / place).st_mtime_ns for place in ("new", "cur"))
        except FileNotFoundError:
            return ()

    def _in(self, root: Path, place: str) -> list[_File]:
        try:
            names = os.listdir(root / place)
        except FileNotFoundError:
            self._tree.check(create=False)
            if place == "cur":
                raise no_folder() from None
            return []
        return [_File(place, text, read_name(text, self._mark)) for text in names if not text.startswith(".")]

    def listing(self, folder: str) -> list[ItemState]:
        root, hash = self._tree.at(folder), folder_hash(folder)
        letters = table.read(root)
        files = self._files(folder)
        states: list[ItemState] = []
        for name in list(files):
            # What a listing leaves out counts as removed, so one that was renamed this moment is looked for.
            for _ in range(_TRIES):
                file = files.get(name)
                if file is None:
                    break
                try:
                    there = os.lstat(root / file.place / file.text)
                    break
                except FileNotFoundError:
                    files = self._files(folder)
            else:
                raise OSError(errno.EAGAIN, "another program renames the Maildir's files all the time")
            if file is None or not stat.S_ISREG(there.st_mode):
                continue
            named = self._message_id(folder, file, root / file.place / file.text)
            flags, words = self._told(file, letters)
            states.append(
                ItemState(
                    item_id(hash, name),
                    shown_version(frozenset[str](flags) | words),
                    file.name.crlf_size or there.st_size,
                    flags,
                    words,
                    there.st_mtime_ns / 1e9,
                    named,
                )
            )
        return states

    def _told(self, file: _File, letters: dict[str, str]) -> tuple[frozenset[Flag], frozenset[str]]:
        words = frozenset(letters[letter] for letter in file.name.flags or "" if letter in letters)
        return told(file.name.marks, words)

    def _message_id(self, folder: str, file: _File, path: Path) -> str | None:
        key = f"{folder}/{file.name.base}"
        if key not in self._heads:
            if len(self._heads) >= _REMEMBERED:
                self._heads.clear()
            try:
                self._heads[key] = message_id(path)
            except OSError:
                return None  # it is there all the same, and is told as what it is when it is fetched
        return self._heads[key]

    def contents(self, folder: str, names: Sequence[str]) -> Iterator[tuple[str, Content | Status]]:
        files: dict[str, _File] | None = None
        for name in names:
            files = self._files(folder) if files is None else files
            content = self._content(folder, files.get(name))
            if content is None:  # renamed since we looked
                files = self._files(folder)
                content = self._content(folder, files.get(name))
            yield name, content or GONE

    def _content(self, folder: str, file: _File | None) -> Content | Status | None:
        if file is None:
            return None
        try:
            handle = opened(self._tree.at(folder) / file.place / file.text)
        except FileNotFoundError:
            return None
        except OSError as fault:
            return unreadable(fault)
        try:
            size = os.fstat(handle).st_size
            is_verbatim = _VERBATIM.search(file.name.unique) is not None or _has_crlf(os.pread(handle, _HEAD, 0))
            return content_of(pieces(handle, 0, size), size, None if is_verbatim else to_crlf, self._scratch)
        except OSError as fault:
            return unreadable(fault)
        finally:
            os.close(handle)

    def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        wanted = {_hash(key): key for key in keys}
        found: dict[str, str] = {}
        for name in self._files(folder):
            match = _KEY.search(name)
            if match is not None and match[1] in wanted:
                found[wanted[match[1]]] = name
        return found

    # -- what is put in

    def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        root = self._tree.at(folder)
        if not (root / "cur").is_dir():
            self._tree.check(create=False)
            raise no_folder()
        words = frozenset(word for item in items for word in self._words(item.flags | item.keywords))
        letters = {word: letter for letter, word in self._letters(root, words).items()}
        answers: list[Appended | Status] = []
        octets = 0
        quota = self._tree.quota()
        staged: list[_Staged] = []
        try:
            for item in items:
                if quota is not None and not quota.has_room(octets + item.content.size, len(staged) + 1):
                    answers.append(Status("4.2.2", "the mailbox's quota has no room"))
                    continue
                name, notes = self._stage(root, item, letters, staged)
                octets += name.size or 0
                answers.append(Appended(name.unique, notes))
            sync_all([each.handle for each in staged])
            for each in staged:
                os.rename(each.temporary, each.target)
        finally:
            for each in staged:
                os.close(each.handle)
                with suppress(OSError):  # it is where it belongs
                    os.unlink(each.temporary)
        synced(root / "cur")
        self._tree.count(octets, len(staged))
        return answers

    def _words(self, words: frozenset[str]) -> frozenset[str]:
        return keywords_of(words, letters=_LETTERS)

    def _letters(self, root: Path, words: frozenset[str]) -> dict[str, str]:
        letters = table.with_words(root, words) if words else {}
        if letters:
            self._tree.own(root / table.FILE)
        return letters

    def _stage(
        self, root: Path, item: NewItem, letters: dict[str, str], staged: list[_Staged]
    ) -> tuple[Name, tuple[Note, ...]]:
        """Write a message into a file that is put in its place once it is synced. Raises: OSError."""
        is_plain = item.content.traits.crlf_only
        now = time.time_ns()
        middle = f"M{now // 1000 % 1_000_000:06d}P{os.getpid()}Q{next(_numbers)}G{_hash(item.key)}"
        unique = unique_name(now // 1_000_000_000, middle + ("" if is_plain else "v"), self._host)
        temporary = str(root / "tmp" / unique)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        staged.append(_Staged(handle, temporary, root / "cur"))
        size = lines = 0
        chunks = item.content.chunks()
        for piece in to_lf(chunks) if is_plain else chunks:
            size += len(piece)
            lines += piece.count(b"\n")
            view = memoryview(piece)
            while view:
                view = view[os.write(handle, view) :]
        self._tree.own(handle)
        if item.received_at is not None:
            at = round(item.received_at * 1e9)
            os.utime(handle, ns=(at, at))
        marked, notes = self._marked(sized(unique, size, size + lines if is_plain else size), item, letters)
        staged[-1] = _Staged(handle, temporary, root / "cur" / marked.text(self._mark))
        return marked, notes

    def _marked(self, name: Name, item: NewItem, letters: dict[str, str]) -> tuple[Name, tuple[Note, ...]]:
        words = item.flags | item.keywords
        given: set[str] = set()
        notes: list[Note] = []
        for word in sorted(self._words(words)):
            if word in letters:
                given.add(letters[word])
            else:
                notes.append(Note(Fate.DROPPED, f"keyword {word}", f"a folder has {table.MOST} keywords and no more"))
        return _with(name, marks_of(words), given), tuple(notes)

    # -- what is altered

    def set_flags(
        self, folder: str, names: Sequence[str], add: frozenset[str], remove: frozenset[str]
    ) -> list[str | Status]:
        root = self._tree.at(folder)
        files = self._files(folder)
        letters = self._letters(root, self._words(add)) or table.read(root)
        answers: list[str | Status] = []
        for name in names:
            for _ in range(5):
                file = files.get(name)
                if file is None:
                    answers.append(GONE)
                    break
                flags, keywords = self._told(file, letters)
                words = (frozenset[str](flags) | keywords | add) - remove
                given = {letter for letter, word in letters.items() if clean(word) in self._words(words)}
                marked = _with(file.name, marks_of(words), given).text(self._mark)
                try:
                    if (file.place, file.text) != ("cur", marked):
                        os.rename(root / file.place / file.text, root / "cur" / marked)
                except FileNotFoundError:
                    files = self._files(folder)
                    continue
                now = _File("cur", marked, read_name(marked, self._mark))
                files[name] = now
                flags, keywords = self._told(now, letters)
                answers.append(shown_version(frozenset[str](flags) | keywords))
                break
            else:
                answers.append(Status("4.2.1", "another program alters the item all the time"))
        return answers

    def move(self, folder: str, names: Sequence[str], target: str) -> list[str | Status]:
        here, there = self._tree.at(folder), self._tree.at(target)
        if not (there / "cur").is_dir():
            raise no_folder()
        files, taken = self._files(folder), self._files(target)
        letters = table.read(here)
        answers: list[str | Status] = []
        for name in names:
            for _ in range(5):
                file = files.get(name)
                if file is None:
                    answers.append(GONE)
                    break
                words = frozenset(letters[letter] for letter in file.name.flags or "" if letter in letters)
                known = self._letters(there, words)
                given = {letter for letter, word in known.items() if word in words}
                moved = _with(file.name, file.name.marks, given)
                if moved.unique in taken:
                    now = time.time_ns()
                    middle = f"M{now // 1000 % 1_000_000:06d}P{os.getpid()}Q{next(_numbers)}"
                    kept = re.search(r"G[0-9a-f]{16}v?(?=\.|$)", moved.unique)
                    middle += kept[0] if kept else ""
                    moved = Name(unique_name(now // 1_000_000_000, middle, self._host), moved.extra, moved.flags)
                try:
                    os.rename(here / file.place / file.text, there / "cur" / moved.text(self._mark))
                except FileNotFoundError:
                    files = self._files(folder)
                    continue
                taken[moved.unique] = file
                answers.append(moved.unique)
                break
            else:
                answers.append(Status("4.2.1", "another program alters the item all the time"))
        synced(there / "cur")
        synced(here / "cur")
        return answers

    def remove(self, folder: str, names: Sequence[str]) -> list[Status | None]:
        root = self._tree.at(folder)
        files = self._files(folder)
        octets = removed = 0
        for name in names:
            for _ in range(5):
                file = files.get(name)
                if file is None:
                    break
                path = root / file.place / file.text
                try:
                    size = os.lstat(path).st_size
                    os.unlink(path)
                except FileNotFoundError:
                    files = self._files(folder)
                    continue
                octets, removed = octets + size, removed + 1
                break
        synced(root / "cur")
        self._tree.count(-octets, -removed)
        return [None for _ in names]


def _with(name: Name, marks: Mark, letters: set[str]) -> Name:
    """Return a name with these marks and keywords' letters; letters of other meanings stay."""
    bare = Name(name.unique, name.extra, "".join(c for c in name.flags or "" if not c.islower()))
    marked = bare.with_marks(marks)
    return Name(marked.unique, marked.extra, "".join(sorted({*(marked.flags or ""), *letters})))


def _hash(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def _seconds(unique: str) -> int:
    head = unique.partition(".")[0]
    return int(head) if head.isascii() and head.isdigit() and len(head) < 12 else 0


def _has_crlf(octets: bytes) -> bool:
    """Tell whether the first line ends in CRLF."""
    end = octets.find(b"\n")
    return end > 0 and octets[end - 1] == 13
