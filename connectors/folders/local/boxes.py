"""Putting messages into the mailboxes of this machine, in threads.

Promises: what `put` tells as delivered is durable, its octets and its name; a mailbox file holds a message whole or
not at all; a message that an earlier attempt put is found, and not put again; a mailbox that is missing, full or
locked concerns its owner alone, and a store that is gone or on a full disk all that would be put there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.folders.local.config import LocalConfig
from connectors.folders.local.places import Mailbox, path_of, root_of
from gateway.contract import Content, Deferred, Failed, Outcome, Scope, Status
from gateway.formats import mbox, mmdf
from gateway.formats.from_line import write
from gateway.formats.lines import to_lf
from gateway.formats.maildir import FOLDERS, folder_name
from gateway.mailbox_append import MailboxFile
from gateway.mailbox_files import REAL, Operations, sync_folder
from gateway.mailbox_lock import LOCK_SUFFIX
from gateway.mailbox_maildir import MaildirFolder
from gateway.mailbox_post import Post

_MAILBOXES_KEPT: Final = 1000
NO_MAILBOX: Final = Failed(Status("5.1.1", "there is no such mailbox here"))
_WHOLE: Final = frozenset((errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOSPC, errno.ENFILE, errno.EMFILE))
"""Faults that would come with every mailbox of the store."""
_TEXTS: Final = {
    errno.ENOSPC: ("4.3.1", "the mailboxes are on a full disk"),
    errno.EROFS: ("4.3.0", "the mailboxes are on a read-only file system"),
    errno.EIO: ("4.3.0", "the mailboxes are on a disk that fails"),
    errno.ESTALE: ("4.3.0", "the mailboxes are on a share that is gone"),
    errno.EACCES: ("4.3.0", "the mailbox may not be written by the gateway"),
    errno.EPERM: ("4.3.0", "the mailbox may not be written by the gateway"),
    errno.ELOOP: ("4.3.5", "the mailbox is a link, which is not followed"),
    errno.EINVAL: ("4.3.5", "the mailbox is no regular file"),
    errno.EISDIR: ("4.3.5", "the mailbox is a folder, and a file is expected"),
    errno.ENOTDIR: ("4.3.5", "the mailbox is a file, and a folder is expected"),
    errno.EFBIG: ("4.2.2", "the mailbox takes no file of this size"),
}


class _Full(Exception):
    """A message does not fit under a quota; `ever` where it never will."""

    def __init__(self, *, ever: bool) -> None:
        self.ever = ever


class _Missing(Exception):
    """A mailbox is not there."""


class Unreadable(Exception):
    """A message's content cannot be read: no fault of the mailbox."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message for one mailbox: `content` as it is put; `sender` is what a From_ line tells."""

    stem: str
    content: Content
    sender: str | None
    arrived_at: float
    is_fresh: bool


class Boxes:
    """The store. Its methods block; threads call them, one mailbox at a time each."""

    def __init__(self, config: LocalConfig, base: Path, host: str, ops: Operations = REAL) -> None:
        self.config = config
        self.root = root_of(config.path, base)
        self._base = base
        self._host = host
        self._ops = ops
        self._kept: dict[tuple[str, str], MaildirFolder | MailboxFile] = {}

    def check(self) -> None:
        """Look whether the store is there. Raises: OSError."""
        if not self.root.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the folder of the mailboxes is not there; make it", str(self.root))

    def put(self, mailbox: Mailbox, folder: str, letters: Sequence[Letter]) -> list[Outcome | None]:
        """Put messages into a folder of a mailbox, empty for the mailbox itself; return for each an outcome, None where
        it is there. Raises nothing but Unreadable."""
        try:
            box = self._box(mailbox, folder)
        except _Missing:
            return [self._missing()] * len(letters)
        except OSError as fault:
            return [self._fault(fault)] * len(letters)
        if isinstance(box, MaildirFolder):
            return self._put_files(box, letters)
        return self._put_at_once(box, letters)

    def _put_files(self, box: MaildirFolder, letters: Sequence[Letter]) -> list[Outcome | None]:
        outcomes: list[Outcome | None] = [self._attempt(box, [letter]) for letter in letters]
        return self._synced(box, outcomes)

    def _put_at_once(self, box: MailboxFile, letters: Sequence[Letter]) -> list[Outcome | None]:
        """Append messages by one lock; where they do not go together, each by itself."""
        outcome = self._attempt(box, letters)
        if outcome is not None and len(letters) > 1 and not _is_hop(outcome):
            outcomes = [self._attempt(box, [letter]) for letter in letters]
        else:
            outcomes = [outcome] * len(letters)
        return self._synced(box, outcomes)

    def _synced(self, box: MaildirFolder | MailboxFile, outcomes: list[Outcome | None]) -> list[Outcome | None]:
        """Make what was put durable, and return the outcomes; where that fails, what was put is deferred."""
        if None in outcomes:
            try:
                box.sync()
            except OSError as fault:
                return [self._fault(fault) if each is None else each for each in outcomes]
        return outcomes

    def _attempt(self, box: MaildirFolder | MailboxFile, letters: Sequence[Letter]) -> Outcome | None:
        try:
            self._refuse_too_much(box, letters)
            box.put([Post(letter.stem, self._octets(letter), letter.is_fresh) for letter in letters])
        except _Full as full:
            return self._full(ever=full.ever)
        except BlockingIOError as busy:
            return Deferred(Status("4.2.0", "another program holds the mailbox's lock", cause=str(busy)))
        except OSError as fault:
            return self._full() if fault.errno == errno.EDQUOT else self._fault(fault)
        return None

    def _refuse_too_much(self, box: MaildirFolder | MailboxFile, letters: Sequence[Letter]) -> None:
        """Raises: _Full where messages would take a mailbox file over its quota, or one never fits."""
        limit = self.config.quota_bytes
        if limit is None:
            return
        sizes = [letter.content.size for letter in letters]
        if max(sizes) > limit:
            raise _Full(ever=True)
        if isinstance(box, MailboxFile):
            with suppress(FileNotFoundError):
                if os.stat(box.path).st_size + sum(sizes) > limit:
                    raise _Full(ever=False)

    def _octets(self, letter: Letter) -> Callable[[], Iterable[bytes]]:
        config, content = self.config, letter.content
        if config.format == "maildir":
            return _guarded(lambda: to_lf(content.chunks()))
        if config.format == "mmdf":
            return _guarded(mmdf.written(content))
        try:
            return _guarded(mbox.written(content, write(letter.sender, letter.arrived_at), config.dialect))
        except OSError as fault:
            raise Unreadable(fault.strerror or str(fault)) from fault

    # -- where they lie

    def _box(self, mailbox: Mailbox, folder: str) -> MaildirFolder | MailboxFile:
        """Return a mailbox, made where it may be. Raises: _Missing, OSError."""
        config = self.config
        path = path_of(config.path, mailbox, self._base)
        if config.format == "maildir":
            inner = _inner(path, folder)
            _refuse_links([inner / each for each in FOLDERS], self.root)
            if not path.is_dir():
                self._make(path)
        elif folder:
            if not config.folders:
                raise _Missing
            root = root_of(config.folders, self._base)
            path = _no_lock(path_of(config.folders, mailbox, self._base).joinpath(*folder.split("/")))
            _refuse_links((path,), root)
            self._make_folders(path.parent, root)
        else:
            _refuse_links((_no_lock(path),), self.root)
            if not os.path.lexists(path):
                self._make(path.parent)
        key = (str(path), folder)
        box = self._kept.get(key)
        if box is None:
            if len(self._kept) >= _MAILBOXES_KEPT:
                self._kept.clear()
            box = self._kept[key] = self._opened(path, folder)
        return box

    def _opened(self, path: Path, folder: str) -> MaildirFolder | MailboxFile:
        config = self.config
        if config.format == "maildir":
            return MaildirFolder(
                path,
                _inner(path, folder),
                self._host,
                mark=config.info_mark,
                quota_octets=config.quota_bytes,
                ops=self._ops,
            )
        joint = mmdf.joint if config.format == "mmdf" else mbox.joint
        return MailboxFile(path.parent, path.name, config.locks, config.lock_wait_s, joint, self._ops)

    def _make(self, folder: Path) -> None:
        """Make a mailbox's folder. Raises: _Missing where the configuration makes none; OSError."""
        self.check()
        if not self.config.create:
            raise _Missing
        self._make_folders(folder, self.root)

    def _make_folders(self, folder: Path, root: Path) -> None:
        """Make the folders from `root`, which is there, down to `folder`, durably. Raises: OSError."""
        missing = []
        while folder != root and not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            with suppress(FileExistsError):
                self._ops.mkdir(str(each), 0o700)
            sync_folder(each.parent, self._ops)

    # -- what went wrong

    def _missing(self) -> Outcome:
        if self.config.missing == "defer":
            return Deferred(Status("4.2.1", "the mailbox is not there yet"))
        return NO_MAILBOX

    def _full(self, *, ever: bool = False) -> Outcome:
        if ever:
            return Failed(Status("5.2.3", "the message is larger than a mailbox here may be"))
        if self.config.over_quota == "fail":
            return Failed(Status("5.2.2", "the mailbox is full"))
        return Deferred(Status("4.2.2", "the mailbox is full"))

    def _fault(self, fault: OSError) -> Deferred:
        """Say what a failed call means: of one mailbox, or of the store."""
        code, text = _TEXTS.get(fault.errno or 0, ("4.3.0", "the mailbox cannot be written"))
        cause = f"{fault.filename or self.root}: {fault.strerror or fault}"
        if not self.root.is_dir():
            return Deferred(Status("4.3.0", "the folder of the mailboxes is not there", cause=cause), Scope.HOP)
        scope = Scope.HOP if fault.errno in _WHOLE else Scope.RECIPIENT
        return Deferred(Status(code, text, cause=cause), scope)


def _inner(path: Path, folder: str) -> Path:
    """Return a folder of a Maildir. Raises: OSError where it can be none."""
    try:
        return path / folder_name(folder.split("/")) if folder else path
    except ValueError as mistake:
        raise OSError(errno.EINVAL, str(mistake)) from None


def _no_lock(path: Path) -> Path:
    """Return a mailbox file's path. Raises: _Missing where it is that of another one's lock, which whoever finds it too
    old takes away."""
    if path.name.endswith(LOCK_SUFFIX):
        raise _Missing
    return path


def _refuse_links(paths: Iterable[Path], root: Path) -> None:
    """Raises: OSError where something on the way from `root` to one of these is a link.

    Whoever may write there would have octets of their choice put into any folder that is the gateway's, such as the
    inbox of another connector.
    """
    end, looked_at = str(root), set[str]()
    for path in paths:
        each = str(path)
        while each != end and len(each) > 1 and each not in looked_at:
            looked_at.add(each)
            if os.path.islink(each):
                raise OSError(errno.ELOOP, "it is a link, which is not followed", each)
            each = os.path.dirname(each)


def _is_hop(outcome: Outcome) -> bool:
    return isinstance(outcome, Deferred) and outcome.scope is Scope.HOP


def _guarded(octets: Callable[[], Iterable[bytes]]) -> Callable[[], Iterable[bytes]]:
    """Have what cannot be read of a content told apart from what cannot be written of a mailbox."""

    def pieces() -> Iterator[bytes]:
        try:
            yield from octets()
        except OSError as fault:
            raise Unreadable(fault.strerror or str(fault)) from fault

    return pieces
