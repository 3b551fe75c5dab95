"""Pieces: a soak that takes longer than there is time at once is run piece by piece, and what they found adds up.

A file keeps what was counted, a line of JSON for each run that came to its end, whatever becomes of the piece.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Counts(Generic[T]):
    """What a soak has counted; with a file, earlier pieces too. `read` makes a row of what `asdict` gives."""

    def __init__(self, file: Path | None, read: Callable[[dict[str, Any]], T]) -> None:
        self._file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file is not None and file.exists() else []
        self.rows: list[T] = [read(json.loads(line)) for line in lines]

    def add(self, row: T) -> None:
        """Add a run, and keep it."""
        assert is_dataclass(row)
        assert not isinstance(row, type)
        self.rows.append(row)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
