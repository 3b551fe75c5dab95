"""Taken: the ids of a mailbox's items that are in the spool, for as long as the server may still show them.

A file of lines, one for each id, and a list of those that are gone, that is appended to; written anew where most of it
tells of what is gone. Durable when a call returns. What a crash cut off at the file's end is passed over: what it told
of is known by its dedupe key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

_WORTH_IT: Final = 1000


class Taken:
    """The file; its methods block. Assumes: one user."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self.ids: set[str] = set()

    def read(self) -> None:
        """Read what an earlier process wrote. Raises: OSError."""
        try:
            octets = self._path.read_bytes()
        except FileNotFoundError:
            return
        for line in octets.split(b"\n"):
            try:
                id = json.loads(line)
            except ValueError:
                continue
            self._lines += 1
            if isinstance(id, str):
                self.ids.add(id)
            elif isinstance(id, list):
                self.ids.difference_update(each for each in id if isinstance(each, str))
        if octets and not octets.endswith(b"\n"):
            self._write_anew()

    def add(self, ids: Collection[str]) -> None:
        """Remember ids. Raises: OSError."""
        new = [id for id in ids if id not in self.ids]
        if not new:
            return
        is_new = not self._path.exists()
        with self._path.open("ab") as file:
            file.write(_lines(new))
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            self._sync_folder()
        self._lines += len(new)
        self.ids.update(new)

    def forget(self, ids: Iterable[str]) -> None:
        """Forget what the server shows no more. Raises: OSError."""
        gone = self.ids.intersection(ids)
        if not gone:
            return
        self.ids -= gone
        if self._lines > _WORTH_IT + 2 * len(self.ids):
            self._write_anew()
            return
        with self._path.open("ab") as file:
            file.write(json.dumps(sorted(gone)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._lines += 1

    def _write_anew(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        with temporary.open("wb") as file:
            file.write(_lines(sorted(self.ids)))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)
        self._sync_folder()
        self._lines = len(self.ids)

    def _sync_folder(self) -> None:
        handle = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lines(ids: Iterable[str]) -> bytes:
    return b"".join(json.dumps(id).encode() + b"\n" for id in ids)
