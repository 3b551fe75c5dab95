"""The inbox as a source uses it: which names are files to take, what is in them, and where they go in the end.

All of it blocks and runs in threads, one call at a time for `take`. Claimed files lie in `.claimed/` inside the
inbox, one folder a worker, on the same file system so that a claim is a rename; what a crash leaves there is taken
up by whoever runs the source next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Final

from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.files import (
    REAL,
    Claimed,
    InMemory,
    NotRegular,
    OpenFile,
    Operations,
    claim,
    claimed,
    move,
    place,
)
from connectors.filedrop.formats import FORMATS, Bad, Options, Part, Stamp

CLAIMS: Final = ".claimed"
INLINE_OCTETS: Final = 256 * 1024
"""A larger file is streamed into the spool."""

SORTED_NAMES: Final = 100_000
EMPTY_GRACE_S: Final = 60.0
_TEMPORARY: Final = (".tmp", ".part", "~", ".bad", ".bad.txt")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A claimed file and what its format found: parts, and what is bad.

    `octets` is the whole file where it is small, None where its parts are to be streamed.
    """

    claimed: Claimed
    parts: tuple[Part, ...]
    bad: tuple[Bad, ...]
    octets: bytes | None


class Inbox:
    """One inbox. `worker` names this worker's claim folder."""

    def __init__(
        self,
        folder: Path,
        config: FileDropConfig,
        options: Options,
        *,
        errors: Path | None,
        archive: Path | None,
        worker: int,
        ops: Operations = REAL,
    ) -> None:
        self.folder = folder
        self._config = config
        self._options = options
        self._errors = errors or folder
        self._archive = archive
        self._claims = folder / CLAIMS / f"w{worker}"
        self._format = FORMATS[config.format]
        self._ops = ops
        self._sweep: Iterator[os.DirEntry[str]] | None = None
        self._empty_since: dict[str, float] = {}

    def is_ready(self, name: str) -> bool:
        """Tell whether a file of this name is complete and for us."""
        lower = name.lower()
        if name.startswith(".") or lower.endswith(_TEMPORARY):
            return False
        return self._config.ready == "rename" or lower.endswith(self._config.extension.lower())

    def leftovers(self) -> list[Claimed]:
        """Return what earlier runs, here or on a worker that is gone, had claimed and not finished.

        Raises: OSError where the inbox is not there.
        """
        self._make_claims()
        found = []
        for folder in (self.folder / CLAIMS).iterdir():
            if folder.is_dir():
                found += [one for path in folder.iterdir() if (one := claimed(path)) is not None]
        return sorted(found, key=lambda one: one.name)

    def take(self, limit: int) -> list[Claimed]:
        """Claim up to `limit` files. Raises: OSError where the inbox is not there.

        One listing is carried on over many calls, so that a folder of any size costs the same a file; an empty
        answer means that a listing has come to its end.
        """
        self._make_claims()
        if self._sweep is None:
            self._sweep = self._entries()
        found: list[Claimed] = []
        while len(found) < limit:
            entry = next(self._sweep, None)
            if entry is None:
                self._sweep = None
                break
            one = claim(self.folder, entry.name, self._claims, self._ops) if self._is_takeable(entry) else None
            if one is not None:
                found.append(one)
        return found

    def _make_claims(self) -> None:
        # Never the inbox itself: where its share is not mounted, a folder of ours would hide it.
        for folder in (self._claims.parent, self._claims):
            folder.mkdir(exist_ok=True)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        with os.scandir(self.folder) as found:
            if self._config.order == "name":
                ready = (entry for entry in found if self.is_ready(entry.name))
                yield from nsmallest(SORTED_NAMES, ready, key=lambda entry: entry.name)
            else:
                yield from found

    def _is_takeable(self, entry: os.DirEntry[str]) -> bool:
        if not self.is_ready(entry.name) or entry.is_dir(follow_symlinks=False):
            return False
        try:
            size = entry.stat(follow_symlinks=False).st_size
        except OSError:
            return False
        if size:
            self._empty_since.pop(entry.name, None)
            return True
        # A writer that creates the file first and fills it then is given time to do so.
        if len(self._empty_since) > SORTED_NAMES:
            self._empty_since.clear()
        now = time.monotonic()
        return now - self._empty_since.setdefault(entry.name, now) >= EMPTY_GRACE_S

    def load(self, one: Claimed) -> Loaded:
        """Read and decode a claimed file.

        Raises: Changed where its writer still writes it; FileNotFoundError where it is gone; OSError.
        """
        try:
            with OpenFile(one.path) as file:
                if file.size > self._config.max_file_bytes:
                    return Loaded(one, (), (_too_big(file.size, self._config.max_file_bytes),), None)
                small = file.size <= INLINE_OCTETS
                octets = file.read(0, file.size) if small else None
                blob = file if octets is None else InMemory(octets)
                found = list(self._format.decode(blob, Stamp(one.token, file.mtime), self._options))
                file.check_unchanged()
        except NotRegular:
            return Loaded(one, (), (_NOT_REGULAR,), None)
        except PermissionError:
            return Loaded(one, (), (_NO_PERMISSION,), None)
        parts = tuple(part for part in found if isinstance(part, Part))
        return Loaded(one, parts, tuple(bad for bad in found if isinstance(bad, Bad)), octets)

    def load_some(self, files: list[Claimed], budget_octets: int) -> list[Loaded | tuple[Claimed, Exception]]:
        """Load files from the front of the list, taking them off it, until their octets reach the budget.

        A fault of one file stands in its place.
        """
        loaded: list[Loaded | tuple[Claimed, Exception]] = []
        done = 0
        for one in files:
            done += 1
            try:
                result = self.load(one)
            except Exception as e:  # noqa: BLE001 - one file that cannot be read, or a codec's bug, must not stop the others
                loaded.append((one, e))
                continue
            loaded.append(result)
            budget_octets -= len(result.octets or b"")
            if budget_octets <= 0:
                break
        del files[:done]
        return loaded

    def finish(self, files: list[Claimed]) -> list[tuple[Claimed, OSError]]:
        """Archive or delete files that are in the spool. Returns those that could not be.

        Not synced: a file that a power cut brings back has its token still, and is known by it.
        """
        failed: list[tuple[Claimed, OSError]] = []
        for one in files:
            try:
                if self._archive is None:
                    self._ops.unlink(str(one.path))
                else:
                    move(one.path, self._archive, one.name, self._ops)
            except FileNotFoundError as e:
                if self._archive is not None and one.path.exists():
                    failed.append((one, e))
            except OSError as e:
                failed.append((one, e))
        return failed

    def set_aside(self, one: Claimed, bad: tuple[Bad, ...]) -> Path:
        """Move a file to NAME.bad, with NAME.bad.txt that says why; return where it is now. Raises: OSError."""
        stem, dot, rest = one.name.partition(".")
        numbers = (one.name if n == 1 else f"{stem}-{n}{dot}{rest}" for n in range(1, 10_000))
        free = (name for name in numbers if not os.path.lexists(self._errors / f"{name}.bad"))
        name = next(free, f"{one.token}.{one.name}")
        text = explain(one.name, f"{name}.bad", bad).encode("utf-8", "backslashreplace")
        place(self._errors, f"{name}.bad.txt", lambda: (text,), ops=self._ops)
        return move(one.path, self._errors, f"{name}.bad", self._ops)


def explain(name: str, now_called: str, bad: tuple[Bad, ...]) -> str:
    """Return the text beside a bad file: rule, place, what was found, the mend."""
    lines = [f"The file {name} was not taken, and its message not sent."]
    for one in bad:
        lines += ["", f"why:    {one.text}", f"rule:   {one.rule}"]
        if one.line:
            lines.append(f"place:  line {one.line}, octet {one.offset}")
        if one.found:
            lines.append(f"found:  {one.found.decode('utf-8', 'backslashreplace')!r}")
        lines.append(f"mend:   {one.mend}")
    lines += ["", f"Then rename {now_called} to {name} in the inbox: it is taken again.", ""]
    return "\n".join(lines)


def _too_big(size: int, limit: int) -> Bad:
    mend = "write a smaller file, or raise max_file_bytes"
    return Bad("filedrop.too-big", 0, 0, f"{size} octets, the limit is {limit}", mend)


_NOT_REGULAR: Final = Bad(
    "filedrop.not-regular", 0, 0, "a link, device or pipe, not a file", "put the file itself into the inbox"
)
_NO_PERMISSION: Final = Bad(
    "filedrop.no-permission", 0, 0, "the gateway may not read the file", "let the gateway's user read it"
)
