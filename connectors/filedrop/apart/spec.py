"""What a reading process is told at its start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.filedrop.config import FileDropConfig

CPU_LIMIT_S: Final = 60.0
DATA_OCTETS: Final = 2 * 1024 * 1024 * 1024


@dataclass(frozen=True)
class Spec:
    """What the process is to run, and within which bounds.

    It leaves the files of the tokens in `suspects` alone, of which several before it died. The kernel ends it where it
    uses the processor for `cpu_limit_s` without a pause, and refuses it more memory than `data_octets`.
    """

    name: str
    config: FileDropConfig
    hostname: str
    state_dir: Path
    base_dir: Path
    stop_s: float
    worker: int
    workers: int
    suspects: frozenset[str] = frozenset()
    cpu_limit_s: float = CPU_LIMIT_S
    data_octets: int = DATA_OCTETS
