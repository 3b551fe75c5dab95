"""Where tests keep their files: in memory where there is room, for most of what a disk takes is waiting for its syncs.

What a test kills is a process, which takes nothing along that it has written, so memory shows the same as a disk.
What is measured, and what a power cut leaves, is another matter: the benchmarks and soaks keep to the disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
_ROOM: Final = 6 * 1024**3
_DISK: Final = Path("/var/tmp")


def has_room(folder: Path) -> bool:
    """Tell whether tests can have their files in a folder of memory, and the machine the memory for it."""
    try:
        fits = shutil.disk_usage(folder).free >= _ROOM and not os.statvfs(folder).f_flag & os.ST_NOEXEC
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return False
    return fits and available >= _ROOM and os.access(folder, os.W_OK | os.X_OK)


SCRATCH: Final = _MEMORY if has_room(_MEMORY) else _DISK
"""A folder that every user may pass through, as servers that run under users of their own must."""


def use() -> None:
    """Have this process and those it starts make their files there; one that was told a folder keeps to it."""
    if "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = str(SCRATCH)
        tempfile.tempdir = None
