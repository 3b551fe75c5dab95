"""Putting messages into a Maildir: each a file in `new`, moved there whole from `tmp`.

Promises: a reader sees a whole file or none; the name is made from arrival time, message id and recipient, so that a
retry finds the file that an earlier attempt put, in `new`, or in `cur` under whatever flags a program gave it since.
Where the Maildir has a quota file, it is kept, and a message over the quota waits.
Sources: https://cr.yp.to/proto/maildir.html; Courier's README.maildirquota.html.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.formats.maildir import FOLDERS, MARK, Quota, quota_line, read_name, read_quota, sized, unique_name
from gateway.mailbox_files import REAL, Operations, sync_folder
from gateway.mailbox_post import Post

RESCAN_S: Final = 2.0
"""How old a listing of `cur` may be. A retry after a crash comes later than that after what it may find."""

QUOTA_FILE: Final = "maildirsize"
_QUOTA_OCTETS: Final = 5120
"""A larger quota file is made anew."""
_OVER_S: Final = 15 * 60.0
_STEM: Final = re.compile(r"(\d{8}T\d{6})(\d{3})Z-(.+)")


class MaildirFolder:
    """One folder of a Maildir. `root` is the Maildir, `folder` the one in it that messages go to; used by threads."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        host: str,
        *,
        sizes: bool = True,
        mark: str = MARK,
        quota_octets: int | None = None,
        ops: Operations = REAL,
    ) -> None:
        """`quota_octets`: the quota file is made to say so; None leaves to it what it says, and makes none."""
        self.root = root
        self.folder = folder
        self._host = host
        self._sizes = sizes
        self._mark = mark
        self._quota_octets = quota_octets
        self._ops = ops
        self._guard = threading.Lock()
        self._seen: frozenset[str] = frozenset()
        self._listed: tuple[int, float] | None = None

    def put(self, posts: Sequence[Post]) -> None:
        """Put messages. Raises: OSError, with EDQUOT where the Maildir's quota has no room."""
        self._make_folders()
        for post in posts:
            unique = self._unique(post.stem)
            if post.is_fresh or unique not in self._in_cur():
                self._put(unique, post)

    def sync(self) -> None:
        sync_folder(self.folder / "new", self._ops)

    def count(self, limit: int) -> int:
        """Return how many messages no program has seen yet."""
        found = 0
        try:
            with os.scandir(self.folder / "new") as entries:
                for entry in entries:
                    found += not entry.name.startswith(".")
                    if found > limit:
                        break
        except FileNotFoundError:
            self.root.stat()  # that there is no message yet is no fault; that there is no outbox is one
        return found

    def _unique(self, stem: str) -> str:
        match = _STEM.fullmatch(stem)
        if match is None:
            return unique_name(0, stem, self._host)
        at = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        return unique_name(int(at.timestamp()), f"M{match[2]}000Q{match[3]}", self._host)

    def _make_folders(self) -> None:
        if self.folder != self.root:
            self._make(self.folder)
            # A file of this name tells that the folder belongs to the Maildir above.
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(self._ops.open(str(self.folder / "maildirfolder"), flags, 0o640))
        for name in FOLDERS:
            self._make(self.folder / name)

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            with suppress(FileExistsError):
                self._ops.mkdir(str(folder), 0o750)
            sync_folder(folder.parent, self._ops)

    def _in_cur(self) -> frozenset[str]:
        """Return the unique names of the messages that programs have seen."""
        cur = self.folder / "cur"
        with self._guard:
            changed, now = os.stat(cur).st_mtime_ns, time.monotonic()
            if self._listed is None or (self._listed[0] != changed and now - self._listed[1] >= RESCAN_S):
                names = (read_name(name, self._mark).unique for name in os.listdir(cur))
                self._seen = frozenset(name for name in names if name.endswith(f".{self._host}"))
                self._listed = changed, now
            return self._seen

    def _put(self, unique: str, post: Post) -> None:
        temporary = str(self.folder / "tmp" / unique)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = self._ops.open(temporary, flags, 0o640)
        try:
            size = lines = 0
            for piece in post.octets():
                size += len(piece)
                lines += piece.count(b"\n")
                view = memoryview(piece)
                while view:
                    view = view[self._ops.write(handle, view) :]
            self._ops.fsync(handle)
            name = sized(unique, size, size + lines).text() if self._sizes else unique
            target = str(self.folder / "new" / name)
            is_new = not os.path.lexists(target)
            quota = self._quota(size) if is_new else None
            if quota is not None and not quota.has_room(size):
                raise OSError(errno.EDQUOT, "the Maildir's quota has no room", str(self.root))
            # Over NFS a rename whose answer was lost is told as a failure; the retry then finds the name taken.
            self._ops.rename(temporary, target)
        except BaseException:
            with suppress(OSError):
                self._ops.unlink(temporary)
            raise
        finally:
            os.close(handle)
        if quota is not None:
            self._add_to_quota(size)

    def _quota(self, size: int) -> Quota | None:
        """Return what the quota file tells, made anew where it has to be; None where there is none."""
        path = self.root / QUOTA_FILE
        limit = self._quota_octets
        try:
            text = path.read_bytes()
            changed = path.stat().st_mtime
        except FileNotFoundError:
            return None if limit is None else self._new_quota(b"%dS\n" % limit)
        quota = read_quota(text)
        if limit is not None and (quota is None or quota.max_octets != limit or quota.max_messages is not None):
            return self._new_quota(b"%dS\n" % limit)
        if quota is None:
            return None
        is_old = os.stat(self.folder / "tmp").st_mtime - changed > _OVER_S  # both by the share's clock
        if len(text) > _QUOTA_OCTETS or (not quota.has_room(size) and is_old):
            quota = self._new_quota(text.partition(b"\n")[0] + b"\n")
        return quota

    def _new_quota(self, limits: bytes) -> Quota | None:
        """Write the quota file anew, with these limits and what is there; return what it tells. Raises: OSError."""
        octets, messages = self._used()
        made = limits + quota_line(octets, messages)
        temporary = str(self.root / "tmp" / f"{QUOTA_FILE}.{os.getpid()}.{threading.get_ident()}")
        handle = self._ops.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            self._ops.write(handle, memoryview(made))
        finally:
            os.close(handle)
        self._ops.rename(temporary, str(self.root / QUOTA_FILE))
        return read_quota(made)

    def _add_to_quota(self, size: int) -> None:
        with suppress(OSError):  # the message is there: a count that is wrong is mended by the next that is made anew
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = self._ops.open(str(self.root / QUOTA_FILE), flags, 0)
            try:
                self._ops.write(handle, memoryview(quota_line(size, 1)))
            finally:
                os.close(handle)

    def _used(self) -> tuple[int, int]:
        """Return the octets and messages of the whole Maildir, those in the trash aside."""
        folders = [self.root]
        with os.scandir(self.root) as entries:
            folders += [Path(e.path) for e in entries if e.name.startswith(".") and e.name != ".Trash" and e.is_dir()]
        octets = messages = 0
        for folder in folders:
            for kind in ("new", "cur"):
                with suppress(FileNotFoundError), os.scandir(folder / kind) as entries:
                    for entry in entries:
                        name = read_name(entry.name, self._mark)
                        if "T" not in (name.flags or ""):
                            octets += entry.stat().st_size if name.size is None else name.size
                            messages += 1
        return octets, messages
