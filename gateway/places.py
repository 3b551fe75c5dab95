"""Where a configuration is, and where it has its files; by the texts of the file alone, without any model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

DEFAULT_FILE: Final = "gatepost.toml"
SYSTEM_FILE: Final = Path("/etc/gatepost/gatepost.toml")
DEFAULT_SPOOL: Final = "sqlite:///spool"


def default_file(environ: Mapping[str, str] | None = None) -> Path:
    """Return the configuration's path where none is named: $GATEPOST_CONFIG, ./gatepost.toml, or that in /etc."""
    named = (os.environ if environ is None else environ).get("GATEPOST_CONFIG")
    if named:
        return Path(named)
    here = Path(DEFAULT_FILE)
    return SYSTEM_FILE if SYSTEM_FILE.exists() and not here.exists() else here


def spool_folder(spool: str, base: Path) -> Path | None:
    """Return the folder of a SQLite spool, None where the spool is remote."""
    kind, _, rest = spool.partition("://")
    return base / rest[1:] if kind == "sqlite" else None


def state_folder(state: str | None, spool: str, base: Path) -> Path:
    """Return the folder for control sockets, keys and the connectors' own files."""
    if state is not None:
        return base / state
    return (spool_folder(spool, base) or base) / "state"
