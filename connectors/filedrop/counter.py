"""Counter: numbers for files whose reader expects them in a row, kept in a folder of the connector's own.

Promises: a number is never given twice, by several threads or processes or after a crash; after a crash some may be
left out, at most `STEP` in a row. What is reserved is durable before the first of it is given.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from threading import Lock
from typing import Final

STEP: Final = 100
"""So many numbers are reserved by one write."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Counter:
    """The rows of numbers of one connector. Nothing is touched before the first number is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._rows: dict[str, tuple[int, int]] = {}

    def next(self, row: str) -> int:
        """Return the next number of a row, from 1 on.

        Raises: OSError where a reservation cannot be made durable; ValueError where the row's name is not one of
        a-z, 0-9, - and _, or its file does not hold a number.
        """
        if not _NAME.fullmatch(row):
            raise ValueError(f"{row!r} is not the name of a row of numbers")
        with self._lock:
            last, reserved = self._rows.get(row, (0, 0))
            if last == reserved:
                last, reserved = self._reserve(row)
            self._rows[row] = (last + 1, reserved)
            return last + 1

    def _reserve(self, row: str) -> tuple[int, int]:
        """Take the next numbers for this process: those after the first, up to the second, are ours."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._folder / f"{row}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            last = self._kept(row)
            self._keep(row, last + STEP)
        finally:
            os.close(lock)
        return last, last + STEP

    def _file(self, row: str) -> Path:
        return self._folder / f"{row}.number"

    def _kept(self, row: str) -> int:
        """Return the last number that may have been given."""
        try:
            text = self._file(row).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return 0
        if not text.isascii() or not text.isdigit():
            raise ValueError(f"{self._file(row)} holds {text[:40]!r} and no number; write the last one that was used")
        return int(text)

    def _keep(self, row: str, number: int) -> None:
        """Write down that numbers up to this one may be given; durable when it returns."""
        file = self._file(row)
        new = file.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, b"%d\n" % number)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(file)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
