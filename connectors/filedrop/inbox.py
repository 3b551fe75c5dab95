"""The inbox as a source uses it: which files it takes, how they are opened, and where they go in the end.

All of it blocks and runs in threads, one call at a time for `take`. Claimed files lie in `.claimed/` inside the
inbox, one folder a worker, on the same file system so that a claim is a rename; what a crash leaves there is taken
up by whoever runs the source next. Beside a claimed file TOKEN.NAME may lie TOKEN+…, files that its messages name,
and TOKEN!…, the trigger of a file that is in the spool.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Final, NamedTuple

from connectors.filedrop.archive import Archive
from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.enclosed import Enclosed, Taken, belongs_to
from connectors.filedrop.extras import extras_of
from connectors.filedrop.files import (
    Changed,
    Claimed,
    NotRegular,
    claim,
    claimed,
    is_token,
    move,
    open_or_read,
    place,
    short,
)
from connectors.filedrop.formats import Bad, Codec
from connectors.filedrop.names import stem_of
from connectors.filedrop.reading import INLINE_OCTETS, Found, Reading
from connectors.filedrop.ready import Naming, Rule, Since, rule_of
from connectors.filedrop.reasons import NO_PERMISSION, NOT_REGULAR, REASON, explain, too_big, wrong_trigger
from connectors.filedrop.signals import read_trigger, signal_name
from gateway.mailbox_files import REAL, Operations

CLAIMS: Final = ".claimed"
SORTED_NAMES: Final = 100_000
_USED: Final = "!"
"""Stands behind the token in the name of a used trigger."""


class Loaded(NamedTuple):
    """A small claimed file, read and decoded whole."""

    reading: Reading
    found: list[Found | Bad]

    @property
    def claimed(self) -> Claimed:
        return self.reading.claimed


@dataclass(frozen=True, slots=True)
class Large:
    """A claimed file that is to be decoded step by step."""

    claimed: Claimed


Slot = tuple[Claimed, Loaded | Large | Bad | Exception]
"""A claimed file, and what came of loading it."""


class Done(NamedTuple):
    """A file whose messages are in the spool, with what was claimed for them."""

    claimed: Claimed
    taken: tuple[Taken, ...] = ()
    size: int = 0


class Inbox:
    """One inbox. `worker` names this worker's claim folder; `clock` gives seconds since 1970."""

    def __init__(
        self,
        folder: Path,
        config: FileDropConfig,
        codec: Codec,
        *,
        extension: str,
        errors: Path | None,
        archive: Path | None,
        attachments: Path | None = None,
        worker: int,
        clock: Callable[[], float] = time.time,
        ops: Operations = REAL,
    ) -> None:
        self.folder = folder
        self._config = config
        self._codec = codec
        self._extension = extension
        self._errors = errors
        self._archive = None if archive is None else Archive(archive, clock, ops)
        self._attachments = attachments or folder
        self._claims = folder / CLAIMS / f"w{worker}"
        self._claims_path = str(self._claims)
        self._ops = ops
        self._rule: Rule = rule_of(config, ops)
        self._naming = Naming(config, extension)
        self._extras = extras_of(codec)
        self._sweep: Iterator[tuple[Path, os.DirEntry[str]]] | None = None
        self._missing = Since()

    def watched(self) -> list[Path]:
        """Return the folders in which files appear: the inbox, or those inside it that are there."""
        inside = (self.folder / name for name in self._extras.folders)
        return [folder for folder in inside if folder == self.folder or folder.is_dir()]

    # -- claiming

    def leftovers(self) -> list[Claimed]:
        """Return what earlier runs, here or on a worker that is gone, had claimed and not finished.

        Raises: OSError where the inbox is not there.
        """
        self._make_claims()
        for folder in self.watched():
            self._rule.clean(folder)
        found = []
        for folder in (self.folder / CLAIMS).iterdir():
            if folder.is_dir():
                found += [one for path in folder.iterdir() if (one := claimed(path)) is not None]
                self._finish_orphans(folder)
        if self._config.order == "time":
            return sorted(found, key=lambda one: (_mtime(one.path), one.name))
        return sorted(found, key=lambda one: one.name)

    def _finish_orphans(self, folder: Path) -> None:
        """Finish files and triggers whose message's file went its way before the crash."""
        names = os.listdir(folder)
        tokens = {name.partition(".")[0] for name in names}
        for name in names:
            found = belongs_to(name)
            if found is not None and found[0] not in tokens:
                self._put_away(str(folder / name), found[1], found[0])
            token, mark, _ = name.partition(_USED)
            if mark and is_token(token) and token not in tokens:
                self._ops.unlink(str(folder / name))

    def take(self, limit: int) -> list[Claimed]:
        """Claim up to `limit` files. Raises: OSError where the inbox is not there.

        One listing is carried on over many calls, so that a folder of any size costs the same a file; an empty
        answer means that a listing has come to its end.
        """
        self._make_claims()
        if self._sweep is None:
            self._sweep = self._entries()
        found: list[Claimed] = []
        try:
            while len(found) < limit:
                entry = next(self._sweep, None)
                if entry is None:
                    self._sweep = None
                    break
                one = self._claim(*entry)
                if one is not None:
                    found.append(one)
        except OSError:
            self._sweep = None
            if not found:  # what is claimed already is nobody else's to hand over
                raise
        return found

    def _make_claims(self) -> None:
        # Never the inbox itself: where its share is not mounted, a folder of ours would hide it.
        for folder in (self._claims.parent, self._claims):
            with suppress(FileExistsError):
                self._ops.mkdir(str(folder), 0o777)

    def _entries(self) -> Iterator[tuple[Path, os.DirEntry[str]]]:
        if self._config.order == "none":
            yield from self._listing()
            return
        by_time = self._config.order == "time"

        def key(one: tuple[Path, os.DirEntry[str]]) -> tuple[float, str]:
            return (_mtime(Path(one[1].path)) if by_time else 0.0, one[1].name)

        yield from nsmallest(SORTED_NAMES, (one for one in self._listing() if self._is_message(one[1].name)), key=key)

    def _listing(self) -> Iterator[tuple[Path, os.DirEntry[str]]]:
        for folder in self.watched():
            with os.scandir(folder) as found:
                for entry in found:
                    yield folder, entry

    def _claim(self, folder: Path, entry: os.DirEntry[str]) -> Claimed | None:
        name = entry.name
        if not self._is_message(name) or entry.is_dir(follow_symlinks=False):
            return None
        guard = self._extras.guard
        try:
            found = entry.stat(follow_symlinks=False)
            if guard is not None and not found.st_size:
                return None  # a mailbox without messages stays where its writers look for it
            if not self._rule.is_complete(folder, name, found):
                return None
        except (FileNotFoundError, PermissionError, NotRegular):
            return None
        if not self._rule.hold(folder, name):
            return None
        try:
            if guard is None:
                return claim(entry.path, name, self._claims_path, self._ops)
            with guard(folder / name, self._ops):
                return claim(entry.path, name, self._claims_path, self._ops)
        except (BlockingIOError, FileNotFoundError):
            if guard is None:
                raise
            return None
        finally:
            self._rule.release(folder, name)

    def _is_message(self, name: str) -> bool:
        return self._naming.is_message(name) and self._extras.is_message(name)

    # -- reading

    def open(self, one: Claimed) -> Reading | Bad:
        """Open a claimed file to be decoded.

        Raises: Changed where its writer still writes it; FileNotFoundError where it is gone; OSError.
        """
        try:
            file = open_or_read(one.where, INLINE_OCTETS, self._ops)
        except NotRegular:
            return NOT_REGULAR
        except PermissionError:
            return NO_PERMISSION
        try:
            bad = self._wrong(one, file.size)
            if bad is not None:
                file.close()
                return bad
            enclosed = Enclosed(one, self._attachments, self._ops)
            return Reading(one, file, file.mtime, self._codec, enclosed, self._waited, self.looking_at)
        except BaseException:
            file.close()
            raise

    def _wrong(self, one: Claimed, size: int) -> Bad | None:
        if size > self._config.max_file_bytes:
            return too_big(size, self._config.max_file_bytes)
        if self._config.ready == "trigger" and self._config.trigger_check != "none":
            told = read_trigger(self.folder / signal_name(self._config.trigger, one.name)) or read_trigger(_used(one))
            text = "" if told is None else told.fits(self._config.trigger_check, one.path)
            if text:
                return wrong_trigger(text)
        return None

    def _waited(self, one: Claimed, name: str) -> bool:
        return self._missing.seconds(f"{one.token} {name}") >= self._config.attachment_grace_s

    def looking_at(self, one: Claimed) -> None:
        """Called before octets of a claimed file are decoded; for who wants to know which file that was."""

    def load(self, one: Claimed) -> Loaded | Large | Bad:
        """Read and decode a claimed file, where it is small. Raises: as `open`; NotThere."""
        reading = self.open(one)
        if isinstance(reading, Bad):
            return reading
        if not reading.is_small:
            reading.close()
            return Large(one)
        try:
            found = reading.all()
            reading.check_unchanged()
        finally:
            reading.close()
        return Loaded(reading, found)

    def load_some(self, files: list[Claimed], budget_octets: int) -> list[Slot]:
        """Load files from the front of the list, taking them off it, until their octets reach the budget.

        A fault of one file stands in its place.
        """
        loaded: list[Slot] = []
        done = 0
        for one in files:
            done += 1
            try:
                result = self.load(one)
            except MemoryError as e:
                # Its traceback holds the decoder's frames, and with them all that was too much.
                loaded.append((one, e.with_traceback(None)))
                continue
            except Exception as e:  # noqa: BLE001 - one file's fault, a codec's bug included, stops no other file
                loaded.append((one, e))
                continue
            loaded.append((one, result))
            if isinstance(result, Loaded):
                for each in result.found:
                    if isinstance(each, Found) and each.content is not None:
                        budget_octets -= len(each.content)
            if budget_octets <= 0:
                break
        del files[:done]
        return loaded

    # -- finishing

    def finish(self, files: list[Done]) -> list[tuple[Done, Exception]]:
        """Archive or delete files that are in the spool. Returns those that could not be: OSError, Changed.

        Not synced: a file that a power cut brings back has its token still, and is known by it. The message's file
        goes first: whatever else has its token then is known to be finished.
        """
        failed: list[tuple[Done, Exception]] = []
        for done in files:
            one = done.claimed
            try:
                used = self._use_trigger(one)
                self._put_away_guarded(done)
                for taken in done.taken:
                    self._put_away(str(taken.path), taken.name, one.token)
                if used is not None:
                    self._ops.unlink(str(used))
            except (OSError, Changed) as e:
                failed.append((done, e))
        return failed

    def _put_away_guarded(self, done: Done) -> None:
        one, guard = done.claimed, self._extras.guard
        if guard is None:
            self._put_away(one.where, one.name, one.token)
            return
        with guard(one.path, self._ops):
            # A writer that had it open when it was claimed may have added to it since.
            if one.path.stat().st_size != done.size:
                raise Changed
            self._put_away(one.where, one.name, one.token)

    def _put_away(self, path: str, name: str, token: str) -> None:
        try:
            if self._archive is None:
                self._ops.unlink(path)
            else:
                self._archive.take(path, name, token)
        except FileNotFoundError:
            if os.path.lexists(path):
                raise

    def _use_trigger(self, one: Claimed) -> Path | None:
        """Take the trigger of a file out of the inbox, so that it does not stand for the next one of this name."""
        if self._config.ready != "trigger":
            return None
        used = _used(one)
        try:
            self._ops.rename(str(self.folder / signal_name(self._config.trigger, one.name)), str(used))
        except FileNotFoundError:
            if not os.path.lexists(used):
                return None
        return used

    def set_aside(self, one: Claimed, bad: list[Bad], *, accepted: int = 0, enclosed: Enclosed | None = None) -> Path:
        """Keep a file that is not taken, with the reason beside it; return where it is now. Raises: OSError."""
        notes = []
        folder = self._errors or self.folder
        for taken in enclosed.give_back() if enclosed is not None else ():
            kept = move(taken.path, folder, f"{taken.name}{self._mark}", self._ops, unique=one.token)
            notes.append(f" The file {taken.name} that it names is now {kept}.")
        used = self._use_trigger(one)
        name = self._free(folder, one.name, one.token)
        retry = self._retry(name, one.name) + "".join(notes)
        text = explain(one.name, f"{name}{self._mark}", bad, retry=retry, accepted=accepted)
        # A reason whose file was mended and taken, or failed again, would be read as this one's.
        with suppress(FileNotFoundError):
            self._ops.unlink(str(folder / _reason(name)))
        place(folder, _reason(name), lambda: (text,), ops=self._ops)
        where = Path(move(one.path, folder, f"{name}{self._mark}", self._ops, unique=one.token))
        if used is not None:
            self._ops.unlink(str(used))
        return where

    def set_aside_item(self, reading: Reading, number: int, bad: Bad) -> Path:
        """Keep one message of a file as a file of its own, with the reason beside it.

        Its name is the same at every attempt, so that after a crash it is kept once. Raises: OSError, EOFError.
        """
        assert bad.item is not None
        item = bad.item
        one = reading.claimed
        folder = self._errors or self.folder
        stem = stem_of(one.name)
        name = short(f"{stem}-{one.token[-8:]}-{number + 1}{one.name[len(stem) :]}")
        kept = short(f"{name}{self._mark}")
        place(folder, kept, lambda: reading.piece_of(item), ops=self._ops, names=())
        text = explain(one.name, kept, [bad], retry=self._retry(name, name), alone=True)
        place(folder, _reason(name), lambda: (text,), ops=self._ops, names=())
        return folder / kept

    @property
    def _mark(self) -> str:
        """What is added to the name of a file that stays in the inbox."""
        return ".bad" if self._errors is None else ""

    def _free(self, folder: Path, name: str, token: str) -> str:
        stem, dot, rest = name.partition(".")
        numbers = (name if n == 1 else f"{stem}-{n}{dot}{rest}" for n in range(1, 10))
        free = (name for name in numbers if not os.path.lexists(folder / short(f"{name}{self._mark}")))
        return next(free, f"{stem}-{token}{dot}{rest}")

    def _retry(self, name: str, as_name: str) -> str:
        moved = f"rename {name}{self._mark} to {as_name}" if self._errors is None else f"move {name} into the inbox"
        if self._errors is not None and name != as_name:
            moved += f" as {as_name}"
        if self._config.ready == "trigger":
            moved += f", then make {signal_name(self._config.trigger, as_name)}"
        return f"{moved}; it is taken again."


def _used(one: Claimed) -> Path:
    """Return where a file's trigger goes once it is used."""
    return one.path.parent / short(f"{one.token}{_USED}{one.name}")


def _reason(name: str) -> str:
    return short(f"{name}{REASON}")


def _mtime(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
