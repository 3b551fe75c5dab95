"""Eudora's mailboxes, read: `.mbx` files with their tables of contents, in the folders that `descmap.pce` tells of.

Messages are those of the file between lines `From ???@???`, without what was removed and not compacted yet; flags are
the table's; attachments are taken back from their folder. Nothing is locked and nothing is written: Eudora must not run
meanwhile. Lines of a Macintosh, which end in CR, are read too, but tables of a Macintosh are not.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from connectors.folders import eudora_mime as mime
from connectors.folders import notes, toc
from connectors.folders.backend import (
    FRESH_S,
    GONE,
    Backend,
    folder_hash,
    item_id,
    no_folder,
    shown_version,
    unreadable,
)
from connectors.folders.paths import untaken
from connectors.folders.reading import CHUNK, HEAD_LIMIT, blob_of, content_of, opened, pieces
from connectors.folders.roles import with_roles
from gateway.contract import Content, Flag, Folder, FolderRole, Holds, ItemState, Status, StoreFault
from gateway.formats.from_line import LINE_OCTETS, FromLine
from gateway.formats.from_line import read as read_from
from gateway.formats.lines import Filter, cr_to_crlf, to_crlf
from gateway.formats.window import Window

HOLDS: Final = Holds(
    flags=frozenset(("seen", "answered", "forwarded", "draft")),
    keywords=False,
    internal_date=True,
    change_tokens=False,
    stable_ids=False,
    exact=True,
    finds=False,
)
_SIGN: Final = b"From ???@??? "
_MAP: Final = "descmap.pce"
_ROLES: Final[dict[str, FolderRole]] = {"in": "inbox", "out": "sent", "trash": "trash", "junk": "junk"}
_EMPTY: Final = re.compile(rb"(?:\A|\n)\r?\n")
_EMPTY_CR: Final = re.compile(rb"(?:\A|\r)\r")
_OCTETS: Final = 64 * 1024 * 1024
_MOST_APART: Final = 64 * 1024 * 1024
"""The most octets of text that a message is looked through for what was taken out of it."""
_DEEPEST: Final = 32


@dataclass(frozen=True, slots=True)
class _Held:
    start: int
    head: int
    body: int
    end: int
    name: str
    at: float | None
    flags: frozenset[Flag]
    message_id: str | None
    size: int | None


class Eudora(Backend):
    """The mailboxes of one user's Eudora folder; `attachments` is where files went to."""

    def __init__(self, root: Path, attachments: Path, *, scratch: Path) -> None:
        self._root = root
        self._attachments = attachments
        self._scratch = scratch
        self._read: dict[str, tuple[tuple[int, ...], list[_Held], Filter]] = {}
        self._files: dict[str, Path] | None = None
        self._check()

    def _check(self) -> None:
        if not self._root.is_dir():
            raise StoreFault(Status("4.2.1", "there is no folder of Eudora's", str(self._root)))

    @property
    def holds(self) -> Holds:
        return HOLDS

    # -- folders

    def folders(self) -> list[Folder]:
        self._check()
        found: dict[tuple[str, ...], Folder] = {}
        for id, path in self._below(self._root, "", (), _DEEPEST):
            path = untaken(path, found)
            stem = Path(id).stem.casefold()
            role = _ROLES.get(stem) if len(path) == 1 else None
            if role == "inbox":
                path = ("INBOX",)
            stamps = self._stamps(id)
            is_settled = max(stamps) / 1e9 < time.time() - FRESH_S
            mark = ".".join(map(str, stamps)) if is_settled else None
            found[path] = Folder(id, path, "mail", role, mark=mark)
        return with_roles(found.values())

    def _below(
        self, folder: Path, prefix: str, path: tuple[str, ...], depth: int
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        there = {name.casefold(): name for name in os.listdir(folder)}
        named: dict[str, str] = {}
        if _MAP in there:
            for name, file in _described(folder / there[_MAP]):
                if file.casefold() in there:
                    named[there[file.casefold()]] = name
        for file in sorted(there.values()):  # what the map does not tell of is there all the same
            if file.casefold().endswith((".mbx", ".fol")):
                named.setdefault(file, Path(file).stem)
        for file, name in named.items():
            if (folder / file).is_symlink():
                continue
            if file.casefold().endswith(".fol"):
                if depth > 1 and (folder / file).is_dir():
                    yield from self._below(folder / file, f"{prefix}{file}/", (*path, name), depth - 1)
            elif (folder / file).is_file():
                yield prefix + file, (*path, name)

    def _at(self, folder: str) -> Path:
        """Return a mailbox's file. Raises: StoreFault where that is no folder's id."""
        if any(part in ("", ".", "..") or "\0" in part for part in folder.split("/")):
            raise no_folder()
        return self._root / folder

    def _stamps(self, folder: str) -> tuple[int, ...]:
        file = self._at(folder)
        stamps = []
        for each in (file, _table_of(file)):
            if each is not None:
                there = os.stat(each)
                stamps += [there.st_mtime_ns, there.st_size]
        return tuple(stamps)

    # -- what is there

    def _box(self, folder: str) -> tuple[list[_Held], Filter]:
        try:
            stamps = self._stamps(folder)
        except FileNotFoundError:
            self._check()
            raise no_folder() from None
        known = self._read.get(folder)
        if known is None or known[0] != stamps:
            held, through = self._scan(self._at(folder))
            known = self._read[folder] = stamps, held, through
        return known[1], known[2]

    def _scan(self, file: Path) -> tuple[list[_Held], Filter]:
        blob = blob_of(file)
        window = Window(blob)
        start = window.at(0, 4096)
        newline = b"\r" if b"\r" in start and b"\n" not in start else b"\n"
        through: Filter = cr_to_crlf if newline == b"\r" else to_crlf
        places = list(_places(window, newline))
        table_file = _table_of(file)
        table = toc.read(_whole(table_file)) if table_file is not None else {}
        is_told = toc.fits(table, {start for start, _, _ in places})
        ends = [*(start for start, _, _ in places[1:]), blob.size][: len(places)]
        held: list[_Held] = []
        names: set[str] = set()
        for (start_, head, line), end in zip(places, ends, strict=True):
            told = table.get(start_)
            if is_told and told is None:
                continue  # removed, and not compacted yet
            made = _held(window, start_, head, end, told, line, through)
            again = 1
            while made.name in names:
                again += 1
                made = replace(made, name=f"{made.name.partition('-')[0]}-{again}")
            names.add(made.name)
            held.append(made)
        return held, through

    def listing(self, folder: str) -> list[ItemState]:
        hash = folder_hash(folder)
        return [
            ItemState(
                item_id(hash, held.name),
                shown_version(frozenset[str](held.flags)),
                held.size,
                held.flags,
                frozenset(),
                held.at,
                held.message_id,
            )
            for held in self._box(folder)[0]
        ]

    def contents(self, folder: str, names: Sequence[str]) -> Iterator[tuple[str, Content | Status]]:
        found, through = self._box(folder)
        by_name = {held.name: held for held in found}
        for name in names:
            held = by_name.get(name)
            try:
                yield name, GONE if held is None else self._content(folder, held, through)
            except OSError as fault:
                yield name, unreadable(fault)

    def _content(self, folder: str, held: _Held, through: Filter) -> Content:
        handle = opened(self._at(folder))
        try:
            size = held.end - held.head
            if held.size is not None or size > _MOST_APART:
                return content_of(pieces(handle, held.head, held.end), size, through, self._scratch)
            header = b"".join(through(pieces(handle, held.head, held.body))).removesuffix(b"\r\n")
            body = b"".join(through(pieces(handle, held.body, held.end)))
        finally:
            os.close(handle)
        made = mime.whole(header, body, self._attachment)

        def octets() -> Iterator[bytes]:
            for part in made.parts:
                if isinstance(part, bytes):
                    yield part
                    continue
                file = opened(part)
                try:
                    yield from mime.encoded(pieces(file, 0, os.fstat(file).st_size))
                finally:
                    os.close(file)

        about = sum(len(part) if isinstance(part, bytes) else part.stat().st_size * 4 // 3 for part in made.parts)
        return content_of(octets(), about, None, self._scratch)

    def _attachment(self, name: str) -> Path | None:
        if self._files is None:
            try:
                with os.scandir(self._attachments) as entries:
                    files = [Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False)]
            except (FileNotFoundError, NotADirectoryError):
                files = []
            self._files = {file.name.casefold(): file for file in files}
        return self._files.get(name.casefold())


def _described(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the names of mailboxes and folders, and their files, that a map tells of."""
    for line in _whole(file).decode("cp1252", "replace").splitlines():
        parts = line.rsplit(",", 3)
        if len(parts) == 4 and parts[0] and not re.search(r"[\\/:\0]", parts[1]) and parts[1] not in ("", ".", ".."):
            yield parts[0], parts[1]


def _table_of(file: Path) -> Path | None:
    """Return the table of contents beside a mailbox file; None where there is none."""
    for ending in (".toc", ".TOC", ".Toc"):
        table = file.with_suffix(ending)
        if table.is_file() and not table.is_symlink():
            return table
    return None


def _whole(file: Path) -> bytes:
    handle = opened(file)
    try:
        return b"".join(pieces(handle, 0, min(_OCTETS, os.fstat(handle).st_size)))
    finally:
        os.close(handle)


def _places(window: Window, newline: bytes) -> Iterator[tuple[int, int, FromLine]]:
    """Yield where each message begins: its From_ line, and its header."""
    at = 0
    while (found := window.find_octets(_SIGN, at)) is not None:
        at = found + len(_SIGN)
        if found and window.at(found - 1, 1) != newline:
            continue
        octets = window.at(found, LINE_OCTETS)
        end = octets.find(newline)
        line = read_from((octets if end < 0 else octets[:end]).rstrip(b"\r"))
        if line is not None:
            yield found, (window.size if end < 0 else found + end + 1), line


def _held(
    window: Window, start: int, head: int, end: int, told: toc.Line | None, line: FromLine, through: Filter
) -> _Held:
    digest = hashlib.blake2b(digest_size=12)
    kept: list[bytes] = []
    for place in range(head, end, CHUNK):
        piece = window.at(place, min(CHUNK, end - place))
        digest.update(piece)
        if place - head < _MOST_APART:
            kept.append(piece)
    octets = b"".join(kept)
    name = digest.hexdigest()
    text = b"".join(through(iter((octets,))))
    empty = re.search(rb"(?:\A|\r\n)\r\n", text[:HEAD_LIMIT])
    header, body = (text, b"") if empty is None else (text[: empty.start() + 2], text[empty.end() :])
    raw = (_EMPTY_CR if through is cr_to_crlf else _EMPTY).search(octets[:HEAD_LIMIT])
    body_at = end if raw is None else head + raw.end()
    match = re.search(r"<[^<>\s]+>", _value(header, b"message-id"))
    at = _date(header)
    if at is None:
        at = told.at if told is not None and told.at is not None else line.at
    flags = told.flags if told is not None else toc.READ
    if end - head > _MOST_APART:
        size: int | None = end - head
    else:
        size = None if mime.is_apart(header, body) else len(text)
    return _Held(start, head, body_at, end, name, at, flags, match[0] if match else None, size)


def _value(header: bytes, name: bytes) -> str:
    return next(
        (" ".join(v.decode("utf-8", "replace").split()) for n, v, _, _ in notes.fields(header) if n == name), ""
    )


def _date(header: bytes) -> float | None:
    """Return when a message came by its header: the From_ line has no zone."""
    for text in (_value(header, b"received").rpartition(";")[2], _value(header, b"date")):
        try:
            return parsedate_to_datetime(text).timestamp()
        except (TypeError, ValueError, OverflowError):
            continue
    return None
