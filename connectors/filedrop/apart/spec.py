"""What a reading process is told at its start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from connectors.filedrop.config import FileDropConfig


@dataclass(frozen=True)
class Spec:
    """What the process is to run. `careful` where one before it died: it says which file it looks at, and leaves
    those of `suspects` alone, of which several died."""

    name: str
    config: FileDropConfig
    hostname: str
    state_dir: Path
    base_dir: Path
    stop_s: float
    worker: int
    workers: int
    careful: bool = False
    suspects: frozenset[str] = frozenset()
