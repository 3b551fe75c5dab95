"""Ids of folders and items, as texts.

A folder's is its name as the server lists it, an item's `FOLDER.UIDVALIDITY.UID`, where FOLDER is a hash of that name:
12 digits, so that a thousand folders of a mailbox have different ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Final

_ID: Final = re.compile(r"([0-9a-f]{12})\.([0-9]{1,10})\.([0-9]{1,10})")


@lru_cache(maxsize=10_000)
def hash_of(name: bytes) -> str:
    """Return what items' ids begin with in a folder."""
    return blake2b(name, digest_size=6).hexdigest()


def ids_of(name: bytes) -> Callable[[int, int], str]:
    """Return what makes an item's id of its UIDVALIDITY and UID in a folder."""
    prefix = hash_of(name)
    return lambda uidvalidity, uid: f"{prefix}.{uidvalidity}.{uid}"


def read_id(id: str) -> tuple[str, int, int] | None:
    """Return a folder's hash, UIDVALIDITY and UID; None for what is no id of ours."""
    found = _ID.fullmatch(id)
    return None if found is None else (found[1], int(found[2]), int(found[3]))


def text_of(name: bytes) -> str:
    """Return a folder's id."""
    return name.decode("utf-8", "surrogateescape")


def octets_of(id: str) -> bytes:
    """Return the name of a folder by its id."""
    return id.encode("utf-8", "surrogateescape")
