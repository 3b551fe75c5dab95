"""How deep a test goes: `make test` takes a share of what is tried one by one, `make thorough` all of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

Each = TypeVar("Each")

THOROUGH: Final = os.environ.get("GATEPOST_EXAMPLES") == "thorough"
"""Whether this is `make thorough`."""


def share(all_of: Iterable[Each], one_of: int) -> Iterator[Each]:
    """Return one of so many, evenly spaced, beginning with the first; all of them in `make thorough`."""
    return islice(all_of, 0, None, 1 if THOROUGH else one_of)
