"""Copy a SQLite database and files so that the copy is whole and on the disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from gateway.spool.content import sync_folder

_PAGES: Final = 256


def copy_database(source: sqlite3.Connection, dest: Path, between: Callable[[], None]) -> list[str]:
    """Copy a database through its own open connection, page by page; returns the contents that its rows name.

    `between` runs after each step: what the connection writes meanwhile goes into the copy too, since the same
    connection does both. Raises: FileExistsError, OSError, sqlite3.Error.
    """
    dest.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if dest.exists():
        raise FileExistsError(f"{dest} is there already")
    part = dest.with_name(dest.name + ".part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(part)) as target:
        source.backup(target, pages=_PAGES, progress=lambda *_: between())
        refs = [
            row[0]
            for table in ("messages", "kept")
            for row in target.execute(f"SELECT content_ref FROM {table} WHERE content_ref IS NOT NULL")
        ]
        target.execute("PRAGMA journal_mode=DELETE").fetchall()  # one file, complete in itself
    sync_file(part)
    os.rename(part, dest)
    sync_folder(str(dest.parent))
    return refs


def copy_durably(source: Path, dest: Path) -> None:
    """Copy one file with the folders above it, and sync both. Raises: OSError."""
    made = []
    at = dest.parent
    while not at.exists():
        made.append(at)
        at = at.parent
    dest.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(source, dest)
    sync_file(dest)
    sync_folder(str(dest.parent))
    for folder in made:
        sync_folder(str(folder.parent))


def sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
