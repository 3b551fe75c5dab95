"""Files that a configuration names: whether they can be read, before anything is started."""

from __future__ import annotations

from pathlib import Path


def unreadable(option: str, path: Path) -> tuple[str, ...]:
    """Return why the file that an option names cannot be read, as no or one sentence."""
    try:
        with path.open("rb"):
            return ()
    except FileNotFoundError:
        return (f"{option}: there is no file {path}",)
    except OSError as fault:
        return (f"{option}: the file {path} cannot be read: {fault.strerror or fault}",)
