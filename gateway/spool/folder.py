"""The folder of a SQLite spool: where it is, that it is private, and who is which worker.

A worker's lock file is locked (flock) as long as the worker runs; the kernel lets go of it with the process, so a
dead worker's file is known at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.process_lock import lock_file
from gateway.spool.api import SpoolUnusable
from gateway.spool.content import sync_folder


def sqlite_folder(url: str, base_dir: Path) -> Path | None:
    """Return the folder that a `sqlite:` URL names, relative ones from `base_dir`; None for another kind.

    Raises: SpoolUnusable where it is no URL of a spool.
    """
    kind, separator, rest = url.partition(":///")
    if separator and kind == "sqlite" and rest:
        return base_dir / rest  # an absolute one, of four slashes, stays as it is
    if url.startswith(("postgresql://", "postgres://")):
        return None
    raise SpoolUnusable(f"{url!r} is not a spool: write sqlite:///folder or postgresql://user@host/database")


@contextmanager
def worker_lock(folder: Path, worker: int, timeout_s: float) -> Iterator[int]:
    """Be worker N while the block runs. Raises: SpoolUnusable where another process is."""
    fd = take_worker_lock(folder, worker, timeout_s)
    try:
        yield fd
    finally:
        os.close(fd)


def take_worker_lock(folder: Path, worker: int, timeout_s: float) -> int:
    """Return the descriptor that holds a worker's lock. Raises: SpoolUnusable."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            return lock_file(folder / f"worker-{worker}.lock")
        except BlockingIOError:
            if time.monotonic() > until:
                raise SpoolUnusable(
                    f"the spool {folder}/worker-{worker}.db is in use by another process; a running gateway is "
                    "asked, not opened: stop it, or use its commands while it runs"
                ) from None
            time.sleep(0.05)
        except OSError as error:
            raise SpoolUnusable(f"the spool {folder} cannot be locked: {error.strerror}") from error


def make_folder(folder: Path) -> None:
    """Make the spool's folder, private. Raises: SpoolUnusable."""
    try:
        made_in = {path.parent for path in (folder, *folder.parents) if not path.exists()}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        (folder / "content").mkdir(mode=0o700, exist_ok=True)
        # What is committed in a folder is lost with the folder's own name.
        for path in (*made_in, folder):
            sync_folder(str(path))
    except OSError as error:
        raise SpoolUnusable(f"the spool's folder {folder} cannot be used: {error.strerror}") from error
