"""The archive: where accepted files go, in one folder or one a day."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from connectors.filedrop.files import move
from gateway.mailbox_files import REAL, Operations


class Archive:
    """A folder whose name may hold `{yyyy}`, `{mm}` and `{dd}`; folders of days are made as days come (UTC)."""

    def __init__(self, folder: Path, clock: Callable[[], float], ops: Operations = REAL) -> None:
        self._pattern = str(folder)
        self._clock = clock
        self._ops = ops
        self._is_dated = any(word in self._pattern for word in ("{yyyy}", "{mm}", "{dd}"))

    def folder(self) -> Path:
        """Return the folder of today."""
        if not self._is_dated:
            return Path(self._pattern)
        day = datetime.fromtimestamp(self._clock(), UTC)
        named = self._pattern.replace("{yyyy}", f"{day:%Y}").replace("{mm}", f"{day:%m}").replace("{dd}", f"{day:%d}")
        return Path(named)

    def take(self, path: str, name: str, token: str) -> None:
        """Move a file here under a name that is free. Raises: OSError."""
        folder = str(self.folder()) if self._is_dated else self._pattern
        try:
            move(path, folder, name, self._ops, unique=token)
        except FileNotFoundError:
            if not self._is_dated or os.path.isdir(folder):
                raise
            self._make(Path(folder))
            move(path, folder, name, self._ops, unique=token)

    def _make(self, folder: Path) -> None:
        """Make the folders of the day, but not what stands before the first of them: it may be a share's."""
        fixed = next(n for n, part in enumerate(Path(self._pattern).parts) if "{" in part)
        made = [parent for parent in (*reversed(folder.parents), folder) if len(parent.parts) > fixed]
        for each in made:
            with suppress(FileExistsError):
                self._ops.mkdir(str(each), 0o750)
