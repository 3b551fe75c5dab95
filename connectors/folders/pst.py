"""A PST or OST file of Outlook's, read: folders of mail, each item made a message again.

The file is read by libpff in a process of its own, which is ended where it takes too long or too much, and begun anew
behind what it could not read. Internet headers are kept as they came; the body and its attachments are put together
from what Outlook made of them, so that octets are not those of the message that was once received.
Known limits: appointments, contacts and other things that are no mail are left out; so are categories, whose names
libpff's binding does not tell.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from connectors.folders.backend import FRESH_S, GONE, Backend, folder_hash, item_id, no_folder, shown_version
from connectors.folders.paths import untaken
from connectors.folders.reading import INLINE, FileBlob
from connectors.folders.roles import with_roles
from gateway.contract import FLAGS, Content, Flag, Folder, FolderRole, Holds, ItemState, Status, StoreFault

HOLDS: Final = Holds(
    flags=frozenset(("seen", "answered", "forwarded", "draft", "flagged")),
    keywords=False,
    internal_date=True,
    change_tokens=False,
    stable_ids=False,
    exact=True,
    finds=False,
)
_LIST_S: Final = 600.0
_ITEM_S: Final = 120.0
_LONGEST: Final = 256 * 1024 * 1024
"""Octets of the longest answer: a line of some 120 for each of two million items."""
_INBOXES: Final = ("inbox", "posteingang", "boîte de réception", "bandeja de entrada", "posta in arrivo", "postvak in")


class Gone(Exception):
    """The child does not know what it was asked for."""


class Broken(Exception):
    """The child said that it can't, or ended, or was ended."""


class Pst(Backend):
    """One file."""

    def __init__(self, path: Path, *, scratch: Path) -> None:
        self._path = path
        self._scratch = scratch
        self._child: subprocess.Popen[bytes] | None = None
        self._check()

    def _check(self) -> None:
        if not self._path.is_file() or self._path.is_symlink():
            raise StoreFault(Status("4.2.1", "there is no such file", str(self._path)))

    @property
    def holds(self) -> Holds:
        return HOLDS

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    def _ask(self, wait_s: float, **asked: Any) -> Any:
        """Ask the child. Raises: Broken, Gone, StoreFault."""
        self._check()
        if self._child is None:
            command = [sys.executable, "-m", "connectors.folders.pst_child", str(self._path)]
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            try:
                self._answer(_LIST_S)
            except Broken as fault:
                self.close()
                raise StoreFault(Status("5.3.5", f"{self._path.name}: {fault}")) from None
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(asked).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            self.close()
            raise Broken("its reader has ended") from None
        return self._answer(wait_s)

    def _answer(self, wait_s: float) -> Any:
        assert self._child is not None
        pipe = self._child.stdout
        assert pipe is not None
        until = time.monotonic() + wait_s
        octets = bytearray()
        with selectors.DefaultSelector() as waiting:
            waiting.register(pipe, selectors.EVENT_READ)
            while not octets.endswith(b"\n"):
                ready = waiting.select(max(0.0, until - time.monotonic()))
                piece = os.read(pipe.fileno(), 1024 * 1024) if ready else b""
                if not piece:
                    self.close()
                    raise Broken("its reader has ended" if ready else "it takes too long to read")
                octets += piece
                if len(octets) > _LONGEST:
                    self.close()
                    raise Broken(f"its reader tells more than {_LONGEST >> 20} MiB at once")
        answer = json.loads(octets)
        if "error" in answer:
            raise Broken(answer["error"])
        if "gone" in answer:
            raise Gone
        return answer["ok"]

    def folders(self) -> list[Folder]:
        try:
            told = self._ask(_LIST_S, do="folders")
        except (Broken, Gone) as fault:
            raise StoreFault(Status("5.3.5", f"{self._path.name}: {fault}")) from None
        there = self._path.stat()
        is_settled = there.st_mtime < time.time() - FRESH_S
        mark = f"{there.st_size}.{there.st_mtime_ns}" if is_settled else None
        found: dict[tuple[str, ...], Folder] = {}
        for id, names, count in told:
            path = untaken(tuple(names), found)
            role: FolderRole | None = "inbox" if len(path) == 1 and path[0].casefold() in _INBOXES else None
            found[path] = Folder(id, path, "mail", role, count, mark=mark)
        return with_roles(found.values())

    def listing(self, folder: str) -> list[ItemState]:
        hash = folder_hash(folder)
        try:
            told = self._ask(_LIST_S, do="items", folder=folder)
        except Gone:
            raise no_folder() from None
        except Broken as fault:
            raise StoreFault(Status("5.3.5", f"{self._path.name}: {fault}")) from None
        states: list[ItemState] = []
        for id, words, at, message_id in told:
            flags: frozenset[Flag] = frozenset(word for word in FLAGS if word in words)
            version = shown_version(frozenset[str](flags))
            states.append(ItemState(item_id(hash, id), version, None, flags, frozenset(), at, message_id))
        return states

    def contents(self, folder: str, names: Sequence[str]) -> Iterator[tuple[str, Content | Status]]:
        for name in names:
            yield name, self._content(folder, name)

    def _content(self, folder: str, name: str) -> Content | Status:
        handle, path = tempfile.mkstemp(dir=self._scratch, prefix="pst-")
        try:
            self._ask(_ITEM_S, do="write", folder=folder, item=name, to=path)
        except Gone:
            os.close(handle)
            return GONE
        except Broken as fault:
            os.close(handle)
            return Status("5.6.0", f"the item can't be read: {fault}")
        except BaseException:
            os.close(handle)
            raise
        finally:
            os.unlink(path)
        file = os.fdopen(handle, "rb", buffering=0)
        size = os.fstat(handle).st_size
        if size > INLINE:
            return Content(FileBlob(file, size))
        with file:
            return Content(file.read())
