"""The keywords of a Maildir's folder: a letter each, a to z, named in the file `dovecot-keywords`.

A letter that is given stays its word's for good. The file is replaced whole, under Dovecot's own lock file, so that a
Dovecot that serves the same Maildir meanwhile gives no letter twice.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from connectors.folders.reading import opened

FILE: Final = "dovecot-keywords"
MOST: Final = 26
_LINE: Final = re.compile(r"(\d{1,3}) (.+)")
_WAIT_S: Final = 10.0
_STALE_S: Final = 120.0
_OCTETS: Final = 256 * 1024


def read(folder: Path) -> dict[str, str]:
    """Return the words by their letters; none where there is no file. Raises: OSError."""
    try:
        handle = opened(folder / FILE)
    except FileNotFoundError:
        return {}
    with open(handle, "rb") as file:
        text = file.read(_OCTETS).decode("utf-8", "replace")
    found: dict[str, str] = {}
    for line in text.split("\n"):
        match = _LINE.fullmatch(line)
        if match is not None and int(match[1]) < MOST:
            found[chr(ord("a") + int(match[1]))] = match[2]
    return found


def with_words(folder: Path, words: Iterable[str]) -> dict[str, str]:
    """Return the words by their letters, those added that have none yet, as far as letters go.

    Raises: OSError, BlockingIOError where another program holds the file's lock.
    """
    known = read(folder)
    if set(words) <= set(known.values()):
        return known
    lock = str(folder / (FILE + ".lock"))
    handle = _locked(lock)
    try:
        known = read(folder)
        free = [chr(ord("a") + n) for n in range(MOST) if chr(ord("a") + n) not in known]
        for word in sorted(set(words) - set(known.values())):
            if not free:
                break
            known[free.pop(0)] = word
        text = "".join(f"{ord(letter) - ord('a')} {word}\n" for letter, word in sorted(known.items()))
        os.write(handle, text.encode("utf-8", "replace"))
        os.fsync(handle)
        os.rename(lock, folder / FILE)
    except BaseException:
        with suppress(OSError):
            os.unlink(lock)
        raise
    finally:
        os.close(handle)
    return known


def _locked(lock: str) -> int:
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            return os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)
        except FileExistsError:
            with suppress(FileNotFoundError):
                if time.time() - os.lstat(lock).st_mtime > _STALE_S:
                    os.unlink(lock)
                    continue
            if time.monotonic() > until:
                raise BlockingIOError(11, "another program holds the keywords' lock", lock) from None
            time.sleep(0.05)
