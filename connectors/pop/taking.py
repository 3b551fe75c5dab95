"""What a server sends in many lines: kept in memory, or, where it is large, in a file without a name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO, Final

from connectors.pop.wire import WireError
from gateway.contract import Content

INLINE: Final = 1024 * 1024


class _Kept:
    """A file as a Blob."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)


class Taken:
    """Takes an answer's octets: at most `most` of them, or without a bound into a file of `folder`.

    With `cut` the octets beyond are passed over: of a header the beginning is enough, and one that is too long is no
    reason to read no other.
    """

    def __init__(self, most: int | None, folder: Path | None = None, *, cut: bool = False) -> None:
        self._most = most
        self._cut = cut
        self._folder = folder
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def write(self, octets: bytes) -> None:
        """Take the next. Raises: OSError, WireError where it is more than can be."""
        if self._cut and self._most is not None:
            octets = octets[: self._most - self._size]
        self._size += len(octets)
        if self._most is not None and self._size > self._most:
            raise WireError(f"the server's answer is longer than {self._most} octets")
        if self._file is None and self._folder is not None and self._size > INLINE:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it lives as long as the content
            for piece in self._pieces:
                self._file.write(piece)
            self._pieces.clear()
        if self._file is not None:
            self._file.write(octets)
        else:
            self._pieces.append(octets)

    def octets(self) -> bytes:
        return b"".join(self._pieces)

    def lines(self) -> list[str]:
        return self.octets().decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")[:-1]

    def content(self) -> Content:
        """Return it as a message."""
        if self._file is None:
            return Content(self.octets())
        self._file.flush()
        return Content(_Kept(self._file, self._size))
