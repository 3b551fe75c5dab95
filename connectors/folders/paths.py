"""Ways of folders from the top, each of which is one folder's."""

from __future__ import annotations

from collections.abc import Container
from itertools import count


def untaken(path: tuple[str, ...], taken: Container[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the path, its last name with the first number behind it that makes it one that is not taken."""
    if path not in taken:
        return path
    *above, name = path
    return next(made for n in count(2) if (made := (*above, f"{name} ({n})")) not in taken)
