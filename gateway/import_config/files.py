"""Files of the other system, read below a root: so that a copy of its /etc can be read on this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_OCTETS: Final = 256 * 1024 * 1024
MAX_CONFIG_OCTETS: Final = 4 * 1024 * 1024
_MAX_USERS: Final = 1_000_000
_FIRST_USER: Final = 1000
_LAST_USER: Final = 60_000


class FilesError(ValueError):
    """A file that is needed cannot be read; the text names the mend."""


class Files:
    """The files below `root`, by the absolute paths that they have on the other system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def at(self, path: str) -> Path:
        """Return where a file of the other system lies here. It may be a link there, which is followed below root."""
        joined = self._root.joinpath(os.path.normpath("/" + path).lstrip("/"))
        for _ in range(16):
            if self._root == Path("/") or not joined.is_symlink():
                break
            to = os.readlink(joined)
            base = "/" if to.startswith("/") else str(Path("/") / joined.parent.relative_to(self._root))
            joined = self._root.joinpath(os.path.normpath(os.path.join(base, to)).lstrip("/"))
        return joined

    def exists(self, path: str) -> bool:
        return self.at(path).is_file()

    def octets(self, path: str, *, most: int = MAX_OCTETS) -> bytes:
        """Return a file's content. Raises: FilesError."""
        place = self.at(path)
        try:
            with place.open("rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise FilesError(f"{place} is no file")
                octets = file.read(most + 1)
        except OSError as e:
            raise FilesError(f"{place} cannot be read: {e.strerror}") from None
        if len(octets) > most:
            raise FilesError(f"{place} has more than {most} octets")
        return octets

    def text(self, path: str) -> str:
        """Return the text of a configuration file; octets that are no UTF-8 are read as Latin-1. Raises: FilesError."""
        octets = self.octets(path, most=MAX_CONFIG_OCTETS)
        try:
            return octets.decode()
        except UnicodeDecodeError:
            return octets.decode("latin-1")

    def words(self, path: str) -> list[str]:
        """Return the words of a file of one word a line, without comments. Raises: FilesError."""
        lines = (line.partition("#")[0].strip() for line in self.text(path).split("\n"))
        return [line.split()[0] for line in lines if line]

    def users(self) -> Iterator[tuple[str, str]]:
        """Yield (login name, full name) of the people among the users of the machine. Raises: FilesError."""
        count = 0
        for line in self.text("/etc/passwd").split("\n"):
            fields = line.split(":")
            if len(fields) < 7 or not fields[2].isdigit() or not _FIRST_USER <= int(fields[2]) <= _LAST_USER:
                continue
            count += 1
            if count > _MAX_USERS:
                raise FilesError(f"/etc/passwd has more than {_MAX_USERS} users")
            yield fields[0], fields[4].partition(",")[0].replace("&", fields[0].capitalize()).strip()
