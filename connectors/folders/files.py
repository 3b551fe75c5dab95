"""mbox and MMDF files as a mailbox, shared with the programs that read and deliver into them.

Promises: every look and every change is under the file's locks; a change is whole or not at all, also where it is
killed or the power goes; what is appended is synced before it is told. Flags and keywords are written as mutt, c-client
and Dovecot read them.
Line ends and the last line's end are the file's: a message whose lines end in LF alone comes back with CRLF. In mboxo,
mboxcl and rfc4155 a line that begins with `From ` comes back with a `>`, too; mboxrd and mboxcl2 keep it.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from connectors.folders import box as boxes
from connectors.folders import notes
from connectors.folders.backend import FRESH_S, GONE, Backend, folder_hash, item_id, no_folder
from connectors.folders.box import Box, Held, Kind, Mbox, Mmdf
from connectors.folders.journal import Journal
from connectors.folders.reading import HEAD_LIMIT, content_of, opened, pieces
from connectors.folders.roles import with_roles
from connectors.folders.tree import Place, Tree
from connectors.folders.words import FORBIDDEN
from gateway.contract import FLAGS, Appended, Content, Folder, FolderRole, Holds, ItemState, NewItem, Status, StoreFault
from gateway.formats import mbox, mmdf
from gateway.formats.from_line import write as from_line
from gateway.formats.lines import chain, ended, escape_rules, to_crlf, to_lf
from gateway.mailbox_lock import Locking, MailboxLock

_OLD_LINES: Final = Status("5.3.5", "the file's lines end in CR, and what would be put into it would not be seen")
_AT_ONCE: Final = 256 * 1024
"""What is read under one lock, at least."""
_NOBODY: Final = "MAILER-DAEMON@localhost"
_PATH: Final = re.compile(rb"<([^<>\s]+)>")


HOLDS: Final = Holds(
    flags=FLAGS,
    keywords=True,
    internal_date=True,
    change_tokens=False,
    stable_ids=False,
    exact=False,
    # What is read is the same each time. In being written, a line that begins with `From ` gets its > for good in
    # some dialects of mbox, and one of four ^A a blank in MMDF; digests tell all other messages.
    nearly_exact=True,
    finds=False,
    forbidden_in_names="\0",
    forbidden_in_keywords=FORBIDDEN + ",",
)


class MailFiles(Backend):
    """The mailbox files of one mailbox; `scratch` is a folder of ours."""

    def __init__(
        self,
        tree: Tree,
        dialect: mbox.Dialect | None,
        *,
        scratch: Path,
        locks: Sequence[Locking],
        wait_s: float,
    ) -> None:
        self._tree = tree
        self._dialect = dialect
        self._kind: Kind = Mmdf() if dialect is None else Mbox(dialect)
        self._scratch = scratch
        self._locks = locks
        self._wait_s = wait_s
        self._boxes: dict[str, Box] = {}

    @property
    def holds(self) -> Holds:
        return HOLDS

    # -- folders

    def folders(self) -> list[Folder]:
        return with_roles(self._folder(place) for place in self._tree.places())

    def _folder(self, place: Place) -> Folder:
        role: FolderRole | None = "inbox" if place.path == ("INBOX",) else None
        there = os.stat(place.file)
        is_settled = there.st_mtime < time.time() - FRESH_S
        mark = f"{there.st_ino}.{there.st_size}.{there.st_mtime_ns}" if is_settled else None
        known = self._boxes.get(place.id)
        total = unread = None
        if there.st_size == 0:
            total = unread = 0
        elif known is not None and known.stamp == (there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns):
            shown = [held for held in known.held.values() if not held.hidden]
            total, unread = len(shown), sum("seen" not in held.flags for held in shown)
        return Folder(place.id, place.path, "mail", role, total, unread, mark=mark)

    def make(self, path: tuple[str, ...]) -> Folder:
        return self._folder(self._tree.make(path))

    def rename(self, folder: str, path: tuple[str, ...]) -> Folder:
        with self._locked(folder):
            self._boxes.clear()
            return self._folder(self._tree.rename(folder, path))

    def drop(self, folder: str) -> None:
        with self._locked(folder):
            self._boxes.pop(folder, None)
            self._tree.drop(folder)

    # -- the file

    @contextmanager
    def _locked(self, folder: str, *, writes: bool = True) -> Iterator[int]:
        """Give the file, open and locked, with what a crash left finished. Raises: OSError, StoreFault."""
        file = self._tree.at(folder)
        try:
            if not (self._locks or writes):
                handle = opened(file)
                try:
                    yield handle
                finally:
                    os.close(handle)
                return
            with MailboxLock(file, self._locks, self._wait_s) as lock:
                Journal(self._scratch, file).recover(lock.handle)
                yield lock.handle
        except FileNotFoundError:
            self._tree.check()
            raise no_folder() from None
        except PermissionError as fault:
            raise _no_lock(fault) from None
        except OSError as fault:
            if fault.errno != errno.EROFS:
                raise
            raise _no_lock(fault) from None

    def _box(self, folder: str, handle: int) -> Box:
        known = self._boxes.get(folder)
        if known is None or known.stamp != boxes.stamp(handle):
            known = self._boxes[folder] = boxes.read(handle, self._kind)
        return known

    def listing(self, folder: str) -> list[ItemState]:
        hash = folder_hash(folder)
        with self._locked(folder, writes=False) as handle:
            held = list(self._box(folder, handle).held.values())
        return [
            ItemState(
                item_id(hash, each.name),
                each.version,
                each.size,
                each.flags,
                each.keywords,
                each.span.from_line.at,
                each.message_id,
            )
            for each in held
            if not each.hidden
        ]

    def contents(self, folder: str, names: Sequence[str]) -> Iterator[tuple[str, Content | Status]]:
        at = 0
        while at < len(names):
            part: list[tuple[str, Content | Status]] = []
            octets = 0
            with self._locked(folder, writes=False) as handle:
                held = self._box(folder, handle).held
                while at < len(names) and octets < _AT_ONCE:
                    found = held.get(names[at])
                    part.append((names[at], GONE if found is None else self._content(handle, found)))
                    octets += 0 if found is None else found.size
                    at += 1
            yield from part

    def _content(self, handle: int, held: Held) -> Content:
        span = held.span
        header, newline = boxes.header_of(handle, span)
        if not header:
            size = span.end - span.head
            return content_of(pieces(handle, span.head, span.end), size, span.through, self._scratch)
        _, own = notes.read(header)
        head = b"".join(span.through(iter((own.replace(b"\n", b"\r") if newline == b"\r" else own,))))

        def octets() -> Iterator[bytes]:
            yield head
            yield from span.through(pieces(handle, span.body, span.end))

        return content_of(octets(), span.end - span.head, None, self._scratch)

    # -- what is put in and altered

    def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        with self._locked(folder) as handle:
            before = self._box(folder, handle)
            known = len(before.held)
            start = os.pread(handle, 4096, 0)
            if b"\r" in start and b"\n" not in start:
                return [_OLD_LINES for _ in items]
            tail = b"".join(pieces(handle, max(0, before.end - 3), before.end))
            lead = mmdf.joint(tail) if self._dialect is None else mbox.joint(tail)

            def new() -> Iterator[bytes]:
                yield lead
                for item in items:
                    yield from self._written(item)

            Journal(self._scratch, self._tree.at(folder)).alter(handle, before.end, new)
            del self._boxes[folder]  # it is altered in reading on
            self._boxes[folder] = now = boxes.read(handle, self._kind, before)
            made = list(now.held)[known:]
        if len(made) != len(items):  # something in them looks like an end of them: what is there is found by looking
            return [Status("4.3.0", "the mailbox does not tell what it made") for _ in items]
        return [Appended(name) for name in made]

    def _written(self, item: NewItem) -> Iterable[bytes]:
        words = frozenset[str](item.flags) | item.keywords
        content = item.content
        head = b"".join(to_lf(iter((content.head,))))
        match = _PATH.search(content.get(b"return-path") or b"") if head else None
        sender = match[1].decode("utf-8", "replace") if match is not None else None
        at = time.time() if item.received_at is None else item.received_at
        if self._dialect is mbox.Dialect.RFC4155 and (sender is None or "@" not in sender):
            sender = _NOBODY  # it has to be an address there
        line = from_line(sender, at)
        if len(head) > HEAD_LIMIT // 2:
            return self._form(content, line)
        headerless = not head and next(content.chunks(2), b"")[:1] not in (b"\r", b"\n")
        return self._form(content.with_head(notes.write(head, words, headerless=headerless)), line)

    def _form(self, content: Content, line: bytes) -> Iterable[bytes]:
        if self._dialect is not None:
            return mbox.written(content, line, self._dialect)()

        def octets() -> Iterator[bytes]:
            yield mmdf.RULE
            yield line
            yield from ended(chain(to_lf, escape_rules)(content.chunks()))
            yield mmdf.RULE

        return octets()

    def set_flags(
        self, folder: str, names: Sequence[str], add: frozenset[str], remove: frozenset[str]
    ) -> list[str | Status]:
        with self._locked(folder) as handle:
            box = self._box(folder, handle)
            edits: list[tuple[int, int, Callable[[], Iterable[bytes]]]] = []
            for name in dict.fromkeys(names):
                held = box.held.get(name)
                if held is None or held.hidden:
                    continue
                words = (held.words | add) - remove
                if words != held.words:
                    edits.append(self._edit(handle, held, words))
            self._alter(folder, handle, edits)
            now = self._box(folder, handle).held
            return [now[name].version if name in now and not now[name].hidden else GONE for name in names]

    def _edit(self, handle: int, held: Held, words: frozenset[str]) -> tuple[int, int, Callable[[], Iterable[bytes]]]:
        """Return a header's place, and what is to be there."""
        header, newline = boxes.header_of(handle, held.span)
        _, own = notes.read(header)
        ends = own.endswith((b"\n\n", b"\n\r\n")) or own in (b"\n", b"\r\n") or not own
        head = own.removesuffix(b"\n").removesuffix(b"\r") if ends else own
        lengths = b"".join(header[s:e] for name, _, s, e in notes.fields(header) if name == b"content-length")
        written = notes.write(head, words, lengths + notes.others_of(header), headerless=not own)
        if ends or held.span.body < held.span.end:
            written += b"\n"
        if newline != b"\n":
            written = b"".join(to_crlf(iter((written,)))).replace(b"\r\n", newline)
        return held.span.head, held.span.body, lambda: (written,)

    def _alter(self, folder: str, handle: int, edits: list[tuple[int, int, Callable[[], Iterable[bytes]]]]) -> None:
        """Put something in the place of something, durably. Raises: OSError."""
        if not edits:
            return
        edits.sort(key=lambda edit: edit[0])
        end = os.fstat(handle).st_size
        first = edits[0][0]

        def new() -> Iterator[bytes]:
            at = first
            for start, stop, octets in edits:
                yield from pieces(handle, at, start)
                yield from octets()
                at = stop
            yield from pieces(handle, at, end)

        Journal(self._scratch, self._tree.at(folder)).alter(handle, first, new)
        self._boxes.pop(folder, None)

    def move(self, folder: str, names: Sequence[str], target: str) -> list[str | Status]:
        """Copied, and then removed: after a crash between the two a message is in both."""
        with self._locked(folder, writes=False) as handle:
            held = self._box(folder, handle).held
            found = {name: held[name] for name in names if name in held and not held[name].hidden}
            items = [
                NewItem("", self._content(handle, each), each.flags, each.keywords, each.span.from_line.at)
                for each in found.values()
            ]
        made = dict(zip(found, self.append(target, items), strict=True)) if items else {}
        self.remove(folder, [name for name, answer in made.items() if isinstance(answer, Appended)])
        answers: list[str | Status] = []
        for name in names:
            answer = made.get(name, GONE)
            answers.append(answer.id if isinstance(answer, Appended) else answer)
        return answers

    def remove(self, folder: str, names: Sequence[str]) -> list[Status | None]:
        with self._locked(folder) as handle:
            box = self._box(folder, handle)
            gone = [box.held[name] for name in dict.fromkeys(names) if name in box.held and not box.held[name].hidden]
            self._alter(folder, handle, [(each.span.start, each.span.next, tuple) for each in gone])
        return [None for _ in names]


def _no_lock(fault: OSError) -> StoreFault:
    text = f"the mailbox can't be locked: {fault.strerror}; where nobody writes to it, set locks = []"
    return StoreFault(Status("4.2.1", text, str(fault)))


def looks_like(dialect: mbox.Dialect | None) -> Callable[[bytes], bool]:
    """Return what tells by a file's first octets whether it is a mailbox."""
    sign = mmdf.RULE[:4] if dialect is None else b"From "
    return lambda octets: octets.startswith(sign)
